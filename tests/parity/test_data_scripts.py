"""What the original's scripts wrote, from the same tables: byte for byte."""

import csv

import numpy as np
import pytest

from ecgfm.data.tables.labels import code_15_labels
from ecgfm.data.tables.manifests import cmsc_manifests, make_manifests
from ecgfm.data.tables.prepared_labels import prepare_labels


@pytest.fixture
def scripts(shared):
    return shared / "golden" / "data" / "manifest_scripts"


def assert_same_files(made, expected):
    names = sorted(path.relative_to(expected) for path in expected.rglob("*") if path.is_file())
    assert names
    for name in names:
        assert (made / name).read_bytes() == (expected / name).read_bytes(), name


@pytest.mark.parametrize("table, folder", [("segmented_split.csv", "out"), ("segmented_split3.csv", "out3")])
def test_manifests(scripts, tmp_path, table, folder):
    make_manifests([scripts / table], tmp_path)
    cmsc_manifests(tmp_path, tmp_path)
    assert_same_files(tmp_path, scripts / folder)


def test_label_files(scripts, tmp_path):
    prepare_labels(
        scripts / "labels.csv",
        tmp_path,
        scripts / "meta_split3.csv",
        segmented_splits=scripts / "segmented_split3.csv",
        labeled_meta_splits_save_file=tmp_path / "meta_splits_labeled.csv",
        labeled_segmented_splits_save_file=tmp_path / "segmented_splits_labeled.csv",
    )
    assert_same_files(tmp_path, scripts / "lab")


def test_labels_of_code_15(shared, tmp_path):
    labels = code_15_labels(shared / "code_15" / "meta.csv")
    labels.to_csv(tmp_path / "labels.csv", words=True)
    expected = shared / "code_15" / "labels"
    assert (tmp_path / "labels.csv").read_bytes() == (expected / "labels.csv").read_bytes()
    prepare_labels(labels, tmp_path)
    made, theirs = np.load(tmp_path / "y.npy"), np.load(expected / "y.npy")
    assert made.dtype == theirs.dtype and np.array_equal(made, theirs)

    def read(path):
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
        return list(rows[0]), [row["name"] for row in rows]

    assert read(tmp_path / "label_def.csv") == read(expected / "label_def.csv")  # its counts are of the whole data set

"""The loader on the manifests of the original's own runs: rows, targets, batches."""

import json

import numpy as np
import pytest

from ecgfm.data import Dataset, Loader, read_mat


@pytest.fixture
def runs(shared, tmp_path, monkeypatch):
    """The folder of the runs; their manifests name files below the working directory."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "code_15").symlink_to(shared / "code_15")
    monkeypatch.chdir(tmp_path)
    return shared / "golden" / "cli"


def test_rows_are_lines_of_the_manifest_and_targets_those_of_the_validation(runs):
    manifest = runs / "manifests" / "clf" / "test.tsv"
    data = Dataset(manifest, labels=runs / "labels" / "y.npy", sample_rate=500)
    found = list(Loader(data, batch_size=4, required_batch_size_multiple=8, shuffle=False))
    assert np.concatenate([batch.id for batch in found]).tolist() == list(range(14))
    targets = np.fromfile(runs / "results_val" / "targets_test.npy", np.float32).reshape(14, 17)
    np.testing.assert_array_equal(np.concatenate([batch.y for batch in found]), targets)
    names = [line.split("\t")[0] for line in manifest.read_text().split("\n")[1:15]]
    for row, name in zip(np.concatenate([batch.x for batch in found]), names):
        feats = read_mat(f"data/code_15/segmented/{name}")["feats"]
        np.testing.assert_array_equal(row, feats.astype(np.float32))


def test_batches_of_the_finetuning_run(runs):
    case = json.loads((runs / "batch_order.json").read_text())[0]
    data = Dataset(runs / "manifests" / "clf" / "train", training=True, labels=runs / "labels" / "y.npy", seed=1)
    loader = Loader(data, batch_size=4, required_batch_size_multiple=8)
    for epoch, expected in case["shuffled_per_epoch"].items():
        assert [batch.id.tolist() for batch in loader.epoch(int(epoch))] == expected


def test_pairs_of_the_pretraining_run(runs):
    data = Dataset(runs / "manifests" / "cmsc" / "train", pairs=True, training=True, sample_rate=500)
    batch = data.batch(range(4))
    assert batch.idx.tolist() == [2, 2, 3, 3, 6, 6, 9, 9] and batch.segment.tolist() == [0, 1] * 4
    feats = read_mat("data/code_15/segmented/code_15_975093_1.mat")["feats"]
    np.testing.assert_array_equal(batch.x[3], feats.astype(np.float32))

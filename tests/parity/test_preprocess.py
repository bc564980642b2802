"""The preprocessing against the reference data: ten recordings of CODE-15% in all stages, and single steps."""

import shutil

import data_sets
import golden
import numpy as np
import pytest

import ecgfm
from ecgfm.data import Options, condition, preprocess, read_mat, reorder_leads

STAGES = ("org", "preprocessed", "segmented")


@pytest.fixture(scope="module")
def sample(shared):
    return shared / "code_15"


@pytest.fixture
def records(sample, tmp_path):
    """The rows of the sample's meta.csv as exams.csv has them."""
    rows = data_sets.read_table(sample / "meta.csv")
    return rows, [{name: row[name] for name in data_sets.CODE_15_COLUMNS} for row in rows]


def assert_same_files(found, expected):
    names = sorted(path.name for path in expected.glob("*.mat"))
    assert names == sorted(path.name for path in found.iterdir())
    for name in names:  # but for the header, which states when the reference was written
        assert (found / name).read_bytes()[128:] == (expected / name).read_bytes()[128:], name


def assert_same_table(found, expected, but=()):
    found, expected = data_sets.read_table(found), data_sets.read_table(expected)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected):
        for name in set(theirs) - {"", "path", *but}:
            assert ours[name] == theirs[name], name


@pytest.mark.parametrize("workers", [1, 2])
def test_from_org(sample, records, tmp_path, workers):
    shutil.copytree(sample / "org", tmp_path / "org")
    data_sets.write_table(tmp_path / "records.csv", records[1])
    summary = preprocess("code_15", tmp_path, skip=["org"], workers=workers)
    assert (summary.records, summary.segments, summary.skipped) == (10, 14, 0)
    for stage in STAGES:
        assert_same_files(tmp_path / stage, sample / stage)
    assert_same_table(tmp_path / "meta.csv", sample / "meta.csv", but=["hdf_ind"])
    assert_same_table(tmp_path / "segmented.csv", sample / "segmented.csv")
    paths = [row["path"] for row in data_sets.read_table(tmp_path / "segmented.csv")]
    assert [path.rsplit("/", 1)[1] for path in paths] == [
        row["path"] for row in data_sets.read_table(sample / "segmented.csv")
    ]


def test_from_hdf5(sample, records, tmp_path):
    """An HDF5 laid out as CODE-15%'s, made from the sample, goes through whole."""
    rows, exams = records
    raw = tmp_path / "raw"
    signals = {int(row["exam_id"]): read_mat(sample / "org" / row["save_file"])["feats"] for row in rows}
    data_sets.code_15(raw, signals, parts=3)
    trace = {int(row["exam_id"]): row["trace_file"] for row in data_sets.read_table(raw / "exams.csv")}
    data_sets.write_table(raw / "exams.csv", [row | {"trace_file": trace[int(row["exam_id"])]} for row in exams])
    preprocess("code_15", tmp_path / "out", raw, workers=2)
    for stage in STAGES:
        assert_same_files(tmp_path / "out" / stage, sample / stage)
    assert_same_table(tmp_path / "out/meta.csv", sample / "meta.csv", but=["hdf_ind", "trace_file"])
    assert_same_table(tmp_path / "out/segmented.csv", sample / "segmented.csv")


def test_what_the_files_hold(shared, sample):
    expected = golden.load_json(shared / "golden/data/pipeline.json")["stages"]
    for stage in STAGES:
        for name, fields in expected[stage].items():
            found = read_mat(sample / stage / name)
            assert list(found) == list(fields)
            for field, about in fields.items():
                assert list(found[field].shape) == about["shape"] and str(found[field].dtype) == about["dtype"]
                assert about["value"] is None or found[field].item() == about["value"]


def test_resampling(shared):
    with np.load(shared / "golden/data/preprocess_units.npz") as cases:
        for i in range(6):
            rate, new_rate = cases[f"resample{i}/rates"].tolist()
            found, mean, std = condition(cases[f"resample{i}/in"], rate, new_rate, standardize=False)
            assert mean is None and std is None
            np.testing.assert_array_equal(found, cases[f"resample{i}/out"])


@pytest.mark.parametrize("strategy", ["zero", "nan", "constant"])
def test_constant_leads(shared, strategy):
    with np.load(shared / "golden/data/preprocess_units.npz") as cases:
        found, _, std = condition(cases["const/in"], 500, 500, constant_lead_strategy=strategy)
        np.testing.assert_allclose(found, cases[f"const/{strategy}"], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(std[:, None], cases["const/std"], rtol=1e-12, atol=0)


def test_reordering(shared):
    with np.load(shared / "golden/data/preprocess_units.npz") as cases:
        names = cases["reorder/names"].tolist()
        found, available, derived = reorder_leads(cases["reorder/in"], names)
        np.testing.assert_array_equal(found, cases["reorder/out"])
        assert (available, derived) == (list(ecgfm.LEADS), [])
        found, available, _ = reorder_leads(cases["reorder/in"][:3], ["II", "I", "V1"])
        np.testing.assert_array_equal(found, cases["reorder/missing_out"])
        assert available == ["I", "II", "V1"]


def test_tutorial_and_pipeline_agree(sample):
    """The two preparations differ by the 1e-8 that the tutorial adds to the deviation."""
    for path in sorted((sample / "org").glob("*.mat"))[:3]:
        segments = ecgfm.prepare(ecgfm.read(str(path)))
        stage = [read_mat(sample / "segmented" / f"{path.stem}_{i}.mat")["feats"] for i in range(len(segments))]
        np.testing.assert_allclose(segments.x, np.stack(stage), atol=2e-6)
    assert Options().segment_samples == 2500

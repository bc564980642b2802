"""Finetuning on recordings with a table of labels: what is read, which columns are learned, whose is whose."""

import csv

import numpy as np
import pytest

import ecgfm
from ecgfm.inference.stream import Reading
from ecgfm.training.recordings import gathered, is_recordings

LABELS = ("fast", "left axis")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve recordings of six patients, of two segments, one and a half, or one; and a table with more columns."""
    folder = tmp_path_factory.mktemp("recordings")
    (folder / "ecgs").mkdir()
    rows = []
    for i in range(12):
        fast, left = i % 2, i // 2 % 2
        record = ecgfm.ecg.simulate([10, 7.5, 5][i % 3], 500, heart_rate=60 + 50 * fast, axis_deg=-60 * left, seed=i)
        np.savez(folder / "ecgs" / f"r{i:02}.npz", signal=record.signal, sampling_rate=500, leads=record.leads)
        known = "" if i == 3 else left
        rows.append([f"r{i:02}", f"P{i // 2}", fast, known, 40 + i, "sinus"])
    with open(folder / "labels.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "patient_id", "fast", "left axis", "age", "comment"])
        writer.writerows(rows)
    return folder


@pytest.fixture(scope="module")
def read(folder):
    with pytest.warns(ecgfm.InputWarning):
        return gathered(
            str(folder / "ecgs"), str(folder / "labels.csv"), labels=None, groups="patient_id", numbers=False,
            reading=Reading(),
        )  # fmt: skip


def test_what_is_gathered(read):
    assert [len(each) for each in read.segments] == [2, 1, 1] * 4
    assert read.labels == LABELS and read.groups == [i // 2 for i in range(12)]
    np.testing.assert_array_equal(read.y[:, 0], np.arange(12) % 2)
    assert np.isnan(read.y[3, 1]) and np.isnan(read.y).sum() == 1
    assert read.places == list(range(12)) and not read.failed and not read.unlabelled


def test_the_same_segments_as_prepare(folder, read):
    for i in (0, 4):
        expected = ecgfm.prepare(ecgfm.read(str(folder / "ecgs" / f"r{i:02}.npz")))
        np.testing.assert_array_equal(read.segments[i].x, expected.x)
        assert read.segments[i].input == expected.input and read.segments[i].profile == expected.profile


def test_columns_that_are_learned_are_said(folder):
    with pytest.warns(ecgfm.InputWarning, match="labels are the columns of 0 and 1: fast, left axis"):
        gathered([str(folder / "ecgs" / "r00.npz")], str(folder / "labels.csv"), labels=None, groups="patient_id",
                 numbers=False, reading=Reading())  # fmt: skip


def tune(x, y, **more):
    more = {"epochs": 1, "batch_size": 6, "seed": 3, "progress": False, "trainable": "head", **more}
    return ecgfm.finetune("demo", x, y, **more)


@pytest.mark.filterwarnings("ignore::ecgfm.InputWarning")
def test_finetune_on_files_and_on_arrays(folder, read):
    """Files with a table give what their segments with arrays give, to the bit."""
    from_files = tune(folder / "ecgs", folder / "labels.csv", groups="patient_id", valid=0.34)
    sizes = [len(each) for each in read.segments]
    x = np.concatenate([each.x for each in read.segments])
    y, groups = np.repeat(read.y, sizes, axis=0), np.repeat(read.groups, sizes)
    from_arrays = tune(x, y, labels=LABELS, groups=groups, valid=0.34)
    assert from_files.model.labels == LABELS
    for name, values in from_arrays.model.state_dict().items():
        np.testing.assert_array_equal(from_files.model.state_dict()[name], values)


@pytest.mark.filterwarnings("ignore::ecgfm.InputWarning")
def test_records_and_a_table_in_memory(folder):
    records = [ecgfm.read(str(folder / "ecgs" / f"r{i:02}.npz")) for i in range(4)]
    table = {"file": [f"r{i:02}" for i in range(4)], "fast": [0, 1, 0, 1]}
    found = tune(records, table, sample_weight=[1, 2, 1, 0.5])
    assert found.model.labels == ("fast",)
    ages = tune(records, [[40.0], [50.0], [60.0], [np.nan]], loss="mse", labels=["age"], units=["years"])
    assert ages.model.target.units == ("years",) and ages.model.target.mean == (pytest.approx(48, abs=4),)


@pytest.mark.filterwarnings("ignore::ecgfm.InputWarning")
def test_what_cannot_be_read_is_left_out(folder, tmp_path):
    for name in ("r00", "r01", "r02"):
        (tmp_path / f"{name}.npz").write_bytes((folder / "ecgs" / f"{name}.npz").read_bytes())
    (tmp_path / "r03.npz").write_bytes((folder / "ecgs" / "r03.npz").read_bytes()[:500])
    (tmp_path / "r99.npz").write_bytes((folder / "ecgs" / "r00.npz").read_bytes())
    with pytest.warns(UserWarning, match="1 of 4 recordings were skipped"):
        with pytest.warns(ecgfm.InputWarning, match="1 of 5 recordings are in no row of the labels"):
            found = gathered(tmp_path, folder / "labels.csv", labels=LABELS, groups=None, numbers=False,
                             reading=Reading())  # fmt: skip
    assert found.places == [0, 1, 2] and [one.file.endswith("r03.npz") for one in found.failed] == [True]
    assert len(found.unlabelled) == 1
    np.testing.assert_array_equal(found.weights(np.arange(5)), [0, 1, 2])
    with pytest.raises(ecgfm.ConfigError, match="sample_weight"):
        found.weights([1, 2])


@pytest.mark.parametrize(
    "change, error, match",
    [
        ({"y": None}, ecgfm.LabelError, "there are no labels"),
        ({"y": {"fast": [1]}}, ecgfm.LabelError, "no column says which recording"),
        ({"y": {"file": ["r00"], "age": [41]}}, ecgfm.LabelError, "no column holds 0 and 1 alone; there are 'age'"),
        ({"y": {"file": ["r77"], "fast": [1]}}, ecgfm.LabelError, "none of the 12 recordings is in the labels"),
        ({"labels": ["slow"]}, ecgfm.LabelError, "slow"),
        ({"groups": "patient"}, ecgfm.LabelError, "there is no column 'patient'"),
        ({"y": np.zeros((3, 1))}, ecgfm.LabelError, "3 rows of labels for 12 recordings"),
        ({"numbers": True}, ecgfm.LabelError, "labels says which column is to be learned"),
    ],
)
@pytest.mark.filterwarnings("ignore::ecgfm.InputWarning")
def test_refusals(folder, change, error, match):
    how = {"y": folder / "labels.csv", "labels": None, "groups": None, "numbers": False, "reading": Reading()} | change
    with pytest.raises(error, match=match):
        gathered(folder / "ecgs", how.pop("y"), **how)


def test_patients_that_are_not_known(folder):
    """As in an evaluation: each is one of its own, which is said."""
    table = {"file": ["r00", "r01", "r02", "r03"], "fast": [1, 0, 1, 0], "who": ["A", "", "A", None]}
    files = [str(folder / "ecgs" / f"r{i:02}.npz") for i in range(4)]
    with pytest.warns(ecgfm.InputWarning, match="of 2 recordings the patient is not known"):
        found = gathered(files, table, labels=["fast"], groups="who", numbers=False, reading=Reading())
    assert found.groups == [0, 1, 0, 2]


def test_what_is_a_recording(folder, tmp_path):
    record = ecgfm.ecg.simulate(5, 500)
    (tmp_path / "train.npy").write_bytes(b"")
    for one in (folder / "ecgs", str(folder / "ecgs" / "r00.npz"), record, [record, record], [str(folder)]):
        assert is_recordings(one)
    for one in ("manifests/train.tsv", tmp_path / "train.npy", np.zeros((2, 12, 2500)), [ecgfm.prepare(record)], [], 3):
        assert not is_recordings(one)

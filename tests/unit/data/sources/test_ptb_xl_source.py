"""PTB-XL as a source of preprocessing: 500 Hz files where they are there, else those of 100 Hz; and its labels."""

import warnings

import data_sets
import numpy as np
import pytest

from ecgfm import InputWarning
from ecgfm.cli.main import main
from ecgfm.data import preprocess, ptb_xl_labels, read_mat


@pytest.fixture
def raw(tmp_path):
    return data_sets.ptb_xl(tmp_path / "ptb-xl", 6, high=(0, 2), folds=(1, 8, 9), seconds=10)


def test_preprocess(raw, tmp_path):
    with pytest.warns(InputWarning, match="100 Hz file") as said:
        summary = preprocess("ptb-xl", tmp_path / "out", raw)
    assert len([one for one in said if "100 Hz" in str(one.message)]) == 1
    assert (summary.records, summary.skipped, summary.segments) == (6, 0, 12)
    meta = data_sets.read_table(tmp_path / "out/meta.csv")
    assert [row["sample_rate"] for row in meta] == ["500", "100", "500", "100", "100", "100"]
    assert [row["save_file"] for row in meta][:2] == ["ptb_xl_00001.mat", "ptb_xl_00002.mat"]
    assert meta[0]["patient_id"] == "1000.0" and meta[2]["strat_fold"] == "8" and meta[0]["units"] == "mv"
    org = read_mat(tmp_path / "out/org/ptb_xl_00002.mat")
    np.testing.assert_allclose(org["feats"], data_sets.signal(10, 100, seed=1), atol=6e-4)


def test_one_rate_alone_is_not_said_where_all_500_hz_files_are_there(tmp_path):
    raw = data_sets.ptb_xl(tmp_path / "ptb-xl", 2, high=range(2), seconds=6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert preprocess("ptb_xl", tmp_path / "out", raw, stages=["segmented"]).records == 2


def test_labels_of_what_was_preprocessed(raw, tmp_path, capsys):
    (raw / "records100/00000/00002_lr.dat").unlink()
    out = tmp_path / "out"
    options = ["--processed_root", str(out), "--raw_root", str(raw)]
    assert main(["preprocess", "ptb-xl", *options, "--stages", "segmented", "--no_parallel"]) == 1
    meta = {row["ecg_id"]: row for row in data_sets.read_table(out / "meta.csv")}
    assert "2" not in meta and len(meta) == 5
    assert main(["labels", "ptb-xl", *options, "--task", "rhythm"]) == 0
    assert "1 recordings without a label of the task are left out" in capsys.readouterr().out
    rows = data_sets.read_table(out / "labels/labels.csv")
    assert [row["save_file"] for row in rows] == [f"ptb_xl_{i:05d}.mat" for i in (1, 3, 4, 5)]
    assert [row["idx"] for row in rows] == [meta[i]["idx"] for i in "1345"]
    labels = ptb_xl_labels(raw, "rhythm", out / "meta.csv")
    y = np.load(out / "labels/y.npy")
    np.testing.assert_array_equal(y[labels.idx], labels.y)
    assert labels.names == ["AFIB", "SR"] and labels.y[:, 0].tolist() == [False, True, False, True]


def test_names_that_lead_out_of_the_folder(raw, tmp_path):
    rows = data_sets.read_table(raw / "ptbxl_database.csv")
    rows[0]["filename_hr"] = "../../secret"
    data_sets.write_table(raw / "ptbxl_database.csv", rows)
    with pytest.warns(InputWarning):
        summary = preprocess("ptb_xl", tmp_path / "out", raw, stages=["segmented"])
    assert summary.skipped == 1
    errors = data_sets.read_table(tmp_path / "out/errors.csv")
    assert "not a path in the data set" in str(errors[0])

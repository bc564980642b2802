"""Logs of a run: CSV files that grow and forget, lines that a terminal can show."""

import csv
import os

import pytest

from ecgfm.errors import ConfigError, FormatError
from ecgfm.training.logs import CsvLog, Log
from ecgfm.training.settings import Report


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_rows_and_new_columns(tmp_path):
    CsvLog(tmp_path).write("valid", 1, {"loss": 1.5})
    log = CsvLog(tmp_path)  # another run
    log.write("valid", 2, {"loss": float("nan"), "auroc": 0.5})
    log.write("valid", 3, {"auroc": 0.25})
    expected = [{"step": "1", "loss": "1.5", "auroc": ""}, {"step": "2", "loss": "", "auroc": "0.5"}]
    assert rows(tmp_path / "valid.csv") == [*expected, {"step": "3", "loss": "", "auroc": "0.25"}]


def test_later_rows_and_a_cut_line_are_forgotten(tmp_path):
    log = CsvLog(tmp_path)
    for step in (1, 2, 3):
        for tag in ("train", "valid", "valid_labels"):
            log.write(tag, step, {"loss": step})
    with open(tmp_path / "train.csv", "a") as file:
        file.write("4")
    (tmp_path / "label_def.csv").write_text("name\na\n")
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "fifo.csv")
    CsvLog(tmp_path).forget_after(2, ["valid", "valid_labels"])
    assert [row["step"] for row in rows(tmp_path / "train.csv")] == ["1", "2"]
    for tag in ("valid", "valid_labels"):  # of step 2 they are written again
        assert [row["step"] for row in rows(tmp_path / f"{tag}.csv")] == ["1"]
    assert (tmp_path / "label_def.csv").read_text() == "name\na\n"


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00", b"step,a\n1," + b"x" * 100_000, b'step,a\n1,"' + b"\n" * 10 + b"x" * 200_000]
)
def test_what_is_no_log(tmp_path, content):
    (tmp_path / "valid.csv").write_bytes(content)
    with pytest.raises(FormatError) as caught:
        CsvLog(tmp_path).forget_after(1)
    assert caught.value.path.endswith("valid.csv")


def test_lines_hold_no_controls(tmp_path, capsys):
    log = Log(Report(log_format="simple", log_file=str(tmp_path / "log.txt")), tmp_path)
    log.say("damaged segment skipped: \x1b[2J\u202ename\n: " + "x" * 5000)
    log.close()
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and "\x1b" not in out and "\u202e" not in out and len(out) < 2200
    assert (tmp_path / "log.txt").read_text() == out


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "absent", "long"])
def test_a_log_file_that_cannot_be(tmp_path, kind):
    path = {"device": "/dev/zero", "absent": tmp_path / "a" / "b", "long": tmp_path / ("x" * 300)}.get(
        kind, tmp_path / "log"
    )
    if kind == "fifo":
        os.mkfifo(path)
    if kind == "folder":
        path.mkdir()
    with pytest.raises(ConfigError) as caught:
        Log(Report(log_format="simple", log_file=str(path)), tmp_path)
    assert caught.value.field == "common.log_file"

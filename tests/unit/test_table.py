"""Table: columns, CSV, JSON, text; files are replaced as a whole."""

import csv
import io
import json
import os
import stat
import sys

import numpy as np
import pytest

from ecgfm import Error, MissingExtraError, Table
from ecgfm.storage.atomic import replacing, write_text


def table():
    return Table(
        {
            "file": ["a,b", 'quo"te', "line\nend"],
            "n": [1, 2, 3],
            "p": np.array([0.1, np.nan, 1 / 3], np.float32),
            "q": [0.1, np.inf, 1e-300],
            "ok": [True, False, True],
        }
    )


def test_columns():
    t = table()
    assert t.columns == ["file", "n", "p", "q", "ok"] and len(t) == 3 and "p" in t and "x" not in t
    assert t["n"].tolist() == [1, 2, 3] and "3 rows" in repr(t)
    with pytest.raises(KeyError, match="the columns are file, n"):
        t["x"]
    assert len(Table({})) == 0 and Table({}).to_csv() == "\n"


@pytest.mark.parametrize("columns, field", [({"a": [1], "b": [1, 2]}, "b"), ({"a": [[1]]}, "a"), ({"a": 1}, "a")])
def test_columns_that_do_not_fit(columns, field):
    with pytest.raises(Error) as caught:
        Table(columns)
    assert caught.value.field == field


def test_csv_reads_back():
    rows = list(csv.DictReader(io.StringIO(table().to_csv())))
    assert [row["file"] for row in rows] == ["a,b", 'quo"te', "line\nend"]
    assert [row["p"] for row in rows] == ["0.1", "", "0.33333334"]
    assert [float(row["q"]) for row in rows] == [0.1, np.inf, 1e-300]
    assert [np.float32(row["p"]) for row in rows if row["p"]] == [np.float32(0.1), np.float32(1 / 3)]
    assert table().to_csv(float_format="%.2f").splitlines()[1] == '"a,b",1,0.10,0.10,True'


def test_json_reads_back():
    rows = json.loads(table().to_json())
    assert rows[0] == {"file": "a,b", "n": 1, "p": 0.1, "q": 0.1, "ok": True}
    assert rows[1]["p"] is None and rows[1]["q"] is None
    assert rows[2]["p"] == 0.33333334


def test_text():
    lines = table().to_text().splitlines()
    assert lines[0].split() == ["file", "n", "p", "q", "ok"]
    assert str(Table({"n": np.arange(30)})).splitlines()[-1] == "... 10 more rows"


def test_pandas_or_its_absence(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"ecgfm\[tables\]"):
        table().to_pandas()


def test_pandas():
    pandas = pytest.importorskip("pandas")
    frame = table().to_pandas()
    assert isinstance(frame, pandas.DataFrame) and list(frame.columns) == table().columns
    assert frame["p"].dtype == np.float32


def test_files(tmp_path):
    table().to_csv(tmp_path / "t.csv")
    table().to_json(tmp_path / "t.json")
    assert (tmp_path / "t.csv").read_bytes().decode() == table().to_csv()
    assert (tmp_path / "t.json").read_text() == table().to_json() + "\n"
    assert sorted(os.listdir(tmp_path)) == ["t.csv", "t.json"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        with replacing(path) as temporary:
            with open(temporary, "w") as file:
                file.write("half")
            raise KeyboardInterrupt
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["t.csv"]


def test_replacing_keeps_permissions_and_links(tmp_path):
    path, link = tmp_path / "t.csv", tmp_path / "link.csv"
    path.write_text("old")
    path.chmod(0o640)
    link.symlink_to("t.csv")
    write_text(link, "new\r\n\udcff")
    assert link.is_symlink() and path.read_bytes() == b"new\r\n\\udcff"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    umask = os.umask(0o027)
    try:
        write_text(tmp_path / "fresh", "x")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "fresh").stat().st_mode) == 0o640


def test_what_is_no_file_is_written_to(tmp_path):
    write_text("/dev/null", "x")
    assert not os.path.isfile("/dev/null")
    with pytest.raises(OSError):
        write_text(tmp_path, "x")
    with pytest.raises(OSError):
        write_text(tmp_path / "absent" / "t.csv", "x")

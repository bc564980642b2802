"""CSV tables: rows and columns say the same, and tables that are added to lose nothing but what was half written."""

import csv

import numpy as np
import pytest

from ecgfm.errors import FormatError
from ecgfm.storage.columns import read_columns, whole_number, whole_numbers
from ecgfm.storage.inputs import open_text
from ecgfm.storage.rows import AppendedRows, RowWriter, csv_rows, csv_text, read_blocks, read_rows, write_rows


@pytest.mark.parametrize("count", [0, 1, 511, 512, 513, 5000])
def test_blocks_hold_what_rows_do(tmp_path, count):
    rows = [{"a": str(i), "b": 'x "quoted", \n' if i % 7 == 0 else "y" * (i % 90), "c": ""} for i in range(count)]
    write_rows(tmp_path / "t.csv", ["a", "b", "c"], rows)
    columns, found = read_rows(tmp_path / "t.csv")
    assert columns == ["a", "b", "c"] and list(found) == rows
    blocks = list(read_blocks(tmp_path / "t.csv", ["c", "b"]))
    assert [text for block in blocks for text in block["b"]] == [row["b"] for row in rows]
    assert all(set(block) == {"b", "c"} for block in blocks)
    assert read_columns(tmp_path / "t.csv", ["a"], once=["a"]) == {"a": [row["a"] for row in rows]}


def test_a_column_that_stands_twice(tmp_path):
    write_rows(tmp_path / "t.csv", ["a"], ({"a": i % 1000} for i in range(1001)))
    with pytest.raises(FormatError, match="a: line 1002: 0 stands twice"):
        read_columns(tmp_path / "t.csv", ["a"], once=["a"])


@pytest.mark.parametrize("text, line", [("a,b\n1,2\n3\n", 3), ("a,b\n\n1,2\n3,4,5\n", 4)])
def test_rows_of_another_length(tmp_path, text, line):
    (tmp_path / "t.csv").write_text(text)
    for read in (lambda: list(read_rows(tmp_path / "t.csv")[1]), lambda: list(read_blocks(tmp_path / "t.csv", "a"))):
        with pytest.raises(FormatError, match="fields for 2 columns") as caught:
            read()
        assert caught.value.field == f"line {line}"


@pytest.mark.parametrize("bad", ["1,2,3\n", '"x\n', "1,\udcff\n", "1," + "x" * 3000 + "\n"])
def test_rows_before_a_damaged_one_are_given(tmp_path, bad):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "1,2\n" * 700 + bad, encoding="utf-8", errors="surrogateescape")
    found = []
    with open_text(path) as file, pytest.raises(FormatError) as caught:
        for row in csv_rows(file, path, even=True, longest=2000):
            found.append(row)
    if "\udcff" in bad:  # text is decoded before it is divided
        assert "codec can't decode" in str(caught.value)
    else:
        assert len(found) == 701 and caught.value.field == "line 702"


def test_a_row_without_end(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n" + '"x\n",' * 2_500_000)
    with pytest.raises(FormatError, match="characters in a row"):
        list(read_rows(tmp_path / "t.csv")[1])


TEXTS = ["0", "7", "12.0", " 5", "+4", "1_000", "1e3", "\u0663", "-0", "9007199254740991", "9007199254740992", "-1",
         "", "nan", "inf", "1.5", "x", "0x10", "9" * 5000, "0" * 500 + "1", "1e400"]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_columns_of_numbers_mean_what_their_cells_do(text):
    for column in (["3", text], [text], ["3.0", text]):
        try:
            expected = [whole_number(one, "t.csv", "idx") for one in column]
        except FormatError as error:
            with pytest.raises(FormatError) as caught:
                whole_numbers(column, "t.csv", "idx")
            assert (caught.value.field, caught.value.message) == ("idx", f"line {len(column) + 1}: {error.message}")
        else:
            found = whole_numbers(column, "t.csv", "idx")
            assert found.dtype == np.int64 and found.tolist() == expected


def test_a_writer_that_fails_leaves_the_old_table(tmp_path):
    (tmp_path / "t.csv").write_text("old\n")
    with pytest.raises(ZeroDivisionError):
        with RowWriter(tmp_path / "t.csv", ["a"]) as writer:
            writer.write({"a": 1})
            raise ZeroDivisionError
    with pytest.raises(OSError):
        with RowWriter(tmp_path / "absent" / "t.csv", ["a"]):
            pass
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old\n"]


def contents(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_appended_rows(tmp_path):
    path = tmp_path / "t.csv"
    AppendedRows(path).append({"step": 1, "a": 'x,"\n'})
    table = AppendedRows(path)
    table.append({"step": 2, "b": 5})
    table.append({"step": 3})
    assert contents(path) == [["step", "a", "b"], ["1", 'x,"\n', ""], ["2", "", "5"], ["3", "", ""]]
    table.keep(lambda row: row["step"] != "2")
    assert contents(path) == [["step", "a", "b"], ["1", 'x,"\n', ""], ["3", "", ""]]


@pytest.mark.parametrize("cut", ["4", "4,1.", "4,1.5,2"])
@pytest.mark.parametrize("add", [False, True])
def test_a_line_that_was_cut_off_is_dropped(tmp_path, cut, add):
    """Also one that could be a row: of 1.5625 the kill may have left 1.5."""
    path = tmp_path / "t.csv"
    AppendedRows(path).append({"step": 3, "a": 1, "b": 2})
    with open(path, "a") as file:
        file.write(cut)
    if add:
        AppendedRows(path).append({"step": 4, "a": 2, "b": 3})
    else:
        AppendedRows(path).keep(lambda row: True)
    assert contents(path) == [["step", "a", "b"], ["3", "1", "2"], *[["4", "2", "3"]] * add]


def test_csv_text():
    assert csv_text([["a", "b"], [1, None], ['"', "x\ny"]]) == 'a,b\n1,\n"""","x\ny"\n'

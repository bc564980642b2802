"""Names of recordings in tables: every ending that is read may be missing there."""

import pytest

from ecgfm.data.tables.keys import Names as KeyNames
from ecgfm.inference.matching import Names
from ecgfm.io import ENDINGS, FORMATS
from ecgfm.io.names import parts_of, without_ending


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_ending_may_be_missing(ending):
    assert without_ending(f"a.b{ending}") == ("a.b", ending)
    assert without_ending(f"A{ending.upper()}.GZ") == ("A", f"{ending}.gz")
    assert Names({"p/a": 3}).row(f"/data/p/a{ending}") == 3
    names = KeyNames()
    names.add(f"/data/p/a{ending}", 3)
    assert names.find("p/a") == {3}


def test_every_format_is_among_them():
    assert {suffix for form in FORMATS for suffix in form.suffixes} <= set(ENDINGS)
    assert {".mwf", ".atc", ".hea", ".dat", ".json"} <= set(ENDINGS)


@pytest.mark.parametrize("file", ["a", "a.b", "a.csvx", "a.12", ".csv", ".gz", "", "a.csv\n", "a.csv ", "csv"])
def test_what_is_no_ending_is_part_of_the_name(file):
    assert without_ending(file) == (file, "")


def test_parts():
    assert parts_of("..\\x//./y/../a.hea") == ["x", "y", "a.hea"] and parts_of("/") == parts_of("") == []

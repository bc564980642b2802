"""The examples of docs/inputs.md, and that its table has every field."""

import doctest
import os
import re
from pathlib import Path

import ecgfm
from ecgfm.specs.inputs import ECG_FM

PAGE = Path(__file__).resolve().parents[3] / "docs" / "inputs.md"
DEMO = os.path.join(os.path.dirname(ecgfm.__file__), "assets", "demo")


def test_the_page_says_what_happens():
    options = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
    failed, tried = doctest.testfile(
        str(PAGE), module_relative=False, encoding="utf-8", globs={"checkpoint": DEMO}, optionflags=options
    )
    assert tried > 10 and not failed


def test_the_table_has_every_field_and_its_default():
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", PAGE.read_text("utf-8"), re.MULTILINE))
    assert list(rows) == list(ECG_FM.to_dict())
    for name, value in ECG_FM.to_dict().items():
        assert name == "leads" or rows[name].startswith((f"`{value}`", f"{value}")), name

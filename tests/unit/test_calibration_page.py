"""The examples of docs/calibration.md."""

import doctest
import warnings
from pathlib import Path

import ecgfm

PAGE = Path(__file__).resolve().parents[2] / "docs" / "calibration.md"
DEMO = Path(__file__).resolve().parents[2] / "ecgfm" / "assets" / "demo"


def test_the_page_says_what_happens(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        failed, tried = doctest.testfile(
            str(PAGE), module_relative=False, encoding="utf-8", globs={"model": ecgfm.load(DEMO)}
        )
    assert tried > 8 and failed == 0

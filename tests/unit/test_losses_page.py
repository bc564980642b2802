"""The examples of docs/losses.md."""

import doctest
import warnings
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "losses.md"
DEMO = Path(__file__).resolve().parents[2] / "ecgfm" / "assets" / "demo"


def test_the_page_says_what_happens(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        failed, tried = doctest.testfile(
            str(PAGE), module_relative=False, encoding="utf-8", globs={"checkpoint": str(DEMO)}
        )
    assert tried > 7 and failed == 0

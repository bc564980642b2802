"""The examples of docs/finetuning.md."""

import doctest
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "finetuning.md"
DEMO = Path(__file__).resolve().parents[2] / "ecgfm" / "assets" / "demo"


def test_the_page_says_what_happens(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testfile(
        str(PAGE),
        module_relative=False,
        encoding="utf-8",
        globs={"checkpoint": str(DEMO)},
        optionflags=doctest.ELLIPSIS,
    )
    assert tried > 30 and failed == 0

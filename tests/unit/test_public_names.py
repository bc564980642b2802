"""Every name that the pages, the notebooks and the packages' faces speak of is there."""

import json
import re
from importlib import import_module
from pathlib import Path

import pytest

import ecgfm

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "notebooks").glob("*.ipynb"))]
NAME = re.compile(r"(?<![\w./-])ecgfm((?:\.[A-Za-z_]\w*)+)(?![\w/])")
#: Keys of the configuration group `ecgfm` of the commands ecgfm-hydra-*.
KEYS = {"keep_one_lead", "recompute", "on_nonfinite", "cmsc_all_ranks", "max_bad_segments", "threads"}
FACES = ("ecgfm", "ecgfm.checkpoint", "ecgfm.data", "ecgfm.ecg", "ecgfm.inference", "ecgfm.labeler", "ecgfm.model",
         "ecgfm.ranks", "ecgfm.training", "ecgfm.view")  # fmt: skip


def text_of(page):
    if page.suffix == ".ipynb":
        return "\n".join("".join(cell["source"]) for cell in json.loads(page.read_text("utf-8"))["cells"])
    return page.read_text("utf-8")


def resolve(dotted):
    """What a dotted name means: modules as far as there are any, then attributes."""
    value, module = ecgfm, "ecgfm"
    for part in dotted.split(".")[1:]:
        inner = module and f"{module}.{part}"
        try:
            value, module = import_module(inner) if inner else getattr(value, part), inner
        except ModuleNotFoundError as error:
            if error.name != inner:
                raise
            value, module = getattr(value, part), None
    return value


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_of_pages(page):
    absent = set()
    for match in NAME.finditer(text_of(page)):
        name = "ecgfm" + match[1]
        if name.split(".")[1] in KEYS or Path(name).suffix in {".py", ".pt"}:
            continue
        try:
            resolve(name)
        except AttributeError:
            absent.add(name)
    assert not absent


@pytest.mark.parametrize("face", FACES)
def test_names_of_faces(face):
    module = import_module(face)
    assert module.__all__
    for name in module.__all__:
        assert getattr(module, name) is not None
    assert set(module.__all__) <= set(dir(module))

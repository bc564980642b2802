"""What catches every exception can hide mistakes of ours: the few places that may are listed, and say why."""

import ast
from pathlib import Path

import pytest

import ecgfm
from ecgfm.errors import carried, defect, is_defect

PACKAGE = Path(ecgfm.__file__).parent

#: Function -> why it may catch Exception (or all) without raising it again.
ALLOWED = {
    "cli/main.py: run_command": "the outermost place: what is not of the input ends as a defect, status 3",
    "ranks.py: ending_together": "the outermost place of a rank: the same",
    "io/__init__.py: _reading": "the outermost place of a reader: the defect is named, its cause kept",
    "data/build/stages.py: _read": "the outermost place of a source's reader, which may be a user's own: the same",
    "io/common.py: parsing": "libraries raise anything on a damaged file; a mistake of ours is raised again",
    "cli/fairseq/files.py: _composed_by_hydra": "hydra raises anything; a mistake of ours is raised again",
    "storage/npy.py: read_header": "NumPy's parser of Python text raises anything; none of our code is in it",
    "checkpoint/hub.py: _files": "what a lost connection raises depends on the HTTP client; one call of the library",
    "checkpoint/hub.py: _downloaded": "the same",
    "checkpoint/hub.py: _download": "the same",
    "workers.py: _serve": "the exception goes to the process that started this one, which raises it",
    "workers.py: serve_work": "the exception goes to the first rank, which raises it",
}


def broad(tree):
    """(name of the function, line) of each handler of all exceptions that doesn't end by raising what it caught."""

    def visit(node, function):
        for child in ast.iter_child_nodes(node):
            inside = child.name if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)) else function
            if isinstance(child, ast.ExceptHandler):
                kinds = child.type.elts if isinstance(child.type, ast.Tuple) else [child.type]
                names = [getattr(kind, "id", getattr(kind, "attr", None)) for kind in kinds]
                last = child.body[-1]
                raised = isinstance(last, ast.Raise) and last.exc is None
                if (child.type is None or {"Exception", "BaseException"} & set(names)) and not raised:
                    yield function, child.lineno
            yield from visit(child, inside)

    yield from visit(tree, None)


def test_every_broad_catch_has_its_reason():
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for function, line in broad(ast.parse(path.read_text(encoding="utf-8"))):
            found.setdefault(f"{path.relative_to(PACKAGE).as_posix()}: {function}", []).append(line)
    assert sorted(found) == sorted(ALLOWED)
    assert all(len(lines) == 1 for name, lines in found.items() if "hub" in name), found


@pytest.mark.parametrize(
    "code",
    [
        "try: f()\nexcept: pass",
        "try: f()\nexcept Exception: pass",
        "try: f()\nexcept (OSError, BaseException) as e: g(e)",
        "try: f()\nexcept builtins.Exception: raise ValueError",
    ],
)
def test_they_are_found(code):
    assert len(list(broad(ast.parse(code)))) == 1


@pytest.mark.parametrize("code", ["try: f()\nexcept BaseException:\n g()\n raise", "try: f()\nexcept OSError: pass"])
def test_others_are_not(code):
    assert not list(broad(ast.parse(code)))


def test_mistakes_of_ours_are_told_from_damaged_data(monkeypatch):
    """A mistake arises in a line of the package; what a library raises, or a ValueError of the data, is none."""
    from ecgfm import table

    def caught(call):
        try:
            call()
        except Exception as error:
            return error
        raise AssertionError("nothing was raised")

    monkeypatch.setattr(table, "str", None, raising=False)
    ours = caught(lambda: table.Table({"a": [1]}))
    assert is_defect(ours) and "TypeError in table.py, line " in defect(ours)
    assert not is_defect(caught(lambda: ast.literal_eval(3))) and not is_defect(TypeError("never raised"))
    assert not is_defect(caught(lambda: ast.parse("(")))
    there = carried(ours).with_traceback(None)
    assert "in table.py, line " in defect(there) and "Traceback" in there.debug

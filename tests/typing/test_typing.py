"""What static checkers see of the package: good scripts pass, mistakes are found, the stub is that of the extension."""

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
SCRIPTS = sorted(HERE.glob("*/*.py"))
MARK = "  # mistake"


def run(*command):
    return subprocess.run([sys.executable, "-m", *map(str, command)], capture_output=True, text=True, cwd=ROOT)


def mypy(scripts):
    """The lines that mypy complains about: (file, line). Strict, as the package itself, of which it knows the types."""
    done = run("mypy", "--output=json", "ecgfm", *scripts)
    assert done.returncode in (0, 1), done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {(Path(each["file"]).name, each["line"]) for each in found if each["severity"] == "error"}


def pyright(scripts):
    if shutil.which("node") is None:
        pytest.skip("pyright needs node")
    done = run("pyright", "--outputjson", "--project", ROOT / "pyproject.toml", *scripts)
    try:
        found = json.loads(done.stdout)["generalDiagnostics"]
    except ValueError:
        pytest.skip(f"pyright does not run here: {(done.stderr or done.stdout)[-300:]}")
    errors = [each for each in found if each["severity"] == "error"]
    return {(Path(each["file"]).name, each["range"]["start"]["line"] + 1) for each in errors}


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_scripts(checker):
    if find_spec(checker.__name__) is None:
        pytest.skip(f"{checker.__name__} is not installed")
    wanted = {
        (script.name, number)
        for script in SCRIPTS
        for number, line in enumerate(script.read_text("utf-8").splitlines(), 1)
        if line.endswith(MARK)
    }
    assert len(wanted) > 10
    assert checker(SCRIPTS) == wanted


def test_names_without_running_code():
    """The names that type checkers see are those that `__getattr__` finds."""
    import ast

    import ecgfm

    tree = ast.parse((ROOT / "ecgfm/__init__.py").read_text("utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name))
    seen = {alias.asname or alias.name for node in ast.walk(block) for alias in getattr(node, "names", ())}
    assert seen == {*ecgfm._WHERE, *ecgfm._MODULES, "_core"}
    assert set(ecgfm._WHERE) < set(ecgfm.__all__)

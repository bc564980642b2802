"""What CI holds every file to: one layout, no common mistakes, types, functions and files of a readable length."""

import ast
import inspect
import re
import shutil
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LONGEST_MODULE, LONGEST_FUNCTION = 450, 60  # lines; a function's docstring is not counted
#: Modules and functions that are longer, and why.
LONGER = {"ecgfm/training/trainer.py": "half of it is the docstrings of one public class"}


def tracked(*patterns):
    """Files under version control; skips where this is no checkout."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    done = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / line for line in done.stdout.splitlines()]


def run(*command):
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


def module(name, *arguments):
    if find_spec(name.split(".")[0]) is None:
        pytest.skip(f"{name} is not installed: pip install 'ecgfm[dev]'")
    run(sys.executable, "-m", name, *arguments)


def test_layout_of_python():
    module("ruff", "format", "--check", ".")


def test_lint():
    module("ruff", "check", ".")


def test_layout_of_c():
    beside = Path(sys.executable).parent / "clang-format"
    program = str(beside) if beside.exists() else shutil.which("clang-format")
    if program is None:
        pytest.skip("clang-format is not installed: pip install 'ecgfm[dev]'")
    version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    if " 14." not in version:
        pytest.skip(f"another clang-format than 14 lays out otherwise: {version.strip()}")
    run(program, "--dry-run", "-Werror", *tracked("csrc/*.[ch]", "tests/c/*.[ch]"))


@pytest.fixture(scope="module")
def checkers():
    """The two that take long, started together; each test waits for its own."""
    if find_spec("mypy") is None:
        pytest.skip("mypy is not installed: pip install 'ecgfm[dev]'")
    commands = {"types": ["-m", "mypy"], "stub": ["scripts/check_stub.py"]}
    started = {
        name: subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for name, command in commands.items()
    }
    yield started
    for process in started.values():
        if process.returncode is None:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("name", ["types", "stub"])
def test_types_and_stub_of_the_extension(name, checkers):
    output, _ = checkers[name].communicate()
    assert checkers[name].returncode == 0, output[-4000:]


def length(node):
    """Lines of a function without its docstring."""
    lines = node.end_lineno - node.lineno + 1
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        lines -= first.end_lineno - first.lineno + 1
    return lines


def test_readable_lengths():
    found = {}
    for path in sorted((ROOT / "ecgfm").rglob("*.py")):
        text, name = path.read_text("utf-8"), str(path.relative_to(ROOT))
        if text.count("\n") > LONGEST_MODULE:
            found[name] = text.count("\n")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and length(node) > LONGEST_FUNCTION:
                found[f"{name}::{node.name}"] = length(node)
    assert set(found) <= set(LONGER), found


def test_makefile_runs_what_is_tested():
    """The targets `lint` and `types` name each tool."""
    text = (ROOT / "Makefile").read_text("utf-8")
    for tool in ("ruff format --check", "ruff check", "clang-format --dry-run", "mypy", "scripts/check_stub.py"):
        assert tool in text


def signatures(value):
    """The functions of a class, or the function itself."""
    if inspect.isfunction(value):
        yield value
        return
    for name, each in vars(value).items() if inspect.isclass(value) else ():
        each = each.fget if isinstance(each, property) else getattr(each, "__func__", each)
        public = not name.startswith("_") or name in ("__init__", "__call__", "__iter__", "__getitem__", "__array__")
        if public and inspect.isfunction(each) and (each.__module__ or "").startswith("ecgfm"):
            yield each


@pytest.mark.parametrize("face", ["", ".checkpoint", ".data", ".ecg", ".ecg.augment", ".inference", ".io", ".labeler",
                                  ".model", ".ranks", ".training", ".view"])  # fmt: skip
def test_public_names_are_annotated(face):
    module = import_module("ecgfm" + face)
    for name in module.__all__:
        value = getattr(module, name)
        if not getattr(value, "__module__", "").startswith("ecgfm"):
            continue
        for function in signatures(value):
            signature = inspect.signature(function)
            bare = [each for each in signature.parameters.values() if each.annotation is each.empty]
            assert {each.name for each in bare} <= {"self", "cls"}, f"{function.__qualname__}: {bare}"
            assert signature.return_annotation is not signature.empty, function.__qualname__


def test_keywords_of_training():
    """The names that type checkers know of `Trainer(**settings)` are the fields of its settings."""
    from dataclasses import fields

    from ecgfm.signal.augment import PERTURBATIONS
    from ecgfm.training import keywords
    from ecgfm.training.objectives import OBJECTIVES

    known = set(keywords.SettingKeywords.__annotations__)
    own = {"num_labels", "labels", "pos_weight", "label_weight", "target", "units"}
    own |= {"cmsc_all_ranks", "perturbation_mode", "p"}
    taken = {field.name for each in OBJECTIVES.values() for field in fields(each.settings_type)}
    options = {name for _, names in PERTURBATIONS.values() for name in names}
    assert known == own | taken | options


def test_map_of_the_package():
    """`ecgfm/README.md` has a line for each module, and the floors as the test of floors has them."""
    text = (ROOT / "ecgfm/README.md").read_text("utf-8")
    listed = set(re.findall(r"^\| `([\w/]+\.py)` \|", text, flags=re.M))
    there = {str(path.relative_to(ROOT / "ecgfm")) for path in (ROOT / "ecgfm").rglob("*.py")}
    there -= {name for name in there if Path(name).name in ("__init__.py", "__main__.py")}
    assert listed == there, listed ^ there
    sys.path.insert(0, str(ROOT / "tests/unit"))
    try:
        import test_floors
    finally:
        sys.path.pop(0)
    floors = re.findall(r"^\d+\. (.*)$", text, flags=re.M)
    stated = [set(re.findall(r"`(\w+)`", line)) for line in floors]
    assert stated == [set(rooms) for rooms in test_floors.FLOORS]

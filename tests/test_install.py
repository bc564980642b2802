"""The three ways to install: from the tree, editable, and a wheel built from the source distribution.

They go into a fresh virtual environment, one after the other, from a copy of the tree without what was built in it, and
must run the model that ships in the package. The wheel is built as users get it; the others without optimisation, which
takes a third of the time.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARTS = ["csrc", "ecgfm", "setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"]


UNOPTIMISED = {"ECGFM_DEBUG": "1"}


def run(*command, cwd, variables=()):
    """Runs a command far away from the tree's own package; its standard output."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "ECGFM", "COV"))}
    environment.update(variables)
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of what is needed to build, without anything that was built before."""
    target = tmp_path_factory.mktemp("tree")
    built = shutil.ignore_patterns("*.so", "*.o", "__pycache__", "*.egg-info", "build")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, target / part, ignore=built)
        else:
            shutil.copy(ROOT / part, target / part)
    return target


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A fresh virtual environment."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", folder, cwd=folder)
    return folder


@pytest.fixture
def python(environment):
    """The interpreter of the environment, in which the package is not installed, before and afterwards."""
    yield environment / "bin" / "python"
    run(environment / "bin" / "python", "-m", "pip", "uninstall", "-q", "-y", "ecgfm", cwd=environment)
    found = "from importlib.util import find_spec; print(find_spec('ecgfm'))"
    assert run(environment / "bin" / "python", "-c", found, cwd=environment).strip() == "None"


def check(python, away):
    away.mkdir()
    assert "Not for clinical use" in run(python, "-m", "ecgfm", "demo", "--seed", "1", cwd=away)
    assert "Sinus rhythm" in run(python.parent / "ecgfm", "demo", "--seed", "1", cwd=away)
    code = "import ecgfm, sys; ecgfm._core.onednn(); print(ecgfm.__file__, 'scipy' in sys.modules)"
    return run(python, "-c", code, cwd=away)


def test_from_the_tree(tree, python, tmp_path):
    run(python, "-m", "pip", "install", "-q", tree, cwd=tmp_path, variables=UNOPTIMISED)
    assert str(python.parents[1]) in check(python, tmp_path / "away")


def test_editable(tree, python, tmp_path):
    run(python, "-m", "pip", "install", "-q", "-e", tree, cwd=tmp_path, variables=UNOPTIMISED)
    assert str(tree) in check(python, tmp_path / "away")


def test_a_wheel_from_the_source_distribution(tree, python, tmp_path):
    run(python, "-m", "pip", "install", "-q", "build", cwd=tmp_path)
    run(python, "-m", "build", "-q", "--outdir", tmp_path / "dist", tree, cwd=tmp_path)  # the sdist, the wheel from it
    (sdist,), (wheel,) = (tmp_path / "dist").glob("*.tar.gz"), (tmp_path / "dist").glob("*.whl")
    names = tarfile.open(sdist).getnames()
    for needed in ("csrc/base/status.h", "csrc/python/module.c", "ecgfm/assets/demo/model.safetensors", "LICENSE"):
        assert any(name.endswith(needed) for name in names), needed
    names = zipfile.ZipFile(wheel).namelist()
    for needed in ("assets/demo/model.safetensors", "assets/demo/config.json", "_core.pyi", "py.typed"):
        assert f"ecgfm/{needed}" in names
    assert not [name for name in names if name.startswith(("tests", "csrc", "benchmarks")) or "libdnnl" in name]
    run(python, "-m", "pip", "install", "-q", wheel, cwd=tmp_path)
    assert str(python.parents[1]) in check(python, tmp_path / "away")

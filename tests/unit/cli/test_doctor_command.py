"""ecgfm doctor: one page, or JSON; status 0 when all runs."""

import json

import pytest

import ecgfm
from ecgfm import machine
from ecgfm.cli import doctor
from ecgfm.cli.main import main


@pytest.fixture
def run(capsys):
    def call(*argv):
        status = main(list(map(str, argv)))
        return status, *capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def facts():
    return machine.about()


@pytest.fixture
def known(monkeypatch, facts):
    """known(**parts): these facts in place of those of the machine."""

    def install(**parts):
        monkeypatch.setattr(machine, "about", lambda: facts | parts)

    return install


def test_the_page(run, facts):
    status, out, err = run("doctor")
    assert status == 0 and err == ""
    lines = out.splitlines()
    assert lines[0].startswith(f"ecgfm {ecgfm.__version__}, Python ") and len(lines) < 60
    assert max(map(len, lines)) <= 120
    for word in ("processor", "affinity", "threads", "limits", "huge pages", "OpenMP", "extras", "libdnnl.so.3"):
        assert word in out
    assert all(f"{name} " in out for name in facts["precisions"])
    assert "To mend:" in out or "Nothing is missing." in out


def test_json_holds_all_of_it(run, facts):
    status, out, err = run("doctor", "--json")
    found = json.loads(out)
    assert status == 0 and err == "" and set(facts) < set(found)
    assert list(found["runs"]) == facts["precisions"]
    assert all(one["ms"] > 0 and one["error"] is None for one in found["runs"].values())


def test_without_kernels(run, known):
    known(error="libdnnl.so.3 was not found", threads=None, onednn=None, precisions=[], openmp=[])
    status, out, err = run("doctor")
    assert status == 2 and err == ""
    assert "the kernels can't be loaded: libdnnl.so.3 was not found. Install the package again." in " ".join(
        out.split()
    )


def test_a_precision_that_does_not_run(run, monkeypatch):
    def load(source, precision=None):
        raise ecgfm.Error("refused")

    monkeypatch.setattr(ecgfm, "load", load, raising=False)
    status, out, err = run("doctor")
    assert status == 2 and "float32 does not run: refused. Install the package again." in out


def test_extras_that_are_missing(run, known):
    known(extras={"io": {"scipy": "1.0", "wfdb": None}, "plot": {"matplotlib": "3.0"}})
    _, out, _ = run("doctor")
    assert "plot (matplotlib 3.0)" in out
    assert "ecgfm[io] (wfdb): pip install 'ecgfm[io]'" in " ".join(out.split())
    known(extras={})
    assert "not installed by pip" in run("doctor")[1]


def test_limits_of_a_container(run, known):
    known(cgroup={"version": 2, "processors": 1.5, "memory_mb": 4000.0, "memory_used_mb": 1000.0})
    assert "control group of version 2: 1.5 processors, 1,000 MB of 4,000 MB in use" in " ".join(
        run("doctor")[1].split()
    )
    known(cgroup={"version": None, "processors": None, "memory_mb": None, "memory_used_mb": None})
    assert "no control group" in run("doctor")[1]


@pytest.mark.parametrize("numbers, text", [([0, 1, 2, 5], "0-2,5"), ([3], "3"), ([1, 3], "1,3"), ([], "")])
def test_ranges(numbers, text):
    assert doctor._ranges(numbers) == text

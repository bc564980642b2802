"""The examples of docs/labeler.md and of the docstrings, the notebook, and the benchmark."""

import doctest
import importlib.util
import os
import tracemalloc
from pathlib import Path

import pytest
from bounded import PATIENCE_S
from environment import needs_kernel

from ecgfm import labeler

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_says_what_happens():
    failed, tried = doctest.testfile(str(ROOT / "docs" / "labeler.md"), module_relative=False, encoding="utf-8")
    assert tried > 15 and failed == 0


def test_the_docstrings_say_what_happens():
    from ecgfm.labeler import labeler as module

    for tested in (labeler, module):
        failed, tried = doctest.testmod(tested)
        assert tried > 0 and failed == 0


def test_the_notebook_runs(tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    pytest.importorskip("matplotlib")
    # The kernel is a process of its own, which finds the package where this one does.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))
    notebook = nbformat.read(ROOT / "notebooks" / "labeler.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "the notebook is kept without outputs"
    needs_kernel()
    nbclient.NotebookClient(notebook, timeout=PATIENCE_S, resources={"metadata": {"path": str(tmp_path)}}).execute()


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("benchmark_labeler", ROOT / "benchmarks" / "labeler.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_benchmark_measures_texts_that_all_differ(benchmark):
    texts = benchmark.reports(500)
    assert len(set(texts)) == 500 and texts == benchmark.reports(500) != benchmark.reports(500, seed=1)
    found = benchmark.measure(200)
    assert found["reports"] == 200
    assert all(value > 0 for value in found.values())
    assert any("labels_flat" in name for name in found)


def test_memory_does_not_grow_with_the_number_of_reports(benchmark):
    texts = benchmark.reports(250)
    own = labeler.Labeler()
    own.label(texts)  # what is made once, and what is kept of words and patterns, is there before the count begins
    peaks = []
    tracemalloc.start()
    try:
        for repeats in (2, 8):
            stream = own.stream((f"{text}, {i}" for i in range(repeats) for text in texts), chunk_size=50)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            assert sum(len(result) for result in stream) == repeats * len(texts)
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    assert peaks[1] < 1.25 * peaks[0]

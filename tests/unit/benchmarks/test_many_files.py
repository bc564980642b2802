"""benchmarks/many_files.py, on a few files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bounded import PATIENCE_S

PROGRAM = Path(__file__).resolve().parents[3] / "benchmarks" / "many_files.py"


@pytest.mark.parametrize("kind", ["npz", "npy", "csv", "mat"])
def test_it_measures(kind):
    if kind == "mat":
        pytest.importorskip("scipy", reason="needs the extra [io]")
    argv = ["--records", "10", "--turn", "4", "--size", "tiny", "--format", kind, "--seconds", "6", "--share", "0.5"]
    done = subprocess.run([sys.executable, PROGRAM, *argv], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["records"] == 10 and found["segments"]["files"] == 10 and found["segments"]["model"] > 0
    assert [files for files, _ in found["memory_mb"]] == [4, 8, 10]
    assert all(found[name][who] > 0 for name in ("segments_per_s", "processor_ms") for who in ("model", "files"))
    speeds = found["segments_per_s"]
    assert found["files_to_model"] == pytest.approx(speeds["files"] / speeds["model"], rel=0.02)


def test_it_measures_in_a_lower_precision():
    argv = ["--records", "4", "--turn", "4", "--size", "tiny", "--seconds", "6", "--precision", "int8"]
    done = subprocess.run([sys.executable, PROGRAM, *argv], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["precision"] == "int8"

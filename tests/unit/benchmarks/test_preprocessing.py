"""benchmarks/preprocessing.py, on a few recordings."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bounded import PATIENCE_S

PROGRAM = Path(__file__).resolve().parents[3] / "benchmarks" / "preprocessing.py"


def test_it_measures():
    pytest.importorskip("wfdb", reason="needs the extra [io]")
    argv = ["--records", "9", "--turn", "4", "--rates", "500,400", "--seconds-of-loading", "0.05"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", PROGRAM, *argv], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["records"] == 9 and found["largest_difference"] < 1e-6 and len(found["memory_mb"]) == 3
    for name in ("records_per_s", "records_per_processor_s"):
        assert set(found[name]) == {f"{kind} {who}" for kind in ("files", "memory") for who in ("ecgfm", "plain")}
        assert all(speed > 0 for speed in found[name].values())
    assert all(speed > 0 for pair in found["loader_segments_per_s_and_processor_s"].values() for speed in pair)

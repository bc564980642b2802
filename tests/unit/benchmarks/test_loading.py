"""The benchmark of loading: one short run of the whole."""

import json
import subprocess
import sys
from pathlib import Path

from bounded import PATIENCE_S

PROGRAM = Path(__file__).resolve().parents[3] / "benchmarks" / "loading.py"


def test_a_short_run(tmp_path):
    out = tmp_path / "found.json"
    command = [sys.executable, PROGRAM, "--segments", "20", "--epochs", "1", "--batch-size", "8", "--folder", tmp_path]
    done = subprocess.run([*map(str, command), "--json", str(out)], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())["found"]
    assert list(found) == ["packed", "packed, leads masked", "packed, pairs", ".mat files"]
    for name, each in found.items():
        assert each["segments_per_s"] > 0 and each["segments_per_processor_s"] > 0 and len(each["memory_mb"]) == 2, name
    assert [path.name for path in tmp_path.iterdir()] == ["found.json"]

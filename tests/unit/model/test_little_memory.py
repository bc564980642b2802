"""Memory that runs out: a MemoryError, never the end of the process; and once memory is back, all goes on."""

import json
import subprocess
import sys

import pytest
from bounded import PATIENCE_S

CHILD = """
import json, resource, sys
import numpy.random
import numpy as np
import ecgfm
from importlib.resources import files

MODEL = str(files("ecgfm") / "assets" / "demo")

def segments(count, samples):
    return np.random.default_rng(0).standard_normal((count, 12, samples)).astype(np.float32)

def size():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmSize"))

what, headroom = sys.argv[1], float(sys.argv[2])
ecgfm.set_num_threads(2)
ecgfm.load, ecgfm.Trainer  # imported: where Python's compiler runs out of memory, it finds mistakes that are not there
model = None if what == "load" else ecgfm.load(MODEL)
trainer = ecgfm.Trainer(model, num_labels=3) if what == "step" else None
if what == "forward":
    model(segments(1, 2500))  # its threads are there

def work(i):
    global model
    if what == "load":
        model = ecgfm.load(MODEL)
    elif what == "step":
        trainer.step(segments(2 + i, 2500), np.ones((2 + i, 3)))
    else:
        model(segments(2 + i, 2000 - 100 * i))

found = []
old = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (size() + int(headroom * 2**20), old[1]))
for i in range(3):
    try:
        work(i)
        found.append("done")
    except MemoryError:
        found.append("refused")
    except ecgfm.CheckpointError as error:
        found.append("refused" if "memory" in str(error) else str(error))
resource.setrlimit(resource.RLIMIT_AS, old)
for i in range(3):
    work(i + 3)
    work(i)
print(json.dumps(found))
"""


@pytest.mark.parametrize("headroom", [0.3, 3, 8, 26])
@pytest.mark.parametrize("what", ["load", "first", "forward", "step"])
def test_too_little_memory_is_an_error_and_passes(what, headroom):
    command = [sys.executable, "-c", CHILD, what, str(headroom)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert set(json.loads(ran.stdout)) <= {"done", "refused"}, ran.stdout
    assert headroom > 5 or "refused" in ran.stdout

"""Runs a line of Python on a hostile file in a process of its own, and says how it ended, what it took and what it
said.

Memory and processor time are bounded, ten times above what a right program takes; no test depends on the clock. A
process
that waits for something that never comes is ended after `PATIENCE_S`, which is far more than any machine needs.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass

PATIENCE_S = 300

_CHILD = """
import json, os, resource, sys
code, cpu_s, address_mb = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
import ecgfm
import numpy as np
import ecgfm.io, ecgfm.checkpoint, ecgfm.inference, ecgfm.cli.main
for name in ("scipy.io", "h5py", "pydicom", "wfdb", "ecgdatakit", "edfio"):
    try:
        __import__(name)
    except ImportError:
        pass

def status(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field + ":")) // 1024

def command(*words):
    from ecgfm.cli.main import main
    status = main(list(words))
    found["status"] = status

with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before, spent = status("VmRSS"), resource.getrusage(resource.RUSAGE_SELF)
resource.setrlimit(resource.RLIMIT_AS, ((status("VmSize") + address_mb) << 20,) * 2)
used = int(spent.ru_utime + spent.ru_stime)
resource.setrlimit(resource.RLIMIT_CPU, (used + cpu_s, used + cpu_s + 5))
found = {"raised": None, "named": False, "text": "", "status": None}
try:
    exec(code, {"ecgfm": ecgfm, "np": np, "command": command, "found": found})
except BaseException as error:
    found["raised"], found["named"] = type(error).__name__, isinstance(error, ecgfm.Error)
    found["text"], found["path"] = str(error), getattr(error, "path", None)
after = resource.getrusage(resource.RUSAGE_SELF)
found["mb"] = status("VmHWM") - before
found["cpu_s"] = after.ru_utime + after.ru_stime - spent.ru_utime - spent.ru_stime
sys.stderr.flush()
print("\\n" + json.dumps(found))
"""


@dataclass
class Ended:
    """How a process ended.

    Attributes
    ----------
    raised : str or None
        Name of the exception's class.
    named : bool
        Whether it is an `ecgfm.Error`.
    text, path : str or None
        Its text and its path.
    status : int or None
        What the last ``command(...)`` of the line returned.
    mb, cpu_s : float
        Memory at most and processor time beyond what importing took.
    out, err : str
        What it printed.
    signal : int or None
        The signal that ended the process.
    """

    raised: str = None
    named: bool = False
    text: str = ""
    path: str = None
    status: int = None
    mb: float = 0.0
    cpu_s: float = 0.0
    out: str = ""
    err: str = ""
    signal: int = None

    def refused(self, *words, mb=300, cpu_s=20):
        """Assert that it ended with an `ecgfm.Error` that is short, holds the words, and cost little."""
        assert self.named, f"not refused by name: {self}"
        for word in words:
            assert word in self.text, f"{word!r} is not in {self.text!r}"
        self.bounded(mb, cpu_s)

    def bounded(self, mb=300, cpu_s=20):
        """Assert that it ended by itself, said little, and cost little."""
        assert self.signal is None, f"ended by signal {self.signal}: {self.err[-500:]}"
        assert len(self.text) <= 2000 and self.text.isprintable(), f"said too much: {self.text[:300]!r}"
        assert self.mb <= mb, f"took {self.mb} MB"
        assert self.cpu_s <= cpu_s, f"took {self.cpu_s:.1f} s of processor time"

    def said_one_line(self, status=2, **limits):
        """Assert that a command ended with this status and one short line on stderr."""
        self.bounded(**limits)
        assert self.raised is None and self.status == status, self
        lines = self.err.rstrip("\n").split("\n")
        assert len(lines) == 1 and 0 < len(lines[0]) <= 2100, self.err[:2000]


def attack(code, folder, *, cpu_s=60, address_mb=4096):
    """Run Python code in `folder` and return how it `Ended`.

    The code sees ``ecgfm``, ``np`` and ``command(*words)``, which is the command line in the same process. Libraries of
    the readers are imported before anything is measured.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        ran = subprocess.run(
            [sys.executable, "-c", _CHILD, code, str(cpu_s), str(address_mb)],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE_S,
        )
    except subprocess.TimeoutExpired:
        raise AssertionError(f"waits for ever: {code}") from None
    out, err = ran.stdout.decode("utf-8", "replace"), ran.stderr.decode("utf-8", "replace")
    if ran.returncode != 0:
        return Ended(out=out, err=err, signal=-ran.returncode)
    shown, _, last = out.rstrip("\n").rpartition("\n")
    return Ended(out=shown, err=err, **json.loads(last))

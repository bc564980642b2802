"""Runs a line of Python on a hostile file in a process of its own, and says how it ended, what it took and what it
said.

Memory and processor time are bounded, ten times above what a right program takes; no test depends on the clock. A
process that waits for something that never comes is ended after `PATIENCE_S`, which is far more than any machine needs.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PATIENCE_S = 300

# Imports what the lines need, which takes longer than most of them, and forks for each.
_SERVER = """
import json, os, resource, sys
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

for line in sys.stdin:
    child = os.fork()
    if not child:
        break
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()

code, cpu_s, address_mb, folder, files = json.loads(line)
for number, name in enumerate(files):
    os.dup2(os.open(name, os.O_RDWR), number)
sys.stdin = open(0, closefd=False)
os.chdir(folder)
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


@cache
def _server():
    """The process that forks; it ends with this one."""
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(server.communicate)
    return server


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
    server = _server()
    with tempfile.TemporaryDirectory() as kept:
        out, err = Path(kept, "out"), Path(kept, "err")
        out.touch(), err.touch()
        request = [code, cpu_s, address_mb, str(folder), [os.devnull, str(out), str(err)]]
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        child = int(server.stdout.readline())
        watch = threading.Timer(PATIENCE_S, os.kill, (child, signal.SIGKILL))
        watch.start()
        status = int(server.stdout.readline())
        waited = watch.finished.is_set()
        watch.cancel()
        out, err = (path.read_bytes().decode("utf-8", "replace") for path in (out, err))
    assert not waited, f"waits for ever: {code}"
    if status != 0:
        return Ended(out=out, err=err, signal=-status)
    shown, _, last = out.rstrip("\n").rpartition("\n")
    return Ended(out=shown, err=err, **json.loads(last))

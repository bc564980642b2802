"""Runs ``ecgfm-hydra-train`` again and again, each time to be killed, or to find the disk full, at its k-th change of a
file. A program: reads ``[{"argv", "how", "at", "log"}]`` from stdin, writes ``[{"status", "changes"}]`` to stdout.

Everything is imported, and one configuration composed, before the runs are forked off, so that one takes a fraction of
a second.
"""

import builtins
import errno
import gc
import json
import os
import signal
import sys
import zipfile

import hydra  # noqa: F401
import omegaconf  # noqa: F401
import sklearn.metrics  # noqa: F401

import ecgfm.training.run  # noqa: F401
from ecgfm.cli.fairseq.compose import compose
from ecgfm.cli.hydra import train


class Disk:
    """Counts the changes of files, and lets one of them be the last."""

    def __init__(self, how, at):
        self.how, self.at, self.count = how, at, 0

    def change(self):
        self.count += 1
        if self.how == "kill" and self.count > self.at:
            os.kill(os.getpid(), signal.SIGKILL)

    def grow(self):
        """A change that needs space."""
        self.change()
        if self.how == "full" and self.count > self.at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def watch(self):
        def counted(function, count, wanted=lambda *args: True):
            def call(*args, **options):
                if wanted(*args, *options.values()):
                    count()
                return function(*args, **options)

            return call

        def written(path, mode="r", *more):
            return isinstance(mode, str) and set(mode) & set("wax+")

        for name in ("replace", "unlink", "remove", "link"):
            setattr(os, name, counted(getattr(os, name), self.change))
        os.fsync = counted(os.fsync, self.grow)
        builtins.open = counted(builtins.open, self.grow, written)
        zipfile.ZipFile.writestr = counted(zipfile.ZipFile.writestr, self.grow)


def run(job):
    """The exit status of one run, negative for a signal, and its changes of files."""
    read, write = os.pipe()
    child = os.fork()
    if child:
        os.close(write)
        with os.fdopen(read) as pipe:
            changes = pipe.read()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return {"status": status, "changes": int(changes) if changes else None}
    status = 99
    try:
        log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        disk = Disk(job["how"], job["at"])
        disk.watch()
        status = train(job["argv"])
        os.write(write, str(disk.count).encode())
    finally:
        os._exit(status)


if __name__ == "__main__":
    jobs = json.load(sys.stdin)
    compose(jobs[0]["argv"][-1], jobs[0]["argv"][:-2])
    gc.freeze()
    json.dump([run(job) for job in jobs], sys.stdout)

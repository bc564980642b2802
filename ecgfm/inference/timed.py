"""A model in a process of its own, that is timed and measured; it computes only while it is asked to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from .. import machine
from ..errors import Error
from ..kernels import core, set_num_threads
from ..model import Model, load

__all__ = ["TimedModel", "serve"]

_PACKAGE = Path(__file__).resolve().parents[1]
# What the process runs: this package, wherever it lies, and not one of that name in the current directory.
_PROGRAM = "import sys; sys.path[0] = {!r}; from ecgfm.inference.timed import serve; serve()"


class TimedModel:
    """This side of the process. A context manager.

    Parameters
    ----------
    source : str
        What `ecgfm.load` takes.
    precision : str
    threads : int
        With which it starts.

    Raises
    ------
    Error
        In each method, if the process could not do it or has ended: with its reason, in one line.
    """

    def __init__(self, source: str, precision: str, threads: int) -> None:
        self.precision = precision
        self._began = time.perf_counter()
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM.format(str(_PACKAGE.parent))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        try:
            self._ask("open", source=source, precision=precision, threads=threads)
        except BaseException:
            self.close()
            raise

    def first_answer(self, batch: int) -> tuple[float, float]:
        """Seconds from the start of the process to its first answer, and the MB (10^6 bytes) that it took at most."""
        self.run(batch, None, 0)
        seconds = time.perf_counter() - self._began
        return seconds, float(self._ask("memory")["mb"])

    def run(self, batch: int, threads: int | None, seconds: float) -> dict[str, Any]:
        """Runs for about so many seconds, at least one: ``seconds`` of each, and what ``others`` took of processors."""
        return self._ask("run", batch=batch, threads=threads, seconds=seconds)

    def peak(self, threads: int, seconds: float) -> float | None:
        """Measured operations per second of the precision; None if the processor has no instruction to measure."""
        found: float | None = self._ask("peak", threads=threads, seconds=seconds)["peak"]
        return found

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def __enter__(self) -> TimedModel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do} | arguments) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        answer: dict[str, Any] = json.loads(line) if line else {"error": self._last_words()}
        if "error" in answer:
            raise Error(answer["error"], field=self.precision)
        return answer

    def _last_words(self) -> str:
        status = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"the process that was timed ended with status {status}: {lines[-1] if lines else 'no message'}"


# ---- the other side -----------------------------------------------------------------------------------------------


def serve() -> None:
    """Answer commands, a line of JSON each, until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not mix with the answers
    timed = _Timed()
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = getattr(timed, command.pop("do"))(**command)
        except MemoryError as error:
            answer = {"error": str(error) or "not enough memory"}
        except (Error, ImportError, OSError) as error:
            answer = {"error": str(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


class _Timed:
    model: Model

    def open(self, source: str, precision: str, threads: int) -> dict[str, Any]:
        set_num_threads(threads)
        self.model = load(source, precision=precision)
        self.precision = precision
        self.segments: dict[int, Any] = {}
        return {}

    def run(self, batch: int, threads: int | None, seconds: float) -> dict[str, Any]:
        if threads is not None:
            set_num_threads(threads)
        x = self._segments(batch)
        found: list[float] = []
        busy, own, begin = machine.busy_seconds(), time.process_time(), time.perf_counter()
        while not found or time.perf_counter() - begin < seconds:
            start = time.perf_counter()
            self.model(x)
            found.append(time.perf_counter() - start)
        others = machine.busy_seconds() - busy - (time.process_time() - own)
        others -= len(os.sched_getaffinity(0)) / os.sysconf("SC_CLK_TCK")  # what counting in whole ticks may add
        return {"seconds": found, "others": max(0.0, others / (time.perf_counter() - begin))}

    def peak(self, threads: int, seconds: float) -> dict[str, Any]:
        try:
            return {"peak": core().peak_flops(threads, seconds, self.precision)}
        except Error:
            return {"peak": None}

    def memory(self) -> dict[str, Any]:
        return {"mb": machine.peak_memory_mb()}

    def _segments(self, batch: int) -> Any:
        """Waves of mean 0 and deviation 1: how long a run takes does not depend on the values, and no random numbers
        are imported, which who reads a file does not need.
        """
        if batch not in self.segments:
            leads, samples = int(self.model.config["in_d"]), self.model.input.samples
            one = np.sqrt(2.0) * np.sin(0.7 * np.arange(leads * samples)).reshape(leads, samples)
            self.segments = {batch: np.repeat(one[None].astype(np.float32), batch, axis=0)}
        return self.segments[batch]

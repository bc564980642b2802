"""How fast a model runs here: in each precision, for batches and numbers of threads; memory, first answer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import checkpoint, machine
from .._types import StrPath
from ..ecg.choices import Choices
from ..errors import ConfigError
from ..io.inputs import expand, segments_of
from ..kernels import core
from ..model import QuantizationReport, load, quantization_report
from ..specs.architecture import SIZE_KEYS, SIZES, Architecture
from ..specs.operations import operations
from ..specs.precision import FLOAT32, PRECISIONS
from ..validation import Choice, Number, Whole, checked
from .timed import TimedModel

__all__ = ["SIZES", "Speed", "measure_speed", "accuracy", "random_model"]

_LABELS = 17
_MOST_THREADS, _MOST_BATCH = 4096, 4096
_MOST_SEGMENTS = 1024
_PEAK_S = 0.1  # for which a peak is measured at least: on a busy machine most tries are interrupted


@dataclass(frozen=True)
class Speed:
    """What was measured.

    Attributes
    ----------
    model : dict
        ``name``, ``layers``, ``width``, ``parameters``, ``samples`` of a segment, ``operations`` of one.
    machine : dict
        What `ecgfm.machine.about` gives.
    rows : list of dict
        For each precision, batch and number of threads: ``ms`` a segment (median), ``ms_min``, ``runs``, ``gops``
        (10^9 operations a second), ``peak_gops`` and ``share_of_peak`` of that precision (None where the processor
        has no instruction to measure), ``times_float32`` (how many times as fast), ``others`` (the processors that
        other programs took). With the most threads also ``first_answer_s`` and ``memory_mb`` of a fresh process.
    absent : dict
        Precision -> why it was not measured.
    """

    model: dict[str, Any]
    machine: dict[str, Any]
    rows: list[dict[str, Any]]
    absent: dict[str, str]

    @property
    def busy(self) -> bool:
        """bool: whether other programs took part of what the model needed; then the figures are not to be trusted."""
        processors = len(self.machine["processor"]["allowed"])
        most = (0.9 * max(0, processors - row["threads"]) + 0.04 * row["threads"] for row in self.rows)
        return any(row["others"] > limit for row, limit in zip(self.rows, most))

    def line(self) -> str:
        """One line to share: each precision at the largest batch and most threads."""
        batch, threads = (max(row[key] for row in self.rows) for key in ("batch", "threads"))
        rows = [row for row in self.rows if (row["batch"], row["threads"]) == (batch, threads)]
        figures = []
        for row in rows:
            share = "" if row["share_of_peak"] is None else f" ({row['share_of_peak']:.0%} of peak)"
            figures.append(f"{row['precision']} {row['ms']:.3g}{share}")
        name = machine.short_name(self.machine["processor"]["name"])
        where = f"{name}, threads {threads}, batch {batch}, oneDNN {self.machine['onednn']['version']}"
        return f"ecgfm {self.model['ecgfm']} {self.model['name']} on {where}: {', '.join(figures)} ms a segment"

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        return asdict(self) | {"busy": self.busy, "line": self.line()}


def measure_speed(
    source: StrPath,
    *,
    name: str | None = None,
    precisions: Sequence[str] | None = None,
    batches: Sequence[int] = (1, 8),
    threads: Sequence[int] | None = None,
    rounds: int = 5,
    seconds: float = 0.5,
    starts: int = 3,
    progress: Callable[[str], object] | None = None,
) -> Speed:
    """Measure how fast a model runs here.

    Each precision is a process of its own that has loaded the model and waits. They take turns: in each round each
    computes for a while, another one begins, and the processor's peak is measured just before. The first run of a turn,
    in which threads wake up, is not counted.

    Parameters
    ----------
    source : str or path-like
        What `ecgfm.load` takes.
    name : str, optional
        What the model is called in the result; by default the name of its file.
    precisions : sequence of str, optional
        By default all that the processor supports.
    batches, threads : sequence of int
        By default one segment and eight, on one thread and on all.
    rounds : int
        Turns of each precision.
    seconds : float
        Length of a turn, at least one run.
    starts : int
        Fresh processes that are started for the time to the first answer and the memory.
    progress : callable, optional
        Gets a text that says what is measured now.

    Returns
    -------
    Speed

    Raises
    ------
    ConfigError
        If a number is out of range, or the processor supports none of the precisions.
    Error
        If the model can't be loaded, or a process ends.
    """
    say = progress or (lambda text: None)
    has = core().precisions()
    wanted = list(dict.fromkeys(checked(each, Choice(PRECISIONS), "precision") for each in precisions or PRECISIONS))
    absent = {each: "this processor lacks the instructions" for each in wanted if each not in has}
    wanted = [each for each in wanted if each in has]
    if not wanted:
        raise ConfigError(f"this processor supports {', '.join(has)} alone", field="precision")
    batches = sorted({checked(each, Whole(1, _MOST_BATCH), "batch") for each in batches})
    everything = int(core().processors())
    threads = sorted({checked(each, Whole(1, _MOST_THREADS), "threads") for each in threads or (1, everything)})
    checked(rounds, Whole(1, 1000), "rounds")
    checked(seconds, Number(0, at_most=60), "seconds")
    checked(starts, Whole(0, 100), "starts")
    path, about = _described(source, name)
    begun = _first_answers(path, wanted, batches, threads[-1], starts, say)
    rows = []
    with ExitStack() as stack:
        say("loading the model in each precision")
        ready = [stack.enter_context(TimedModel(path, each, threads[-1])) for each in wanted]
        for count in threads:
            for batch in batches:
                say(f"batch {batch}, threads {count}")
                found = _rows(ready, about, batch, count, _take_turns(ready, batch, count, rounds, seconds))
                rows += [
                    row | begun.get((row["precision"], batch), {}) if count == threads[-1] else row for row in found
                ]
    order = {each: i for i, each in enumerate(wanted)}
    rows.sort(key=lambda row: (order[row["precision"]], row["batch"], row["threads"]))
    return Speed(about, machine.about(), rows, absent)


@contextmanager
def random_model(size: str) -> Iterator[str]:
    """A directory with a classifier of random weights in a published size, that is gone after the block.

    Parameters
    ----------
    size : {"base", "large"}
    """
    checked(size, Choice(tuple(SIZES)), "size")
    keys = dict(zip(SIZE_KEYS, SIZES[size]))
    config = Architecture.of_kind("classifier", keys | {"num_labels": _LABELS}).config()
    rng = np.random.default_rng(0)
    tensors = {}
    for tensor, shape, (distribution, scale) in core().initial_values(config, "classifier"):
        if distribution in ("zeros", "ones"):
            tensors[tensor] = np.full(shape, distribution == "ones", np.float32)
        else:
            tensors[tensor] = rng.standard_normal(shape, dtype=np.float32) * np.float32(scale or 1)
    with TemporaryDirectory(prefix="ecgfm-speed-") as folder:
        path = os.path.join(folder, size)
        checkpoint.save(path, kind="classifier", config=config, tensors=tensors)
        del tensors
        yield path


def accuracy(source: StrPath, precisions: Sequence[str], recordings: Sequence[str] | None = None) -> QuantizationReport:
    """What precisions cost: `ecgfm.quantization_report` of a model, on recordings or on simulated ones.

    Parameters
    ----------
    source : str or path-like
        What `ecgfm.load` takes.
    precisions : sequence of str
    recordings : sequence of str, optional
        Files and folders, of which the first 1,024 segments are taken.
    """
    x, model = None, load(source, precision=FLOAT32)
    if recordings is not None:
        parts: list[NDArray[np.float32]] = []
        for _, one in expand(recordings):
            parts.append(segments_of(one, Choices(input=model.input)).x[:_MOST_SEGMENTS])
            if sum(map(len, parts)) >= _MOST_SEGMENTS:
                break
        x = np.concatenate(parts)[:_MOST_SEGMENTS] if parts else np.zeros((0, 1, 1), np.float32)
    return quantization_report(model, x, precisions=precisions)


def _described(source: StrPath, name: str | None) -> tuple[str, dict[str, Any]]:
    """Where the model lies, and what is said of it."""
    from .. import __version__

    with checkpoint.read(source) as found:
        kind = "classifier" if found.kind == "classifier" else "encoder"
        shapes = core().parameters(found.config, kind)
        model = Architecture.of_config(found.config)
        samples = found.input.samples
        return str(found.path), {
            "ecgfm": __version__,
            "name": name or Path(source).name,
            "layers": model.encoder_layers,
            "width": model.encoder_embed_dim,
            "parameters": sum(int(np.prod(shape)) for _, shape in shapes),
            "samples": samples,
            "operations": operations(model, samples),
        }


def _first_answers(
    path: str, wanted: list[str], batches: list[int], threads: int, starts: int, say: Callable[[str], object]
) -> dict[tuple[str, int], dict[str, float]]:
    """(precision, batch) -> what fresh processes took, which are started in turns."""
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for i in range(starts):
        say(f"first answers, {i + 1} of {starts}")
        for batch in batches:
            for precision in wanted:
                with TimedModel(path, precision, threads) as fresh:
                    found.setdefault((precision, batch), []).append(fresh.first_answer(batch))
    return {
        key: {"first_answer_s": float(np.median([each[0] for each in many])), "memory_mb": max(m for _, m in many)}
        for key, many in found.items()
    }


def _take_turns(
    ready: list[TimedModel], batch: int, threads: int, rounds: int, seconds: float
) -> list[dict[str, dict[str, Any]]]:
    """What each precision did in each round: ``seconds`` of its runs, ``others``, ``peak``."""
    for model in ready:
        model.run(batch, threads, 0)
    found = []
    for i in range(rounds):
        turn = {}
        for model in [*ready[i % len(ready) :], *ready[: i % len(ready)]]:
            peak = model.peak(threads, max(_PEAK_S, seconds / 4))
            model.run(batch, threads, 0)
            turn[model.precision] = model.run(batch, threads, seconds) | {"peak": peak}
        found.append(turn)
    return found


def _rows(
    ready: list[TimedModel], about: dict[str, Any], batch: int, threads: int, rounds: list[dict[str, dict[str, Any]]]
) -> list[dict[str, Any]]:
    """A row for each precision; ratios and shares are medians of those of single rounds."""
    work = batch * sum(about["operations"].values())
    medians = {m.precision: np.array([np.median(turn[m.precision]["seconds"]) for turn in rounds]) for m in ready}
    rows = []
    for precision, seconds in medians.items():
        runs = np.concatenate([turn[precision]["seconds"] for turn in rounds])
        peaks = [turn[precision]["peak"] for turn in rounds]
        known = None not in peaks
        row = {
            "precision": precision,
            "batch": batch,
            "threads": threads,
            "ms": 1e3 * float(np.median(runs)) / batch,
            "ms_min": 1e3 * float(runs.min()) / batch,
            "runs": len(runs),
            "gops": work / float(np.median(runs)) / 1e9,
            "peak_gops": float(np.median(peaks)) / 1e9 if known else None,
            "share_of_peak": float(np.median(work / seconds / np.array(peaks))) if known else None,
            "times_float32": float(np.median(medians[FLOAT32] / seconds)) if FLOAT32 in medians else None,
            "others": float(np.median([turn[precision]["others"] for turn in rounds])),
        }
        rows.append(row)
    return rows

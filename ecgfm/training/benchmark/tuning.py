"""Finetuning as a way of a benchmark: all weights, the best epoch by the validation fold, probabilities averaged."""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ...ecg import LEADS, Segments, prepare
from ...errors import ConfigError, Error, FormatError
from ...inference.opening import input_of
from ...inference.predict import predict
from ...machine import memory
from ...metrics.ranking import ranking
from ...model import load
from ...storage.atomic import remove
from ...storage.inputs import read_input
from ...storage.json import parse_json, write_json
from ..finetune import finetune
from .cells import Fit, Part

__all__ = ["Tuning", "tuned_fit"]

_MARK: Final = "benchmark.json"  # in a tuned model's folder, written last
_SECONDS = 10  # of a recording
_MOST_MARK = 1 << 16


@dataclass(frozen=True)
class Tuning:
    """How models are finetuned."""

    epochs: int
    learning_rate: float
    seed: int


def tuned_fit(part: Part, model: Any, told: str, files: Sequence[str], tuning: Tuning, folder: str) -> Fit:
    """Finetune a model on a part, or take it from an earlier run, and predict the test fold.

    Parameters
    ----------
    part : Part
    model : Model
        Where it begins.
    told : str
        What tells that from other models.
    files : sequence of str
        Of all recordings.
    tuning : Tuning
    folder : str
        The tuned model is kept in ``models/`` of it.

    Raises
    ------
    ConfigError
        If the segments take more memory than there is.
    Error
        If a recording can't be read.
    """
    what = json.dumps([told, vars(tuning), part.task.names, np.flatnonzero(part.train).tolist(),
                       np.flatnonzero(part.valid).tolist()])  # fmt: skip
    name = f"{part.task.name}-{part.share:g}-{zlib.crc32(what.encode()):08x}"
    path = os.path.join(folder, "models", name)
    mark = os.path.join(path, _MARK)
    seconds = _seconds_of(mark)
    if seconds is None:
        seconds = _tuned(part, model, files, tuning, path)
        write_json(mark, {"seconds": seconds})
    tuned, begin = load(path), time.perf_counter()
    of = {split: np.flatnonzero(getattr(part, split)) for split in ("valid", "test")}
    scores = {split: _scores(tuned, [files[i] for i in rows.tolist()]) for split, rows in of.items()}
    auroc = float(ranking(part.task.y[of["valid"]], scores["valid"])[0, -2])
    seconds += time.perf_counter() - begin
    about = f"epochs {tuning.epochs}, rate {tuning.learning_rate:g}"
    return Fit(scores["test"], auroc, about, True, tuned.num_parameters, seconds)


def _seconds_of(mark: str) -> float | None:
    """How long an earlier run took for a tuned model; None if there is none."""
    if not os.path.exists(mark):
        return None
    value = parse_json(read_input(mark, most=_MOST_MARK), path=mark)
    seconds = value.get("seconds") if isinstance(value, dict) else None
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or not 0 <= seconds < 1e9:
        raise FormatError("it does not say how long the model took", path=mark, remedy="Remove the model's folder")
    return float(seconds)


def _tuned(part: Part, model: Any, files: Sequence[str], tuning: Tuning, path: str) -> float:
    """Finetune and write the model; returns the seconds that it took."""
    begin = time.perf_counter()
    y = part.task.y.astype(np.float32)
    parts = {split: np.flatnonzero(getattr(part, split)) for split in ("train", "valid")}
    _check_memory(sum(map(len, parts.values())), model)
    x = {split: list(_segments([files[i] for i in rows.tolist()], model)) for split, rows in parts.items()}
    both = y[parts["valid"]]
    ranked = bool(((both.min(axis=0) == 0) & (both.max(axis=0) == 1)).any())
    tuned = finetune(
        model, x["train"], y[parts["train"]], valid=(x["valid"], both), epochs=tuning.epochs,
        monitor="auroc_macro" if ranked else "loss", seed=tuning.seed % (1 << 32), schedule=tuning.learning_rate,
        labels=list(part.task.names),
    )  # fmt: skip
    if tuned.interrupted:
        raise KeyboardInterrupt
    os.makedirs(os.path.dirname(path), exist_ok=True)
    remove(os.path.join(path, _MARK))
    tuned.model.save(path, force=True)
    return time.perf_counter() - begin


def _check_memory(recordings: int, model: Any) -> None:
    """Refuse segments that would take more than half of the memory that is left; they are held twice."""
    spec = input_of(model)
    count = max(1, int(_SECONDS * spec.sampling_rate) // spec.samples) * recordings
    needed, left = 2 * 4 * count * len(spec.leads or LEADS) * spec.samples / 1e6, memory()["available_mb"]
    if left is not None and needed > left / 2:
        raise ConfigError(
            f"the segments of {recordings:,} recordings take {needed:,.0f} MB, {left:,.0f} MB are left",
            field="ways",
            remedy="Finetune on a smaller share, such as --share 10, or leave finetune out",
        )


def _segments(files: Sequence[str], model: Any) -> Iterator[Segments]:
    for file in files:
        yield prepare(file, model)


def _scores(model: Any, files: Sequence[str]) -> NDArray[np.float64]:
    """(recordings, Y) mean probabilities."""
    if not files:
        return np.zeros((0, len(model.labels)))
    found = predict(model, list(files), aggregate="mean", on_error="raise", progress=False)
    if found.records["file"].tolist() != list(files):
        raise Error("not all recordings were predicted", field="finetune")
    return np.column_stack([np.asarray(found.records[name], np.float64) for name in model.labels])

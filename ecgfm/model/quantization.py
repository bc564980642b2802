"""How exact the lower precisions are for a model: measured on segments, against float32."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._types import StrPath
from ..ecg import Segments
from ..ecg.expected import prepared_here, refuse_other_input, refuse_other_order, warn_unprepared
from ..ecg.simulation.cohort import simulate_cohort
from ..errors import ConfigError, LabelError
from ..kernels import core, get_num_threads
from ..machine import processor_name
from ..metrics.intervals import weighted_ranking
from ..specs.inputs import ECG_FM, InputSpec
from ..specs.precision import FLOAT32, PRECISIONS
from ..validation import Choice, Whole, checked, real_array
from .loading import load
from .model import Model
from .report import Change, PrecisionChange, QuantizationReport

__all__ = ["quantization_report"]

_SIMULATED = 64  # patients, a segment each


def quantization_report(
    model: Model | StrPath,
    x: Segments | ArrayLike | None = None,
    y: ArrayLike | None = None,
    precisions: Iterable[str] | None = None,
    *,
    batch_size: int = 8,
) -> QuantizationReport:
    """Measure by how much lower precisions change a model's probabilities, against float32.

    Parameters
    ----------
    model : Model, or path-like
        A classifier in float32, from `ecgfm.load`; or what that takes.
    x : Segments or array_like, optional
        (n, 12, N), as for calling the model. By default 64 segments of simulated patients: the user's own tell more.
    y : array_like, optional
        (n, Y) which of the labels are true (1) of each segment; NaN is not known. With it, AUROCs are compared.
    precisions : iterable of str, optional
        By default all that this processor has.
    batch_size : int
        Segments at a time. The probabilities do not depend on it, the times do.

    Returns
    -------
    QuantizationReport
        ``print(report)`` shows it; ``model.save(path, report=report)`` or ``report.keep(directory)`` keeps it, and
        ``ecgfm.load(directory, precision="auto")`` goes by it.

    Raises
    ------
    ConfigError
        If the model has no labels or was rounded already, or a precision is not known or not there.
    SignalError
        If `x` is not what the model takes.
    LabelError
        If `y` has another shape.

    Examples
    --------
    >>> report = ecgfm.quantization_report(model, ecgfm.prepare(ecgfm.read("record.hea")))
    >>> report.of("int8").all.largest
    0.0079
    """
    model = model if isinstance(model, Model) else load(model, precision=FLOAT32)
    names = _checked_precisions(precisions)
    if model.kind != "classifier" or model.target is not None:
        what = "an encoder" if model.kind != "classifier" else "a regression model"
        raise ConfigError(f"{what} gives no probabilities to compare", path=model.source, field="model")
    if model.precision != FLOAT32 or model.precision_reason:
        what = "its weights were rounded already: what they were before is not known"
        raise ConfigError(what, path=model.source, field="model", remedy="Give the model in float32")
    batch_size = checked(batch_size, Whole(1), "batch_size")
    data = "simulated" if x is None else "given"
    segments: Any = _simulated(model.input) if x is None else x
    refuse_other_order(segments, "x", model.input)
    refuse_other_input(segments, model.input)
    warn_unprepared(segments if isinstance(x, Segments) else real_array(segments, "x"), model.input, stacklevel=2)
    before, ms = _probabilities(model, segments, batch_size)
    truth = _checked_truth(y, before.shape)
    labels = model.labels or tuple(f"label_{i}" for i in range(model.num_labels))
    changes = []
    for name in names:
        after, took = _probabilities(model.with_precision(name), segments, batch_size)
        each = [_change(*columns) for columns in zip(before.T, after.T, truth.T)]
        changes.append(PrecisionChange(name, _of_all(each), dict(zip(labels, each)), took))
    return QuantizationReport(tuple(changes), len(before), data, ms, processor_name(), get_num_threads(), batch_size)


def _simulated(spec: InputSpec) -> NDArray[np.float32]:
    """Segments of simulated patients, as the model takes them."""
    own = spec.duration_s == ECG_FM.duration_s
    duration_s = spec.duration_s if own else math.ceil(spec.duration_s) + 1.0
    return simulate_cohort(_SIMULATED, duration_s=duration_s).prepared(spec)[0]


def _checked_precisions(precisions: Iterable[str] | None) -> list[str]:
    has = [name for name in core().precisions() if name != FLOAT32]
    if precisions is None:
        return has
    names = [precisions] if isinstance(precisions, str) else list(precisions)
    names = [checked(name, Choice(PRECISIONS), "precisions") for name in names]
    for name in names:
        if name not in (FLOAT32, *has):
            raise ConfigError(f"this processor lacks the instructions for {name}", field="precisions")
    return [name for name in dict.fromkeys(names) if name != FLOAT32]


def _checked_truth(y: ArrayLike | None, shape: tuple[int, ...]) -> NDArray[np.float64]:
    if y is None:
        return np.full(shape, math.nan)
    try:
        truth = np.asarray(y, dtype=np.float64)
    except (TypeError, ValueError):
        raise LabelError("not an array of numbers", field="y") from None
    if truth.shape != shape:
        raise LabelError(f"the shape is {truth.shape}; for these segments and labels it is {shape}", field="y")
    return truth


def _probabilities(model: Model, x: Any, batch_size: int) -> tuple[NDArray[np.float64], float]:
    """(n, Y), and the milliseconds that a segment takes: those of the fastest batch, which nothing disturbed."""
    mask = getattr(x, "padding_mask", None)
    x = np.asarray(x)
    found, fastest = [], math.inf
    with prepared_here():
        model(x[:batch_size], None if mask is None else mask[:batch_size])  # makes what the others use
        for first in range(0, len(x), batch_size):
            rows = slice(first, first + batch_size)
            began = time.perf_counter()
            out = model(x[rows], None if mask is None else mask[rows])
            fastest = min(fastest, (time.perf_counter() - began) / len(out))
            found.append(np.asarray(out.probabilities, dtype=np.float64))
    return np.concatenate(found), 1000 * fastest


def _change(before: NDArray[np.float64], after: NDArray[np.float64], truth: NDArray[np.float64]) -> Change:
    """Of one label's probabilities (n,)."""
    difference = np.abs(after - before)
    known = ~np.isnan(truth)
    auroc = [
        float(weighted_ranking(scores[known], truth[known] == 1, np.ones((1, int(known.sum()))))[0, 0])
        for scores in (before, after)
    ]
    return Change(float(difference.max()), float(difference.mean()), spearman(before, after), auroc[1] - auroc[0])


def _of_all(each: list[Change]) -> Change:
    correlations = [change.rank_correlation for change in each if not math.isnan(change.rank_correlation)]
    aurocs = [change.auroc for change in each if not math.isnan(change.auroc)]
    return Change(
        max(change.largest for change in each),
        float(np.mean([change.mean for change in each])),
        float(np.mean(correlations)) if correlations else math.nan,
        max(aurocs, key=abs, default=math.nan),
    )


def spearman(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Spearman's rank correlation: Pearson's of the ranks, equal values sharing theirs; NaN where one is constant."""
    ranks = [_ranks(values) - (len(values) + 1) / 2 for values in (a, b)]
    norm = math.sqrt(float(ranks[0] @ ranks[0]) * float(ranks[1] @ ranks[1]))
    return float(ranks[0] @ ranks[1]) / norm if norm else math.nan


def _ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """1 ... n; of equal values the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: NDArray[np.float64] = last - (counts - 1) / 2
    return mean[place]

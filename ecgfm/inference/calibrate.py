"""Probabilities that can be trusted, and thresholds, of a model of one's own recordings: chosen on a validation set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._text import printable
from .._types import StrPath
from ..errors import ConfigError, LabelError
from ..metrics.calibration import LEAST, calibration_table, fit_isotonic, fit_platt, fit_temperature, reliability_table
from ..metrics.decisions import confusion
from ..metrics.thresholds import Rule, choose
from ..model.answers import saying
from ..model.model import Model
from ..specs.trust import CALIBRATIONS, Calibration, Curve, Thresholds
from ..table import Table
from ..validation import Choice, Seed, checked
from .aggregate import aggregate as aggregated
from .evaluate_about import About
from .judged import Judged, judged
from .opening import Inputs, ModelLike, as_asked, input_of, opened_model, target_of
from .stream import OnError, Progress, Reading

__all__ = ["AUTO", "METHODS", "Calibrated", "calibrate"]

AUTO: Final = "auto"
NONE: Final = "none"
METHODS: Final = (AUTO, *CALIBRATIONS, NONE)
FOLDS: Final = 5
_FITS: Final = {"temperature": fit_temperature, "platt": fit_platt, "isotonic": fit_isotonic}


@dataclass(eq=False)
class Calibrated:
    """A model that was calibrated, and what that brought.

    Attributes
    ----------
    model : Model
        The same network with its ``calibration`` and ``thresholds``.
    method : str
        Of the calibration; ``"none"`` where there is none, since none was better or asked for.
    table : Table
        A row per label, then ``macro`` and ``micro``: ``label``, ``n``, ``positives``, ``ece_before``, ``ece``,
        ``brier_before``, ``brier`` (after, out of fold), and of the labels ``threshold`` and, at it, ``true_positive``,
        ``false_positive``, ``false_negative``, ``true_negative``.
    reliability : Table
        The curves before and after, out of fold: ``when``, and as `ecgfm.metrics.calibration.reliability_table`.
    left : tuple of str
        Labels that are left as they are: fewer than 5 known positives or negatives, or logits that go the wrong way.
    """

    model: Model
    method: str
    table: Table
    reliability: Table
    left: tuple[str, ...]

    def to_text(self) -> str:
        """The table as text, and what there is to be said of it."""
        names = [printable(name) for name in self.table["label"]]
        width = max(map(len, names))
        lines = [f"Calibration: {self.method}; after is out of fold, by patients or recordings", ""]
        heads = ("positive", "ECE before", "after", "Brier before", "after", "threshold")
        lines.append(f"{'label':<{width}}  {'n':>6}" + "".join(f"  {head:>12}" for head in heads))
        for name, row in zip(names, self.table.rows()):
            numbers = (row[key] for key in ("ece_before", "ece", "brier_before", "brier", "threshold"))
            cells = "".join(f"  {'-' if value != value else f'{value:.4f}':>12}" for value in numbers)
            lines.append(f"{name:<{width}}  {row['n']:>6}  {row['positives']:>12}{cells}")
        if self.left:
            lines += ["", f"Left as they are: {', '.join(map(printable, self.left))}"]
        return "\n".join(lines)

    __str__ = to_text

    def __repr__(self) -> str:
        return f"Calibrated({self.method}, ECE {self.table['ece_before'][-1]:.4f} -> {self.table['ece'][-1]:.4f})"


def calibrate(
    model: ModelLike,
    inputs: Inputs,
    y: StrPath | ArrayLike | Table | Mapping[str, Any],
    *,
    method: str = AUTO,
    thresholds: str | None = "youden",
    aggregate: str = "tutorial",
    groups: str | Sequence[Any] | None = None,
    recordings: Sequence[Any] | None = None,
    seed: int = 0,
    batch_size: int = 8,
    sampling_rate: float | None = None,
    leads: str | Sequence[str] | None = None,
    missing_leads: str = "error",
    short: str | None = None,
    only_leads: str | Sequence[str] | None = None,
    overlap_s: float = 0.0,
    unit: str | None = None,
    readers: int = 2,
    on_error: str | OnError = "skip",
    progress: Progress | Literal[False] | None = None,
) -> Calibrated:
    """Calibrate a classifier on recordings that it was not trained on, and choose thresholds.

    Parameters
    ----------
    model : Model, or path-like
        A classifier, not changed. A calibration that it has is replaced.
    inputs, y, groups, recordings
        As for `ecgfm.evaluate`: recordings, their truth, and the patients.
    method : {"auto", "temperature", "platt", "isotonic", "none"}
        The curve of each label from logits to probabilities: with a factor, with a factor and a shift, or any that
        rises. "auto" takes the one of the least Brier score out of fold, none if none is better.
    thresholds : str or None
        ``youden`` (sensitivity and specificity together), ``sensitivity=0.9``, ``specificity=0.95`` (at least so much),
        ``cost=5`` (a missed positive costs as much as 5 false alarms); None for no thresholds.
    aggregate : {"tutorial", "mean", "max"}
        How segments make a recording's prediction, of which thresholds are.
    seed : int
        Of the folds.
    batch_size, sampling_rate, leads, missing_leads, short, only_leads, overlap_s, unit, readers, on_error, progress
        As for `ecgfm.predict`.

    Returns
    -------
    Calibrated
        ``found.model`` is the calibrated model: `ecgfm.predict` gives its probabilities, ``save`` keeps them in a model
        directory or ``.safetensors`` file (not in a ``.pt``, which a warning says). ``model(x)`` gives logits and
        probabilities as before.

    Raises
    ------
    ConfigError
        If an argument is out of range, or the model is none of labels.
    LabelError
        If `y` or `groups` don't fit.

    Notes
    -----
    Curves are fitted on the segments, each recording counting once; folds are of patients, or of recordings without.
    """
    checked(method, Choice(METHODS), "method")
    rule, seed = None if thresholds is None else Rule.of(thresholds), checked(seed, Seed(bits=128), "seed")
    ready = as_asked(opened_model(model, inputs), False)
    if target_of(ready) is not None or not isinstance(ready, Model):
        raise ConfigError("probabilities of labels are calibrated; this is no such model", field="model")
    reading = Reading(
        sampling_rate, leads, missing_leads, short, only_leads, overlap_s, unit, input_of(ready),
        batch_size=batch_size, readers=readers,
    )  # fmt: skip
    about = About(groups, None)
    found = judged(ready, inputs, y, about, recordings, aggregate, reading, on_error, progress)
    _check_enough(found.truth, method, rule)
    return _calibrated(_Fitting(found, aggregate, seed), ready, method, rule)


def _check_enough(truth: NDArray[np.float64], method: str, rule: Rule | None) -> None:
    """Refuse recordings of which nothing can be learned."""
    fewest = np.minimum((truth == 0).sum(axis=0), (truth == 1).sum(axis=0)).max()
    if method != NONE and fewest < LEAST:
        raise LabelError(
            f"no label has {LEAST} recordings with it and {LEAST} without it",
            field="y",
            remedy="Give more recordings, or method='none' for thresholds alone",
        )
    if rule is not None and fewest < 1:
        raise LabelError("no label has a recording with it and one without it", field="y")


class _Fitting:
    """Curves of the segments of recordings whose truth is known."""

    def __init__(self, found: Judged, aggregate: str, seed: int) -> None:
        self.found, self.aggregate = found, aggregate
        self.sizes = np.bincount(found.record_of)
        self.truth = found.truth[found.record_of]
        groups = found.patient_of
        order = np.random.default_rng(seed).permutation(int(groups.max()) + 1)
        self.fold = (order[groups] % FOLDS)[found.record_of]

    def curves(self, method: str, rows: NDArray[np.bool_]) -> tuple[Curve | None, ...]:
        """Of each label, fitted on some of the segments; None of a label that is left as it is."""
        made: list[Curve | None] = []
        weight = 1 / self.sizes[self.found.record_of]
        for z, y in zip(self.found.segment_logits.T, self.truth.T):
            chosen = rows & ~np.isnan(y)
            counts = [weight[chosen & (y == value)].sum() for value in (0, 1)]
            enough = method != NONE and min(counts) > LEAST - 0.5
            made.append(_FITS[method](z[chosen], y[chosen] == 1, weight[chosen]) if enough else None)
        return tuple(made)

    def out_of_fold(self, method: str) -> NDArray[np.float32]:
        """Probabilities of the segments, each from curves that were fitted on other patients."""
        probabilities = np.empty(self.truth.shape, np.float32)
        for fold in range(FOLDS):
            here = self.fold == fold
            made = Calibration("platt", self.curves(method, ~here))
            probabilities[here] = made.probabilities(self.found.segment_logits[here])
        return probabilities

    def of_recordings(self, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        """What probabilities of segments make of recordings."""
        return aggregated(probabilities, self.sizes, self.found.labels, self.aggregate)

    def best(self) -> str:
        """The method of the least Brier score, a mean over labels, of recordings out of fold."""
        scores = {}
        for method in (NONE, *CALIBRATIONS):
            table = calibration_table(self.found.truth, self.of_recordings(self.out_of_fold(method)), self.found.labels)
            scores[method] = float(table["brier"][-2])
        return min(scores, key=lambda method: scores[method])


def _calibrated(fitting: _Fitting, model: Model, method: str, rule: Rule | None) -> Calibrated:
    found, labels = fitting.found, fitting.found.labels
    method = fitting.best() if method == AUTO else method
    curves = fitting.curves(method, np.ones(len(fitting.truth), bool))
    calibration = None
    if method != NONE:
        calibration = Calibration(method, curves, len(found.names))
    made = found.segment_logits if calibration is None else calibration.probabilities(found.segment_logits)
    after = found.scores if calibration is None else fitting.of_recordings(made)
    outside = fitting.of_recordings(fitting.out_of_fold(method))
    chosen = None
    if rule is not None:
        values = tuple(choose(t, s, rule) for t, s in zip(found.truth.T, after.T))
        chosen = Thresholds(str(rule), values, calibration is not None)
    left = [name for name, curve in zip(labels, curves) if curve is None] if calibration is not None else []
    return Calibrated(
        saying(
            model,
            calibration=None if calibration is None else calibration.to_dict(),
            thresholds=None if chosen is None else chosen.to_dict(),
        ),
        method,
        _table(found, outside, after, chosen),
        _reliability(found, outside),
        tuple(left),
    )


def _table(found: Judged, outside: NDArray[np.float32], after: NDArray[np.float32], chosen: Thresholds | None) -> Table:
    before, later = (calibration_table(found.truth, scores, found.labels) for scores in (found.scores, outside))
    columns: dict[str, Any] = {name: before[name] for name in ("label", "n", "positives")}
    for name in ("ece", "brier"):
        columns |= {f"{name}_before": before[name], name: later[name]}
    values = [np.nan if chosen is None or value is None else value for value in _of(chosen, len(found.labels))]
    at = np.array(values)
    counts = confusion(after, found.truth, at)[:, 0]
    columns["threshold"] = np.append(at, [np.nan, np.nan])
    names = ("true_positive", "false_positive", "false_negative", "true_negative")
    for name, kind in zip(names, counts):
        columns[name] = np.append(np.where(np.isnan(at), np.nan, kind), [np.nan, np.nan])
    return Table(columns)


def _of(chosen: Thresholds | None, count: int) -> tuple[float | None, ...]:
    return (None,) * count if chosen is None else chosen.values


def _reliability(found: Judged, outside: NDArray[np.float32]) -> Table:
    parts = [reliability_table(found.truth, scores, found.labels) for scores in (found.scores, outside)]
    when = np.repeat(["before", "after"], [len(part) for part in parts])
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0].columns}
    return Table({"when": when, **columns})

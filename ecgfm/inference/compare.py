"""Two models, or a model in two precisions, on the same recordings: paired differences."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._text import printable, shown
from .._types import StrPath
from ..errors import ConfigError, LabelError
from ..metrics.comparison import comparison_table
from ..metrics.ranking import METRICS, scikit_learn
from ..model.model import Model
from ..model.untrained import untrained_like
from ..table import Table, json_value, text_or_file
from ..validation import Seed, checked
from .evaluate_about import About
from .judged import Judged, checked_resampling, judged
from .opening import Inputs, ModelLike, Ready, input_of, opened_model, target_of
from .result import about as about_model
from .stream import OnError, Progress, Reading

__all__ = ["RANDOM_WEIGHTS", "Comparison", "compare"]

#: In place of the second model: one of the first one's architecture that has learnt nothing.
RANDOM_WEIGHTS: Final = "random weights"
_SEVERAL = "DeLong's p and interval are not given: patients have several recordings, and it takes them as independent"
_UNKNOWN = "DeLong's p and interval take each recording as a patient of its own (assumed: no groups are given)"
_ALONE = "DeLong's p and interval of AUROC are given: each patient has one recording"


@dataclass(eq=False)
class Comparison:
    """By how much two models differ on the same recordings.

    Attributes
    ----------
    table : Table
        A row per label, then ``macro`` and ``micro``; differences are those of the first model minus the second. See
        `ecgfm.metrics.comparison.comparison_table` for the columns.
    predictions : Table
        ``record``, ``patient`` if groups were given, and for each label ``a <label>``, ``b <label>`` and
        ``true <label>``.
    models : tuple of dict
        What is known of the two.
    settings : dict
        ``aggregate``, ``bootstrap``, ``confidence``, ``seed``, ``recordings``, ``patients`` (None without groups).
    delong : str
        Whether DeLong's method holds here, and why not.
    left_out : tuple of str
        Recordings that only one of the two could be run on.
    labels_left_out : tuple of str
        Labels that only one of the two has.
    """

    table: Table
    predictions: Table
    models: tuple[dict[str, Any], dict[str, Any]]
    settings: dict[str, Any]
    delong: str
    left_out: tuple[str, ...]
    labels_left_out: tuple[str, ...]

    @overload
    def to_csv(self, path: None = None) -> str: ...
    @overload
    def to_csv(self, path: StrPath) -> None: ...
    def to_csv(self, path: StrPath | None = None) -> str | None:
        """The table as CSV, as text or into a file."""
        return text_or_file(self.table.to_csv(), path, ".csv")

    @overload
    def to_json(self, path: None = None) -> str: ...
    @overload
    def to_json(self, path: StrPath) -> None: ...
    def to_json(self, path: StrPath | None = None) -> str | None:
        """Everything but the predictions as a JSON object, as text or into a ``.json`` file; NaN becomes null."""
        made = {
            "models": [json_value(one) for one in self.models],
            "settings": self.settings,
            "table": self.table.json_rows(),
            "delong": self.delong,
            "left_out": json_value(self.left_out),
            "labels_left_out": json_value(self.labels_left_out),
        }
        return text_or_file(json.dumps(made, indent=1), path, ".json", "\n")

    def to_text(self) -> str:
        """The table as text, and how to read it."""
        names = [_name(one) for one in self.models]
        lines = [f"a: {names[0]}", f"b: {names[1]}", "", *_rows(self.table), ""]
        unit = f"{self.settings['patients']} patients" if self.settings["patients"] is not None else "recordings"
        count, share = self.settings["bootstrap"], f"{100 * self.settings['confidence']:g} %"
        lines.append("Differences are a minus b, per recording.")
        if count:
            lines.append(
                f"In brackets: {share} intervals of {count} resamples of {unit}, both models on the same draw;"
            )
            lines.append("p: twice the smaller share of resamples on one side of 0, the data counted as one more;")
            lines.append("p of single labels is not corrected for the number of labels.")
        lines.append(f"{self.delong}.")
        for lone, what in ((self.left_out, "recordings"), (self.labels_left_out, "labels")):
            if lone:
                listed = ", ".join(map(printable, lone[:10])) + ", ..." * (len(lone) > 10)
                lines.append(f"Left out, {len(lone)} {what} that one of the two alone has: {listed}")
        return "\n".join(lines)

    __str__ = to_text

    def __repr__(self) -> str:
        macro = float(self.table["auroc_difference"][-2])
        return f"Comparison({len(self.predictions)} records, difference of macro AUROC {macro:+.4f})"


def compare(
    model_a: ModelLike,
    model_b: ModelLike,
    inputs: Inputs,
    y: StrPath | ArrayLike | Table | Mapping[str, Any],
    *,
    aggregate: str = "tutorial",
    groups: str | Sequence[Any] | None = None,
    recordings: Sequence[Any] | None = None,
    bootstrap: int = 1000,
    confidence: float = 0.95,
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
) -> Comparison:
    """Compare two classifiers on the same recordings: differences of AUROC and AUPRC, with intervals and p.

    Parameters
    ----------
    model_a, model_b : Model, or path-like
        Classifiers, from `ecgfm.load`, or what that takes; also one model in two precisions
        (``model.with_precision("bfloat16")``). The second may be ``"random weights"``: the first one's network with
        random weights drawn from `seed`, to see what the weights are worth.
    inputs, y, aggregate, groups, recordings
        As for `ecgfm.evaluate`. Each model gets the recordings as it takes them, with its own rate and length.
    bootstrap : int
        Resamples of patients (`groups`), or of recordings where none are given; both models are scored on the same
        draw. 0 for none.
    confidence : float
        Of the intervals, between 0 and 1.
    seed : int
        Of the resamples, and of random weights.
    batch_size, sampling_rate, leads, missing_leads, short, only_leads, overlap_s, unit, readers, on_error, progress
        As for `ecgfm.predict`.

    Returns
    -------
    Comparison

    Raises
    ------
    LabelError
        If the models have no label in common, or `y` doesn't fit them; and as for `ecgfm.evaluate`.
    ConfigError
        If an argument is out of range, or a model has no labels.

    Examples
    --------
    >>> print(ecgfm.compare(model, model.with_precision("int8"), files, "labels.csv", groups="patient_id"))
    """
    first = opened_model(model_a, inputs)
    resampling = checked_resampling(bootstrap, confidence, seed)
    second = _second(first, model_b, checked(seed, Seed(bits=128), "seed"))
    if isinstance(inputs, Iterator):
        inputs = list(inputs)
    scikit_learn("compare")  # absent, it is noticed before the work
    about = About(groups, None)
    found = []
    for model in (first, second):
        if target_of(model) is not None:
            raise ConfigError("a regression model says numbers; labels are compared", field="model_a")
        reading = Reading(
            sampling_rate, leads, missing_leads, short, only_leads, overlap_s, unit, input_of(model),
            batch_size=batch_size, readers=readers,
        )  # fmt: skip
        found.append(judged(model, inputs, y, about, recordings, aggregate, reading, on_error, progress))
    return _comparison(found[0], found[1], resampling, aggregate)


def _second(first: Ready, model: ModelLike, seed: int) -> Ready:
    if not (isinstance(model, str) and model.replace("-", " ") == RANDOM_WEIGHTS and not os.path.exists(model)):
        return opened_model(model)
    if not isinstance(first, Model):
        raise ConfigError(f"a {type(first).__name__} has no network of which another can be made", field="model_b")
    return untrained_like(first, seed)


def _comparison(a: Judged, b: Judged, resampling: dict[str, Any], aggregate: str) -> Comparison:
    labels = [name for name in a.labels if name in b.labels]
    if not labels:
        few = ", ".join(shown(name) for name in b.labels[:5])
        raise LabelError(f"the models have no label in common; those of the second are {few}", field="labels")
    rows = _common_rows(a.names, b.names)
    columns = [np.array([one.labels.index(name) for name in labels]) for one in (a, b)]
    scores = [one.scores[at][:, kept] for one, at, kept in zip((a, b), rows, columns)]
    truths = [one.truth[at][:, kept] for one, at, kept in zip((a, b), rows, columns)]
    if not np.array_equal(truths[0], truths[1], equal_nan=True):
        raise LabelError(
            "the truth is not the same for both models", field="y", remedy="Give the labels by their names"
        )
    patients = np.unique(a.patient_of[rows[0]], return_inverse=True)[1]
    table = comparison_table(scores[0], scores[1], truths[0], patients, labels, **resampling)
    several = len(np.unique(patients)) < len(patients)
    count = None if a.patients is None else int(patients.max()) + 1
    settings = {"aggregate": aggregate, **resampling, "recordings": len(patients), "patients": count}
    predictions: dict[str, Any] = {"record": [a.names[i] for i in rows[0]]}
    predictions |= {} if a.patients is None else {"patient": patients}
    for i, name in enumerate(labels):
        predictions |= {f"a {name}": scores[0][:, i], f"b {name}": scores[1][:, i], f"true {name}": truths[0][:, i]}
    return Comparison(
        table, Table(predictions), (about_model(a.model), about_model(b.model)), settings,
        _SEVERAL if several else _UNKNOWN if count is None else _ALONE,
        tuple(sorted({*a.names} ^ {*b.names})), tuple(name for name in (*a.labels, *b.labels) if name not in labels),
    )  # fmt: skip


def _common_rows(first: list[str], second: list[str]) -> list[NDArray[np.int64]]:
    """Where the recordings that both have stand in each, in the order of the first."""
    if first == second:
        return [np.arange(len(first))] * 2
    places = [{name: i for i, name in enumerate(names)} for names in (first, second)]
    if len(places[0]) < len(first) or len(places[1]) < len(second):
        raise LabelError("recordings of one name, of which not all could be run on both models", field="files")
    common = [name for name in first if name in places[1]]
    if not common:
        raise LabelError("no recording could be run on both models", field="files")
    return [np.array([place[name] for name in common], dtype=np.int64) for place in places]


def _name(about: Mapping[str, Any]) -> str:
    source = about.get("source")
    return printable(f"{'a model made from arrays' if source is None else source}, {about['precision']}")


def _rows(table: Table) -> Iterator[str]:
    """Lines of the table: label, counts, and of each metric both values, the difference, its interval and p."""
    width = max(len(printable(name)) for name in table["label"])
    heads = "  ".join(f"{metric.upper() + ' a':<8}  {'b':<6}  {'difference':<27}  {'p':<6}" for metric in METRICS)
    delong = not np.isnan(table["delong_p"]).all()
    yield f"{'label':<{width}}  {'n':>7}  {'positive':>8}  {heads}" + "  DeLong: difference, p" * delong
    for row in table.rows():
        cells = "  ".join(_cells(row, metric) for metric in METRICS)
        last = "" if math.isnan(row["delong_p"]) else (
            f"  [{row['delong_low']:+.4f}, {row['delong_high']:+.4f}]  {_p(row['delong_p'])}")  # fmt: skip
        yield f"{printable(row['label']):<{width}}  {row['n']:>7}  {row['positives']:>8}  {cells}{last}".rstrip()


def _cells(row: Mapping[str, Any], metric: str) -> str:
    difference, low, high, p = (row[f"{metric}_{name}"] for name in ("difference", "low", "high", "p"))
    if math.isnan(difference):
        return f"{'-':<8}  {'-':<6}  {'-':<27}  {'':<6}"
    interval = "" if math.isnan(low) else f" [{low:+.4f}, {high:+.4f}]"
    p = "" if math.isnan(p) else _p(p)
    return f"{row[f'{metric}_a']:<8.4f}  {row[f'{metric}_b']:<6.4f}  {f'{difference:+.4f}{interval}':<27}  {p:<6}"


def _p(p: float) -> str:
    return "<.0001" if p < 1e-4 else f"{p:.4f}"

"""Predictions against true labels, per segment and per recording."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._text import printable
from .._types import StrPath
from ..errors import ConfigError, LabelError
from ..metrics.intervals import ranking_table
from ..metrics.ranking import METRICS, scikit_learn
from ..specs.label_sets import renamed_text
from ..table import Table, json_value, text_or_file
from ..validation import Number, Seed, Whole, checked
from .aggregate import METHOD
from .aggregate import aggregate as aggregated
from .evaluate_plan import Plan
from .evaluate_truth import read_truth
from .opening import Inputs, ModelLike, Ready, input_of, opened_model
from .predict import predicted
from .result import about, errors_table, text_column
from .stream import MOST, OnError, Progress, Reading, collect

__all__ = ["Evaluation", "evaluate"]


@dataclass(eq=False)
class Evaluation:
    """How good predictions are.

    Attributes
    ----------
    records, segments : Table
        Per recording, after its segments were aggregated, and per segment: a row per label, then ``macro`` and
        ``micro``; see `ecgfm.metrics.intervals.ranking_table` for the columns.
    one_class : tuple of str
        Labels whose known truth has one class only, or none: they have no value and are left out of the macro average.
    predictions : Table
        ``record``, ``segments`` and, for each label, the aggregated probability and ``true <label>``.
    unlabelled : tuple of str
        Recordings without a row in the table of labels, which were left out.
    errors : Table
        ``file`` and ``error`` of each recording that was skipped.
    model : dict
        What is known of the model.
    settings : dict
        ``aggregate``, ``bootstrap``, ``confidence``, ``seed``.
    not_in_model : tuple of str
        Columns of the truth that are none of the model's labels, which were left out.
    not_in_truth : tuple of str
        Labels of the model that the truth has no column for.
    renamed : dict of str to tuple of str
        Labels whose column in the truth has another name -> that; of several, one must be true.
    """

    records: Table
    segments: Table
    one_class: tuple[str, ...]
    predictions: Table
    unlabelled: tuple[str, ...]
    errors: Table
    model: dict[str, Any]
    settings: dict[str, Any]
    not_in_model: tuple[str, ...] = ()
    not_in_truth: tuple[str, ...] = ()
    renamed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @overload
    def to_csv(self, path: None = None) -> str: ...
    @overload
    def to_csv(self, path: StrPath) -> None: ...
    def to_csv(self, path: StrPath | None = None) -> str | None:
        """Both tables as one, with a column ``level`` (``record`` or ``segment``) in front.

        Where the names of the labels are assumed, a column ``labels_assumed`` says so.
        """
        levels = np.repeat(["record", "segment"], len(self.records))
        columns = {name: np.concatenate([self.records[name], self.segments[name]]) for name in self.records.columns}
        if self.model.get("labels_assumed"):
            columns["labels_assumed"] = np.repeat("yes", len(levels))
        return text_or_file(Table({"level": levels, **columns}).to_csv(), path, ".csv")

    @overload
    def to_json(self, path: None = None) -> str: ...
    @overload
    def to_json(self, path: StrPath) -> None: ...
    def to_json(self, path: StrPath | None = None) -> str | None:
        """Everything but the predictions as a JSON object, as text or into a ``.json`` file; NaN becomes null."""
        made = {
            "model": json_value(self.model),
            "settings": self.settings,
            "records": self.records.json_rows(),
            "segments": self.segments.json_rows(),
            "one_class": json_value(self.one_class),
            "unlabelled": json_value(self.unlabelled),
            "errors": self.errors.json_rows(),
            "not_in_model": json_value(self.not_in_model),
            "not_in_truth": json_value(self.not_in_truth),
            "renamed": json_value(self.renamed),
        }
        return text_or_file(json.dumps(made, indent=1), path, ".json", "\n")

    def to_text(self) -> str:
        """The tables as text."""
        share = f"{100 * self.settings['confidence']:g} % intervals of {self.settings['bootstrap']} resamples"
        lines = []
        for name, table in (("recording", self.records), ("segment", self.segments)):
            method = f" (aggregate: {self.settings['aggregate']})" if name == "recording" else ""
            lines += [f"Per {name}{method}", "", *_text_rows(table), ""]
        if self.settings["bootstrap"]:
            lines.append(f"In brackets: {share} of recordings.")
        if self.one_class:
            lines.append(
                f"{len(self.one_class)} labels have one class only, and are not in the macro average: "
                f"{', '.join(map(printable, self.one_class))}"
            )
        for names, what in (
            (self.not_in_model, "Columns of the truth that are none of the model's labels"),
            (self.not_in_truth, "Labels without a column in the truth"),
        ):
            if names:
                lines.append(f"{what}: {', '.join(map(printable, names[:20]))}{', ...' * (len(names) > 20)}")
        if self.renamed:
            lines.append(f"Labels whose column in the truth has another name: {renamed_text(self.renamed)}")
        if self.model.get("labels_assumed"):
            lines.append("The names of the labels are assumed: the checkpoint has none.")
        return "\n".join(lines).rstrip()

    __str__ = to_text

    def __repr__(self) -> str:
        macro = float(self.records["auroc"][-2])
        return f"Evaluation({len(self.predictions)} records, macro AUROC {macro:.4f})"


def evaluate(
    model: ModelLike,
    inputs: Inputs,
    y: StrPath | ArrayLike | Table | Mapping[str, Any],
    *,
    aggregate: str = "tutorial",
    groups: Sequence[Any] | None = None,
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
) -> Evaluation:
    """Evaluate a classifier: AUROC and AUPRC per label and averaged, per segment and per recording.

    Parameters
    ----------
    model : Model, or path-like
        A classifier, from `ecgfm.load`; or what that takes.
    inputs : path, Record, Segments, array_like, or an iterable of them
        As for `ecgfm.predict`. A path that ends in ``.tsv`` is a manifest of fairseq-signals. An array (n, 12, N)
        without `sampling_rate` holds prepared segments, as `ecgfm.finetune` takes them.
    y : array_like, Table, mapping, pandas.DataFrame, or path-like
        The truth, 0 or 1; NaN or an empty cell where it is not known. An array (recordings, Y) is in the order of
        `inputs`. A table, or a CSV file of one, has a column ``file``, ``path``, ``save_file`` or ``record`` that names
        the recordings, or ``idx``, their number in ECG-FM's ``.mat`` files, and a column per label. Names may lack
        folders and endings: the longest tail that a path has in common with them decides, and where several fit equally
        well it is an error. A ``.npy`` file is a label file of ECG-FM: row ``idx`` is that of the recording with this
        number, and the columns are those that the ``label_def.csv`` beside it names. What of the truth and of the
        model's labels has no counterpart is in the result, and a warning says it.
    aggregate : {"tutorial", "mean", "max"}
        How segments make a recording's prediction; see `ecgfm.inference.aggregate`.
    groups : sequence, optional
        For each of the inputs the recording that it is of. By default each input is one; the files of a manifest that
        are called ``a_0.mat``, ``a_1.mat`` are of the recording ``a.mat``, if a table of segments beside them or their
        own numbers say so (as for `ecgfm.predict`), unless the truth names them one by one.
    bootstrap : int
        Resamples of recordings for the intervals; 0 for none.
    confidence : float
        Of the intervals, between 0 and 1.
    seed : int
        Of the resamples.
    batch_size, sampling_rate, leads, missing_leads, short, only_leads, overlap_s, unit, readers, on_error, progress
        As for `ecgfm.predict`.

    Returns
    -------
    Evaluation

    Raises
    ------
    LabelError
        If `y` doesn't fit the model or the recordings, or no recording has labels.
    ConfigError
        If an argument is out of range, or the model has no labels.
    MissingExtraError
        If scikit-learn isn't installed.
    Error
        The first recording's, if none could be done.

    Examples
    --------
    >>> found = ecgfm.evaluate(model, "manifests/test.tsv", "labels/y.npy")
    >>> found.records.to_pandas().set_index("label").loc["macro", "auroc"]
    """
    model = opened_model(model, inputs)
    checked(aggregate, METHOD, "aggregate")
    bootstrap = checked(bootstrap, Whole(0, MOST), "bootstrap")
    confidence = checked(confidence, Number(above=0, below=1), "confidence")
    seed = checked(seed, Seed(bits=128), "seed")
    labels = _labels_of(model)
    scikit_learn()  # absent, it is noticed before the work
    truth = read_truth(y, labels, named=bool(model.labels))
    plan = Plan(inputs, truth, groups, sampling_rate, input_of(model))
    reading = Reading(
        sampling_rate, leads, missing_leads, short, only_leads, overlap_s, unit, input_of(model),
        batch_size=batch_size, readers=readers,
    )  # fmt: skip
    done, failed = collect(_scored(model, plan, reading), on_error, progress)
    return _evaluation(model, labels, plan, done, failed, aggregate, (bootstrap, confidence, seed))


def _scored(model: Ready, plan: Plan, reading: Reading) -> Iterator[_Scored]:
    """Iterate over the `_Scored` of each recording that has labels."""
    for each in predicted(model, plan.inputs, reading, select=plan.select):
        row, group, whole = plan.taken.popleft()
        yield _Scored(each.file, each.error, row, group, whole, each.probabilities)


@dataclass(eq=False)
class _Scored:
    """What became of one recording: its row of the truth, what it is of, and its probabilities (n, Y)."""

    file: str
    error: Exception | None
    row: int
    group: object
    whole: str
    probabilities: NDArray[np.float32] | None


def _evaluation(
    model: Ready,
    labels: tuple[str, ...],
    plan: Plan,
    done: Sequence[Any],
    failed: Sequence[Any],
    method: str,
    resampling: tuple[int, float, int],
) -> Evaluation:
    keys = list(dict.fromkeys(each.group for each in done))
    numbers = {key: i for i, key in enumerate(keys)}
    of_file = np.array([numbers[each.group] for each in done])
    counts = np.array([len(each.probabilities) for each in done])
    order = np.argsort(np.repeat(of_file, counts), kind="stable")  # the segments of a recording together
    group = np.repeat(of_file, counts)[order]
    scores = np.concatenate([each.probabilities for each in done])[order]
    first = np.unique(of_file, return_index=True)[1]
    truth = plan.truth.values[[done[i].row for i in first]]
    _check_groups(plan.truth.values, done, of_file, truth, keys)
    sizes = np.bincount(group)
    aggregated_scores = aggregated(scores, sizes, labels, method)
    bootstrap, confidence, seed = resampling
    options: dict[str, Any] = {"bootstrap": bootstrap, "confidence": confidence, "seed": seed}
    records = ranking_table(aggregated_scores, truth, np.arange(len(keys)), labels, **options)
    segments = ranking_table(scores, truth[group], group, labels, **options)
    names = [done[i].file if files == 1 else keys[n] if isinstance(keys[n], str) else done[i].whole
             for n, (i, files) in enumerate(zip(first, np.bincount(of_file)))]  # fmt: skip
    predictions = {"record": text_column(names), "segments": sizes}
    predictions |= {name: aggregated_scores[:, i] for i, name in enumerate(labels)}
    predictions |= {f"true {name}": truth[:, i] for i, name in enumerate(labels)}
    predictions["precision"] = np.repeat(about(model)["precision"], len(names))
    if about(model)["labels_assumed"]:
        predictions["labels_assumed"] = np.repeat("yes", len(names))
    return Evaluation(
        records,
        segments,
        tuple(name for name, value in zip(labels, records["auroc"]) if np.isnan(value)),
        Table(predictions),
        tuple(plan.unlabelled),
        errors_table(failed),
        about(model),
        {"aggregate": method, **options},
        plan.truth.unused,
        plan.truth.lacking,
        plan.truth.renamed,
    )


def _check_groups(
    values: NDArray[np.float64],
    done: Sequence[Any],
    of_file: NDArray[np.int64],
    truth: NDArray[np.float64],
    keys: Sequence[Any],
) -> None:
    """All files of a recording must have the same labels."""
    rows = values[[each.row for each in done]]
    same = ((rows == truth[of_file]) | (np.isnan(rows) & np.isnan(truth[of_file]))).all(axis=1)
    if not same.all():
        bad = int(np.flatnonzero(~same)[0])
        raise LabelError(
            f"the labels differ from those of another file of the recording {keys[of_file[bad]]}",
            path=done[bad].file,
            field="y",
        )


def _labels_of(model: Any) -> tuple[str, ...]:
    if getattr(model, "labels", None):
        return tuple(model.labels)
    count = getattr(model, "num_labels", 0)
    if not count:
        raise ConfigError(
            "the model has no labels: it is one of pretraining",
            path=getattr(model, "source", None),
            field="model",
            remedy="Take a finetuned one",
        )
    return tuple(f"label_{i}" for i in range(count))


def _text_rows(table: Table) -> Iterator[str]:
    """Lines of the table: label, numbers, and each metric with its interval."""
    width = max(len(printable(name)) for name in table["label"])
    yield f"{'label':<{width}}  {'n':>7}  {'positive':>8}  {'AUROC':<23}  AUPRC"
    for row in table.rows():
        cells = (_interval(row, metric) for metric in METRICS)
        name = printable(row["label"])
        yield f"{name:<{width}}  {row['n']:>7}  {row['positives']:>8}  {next(cells):<23}  {next(cells)}".rstrip()


def _interval(row: Mapping[str, Any], metric: str) -> str:
    value, low, high = (row[name] for name in (metric, f"{metric}_low", f"{metric}_high"))
    if math.isnan(value):
        return "-"
    return f"{value:.4f}" if math.isnan(low) else f"{value:.4f} [{low:.4f}, {high:.4f}]"

"""What predict returns: a table per segment and a table per recording."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._text import printable
from .._types import StrPath
from ..ecg.prepare import spec_of
from ..errors import Error
from ..signal.quality import describe
from ..specs.inputs import ECG_FM, InputSpec
from ..specs.precision import FLOAT32
from ..storage.npy import write_npy
from ..table import Table, check_ending, json_value, text_or_file
from .aggregate import aggregate
from .opening import target_of

__all__ = ["Predictions", "Result"]

_SHOWN, _ACROSS = 40, 10  # columns that to_text prints at most, and side by side


class Predictions(Table):
    """A table of predictions: columns that say what a row is, one column per label, and columns of provenance.

    Parameters
    ----------
    before, after : mapping of str to array_like
        The columns before and after those of the labels.
    labels : sequence of str
        Names of the Y labels. A label that is called like another column gets `` (label)`` added to its column.
    probabilities : ndarray
        (n, Y) float32; of a regression model its values, in the units of its target.
    start_s : ndarray
        (n,) float64, seconds.

    Attributes
    ----------
    labels, probabilities, start_s
        The parameters as given; the order of the labels is the model's.
    """

    def __init__(
        self,
        before: Mapping[str, ArrayLike],
        labels: Sequence[str],
        probabilities: NDArray[np.float32],
        start_s: NDArray[np.float64],
        after: Mapping[str, ArrayLike] | Iterable[tuple[str, ArrayLike]] = (),
    ) -> None:
        before, after = dict(before), dict(after)
        self.labels = tuple(labels)
        self.probabilities = probabilities
        self.start_s = start_s
        taken = {*before, *after}
        names = (f"{name} (label)" if name in taken else name for name in self.labels)
        columns = dict(zip(names, probabilities.T))
        super().__init__({**before, **columns, **after})

    @property
    def files(self) -> list[str]:
        """list of str: the file of each row."""
        return list(self["file"].tolist())


@dataclass(eq=False)
class Result:
    """Predictions for recordings.

    Attributes
    ----------
    segments : Predictions
        A row per segment: ``file``, ``segment`` (from 0 within the recording), ``start_s``, ``end_s``, labels.
    records : Predictions
        A row per recording: ``file``, ``segments`` (their number), labels, and what was done to the recording:
        ``aggregate``, ``sampling_rate`` (Hz, of the file), ``duration_s``, ``derived_leads``, ``zero_leads``,
        ``constant_leads``, ``padded_s``, ``overlap_s``, ``unused_s``, ``quality`` and ``notes``, as in the provenance,
        and the model's ``precision``; where the label names are assumed, ``labels_assumed`` says so. Of a regression
        model the columns of the labels are values, and ``units`` names their units where they are known. Of a model
        with a calibration, ``calibration`` says which, or ``none`` where it was not asked for.
    logits : ndarray
        (n, Y) float32, of the segments.
    embeddings : ndarray
        (n, C) float32, of the segments.
    errors : Table
        ``file`` and ``error`` of each recording that was skipped.
    labels : tuple of str
        The Y labels, in the model's order.
    model : dict
        ``source``; ``labels_assumed``, true if the label names are not the file's; ``precision``; ``training`` and
        ``caveat`` if there are any; ``target`` of a regression model: mean, deviation and units.
    provenance : list of dict
        Of each recording in `records`; see `ecgfm.ecg.Segments`.
    """

    segments: Predictions
    records: Predictions
    logits: NDArray[np.float32]
    embeddings: NDArray[np.float32]
    errors: Table
    labels: tuple[str, ...]
    model: dict[str, Any]
    provenance: list[dict[str, Any]]

    @classmethod
    def of(cls, model: Any, done: Sequence[Any], failed: Sequence[Any], method: str) -> Result:
        """The result of several outcomes of one model; see `ecgfm.inference.predict.Outcome`."""
        logits, probabilities, embeddings, start_s = (
            np.concatenate([getattr(each, name) for each in done])
            for name in ("logits", "scores", "embeddings", "start_s")
        )
        numbers = target_of(model) is not None
        method = "mean" if numbers and method == "tutorial" else method  # whose rule is of labels
        labels = tuple(model.labels or (f"label_{i}" for i in range(logits.shape[1])))
        counts = np.array([len(each.start_s) for each in done])
        segments = Predictions(segment_columns(done), labels, probabilities, start_s)
        records = Predictions(
            {"file": text_column(each.file for each in done), "segments": counts},
            labels,
            aggregate(probabilities, counts, labels, method),
            np.array([each.start_s[0] for each in done]),
            {"aggregate": np.repeat(np.array([method]), len(done)), **provenance_columns(done, model)},
        )
        provenance = [each.provenance for each in done]
        return cls(segments, records, logits, embeddings, errors_table(failed), labels, about(model), provenance)

    def to_csv(self, path: StrPath) -> tuple[str, str]:
        """Write the records as CSV to `path`, and the segments beside it: ``p.csv`` and ``p.segments.csv``.

        Each file is replaced as a whole. Returns both paths. Raises ConfigError if the name doesn't end in ``.csv``.
        """
        path = os.fspath(path)
        check_ending(path, (".csv",))
        stem, suffix = os.path.splitext(path)
        beside = f"{stem}.segments{suffix}"
        self.segments.to_csv(beside)
        self.records.to_csv(path)
        return path, beside

    @property
    def _seconds(self) -> str:
        said = self.model.get("input")
        return seconds(ECG_FM if said is None else InputSpec.from_dict(said))

    @overload
    def to_json(self, path: None = None) -> str: ...
    @overload
    def to_json(self, path: StrPath) -> None: ...
    def to_json(self, path: StrPath | None = None) -> str | None:
        """``{"model", "labels", "records", "segments", "errors"}`` as text, or into a file, which is replaced whole.

        Records, segments and errors are lists of objects with the keys of the tables' columns. Raises ConfigError if
        the
        name doesn't end in ``.json``.
        """
        tables = {name: getattr(self, name).json_rows() for name in ("records", "segments", "errors")}
        made = {"model": json_value(self.model), "labels": json_value(self.labels), **tables}
        return text_or_file(json.dumps(made, indent=1), path, ".json", "\n")

    def to_text(self, *, total: tuple[int, int] | None = None) -> str:
        """Both tables with labels downwards and recordings across, the files listed above.

        `total` says the recordings and segments in all, where these are some of them.
        """
        counts = self.records["segments"]
        records, segments = (len(self.records), len(self.segments)) if total is None else total
        lines = [f"{_counted(records, 'recording')}, {_counted(segments, 'segment')} of {self._seconds}", ""]
        if records > len(self.records):
            lines[0] += f"; {len(self.records):,} of the recordings are shown"
        for i, (file, count) in enumerate(zip(self.records.files[:_SHOWN], counts), 1):
            lines.append(f"  {i:>3}  {printable(file)}  ({count} segment{'s' if count > 1 else ''})")
        if len(self.records) > _SHOWN:
            lines.append(f"  ... and {len(self.records) - _SHOWN} more")
        number = np.arange(1, len(self.records) + 1)
        numbers = "target" in self.model
        what = "Value" if numbers else "Probability"
        how = f"aggregate: {self.records['aggregate'][0]}"
        if "calibration" in self.model:
            how += f", calibration: {self.model['calibration']}"
        lines += ["", f"{what} per recording ({how})", ""]
        names, form = self._names(), "%.4g" if numbers else "%.3f"
        lines += _across(self.records, names, form, [("recording", number.astype(str))])
        if len(self.segments) > len(self.records):
            starts = np.char.mod("%.1f", self.segments.start_s)
            lines += ["", f"{what} per segment", ""]
            heads = [("recording", np.repeat(number, counts).astype(str)), ("starts at s", starts)]
            lines += _across(self.segments, names, form, heads)
        return "\n".join(lines)

    __str__ = to_text

    def _names(self) -> list[str]:
        """The labels with their units, for people."""
        units = (self.model.get("target") or {}).get("units") or [""] * len(self.labels)
        return [printable(f"{name} ({unit})" if unit else name) for name, unit in zip(self.labels, units)]

    def __repr__(self) -> str:
        return (
            f"Result({len(self.records)} records, {len(self.segments)} segments, {len(self.labels)} labels,"
            f" {len(self.errors)} errors)"
        )


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def _across(
    table: Predictions, labels: Sequence[str], form: str, heads: Sequence[tuple[str, NDArray[Any]]]
) -> list[str]:
    """Lines of a table turned round: a line per label, a column per row, a block of columns after the other."""
    names = [head for head, _ in heads] + [*labels]
    width = max(len(name) for name in names)
    shown = min(len(table), _SHOWN)
    lines = []
    for start in range(0, shown, _ACROSS):
        rows = slice(start, min(start + _ACROSS, shown))
        if start:
            lines.append("")
        cells = [values[rows] for _, values in heads]
        cells += list(np.char.mod(form, table.probabilities[rows].T.astype(np.float64)))
        lines += [f"{name:<{width}}" + "".join(f" {value:>7}" for value in row) for name, row in zip(names, cells)]
    if shown < len(table):
        lines.append(f"... and {len(table) - shown} more columns")
    return lines


def about(model: Any) -> dict[str, Any]:
    """What a result says of the model that it comes from."""
    said = {"source": getattr(model, "source", None), "labels_assumed": bool(getattr(model, "labels_assumed", False))}
    said["precision"] = getattr(model, "precision", FLOAT32)
    training, caveat = getattr(model, "info", {}).get("training"), getattr(model, "caveat", None)
    said |= {} if training is None else {"training": training}
    said |= {} if caveat is None else {"caveat": caveat}
    target = target_of(model)
    said |= {} if target is None else {"target": target.to_dict()}
    calibration = getattr(model, "calibration", None)
    if calibration is not None or getattr(model, "uncalibrated", False):
        said["calibration"] = "none" if calibration is None else calibration.method
    spec = spec_of(model)
    if spec is not None:
        said |= {"input": spec.to_dict(), "input_source": getattr(model, "input_source", None)}
    return said


def seconds(spec: InputSpec) -> str:
    """The length of a segment, for people: ``5 s``."""
    return f"{spec.duration_s:g} s"


def segment_columns(done: Sequence[Any]) -> dict[str, NDArray[Any]]:
    """Columns that say what each segment is, of recordings as `Outcome` or `Done`."""
    counts = np.array([len(each.start_s) for each in done], dtype=np.int64)
    return {
        "file": np.repeat(text_column(each.file for each in done), counts),
        "segment": np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts),
        "start_s": np.concatenate([each.start_s for each in done]),
        "end_s": np.concatenate([each.end_s for each in done]),
    }


def segment_table(done: Sequence[Any], model: Any) -> Table:
    """A row per segment: what it is, and what was done to its recording."""
    counts = [len(each.start_s) for each in done]
    columns = {name: np.repeat(column, counts) for name, column in provenance_columns(done, model).items()}
    return Table(segment_columns(done) | columns)


def record_table(done: Sequence[Any], model: Any) -> Table:
    """A row per recording: how many segments it has, and what was done to it."""
    counts = np.array([len(each.start_s) for each in done])
    files = text_column(each.file for each in done)
    return Table({"file": files, "segments": counts, **provenance_columns(done, model)})


def write_with_rows(path: StrPath, values: NDArray[Any], rows: Table) -> tuple[str, str]:
    """Write an array into ``x.npy``, and what its rows are into ``x.csv``. Returns both paths."""
    path, beside = with_beside(path)
    rows.to_csv(beside)
    write_npy(path, values)
    return path, beside


def with_beside(path: StrPath) -> tuple[str, str]:
    """A name that ends in ``.npy``, and that of the table beside it."""
    check_ending(path, (".npy",))
    return os.fspath(path), os.path.splitext(os.fspath(path))[0] + ".csv"


def errors_table(failed: Sequence[Any]) -> Table:
    """``file`` and ``error`` of recordings that were skipped."""
    return Table(
        {
            "file": text_column(each.file for each in failed),
            "error": text_column(without_path(each.error) for each in failed),
        }
    )


def provenance_columns(done: Sequence[Any], model: Any) -> dict[str, NDArray[Any]]:
    """Columns that say what was done to each recording, and in which precision."""
    provenance = [each.provenance for each in done]

    def column(make: Callable[[dict[str, Any]], Any], dtype: Any = None) -> NDArray[Any]:
        return np.array([make(each) for each in provenance], dtype=dtype)

    def number(name: str) -> NDArray[np.float64]:
        return column(lambda p: p.get(name, np.nan), np.float64)

    def names(name: str) -> NDArray[Any]:
        return column(lambda p: " ".join(p.get(name, ())), str)

    said = about(model)
    more = {"labels_assumed": np.repeat("yes", len(done))} if said["labels_assumed"] else {}
    units = units_text(said, model)
    more |= {"units": np.repeat(units, len(done))} if units else {}
    more |= {"calibration": np.repeat(said["calibration"], len(done))} if "calibration" in said else {}
    return {
        "sampling_rate": number("sampling_rate"),
        "duration_s": number("samples") / number("sampling_rate"),
        "derived_leads": names("derived_leads"),
        "zero_leads": names("zero_leads"),
        "constant_leads": names("constant_leads"),
        "padded_s": number("padded_s"),
        "overlap_s": number("overlap_s"),
        "unused_s": number("unused_s"),
        "quality": column(lambda p: describe(p.get("quality", {})), str),
        "notes": column(lambda p: "; ".join(p.get("notes", ())), str),
        "precision": np.repeat(np.array([said["precision"]]), len(done)),
        **more,
    }


def units_text(said: Mapping[str, Any], model: Any) -> str:
    """The units of a regression model's outputs, ``age: years``; empty where there are none."""
    units = (said.get("target") or {}).get("units") or ()
    names = model.labels or [f"label_{i}" for i in range(len(units))]
    return "; ".join(f"{name}: {unit}" for name, unit in zip(names, units) if unit)


def text_column(texts: Iterable[str]) -> NDArray[Any]:
    """A column of text; a fixed-width array would be as wide as the longest for each row."""
    return np.array(list(texts), dtype=object)


def without_path(error: Error) -> str:
    """The text of an error without the file, which has a column of its own."""
    where = f"{error.field}: " if error.field else ""
    remedy = f". {error.remedy}." if error.remedy else ""
    return f"{where}{error.message}{remedy}"

"""The result of an evaluation: tables, and their texts."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np

from .._text import printable
from .._types import StrPath
from ..metrics.decisions import MEASURES
from ..metrics.ranking import METRICS
from ..metrics.regression import value_rows
from ..specs.label_sets import renamed_text
from ..table import Table, json_value, text_or_file

__all__ = ["Evaluation"]

_TITLES = {"sensitivity": "sens", "specificity": "spec", "ppv": "PPV", "npv": "NPV", "f_beta": "F-beta"}
_TITLES |= {"g_beta": "G-beta"}


@dataclass(eq=False)
class Evaluation:
    """How good predictions are.

    Attributes
    ----------
    records, segments : Table
        Per recording, after its segments were aggregated, and per segment: a row per label, then ``macro`` and
        ``micro``; see `ecgfm.metrics.intervals.ranking_table` for the columns. Of a regression model a row per output,
        as of `ecgfm.metrics.regression.regression_table`.
    one_class : tuple of str
        Labels whose known truth has one class only, or none: they have no value and are left out of the macro average.
    predictions : Table
        ``record``, ``segments`` and, for each label, the aggregated probability (of a regression model the value) and
        ``true <label>``.
    unlabelled : tuple of str
        Recordings without a row in the table of labels, which were left out.
    errors : Table
        ``file`` and ``error`` of each recording that was skipped.
    model : dict
        What is known of the model.
    settings : dict
        ``aggregate``, ``bootstrap``, ``confidence``, ``seed``, ``beta``; ``thresholds``: where they come from;
        ``patients``: how many were resampled, None where recordings were; ``patients_unknown``: recordings whose
        patient is not known, each of which counts as one.
    not_in_model : tuple of str
        Columns of the truth that are none of the model's labels, which were left out.
    not_in_truth : tuple of str
        Labels of the model that the truth has no column for.
    renamed : dict of str to tuple of str
        Labels whose column in the truth has another name -> that; of several, one must be true.
    decisions : Table
        Per recording, at thresholds: a row per label, then ``macro`` and ``micro``; see
        `ecgfm.metrics.decisions.decision_table` for the columns.
    subgroups : Table or None
        The same and the columns of `records` for each subgroup; see `ecgfm.metrics.subgroups.subgroup_table`.
    challenge : Table or None
        The score of the Challenge 2021, one row; see `ecgfm.metrics.challenge.challenge_table`.
    calibration : Table
        Per recording: how far probabilities can be trusted; see `ecgfm.metrics.calibration.calibration_table`.
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
    decisions: Table = field(default_factory=lambda: Table({}))
    subgroups: Table | None = None
    challenge: Table | None = None
    calibration: Table = field(default_factory=lambda: Table({}))

    @overload
    def to_csv(self, path: None = None) -> str: ...
    @overload
    def to_csv(self, path: StrPath) -> None: ...
    def to_csv(self, path: StrPath | None = None) -> str | None:
        """Both tables as one, with a column ``level`` (``record`` or ``segment``) in front, and `decisions` beside.

        Decisions are those of recordings. Where the names of the labels are assumed, a column ``labels_assumed`` says
        so.
        """
        levels = np.repeat(["record", "segment"], len(self.records))
        columns = {name: np.concatenate([self.records[name], self.segments[name]]) for name in self.records.columns}
        for name in self.decisions.columns[1:]:
            columns[name] = np.append(self.decisions[name].astype(float), np.full(len(self.segments), math.nan))
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
            "decisions": self.decisions.json_rows(),
            "subgroups": [] if self.subgroups is None else self.subgroups.json_rows(),
            "challenge": None if self.challenge is None else self.challenge.json_rows()[0],
            "calibration": self.calibration.json_rows(),
        }
        return text_or_file(json.dumps(made, indent=1), path, ".json", "\n")

    def to_text(self) -> str:
        """The tables as text."""
        lines = []
        for name, table in (("recording", self.records), ("segment", self.segments)):
            method = f" (aggregate: {self.settings['aggregate']})" if name == "recording" else ""
            rows = _text_rows(table) if "auroc" in table else value_rows(table)
            lines += [f"Per {name}{method}", "", *rows, ""]
        if len(self.decisions):
            lines += [f"Decisions per recording, at thresholds ({self.settings['thresholds']})", ""]
            lines += [*_decision_rows(self.decisions, self.settings["beta"]), ""]
        if len(self.calibration):
            lines += [_calibration_line(self.calibration, self.model.get("calibration")), ""]
        if self.subgroups is not None:
            lines += ["Subgroups, means over labels", "", *_subgroup_rows(self.subgroups), ""]
        if self.challenge is not None:
            lines += [_challenge_line(next(self.challenge.rows())), ""]
        if self.settings["bootstrap"]:
            lines += self._intervals()
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

    def _intervals(self) -> list[str]:
        """How the intervals were made, and which of them say little."""
        share, count = f"{100 * self.settings['confidence']:g} %", self.settings["bootstrap"]
        patients, unknown = self.settings.get("patients"), self.settings.get("patients_unknown")
        unit = "recordings" if patients is None else f"{patients} patients"
        lines = [f"In brackets: {share} intervals of {count} resamples of {unit}."]
        if unknown:
            lines.append(f"The patient of {unknown} recordings is not known: each counts as one.")
        rows = [row for row in self.decisions.rows() if row["label"] not in ("macro", "micro")]
        if any(row[name] in (0, 1) and row[f"{name}_low"] == row[f"{name}_high"] for row in rows for name in MEASURES):
            lines.append(
                "An interval without width, of a share that is 0 or 1, says nothing: resamples know no other cases."
            )
        return lines

    __str__ = to_text

    def __repr__(self) -> str:
        if "auroc" not in self.records:
            return f"Evaluation({len(self.predictions)} records, mean R2 {np.mean(self.records['r2']):.4f})"
        macro = float(self.records["auroc"][-2])
        return f"Evaluation({len(self.predictions)} records, macro AUROC {macro:.4f})"


def _text_rows(table: Table) -> Iterator[str]:
    """Lines of the table: label, numbers, and each metric with its interval."""
    width = max(len(printable(name)) for name in table["label"])
    yield f"{'label':<{width}}  {'n':>7}  {'positive':>8}  {'AUROC':<23}  AUPRC"
    for row in table.rows():
        cells = (_interval(row, metric) for metric in METRICS)
        name = printable(row["label"])
        yield f"{name:<{width}}  {row['n']:>7}  {row['positives']:>8}  {next(cells):<23}  {next(cells)}".rstrip()


def _interval(row: Mapping[str, Any], metric: str, digits: int = 4) -> str:
    value, low, high = (row[name] for name in (metric, f"{metric}_low", f"{metric}_high"))
    if math.isnan(value):
        return "-"
    text = f"{value:.{digits}f}"
    return text if math.isnan(low) else f"{text} [{low:.{digits}f}, {high:.{digits}f}]"


def _decision_rows(table: Table, beta: float) -> Iterator[str]:
    """Lines of the table: label, threshold, counts, and each measure with its interval."""
    width = max(len(printable(name)) for name in table["label"])
    titles = [f"{_TITLES[name]} (beta {beta:g})" if name.endswith("beta") else _TITLES[name] for name in MEASURES]
    yield f"{'label':<{width}}  threshold  " + "  ".join(f"{title:<20}" for title in titles).rstrip()
    for row in table.rows():
        at = "" if math.isnan(row["threshold"]) else f"{row['threshold']:.4g}"
        cells = "  ".join(f"{_interval(row, name, 3):<20}" for name in MEASURES)
        yield f"{printable(row['label']):<{width}}  {at:>9}  {cells}".rstrip()


def _subgroup_rows(table: Table) -> Iterator[str]:
    """Lines of the macro averages of each subgroup."""
    rows = [row for row in table.rows() if row["label"] == "macro"]
    names = [printable(f"{row['variable']} {row['value']}")[:40] for row in rows]
    width = max(map(len, names))
    shown = ("auroc", "auprc", "sensitivity", "specificity")
    yield f"{'':<{width}}  {'n':>7}  {'patients':>8}  " + "  ".join(f"{name:<20}" for name in shown).rstrip()
    for name, row in zip(names, rows):
        cells = "  ".join(f"{_interval(row, metric, 3):<20}" for metric in shown)
        yield f"{name:<{width}}  {row['rows']:>7}  {row['patients']:>8}  {cells}".rstrip()


def _calibration_line(table: Table, method: str | None) -> str:
    """What a table of calibration says of all labels."""
    macro, pooled = table["ece"][-2:]
    which = "" if method is None else f" (calibration: {printable(method)})"
    text = f"Calibration of recordings{which}: ECE {pooled:.4f}, Brier score {table['brier'][-1]:.4f}"
    return text if math.isnan(macro) else f"{text}, mean ECE over labels {macro:.4f}"


def _challenge_line(row: Mapping[str, Any]) -> str:
    without = row["classes_without_label"]
    missing = f"; {without} of its {row['classes']} classes are none of the model's labels" * bool(without)
    return f"Score of the PhysioNet/CinC Challenge 2021: {_interval(row, 'score')} of {row['n']} recordings{missing}"

"""Recordings with what a model says of them and what is true: what evaluations and comparisons are made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, LabelError
from ..table import Table
from ..validation import Number, Seed, Whole, checked
from .aggregate import METHOD
from .aggregate import aggregate as aggregated
from .evaluate_about import About, Patients
from .evaluate_plan import Plan
from .evaluate_truth import read_truth
from .opening import Inputs, Ready, input_of, target_of
from .predict import predicted
from .result import about as about_model
from .result import text_column
from .stream import MOST, OnError, Progress, Reading, collect

__all__ = ["Judged", "checked_resampling", "judged", "labels_of"]


@dataclass(eq=False)
class Judged:
    """Recordings with predictions and truth.

    Attributes
    ----------
    model : Model
    labels : tuple of str
        (Y,)
    names : list of str
        (recordings,)
    scores, truth : ndarray
        (recordings, Y) aggregated probabilities; and 0, 1, or NaN where it is not known. Of a regression model both are
        numbers.
    segment_scores, segment_logits : ndarray
        (segments, Y) those of a recording together.
    record_of : ndarray of int
        (segments,)
    patients : Patients or None
        Whose they are; None if that was not given.
    variables : dict of str to list of str
        Of subgroups: variable -> its value of each recording.
    plan : Plan
    failed : sequence
        The outcomes of what could not be read.
    """

    model: Any
    labels: tuple[str, ...]
    names: list[str]
    scores: NDArray[np.float32]
    truth: NDArray[np.float64]
    segment_scores: NDArray[np.float32]
    segment_logits: NDArray[np.float32]
    record_of: NDArray[np.int64]
    patients: Patients | None
    variables: dict[str, list[str]]
    plan: Plan
    failed: Sequence[Any]

    @property
    def patient_of(self) -> NDArray[np.int64]:
        """(recordings,) what is drawn as one: the patient, or where none are given, the recording itself."""
        return np.arange(len(self.names)) if self.patients is None else self.patients.of

    def counts(self) -> dict[str, int | None]:
        """How many patients are resampled, None where recordings are; recordings whose patient is not known."""
        if self.patients is None:
            return {"patients": None, "patients_unknown": 0}
        return {"patients": int(self.patients.of.max()) + 1, "patients_unknown": self.patients.unknown}

    def predictions(self) -> Table:
        """A row per recording: its name, number of segments, patient, subgroups, probabilities and truth."""
        found: dict[str, Any] = {"record": text_column(self.names), "segments": np.bincount(self.record_of)}
        found |= {name: self.scores[:, i] for i, name in enumerate(self.labels)}
        found |= {f"true {name}": self.truth[:, i] for i, name in enumerate(self.labels)}
        about = about_model(self.model)
        found["precision"] = np.repeat(about["precision"], len(self.names))
        if "calibration" in about:
            found["calibration"] = np.repeat(about["calibration"], len(self.names))
        if about["labels_assumed"]:
            found["labels_assumed"] = np.repeat("yes", len(self.names))
        if self.patients is not None:
            found["patient"] = self.patients.of
        found |= {f"subgroup {name}": text_column(values) for name, values in self.variables.items()}
        return Table(found)


def checked_resampling(bootstrap: Any, confidence: Any, seed: Any) -> dict[str, Any]:
    """The arguments of the bootstrap, held against their limits."""
    return {
        "bootstrap": checked(bootstrap, Whole(0, MOST), "bootstrap"),
        "confidence": checked(confidence, Number(above=0, below=1), "confidence"),
        "seed": checked(seed, Seed(bits=128), "seed"),
    }


def judged(
    model: Ready,
    inputs: Inputs,
    y: Any,
    about: About,
    recordings: Sequence[Any] | None,
    method: str,
    reading: Reading,
    on_error: str | OnError,
    progress: Progress | Literal[False] | None,
) -> Judged:
    """Run recordings that have labels through a model.

    Parameters
    ----------
    model, inputs, y, recordings, on_error, progress
        As of `ecgfm.evaluate`.
    about : About
        Patients and subgroups.
    method : str
        How segments make a recording's prediction.
    reading : Reading
    """
    checked(method, METHOD, "aggregate")
    labels = labels_of(model)
    of_numbers = target_of(model) is not None
    method = "mean" if of_numbers and method == "tutorial" else method  # its rule is of labels
    truth = read_truth(y, labels, named=bool(model.labels), also=about.columns, numbers=of_numbers)
    plan = Plan(inputs, truth, recordings, reading.sampling_rate, input_of(model))
    if plan.known is not None:
        about.check(plan.known)
    done, failed = collect(_scored(model, plan, reading), on_error, progress, stacklevel=4)
    about.check(plan.count)
    keys = list(dict.fromkeys(each.group for each in done))
    numbers = {key: i for i, key in enumerate(keys)}
    of_file = np.array([numbers[each.group] for each in done])
    counts = np.array([len(each.scores) for each in done])
    order = np.argsort(np.repeat(of_file, counts), kind="stable")  # the segments of a recording together
    record_of = np.repeat(of_file, counts)[order]
    scores, logits = (np.concatenate([getattr(each, name) for each in done])[order] for name in ("scores", "logits"))
    first = np.unique(of_file, return_index=True)[1]
    rows, places, files = ([getattr(each, name) for each in done] for name in ("row", "place", "file"))
    values = plan.truth.values[[rows[i] for i in first]]
    _check_labels(plan.truth.values, done, of_file, values, keys)
    names = [done[i].file if files == 1 else keys[n] if isinstance(keys[n], str) else done[i].whole
             for n, (i, files) in enumerate(zip(first, np.bincount(of_file)))]  # fmt: skip
    return Judged(
        model, labels, names, aggregated(scores, np.bincount(record_of), labels, method), values, scores, logits,
        record_of,
        about.patients(plan.truth, rows, places, of_file, files),
        about.variables(plan.truth, [rows[i] for i in first], [places[i] for i in first]),
        plan, failed,
    )  # fmt: skip


def _scored(model: Ready, plan: Plan, reading: Reading) -> Iterator[_Scored]:
    """Iterate over the `_Scored` of each recording that has labels."""
    for each in predicted(model, plan.inputs, reading, select=plan.select):
        yield _Scored(each.file, each.error, *plan.taken.popleft(), each.scores, each.logits)


@dataclass(eq=False)
class _Scored:
    """What became of one input: its row of the truth, what it is of, its place, and what is said of it (n, Y)."""

    file: str
    error: Exception | None
    row: int
    group: object
    whole: str
    place: int
    scores: NDArray[Any] | None
    logits: NDArray[np.float32] | None


def _check_labels(
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


def labels_of(model: Any) -> tuple[str, ...]:
    """The names of a model's outputs; numbers, where it has none."""
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

"""Recordings through a model, in batches that run across files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, Error
from ..io.inputs import expand
from ..validation import checked
from .aggregate import METHOD
from .opening import Inputs, ModelLike, Ready, as_asked, input_of, opened_model
from .result import Result
from .stream import OnError, Progress, Reading, Select, collect, stream

__all__ = ["Outcome", "outcomes", "predict", "predicted"]


def predict(
    model: ModelLike,
    inputs: Inputs,
    *,
    aggregate: str = "tutorial",
    calibrated: bool = True,
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
) -> Result:
    """Probabilities of each label, or values of a regression model, for each segment (5 s for ECG-FM) and recording.

    Parameters
    ----------
    model : Model, or path-like
        A classifier, from `ecgfm.load`; or what that takes.
    inputs : path, file-like, Record, Segments, array_like or object, or an iterable of them
        Files are read with `ecgfm.read`, directories, manifests (``.tsv``) and lists of files (``.txt``, ``.csv``)
        stand for the recordings in them, arrays are (leads, samples), and an array of three dimensions is several
        recordings. A DataFrame is one recording, whose leads it names, or has a column ``path``; a Series or an array
        of paths is several. What else is one recording, such as a record of wfdb or a recording of MNE, is listed at
        `ecgfm.prepare`.
    batch_size : int
        Segments that go through the model at a time, of one recording or of several. It changes speed and memory, and
        results by no more than rounding.
    aggregate : {"tutorial", "mean", "max"}
        How segments make a recording's prediction; see `ecgfm.inference.aggregate`.
    calibrated : bool
        Whether probabilities are those of the model's calibration, where it has one (see `ecgfm.calibrate`), or the
        logistic function of its logits; the result says which.
    sampling_rate : float, optional
        In Hz, for what doesn't state it.
    leads : sequence of str, optional
        Names of the rows of arrays and of files that don't state them.
    missing_leads, short, only_leads, overlap_s
        What happens to recordings that lack leads or are shorter than a segment, which leads the model may see, and how
        much of a segment the next one repeats; see `ecgfm.prepare`.
    unit : {"mV", "uV", "V"}, optional
        Of the values of arrays and of files that don't state it.
    readers : int
        Threads that read and prepare the next files while the model computes; 0 reads each file when it is due.
    on_error : {"skip", "raise"} or callable
        What happens to a recording that can't be read or prepared. "skip" puts it into ``result.errors`` and warns at
        the end, "raise" raises its error; a callable gets (file, error) at once, and the recording is skipped.
    progress : callable, optional
        Called as ``progress(done, file)`` when a recording is done or skipped.

    Returns
    -------
    Result
        In the order of `inputs`.

    Raises
    ------
    Error
        The first recording's, if none could be done.
    ConfigError
        If an argument is out of range, or the model has no labels.
    """
    model = as_asked(opened_model(model, inputs), calibrated)
    checked(aggregate, METHOD, "aggregate")
    reading = Reading(
        sampling_rate, leads, missing_leads, short, only_leads, overlap_s, unit, input_of(model),
        batch_size=batch_size, readers=readers,
    )  # fmt: skip
    done, failed = collect(predicted(model, inputs, reading), on_error, progress)
    return Result.of(model, done, failed, aggregate)


@dataclass(eq=False)
class Outcome:
    """What became of one recording.

    Attributes
    ----------
    file : str
        Its name.
    error : Error or None
        Why it was skipped; then all others are empty.
    start_s, end_s : ndarray
        (n,) float64, of its segments.
    provenance : dict
        See `ecgfm.ecg.Segments`.
    logits : ndarray
        (n, Y) float32.
    probabilities : ndarray or None
        (n, Y) float32, of the model's calibration where it has one; None of a regression model.
    values : ndarray or None
        (n, Y) float64 of a regression model, in the unit of its target; None of others.
    embeddings : ndarray
        (n, C) float32.
    """

    file: str
    error: Error | None = None
    start_s: NDArray[np.float64] | None = None
    end_s: NDArray[np.float64] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    logits: NDArray[np.float32] | None = None
    probabilities: NDArray[np.float32] | None = None
    embeddings: NDArray[np.float32] | None = None
    values: NDArray[np.float64] | None = None

    @property
    def scores(self) -> NDArray[Any] | None:
        """ndarray or None: (n, Y) what is said of each output: its probability, or its value."""
        return self.probabilities if self.values is None else self.values


def outcomes(
    model: Ready, inputs: Inputs, *, ignored: Callable[[str, str], object] | None = None, **reading: Any
) -> Iterator[Outcome]:
    """Iterate over the `Outcome` of each recording, in order; `reading` are further arguments of `predict`.

    `ignored` is that of `ecgfm.io.inputs.expand`.

    Only the recordings of the batch at hand and those read ahead are in memory, whatever the number of files.
    """
    return predicted(model, inputs, Reading(input=input_of(model), **reading), ignored=ignored)


def predicted(
    model: Ready,
    inputs: Inputs,
    reading: Reading,
    *,
    select: Select | None = None,
    ignored: Callable[[str, str], object] | None = None,
) -> Iterator[Outcome]:
    """As `outcomes`; `select` is that of `stream`."""

    calibration = getattr(model, "calibration", None)

    def forward(x: NDArray[np.float32], padding_mask: NDArray[np.bool_] | None) -> dict[str, NDArray[Any]]:
        output = model(x, padding_mask=padding_mask)
        if output.logits is None:
            raise ConfigError(
                "the model has no labels: it is one of pretraining",
                path=getattr(model, "source", None),
                field="model",
                remedy="Take a finetuned one; for embeddings: ecgfm.embed",
            )
        values = getattr(output, "values", None)
        if values is not None:
            return {"logits": output.logits, "embeddings": output.embedding, "values": values}
        found: Any = output.probabilities if calibration is None else calibration.probabilities(output.logits)
        return {"logits": output.logits, "embeddings": output.embedding, "probabilities": found}

    for each in stream(forward, expand(inputs, ignored), reading, select):
        yield Outcome(each.file, each.error, each.start_s, each.end_s, each.provenance, **each.outputs)

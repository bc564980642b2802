"""Predictions against true labels, per segment and per recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._types import StrPath
from ..metrics.calibration import calibration_table
from ..metrics.challenge import ChallengeScore, challenge_table
from ..metrics.decisions import decision_table
from ..metrics.intervals import ranking_table
from ..metrics.ranking import scikit_learn
from ..metrics.subgroups import subgroup_table
from ..table import Table
from ..validation import Number, checked
from .evaluate_about import About, thresholds_of
from .evaluate_values import evaluation_of_numbers, refuse_of_labels
from .evaluation import Evaluation
from .judged import Judged, checked_resampling, judged, labels_of
from .opening import Inputs, ModelLike, as_asked, input_of, opened_model, target_of
from .result import about as about_model
from .result import errors_table
from .stream import OnError, Progress, Reading

__all__ = ["Evaluation", "evaluate"]

MOST_BETA: Final = 1e6


def evaluate(
    model: ModelLike,
    inputs: Inputs,
    y: StrPath | ArrayLike | Table | Mapping[str, Any],
    *,
    aggregate: str = "tutorial",
    calibrated: bool = True,
    groups: str | Sequence[Any] | None = None,
    recordings: Sequence[Any] | None = None,
    thresholds: float | Sequence[float] | Mapping[str, float] | None = None,
    beta: float = 2.0,
    subgroups: str | Sequence[str] | Mapping[str, Sequence[Any]] | None = None,
    challenge: StrPath | None = None,
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
    """How good a model is: AUROC and AUPRC per label and averaged, per segment and per recording.

    Of a regression model: mean absolute error and root of the mean squared error in the unit of the target, coefficient
    of determination (R2) and Pearson's correlation of each output; `thresholds`, `beta`, `subgroups` and `challenge`
    are of labels.

    Parameters
    ----------
    model : Model, or path-like
        A classifier, from `ecgfm.load`; or what that takes.
    inputs : path, Record, Segments, array_like, or an iterable of them
        As for `ecgfm.predict`. A path that ends in ``.tsv`` is a manifest of fairseq-signals. An array (n, 12, N)
        without `sampling_rate` holds prepared segments, as `ecgfm.finetune` takes them.
    y : array_like, Table, mapping, pandas.DataFrame, or path-like
        The truth, 0 or 1, of a regression model numbers; NaN or an empty cell where it is not known. An array
        (recordings, Y) is in the order of `inputs`. A table, or a CSV file of one, has a column ``file``, ``path``,
        ``save_file`` or ``record`` that names the recordings, or ``idx``, their number in ECG-FM's ``.mat`` files, and
        a column per label. Names may lack folders and endings: the longest tail that a path has in common with them
        decides, and where several fit equally well it is an error. A ``.npy`` file is a label file of ECG-FM: row
        ``idx`` is that of the recording with this number, and the columns are those that the ``label_def.csv`` beside
        it names. What of the truth and of the model's labels has no counterpart is in the result, and a warning says
        it.
    aggregate : {"tutorial", "mean", "max"}
        How segments make a recording's prediction; see `ecgfm.inference.aggregate`.
    calibrated : bool
        As for `ecgfm.predict`.
    groups : str or sequence, optional
        The patients: the name of a column of the truth, such as ``"patient_id"``, or for each of the inputs the patient
        that it is of. Whole patients are resampled then, so that intervals hold where patients have several recordings.
        A recording whose patient is not known counts as a patient of its own.
    recordings : sequence, optional
        For each of the inputs the recording that it is of. By default each input is one; the files of a manifest that
        are called ``a_0.mat``, ``a_1.mat`` are of the recording ``a.mat``, if a table of segments beside them or their
        own numbers say so (as for `ecgfm.predict`), unless the truth names them one by one.
    thresholds : float, sequence, mapping or None
        Above which probability a label counts as predicted: one for all, one for each label, or a mapping of labels.
        None takes those that the model has, else 0.5, which is said to be assumed.
    beta : float
        Of F-beta and G-beta; 2 as in the PhysioNet/CinC Challenge 2020.
    subgroups : str, sequence of str, mapping or DataFrame, optional
        Columns of the truth (``["sex", "age", "device"]``), or variables with a value for each of the inputs: the
        metrics are computed for each value, too. Of ``age``, in years, for bands from 0, 18, 40, 60 and 80 years on.
    challenge : path-like, optional
        ``weights.csv`` of the PhysioNet/CinC Challenge 2021, for its score of the decisions at `thresholds`.
    bootstrap : int
        Resamples of patients, or of recordings where none are given, for the intervals; 0 for none.
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
        If `y`, `groups` or `subgroups` don't fit the model or the recordings, or no recording has labels.
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
    model = as_asked(opened_model(model, inputs), calibrated)
    resampling = checked_resampling(bootstrap, confidence, seed)
    beta = checked(beta, Number(above=0, below=MOST_BETA), "beta")
    labels = labels_of(model)
    if target_of(model) is None:
        scikit_learn()  # absent, it is noticed before the work
    else:
        refuse_of_labels(thresholds=thresholds, subgroups=subgroups, challenge=challenge)
    at, source = thresholds_of(thresholds, model, labels)
    score = None if challenge is None else ChallengeScore(challenge, "challenge")
    reading = Reading(
        sampling_rate, leads, missing_leads, short, only_leads, overlap_s, unit, input_of(model),
        batch_size=batch_size, readers=readers,
    )  # fmt: skip
    about = About(groups, subgroups)
    found = judged(model, inputs, y, about, recordings, aggregate, reading, on_error, progress)
    if target_of(model) is not None:
        return evaluation_of_numbers(found, resampling, aggregate)
    return _evaluation(found, at, score, beta, resampling, {"aggregate": aggregate, "thresholds": source})


def _evaluation(
    found: Judged,
    thresholds: NDArray[np.float64],
    score: ChallengeScore | None,
    beta: float,
    resampling: dict[str, Any],
    settings: dict[str, Any],
) -> Evaluation:
    labels, patients = found.labels, found.patient_of
    given = found.scores, found.truth, patients, labels
    records = ranking_table(*given, **resampling)
    segments = ranking_table(
        found.segment_scores, found.truth[found.record_of], patients[found.record_of], labels, **resampling
    )
    decisions = decision_table(*given, thresholds, beta=beta, **resampling)
    parts = None
    if found.variables:
        parts = subgroup_table(*given, thresholds, found.variables, beta=beta, **resampling)
    won = None
    if score is not None:
        predicted = found.scores > thresholds
        won = challenge_table(score, predicted, found.truth, patients, labels, **resampling)
    counts = found.counts()
    return Evaluation(
        records,
        segments,
        tuple(name for name, value in zip(labels, records["auroc"]) if np.isnan(value)),
        found.predictions(),
        tuple(found.plan.unlabelled),
        errors_table(found.failed),
        about_model(found.model),
        {**settings, **resampling, "beta": beta, **counts},
        found.plan.truth.unused,
        found.plan.truth.lacking,
        found.plan.truth.renamed,
        decisions,
        parts,
        won,
        calibration_table(found.truth, found.scores, labels),
    )

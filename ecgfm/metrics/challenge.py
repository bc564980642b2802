"""The score of the PhysioNet/CinC Challenge 2021."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..specs.label_sets import labels_of
from ..storage.inputs import open_text
from ..storage.rows import csv_rows
from ..table import Table
from .counts import share
from .resampling import percentiles, resamples

__all__ = ["ChallengeScore", "challenge_table"]

_SINUS_RHYTHM = "426783006"
_MOST_WEIGHTS = 1 << 20  # bytes of a table
_FIELD = "criterion.weights_file"


class ChallengeScore:
    """The score of the PhysioNet/CinC Challenge 2021: rewards of predictions; 0 for sinus rhythm always, 1 at best.

    A prediction of class k for a record of class j earns ``weights[j, k]``, divided by the number of classes that the
    record has or is predicted to have.

    Parameters
    ----------
    path : path-like
        The challenge's ``weights.csv``: the codes of the classes, ``|`` between those that count as one, in the first
        row and the first column.
    field : str
        The argument that names it, for messages.

    Raises
    ------
    ConfigError
        If it can't be read, or has no class of sinus rhythm.
    """

    #: What `sums` counts.
    COUNTS = ("o_score", "c_score", "i_score")

    def __init__(self, path: str | os.PathLike[str], field: str = _FIELD) -> None:
        self.path, self._field = os.fspath(path), field
        self.classes, self.weights = self._table()
        sinus = [i for i, codes in enumerate(self.classes) if _SINUS_RHYTHM in codes]
        if len(sinus) != 1:
            self._refuse(f"it has no class {_SINUS_RHYTHM}, sinus rhythm")
        self._sinus = sinus[0]

    def _table(self) -> tuple[list[set[str]], NDArray[np.float64]]:
        with open_text(self.path, most=_MOST_WEIGHTS, error=ConfigError, field=self._field) as file:
            rows = [row for row in csv_rows(file, self.path, error=ConfigError, field=self._field) if row]
        classes = [set(row[0].split("|")) for row in rows[1:]]
        count = len(classes)
        names = [set(name.split("|")) for name in rows[0][1:]] if rows else None
        if names != classes or any(len(row) != count + 1 for row in rows):
            self._refuse("its rows and columns are not the same classes")
        try:
            weights = np.array([[float(cell) for cell in row[1:]] for row in rows[1:]]).reshape(count, count)
        except ValueError as error:
            self._refuse(f"not a table of weights: {error}")
        if not np.isfinite(weights).all():
            self._refuse("not a table of weights: a weight is not finite")
        return classes, weights

    def _refuse(self, message: str) -> NoReturn:
        raise ConfigError(message, path=self.path, field=self._field) from None

    def rewards(self, predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Observed, best and inactive rewards of each row: (3, n) of (n, Y)."""
        if truth.shape[1] != len(self.classes):
            self._refuse(f"it has {len(self.classes)} classes, the labels are {truth.shape[1]}")
        inactive = np.zeros_like(truth)
        inactive[:, self._sinus] = True

        def reward(predicted: NDArray[Any]) -> NDArray[np.float64]:
            union = np.maximum((predicted | truth).sum(axis=1), 1)
            found: NDArray[np.float64] = ((truth @ self.weights) * predicted).sum(axis=1) / union
            return found

        return np.stack([reward(predicted), reward(truth), reward(inactive)])

    def sums(self, predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> dict[str, float]:
        """Observed, best and inactive rewards of rows (n, Y)."""
        return dict(zip(self.COUNTS, self.rewards(predicted, truth).sum(axis=1).tolist()))

    def columns(self, labels: Sequence[str]) -> list[list[int]]:
        """The labels that are of each class: by a code, an abbreviation of the challenge, or a name that means it."""
        known = [{name, *name.split("|"), *(() if one is None else one.snomed_ct)}
                 for name, one in zip(labels, labels_of(labels))]  # fmt: skip
        return [[i for i, codes in enumerate(known) if codes & each] for each in self.classes]

    @staticmethod
    def score(sums: Mapping[str, float]) -> float:
        """The score of `sums` over all batches; NaN where there is nothing to win."""
        return share(sums["o_score"] - sums["i_score"], sums["c_score"] - sums["i_score"])


def challenge_table(
    challenge: ChallengeScore,
    predicted: NDArray[np.bool_],
    truth: NDArray[Any],
    groups: NDArray[Any],
    labels: Sequence[str],
    *,
    bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Table:
    """The score of decisions, with its interval.

    Parameters
    ----------
    challenge : ChallengeScore
    predicted, truth : ndarray
        (n, Y): decisions; and 0, 1, or NaN where the truth is not known. Rows with an unknown label of a class are left
        out.
    groups : ndarray of int
        (n,) what is drawn as one: the patient of each row, 0 to their number - 1.
    labels : sequence of str
        (Y,) Those that are of no class do not count; of several of one class, one is enough.
    bootstrap, confidence, seed
        As of `ecgfm.metrics.intervals.ranking_table`.

    Returns
    -------
    Table
        One row: ``score``, ``score_low``, ``score_high``, ``n`` (rows), ``classes`` (of the challenge) and
        ``classes_without_label``, which are never true nor predicted.

    Raises
    ------
    ConfigError
        If no label is of a class.
    """
    columns = challenge.columns(labels)
    used = [i for each in columns for i in each]
    if not used:
        raise ConfigError("none of the model's labels is a class of it", path=challenge.path, field="challenge")
    kept = ~np.isnan(truth[:, used]).any(axis=1)

    def of_classes(values: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return np.stack([values[:, each].any(axis=1) for each in columns], axis=1)

    rewards = challenge.rewards(of_classes(predicted[kept]), of_classes(truth[kept] == 1))
    total = int(groups.max()) + 1 if len(groups) else 0
    of_group = np.stack([np.bincount(groups[kept], weights=one, minlength=total) for one in rewards])
    drawn = np.full((bootstrap, 1), math.nan)
    for where, weights in resamples(total, bootstrap, seed):
        drawn[where, 0] = _score(weights @ of_group.T)
    point = _score(rewards.sum(axis=1)[None])
    low, high = percentiles(point, drawn, confidence)
    missing = sum(not each for each in columns)
    counts = {"n": int(kept.sum()), "classes": len(columns), "classes_without_label": missing}
    about = {name: np.array([count]) for name, count in counts.items()}
    return Table({"score": point, "score_low": low, "score_high": high, **about})


def _score(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """The score of each row of observed, best and inactive rewards (r, 3)."""
    observed, best, inactive = sums.T
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(best != inactive, (observed - inactive) / (best - inactive), math.nan)

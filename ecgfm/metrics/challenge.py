"""The score of the PhysioNet/CinC Challenge 2021."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..storage.inputs import open_text
from ..storage.rows import csv_rows
from .counts import share

__all__ = ["ChallengeScore"]

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

    Raises
    ------
    ConfigError
        If it can't be read, or has no class of sinus rhythm.
    """

    #: What `sums` counts.
    COUNTS = ("o_score", "c_score", "i_score")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self.classes, self.weights = self._table()
        sinus = [i for i, codes in enumerate(self.classes) if _SINUS_RHYTHM in codes]
        if len(sinus) != 1:
            self._refuse(f"it has no class {_SINUS_RHYTHM}, sinus rhythm")
        self._sinus = sinus[0]

    def _table(self) -> tuple[list[set[str]], NDArray[np.float64]]:
        with open_text(self.path, most=_MOST_WEIGHTS, error=ConfigError, field=_FIELD) as file:
            rows = [row for row in csv_rows(file, self.path, error=ConfigError, field=_FIELD) if row]
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
        raise ConfigError(message, path=self.path, field=_FIELD) from None

    def sums(self, predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> dict[str, float]:
        """Observed, best and inactive rewards of rows (n, Y)."""
        if truth.shape[1] != len(self.classes):
            self._refuse(f"it has {len(self.classes)} classes, the labels are {truth.shape[1]}")
        inactive = np.zeros_like(truth)
        inactive[:, self._sinus] = True

        def reward(predicted: NDArray[Any]) -> float:
            union = np.maximum((predicted | truth).sum(axis=1), 1)
            return float((((truth @ self.weights) * predicted).sum(axis=1) / union).sum())

        return {"o_score": reward(predicted), "c_score": reward(truth), "i_score": reward(inactive)}

    @staticmethod
    def score(sums: Mapping[str, float]) -> float:
        """The score of `sums` over all batches; NaN where there is nothing to win."""
        return share(sums["o_score"] - sums["i_score"], sums["c_score"] - sums["i_score"])

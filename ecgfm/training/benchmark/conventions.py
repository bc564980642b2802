"""How published benchmarks of PTB-XL score: what is resampled, what becomes of empty classes, which interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ...metrics.intervals import weighted_ranking
from ...metrics.ranking import mean_of_known, ranking
from ...metrics.resampling import two_sided_p

__all__ = ["CONVENTIONS", "Convention", "Score", "macro_auroc"]

_MOST_DRAWS = 100  # times as many resamples as are wanted are drawn, if all others are rejected
_AT_ONCE = 64


@dataclass(frozen=True)
class Convention:
    """How scores are made.

    Attributes
    ----------
    name : str
    patients : bool
        Whether whole patients are resampled, or recordings.
    resamples : int
    confidence : float
        Of the interval between percentiles.
    empty : {"nan", "reject", "half"}
        What becomes of a resample in which a class has no positive: the class has no value in it, it is drawn again, or
        the class counts 0.5.
    all_records : bool
        Whether recordings without a label of the task stay, as negative ones.
    columns_of_all : tuple of str
        Tasks that are columns of the task ``all``, not fitted by themselves.
    about : str
    """

    name: str
    patients: bool
    resamples: int
    confidence: float
    empty: str
    all_records: bool = False
    columns_of_all: tuple[str, ...] = ()
    about: str = ""


#: Name -> convention.
CONVENTIONS: Final = {
    one.name: one
    for one in (
        Convention(
            "ecgfm", True, 1000, 0.95, "nan",
            about="95 % intervals of 1000 resamples of patients; a class without positives in one has no value there",
        ),
        Convention(
            "helme", False, 100, 0.9, "reject",
            about="90 % intervals of 100 resamples of recordings; a resample in which a class has no positive is drawn"
            " again (Strodthoff et al., ecg_ptbxl_benchmarking)",
        ),
        Convention(
            "ai4health", False, 1000, 0.95, "half", True, ("diagnostic", "form", "rhythm"),
            about="95 % intervals of 1000 resamples of recordings; a class without positives counts 0.5; all recordings"
            " in every task; diagnostic, form and rhythm are columns of all (AI4HealthUOL, ecg-fm-benchmarking)",
        ),
    )
}  # fmt: skip


@dataclass(eq=False)
class Score:
    """A macro AUROC.

    Attributes
    ----------
    auroc, low, high : float
    each : ndarray
        (Y,) of each class; NaN of one that has one class only.
    undefined : tuple of int
        Classes that have no value: they have no positive, or no negative.
    values : ndarray
        Of the resamples; fewer than wanted where nearly all were to be drawn again. Those of two models for the same
        recordings belong together, one by one.
    """

    auroc: float
    low: float
    high: float
    each: NDArray[np.float64]
    undefined: tuple[int, ...]
    values: NDArray[np.float64]

    @property
    def resamples(self) -> int:
        """int: how many resamples have a value."""
        return len(self.values)

    def over(self, other: Score, convention: Convention) -> tuple[float, float, float, float]:
        """The difference to another score of the same recordings, its interval, and p: see `two_sided_p`."""
        if len(self.values) != len(other.values) or not len(self.values):
            return self.auroc - other.auroc, math.nan, math.nan, math.nan
        differences, tail = self.values - other.values, 50 * (1 - convention.confidence)
        low, high = np.percentile(differences, [tail, 100 - tail]).tolist()
        return self.auroc - other.auroc, low, high, float(two_sided_p(differences[:, None])[0])

    def printed(self) -> str:
        """``.925(07)``, as the benchmark's own tables: the larger distance to an end of the interval, x 1000."""
        if math.isnan(self.auroc):
            return "-"
        text = f"{self.auroc:.3f}".removeprefix("0")
        if math.isnan(self.low):
            return text
        return f"{text}({1000 * max(self.auroc - self.low, self.high - self.auroc):02.0f})"


def macro_auroc(
    scores: NDArray[Any], truth: NDArray[np.bool_], patients: NDArray[np.int64], convention: Convention, seed: int = 0
) -> Score:
    """The mean of the classes' AUROCs with its interval, by a convention.

    Classes that have no value on the recordings themselves are left out, and are in `Score.undefined`; by the
    convention ``half`` they count 0.5, as in its resamples.

    Parameters
    ----------
    scores : ndarray
        (n, Y)
    truth : ndarray of bool
        (n, Y)
    patients : ndarray of int
        (n,) 0 to their number - 1.
    convention : Convention
    seed : int
        Of the resamples.
    """
    each = ranking(truth, scores)[0, : truth.shape[1]]
    half = convention.empty == "half"
    undefined = tuple(np.flatnonzero(np.isnan(each)).tolist())
    kept = [i for i in range(len(each)) if half or i not in undefined]
    point = float(mean_of_known(np.where(np.isnan(each), 0.5, each) if half else each)) if kept else math.nan
    rows = patients if convention.patients else np.arange(len(truth))
    values = _resampled(scores[:, kept], truth[:, kept], rows, convention, seed) if kept else np.zeros(0)
    values = values[~np.isnan(values)]
    low = high = math.nan
    if len(values):
        tail = 50 * (1 - convention.confidence)
        low, high = np.percentile(values, [tail, 100 - tail]).tolist()
    return Score(point, low, high, each, undefined, values)


def _resampled(
    scores: NDArray[Any], truth: NDArray[np.bool_], rows: NDArray[np.int64], convention: Convention, seed: int
) -> NDArray[np.float64]:
    """Macro AUROCs of resamples."""
    total, rng = int(rows.max()) + 1, np.random.default_rng(seed)
    found: list[NDArray[np.float64]] = []
    count = drawn = 0
    while count < convention.resamples and drawn < _MOST_DRAWS * convention.resamples:
        some = min(_AT_ONCE, _MOST_DRAWS * convention.resamples - drawn)
        weights = rng.multinomial(total, np.full(total, 1 / total), some).astype(np.float64)[:, rows]
        drawn += some
        if convention.empty == "reject":
            weights = weights[((weights @ truth > 0) & (weights @ ~truth > 0)).all(axis=1)]
        if not len(weights):
            continue
        each = np.stack(
            [weighted_ranking(scores[:, i], truth[:, i], weights)[0] for i in range(truth.shape[1])], axis=1
        )
        if convention.empty == "half":
            each = np.where(np.isnan(each), 0.5, each)
        found.append(mean_of_known(each))
        count += len(weights)
    return np.concatenate(found)[: convention.resamples] if found else np.zeros(0)


def classes_text(names: Sequence[str], places: Sequence[int]) -> str:
    """The names of some classes, for a table: the first ten."""
    return ", ".join(names[i] for i in places[:10]) + ", ..." * (len(places) > 10)

"""How good numbers are that a model says: errors in their unit, the share of variance explained, correlation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .._text import printable
from ..table import Table
from .resampling import percentiles, resamples

__all__ = ["MEASURES", "regression", "regression_table", "value_rows"]

#: Mean absolute error, root of the mean squared error, coefficient of determination, Pearson's correlation.
MEASURES: Final = ("mae", "rmse", "r2", "pearson")

_CELLS = 1 << 22  # of weights at a time in the bootstrap


def regression(truth: NDArray[Any], values: NDArray[Any]) -> NDArray[np.float64]:
    """The `MEASURES` of each target.

    Parameters
    ----------
    truth : ndarray
        (n, Y) numbers, NaN where one is not known.
    values : ndarray
        (n, Y) what was said of them.

    Returns
    -------
    ndarray
        (4, Y). NaN where nothing is known; ``r2`` and ``pearson`` also where there are fewer than two different
        numbers.
    """
    each = [_measured(truth[:, i], values[:, i], np.ones((1, len(truth))))[:, 0] for i in range(truth.shape[1])]
    return np.array(each, dtype=np.float64).reshape(-1, len(MEASURES)).T


def regression_table(
    values: NDArray[Any],
    truth: NDArray[Any],
    records: NDArray[Any],
    labels: Sequence[str],
    *,
    units: Sequence[str],
    bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Table:
    """A row per target: ``label``, ``unit``, ``n`` (rows whose truth is known), the `MEASURES` and their intervals.

    Parameters
    ----------
    values : ndarray
        (n, Y).
    truth : ndarray
        (n, Y), NaN where one is not known.
    records : ndarray of int
        (n,) what is drawn as one: the patient, or the recording, of each row, 0 to their number - 1.
    labels, units : sequence of str
        (Y,)
    bootstrap, confidence, seed
        As of `ecgfm.metrics.intervals.ranking_table`: whole patients, or recordings, are drawn.

    Returns
    -------
    Table
        ``mae`` and ``rmse`` are in the unit of the target.
    """
    point = regression(truth, values)
    drawn = _resampled(values, truth, records, bootstrap, seed)
    rows: dict[str, Any] = {"label": [*labels], "unit": [*units], "n": (~np.isnan(truth)).sum(axis=0)}
    for name, found, replicates in zip(MEASURES, point, drawn):
        low, high = percentiles(found, replicates, confidence)
        rows |= {name: found, f"{name}_low": low, f"{name}_high": high}
    return Table({name: np.array(column) for name, column in rows.items()})


def _resampled(
    values: NDArray[Any], truth: NDArray[Any], records: NDArray[Any], count: int, seed: int
) -> NDArray[np.float64]:
    """(4, count, Y) of resamples."""
    out = np.full((len(MEASURES), count, truth.shape[1]), math.nan)
    total = int(records.max()) + 1 if len(records) else 0
    for where, weights in resamples(total, count, seed, max(1, _CELLS // max(total, len(records), 1))):
        for i in range(truth.shape[1]):
            out[:, where, i] = _measured(truth[:, i], values[:, i], weights[:, records])
    return out


def _measured(truth: NDArray[Any], values: NDArray[Any], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4, R) of one target, for R sets of weights (R, n) of the rows."""
    known = ~np.isnan(truth)
    y, v, w = truth[known].astype(np.float64), values[known].astype(np.float64), weights[:, known]
    if not len(y):
        return np.full((len(MEASURES), len(weights)), math.nan)
    total = w.sum(axis=1)
    y, v = y - y.mean(), v - y.mean()  # nothing here depends on where 0 is
    with np.errstate(divide="ignore", invalid="ignore"):
        error, mean_y, mean_v = v - y, (w @ y) / total, (w @ v) / total
        squares = w @ error**2
        spread_y = w @ y**2 - total * mean_y**2
        spread_v = w @ v**2 - total * mean_v**2
        both = w @ (y * v) - total * mean_y * mean_v
        least = 1e-12 * np.maximum(w @ y**2, 1e-300), 1e-12 * np.maximum(w @ v**2, 1e-300)
        varies = spread_y > least[0]
        r2 = np.where(varies, 1 - squares / spread_y, math.nan)
        pearson = np.where(varies & (spread_v > least[1]), both / np.sqrt(spread_y * spread_v), math.nan)
        return np.stack([(w @ np.abs(error)) / total, np.sqrt(squares / total), r2, pearson])


def value_rows(table: Table) -> Iterator[str]:
    """Lines of a `regression_table`, for people."""
    names = [printable(f"{row['label']} ({row['unit']})" if row["unit"] else row["label"]) for row in table.rows()]
    width = max(len(name) for name in ("output", *names))
    heads = "".join(f"  {head:<23}" for head in ("MAE", "RMSE", "R2", "Pearson r"))
    yield f"{'output':<{width}}  {'n':>7}{heads}".rstrip()
    for name, row in zip(names, table.rows()):
        cells = "".join(f"  {_interval(row, measure):<23}" for measure in MEASURES)
        yield f"{name:<{width}}  {row['n']:>7}{cells}".rstrip()


def _interval(row: Mapping[str, Any], measure: str) -> str:
    value, low, high = (row[name] for name in (measure, f"{measure}_low", f"{measure}_high"))
    if math.isnan(value):
        return "-"
    return f"{value:.4g}" if math.isnan(low) else f"{value:.4g} [{low:.4g}, {high:.4g}]"

"""How good predictions are in parts of the recordings: by sex, in bands of age, by device, by site."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .._text import shown
from ..errors import ConfigError
from ..table import Table
from .decisions import decision_table
from .intervals import ranking_table

__all__ = ["AGE_BANDS", "UNKNOWN", "age_bands", "as_levels", "subgroup_table"]

#: Where bands of age begin, in years, after the first.
AGE_BANDS: Final = (18, 40, 60, 80)
UNKNOWN: Final = "unknown"
_OLDEST = 130  # years: what is more is no age (PTB-XL says 300 of ages that are not known, or 90 or more)
_MOST_LEVELS = 100


def age_bands(ages: Sequence[Any], edges: Sequence[float] = AGE_BANDS) -> list[str]:
    """The band of each age: ``0-17``, ``18-39``, ..., ``80+``; ``unknown`` of what is no age in years."""
    names = [f"{low:g}-{high - 1:g}" for low, high in zip((0, *edges), edges)] + [f"{edges[-1]:g}+"]
    found = []
    for value in ages:
        try:
            age = float(value) if value is not None and len(str(value)) < 40 else math.nan
        except (TypeError, ValueError):
            age = math.nan
        band = int(np.searchsorted(edges, age, side="right"))
        found.append(names[band] if 0 <= age <= _OLDEST else UNKNOWN)
    return found


def as_levels(name: str, values: Sequence[Any]) -> list[str]:
    """Values of a variable as text: those of ``age`` in bands, ``unknown`` of what is missing.

    Raises
    ------
    ConfigError
        If there are too many different ones to be groups.
    """
    if name.lower() == "age":
        return age_bands(values)
    texts = [_text(value) for value in values]
    if len(set(texts)) > _MOST_LEVELS:
        raise ConfigError(
            f"it has {len(set(texts)):,} different values, such as {shown(texts[0])}",
            field=name,
            remedy=f"Give a column of at most {_MOST_LEVELS}, such as sex, or age in years under the name age",
        )
    return texts


def _text(value: Any) -> str:
    if value is None or value != value or type(value).__name__ in ("NAType", "NaTType"):
        return UNKNOWN
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        value = int(value)
    text = str(value).strip()
    text = text.removesuffix(".0") if text.removesuffix(".0").isdigit() else text
    return UNKNOWN if text.lower() in ("", "nan", "none", "na", "n/a", "null", "<na>", "unknown") else text


def subgroup_table(
    scores: NDArray[Any],
    truth: NDArray[Any],
    groups: NDArray[Any],
    labels: Sequence[str],
    thresholds: NDArray[Any],
    variables: Mapping[str, Sequence[str]],
    *,
    beta: float = 2.0,
    **resampling: Any,
) -> Table:
    """The tables of `ranking_table` and `decision_table` for each value of each variable.

    Parameters
    ----------
    scores, truth, groups, labels, thresholds, beta
        As of `ecgfm.metrics.decisions.decision_table`.
    variables : mapping of str to sequence of str
        Variable -> the value of each row (n,).
    **resampling
        ``bootstrap``, ``confidence``, ``seed``. Patients are drawn among those of the subgroup.

    Returns
    -------
    Table
        ``variable``, ``value``, ``rows`` and ``patients`` of the subgroup, then the columns of the two tables.
    """
    parts: list[Table] = []
    about: list[tuple[str, str, int, int]] = []
    for name, values in variables.items():
        of_row = np.array(values, dtype=object)
        for value in sorted(set(values), key=lambda one: (one == UNKNOWN, _in_order(one))):
            there = np.flatnonzero(of_row == value)
            _, of_group = np.unique(groups[there], return_inverse=True)
            given = scores[there], truth[there], of_group, labels
            ranked = ranking_table(*given, **resampling)
            decided = decision_table(*given, thresholds, beta=beta, **resampling)
            columns = {column: table[column] for table in (ranked, decided) for column in table.columns}
            parts.append(Table(columns))
            about += [(name, value, len(there), int(of_group.max()) + 1)] * len(ranked)
    if not parts:
        return Table({})
    heads = dict(zip(("variable", "value", "rows", "patients"), map(np.array, zip(*about))))
    return Table(heads | {name: np.concatenate([part[name] for part in parts]) for name in parts[0].columns})


def _in_order(text: str) -> tuple[float, str]:
    """Numbers, and bands of them, by their size; then text."""
    first = text.split("-")[0].removesuffix("+")
    return (float(first), text) if first.isdecimal() and first.isascii() and len(first) < 16 else (math.inf, text)

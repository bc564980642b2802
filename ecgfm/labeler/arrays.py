"""Labels as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import LabelError
from ..table import Table

__all__ = ["to_multilabel", "labels_to_array"]


def to_multilabel(
    labels: Table | Mapping[str, ArrayLike], n: int, names: Sequence[str] | None = None, *, threshold: float = 0.0
) -> tuple[NDArray[np.bool_], list[str]]:
    """A boolean array of which sample has which label.

    Parameters
    ----------
    labels : Table or mapping
        Columns ``sample`` (int), ``name`` (str) and ``prob`` (float), as ``Result.labels_flat``. Rows whose name is
        not among ``names`` are ignored.
    n : int
        Number of samples; those without labels are all False.
    names : sequence of str, optional
        The columns. Default: the labels that occur, sorted by name.
    threshold : float
        A label counts when its probability is above this.

    Returns
    -------
    y : ndarray of bool, shape (n, Y)
    names : list of str

    Raises
    ------
    LabelError
        If a sample lies outside 0 to n - 1 or a name is in ``names`` twice.
    """
    samples, columns, probs, names = _columns(labels, n, names)
    y = np.zeros((n, len(names)), dtype=bool)
    keep = (columns >= 0) & (probs > threshold)
    y[samples[keep], columns[keep]] = True
    return y, names


def labels_to_array(
    labels: Table | Mapping[str, ArrayLike], n: int, label_order: Sequence[str] | None = None
) -> tuple[Table, Table, NDArray[np.float64], NDArray[np.float32]]:
    """Labels as target arrays, with the counts and weights of each label.

    Parameters
    ----------
    labels : Table or mapping
        Columns ``sample`` (int), ``name`` (str) and ``prob`` (float), each (sample, name) once.
    n : int
        Number of samples.
    label_order : sequence of str, optional
        Order of the columns. Default: the labels that occur, sorted by name. Rows of other names are left out.

    Returns
    -------
    labels : Table
        ``sample, name, prob, label``: the rows that were used, ``label`` being the column.
    label_def : Table
        ``name, count, pos_percent, pos_weight`` by column: samples that have the label, ``count / n``, and
        ``(1 - p) / p`` with p that share (infinite for a label that never occurs).
    y_soft : ndarray of float64, shape (n, Y)
        Probabilities, 0 where a sample lacks the label.
    y : ndarray of float32, shape (n, Y)
        1 where ``y_soft`` is above 0.

    Raises
    ------
    LabelError
        If a (sample, name) pair occurs twice, a sample lies outside 0 to n - 1, or a name occurs twice in
        ``label_order``.
    """
    samples, columns, probs, names = _columns(labels, n, label_order)
    keep = columns >= 0
    samples, columns, probs = samples[keep], columns[keep], probs[keep]
    cells = samples * max(len(names), 1) + columns
    if len(np.unique(cells)) != len(cells):
        order = np.argsort(cells, kind="stable")
        again = order[1:][cells[order][1:] == cells[order][:-1]][0]
        raise LabelError(
            f"sample {samples[again]} has the label {names[columns[again]]!r} twice",
            field="labels",
            remedy="Pass labels_flat, which has each label of a sample once",
        )
    y_soft = np.zeros((n, len(names)))
    y_soft[samples, columns] = probs
    y = (y_soft > 0).astype(np.float32)
    named = np.array(names, dtype=object)
    used = Table({"sample": samples, "name": named[columns], "prob": probs, "label": columns})
    count = np.count_nonzero(y, axis=0)
    percent, weight = prevalence(count, n)
    label_def = Table({"name": named, "count": count, "pos_percent": percent, "pos_weight": weight})
    return used, label_def, y_soft, y


def prevalence(count: ArrayLike, n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The share p of `n` samples that have each label, and the weight (1 - p) / p of a positive one."""
    count = np.asarray(count, dtype=float)
    p = count / n if n else np.zeros_like(count)
    with np.errstate(divide="ignore"):
        return p, (1 - p) / p


def _columns(
    labels: Table | Mapping[str, ArrayLike], n: int, names: Sequence[str] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], list[str]]:
    samples = np.asarray(labels["sample"], dtype=np.int64)
    given = np.asarray(labels["name"], dtype=object)
    probs = np.asarray(labels["prob"], dtype=float)
    if len(samples) and not (0 <= samples.min() and samples.max() < n):
        bad = samples.min() if samples.min() < 0 else samples.max()
        raise LabelError(f"sample {bad} lies outside 0 to {n - 1}", field="sample")
    names = sorted(set(given.tolist())) if names is None else list(names)
    index = {name: i for i, name in enumerate(names)}
    if len(index) != len(names):
        twice = next(name for i, name in enumerate(names) if index[name] != i)
        raise LabelError(f"the label {twice!r} occurs twice", field="names")
    get = index.get
    columns = np.fromiter((get(name, -1) for name in given.tolist()), dtype=np.int64, count=len(given))
    return samples, columns, probs, names

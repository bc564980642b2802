"""The label files that finetuning takes: labels.csv, label_def.csv, y.npy, pos_weight.txt."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._types import StrPath
from ..errors import LabelError
from ..storage.atomic import write_text
from ..storage.npy import write_npy
from .arrays import shares

__all__ = ["write_label_files"]

MAX_INDEX = 100_000_000  # y.npy has a row for each index up to the largest, ...
MAX_RATIO = 1000  # ... which may be so many times as many as there are records, ...
FREE_CELLS = 1 << 25  # ... where y.npy has more cells than this


def write_label_files(
    folder: StrPath,
    idx: ArrayLike,
    y: ArrayLike,
    names: Sequence[str],
    *,
    splits: Sequence[Any] | None = None,
    extra: Mapping[str, Sequence[Any]] | None = None,
    settings: dict[str, Any] | None = None,
    labels: bool = True,
    rows: int = 0,
    infinite: bool = False,
) -> list[str]:
    """Write the label files of a data set.

    Parameters
    ----------
    folder : path-like
        Where to; made if need be.
    idx : array_like of int, shape (n,)
        The index of each record, as in ``meta.csv`` and in the records' ``idx``. Each once.
    y : array_like, shape (n, Y)
        What is above 0 counts as positive.
    names : sequence of str
        The Y labels, in the order of the outputs.
    splits : sequence, shape (n,), optional
        The split of each record; empty or None for a record in none. Counts are given for each split.
    extra : mapping of str to sequence, optional
        Further columns of labels.csv, after ``idx``.
    settings : dict, optional
        How the labels were made; written to ``labels_args.json``.
    labels : bool
        Whether ``labels.csv`` is written.
    rows : int
        ``y.npy`` has at least so many.
    infinite : bool
        What ``pos_weight.txt`` says of a label without a positive record: ``inf``, as the original does, or 1, which is
        as good as any: it multiplies a term that never occurs. With an infinite one the loss would be NaN.

    Returns
    -------
    never : list of str
        The labels without a positive record among those that ``pos_weight.txt`` is for. Their weight is infinite
        in ``label_def.csv``.

    Raises
    ------
    LabelError
        If an index repeats, is negative or far too large, or sizes don't fit.
    """
    folder = Path(folder)
    idx, y, names = np.asarray(idx, dtype=np.int64), np.asarray(y) > 0, list(names)
    if y.shape != (len(idx), len(names)):
        raise LabelError(f"labels of shape {y.shape} for {len(idx)} records and {len(names)} names", field="y")
    if len(idx) and not (0 <= idx.min() and idx.max() < MAX_INDEX):
        raise LabelError(f"indices must lie between 0 and {MAX_INDEX - 1}", field="idx")
    length = max(rows, int(idx.max()) + 1 if len(idx) else 0)
    if length * len(names) > FREE_CELLS and length > MAX_RATIO * max(rows, len(idx)):
        raise LabelError(
            f"the largest index is {idx.max()} for {len(idx)} records: y.npy would have a row for each up to it",
            field="idx",
            remedy="Number the records from 0",
        )
    if len(np.unique(idx)) != len(idx):
        values, counts = np.unique(idx, return_counts=True)
        raise LabelError(f"the index {values[counts > 1][0]} stands twice", field="idx")
    folder.mkdir(parents=True, exist_ok=True)
    array = np.zeros((length, len(names)))
    array[idx] = y
    write_npy(folder / "y.npy", array)
    if labels:
        write_text(folder / "labels.csv", labels_csv(idx, y, names, extra or {}))
    columns, weights = label_def(y, names, splits)
    write_text(folder / "label_def.csv", csv_text(["name", *columns], zip(names, *columns.values())))
    never = [name for name, weight in zip(names, weights) if not np.isfinite(weight)]
    kept = [1.0 if not (infinite or np.isfinite(weight)) else round(float(weight), 6) for weight in weights]
    write_text(folder / "pos_weight.txt", "[" + ",".join(map(str, kept)) + "]")
    if settings is not None:
        write_text(folder / "labels_args.json", json.dumps(settings, indent=1) + "\n")
    return never


def label_def(
    y: NDArray[np.bool_], names: Sequence[str], splits: Sequence[Any] | None = None
) -> tuple[dict[str, list[Any]], NDArray[np.float64]]:
    """The columns of label_def.csv, and the weights that pos_weight.txt is made of (train, or all without splits)."""
    columns = {}
    groups = {}
    if splits is not None:
        of = np.asarray(["" if split is None else str(split) for split in splits], dtype=object)
        groups = {split: y[of == split] for split in sorted(set(of.tolist()) - {""})}
        everything = y[of != ""]
    else:
        everything = y
    made = {
        name: (np.count_nonzero(rows, axis=0), *shares(np.count_nonzero(rows, axis=0), len(rows)))
        for name, rows in {**groups, "all": everything}.items()
    }
    for i, kind in enumerate(("count", "percent", "weight")):
        for name in groups:
            columns[f"pos_{kind}_{name}"] = made[name][i].tolist()
    columns["pos_count_all"], columns["pos_percent_all"] = made["all"][0].tolist(), made["all"][1].tolist()
    return columns, made["train" if "train" in groups else "all"][2]


def labels_csv(
    idx: NDArray[np.int64], y: NDArray[np.bool_], names: Sequence[str], extra: Mapping[str, Sequence[Any]]
) -> str:
    digits = y.astype(np.int8).tolist()
    rows = ([i, *more, *row] for i, row, *more in zip(idx.tolist(), digits, *extra.values()))
    return csv_text(["idx", *extra, *names], rows)


def csv_text(header: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()

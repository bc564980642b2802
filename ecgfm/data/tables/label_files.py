"""The label files that finetuning takes: labels.csv, label_def.csv, y.npy, pos_weight.txt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._types import StrPath
from ...errors import LabelError
from ...storage.atomic import write_text
from ...storage.json import write_json
from ...storage.npy import write_npy
from ...storage.rows import csv_text

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["MAX_INDEX", "write_label_files"]

#: ``y.npy`` has a row for each index up to the largest, ...
MAX_INDEX = 100_000_000
_MAX_RATIO = 1000  # ... and at most this many times as many rows as there are records, ...
_FREE_CELLS = 1 << 25  # ... where it has more cells than this


def write_label_files(
    folder: StrPath,
    idx: ArrayLike,
    y: ArrayLike,
    names: Sequence[str],
    *,
    splits: Sequence[object] | None = None,
    extra: Mapping[str, Sequence[object]] | None = None,
    settings: Mapping[str, Any] | None = None,
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
        The least that ``y.npy`` has.
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
    if length * len(names) > _FREE_CELLS and length > _MAX_RATIO * max(rows, len(idx)):
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
        cells = zip(idx.tolist(), *(extra or {}).values(), y.astype(np.int8).tolist())
        table = ([*about, *digits] for *about, digits in cells)
        write_text(folder / "labels.csv", csv_text([["idx", *(extra or {}), *names], *table]))
    columns, weights = label_def(y, splits)
    write_text(folder / "label_def.csv", csv_text([["name", *columns], *zip(names, *columns.values())]))
    never = [name for name, weight in zip(names, weights) if not np.isfinite(weight)]
    kept = [1.0 if not (infinite or np.isfinite(weight)) else round(float(weight), 6) for weight in weights]
    write_text(folder / "pos_weight.txt", "[" + ",".join(map(str, kept)) + "]")
    if settings is not None:
        write_json(folder / "labels_args.json", settings)
    return never


def label_def(
    y: NDArray[np.bool_], splits: Sequence[object] | None = None
) -> tuple[dict[str, list[float]], NDArray[np.float64]]:
    """The columns of label_def.csv, and the weights that pos_weight.txt is made of (train, or all without splits)."""
    from ...labeler.arrays import prevalence  # the labeler takes longer to load than the rest of ecgfm.data

    groups: dict[str, NDArray[np.bool_]] = {}
    everything = y
    if splits is not None:
        of = np.array(["" if split is None else str(split) for split in splits], dtype=object)
        groups = {split: y[of == split] for split in sorted(set(of.tolist()) - {""})}
        everything = y[of != ""]
    counts = {name: np.count_nonzero(rows, axis=0) for name, rows in {**groups, "all": everything}.items()}
    made = {name: prevalence(counts[name], len(rows)) for name, rows in {**groups, "all": everything}.items()}
    columns = {f"pos_count_{name}": counts[name].tolist() for name in groups}
    columns |= {f"pos_percent_{name}": made[name][0].tolist() for name in groups}
    columns |= {f"pos_weight_{name}": made[name][1].tolist() for name in groups}
    columns |= {"pos_count_all": counts["all"].tolist(), "pos_percent_all": made["all"][0].tolist()}
    return columns, made["train" if "train" in groups else "all"][1]

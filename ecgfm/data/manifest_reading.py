"""Manifests: which segments make a split, and where they lie.

A plain manifest says the folder in its first line (after a tab) and ``name TAB samples`` in each other. One of pairs
(CMSC) says the folder, then the files' extension, then ``stem TAB samples TAB 0 TAB i,j``: the segments ``stem_i.ext``
and ``stem_j.ext`` of one record.
"""

import os
from dataclasses import dataclass

import numpy as np

from ..errors import FormatError

__all__ = ["Manifest", "read_manifest"]


@dataclass(eq=False)
class Manifest:
    """What a manifest lists.

    Attributes
    ----------
    path : str
        The manifest.
    root : str
        The folder of its files, as it is written there.
    names : list of str
        The file of each segment, below the folder.
    sizes : ndarray of int64
        (items,) samples of each item, as the manifest says.
    starts : ndarray of int64
        (items + 1,) where each item's segments begin in `names`; an item is a segment, or the pairs of a line.
    lines : ndarray of int64
        (items,) position of each item among the manifest's lines of items.
    """

    path: str
    root: str
    names: list
    sizes: np.ndarray
    starts: np.ndarray
    lines: np.ndarray

    def __len__(self):
        return len(self.sizes)


def read_manifest(path, *, pairs=False, min_sample_size=None):
    """Read a manifest.

    Parameters
    ----------
    path : path-like
    pairs : bool
        Whether it is one of pairs.
    min_sample_size : int, optional
        Items with fewer samples are left out.

    Returns
    -------
    Manifest
        Of pairs, lines with one segment are left out, and the last segment of an odd number.

    Raises
    ------
    FormatError
        If there is no such file, a line hasn't the fields of its kind, or nothing is left.
    """
    path = os.fsdecode(path)
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            lines = file.read().split("\n")
    except OSError as error:
        raise FormatError(
            f"the manifest can't be read: {error.strerror}", path=path, remedy="ecgfm manifests writes manifests"
        ) from None
    lines = [line.rstrip("\r") for line in lines]
    if lines[-1] == "":
        lines.pop()
    head = 2 if pairs else 1
    if len(lines) < head:
        raise FormatError("the manifest is empty", path=path)
    read = _pairs if pairs else _plain
    names, counts, sizes, kept = read(path, lines, -1 if min_sample_size is None else int(min_sample_size))
    if not sizes:
        raise FormatError("the manifest lists nothing that can be used", path=path)
    starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    return Manifest(
        path, lines[0].strip(), names, np.array(sizes, np.int64), starts, np.array(kept, np.int64)
    )


def _plain(path, lines, least):
    names, sizes, kept = [], [], []
    for number, line in enumerate(lines[1:]):
        name, size = _fields(path, number + 2, line, 2)
        if size >= least:
            names.append(name)
            sizes.append(size)
            kept.append(number)
    return names, [1] * len(names), sizes, kept


def _pairs(path, lines, least):
    extension = lines[1].strip()
    if not extension or "\t" in lines[1]:
        raise FormatError(
            "not a manifest of pairs: its second line is no extension",
            path=path,
            remedy="ecgfm manifests --cmsc makes one from a plain manifest",
        )
    names, counts, sizes, kept = [], [], [], []
    for number, line in enumerate(lines[2:]):
        stem, size, numbers = _fields(path, number + 3, line, 4)
        if size < least or len(numbers) < 2:
            continue
        numbers = numbers[: len(numbers) // 2 * 2]
        names += [f"{stem}_{i}.{extension}" for i in numbers]
        counts.append(len(numbers))
        sizes.append(size)
        kept.append(number)
    return names, counts, sizes, kept


def _fields(path, number, line, count):
    parts = line.strip().split("\t")
    try:
        if len(parts) == count and parts[0] and 0 < int(parts[1]) < 1 << 40:
            if count == 2:
                return parts[0], int(parts[1])
            return parts[0], int(parts[1]), [int(i) for i in parts[3].split(",")]
    except ValueError:
        pass
    wanted = "name TAB samples" if count == 2 else "stem TAB samples TAB 0 TAB i,j"
    raise FormatError(f"{line[:200]!r} is not {wanted!r}", path=path, field=f"line {number}")

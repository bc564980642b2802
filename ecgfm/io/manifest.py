"""Manifests: which segments make a split, and where they lie.

A plain manifest says the folder in its first line (after a tab) and ``name TAB samples`` in each other. One of pairs
(CMSC) says the folder, then the files' extension, then ``stem TAB samples TAB 0 TAB i,j``: the segments ``stem_i.ext``
and ``stem_j.ext`` of one record.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .._text import shown
from .._types import StrPath
from ..errors import FormatError
from ..storage.inputs import check_inflation, lines, open_text

__all__ = ["Manifest", "read_manifest"]

_MAX_SIZE, _MAX_NAME = 1 << 30, 4096  # bytes of a manifest, and characters of a file's name


_Items: TypeAlias = "Iterator[tuple[list[str], int, int]]"  # files, samples, and the line among those of items


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
    names: list[str]
    sizes: NDArray[np.int64]
    starts: NDArray[np.int64]
    lines: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.sizes)


def read_manifest(path: StrPath, *, pairs: bool = False, min_sample_size: int | None = None) -> Manifest:
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
    text = _lines(path)
    head = list(islice(text, 2 if pairs else 1))
    if len(head) < 1 + pairs:
        raise FormatError("the manifest is empty", path=path)
    read = partial(_pairs, extension=head[1]) if pairs else _plain
    names: list[str] = []
    counts, sizes, kept = [], [], []
    for some, size, number in read(path, text, -1 if min_sample_size is None else int(min_sample_size)):
        names += some
        counts.append(len(some))
        sizes.append(size)
        kept.append(number)
    if not sizes:
        raise FormatError("the manifest lists nothing that can be used", path=path)
    starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    return Manifest(path, head[0].strip(), names, np.array(sizes, np.int64), starts, np.array(kept, np.int64))


def _lines(path: str) -> Iterator[str]:
    """The lines of the file, one at a time: the first that is wrong ends it."""
    try:
        with open_text(path, most=_MAX_SIZE, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            for line in lines(file, path):
                yield line.rstrip("\n").rstrip("\r")
    except FormatError as error:
        if error.field is None:
            error.message = f"the manifest can't be read: {error.message}"
            error.remedy = "ecgfm manifests writes manifests"
        raise


def _plain(path: str, text: Iterator[str], least: int) -> _Items:
    for number, line in enumerate(text):
        name, size, _ = _fields(path, number + 2, line, 2)
        if size >= least:
            yield [name], size, number


def _pairs(path: str, text: Iterator[str], least: int, extension: str) -> _Items:
    is_extension = "\t" not in extension
    extension = extension.strip()
    if not is_extension or not 0 < len(extension) <= _MAX_NAME:
        raise FormatError(
            "not a manifest of pairs: its second line is no extension",
            path=path,
            remedy="ecgfm manifests --cmsc makes one from a plain manifest",
        )
    read = made = 0
    for number, line in enumerate(text):
        stem, size, numbers = _fields(path, number + 3, line, 4)
        if size < least or len(numbers) < 2:
            continue
        numbers = numbers[: len(numbers) // 2 * 2]
        read, made = read + len(line), made + len(numbers) * (len(stem) + len(extension))
        check_inflation(read, made, path=path, field=f"line {number + 3}")
        yield [f"{stem}_{i}.{extension}" for i in numbers], size, number


def _fields(path: str, number: int, line: str, count: int) -> tuple[str, int, list[int]]:
    """Name, samples and (of 4 fields) numbers in a line."""
    parts = line.strip().split("\t")
    try:
        if len(parts) == count and 0 < len(parts[0]) <= _MAX_NAME and 0 < int(parts[1]) < 1 << 40:
            return parts[0], int(parts[1]), [int(i) for i in parts[3].split(",")] if count == 4 else []
    except ValueError:
        pass
    wanted = "name TAB samples" if count == 2 else "stem TAB samples TAB 0 TAB i,j"
    raise FormatError(f"{shown(line)} is not {wanted!r}", path=path, field=f"line {number}")

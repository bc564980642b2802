"""Manifests: which segments make a split, as training reads them. `manifest_reading` says what they look like."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from ..._text import shown
from ..._types import StrPath
from ...errors import ConfigError, FormatError
from ...io.manifest import Manifest, read_manifest
from ...storage.atomic import write_text
from ...storage.columns import check_name, is_missing, split_list, whole_number
from ...storage.rows import read_rows
from .keys import path_column

__all__ = ["cmsc_manifests", "make_manifests"]


def make_manifests(split_file_paths: str | Sequence[StrPath], save_dir: StrPath) -> dict[str, int]:
    """Write ``<split>.tsv`` for each split that the tables name.

    Parameters
    ----------
    split_file_paths : str or sequence of path-like
        Tables of segments (``segmented_split.csv``): columns ``split``, ``path`` (or ``file``, ``record``),
        ``sample_size``. Several are taken together.
    save_dir : path-like
        Folder to write to; made if need be.

    Returns
    -------
    dict
        Split -> segments.

    Raises
    ------
    FormatError
        If a table can't be read, a segment stands twice, a record is in two splits, or two records have one number
        (``idx``): then labels of one would count for the other.
    """
    tables = split_list(split_file_paths, "split_file_paths") if isinstance(split_file_paths, str) else split_file_paths
    splits: dict[str, list[tuple[str, int | None]]] = {}
    seen: set[str] = set()
    records = _Records()
    for table in tables:
        header, rows = read_rows(table, ["split", "sample_size"])
        where = path_column(header, table)
        for line, row in enumerate(rows, 2):
            split, path = row["split"].strip(), row[where]
            if is_missing(split):
                continue
            _check_row(table, line, split, path, row["sample_size"])
            if path in seen:
                raise FormatError(f"line {line}: {shown(path)} stands twice", path=table, field=where)
            seen.add(path)
            records.check(table, line, row, path, split)
            splits.setdefault(split, []).append((path, _whole(row["sample_size"])))
    if not splits:
        raise FormatError("no segment is in a split", path=tables[0] if tables else None, field="split")
    prefix = os.path.commonprefix(list(seen))
    prefix = prefix[: prefix.rfind("/") + 1]
    os.makedirs(save_dir, exist_ok=True)
    for split in sorted(splits):
        lines = [f"\t{prefix}", *(f"{path[len(prefix) :]}\t{size}" for path, size in splits[split])]
        _write(os.path.join(os.fsdecode(save_dir), f"{split}.tsv"), lines)
    return {split: len(splits[split]) for split in sorted(splits)}


class _Records:
    """Holds the rows of a record to one split and one number, and a number to one record."""

    def __init__(self) -> None:
        self._split: dict[tuple[str, str], str] = {}
        self._number: dict[tuple[str, str], int] = {}
        self._of_number: dict[int, tuple[tuple[str, str], StrPath]] = {}

    def check(self, table: StrPath, line: int, row: Mapping[str, str], path: str, split: str) -> None:
        """Refuse a row that contradicts an earlier one."""
        name = row.get("save_file")
        # records of two sources may have one name; what is above the segment's name tells them apart
        record = (os.path.dirname(path), _stem(path) if name is None else name)
        known = self._split.setdefault(record, split)
        if name is not None and known != split:
            raise FormatError(
                f"line {line}: segments of {shown(name)} are in {known} and in {split}",
                path=table,
                field="split",
                remedy="Give each record one split",
            )
        if is_missing(row.get("idx", "")):
            return
        number = whole_number(row["idx"], table, f"idx, line {line}")
        its = self._number.setdefault(record, number)
        if its != number:
            raise FormatError(
                f"line {line}: segments of {shown(record[1])} are of record {its} and of {number}",
                path=table,
                field="idx",
            )
        first, of = self._of_number.setdefault(number, (record, table))
        if first != record:
            raise FormatError(
                f"line {line}: {shown(record[1])} is record {number}, as {shown(first[1])} of {os.fspath(of)} is: labels"  # noqa: E501
                " of one would count for the other",
                path=table,
                field="idx",
                remedy="Preprocess the sources with one --manifest_file, so that their numbers go on",
            )


def _stem(path: str) -> str:
    """A segment's path without its number."""
    return os.path.basename(path).rpartition("_")[0]


def _check_row(table: StrPath, line: int, split: str, path: str, size: str) -> None:
    if not path.strip() or any(character in path for character in "\t\r\n\0"):
        raise FormatError(f"line {line}: {shown(path)} can't stand in a manifest", path=table, field="path")
    check_name(split, "a split", path=table, field=f"split, line {line}")
    if _whole(size) is None:
        raise FormatError(f"line {line}: {shown(size)} is not a number of samples", path=table, field="sample_size")


def _whole(text: str) -> int | None:
    try:
        value = float(text[:400])
        return int(value) if value == int(value) and 0 < value < 1 << 53 else None
    except (ValueError, OverflowError):
        return None


def _write(path: str, lines: Iterable[str]) -> None:
    write_text(path, "\n".join(lines) + "\n")


def cmsc_manifests(manifest_dir: StrPath, dest: StrPath, *, ext: str = "mat") -> dict[str, int]:
    """Make manifests of pairs from the plain ones of a folder: ``dest/cmsc/<split>.tsv``.

    The segments of a record, by number, are paired 1st and 2nd, 3rd and 4th, ...; one that is left over is dropped, and
    so are records with a single segment. A pair is of one record and one manifest.

    Parameters
    ----------
    manifest_dir : path-like
        Folder whose ``*.tsv`` are all plain manifests. Segments are named ``<record>_<number>.<ext>``.
    dest : path-like
        Folder; made if need be.
    ext : str
        The files' extension.

    Returns
    -------
    dict
        Split -> pairs.

    Raises
    ------
    FormatError
        If there is no manifest, or a segment's name is no such name.
    ConfigError
        If the manifests would be written over.
    """
    manifest_dir, folder = os.fsdecode(manifest_dir), os.path.join(os.fsdecode(dest), "cmsc")
    try:
        names = sorted(name for name in os.listdir(manifest_dir) if name.endswith(".tsv"))
    except OSError as error:
        raise FormatError(f"can't be read: {error.strerror}", path=manifest_dir) from None
    if not names:
        raise FormatError("the folder has no .tsv file", path=manifest_dir)
    if os.path.realpath(folder) == os.path.realpath(manifest_dir):
        raise ConfigError(f"{folder} is where the manifests are", field="dest", remedy="Give another folder")
    found = {name: _pairs(read_manifest(os.path.join(manifest_dir, name)), ext.lstrip(".")) for name in names}
    os.makedirs(folder, exist_ok=True)
    for name, (root, lines) in found.items():
        _write(os.path.join(folder, name), [root, ext.lstrip("."), *lines])
    return {name[:-4]: len(lines) for name, (_, lines) in found.items()}


def _pairs(manifest: Manifest, ext: str) -> tuple[str, list[str]]:
    """The root and the lines of the manifest of pairs."""
    segments: dict[str, list[int]] = {}
    sizes: dict[str, int] = {}
    for i, name in enumerate(manifest.names):
        stem, _, rest = name.rpartition("_")
        number = rest[: -len(ext) - 1]
        if not stem or rest[-len(ext) - 1 :] != f".{ext}" or not (number.isascii() and number.isdecimal()):
            raise FormatError(
                f"{name} is not <record>_<number>.{ext}", path=manifest.path, field=f"line {manifest.lines[i] + 2}"
            )
        segments.setdefault(stem, []).append(int(number))
        sizes[stem] = int(manifest.sizes[i])
    lines = []
    for stem, numbers in segments.items():
        numbers.sort()
        for first, second in zip(numbers[::2], numbers[1::2]):
            if first == second:
                raise FormatError(f"segment {first} of {stem} stands twice", path=manifest.path)
            lines.append(f"{stem}\t{sizes[stem]}\t0\t{first},{second}")
    return manifest.root, lines

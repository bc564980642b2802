"""What people hand to predict: files, directories, lists of files, recordings, arrays; one after the other."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .._types import StrPath
from ..ecg import Record, Segments
from ..ecg.choices import Choices
from ..ecg.held import is_one, is_table_of_leads
from ..ecg.named import columns_of
from ..ecg.prepare import prepare_lazily
from ..errors import ConfigError, Error, FormatError, SignalError
from ..signal.checks import is_masked
from ..storage.folders import identity
from ..storage.inputs import read_head
from . import PART, left_out, members, with_ending
from .ignored import Ignored
from .lists import PATH_COLUMNS, listed_files
from .manifest import read_manifest
from .segment_files import SegmentFiles, grouped
from .streams import is_stream

__all__ = ["expand", "manifest_files", "segments_of"]

_MANIFEST = re.compile(r"\t*[^\t\n]+\t*\n[^\t\n]+\t\d+\s*(\n|$)")  # a folder, then a file and its samples
_HEAD_BYTES = 1 << 14

_FILL = "Fill or cut them out first"


def expand(inputs: Any, ignored: Callable[[str, str], object] | None = None) -> Iterator[tuple[str, Any]]:
    """Iterate over (name, input) of each single recording, in the order given.

    What has no name of its own is called record_0 and so on, by its place in `inputs`. A directory gives its recordings
    in the order of their names, then those of its subdirectories; links to directories are followed, and each directory
    is looked into once. What is wrong with a directory comes as an Error in place of an input. A file of several
    recordings gives each of them, as ``file::name``; a manifest of fairseq-signals (``.tsv``) and a list of files
    (``.txt``, ``.csv``, PhysioNet's ``RECORDS``) those that it lists, segments of one recording as one where something
    says so (see `ecgfm.io.segment_files`). An array of three dimensions gives its rows; a
    column of paths (a Series, an array of text, a DataFrame with a column ``path``) its elements.

    Parameters
    ----------
    inputs : path, Record, Segments, array_like, or an iterable of them
    ignored : callable, optional
        Called as ``ignored(path, reason)`` for each file of a directory that was left out, and each link to a directory
        that was looked into before. Hidden files, and what belongs to a recording beside it, are passed over. By
        default an
        `InputWarning` counts and names them in the end.
    """
    if ignored is not None:
        yield from _expanded(inputs, ignored)
        return
    ignored = Ignored()
    yield from _expanded(inputs, ignored)
    ignored.warn(stacklevel=4)


def _expanded(inputs: Any, ignored: Callable[[str, str], object]) -> Iterator[tuple[str, Any]]:
    try:
        iterator = iter(_several(inputs))
    except TypeError:
        raise ConfigError(
            f"{type(inputs).__name__} is no recording", field="files", remedy="Give files, Records or arrays"
        ) from None
    for i, one in enumerate(iterator):
        if not isinstance(one, (str, os.PathLike)):
            yield _name_of(one) or f"record_{i}", one
            continue
        path = os.fsdecode(one)
        if os.path.isdir(path):
            yield from _directory(path, ignored)
        elif _is_manifest(path):
            yield from grouped(path, manifest_files(path), noted=True)
        elif (files := listed_files(path)) is not None:
            for name, one in grouped(path, files):
                if isinstance(one, SegmentFiles):
                    yield name, one
                else:
                    yield from ((member, member) for member, _ in _recordings(one))
        else:
            yield from _recordings(path)


def _name_of(one: Any) -> str | None:
    """The name that a recording in memory, or a stream, has itself."""
    for name in ("source", "record_name", "name"):
        found = getattr(one, name, None)
        if isinstance(found, str) and found and (name != "name" or is_stream(one)):
            return found
    return None


def _several(inputs: Any) -> Any:
    """The inputs as an iterable of single ones."""
    if isinstance(inputs, (str, os.PathLike, Record, Segments)) or is_one(inputs) or is_stream(inputs):
        return [inputs]
    columns = columns_of(inputs)
    if columns is not None:
        return _of_table(inputs, columns)
    if not hasattr(inputs, "__array__"):
        return inputs
    if getattr(getattr(inputs, "dtype", None), "names", None) or hasattr(inputs, "dims"):
        return [inputs] if np.ndim(inputs) <= 2 else inputs  # it may name its leads
    array = inputs if isinstance(inputs, np.ndarray) else np.asarray(inputs)  # a masked one stays masked
    if array.dtype.kind in "SUO" and (array.ndim <= 1 or 1 in array.shape):
        return [os.fsdecode(one) if isinstance(one, bytes) else one for one in array.reshape(-1).tolist()]
    return [array] if array.ndim <= 2 else array


def _of_table(table: Any, columns: Sequence[Any]) -> list[Any]:
    """A table is a recording, whose leads it names, or has a column of paths."""
    paths = [name for name in PATH_COLUMNS if name in columns]
    name = next((name for name in paths if _first_is_there(table[name])), paths[0] if paths else None)
    if name is None and len(columns) == 1 and np.asarray(table[columns[0]]).dtype.kind in "UO":
        name = columns[0]
    if name is not None:
        return list(np.asarray(table[name]).reshape(-1).tolist())
    if getattr(table, "ndim", 2) != 2 and not is_table_of_leads(table):
        raise ConfigError("a table of neither leads nor paths", field="files", remedy="Give its column of paths")
    return [table]


def _first_is_there(column: Any) -> bool:
    """Whether the first cell of a column names a file; of PTB-XL's two columns often one is on the disk."""
    first = next((one for one in np.asarray(column, dtype=object).reshape(-1)[:1]), None)
    return isinstance(first, (str, os.PathLike)) and os.path.exists(with_ending(os.fsdecode(first)))


def _directory(top: str, ignored: Callable[[str, str], object]) -> Iterator[tuple[str, str | Error]]:
    refused: list[OSError] = []
    found, left = False, []
    others = Ignored(lambda path, reason: left.append((path, reason)))
    for path in _files(top, refused, others):
        reason = left_out(path)
        if reason is None:
            found = True
            yield from _recordings(path)
        elif reason != PART:
            others(path, reason)
    for error in refused:
        yield error.filename, FormatError(f"the directory can't be listed: {error.strerror}", path=error.filename)
    if not found and not refused:
        line = others.line()
        yield top, FormatError(f"the directory holds no recordings{'; ' if line else ''}{line}", path=top)
        return
    for path, reason in left:
        ignored(path, reason)


def _files(top: str, refused: list[OSError], ignored: Callable[[str, str], object]) -> Iterator[str]:
    """The paths of the files below a directory that are not hidden; links to directories are followed, once each."""
    seen: set[tuple[int, int] | None] = set()
    waiting = [top]  # not os.walk, which calls itself for each level
    while waiting:
        folder = waiting.pop()
        found = identity(folder)
        if found is not None and found in seen:
            ignored(folder, "a link to a directory that is read already")
            continue
        seen.add(found)
        try:
            with os.scandir(folder) as entries:
                kinds = sorted((each.name, _is_folder(each)) for each in entries if not each.name.startswith("."))
        except OSError as error:
            refused.append(error)
            continue
        yield from (os.path.join(folder, name) for name, is_folder in kinds if not is_folder)
        waiting += [os.path.join(folder, name) for name, is_folder in reversed(kinds) if is_folder]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _recordings(path: str) -> Iterator[tuple[str, str | Error]]:
    """A file stands for itself, or for each of the recordings in it."""
    try:
        for name in members(path):
            yield name, name
    except Error as error:
        yield path, error


def manifest_files(path: StrPath) -> list[str]:
    """The files that a manifest of fairseq-signals lists.

    Parameters
    ----------
    path : path-like
        A ``.tsv`` whose first line is the folder, and each other a file's name and its number of samples. A relative
        folder is looked for from the working directory, then from the manifest's.

    Returns
    -------
    list of str

    Raises
    ------
    FormatError
        If it is no such file.
    """
    path = os.fsdecode(path)
    manifest = read_manifest(path)
    roots = manifest.root, os.path.join(os.path.dirname(path), manifest.root)
    root = next(filter(os.path.isdir, roots), None)
    if root is None:
        raise FormatError(
            "there is no such folder",
            path=path,
            field=manifest.root,
            remedy="Mend the manifest's first line, or change folder",
        )
    return [os.path.join(root, name) for name in manifest.names]


def _is_manifest(path: str) -> bool:
    try:
        head = read_head(path, _HEAD_BYTES) if path.lower().endswith(".tsv") else b""
        return bool(_MANIFEST.match(head.decode("utf-8", errors="replace")))
    except FormatError:  # reading it will say what is wrong
        return False


def segments_of(one: Any, choices: Choices = Choices()) -> Segments:
    """The segments of one recording; `choices` are the options of `ecgfm.prepare`. Segments stay what they are.

    Of a long recording ``x`` is cut when a slice of it is asked for.

    Raises
    ------
    Error
        If it can't be read or prepared.
    """
    if isinstance(one, Error):
        raise one
    if isinstance(one, Segments):
        if is_masked(one.x) or is_masked(one.start_s) or is_masked(one.padding_mask):
            raise SignalError("the segments have masked values", path=one.source, field="x", remedy=_FILL)
        if one.x.ndim != 3 or not len(one.x) or not np.isfinite(one.x).all():
            raise SignalError("the segments are empty or not finite", path=one.source, field="x")
        return one
    if isinstance(one, str):
        files = one if isinstance(one, SegmentFiles) else SegmentFiles([one], [0], one)
        return files.segments(choices)
    if one is None or (isinstance(one, float) and one != one):
        raise SignalError("there is neither a path nor a recording", field="files", remedy="Leave out empty cells")
    return prepare_lazily(one, choices)

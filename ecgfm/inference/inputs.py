"""What people hand to predict: files, directories, recordings, arrays; one after the other."""

import os
import re

import numpy as np

from ..ecg import Record, Segments, read
from ..ecg.prepare import prepare_lazily
from ..ecg.readers import is_recording, members
from ..errors import ConfigError, Error, FormatError, SignalError

__all__ = ["expand", "manifest_files", "segments_of"]

_MANIFEST = re.compile(r"\t*[^\t\n]+\t*\n[^\t\n]+\t\d+\s*(\n|$)")  # a folder, then a file and its samples


def expand(inputs):
    """Iterate over (name, input) of each single recording, in the order given.

    What has no name of its own is called record_0 and so on, by its place in `inputs`. A directory gives its recordings
    in the order of their names, then those of its subdirectories; side files and hidden files are passed over; what is
    wrong with a directory comes as an Error in place of an input. A file of several recordings gives each of them, as
    ``file::name``, and a manifest of fairseq-signals (``.tsv``) those that it lists. An array of three dimensions gives
    its rows.
    """
    if isinstance(inputs, (str, os.PathLike, Record, Segments)):
        inputs = [inputs]
    elif hasattr(inputs, "__array__") and np.ndim(inputs) <= 2:
        inputs = [np.asarray(inputs)]
    try:
        iterator = iter(inputs)
    except TypeError:
        raise ConfigError(
            f"{type(inputs).__name__} is no recording", field="files", remedy="Give files, Records or arrays"
        ) from None
    for i, one in enumerate(iterator):
        if not isinstance(one, (str, os.PathLike)):
            yield getattr(one, "source", None) or f"record_{i}", one
            continue
        path = os.fsdecode(one)
        if os.path.isdir(path):
            yield from _directory(path)
        elif _is_manifest(path):
            yield from ((file, file) for file in manifest_files(path))
        else:
            yield from _recordings(path)


def _directory(top):
    refused, found = [], False
    for folder, subfolders, names in os.walk(top, onerror=refused.append):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            path = os.path.join(folder, name)
            if not name.startswith(".") and is_recording(path):
                found = True
                yield from _recordings(path)
    for error in refused:
        yield error.filename, FormatError(f"the directory can't be listed: {error.strerror}", path=error.filename)
    if not found and not refused:
        yield top, FormatError("the directory holds no recordings", path=top)


def _recordings(path):
    """A file stands for itself, or for each of the recordings in it."""
    try:
        for name in members(path):
            yield name, name
    except Error as error:
        yield path, error


def manifest_files(path):
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
    from ..data.manifest_reading import read_manifest  # what stands around it is needed for nothing else here

    path = os.fsdecode(path)
    manifest = read_manifest(path)
    root = manifest.root
    if not os.path.isdir(root):
        beside = os.path.join(os.path.dirname(path), root)
        if not os.path.isdir(beside):
            raise FormatError(
                "there is no such folder",
                path=path,
                field=root,
                remedy="Mend the manifest's first line, or change folder",
            )
        root = beside
    return [os.path.join(root, name) for name in manifest.names]


def _is_manifest(path):
    if not path.lower().endswith(".tsv"):
        return False
    try:
        with open(path, encoding="utf-8", newline="\n") as file:
            return bool(_MANIFEST.match(file.read(1 << 14)))
    except (OSError, ValueError):  # reading it will say what is wrong
        return False


def segments_of(one, sampling_rate, leads, **choices):
    """The segments of one recording; `choices` are further arguments of `ecgfm.prepare`. Segments stay what they are.

    Of a long recording ``x`` is cut when a slice of it is asked for.

    Raises
    ------
    Error
        If it can't be read or prepared.
    """
    if isinstance(one, Error):
        raise one
    if isinstance(one, Segments):
        if one.x.ndim != 3 or not len(one.x) or not np.isfinite(one.x).all():
            raise SignalError("the segments are empty or not finite", path=one.source, field="x")
        return one
    if isinstance(one, Record):
        return prepare_lazily(one, **choices)
    if isinstance(one, str):
        try:
            return prepare_lazily(read(one, sampling_rate=sampling_rate, leads=leads), **choices)
        except Error as error:
            error.path = error.path or one
            raise
    try:
        array = np.asarray(one)
    except ValueError as error:
        raise SignalError(f"not an array: {error}", field="signal") from None
    return prepare_lazily(array, sampling_rate=sampling_rate, leads=leads, **choices)

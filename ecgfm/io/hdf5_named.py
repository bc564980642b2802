"""HDF5 files of any kind, SPH's among them: one data set of two dimensions is the recording. h5py parses.

It is named, ``file.h5::group/ecg``, or found where it is the only one with 12 rows or columns. Rate, leads and unit are
taken from attributes or data sets beside it that are called so.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from .._text import short, shown
from ..ecg.record import Record
from ..errors import FormatError, SignalError
from ..signal.leads import LEADS
from ..storage.inputs import input_size
from .common import LEAD_KEYS, RATE_KEYS, UNIT_KEYS, Given, in_millivolts, make_record, optional, parsing
from .hdf5_values import Values, contents

__all__ = ["read_named"]

_MAX_LEVELS, _MAX_OBJECTS, _MAX_NAME = 5, 2000, 200
_MAX_TEXTS, _MAX_ATTRIBUTE = 64, 1 << 16  # names of leads; bytes of an attribute
_RATES = (*RATE_KEYS, "sampling_frequency", "samplingrate", "sfreq", "frequency")
_LEADS = (*LEAD_KEYS, "lead_name", "channels", "channel_names", "sig_name")
_SPH = 500  # Hz, of all recordings of SPH; the files don't say so
_SAY = "Name the data set: path::name"


def read_named(path: str, given: Given) -> Record:
    """The recording in a data set of a file, which is `given.member`, or the only one that can be it."""
    library = optional("h5py", path, "HDF5 files")
    input_size(path)  # of a regular file, before HDF5 opens it
    with parsing(path, "HDF5"), closing(library.File(path, "r")) as file:
        name = _chosen(library, file, path, given)
        values = Values(library, file, name, path)
        if len(values.shape) != 2:
            what = f"{values.dtype} of shape {values.shape}, not an array of two dimensions, (leads, samples)"
            raise FormatError(what, path=path, field=name)
        signal = values.all()
        about = _About(library, file, name, path)
        rate, leads, unit = about.one(_RATES), about.texts(_LEADS), about.one(UNIT_KEYS)
        is_sph = _is_sph(file, name, signal)
    notes = []
    if rate is None and given.sampling_rate is None and is_sph:
        rate = _SPH
        notes.append(f"sampling rate assumed: {_SPH} Hz, as SPH has")
    unit = None if unit is None else str(unit)
    return make_record(
        in_millivolts(signal, unit, path, "unit"),
        path if given.member is None else f"{path}::{given.member}",
        given,
        field=name,
        rate=rate,
        leads=leads,
        units=unit,
        notes=notes,
    )


def _is_sph(file: Any, name: str, signal: Any) -> bool:
    """Whether a file is as SPH's are: 12 leads in half precision, called ecg, and nothing else."""
    alone = name == "ecg" and len(file) == 1 and not len(file.attrs) and not len(file[name].attrs)
    return alone and signal.dtype == np.float16 and len(signal) == len(LEADS)


# ---- which data set -------------------------------------------------------------------------------------------------


def _chosen(library: Any, file: Any, path: str, given: Given) -> str:
    if given.member is not None:
        return _checked(library, file, given.member, path)
    count = len(LEADS) if given.leads is None else len(_split(given.leads))
    found = [name for name, shape in _data_sets(library, file) if len(shape) == 2 and count in shape]
    if len(found) == 1:
        return found[0]
    if found:
        raise SignalError(
            f"{len(found)} data sets may be the recording: {', '.join(short(name, 60) for name in found[:10])}",
            path=path,
            field="signal",
            remedy=f"Name one, such as {short(path, 200)}::{short(found[0], 60)}",
        )
    what = f"no data set has {count} rows or columns; there are {contents(library, file)}"
    raise FormatError(what, path=path, field="signal", remedy=_SAY)


def _split(leads: str | Sequence[str]) -> Sequence[str]:
    return leads.split(",") if isinstance(leads, str) else leads


def _checked(library: Any, file: Any, name: str, path: str) -> str:
    """The name of a data set that lies in the file itself, reached by no link to elsewhere."""
    group, parts = file, [part for part in name.split("/") if part]
    for i, part in enumerate(parts):
        link = group.get(part, getlink=True) if isinstance(group, library.Group) and len(part) <= _MAX_NAME else None
        if not isinstance(link, library.HardLink):
            raise FormatError(
                f"there is no data set {shown(name)}; there are {contents(library, file)}", path=path, remedy=_SAY
            )
        if i < len(parts) - 1:
            group = group[part]
    if not parts:
        raise FormatError("the name of a data set is missing", path=path, remedy=_SAY)
    return "/".join(parts)


def _data_sets(library: Any, file: Any) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Iterate over the names and shapes of the data sets of numbers, a few levels deep."""
    waiting, seen, objects = [("", file, 0)], set(), 0
    while waiting:
        prefix, group, level = waiting.pop(0)
        for name in itertools.islice(group, _MAX_OBJECTS):
            objects += 1
            if objects > _MAX_OBJECTS:
                return
            if len(name) > _MAX_NAME or not isinstance(group.get(name, getlink=True), library.HardLink):
                continue
            one = group[name]
            if isinstance(one, library.Dataset):
                if one.shape and one.dtype.kind in "iuf":
                    yield prefix + name, one.shape
            elif isinstance(one, library.Group) and level < _MAX_LEVELS and (key := hash(one.id)) not in seen:
                seen.add(key)
                waiting.append((f"{prefix}{name}/", one, level + 1))


# ---- what is said of it ---------------------------------------------------------------------------------------------


class _About:
    """Attributes of a data set and of the groups that it lies in, and small data sets beside it."""

    def __init__(self, library: Any, file: Any, name: str, path: str) -> None:
        self._library, self._path = library, path
        self._group = file[name.rpartition("/")[0] or "/"]
        parts = name.split("/")
        above = [file["/".join(parts[:i])] for i in range(len(parts) - 1, 0, -1)]
        self._holders = [file[name], *above, file]

    def one(self, keys: Sequence[str]) -> Any:
        """A single value that is called so: a number or a text, or None."""
        found = self._find(keys)
        if found is None:
            return None
        key, array = found
        if array.size != 1:
            raise FormatError(f"not one value but an array of shape {array.shape}", path=self._path, field=key)
        value = array.reshape(-1)[0]
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

    def texts(self, keys: Sequence[str]) -> list[str] | None:
        """Several texts that are called so, or None."""
        found = self._find(keys)
        if found is None:
            return None
        key, array = found
        values = [
            one.decode("utf-8", "replace") if isinstance(one, bytes) else one for one in array.reshape(-1).tolist()
        ]
        if not all(isinstance(value, str) for value in values):
            raise FormatError("not a list of names", path=self._path, field=key)
        return values[0].split(",") if len(values) == 1 and "," in values[0] else [short(value, 64) for value in values]

    def _find(self, keys: Sequence[str]) -> tuple[str, Any] | None:
        for holder in self._holders:
            for key in keys:
                if key in holder.attrs:
                    return key, self._attribute(holder, key)
        for key in keys:
            if isinstance(self._group.get(key, getlink=True), self._library.HardLink):
                return key, self._small(key)
        return None

    def _attribute(self, holder: Any, key: str) -> Any:
        stored = holder.attrs.get_id(key)
        if stored.get_storage_size() > _MAX_ATTRIBUTE or (stored.shape and np.prod(stored.shape) > _MAX_TEXTS):
            raise FormatError("an attribute that is no name, number or list of leads", path=self._path, field=key)
        return np.asarray(holder.attrs[key])

    def _small(self, key: str) -> Any:
        data = self._group[key]
        is_small = isinstance(data, self._library.Dataset) and data.shape is not None and data.size <= _MAX_TEXTS
        is_small = is_small and data.size * data.dtype.itemsize <= _MAX_ATTRIBUTE
        if not is_small or data.is_virtual or data.external or data.id.get_storage_size() > _MAX_ATTRIBUTE:
            raise FormatError("a data set that is no name, number or list of leads", path=self._path, field=key)
        return np.asarray(data[()])

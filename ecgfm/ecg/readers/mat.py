"""The ``.mat`` stages of ECG-FM's preprocessing (MATLAB 5): ``org``, ``preprocessed``, ``segmented``.

scipy parses. Since it takes the lengths in a file at their word, each is checked beforehand.
"""

import os
import struct
import zlib

from ...errors import FormatError
from ..record import LEADS
from .common import RATE_KEYS, SIGNAL_KEYS, Format, check_size, first_key, make_record, optional, parsing

__all__ = ["FORMAT", "check_variables"]

_COMPRESSED, _MATRIX = 15, 14
_ITEM_BYTES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}  # type of stored numbers -> bytes
_NUMERIC, _COMPLEX = range(6, 16), 0x0800  # classes of arrays: double ... uint64; flag of complex values
_MAX_VARIABLES, _MAX_DIMENSIONS, _MAX_NAME = 4096, 8, 256
_HEAD_BYTES = 1024  # holds the head of a variable: flags, dimensions, name, and the tag of its data


def _matches(head):
    return _byte_order(head) is not None or head.startswith(b"MATLAB 7.3")


def _byte_order(head):
    return {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}.get(head[124:128])


def _read(path, *, sampling_rate, leads):
    shapes = check_variables(path)
    key, rate_key = first_key(SIGNAL_KEYS, shapes), first_key(RATE_KEYS, shapes)
    if key is None:
        raise FormatError(
            f"no array is named {' or '.join(SIGNAL_KEYS)}; there are {', '.join(list(shapes)[:10]) or 'none'}",
            path=path,
            field="signal",
        )
    wanted = {key: None, rate_key: 1, "segment_i": 1, "mean": None, "std": None}
    wanted = {name: size for name, size in wanted.items() if name in shapes}
    found = _loadmat(path, list(wanted))
    for name, size in wanted.items():
        if found[name].dtype.kind not in "iuf" or (size and found[name].size != size):
            raise FormatError(
                f"not {'one number' if size else 'numbers'} but {found[name].dtype} of shape {found[name].shape}",
                path=path,
                field=name,
            )
    rate = found[rate_key].item() if rate_key else None
    if leads is None and shapes[key][0] == len(LEADS):
        leads = LEADS  # the order that every stage is written in
    standardised = "mean" in found and "std" in found
    record = make_record(
        found[key],
        path,
        field=key,
        rate=rate,
        given_rate=sampling_rate,
        leads=leads,
        given_leads=None,
        notes=("standardised in the file",) if standardised else (),
        standardised=standardised,
    )
    if "segment_i" in found:
        index = found["segment_i"].item()
        if not 0 <= index < 1 << 31:
            raise FormatError(f"{index} is no segment number", path=path, field="segment_i")
        record.start_s = float(index) * record.duration_s
    return record


def _loadmat(path, names):
    library = optional("scipy.io", path, ".mat files")
    with parsing(path, ".mat"):
        found = library.loadmat(path, variable_names=names)
        return {name: found[name] for name in names}


def check_variables(path):
    """Name -> shape of the numeric arrays in a file whose every length was checked."""
    size = os.path.getsize(path)
    shapes = {}
    with open(path, "rb") as file:
        header = file.read(128)
        if header.startswith(b"MATLAB 7.3"):
            raise FormatError("MATLAB 7.3 is not read", path=path, remedy="Save it as version 7 (save -v7)")
        order = _byte_order(header)
        if order is None:
            raise FormatError("not a MATLAB 5 file", path=path, remedy="Save it as version 7 (save -v7)")
        position = 128
        for _ in range(_MAX_VARIABLES):
            if position == size:
                return shapes
            kind, length = _unpack(order + "II", file.read(8), path)
            left = size - position - 8
            if length > left:
                raise FormatError(
                    f"truncated: a variable at byte {position} takes {length:,} bytes, {left:,} are there", path=path
                )
            head, inside = _variable_head(file, kind, length, order, path)
            variable = _Head(head, inside, order, path).variable()
            if variable is not None:
                shapes[variable[0]] = variable[1]
            position += 8 + length
            file.seek(position)
    raise FormatError(f"more than {_MAX_VARIABLES} variables", path=path)


def _unpack(form, data, path):
    if len(data) < struct.calcsize(form):
        raise FormatError("truncated within a tag", path=path)
    return struct.unpack_from(form, data)


def _variable_head(file, kind, length, order, path):
    """The first bytes of a variable's content, inflated if need be, and the whole length that it claims."""
    data = file.read(min(length, _HEAD_BYTES))
    if kind == _COMPRESSED:
        try:
            data = zlib.decompressobj().decompress(data, _HEAD_BYTES)
        except zlib.error as error:
            raise FormatError(f"damaged compressed data: {error}", path=path) from None
        kind, length = _unpack(order + "II", data, path)
        data = data[8:]
    if kind != _MATRIX:
        raise FormatError(f"a variable of the unknown type {kind}", path=path)
    return data, length


class _Head:
    """Reads the elements at the head of a variable."""

    def __init__(self, data, length, order, path):
        self.data, self.length, self.order, self.path = data, length, order, path
        self.position = 0

    def tag(self):
        """Type of the next element's values, its length, and where it starts."""
        first, second = _unpack(self.order + "II", self.data[self.position : self.position + 8], self.path)
        if first >> 16:  # a small element: length and type in four bytes, the values in the other four
            return first & 0xFFFF, first >> 16, self.position + 4
        return first, second, self.position + 8

    def element(self, most):
        kind, length, start = self.tag()
        if length > most or start + length > len(self.data) or (start == self.position + 4 and length > 4):
            raise FormatError(f"an element of {length:,} bytes at the head of a variable", path=self.path)
        self.position = start + 4 if start == self.position + 4 else start + (length + 7) // 8 * 8
        return kind, self.data[start : start + length]

    def variable(self):
        """(name, shape), or None for what is no array of real numbers."""
        _, flags = self.element(8)
        (flags,) = _unpack(self.order + "I", flags, self.path)
        if flags & 0xFF not in _NUMERIC or flags & _COMPLEX:
            return None
        _, dimensions = self.element(4 * _MAX_DIMENSIONS)
        shape = struct.unpack(f"{self.order}{len(dimensions) // 4}i", dimensions[: len(dimensions) // 4 * 4])
        _, name = self.element(_MAX_NAME)
        name = name.decode("latin-1")
        kind, length, start = self.tag()
        if kind not in _ITEM_BYTES:
            raise FormatError(f"values of the unknown type {kind}", path=self.path, field=name)
        expected = check_size(shape, _ITEM_BYTES[kind], path=self.path, field=name)
        check_size(shape, 8, path=self.path, field=name)
        if length != expected or start + length > self.length:
            raise FormatError(
                f"the shape {shape} takes {expected:,} bytes, the file says {length:,}", path=self.path, field=name
            )
        return name, shape


FORMAT = Format("MATLAB 5 .mat", (".mat",), _matches, _read)

"""The numbers in an HDF5 data set, held against the file before they are read.

h5py finds the data set and its chunks; their bytes are inflated here, since HDF5's filters take what is stored at its
word. Known are deflate (gzip) and shuffle; what was never written is refused and not filled.
"""

from __future__ import annotations

import itertools
import os
import zlib
from collections.abc import Sequence
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .._text import short
from ..errors import FormatError
from ..storage.inputs import check_inflation, open_input
from .common import check_size, parsing
from .hdf5_tree import check_tree

__all__ = ["Values", "contents"]

_DEFLATE, _SHUFFLE = 1, 2
_MAX_CHUNK, _MAX_CHUNKS = 1 << 26, 100_000  # bytes of one, and how many are read at once
_FEW_CHUNKS = 16
_MOST_NAMES = 10

_Corner: TypeAlias = "tuple[int, ...]"  # where a chunk begins


class Values:
    """A data set of integers or floating-point numbers that lies in the file itself.

    Parameters
    ----------
    library : module
        h5py.
    file : h5py.File
    name : str
    path : str
        Of the file, for messages.

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy.dtype

    Raises
    ------
    FormatError
        If it isn't there, is anything else, or is stored in a way that isn't read.
    """

    def __init__(self, library: Any, file: Any, name: str, path: str) -> None:
        self._path, self._name = path, name
        self._last: tuple[_Corner, NDArray[Any]] | None = None  # the chunk that was read last
        self._size = os.path.getsize(path)
        self._data = found = self._found(library, file)
        self.dtype: np.dtype[Any] = found.dtype
        if not found.shape or self.dtype.kind not in "iuf":
            raise self._wrong(f"{short(str(self.dtype), 60)} of shape {found.shape}, not an array of numbers")
        self.shape: tuple[int, ...] = found.shape
        stored = found.id.get_type()
        plain = stored.get_class() in (library.h5t.INTEGER, library.h5t.FLOAT)
        if not plain or stored != library.h5t.py_create(self.dtype):
            raise self._wrong("numbers of a kind that no processor has")
        self._filters = self._known_filters(found.id.get_create_plist())
        if not found.chunks:
            return
        with open_input(path) as raw:
            low, high = library.h5g.get_objinfo(found.id).objno  # h5o.get_info would go through the index
            check_tree(raw, low + (high << 32), path, name)
        size = prod(found.chunks) * self.dtype.itemsize
        if size > _MAX_CHUNK:
            raise self._wrong(f"a chunk takes {size:,} bytes, more than the {_MAX_CHUNK:,} that are read")

    def __getitem__(self, row: int) -> NDArray[Any]:
        """ndarray: what stands at a place of the first axis."""
        values: NDArray[Any] = self._rows(row, row + 1)[0]
        return values

    def all(self) -> NDArray[Any]:
        """ndarray: everything."""
        return self._rows(0, self.shape[0])

    def check_written(self) -> None:
        """Refuse a data set of which far less is stored than its shape says."""
        with parsing(self._path, "HDF5"):
            stored = min(self._data.id.get_storage_size(), self._size)
            check_inflation(stored, prod(self.shape) * self.dtype.itemsize, path=self._path, field=self._name)

    def _found(self, library: Any, file: Any) -> Any:
        link = file.get(self._name, getlink=True)
        if not isinstance(link, library.HardLink) or not isinstance(file[self._name], library.Dataset):
            raise self._wrong("not a data set of this file")
        found = file[self._name]
        if found.is_virtual or found.external:
            raise self._wrong("the data lie in another file")
        return found

    def _known_filters(self, plist: Any) -> list[int]:
        """Numbers of the filters in the order in which they were applied."""
        filters = [plist.get_filter(i) for i in range(plist.get_nfilters())]
        numbers = [number for number, *_ in filters]
        if not set(numbers) <= {_DEFLATE, _SHUFFLE} or len(set(numbers)) < len(numbers):
            names = [short(name.decode("ascii", "replace"), 40) or str(number) for number, _, _, name in filters]
            raise self._wrong(
                f"the filters {', '.join(names)}; read are deflate (gzip) and shuffle, each once",
                remedy="Store it anew without a filter, or with h5repack -f GZIP=4",
            )
        return numbers

    def _check_whole(self) -> None:
        """Data without chunks lie in one place, which must be within the file."""
        expected = prod(self.shape) * self.dtype.itemsize
        there, start = self._data.id.get_storage_size(), self._data.id.get_offset()
        if there == 0 and expected:
            raise self._wrong(f"never written: the shape {self.shape} takes {expected:,} bytes")
        if there != expected or (start or 0) + expected > self._size:
            raise self._wrong(f"truncated: the shape {self.shape} takes {expected:,} bytes, {there:,} are there")

    def _rows(self, first: int, last: int) -> NDArray[Any]:
        """What stands at the places `first` to `last - 1` of the first axis."""
        lows, highs = (first, *(0 for _ in self.shape[1:])), (last, *self.shape[1:])
        shape = tuple(high - low for low, high in zip(lows, highs))
        check_size(shape, self.dtype.itemsize, path=self._path, field=self._name)
        with parsing(self._path, "HDF5"):
            if self._data.chunks:
                return self._of_chunks(lows, highs, shape)
            self._check_whole()
            whole: NDArray[Any] = self._data[first:last]
            return whole

    def _of_chunks(self, lows: Sequence[int], highs: Sequence[int], shape: tuple[int, ...]) -> NDArray[Any]:
        chunks: tuple[int, ...] = self._data.chunks
        size = prod(chunks) * self.dtype.itemsize
        corners = [range(low // width * width, high, width) for low, high, width in zip(lows, highs, chunks)]
        if prod(map(len, corners)) > _MAX_CHUNKS:
            raise self._wrong(f"more than {_MAX_CHUNKS:,} chunks have to be read")
        size_held = prod(shape) * max(self.dtype.itemsize, 4)  # it becomes float32
        check_inflation(self._size, size_held, path=self._path, field=self._name, held=True)
        if prod(shape) and not self._data.id.get_storage_size():
            raise self._wrong(f"never written: the shape {self.shape}")
        if not self._filters:
            self._check_sizes(list(itertools.islice(itertools.product(*corners), _FEW_CHUNKS + 1)), size)
        found, packed, inflated = np.empty(shape, self.dtype), 0, 0
        room = np.empty(min(2 * size + 1024, self._size) if self._filters else size, np.uint8)
        for corner in itertools.product(*corners):
            if self._last is not None and self._last[0] == corner:
                values = self._last[1]
            else:
                raw, mask = self._raw(corner, room)
                packed, inflated = packed + len(raw), inflated + size
                check_inflation(packed, inflated, path=self._path, field=self._name, held=True)
                values = self._decoded(raw, mask).reshape(chunks)
            edges = [
                (max(at, low), min(at + width, high), low, at)
                for at, width, low, high in zip(corner, chunks, lows, highs)
            ]
            into = tuple(slice(start - low, stop - low) for start, stop, low, _ in edges)
            found[into] = values[tuple(slice(start - at, stop - at) for start, stop, _, at in edges)]
        if self._filters and chunks[0] > 1:  # of more than one row: the next one needs it, too
            self._last = corner, values
        return found

    def _check_sizes(self, corners: Sequence[_Corner], size: int) -> None:
        """Hold the stored sizes of chunks without filters against what they must be.

        HDF5 says that each has that size, and reads as many bytes as the file says. A few are looked up one by one,
        which takes as long as there are chunks before them; of more, all chunks of the data set are gone through.
        """
        data = self._data.id

        def wrong(info: Any) -> str | None:
            right = info.size in (0, size)  # 0: never written
            return None if right else f"the chunk at {info.chunk_offset} has {info.size:,} bytes, not {size:,}"

        if len(corners) > _FEW_CHUNKS:
            found = data.chunk_iter(wrong)
        else:
            found = next(filter(None, (wrong(data.get_chunk_info_by_coord(corner)) for corner in corners)), None)
        if found:
            raise self._wrong(found)

    def _raw(self, corner: _Corner, room: NDArray[np.uint8]) -> tuple[Any, int]:
        """The bytes of a chunk as they are stored, and which filters were left out."""
        try:
            mask, raw = self._data.id.read_direct_chunk(corner, out=room)
        except ValueError:
            raise self._wrong(f"the chunk at {corner} takes more bytes than it can") from None
        except RuntimeError as error:
            if "not allocated" not in str(error):
                raise
            raise self._wrong(f"the chunk at {corner} was never written") from None
        return raw, mask

    def _decoded(self, raw: Any, mask: int) -> NDArray[Any]:
        size = prod(self._data.chunks) * self.dtype.itemsize
        data = raw
        for place, number in reversed(list(enumerate(self._filters))):
            if mask >> place & 1:
                continue
            if number == _DEFLATE:
                data = self._inflated(data, size)
            elif len(data) == size:
                data = np.frombuffer(data, np.uint8).reshape(self.dtype.itemsize, -1).T.tobytes()
        if len(data) != size:
            raise self._wrong(f"a chunk has {len(data):,} bytes, not {size:,}")
        return np.frombuffer(data, self.dtype)

    def _inflated(self, data: Any, size: int) -> bytes:
        inflate = zlib.decompressobj()
        try:
            found = inflate.decompress(data, size + 1)
        except zlib.error as error:
            raise self._wrong(f"damaged compressed data: {error}") from None
        if not inflate.eof or len(found) > size:
            raise self._wrong("damaged compressed data: a chunk doesn't end where it should")
        return found

    def _wrong(self, message: str, **about: Any) -> FormatError:
        return FormatError(message, path=self._path, field=self._name, **about)


def contents(library: Any, file: Any) -> str:
    """What a file holds at its top, as text: names, and of data sets type and shape."""
    found = [_described(library, file, name) for name in itertools.islice(file, _MOST_NAMES)]
    return ", ".join(found + ["..."] * (len(file) > _MOST_NAMES)) or "nothing"


def _described(library: Any, file: Any, name: str) -> str:
    hard = isinstance(file.get(name, getlink=True), library.HardLink)
    if not hard or not isinstance(file[name], library.Dataset):
        return short(name, 40)
    shape = " x ".join(map(str, file[name].shape or ()))
    return f"{short(name, 40)} ({short(str(file[name].dtype), 40)}, {shape})"

"""A light table: named columns of one length."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ._text import printable, safe, table_cell
from ._types import StrPath
from .errors import ConfigError, Error, MissingExtraError
from .storage.atomic import is_device, write_text
from .storage.rows import csv_text

if TYPE_CHECKING:
    import pandas

__all__ = ["AsArray", "Table", "check_ending", "json_value", "text_or_file"]


class Table:
    """Named NumPy columns of one length.

    Parameters
    ----------
    columns : mapping of str to array_like
        Column name -> values, one dimension each, all of one length.

    Raises
    ------
    Error
        If a column is not one-dimensional or the lengths differ.
    """

    def __init__(self, columns: Mapping[str, ArrayLike] | Iterable[tuple[str, ArrayLike]]) -> None:
        self._columns: dict[str, NDArray[Any]] = {}
        for name, values in dict(columns).items():
            values = np.asarray(values)
            if values.ndim != 1:
                raise Error(f"a column has one dimension, this one has {values.ndim}", field=name)
            first = next(iter(self._columns.values()), values)
            if len(values) != len(first):
                raise Error(f"the column has {len(values)} rows, the first one has {len(first)}", field=name)
            self._columns[str(name)] = values
        self._length = len(next(iter(self._columns.values()), ()))

    @property
    def columns(self) -> list[str]:
        """list of str: the column names, in order."""
        return list(self._columns)

    def __len__(self) -> int:
        return self._length

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __getitem__(self, name: str) -> NDArray[Any]:
        try:
            return self._columns[name]
        except KeyError:
            raise KeyError(f"no column {name!r}; the columns are {', '.join(self._columns)}") from None

    def __repr__(self) -> str:
        return f"Table({len(self)} rows: {', '.join(self._columns)})"

    def __str__(self) -> str:
        return self.to_text(max_rows=20)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Iterate over the rows as dictionaries of Python values.

        A float32 becomes the float that is written with the same few digits (0.1, not 0.10000000149011612).
        """
        lists = {name: _python_values(values) for name, values in self._columns.items()}
        for i in range(len(self)):
            yield {name: values[i] for name, values in lists.items()}

    def json_rows(self) -> list[dict[str, Any]]:
        """The rows as a list of dictionaries that ``json`` can write; a NaN or infinity becomes None."""
        return [{safe(name): json_value(value) for name, value in row.items()} for row in self.rows()]

    @overload
    def to_csv(self, path: None = None, *, float_format: str | None = ...) -> str: ...
    @overload
    def to_csv(self, path: StrPath, *, float_format: str | None = ...) -> None: ...
    def to_csv(self, path: StrPath | None = None, *, float_format: str | None = None) -> str | None:
        """Write the table as CSV, or return it as text when no path is given.

        Floats are written with the fewest digits that read back to the same value, unless ``float_format`` (such as
        ``"%.4f"``) says otherwise. Text that a spreadsheet would calculate (it begins with ``= + - @`` or a tab) gets
        an apostrophe in front; control characters and halves of characters get escapes; numbers are left alone.

        Raises
        ------
        ConfigError
            If the name doesn't end in ``.csv``.
        """
        rows = zip(*(_cells(values, float_format) for values in self._columns.values()))
        return text_or_file(csv_text(chain([map(table_cell, self._columns)], rows)), path, ".csv")

    @overload
    def to_json(self, path: None = None) -> str: ...
    @overload
    def to_json(self, path: StrPath) -> None: ...
    def to_json(self, path: StrPath | None = None) -> str | None:
        """Write the rows as a JSON list of objects into a ``.json`` file, or return it as text; a NaN becomes null."""
        return text_or_file(json.dumps(self.json_rows(), indent=1), path, ".json", "\n")

    def to_pandas(self) -> pandas.DataFrame:
        """Return a ``pandas.DataFrame`` with the same columns (extra ``[tables]``)."""
        try:
            import pandas
        except ImportError:
            raise MissingExtraError(
                "pandas is not installed", field="to_pandas", remedy="Install it with: pip install 'ecgfm[tables]'"
            ) from None
        return pandas.DataFrame(dict(self._columns))

    def to_text(self, *, max_rows: int | None = None, float_format: str | None = "%.4f") -> str:
        """The table as aligned text, at most ``max_rows`` rows."""
        shown = len(self) if max_rows is None else min(len(self), max_rows)
        cells = [
            [printable(name), *(printable(cell) for cell in _cells(values[:shown], float_format, str))]
            for name, values in self._columns.items()
        ]
        widths = [max((len(cell) for cell in column), default=0) for column in cells]
        numeric = [values.dtype.kind in "iuf" for values in self._columns.values()]
        lines = [
            "  ".join(c.rjust(w) if n else c.ljust(w) for c, w, n in zip(row, widths, numeric)).rstrip()
            for row in zip(*cells)
        ]
        if shown < len(self):
            lines.append(f"... {len(self) - shown} more rows")
        return "\n".join(lines)


def _python_values(values: NDArray[Any]) -> list[Any]:
    if values.dtype.kind == "f" and values.dtype.itemsize < 8:
        return [float(text) for text in values.astype(str)]
    return list(values.tolist())


def _cells(values: NDArray[Any], float_format: str | None, of_text: Callable[[str], str] = table_cell) -> list[Any]:
    if values.dtype.kind == "f":
        if float_format:
            return ["" if np.isnan(v) else float_format % v for v in values]
        return ["" if np.isnan(v) else str(v) for v in values]
    return ["" if v is None else of_text(v) if isinstance(v, str) else v for v in values.tolist()]


def text_or_file(text: str, path: StrPath | None, ending: str, last: str = "") -> str | None:
    """The text; with a path None, once the text, and what comes last in a file, are written.

    Raises
    ------
    ConfigError
        If the path does not end so.
    """
    if path is None:
        return text
    check_ending(path, (ending,))
    write_text(path, text + last)
    return None


class AsArray:
    """What holds an array with a row per segment, named by `_array`, and is usable as that."""

    _array: ClassVar[str]

    def __len__(self) -> int:
        return len(getattr(self, self._array))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        values = getattr(self, self._array)
        if copy is False and dtype is not None and np.dtype(dtype) != values.dtype:
            raise ValueError(f"the values are {values.dtype}; as {np.dtype(dtype)} they must be copied")
        return np.array(values, dtype=dtype) if copy else np.asarray(values, dtype=dtype)


def check_ending(path: StrPath, endings: Sequence[str], field: str | None = None) -> None:
    """Refuse a name whose ending promises another format than what is to be written. Devices have no ending.

    Parameters
    ----------
    path : path-like
    endings : sequence of str
        In lower case, with the dot.
    field : str, optional
        The option that names the file.

    Raises
    ------
    ConfigError
    """
    path = os.fsdecode(path)
    if not is_device(path) and not path.lower().endswith(tuple(endings)):
        raise ConfigError(f"the name must end in {' or '.join(endings)}", path=path, field=field)


def json_value(value: Any) -> Any:
    """A value that JSON can hold: NaN and infinities become None, text is free of controls and halves of characters.

    Dictionaries, lists and tuples are gone through.
    """
    if isinstance(value, str):
        return safe(value)
    if isinstance(value, dict):
        return {safe(name) if isinstance(name, str) else name: json_value(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(each) for each in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value

"""Signals that carry names, such as a DataFrame: their rows by name, whichever way round they lie.

Nothing is imported for it: what an object can do tells what it is.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .._text import shown
from ..errors import LeadError, SignalError

__all__ = ["columns_of", "named_rows", "row_names"]

Known: TypeAlias = Callable[[str], bool]
Names: TypeAlias = list[str]


def named_rows(values: Any, known: Known) -> tuple[Any, Names | None, tuple[str, ...]]:
    """The leads of what carries names, as rows.

    Parameters
    ----------
    values : object
        Anything. Names have: tables (of pandas, polars, pyarrow, or an `ecgfm.Table`) by their columns or by their
        index, mappings of name to values, structured arrays by their fields, lists of named columns (Series), and
        labelled arrays (xarray) by the coordinates of a dimension. Numbers and times are no names; of a name of several
        levels the level counts that is a lead's.
    known : callable
        Takes a name; True if it is that of a lead.

    Returns
    -------
    tuple
        (leads, samples) array, the names of its rows, and the names that were left out since they are not those of
        leads; or `values` itself, None and () if it carries no names.

    Raises
    ------
    LeadError
        If a name is there twice, or both columns and rows are named as leads.
    SignalError
        If a lead's values are not numbers, or leads have different lengths.
    """
    series = _names_of_series(values, known)
    if series is not None:
        return _of_columns(values, series, known, range(len(series)))
    keys = columns_of(values)
    if keys is not None:
        rows = _texts(getattr(values, "index", None), known)
        columns = _texts(keys, known)
        if _by_rows(columns, rows, known):
            return _chosen(np.asarray(values), rows, known)
        return (values, None, ()) if columns is None else _of_columns(values, columns, known, keys)
    fields = getattr(getattr(values, "dtype", None), "names", None)
    if fields is not None:
        return _of_columns(values, list(fields), known, fields)
    first, second = _coordinates(values, known)[:2]
    if (first is None and second is None) or np.ndim(values) != 2:
        return values, None, ()
    array = np.asarray(values)
    return _chosen(array, first, known) if _by_rows(second, first, known) else _chosen(array.T, second, known)


def columns_of(values: Any) -> list[Any] | None:
    """The columns of a table or the keys of a mapping, as a list; None for anything else."""
    if isinstance(values, Mapping):
        return list(values)
    columns = getattr(values, "column_names", None)  # pyarrow
    if columns is None:
        columns = getattr(values, "columns", None)
    if columns is None or not hasattr(values, "__getitem__") or callable(columns) or isinstance(columns, str):
        return None
    return list(columns)


def row_names(values: Any, known: Known) -> Names | None:
    """The names of the rows of one segment, or of each of several in a labelled array; None if they are not leads'."""
    if columns_of(values) is not None:
        names = _texts(getattr(values, "index", None), known)
    else:
        names = _names_of_series(values, known) or _coordinates(values, known)[-2]
    return names if names and any(map(known, names)) else None


def _texts(names: Any, known: Known) -> Names | None:
    """The names as text; None if they are not all text, and none is a lead's."""
    if names is None or callable(names) or getattr(getattr(names, "dtype", None), "kind", "O") not in "OSUV":
        return None
    names = list(names)
    texts = [_text(name, known) for name in names]
    if None in texts and not any(text is not None and known(text) for text in texts):
        return None
    return [shown(name) if text is None else text for name, text in zip(names, texts)] or None


def _text(name: Any, known: Known) -> str | None:
    """A name as text; None for a number, a time and the like."""
    if isinstance(name, bytes):
        return name.decode("utf-8", "replace")
    if isinstance(name, tuple):
        parts = [part for part in name if isinstance(part, str)]
        return next(filter(known, parts), " ".join(parts) or None)
    return str(name) if isinstance(name, str) else None


def _names_of_series(values: Any, known: Known) -> Names | None:
    """The names of a list of named columns, at least one of which is a lead; else None."""
    if not isinstance(values, (list, tuple)) or not values:
        return None
    names = [one.name for one in values if isinstance(getattr(one, "name", None), str)]
    named = len(names) == len(values) and all(np.ndim(one) == 1 for one in values)
    return names if named and any(map(known, names)) else None


def _coordinates(values: Any, known: Known) -> tuple[Names | None, ...]:
    """The names along the dimensions of a labelled array of two or three, each None if there are none."""
    dims, coords = getattr(values, "dims", None), getattr(values, "coords", None)
    if coords is None or not isinstance(dims, tuple) or len(dims) not in (2, 3):
        return None, None
    found = []
    for dim in dims:
        try:
            found.append(_texts(np.asarray(coords[dim]).tolist(), known))
        except (KeyError, TypeError, ValueError):
            found.append(None)
    return tuple(found)


def _by_rows(columns: Names | None, rows: Names | None, known: Known) -> bool:
    """Whether the rows and not the columns are the leads."""
    counts = [sum(map(known, names or ())) for names in (columns, rows)]
    if all(counts):
        raise LeadError(
            "both the rows and the columns are named as leads", field="leads", remedy="Give an array and leads=[...]"
        )
    return bool(counts[1]) or (columns is None and rows is not None)


def _chosen(array: NDArray[Any], names: Names | None, known: Known) -> tuple[Any, Names, tuple[str, ...]]:
    """Of an array whose rows are named those that are leads, or all if none is."""
    names = names or []
    kept = [i for i, name in enumerate(names) if known(name)] or list(range(len(names)))
    if len(kept) < len(names):
        array = array[kept]
    if array.dtype.kind == "O":
        array = _numbers(array, "signal")
    left = sorted(set(range(len(names))) - set(kept))
    return array, [names[i] for i in kept], tuple(names[i] for i in left)


def _of_columns(
    values: Any, columns: Names, known: Known, keys: Sequence[Any]
) -> tuple[NDArray[Any], Names, tuple[str, ...]]:
    """The leads among columns; `keys` are what `values` calls them."""
    chosen = [i for i, name in enumerate(columns) if known(name)] or list(range(len(columns)))
    kept = [columns[i] for i in chosen]
    names = set(kept)
    twice = sorted(name for name, count in Counter(kept).items() if count > 1) if len(names) < len(kept) else ()
    if twice:
        raise LeadError(f"named more than once: {twice[0]}", field="leads", remedy="Give each lead one name")
    rows = [_numbers(values[keys[i]], f"lead {columns[i]}") for i in chosen]
    if len({row.shape for row in rows}) > 1 or rows[0].ndim != 1:
        raise SignalError("the leads have different lengths, or more than one dimension", field="signal")
    return np.stack(rows), kept, tuple(name for name in columns if name not in names)


def _numbers(column: Any, field: str) -> NDArray[Any]:
    """A column as an array of numbers; what stands for a missing value becomes NaN."""
    if np.ma.is_masked(column):
        raise SignalError("the array has masked values", field=field, remedy="Fill or cut them out first")
    try:
        array = np.asarray(column)
        if array.dtype.kind == "O":
            convert = getattr(column, "to_numpy", None)
            try:
                array = np.asarray(column, dtype=np.float64)
            except TypeError:  # pandas' NA is no number
                array = column.to_numpy(dtype=np.float64, na_value=np.nan) if convert else array
    except (TypeError, ValueError):
        raise SignalError("the values are not real numbers", field=field) from None
    if array.dtype.kind not in "iuf":
        raise SignalError(f"the values are of type {array.dtype}, not real numbers", field=field)
    return array

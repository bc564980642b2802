"""Columns of a Parquet file, some rows at a time, with no cell larger than is allowed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from .._types import StrPath
from ..errors import FormatError, MissingExtraError
from ..storage.inputs import check_inflation

__all__ = ["parquet_batches"]

BATCH = 4096
BYTES_OF_ROW = 100  # what a row counts as, for a file may say of any number of rows that they are like the one before


def parquet_batches(
    stream: BinaryIO, path: StrPath, choose: Callable[[list[str]], list[int]], most: int
) -> Iterator[list[tuple[Any, ...]]]:
    """The rows of some columns.

    Parameters
    ----------
    stream : file
        Opened for reading bytes.
    path : str
        Errors name it.
    choose : callable
        Is given the names of all columns, and returns the positions of those that are wanted.
    most : int
        Bytes of a cell.

    Yields
    ------
    list of tuple
        Rows; a text that is stored once is one object, however often it occurs.

    Raises
    ------
    FormatError
        If the file is damaged, inflates too far, or holds larger cells or columns of other than plain values.
    MissingExtraError
        If pyarrow is not installed.
    """
    try:
        from pyarrow import ArrowException, parquet, types
    except ImportError:
        raise MissingExtraError(
            "reading Parquet needs pyarrow", path=path, remedy="Install it with: pip install 'ecgfm[tables]'"
        ) from None
    try:
        with parquet.ParquetFile(stream) as file:
            schema = file.schema_arrow
            header = schema.names
            wanted, count = choose(header), Counter(header)
            for i in wanted:
                if types.is_nested(schema.field(i).type):
                    raise FormatError("the column holds lists or structures", path=path, field=header[i])
                if count[header[i]] > 1:
                    raise FormatError("the column occurs twice", path=path, field=header[i])
            names = [header[i] for i in wanted]
            texts = [name for name, i in zip(names, wanted) if _is_text(types, schema.field(i).type)]
            size = stream.seek(0, 2)
            check_inflation(size, BYTES_OF_ROW * file.metadata.num_rows, path=path)
            _check_sizes(file.metadata, size, path)
        stream.seek(0)
        with parquet.ParquetFile(stream, read_dictionary=texts) as file:
            for batch in file.iter_batches(BATCH, columns=names):
                yield list(zip(*(_values(batch.column(name), path, name, most) for name in names)))
    except UnicodeDecodeError as error:
        raise FormatError(f"a text is not UTF-8: {error.reason}", path=path) from None
    except ArrowException as error:
        raise FormatError(f"not a Parquet file: {str(error)[:500].splitlines()[0]}", path=path) from None


def _is_text(types: Any, kind: Any) -> bool:
    kinds = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    return any(each(kind) for each in kinds)


def _check_sizes(metadata: Any, size: int, path: StrPath) -> None:
    """What the groups of rows are said to inflate to; asked of each column, pyarrow may end the process."""
    made = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    check_inflation(size, made, path=path, field="groups of rows")


def _values(column: Any, path: StrPath, name: str, most: int) -> list[Any]:
    """The values of a column; of a dictionary, each value is made once."""
    dictionary = getattr(column, "dictionary", None)
    if dictionary is None:
        return list(column.to_pylist())
    if any(buffer is not None and buffer.size > most for buffer in dictionary.buffers()):
        import pyarrow.compute

        longest = pyarrow.compute.max(pyarrow.compute.binary_length(dictionary)).as_py()
        if longest is not None and longest > most:
            raise FormatError(
                f"a cell of {longest:,} bytes, more than the {most:,} that are read", path=path, field=name
            )
    values = dictionary.to_pylist()
    return [None if i is None else values[i] for i in column.indices.to_pylist()]

"""Any folder of recordings in the formats that `ecgfm.read` knows, and one's own reader."""

from __future__ import annotations

import importlib
import importlib.util
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..._types import StrPath
from ...ecg import Record
from ...errors import ConfigError, Error, FormatError
from ...io import PART, left_out, members, read
from ...storage import folders
from ...storage.rows import read_rows
from ..tables.keys import path_column
from .base import Located, Recording, Rows, Source, save_name
from .wfdb_files import wfdb_files

__all__ = ["Files", "load_function", "walk"]


class Files(Source):
    """A folder of recordings in any format that is read, or a table of them.

    Parameters
    ----------
    table : path-like, optional
        A CSV file with the column ``path`` (or ``file``, ``record``; below the folder, or absolute), and any others,
        which go into ``meta.csv``.
        ``dataset`` and ``save_file`` are taken from it if they are there. Without a table the folder is searched.
    reader : callable, optional
        Takes a row (a dict of text, with the whole ``path``); returns a `Record`, a `Recording`, or a tuple (signal
        (leads, samples), rate in Hz, lead names). By default the file is read by its format.
    sampling_rate, leads
        For files that don't state them, as for `ecgfm.read`.
    name : str
        Goes into the column ``source`` and before the names of files.
    """

    name = "files"
    meta_columns = ("notes",)
    relists = True

    def __init__(
        self,
        table: StrPath | None = None,
        reader: Callable[..., Any] | None = None,
        *,
        sampling_rate: float | None = None,
        leads: Sequence[str] | str | None = None,
        name: str = "files",
    ) -> None:
        if not name or name != os.path.basename(name):
            raise ConfigError(f"{name!r} is no part of a file name", field="source_name")
        self.table, self.reader, self.name = table, reader, name
        self.sampling_rate, self.leads = sampling_rate, leads

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--table",
            metavar="CSV",
            help="table of the recordings: path, and columns for meta.csv (default: all recordings in the folder)",
        )
        parser.add_argument(
            "--reader",
            metavar="FILE.py:FUNCTION",
            help="one's own reader: takes a row, returns signal (leads, samples), rate, lead names",
        )
        parser.add_argument("--sampling_rate", type=float, metavar="HZ", help="for files that don't state it")
        parser.add_argument("--lead_names", metavar="I,II,...", help="for files that don't state them")
        parser.add_argument(
            "--source_name", default="files", metavar="NAME", help="for the column source (default files)"
        )

    def configured(self, args: Namespace) -> Files:
        reader = load_function(args.reader) if args.reader else None
        return type(self)(
            args.table, reader, sampling_rate=args.sampling_rate, leads=args.lead_names, name=args.source_name
        )

    def settings(self) -> dict[str, Any]:
        reader = None if self.reader is None else getattr(self.reader, "__qualname__", type(self.reader).__name__)
        leads = self.leads if self.leads is None or isinstance(self.leads, str) else ",".join(self.leads)
        return {"sampling_rate": self.sampling_rate, "lead_names": leads, "reader": reader}

    def records(self, raw_root: Any, processed_root: StrPath, **own: Any) -> Rows:
        if self.table is not None:
            columns, rows = read_rows(self.table)
            path_column(columns, self.table)
            return columns, rows
        return ["path"], ({"path": _plain(path)} for path in self._recordings(raw_root))

    def _recordings(self, top: StrPath) -> Iterator[str]:
        """Those of `walk` that are recordings; of a file that holds several each one, as ``file::name``."""
        self.ignored.clear()
        for relative in walk(top, self.ignore):
            path = os.path.join(top, relative)
            reason = left_out(path)
            if reason is not None:
                if reason != PART:
                    self.ignore(path, reason)
                continue
            try:
                for one in members(path):
                    yield relative + one.removeprefix(path)
            except Error:
                yield relative  # reading it will say why

    def locate(self, raw_root: Any, columns: Collection[str], *, reading: bool = True) -> Located:
        where = path_column(columns, self.table or raw_root or "")

        def located(row: Mapping[str, Any]) -> dict[str, Any]:
            file, mark, member = row[where].partition("::")
            stem = os.path.splitext(file.removeprefix("./"))[0].strip("/") + (f"_{member}" if mark else "")
            return {
                "path": os.path.join(raw_root or "", row[where]),
                "save_file": row.get("save_file") or save_name(self.name, stem),
                "source": self.name,
                "dataset": row.get("dataset") or self.name,
            }

        return located

    def files(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        file = row["path"].partition("::")[0]
        stem, ending = os.path.splitext(file)
        if ending == ".hea":
            return wfdb_files(stem)
        return (file,) if ending else (file, *wfdb_files(file))

    def read(self, row: Mapping[str, Any]) -> Recording:
        if self.reader is None:
            found = read(row["path"], sampling_rate=self.sampling_rate, leads=self.leads)
        else:
            found = self.reader({name: value for name, value in row.items() if not name.startswith("_")})
        if isinstance(found, Record):
            return Recording(
                found.signal,
                found.sampling_rate,
                found.leads,
                {"notes": "; ".join(found.notes) or None},
                derived=found.derived,
                standardised=found.standardised,
            )
        try:
            if isinstance(found, Recording):
                return _as_given(found)
            signal, rate, names = found
            return Recording(np.asarray(signal), float(rate), tuple(names))
        except (TypeError, ValueError, AttributeError):
            raise FormatError(
                f"the reader gave {type(found).__name__}, not (signal, rate, lead names)", path=row["path"]
            ) from None


def _as_given(found: Recording) -> Recording:
    """A user's `Recording`, if its parts are of their types."""
    tables = {str(name): [dict(row) for row in rows] for name, rows in found.tables.items()}
    parts = np.asarray(found.feats), float(found.rate), tuple(found.names), dict(found.meta), tables
    return Recording(*parts, tuple(found.derived), bool(found.standardised))


def load_function(text: str) -> Callable[..., Any]:
    """The function that ``file.py:name`` or ``module:name`` names.

    Raises
    ------
    ConfigError
        If there is none.
    """
    where, _, name = text.rpartition(":")
    if not where or not name:
        raise ConfigError(f"{text!r} names no function", field="reader", remedy="Give it as file.py:function")
    try:
        if where.endswith(".py"):
            spec = importlib.util.spec_from_file_location("ecgfm_reader", where)
            module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]  # of .py there is one
            spec.loader.exec_module(module)  # type: ignore[union-attr]
        else:
            module = importlib.import_module(where)
        function: Callable[..., Any] = getattr(module, name)
        return function
    except (ImportError, OSError, SyntaxError, AttributeError) as error:
        raise ConfigError(f"can't be loaded: {error}", path=where, field="reader") from None


def walk(top: StrPath, passed: Callable[[str], object] | None = None) -> Iterator[str]:
    """Paths below a folder of all its files, in the order of their names, without hidden ones.

    Parameters
    ----------
    top : str
    passed : callable, optional
        Called with the path of each link to a folder that is listed elsewhere.

    Raises
    ------
    FormatError
        If a folder can't be listed.
    """

    def refuse(error: OSError) -> None:
        raise FormatError(f"the directory can't be listed: {error.strerror}", path=error.filename)

    for folder, names in folders.walk(os.fspath(top), refused=refuse, passed=passed):
        for name in names:
            yield os.path.relpath(os.path.join(folder, name), top)


def _plain(path: str) -> str:
    """A path as a cell that no spreadsheet takes for a formula."""
    return f"./{path}" if path[:1] in ("=", "+", "-", "@") else path

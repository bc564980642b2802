"""What a source of recordings is."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from ..._types import StrPath
from ...errors import FormatError

__all__ = ["Located", "Recording", "Rows", "Source", "check_columns", "save_name"]

#: The columns of a table and its rows.
Rows: TypeAlias = "tuple[Sequence[str], Iterator[dict[str, Any]]]"
#: Adds to a row where its recording lies.
Located: TypeAlias = "Callable[[Mapping[str, Any]], dict[str, Any]]"

_LONGEST = 200  # bytes of a name: a segment's number and the ending come after it


@dataclass
class Recording:
    """A recording as a source gives it.

    Attributes
    ----------
    feats : ndarray
        (leads, samples), real numbers.
    rate : float
        In Hz.
    names : sequence of str
        Of the leads, in any usual spelling.
    meta : dict
        Further columns of ``meta.csv``.
    tables : dict
        Name of a further table -> rows of it (dicts), such as one per heart beat.
    derived : sequence of str
        Leads that were calculated by the reader.
    standardised : bool
        True if each lead was standardised over the whole recording already: then no lead can be calculated from others.
    """

    feats: np.ndarray
    rate: float
    names: Sequence[str]
    meta: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    derived: tuple[str, ...] = ()
    standardised: bool = False


class Source(ABC):
    """A data set: which recordings there are, and how one is read. Subclasses are listed in `ecgfm.data.sources`.

    Attributes
    ----------
    name : str
        Goes into the column ``source`` and before the names of files.
    located_columns : tuple of str
        The columns that `locate` adds.
    meta_columns : tuple of str
        The columns that `read` adds to ``meta.csv``, in order; others that it gives come after them.
    relists : bool
        Whether `records` is called again when a run is continued: rows of a new ``path`` are added to the end.
    ignored : list of tuple of str
        (path, reason) of what `records` found in the folder and left out.
    """

    name = ""
    relists = False
    located_columns: tuple[str, ...] = ("path", "save_file", "source", "dataset")
    meta_columns: tuple[str, ...] = ()

    def arguments(self, parser: ArgumentParser) -> None:  # noqa: B027
        """Add options of this source's own to the command line."""

    def configured(self, args: Namespace) -> Source:
        """The source as these options want it."""
        return self

    def own(self, args: Namespace) -> dict[str, Any]:
        """The values of these options that `records` takes, as keyword arguments."""
        return {}

    def settings(self) -> dict[str, Any]:
        """What must be the same when a run is continued, as JSON has it."""
        return {}

    @property
    def ignored(self) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = self.__dict__.setdefault("_ignored", [])
        return found

    def ignore(self, path: str, why: str = "a link to a folder that is listed elsewhere") -> None:
        """Note that a path is no recording, and why."""
        self.ignored.append((path, why))

    def files(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        """The files that a located row is read from: when one has changed, the recording is done again."""
        return ()

    @abstractmethod
    def records(self, raw_root: Any, processed_root: StrPath, **own: Any) -> Rows:
        """The table of recordings: (columns, iterator over rows as dicts). It is written to ``records.csv``."""

    @abstractmethod
    def locate(self, raw_root: Any, columns: Collection[str], *, reading: bool = True) -> Located:
        """A function that adds to a row of ``records.csv`` the columns path, save_file, source and dataset.

        It may give ``error``, text that says why the recording can't be read. With `reading` False the recordings
        themselves are not needed.
        """

    @abstractmethod
    def read(self, row: Mapping[str, Any]) -> Recording:
        """The `Recording` of a row that was located. Runs in a process of its own and may keep files open."""


def check_columns(columns: Collection[str], needed: Sequence[str], root: StrPath | None) -> None:
    """Refuse a table of recordings that lacks a column."""
    missing = [name for name in needed if name not in columns]
    if missing:
        raise FormatError(f"columns missing: {', '.join(missing)}", path=root, field="records.csv")


def save_name(source: str, relative: str) -> str:
    """The name of a recording's ``.mat`` file: its path below the data set's folder in one word.

    ``a/b 1.hea`` of ``muse`` becomes ``muse_a_b_1.mat``. What can't be printed becomes ``_``, and of a name that is too
    long for a file the end becomes a checksum.
    """
    stem = relative.replace(os.sep, "_").replace(" ", "_")
    if not stem.isprintable():
        stem = "".join(character if character.isprintable() else "_" for character in stem)
    if len(source) + len(stem.encode()) > _LONGEST:
        checksum = hashlib.sha256(stem.encode()).hexdigest()[:16]
        stem = f"{stem.encode()[: _LONGEST - len(source) - 20].decode(errors='ignore')}-{checksum}"
    return f"{source}_{stem}.mat"

"""The tables that a run of the preprocessing leaves: meta, segmented, manifest, errors, and those of the source."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from ...errors import Error, FormatError
from ...storage.columns import check_name
from ...storage.journal import Journal
from ...storage.rows import RowWriter, read_rows, write_rows
from .numbering import MANIFEST, Recordings
from .plan import Plan
from .stages import Row, segment_name
from .work import check_outputs

__all__ = ["Given", "Outputs"]

_NO_LIST = str.maketrans("", "", "[]'")
_OURS = ("records", "meta", "segmented", "manifest", "errors", "status", "packed")
_STATUS = ("idx", "path", "save_file", "status", "reason")
_ERRORS = ("idx", "path", "save_file", "stage", "error")
_SEGMENTED = ("path", "save_file", "sample_size")
_ABOUT = (  # what is found of a recording
    "lead_order sample_rate sample_size avail_leads nan_any nan_leads_any nan_leads constant_leads_any constant_leads"
).split()


@dataclass
class Given:
    """What the source gave of its own accord: names of columns of ``meta.csv``, and of further tables."""

    columns: set[str] = field(default_factory=set)
    tables: set[str] = field(default_factory=set)

    def add(self, line: dict[str, Any]) -> None:
        """Note what a line of the journal has."""
        self.columns.update(line["meta"] or ())
        self.tables.update(line.get("tables", ()))


class Outputs:
    """Writes the tables of a run from its recordings and its journal.

    Parameters
    ----------
    plan : Plan
    recordings : Recordings
    journal : Journal
    given : Given
    ignored : sequence of (str, str)
        Files of the folder that are not recordings, and why.

    Attributes
    ----------
    segments : int
        How many there are.
    first_error : str
        Of the first recording that was skipped, or empty.
    derived : int
        Recordings with leads that were calculated.
    packed : dict
        Split -> (number, save_file, segments) of each recording whose segments are packed, in order.
    """

    def __init__(
        self,
        plan: Plan,
        recordings: Recordings,
        journal: Journal,
        given: Given,
        ignored: Sequence[tuple[str, str]],
    ) -> None:
        self._plan, self._recordings, self._journal = plan, recordings, journal
        self._given, self._ignored = given, ignored
        self.segments, self.derived, self.first_error = 0, 0, ""
        self.packed: dict[str, list[tuple[int, str, int]]] = {name: [] for name in plan.splits.names}
        self._segmented: list[tuple[str, str]] = []

    def write(self) -> dict[str, str]:
        """Write all that the stages which were run have to say. Returns the paths by name."""
        plan = self._plan
        paths = {"errors": plan.table("errors"), "status": plan.table("status")}
        if not {"org", "preprocessed"} <= plan.skip:
            meta = plan.table("meta")
            if plan.reads or not os.path.exists(meta):
                paths["meta"] = meta
            paths["manifest"] = plan.manifest
        columns = {"errors": _ERRORS, "status": _STATUS, "meta": self._meta_columns(), "manifest": MANIFEST}
        with ExitStack() as stack:
            writers = {name: stack.enter_context(RowWriter(path, columns[name])) for name, path in paths.items()}
            self._write_rows(writers, self._others() if "manifest" in paths else [])
        if "segmented" in plan.written:
            paths["segmented"] = plan.table("segmented")
            self._segmented.sort()
            size = plan.options.segment_samples
            rows = ({"path": path, "save_file": name, "sample_size": size} for path, name in self._segmented)
            write_rows(paths["segmented"], _SEGMENTED, rows)
        return paths | {name: self._write_further(name) for name in sorted(self._given.tables)}

    def _write_further(self, name: str) -> str:
        """Write a table that the source gave; return its path."""
        folder, path = self._plan.folder, self._plan.table(name)
        check_name(name, "a table", path=folder, field="tables")
        if name in _OURS:
            raise FormatError(f"a further table can't be called {name}", path=folder, field="tables")
        check_outputs(folder, [path])
        write_rows(path, dict.fromkeys(key for row in self._rows_of(name) for key in row), self._rows_of(name))
        return path

    def _write_rows(self, writers: dict[str, RowWriter], others: list[Row]) -> None:
        """One pass over all recordings; `others` are the manifest's rows of other runs."""
        first, folder = self._recordings.offset, os.path.join(self._plan.folder, "segmented")
        errors, status = writers["errors"], writers["status"]
        meta, manifest = writers.get("meta"), writers.get("manifest")
        if manifest is not None:
            manifest.write_all(row for row in others if int(row["idx"]) < first)
        for number, row, line in self._lines():
            if "error" in line:
                self.first_error = self.first_error or line["error"]
                errors.write({**{name: row[name] for name in _ERRORS[:3]}, **line})
                status.write({**row, "status": "skipped", "reason": line["error"]})
                continue
            name, count = row["save_file"], line["segments"]
            self.segments += count
            if "segmented" in self._plan.written:
                self._segmented += [(os.path.join(folder, segment_name(name, i)), name) for i in range(count)]
            status.write({**row, "status": "done", "reason": self._remark(number, line)})
            if row["_split"] is not None:
                self.packed[row["_split"]].append((row["idx"], name, count))
            if meta is not None:
                meta.write({**row, **(line["meta"] or {})})
            if manifest is not None:
                manifest.write({**row, **(line["meta"] or {}), "source_path": row["path"]})
        if manifest is not None:
            manifest.write_all(row for row in others if int(row["idx"]) >= first + self._recordings.rows)
        for path, why in self._ignored:
            status.write({"path": path, "status": "ignored", "reason": why})

    def _remark(self, number: int, line: dict[str, Any]) -> str:
        """What is unusual about a recording that is done."""
        remarks = []
        derived = (line["meta"] or {}).get("derived_leads", "[]")
        if derived != "[]":
            self.derived += 1
            remarks.append(f"calculated from I and II: {derived.translate(_NO_LIST)}")
        if number in self._recordings.renamed:
            remarks.append("another recording has the name that its path gives")
        return "; ".join(remarks)

    def _lines(self) -> Iterator[tuple[int, Row, dict[str, Any]]]:
        """(number, row, line of the journal) of every recording."""
        for number, row in self._recordings:
            if "error" in row:
                yield number, row, {"error": row["error"], "stage": "records"}
            elif number in self._journal:
                yield number, row, self._journal[number]
            else:
                raise Error(f"recording {number} was neither done nor refused", path=self._plan.folder)

    def _meta_columns(self) -> list[str]:
        source, leads = self._plan.source, range(len(self._plan.options.leads))
        columns = ["idx", *self._recordings.columns, *source.located_columns, *_ABOUT]
        columns += [f"{name}_{i}" for name in ("mean", "std") for i in leads]
        columns += ["derived_leads", *(name for name in source.meta_columns if name in self._given.columns)]
        return list(dict.fromkeys([*columns, *sorted(self._given.columns)]))

    def _others(self) -> list[Row]:
        """The manifest's rows that are not this run's."""
        path = self._plan.manifest
        return list(read_rows(path, MANIFEST, errors="surrogateescape")[1]) if os.path.exists(path) else []

    def _rows_of(self, name: str) -> Iterator[Row]:
        for _, row, line in self._lines():
            for one in line.get("tables", {}).get(name, ()):
                yield {"idx": row["idx"], "save_file": row["save_file"], **one}

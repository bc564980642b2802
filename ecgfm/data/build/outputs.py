"""The tables that a run of the preprocessing leaves: meta, segmented, manifest, errors, and those of the source."""

import os
from contextlib import ExitStack

from ...errors import (Error, FormatError)
from ...storage.columns import check_name
from ...storage.rows import (RowWriter, read_rows, write_rows)
from .stages import segment_name
from .work import check_outputs

__all__ = ["MANIFEST", "Tables"]

MANIFEST = ("idx", "source", "source_path", "save_file", "sample_rate", "sample_size")
_NO_LIST = str.maketrans("", "", "[]'")
_OURS = ("records", "meta", "segmented", "manifest", "errors", "status", "packed")
_STATUS = ("idx", "path", "save_file", "status", "reason")
_ERRORS = ("idx", "path", "save_file", "stage", "error")
_SEGMENTED = ("path", "save_file", "sample_size")


class Tables:
    """Writes the tables of a run from its records and its journal.

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

    def __init__(self, run):
        self.run = run
        self.segments, self.derived, self.first_error = 0, 0, ""
        self.packed = {name: [] for name in run.splits.names}
        self._segmented = []

    def write(self):
        """Write all that the stages which were run have to say. Returns the paths by name."""
        run = self.run
        paths = {"errors": run.table("errors"), "status": run.table("status")}
        if not {"org", "preprocessed"} <= run.skip:
            meta = run.table("meta")
            if "org" not in run.skip or not os.path.exists(meta):
                paths["meta"] = meta
            paths["manifest"] = run.manifest
        with ExitStack() as stack:
            columns = {"errors": _ERRORS, "status": _STATUS, "meta": self._meta_columns, "manifest": MANIFEST}
            writers = {
                name: stack.enter_context(RowWriter(path, columns[name]() if name == "meta" else columns[name]))
                for name, path in paths.items()
            }
            self._write_rows(writers.get, self._others() if "manifest" in paths else [])
        if "segmented" in run.stages - run.skip:
            paths["segmented"] = run.table("segmented")
            self._segmented.sort()
            size = run.options.segment_samples
            write_rows(
                paths["segmented"],
                _SEGMENTED,
                ({"path": path, "save_file": name, "sample_size": size} for path, name in self._segmented),
            )
        for name in sorted(run.tables):
            check_name(name, "a table", path=run.folder, field="tables")
            if name in _OURS:
                raise FormatError(f"a further table can't be called {name}", path=run.folder, field="tables")
            paths[name] = run.table(name)
            check_outputs(run.folder, [paths[name]])
            keys = dict.fromkeys(key for row in self._rows_of(name) for key in row)
            write_rows(paths[name], list(keys), self._rows_of(name))
        return paths

    def _write_rows(self, writer, others):
        """One pass over all recordings; `writer` gives the writer of a table, or None."""
        run, folder = self.run, os.path.join(self.run.folder, "segmented")
        errors, status, meta, manifest = (writer(name) for name in ("errors", "status", "meta", "manifest"))
        listed = "segmented" in run.stages - run.skip
        for row in others:
            if int(row["idx"]) < run.offset:
                manifest.write(row)
        for number, row, line in self._lines():
            if "error" in line:
                self.first_error = self.first_error or line["error"]
                errors.write({**{name: row[name] for name in _ERRORS[:3]}, **line})
                status.write({**row, "status": "skipped", "reason": line["error"]})
                continue
            name, count = row["save_file"], line["segments"]
            self.segments += count
            if listed:
                self._segmented += [(os.path.join(folder, segment_name(name, i)), name) for i in range(count)]
            status.write({**row, "status": "done", "reason": self._remark(number, line)})
            if row["_split"] is not None:
                self.packed[row["_split"]].append((row["idx"], name, count))
            if meta is not None:
                meta.write({**row, **(line["meta"] or {})})
            if manifest is not None:
                manifest.write({**row, **(line["meta"] or {}), "source_path": row["path"]})
        for row in others:
            if int(row["idx"]) >= run.offset + run.count:
                manifest.write(row)

        for path, why in run.ignored:
            status.write({"path": path, "status": "ignored", "reason": why})

    def _remark(self, number, line):
        """What is unusual about a recording that is done."""
        remarks = []
        derived = (line["meta"] or {}).get("derived_leads", "[]")
        if derived != "[]":
            self.derived += 1
            remarks.append(f"calculated from I and II: {derived.translate(_NO_LIST)}")
        if number in self.run.renamed:
            remarks.append("another recording has the name that its path gives")
        return "; ".join(remarks)

    def _lines(self):
        """(number, row, line of the journal) of every recording."""
        for number, row in self.run.rows():
            if "error" in row:
                yield number, row, {"error": row["error"], "stage": "records"}
            elif number in self.run.journal:
                yield number, row, self.run.journal[number]
            else:
                raise Error(f"recording {number} was neither done nor refused", path=self.run.folder)

    def _meta_columns(self):
        run = self.run
        leads = range(len(run.options.leads))
        columns = ["idx", *run.columns, *run.source.located_columns, "lead_order", "sample_rate", "sample_size"]
        columns += ["avail_leads", "nan_any", "nan_leads_any", "nan_leads", "constant_leads_any", "constant_leads"]
        columns += [f"{name}_{i}" for name in ("mean", "std") for i in leads]
        columns += ["derived_leads", *(name for name in run.source.meta_columns if name in run.extra)]
        return list(dict.fromkeys([*columns, *sorted(run.extra)]))

    def _others(self):
        """The manifest's rows that are not this run's."""
        path = self.run.manifest
        return list(read_rows(path, MANIFEST, errors="surrogateescape")[1]) if os.path.exists(path) else []

    def _rows_of(self, name):
        for _, row, line in self._lines():
            for one in line.get("tables", {}).get(name, ()):
                yield {"idx": row["idx"], "save_file": row["save_file"], **one}

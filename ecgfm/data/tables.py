"""The tables that a run of the preprocessing leaves: meta, segmented, manifest, errors, and those of the source."""

import os

from ..errors import Error
from .rows import read_rows, write_rows
from .stages import segment_name

__all__ = ["MANIFEST", "Tables"]

MANIFEST = ("idx", "source", "source_path", "save_file", "sample_rate", "sample_size")
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
    """

    def __init__(self, run):
        self.run = run
        self.segments, self.first_error = 0, ""

    def write(self):
        """Write all that the stages which were run have to say. Returns the paths by name."""
        run = self.run
        paths = {"errors": run.table("errors")}
        write_rows(paths["errors"], _ERRORS, self._errors())
        has_meta = not {"org", "preprocessed"} <= run.skip
        meta = run.table("meta")
        if has_meta and not ("org" in run.skip and os.path.exists(meta)):
            paths["meta"] = meta
            write_rows(meta, self._meta_columns(), self._meta())
        if has_meta:
            paths["manifest"] = run.manifest
            write_rows(run.manifest, MANIFEST, self._manifest())
        if "segmented" in run.stages - run.skip:
            paths["segmented"] = run.table("segmented")
            write_rows(paths["segmented"], _SEGMENTED, self._segmented())
        for name in sorted({name for _, _, line in self._done() for name in line.get("tables", ())}):
            paths[name] = run.table(name)
            rows = list(self._rows_of(name))
            write_rows(paths[name], list(dict.fromkeys(key for row in rows for key in row)), rows)
        return paths

    def _lines(self):
        """(number, row, line of the journal or None) of every recording."""
        for number, row in self.run.rows():
            if "error" in row:
                yield number, row, {"error": row["error"], "stage": "records"}
            elif number in self.run.journal:
                yield number, row, self.run.journal[number]
            else:
                raise Error(f"recording {number} was neither done nor refused", path=self.run.folder)

    def _done(self):
        return ((number, row, line) for number, row, line in self._lines() if "error" not in line)

    def _errors(self):
        for _, row, line in self._lines():
            if "error" in line:
                self.first_error = self.first_error or line["error"]
                yield {**{name: row[name] for name in _ERRORS[:3]}, "stage": line["stage"], "error": line["error"]}
            else:
                self.segments += line["segments"]

    def _meta_columns(self):
        run = self.run
        leads = range(len(run.options.leads))
        columns = ["idx", *run.columns, *run.source.located_columns, "lead_order", "sample_rate", "sample_size"]
        columns += ["avail_leads", "nan_any", "nan_leads_any", "nan_leads", "constant_leads_any", "constant_leads"]
        columns += [f"{name}_{i}" for name in ("mean", "std") for i in leads]
        columns += ["derived_leads", *(name for name in run.source.meta_columns if name in run.extra)]
        return list(dict.fromkeys([*columns, *sorted(run.extra)]))

    def _meta(self):
        for _, row, line in self._done():
            yield {**row, **line["meta"]}

    def _manifest(self):
        run = self.run
        others = list(read_rows(run.manifest, MANIFEST)[1]) if os.path.exists(run.manifest) else []
        first, last = run.offset, run.offset + run.count
        yield from (row for row in others if int(row["idx"]) < first)
        for _, row, line in self._done():
            about = {name: line["meta"][name] for name in ("sample_rate", "sample_size")}
            yield {"idx": row["idx"], "source": row["source"], "source_path": row["path"], **about,
                   "save_file": row["save_file"]}
        yield from (row for row in others if int(row["idx"]) >= last)

    def _segmented(self):
        folder = os.path.join(self.run.folder, "segmented")
        found = [
            (os.path.join(folder, segment_name(row["save_file"], i)), row["save_file"])
            for _, row, line in self._done()
            for i in range(line["segments"])
        ]
        found.sort()
        size = self.run.options.segment_samples
        return ({"path": path, "save_file": name, "sample_size": size} for path, name in found)

    def _rows_of(self, name):
        for _, row, line in self._done():
            for one in line.get("tables", {}).get(name, ()):
                yield {"idx": row["idx"], "save_file": row["save_file"], **one}

"""From a source's recordings to segments on disk: in parallel, to be continued after any end, nothing lost silently.

What is done of each recording stands in a journal (``.ecgfm/preprocess.jsonl`` below the folder that is written to);
the tables are written from it at the end.
"""

import os
import shutil
from collections import Counter
from contextlib import nullcontext
from dataclasses import asdict
from itertools import groupby

import numpy as np

from ..._text import shown
from ...errors import (ConfigError, Error, FormatError)
from ...storage.columns import check_name
from ...storage.atomic import open_own
from ...storage.journal import Journal
from ...storage.lock import locked
from .listing import (earlier_records, list_records)
from .numbering import (has_room, next_number, resolve_names)
from ..stores.packed import PackedWriter
from .packed_splits import (PackedSplits, digest)
from ...workers import (Died, in_processes, in_ranks)
from ..recording import Options
from ...storage.rows import read_rows
from ..sources import find_source
from .stages import (STAGES, Stages, WriteFailed, has_size, stage_names, stamps)
from .summary import Summary
from .outputs import Tables
from .work import (Work, check_outputs, clean)

__all__ = ["Summary", "preprocess"]

_CHUNK = 16  # recordings that a process takes at a time
_GIVEN = ("idx", "save_path", "source_path", "org_path", "preprocessed_path", "segmented_path")


def preprocess(
    source,
    processed_root,
    raw_root=None,
    *,
    options=None,
    stages=None,
    skip=(),
    packed=False,
    packed_splits=None,
    fractions=None,
    split_labels=("train", "valid", "test"),
    group_col=None,
    seed=1,
    dataset_subset=None,
    manifest_file=None,
    results_suffix="",
    workers=None,
    ranks=None,
    on_error=None,
    progress=None,
    **own,
):
    """Prepare all recordings of a source.

    Parameters
    ----------
    source : str or Source
        A name in `ecgfm.data.sources.SOURCES`, or one's own.
    processed_root : path-like
        The folder to write to. A run that was broken off is continued there.
    raw_root : path-like, optional
        Where the recordings lie. Not needed if ``org`` is skipped.
    options : Options, optional
    stages : sequence of str
        Which of org, preprocessed and segmented are written; the others are passed through in memory. By default all,
        and none if the segments are packed.
    skip : sequence of str
        Which of them are not run, since their files are there.
    packed : bool
        Write the segments to one file, ``packed/all.npy`` with ``all.index.csv`` (see `open_packed`).
    packed_splits : path-like, optional
        A table with ``save_file`` and ``split``, such as ``meta_split.csv``: they are written to
        ``packed/<split>.npy``, those of recordings that don't stand in it nowhere.
    fractions : str or sequence of float, optional
        Draw the splits instead, as `assign_splits` does, and say in ``packed/splits.csv`` and ``splits_args.json`` what
        was drawn: of recordings, or of the groups that the column `group_col` of the records' table gives.
    split_labels, group_col, seed
        Of such a draw.
    dataset_subset : sequence of str, optional
        Only rows whose column ``dataset`` is one of these.
    manifest_file : path-like, optional
        A table of several sources: numbers go on from its largest, and this source's rows are added.
    results_suffix : str
        Goes into the names of the tables.
    workers : int, optional
        Processes; by default as many as there are processors. 1 works in this one.
    ranks : Ranks, optional
        Ranks of MPI instead of processes, on a common file system: this is the first, the others run
        `ecgfm.workers.serve_work`.
    on_error : callable, optional
        Called with a recording's path and the reason for each that is skipped.
    progress : callable, optional
        Called with the number of recordings that are done, how many there are, and the path of the last.
    **own
        Options of the source.

    Returns
    -------
    Summary

    Raises
    ------
    Error
        If an option, the source's tables or an earlier run in the folder stand against it, or the disk is full. What is
        done is kept.
    """
    splits = PackedSplits(packed, packed_splits, fractions, split_labels, group_col, seed)
    if stages is None:
        stages = () if splits.names else STAGES
    run = _Run(
        find_source(source),
        os.fspath(processed_root),
        None if raw_root is None else os.fspath(raw_root),
        options or Options(),
        stage_names(stages, "stages"),
        stage_names(skip, "skip"),
        dataset_subset,
        manifest_file,
        results_suffix,
        splits,
    )
    run.check()
    workers = _workers(workers)
    try:
        os.makedirs(run.state, exist_ok=True)
        with locked(os.path.join(run.state, "lock"), "this folder"):
            run.ranks = ranks
            return run.go(workers, on_error or _ignore, progress or _ignore, own)
    except (OSError, WriteFailed) as error:
        if isinstance(error, Error):
            raise
        text = str(error) if isinstance(error, WriteFailed) else f"can't be written: {error.strerror or error}"
        where = None if isinstance(error, WriteFailed) else error.filename or processed_root
        raise Error(text, path=where, remedy="Make room or mend it; the same command does the rest") from None


def _ignore(*_):
    pass


def _workers(count):
    if count is None:
        return len(os.sched_getaffinity(0))
    if count < 1:
        raise ConfigError(f"{count} processes can't work", field="workers")
    return count


class _Run:
    def __init__(self, source, folder, raw_root, options, stages, skip, subset, manifest, suffix, splits):
        self.splits = splits
        self.source, self.folder, self.raw_root, self.options = source, folder, raw_root, options
        self.stages, self.skip, self.subset, self.suffix = stages, skip, subset, suffix
        self.state = os.path.join(folder, ".ecgfm")
        self.parts = os.path.join(self.state, "parts")
        self.manifest = os.fspath(manifest) if manifest is not None else self.table("manifest")
        self.records = os.path.join(folder, "records.csv")
        self.duplicates, self.renamed, self.total, self.added, self.ignored = {}, {}, 0, 0, []

    def table(self, name):
        return os.path.join(self.folder, f"{name}{self.suffix}.csv")

    def check(self):
        """Whatever can be known before anything is written."""
        if os.path.exists(self.folder) and not os.path.isdir(self.folder):
            raise ConfigError("not a directory", path=self.folder, field="processed_root")
        if "org" not in self.skip:
            if self.raw_root is None:
                raise ConfigError("it is not given", field="raw_root", remedy="Give it, or skip org")
            if not os.path.isdir(self.raw_root):
                raise ConfigError("there is no such directory", path=self.raw_root, field="raw_root")
            if os.path.exists(self.folder) and os.path.samefile(self.folder, self.raw_root):
                raise ConfigError(
                    "is where the recordings lie",
                    path=self.folder,
                    field="processed_root",
                    remedy="Take another folder",
                )
        folder = os.path.dirname(os.path.abspath(self.manifest))
        if not os.path.isdir(folder) and folder != os.path.abspath(self.folder):
            raise ConfigError("there is no such directory", path=folder, field="manifest_file")
        if self.splits.names and "segmented" in self.skip:
            raise ConfigError("segments that are not made can't be packed", field="skip")
        if self.suffix != os.path.basename(self.suffix):
            raise ConfigError("a part of a file name is needed", field="results_suffix")
        if self.suffix:
            check_name(f"a{self.suffix}", "a table", field="results_suffix", error=ConfigError)
        names = ["records.csv", ".ecgfm/listed.csv", "packed/splits.csv", "packed/splits_args.json"]
        names += [f"packed/{one}{self.suffix}{end}" for one in self.splits.names for end in (".npy", ".index.csv")]
        tables = map(self.table, ("manifest", "meta", "segmented", "errors", "status"))
        check_outputs(self.folder, [*(os.path.join(self.folder, name) for name in names), *tables])

    def go(self, workers, on_error, progress, own):
        reading = self.raw_root if "org" not in self.skip else None
        room = has_room(self.manifest, self.records, Journal.head_of(self._journal_path()))
        self.added = list_records(self.source, reading, self.folder, self.state, own, room)
        self.ignored = list(self.source.ignored)
        self.source.ignored.clear()
        self.columns, rows = read_rows(self.records, errors="surrogateescape")
        rows.close()
        given = [name for name in _GIVEN if name in self.columns]
        if given:
            raise FormatError(
                f"columns that are made here: {', '.join(given)}",
                path=self.records,
                field="header",
                remedy="Remove them from the table of records",
            )
        if self.manifest == self.table("manifest"):  # locked with its folder
            return self._go(workers, on_error, progress)
        folder, name = os.path.split(os.path.abspath(self.manifest))
        with locked(os.path.join(folder, f".{name}.lock"), "this manifest"):
            return self._go(workers, on_error, progress)

    def _go(self, workers, on_error, progress):
        self.locate = self.source.locate(self.raw_root, self.columns, reading="org" not in self.skip)
        old = Journal.head_of(self._journal_path())
        self.offset = old["offset"] if old else 0
        names = self._find_duplicates()
        if old is None:
            self.offset = next_number(self.manifest, self.source.name, names)
        head = {
            "source": {"name": self.source.name, **self.source.settings()},
            **{key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self.options).items()},
            "manifest_file": os.path.abspath(self.manifest),
            "offset": self.offset,
            "records": digest(self.records),
            "stages": sorted(self.stages),
            "skip": sorted(self.skip),
            "packed": self.splits.digest(),
        }
        self.journal = Journal(
            self._journal_path(),
            head,
            changing=("stages", "skip", "packed"),
            grown=earlier_records(self.records, self.state),
        )
        try:
            return self._with_journal(workers, on_error, progress)
        finally:
            self.journal.close()

    def _journal_path(self):
        return os.path.join(self.state, f"preprocess{self.suffix}.jsonl")

    def rows(self):
        """Iterate over (number, row) of all that are to be done, located and numbered; numbers count rows from 0."""
        number = -1
        for number, row in enumerate(read_rows(self.records, errors="surrogateescape")[1]):
            given = row.get("save_file")
            row = {"idx": self.offset + number, **row, **self.locate(row)}
            if self.subset is not None and row["dataset"] not in self.subset:
                continue
            row["_named"] = bool(given)
            if number in self.renamed:
                row["save_file"] = self.renamed[number]
            if number in self.duplicates:
                row["error"] = self.duplicates[number]
            row["_split"] = self.splits(row)
            yield number, row
        self.count = number + 1

    def _find_duplicates(self):
        """Note rows that have a name of an earlier one; return the names."""
        first, clashes, group = {}, {}, self.splits.group_col
        if group is not None and group not in (*self.columns, *self.source.located_columns):
            raise ConfigError(f"there is no column {shown(group)}", path=self.records, field="group_col")
        for number, row in self.rows():
            name = row["save_file"]
            if name != os.path.basename(name) or not name.endswith(".mat") or "\0" in name:
                raise FormatError(f"{shown(name)} is no name of a .mat file", path=self.records, field="save_file")
            if first.setdefault(name, number) != number:
                clashes[number] = first[name]
            self.total += 1
        if not self.total:
            of = "" if self.subset is None else f" of {', '.join(self.subset)}"
            field = "dataset_subset" if of else None
            raise ConfigError(
                f"the table has no recording{of}",
                path=self.records,
                field=field,
                remedy=None if of else "Remove it, and the folder is listed anew",
            )
        if clashes:
            self.duplicates, self.renamed = resolve_names(self.rows, clashes, first)
        if self.splits.fractions is not None:
            rows = [row for number, row in self.rows() if number not in self.duplicates]
            groups = [] if group is None else [row[group] for row in rows]
            self.splits.draw([row["save_file"] for row in rows], groups, os.path.join(self.folder, "packed"))
        return first

    def _with_journal(self, workers, on_error, progress):
        for stage in self.stages - self.skip:
            os.makedirs(os.path.join(self.folder, stage), exist_ok=True)
        clean(self.folder, self.state, self.parts)
        self.pipeline = Stages(
            self.source, self.options, self.folder, self.stages, self.skip, os.path.join(self.parts, "mat")
        )
        self.writers = self._open_packed()
        self.extra, self.tables = set(), set()  # columns of meta.csv, and further tables, that the source gave
        self.done = resumed = self._resume()
        self.failed, self.on_error, self.progress = 0, on_error, progress
        processes = 0 if workers == 1 else min(workers, -(-self.total // _CHUNK))
        waiting, turn = {}, 0  # pieces are taken in their order, so that packed rows have it
        self.free = []  # files for segments, to be written again: faster than new ones
        try:
            for (place, piece, path), result in self._results(processes):
                waiting[place] = piece, path, result
                while turn in waiting:
                    done = waiting.pop(turn)
                    self._take(*done)
                    self.free.append(done[1])
                    turn += 1
            return self._finish(resumed)
        finally:
            for writer in self.writers.values():
                writer.close()

    def _results(self, processes):
        """(task, what became of it), as they come."""
        work = Work(self.pipeline)
        if self.ranks is not None and self.ranks.size > 1:
            return in_ranks(work, self._tasks(1), self.ranks)
        return in_processes(work, self._tasks(processes), processes)

    def _tasks(self, processes):
        """(place, rows, file for their segments or None) of each piece of work."""
        for place, piece in enumerate(self._pieces()):
            path = None
            if processes and self.writers:
                path = self.free.pop() if self.free else os.path.join(self.parts, f"{place}.f32")
            yield place, piece, path

    def _open_packed(self):
        if not self.splits.names:
            return {}
        folder = os.path.join(self.folder, "packed")
        os.makedirs(folder, exist_ok=True)
        shape = len(self.options.leads), self.options.segment_samples
        return {
            name: PackedWriter(os.path.join(folder, f"{name}{self.suffix}.npy"), shape) for name in self.splits.names
        }

    def _resume(self):
        """Forget what an earlier run could not do, and whose files are gone. Returns how many recordings are done."""
        if not self.journal.at:
            for writer in self.writers.values():
                writer.keep({})
            return 0
        count = 0
        held = {name: writer.held() for name, writer in self.writers.items()}
        kept = {name: {} for name in self.writers}
        for number, row in self.rows():
            if number not in self.journal:
                continue
            line, split = self.journal[number], row["_split"]
            done = "error" not in line and "error" not in row and not self._changed(row, line)
            done = done and all(has_size(*one) for one in self.pipeline.expected(row, line))
            if done and split is not None and line["segments"]:
                done = held[split].get(row["idx"]) == line["segments"]
                kept[split][row["idx"]] = line["segments"]
            if not done:
                self.journal.forget([number])
                continue
            self._note(line)
            count += 1
        for name, writer in self.writers.items():
            writer.keep(kept[name])
        return count

    def _changed(self, row, line):
        """Whether a file that the recording was read from is another one now; one that is gone is not."""
        if "org" in self.skip or "raw" not in line:
            return False
        return any(
            old is not None and new is not None and old != new
            for old, new in zip(line["raw"], stamps(self.source.files(row)))
        )

    def _pieces(self):
        """What is to be done, some rows at a time."""
        piece = []
        for number, row in self.rows():
            if "error" in row:
                self._skipped(row["path"], row["error"])
            elif number not in self.journal:
                piece.append((number, row))
            if len(piece) == _CHUNK:
                yield piece
                piece = []
        if piece:
            yield piece

    def _take(self, piece, path, result):
        """Keep what became of a piece."""
        if isinstance(result, Died):
            if len(piece) > 1:  # which one was it?
                for one in piece:
                    for _, alone in in_processes(Work(self.pipeline), [(0, [one], path)], 1):
                        self._take([one], path, alone)
                return
            result = [{"i": piece[0][0], "error": str(result), "stage": "org"}], []
        lines, segments = result
        if self.writers:
            self._pack(piece, lines, path if segments is None else segments)
        self.journal.add(lines)
        for (_, row), line in zip(piece, lines):
            if "error" in line:
                self._skipped(row["path"], line["error"])
            else:
                self.done += 1
                self._note(line)
                self.progress(self.done, self.total, row["path"])

    def _pack(self, piece, lines, source):
        """Append segments, which lie in a file or in arrays, to the packed files."""
        held = [(row, line["segments"]) for (_, row), line in zip(piece, lines) if line.get("segments")]
        held = [(row["_split"], row["idx"], count) for row, count in held if row["_split"] is not None]
        at = 0
        with open_own(source) if isinstance(source, str) else nullcontext(source) as source:
            for split, group in groupby(held, lambda one: one[0]):
                group = list(group)
                rows = np.array([(idx, i) for _, idx, count in group for i in range(count)])
                if isinstance(source, list):
                    self.writers[split].append_arrays(rows, source[at : at + len(group)])
                    at += len(group)
                else:
                    self.writers[split].append(rows, source, at)
                    at += len(rows)

    def _note(self, line):
        self.extra.update(line["meta"] or ())
        self.tables.update(line.get("tables", ()))

    def _skipped(self, path, why):
        self.failed += 1
        self.on_error(path, why)

    def _finish(self, resumed):
        """Write the tables and put the packed files in place."""
        tables = Tables(self)
        paths = tables.write()
        for name, writer in self.writers.items():
            writer.finish(tables.packed[name], self.options.sample_rate)
            paths[f"packed {name}"] = writer.path
        shutil.rmtree(self.parts, ignore_errors=True)
        self.journal.close(tidy=True)
        if not self.done:
            raise Error(
                f"none of the {self.failed} recordings could be prepared; the first: {tables.first_error}",
                path=paths["errors"],
            )
        endings = Counter(os.path.splitext(path)[1].lower() or "without an ending" for path, _ in self.ignored)
        return Summary(
            self.folder,
            self.done,
            tables.segments,
            resumed,
            self.failed,
            paths,
            self.added,
            tables.derived,
            len(self.renamed),
            dict(endings.most_common()),
        )

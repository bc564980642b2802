"""From a source's recordings to segments on disk: in parallel, to be continued after any end, nothing left out silently.

What is done of each recording stands in a journal (``.ecgfm/preprocess.jsonl`` below the folder that is written to); the
tables are written from it at the end.
"""

import hashlib
import os
import shutil
from dataclasses import asdict, dataclass

from ..errors import ConfigError, Error, FormatError
from .journal import Journal, locked
from .pool import Died, in_processes
from .preprocess import Options
from .rows import read_rows, write_rows
from .sources import find_source
from .stages import STAGES, Stages
from .tables import MANIFEST, Tables

__all__ = ["Summary", "preprocess"]

_CHUNK = 16  # recordings that a process takes at a time
_GIVEN = ("idx", "save_path", "source_path", "org_path", "preprocessed_path", "segmented_path")


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes
    ----------
    folder : str
        What was written to.
    records, segments : int
        How many there are now.
    resumed : int
        Recordings that an earlier run had done.
    skipped : int
        Recordings that could not be done; ``errors.csv`` names them.
    paths : dict
        Name of each table -> its file.
    """

    folder: str
    records: int
    segments: int
    resumed: int
    skipped: int
    paths: dict


def preprocess(
    source,
    processed_root,
    raw_root=None,
    *,
    options=None,
    stages=STAGES,
    skip=(),
    dataset_subset=None,
    manifest_file=None,
    results_suffix="",
    workers=None,
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
        Which of org, preprocessed and segmented are written; the others are passed through in memory.
    skip : sequence of str
        Which of them are not run, since their files are there.
    dataset_subset : sequence of str, optional
        Only rows whose column ``dataset`` is one of these.
    manifest_file : path-like, optional
        A table of several sources: numbers go on from its largest, and this source's rows are added.
    results_suffix : str
        Goes into the names of the tables.
    workers : int, optional
        Processes; by default as many as there are processors. 1 works in this one.
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
    run = _Run(
        find_source(source),
        os.fspath(processed_root),
        None if raw_root is None else os.fspath(raw_root),
        options or Options(),
        _names(stages, "stages"),
        _names(skip, "skip"),
        dataset_subset,
        manifest_file,
        results_suffix,
    )
    run.check()
    os.makedirs(run.state, exist_ok=True)
    with locked(os.path.join(run.state, "lock"), "this folder"):
        return run.go(_workers(workers), on_error or _ignore, progress or _ignore, own)


def _ignore(*_):
    pass


def _names(names, field):
    names = frozenset(names)
    if names - set(STAGES):
        raise ConfigError(
            f"no stage is called {', '.join(sorted(names - set(STAGES)))}", field=field, remedy=f"There are {', '.join(STAGES)}"
        )
    return names


def _workers(count):
    if count is None:
        return len(os.sched_getaffinity(0))
    if count < 1:
        raise ConfigError(f"{count} processes can't work", field="workers")
    return count


class _Run:
    def __init__(self, source, folder, raw_root, options, stages, skip, subset, manifest, suffix):
        self.source, self.folder, self.raw_root, self.options = source, folder, raw_root, options
        self.stages, self.skip, self.subset, self.suffix = stages, skip, subset, suffix
        self.state = os.path.join(folder, ".ecgfm")
        self.parts = os.path.join(self.state, "parts")
        self.manifest = os.fspath(manifest) if manifest is not None else self.table("manifest")
        self.records = os.path.join(folder, "records.csv")
        self.duplicates, self.total = {}, 0

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
                    "is where the recordings lie", path=self.folder, field="processed_root", remedy="Take another folder"
                )
        folder = os.path.dirname(os.path.abspath(self.manifest))
        if not os.path.isdir(folder) and folder != os.path.abspath(self.folder):
            raise ConfigError("there is no such directory", path=folder, field="manifest_file")
        if self.suffix != os.path.basename(self.suffix):
            raise ConfigError("a part of a file name is needed", field="results_suffix")

    def go(self, workers, on_error, progress, own):
        if not os.path.exists(self.records):
            columns, rows = self.source.records(self.raw_root, self.folder, **own)
            write_rows(self.records, columns, rows)
        self.columns, rows = read_rows(self.records)
        self.count = sum(1 for _ in rows)
        given = [name for name in _GIVEN if name in self.columns]
        if given:
            raise FormatError(
                f"columns that are made here: {', '.join(given)}", path=self.records, field="header",
                remedy="Remove them from the table of records",
            )
        lock = os.path.join(os.path.dirname(os.path.abspath(self.manifest)), f".{os.path.basename(self.manifest)}.lock")
        with locked(lock, "this manifest"):
            return self._go(workers, on_error, progress)

    def _go(self, workers, on_error, progress):
        self.locate = self.source.locate(self.raw_root, self.columns, reading="org" not in self.skip)
        journal_path = os.path.join(self.state, f"preprocess{self.suffix}.jsonl")
        old = Journal.head_of(journal_path)
        self.offset = old["offset"] if old else 0
        names = self._find_duplicates()
        if old is None:
            self.offset = self._next_number(names)
        head = {
            "source": self.source.name,
            **{key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self.options).items()},
            "dataset_subset": None if self.subset is None else sorted(self.subset),
            "manifest_file": os.path.abspath(self.manifest),
            "offset": self.offset,
            "records": _digest(self.records),
            "stages": sorted(self.stages),
            "skip": sorted(self.skip),
        }
        self.journal = Journal(journal_path, head, changing=("stages", "skip"))
        try:
            return self._with_journal(workers, on_error, progress)
        finally:
            self.journal.close()

    def _next_number(self, names):
        """The number of the first row: after all that the manifest holds."""
        largest = -1
        if not os.path.exists(self.manifest):
            return 0
        for row in read_rows(self.manifest, MANIFEST)[1]:
            if not row["idx"].isdecimal():
                raise FormatError(f"{row['idx']!r} is no number", path=self.manifest, field="idx")
            if row["source"] == self.source.name and row["save_file"] in names:
                raise FormatError(
                    f"{row['save_file']} stands there already, with the number {row['idx']}",
                    path=self.manifest,
                    field=self.source.name,
                    remedy="Remove the rows of this source, or continue in the folder of that run",
                )
            largest = max(largest, int(row["idx"]))
        return largest + 1

    def rows(self):
        """Iterate over (number, row) of all that are to be done, located and numbered; numbers count rows from 0."""
        for number, row in enumerate(read_rows(self.records)[1]):
            row = {"idx": self.offset + number, **row, **self.locate(row)}
            if self.subset is not None and row["dataset"] not in self.subset:
                continue
            if number in self.duplicates:
                row["error"] = self.duplicates[number]
            yield number, row

    def _find_duplicates(self):
        """Note rows that have a name of an earlier one; return the names."""
        first = {}
        for number, row in self.rows():
            name = row["save_file"]
            if name != os.path.basename(name) or not name.endswith(".mat") or "\0" in name:
                raise FormatError(f"{name!r} is no name of a .mat file", path=self.records, field="save_file")
            if first.setdefault(name, number) != number:
                self.duplicates[number] = f"named {name} as row {first[name]} is: a recording that stands there twice"
            self.total += 1
        if not self.total:
            of = "" if self.subset is None else f" of {', '.join(self.subset)}"
            raise ConfigError(f"the table has no recording{of}", path=self.records, field="dataset_subset" if of else None)
        return first

    def _with_journal(self, workers, on_error, progress):
        for stage in self.stages - self.skip:
            os.makedirs(os.path.join(self.folder, stage), exist_ok=True)
        shutil.rmtree(self.parts, ignore_errors=True)
        os.makedirs(self.parts)
        self.pipeline = Stages(
            self.source, self.options, self.folder, self.stages, self.skip, os.path.join(self.parts, "mat")
        )
        self.extra = set()  # columns of meta.csv that the source gave
        self.done = resumed = self._resume()
        self.failed, self.on_error, self.progress = 0, on_error, progress
        processes = 0 if workers == 1 else min(workers, -(-self.total // _CHUNK))
        for piece, result in in_processes(self._work, self._pieces(), processes):
            if isinstance(result, Died) and len(piece) > 1:
                for one in piece:  # which one was it?
                    for alone, result in in_processes(self._work, [[one]], 1):
                        self._take(alone, result)
            else:
                self._take(piece, result)
        shutil.rmtree(self.parts, ignore_errors=True)
        return self._finish(resumed)

    def _resume(self):
        """Forget what an earlier run could not do, and whose files are gone. Returns how many recordings are done."""
        count = 0
        for number, row in self.rows():
            if number not in self.journal:
                continue
            line = self.journal[number]
            if "error" in line or "error" in row or not all(_has(*one) for one in self.pipeline.expected(row, line)):
                self.journal.forget([number])
                continue
            self.extra.update(line["meta"] or ())
            count += 1
        return count

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

    def _work(self, piece):
        """Runs in a process of its own: the journal's lines for some rows."""
        return [{"i": number, **self.pipeline.run(row)[0]} for number, row in piece]

    def _take(self, piece, result):
        if isinstance(result, Died):
            result = [{"i": number, "error": str(result), "stage": "org"} for number, _ in piece]
        self.journal.add(result)
        for (_, row), line in zip(piece, result):
            if "error" in line:
                self._skipped(row["path"], line["error"])
            else:
                self.done += 1
                self.extra.update(line["meta"] or ())
                self.progress(self.done, self.total, row["path"])

    def _skipped(self, path, why):
        self.failed += 1
        self.on_error(path, why)

    def _finish(self, resumed):
        """Write the tables."""
        tables = Tables(self)
        paths = tables.write()
        self.journal.close(tidy=True)
        if not self.done:
            raise Error(
                f"none of the {self.failed} recordings could be prepared; the first: {tables.first_error}",
                path=paths["errors"],
            )
        return Summary(self.folder, self.done, tables.segments, resumed, self.failed, paths)


def _has(path, size):
    try:
        return os.path.getsize(path) == size
    except OSError:
        return False


def _digest(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

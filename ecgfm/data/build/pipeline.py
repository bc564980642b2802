"""From a source's recordings to segments on disk: in parallel, to be continued after any end, nothing lost silently.

A journal (``.ecgfm/preprocess.jsonl`` in the folder that is written to) says what is done of each recording;
the tables are written from it at the end.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from ..._types import StrPath
from ...errors import Error
from ...storage.atomic import open_own
from ...storage.journal import Journal, head_of
from ...storage.lock import locked
from ...validation import Whole, checked
from ...workers import Crashed, in_processes, in_ranks
from ..recording import Options
from ..sources import Source, find_source
from ..stores.packed import PackedWriter
from .listing import earlier_records, list_records
from .numbering import Recordings, has_room
from .outputs import Given, Outputs
from .plan import Plan
from .split_choice import SplitChoice
from .stages import STAGES, Row, Stages, WriteFailed, has_size, stage_names, stamps
from .summary import Summary
from .work import Work, clean

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...ranks import Ranks

__all__ = ["Summary", "preprocess"]

_CHUNK = 16  # recordings that a process takes at a time
_MEND = "Make room or mend it; the same command does the rest"

Piece = list[tuple[int, Row]]
Lines = list[dict[str, Any]]


def preprocess(
    source: str | Source,
    processed_root: StrPath,
    raw_root: StrPath | None = None,
    *,
    options: Options | None = None,
    stages: Sequence[str] | None = None,
    skip: Sequence[str] = (),
    packed: bool = False,
    packed_splits: StrPath | None = None,
    fractions: str | Sequence[float] | None = None,
    split_labels: Sequence[str] = ("train", "valid", "test"),
    group_col: str | None = None,
    seed: int = 1,
    dataset_subset: Sequence[str] | None = None,
    manifest_file: StrPath | None = None,
    results_suffix: str = "",
    workers: int | None = None,
    ranks: Ranks | None = None,
    on_error: Callable[[str, str], object] | None = None,
    progress: Callable[[int, int, str], object] | None = None,
    **own: Any,
) -> Summary:
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
        ``packed/<split>.npy``, those of recordings that it lacks are not packed.
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
        If an option is wrong, the source's tables or an earlier run in the folder don't fit, or the disk is full. What
        is done is kept.
    """
    splits = SplitChoice(packed, packed_splits, fractions, split_labels, group_col, seed)
    if stages is None:
        stages = () if splits.names else STAGES
    plan = Plan(
        find_source(source),
        os.fspath(processed_root),
        None if raw_root is None else os.fspath(raw_root),
        options or Options(),
        stage_names(stages, "stages"),
        stage_names(skip, "skip"),
        splits,
        dataset_subset,
        None if manifest_file is None else os.fspath(manifest_file),
        results_suffix,
    )
    plan.check()
    workers = len(os.sched_getaffinity(0)) if workers is None else checked(workers, Whole(1), "workers")
    try:
        os.makedirs(plan.state, exist_ok=True)
        with locked(os.path.join(plan.state, "lock"), "this folder"):
            return _prepare(plan, own, workers, ranks, on_error or _ignore, progress or _ignore)
    except WriteFailed as error:
        raise Error(error, remedy=_MEND) from None
    except OSError as error:
        text, path = f"can't be written: {error.strerror or error}", error.filename or processed_root
        raise Error(text, path=path, remedy=_MEND) from None


def _ignore(*_: object) -> None:
    pass


def _prepare(
    plan: Plan,
    own: dict[str, Any],
    workers: int,
    ranks: Ranks | None,
    on_error: Callable[[str, str], object],
    progress: Callable[[int, int, str], object],
) -> Summary:
    """List the recordings, do what is not done, and write the tables; the folder is locked."""
    room = has_room(plan.manifest, plan.records, head_of(plan.journal))
    added = list_records(plan.source, plan.raw_root if plan.reads else None, plan.folder, plan.state, own, room)
    ignored = list(plan.source.ignored)
    plan.source.ignored.clear()
    folder, name = os.path.split(os.path.abspath(plan.manifest))
    alone = plan.manifest == plan.table("manifest")  # locked with its folder
    with nullcontext() if alone else locked(os.path.join(folder, f".{name}.lock"), "this manifest"):
        old = head_of(plan.journal)
        recordings = Recordings(plan, old["offset"] if old else None)
        changing, grown = ("stages", "skip", "packed"), earlier_records(plan.records, plan.state)
        journal = Journal(plan.journal, plan.head(recordings.offset), changing=changing, grown=grown)
        try:
            with _Run(plan, recordings, journal, on_error, progress) as run:
                run.work(workers, ranks)
                return run.finish(added, ignored)
        finally:
            journal.close()


class _Run:
    """The work on recordings that the journal lacks. A context manager: packed files are closed at its end."""

    def __init__(
        self,
        plan: Plan,
        recordings: Recordings,
        journal: Journal,
        on_error: Callable[[str, str], object],
        progress: Callable[[int, int, str], object],
    ) -> None:
        self._plan, self._recordings, self._journal = plan, recordings, journal
        self._on_error, self._progress = on_error, progress
        for stage in plan.written:
            os.makedirs(os.path.join(plan.folder, stage), exist_ok=True)
        clean(plan.folder, plan.state, plan.parts)
        temporary = os.path.join(plan.parts, "mat")
        self._stages = Stages(plan.source, plan.options, plan.folder, plan.stages, plan.skip, temporary)
        if plan.splits.names:
            os.makedirs(plan.packed, exist_ok=True)
        shape = len(plan.options.leads), plan.options.segment_samples
        self._writers = {name: PackedWriter(plan.packed_file(name), shape) for name in plan.splits.names}
        self._given = Given()
        self._free: list[str] = []  # files for segments, to be written again: faster than new ones
        self._failed = 0
        self._done = self._resumed = self._resume()

    def __enter__(self) -> _Run:
        return self

    def __exit__(self, *_: object) -> None:
        for writer in self._writers.values():
            writer.close()

    def _resume(self) -> int:
        """Forget what an earlier run could not do, and whose files are gone. Returns how many recordings are done."""
        count = 0
        held = {name: writer.held() for name, writer in self._writers.items()}
        kept: dict[str, dict[int, int]] = {name: {} for name in self._writers}
        for number, row in self._recordings if self._journal.at else ():
            if number not in self._journal:
                continue
            line, split = self._journal[number], row["_split"]
            done = "error" not in line and "error" not in row and not self._changed(row, line)
            done = done and all(has_size(*one) for one in self._stages.expected(row, line))
            if done and split is not None and line["segments"]:
                done = held[split].get(row["idx"]) == line["segments"]
                kept[split][row["idx"]] = line["segments"]
            if not done:
                self._journal.forget([number])
                continue
            self._given.add(line)
            count += 1
        for name, writer in self._writers.items():
            writer.keep(kept[name])
        return count

    def _changed(self, row: Row, line: dict[str, Any]) -> bool:
        """Whether a file that the recording was read from is another one now; one that is gone is not."""
        if not self._plan.reads or "raw" not in line:
            return False
        now = stamps(self._plan.source.files(row))
        return any(was is not None and new is not None and was != new for was, new in zip(line["raw"], now))

    def work(self, workers: int, ranks: Ranks | None) -> None:
        """Do all that is to be done, in this number of processes, or on the ranks."""
        processes = 0 if workers == 1 else min(workers, -(-self._recordings.total // _CHUNK))
        waiting, turn = {}, 0  # pieces are taken in their order, so that packed rows have it
        work = Work(self._stages)
        shared = ranks is not None and ranks.size > 1
        tasks = self._tasks(1 if shared else processes)
        results = in_ranks(work, tasks, ranks) if ranks and shared else in_processes(work, tasks, processes)
        for (place, piece, path), result in results:
            waiting[place] = piece, path, result
            while turn in waiting:
                piece, path, result = waiting.pop(turn)
                self._take(piece, path, result)
                self._free.append(path)
                turn += 1

    def _tasks(self, processes: int) -> Iterator[tuple[int, Piece, str | None]]:
        """(place, rows, file for their segments or None) of each piece of work."""
        left = self._left()
        for place, piece in enumerate(iter(lambda: list(islice(left, _CHUNK)), [])):
            path = None
            if processes and self._writers:
                path = self._free.pop() if self._free else os.path.join(self._plan.parts, f"{place}.f32")
            yield place, piece, path

    def _left(self) -> Iterator[tuple[int, Row]]:
        """(number, row) of what is to be done."""
        for number, row in self._recordings:
            if "error" in row:
                self._skipped(row["path"], row["error"])
            elif number not in self._journal:
                yield number, row

    def _take(
        self, piece: Piece, path: str | None, result: Crashed | tuple[Lines, list[NDArray[np.float32]] | None]
    ) -> None:
        """Keep what became of a piece."""
        if isinstance(result, Crashed):
            if len(piece) > 1:  # which one was it?
                for one in piece:
                    for _, alone in in_processes(Work(self._stages), [(0, [one], path)], 1):
                        self._take([one], path, alone)
                return
            result = [{"i": piece[0][0], "error": str(result), "stage": "org"}], []
        lines, segments = result
        if self._writers:
            self._pack(piece, lines, segments if segments is not None else path or [])
        self._journal.add(lines)
        for (_, row), line in zip(piece, lines):
            if "error" in line:
                self._skipped(row["path"], line["error"])
            else:
                self._done += 1
                self._given.add(line)
                self._progress(self._done, self._recordings.total, row["path"])

    def _pack(self, piece: Piece, lines: Lines, source: str | list[NDArray[np.float32]]) -> None:
        """Append segments, which lie in a file or in arrays, to the packed files."""
        held = [(row["_split"], row["idx"], line.get("segments", 0)) for (_, row), line in zip(piece, lines)]
        groups = groupby((one for one in held if one[0] is not None and one[2]), lambda one: one[0])
        at = 0
        with nullcontext() if isinstance(source, list) else open_own(source) as file:
            for split, group in groups:
                counts = [(idx, count) for _, idx, count in group]
                rows = np.array([(idx, i) for idx, count in counts for i in range(count)])
                if isinstance(source, list):
                    self._writers[split].append(rows, source[at : at + len(counts)])
                    at += len(counts)
                else:
                    self._writers[split].append(rows, cast(BinaryIO, file), at)
                    at += len(rows)

    def _skipped(self, path: str, why: str) -> None:
        self._failed += 1
        self._on_error(path, why)

    def finish(self, added: int, ignored: Sequence[tuple[str, str]]) -> Summary:
        """Write the tables and put the packed files in place."""
        plan = self._plan
        outputs = Outputs(plan, self._recordings, self._journal, self._given, ignored)
        paths = outputs.write()
        for name, writer in self._writers.items():
            writer.finish(outputs.packed[name], plan.options.sample_rate)
            paths[f"packed {name}"] = writer.path
        shutil.rmtree(plan.parts, ignore_errors=True)
        self._journal.close(tidy=True)
        if not self._done:
            raise Error(
                f"none of the {self._failed} recordings could be prepared; the first: {outputs.first_error}",
                path=paths["errors"],
            )
        endings = Counter(os.path.splitext(path)[1].lower() or "without an ending" for path, _ in ignored)
        return Summary(
            plan.folder,
            self._done,
            outputs.segments,
            self._resumed,
            self._failed,
            paths,
            added,
            outputs.derived,
            len(self._recordings.renamed),
            dict(endings.most_common()),
        )

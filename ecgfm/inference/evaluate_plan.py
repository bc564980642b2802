"""Which recordings an evaluation has, which row of the truth belongs to each, and which of them are one."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..ecg import Record, Segments
from ..ecg.expected import warn_unprepared
from ..errors import Error, LabelError
from ..io.ignored import nothing_said
from ..io.inputs import expand, manifest_files
from ..io.segment_files import numbered_names, recording_names
from ..specs.inputs import ECG_FM, InputSpec
from ..validation import real_array
from .evaluate_truth import Truth
from .matching import Names

__all__ = ["Plan"]


class Plan:
    """The recordings of an evaluation.

    Parameters
    ----------
    inputs, recordings, sampling_rate
        As of `ecgfm.evaluate`.
    truth : Truth
    spec : InputSpec
        What the model takes.

    Attributes
    ----------
    inputs
        What is to be read.
    taken : deque of (int, object, str, int)
        Of each input that `select` has let through: its row, what it is of, that recording's name, and its place among
        all inputs.
    known, count : int
        How many inputs there are, None if that is not known yet; and how many came.
    unlabelled : list of str
        Recordings without a row.
    """

    def __init__(
        self,
        inputs: Any,
        truth: Truth,
        recordings: Sequence[Any] | None,
        sampling_rate: float | None,
        spec: InputSpec = ECG_FM,
    ) -> None:
        self.truth, self.recordings = truth, recordings
        self.unlabelled: list[str] = []
        self.taken: deque[tuple[Any, Any, str, int]] = deque()
        self.count, self.known = 0, None
        self._whole = None  # of a manifest's files: the recordings that they are of
        if isinstance(inputs, (str, os.PathLike)) and os.fsdecode(inputs).lower().endswith(".tsv"):
            manifest, inputs = os.fsdecode(inputs), manifest_files(inputs)
            self._whole, self._by_name = recording_names(manifest, inputs), numbered_names(inputs)
            self._check_rows(len(inputs), len(set(self._whole)))
        elif _is_batch(inputs) and sampling_rate is None:
            inputs = _prepared(inputs, spec)
        self.inputs = inputs
        self._claims: dict[int, tuple[int, Any, str]] = {}
        self._rows: list[tuple[int | None, str]] | None = None
        if isinstance(inputs, (str, os.PathLike, Record, Segments)) or hasattr(inputs, "__len__"):
            files = [file for file, _ in expand(inputs, nothing_said)]
            self.known = len(files)
            self._check_count(len(files))
            self._match_all(files)

    def select(self, pairs: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
        """Those of the (name, recording) that have a row, which is put into `taken`."""
        count = labelled = 0
        for count, (file, one) in enumerate(pairs, 1):
            row, whole = self._row_of(count - 1, file, one)
            if row is None and not isinstance(one, Error):
                if self.truth.in_order:
                    self._check_count(count)
                self.unlabelled.append(file)
                continue
            labelled += 1
            self.taken.append((row, self._group_of(count - 1, row, whole), whole, count - 1))
            yield file, one
        self.count = count
        self._check_count(count)
        if count and not labelled:
            by_idx = self.truth.by_idx
            raise LabelError(
                f"none of the {count} recordings is in the labels",
                path=self.truth.source,
                field="idx" if by_idx else "file",
                remedy=self._remedy(),
            )

    def _remedy(self) -> str:
        if not self.truth.by_idx:
            return "Name the recordings as their files are called"
        if self.truth.whole:
            return "A .npy file goes by the numbers idx in .mat files; give its array for rows in order"
        return (
            "A column idx, and an index of numbers, mean the numbers idx in .mat files; for rows in the order of the "
            "recordings give an array, or a DataFrame after reset_index(drop=True)"
        )

    # ---- rows -------------------------------------------------------------------------------------

    def _row_of(self, position: int, file: str, one: Any) -> tuple[int | None, str]:
        """(row or None, name of the recording that it is of)."""
        if self.truth.in_order or self.truth.by_idx:
            whole = file if self._whole is None else self._whole[position]
            return self.truth.row_of(position, file, one), whole
        if self._rows is not None:
            return self._rows[position]
        row, common, whole = self._found(position, file)
        return (row if self._claim(position, row, common, whole) else None), whole

    def _found(self, position: int, file: str) -> tuple[int | None, int, str]:
        """(row or None, parts of the path that agree, name of the recording) by the file's name."""
        names = self.truth.names
        assert isinstance(names, Names)
        found = names.find(file)
        if found is None and self._whole is not None:
            for whole in (self._whole[position], self._by_name[position]):  # a row of the latter bears it out
                found = None if whole == file else names.find(whole)
                if found is not None:
                    return *found, whole
            return None, 0, self._whole[position]
        return *(found or (None, 0)), file

    def _match_all(self, files: Sequence[str]) -> None:
        """Match all recordings with rows before any is read."""
        if self.truth.in_order or self.truth.by_idx:
            return
        found = [self._found(position, file) for position, file in enumerate(files)]
        best: dict[int | None, int] = {}
        for row, common, _ in found:
            best[row] = max(common, best.get(row, 0))
        self._rows = []
        for position, (row, common, whole) in enumerate(found):
            fits = row is not None and common == best[row] and self._claim(position, row, common, whole)
            self._rows.append((row if fits else None, whole))

    def _claim(self, position: int, row: int | None, common: int, whole: str) -> bool:
        """Whether the row is this recording's, and not one's whose path has more in common with the row's name.

        Raises
        ------
        LabelError
            If it fits several recordings.
        """
        if row is None:
            return False
        who = whole if self.recordings is None else self.recordings[position]
        before = self._claims.setdefault(row, (common, who, whole))
        if before[1] == who:
            return True
        if common < before[0]:
            return False
        raise LabelError(
            f"it and {before[2]} fit the same row of the labels",
            path=whole,
            field="y",
            remedy="Name recordings with as much of their path as tells them apart, or give recordings",
        )

    def _group_of(self, position: int, row: int | None, whole: str) -> Any:
        if self.recordings is not None:
            return self.recordings[position]
        if self.truth.by_idx:
            return row
        if self._whole is not None:
            return whole
        return position if self.truth.in_order else row

    # ---- counts -----------------------------------------------------------------------------------

    def _check_count(self, count: int) -> None:
        if self.truth.in_order and count != len(self.truth):
            raise LabelError(f"{len(self.truth)} rows of labels for {count} recordings", field="y")
        if self.recordings is not None and count != len(self.recordings):
            raise LabelError(f"{len(self.recordings)} values for {count} inputs", field="recordings")

    def _check_rows(self, files: int, recordings: int) -> None:
        """Refuse a label file that evidently has a row per segment: it would be read by the recordings' numbers."""
        truth = self.truth
        if truth.by_idx and truth.whole and recordings < files == len(truth):
            raise LabelError(
                f"it has a row for each of the {files} segments, which are of {recordings} recordings; rows are taken "
                "by the number idx of a segment's recording",
                path=truth.source,
                field="y",
                remedy="Give its array for rows in the order of the manifest, or a table with a column idx",
            )


def _is_batch(inputs: Any) -> bool:
    return hasattr(inputs, "__array__") and not isinstance(inputs, Segments) and np.ndim(inputs) == 3


def _prepared(x: Any, spec: InputSpec) -> list[Segments]:
    """The rows of prepared segments (n, 12, N), each a recording."""
    x = real_array(x, "x")
    warn_unprepared(x, spec, what="evaluate", stacklevel=6)
    return [Segments(np.asarray(x[i : i + 1], dtype=np.float32), np.zeros(1)) for i in range(len(x))]

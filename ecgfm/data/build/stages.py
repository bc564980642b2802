"""The files of one recording: ``org/``, ``preprocessed/``, ``segmented/``; written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._text import short, table_cell
from ...errors import ConfigError, Error, FormatError, SignalError, is_defect
from ...kernels import core
from ...signal.leads import LEADS
from ...storage.mat import mat_bytes, number, read_mat
from ..recording import Options, Prepared, describe, prepare_recording
from ..sources.base import Recording, Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["STAGES", "Row", "Stages", "WriteFailed", "has_size", "segment_name", "stage_names", "stamps"]

Row = dict[str, Any]  # of records.csv, located and numbered

STAGES = ("org", "preprocessed", "segmented")
_MOST_ERROR, _MOST_READER = 1500, 600  # characters of a reason, and of what a reader raises


class WriteFailed(Exception):
    """The disk is full or can't be written to: a reason to end the run, not to skip a recording."""


def stage_names(names: Iterable[str], field: str) -> frozenset[str]:
    """A set of stages, as an argument names them."""
    wanted = frozenset(names)
    if wanted - set(STAGES):
        raise ConfigError(
            f"no stage is called {', '.join(sorted(wanted - set(STAGES)))}",
            field=field,
            remedy=f"There are {', '.join(STAGES)}",
        )
    return wanted


def has_size(path: str, size: int) -> bool:
    """Whether there is a file of this size."""
    try:
        return os.path.getsize(path) == size
    except OSError:
        return False


def stamps(paths: Iterable[str]) -> list[list[int] | None]:
    """What tells whether files have changed: [bytes, time of the last change in ns] of each; None where it isn't."""
    found: list[list[int] | None] = []
    for path in paths:
        try:
            about = os.stat(path)
            found.append([about.st_size, about.st_mtime_ns])
        except (OSError, ValueError):
            found.append(None)
    return found


def segment_name(save_file: str, number: int) -> str:
    """The name of a segment's file: ``a.mat`` and 0 give ``a_0.mat``."""
    return f"{save_file[:-4]}_{number}.mat"


@dataclass
class Stages:
    """Takes a recording through the stages.

    Parameters
    ----------
    source : Source
    options : Options
    folder : str
        The root of what is written.
    written : set of str
        Stages whose files are written.
    skipped : set of str
        Stages that are not run: their files are there already.
    temporary : str
        Where files lie that are not whole yet, on the same file system; the process's number is added.
    """

    source: Source
    options: Options
    folder: str
    written: frozenset[str]
    skipped: frozenset[str]
    temporary: str

    def run(self, row: Row, keep: bool = False) -> tuple[dict[str, Any], NDArray[np.float32] | None]:
        """What became of a located row; with `keep`, also its segments.

        Returns
        -------
        line : dict
            For the journal: ``meta`` (text by column; None if it is not known), ``segments`` (how many), ``files``
            (stage -> bytes of each of its files), ``tables``, ``raw`` (see `stamps`); or ``error`` and ``stage``.
        segments : ndarray or None
            (n, leads, samples) float32, if they are to be kept.
        """
        self._stage = "org"
        try:
            raw = stamps(self.source.files(row)) if "org" not in self.skipped else None
            line, segments = self._run(row, keep)
            return ({**line, "raw": raw} if raw else line), segments
        except MemoryError as error:
            text = f"not enough memory{f': {error}' if str(error) else ''}"
        except OSError as error:
            text = f"can't be read: {error.strerror or error}"
        except Error as error:
            text = str(error)
        return {"error": " ".join(short(text, _MOST_ERROR).split()), "stage": self._stage}, None

    def _run(self, row: Row, keep: bool) -> tuple[dict[str, Any], NDArray[np.float32] | None]:
        idx, name = int(row["idx"]), row["save_file"]
        files: dict[str, int] = {}
        meta: dict[str, str] | None = None
        tables: dict[str, Any] = {}
        prepared: Any = None
        if not {"org", "preprocessed"} <= self.skipped:
            fields, prepared, meta, tables = self._org(row, idx)
            if "org" in self.written and "org" not in self.skipped:
                files["org"] = self._write("org", name, {**fields, "feats": prepared.org.T, "idx": idx})
        self._stage = "preprocessed"
        if "preprocessed" in self.skipped:
            if "segmented" in self.skipped:
                return _line(meta, 0, files, tables), None
            fields, x = self._stored(name, idx)
        else:
            x = prepared.x
            fields = {
                **fields,
                "curr_sample_rate": self.options.sample_rate,
                "curr_sample_size": len(x),
                "feats": x.T,
                "idx": idx,
            }
            if prepared.mean is not None:
                fields |= {"mean": prepared.mean[:, None], "std": prepared.std[:, None]}
            elif self.options.factor != 1:
                fields["units_per_mV"] = self.options.factor
            if "preprocessed" in self.written:
                files["preprocessed"] = self._write("preprocessed", name, fields)
        if "segmented" in self.skipped:
            return _line(meta, 0, files, tables), None
        self._stage = "segmented"
        size, parts = self.options.segment_samples, self.options.segments(x)
        if "segmented" in self.written:
            files["segmented"] = 0
            for i, (values, more) in enumerate(parts):
                part = {**fields, "curr_sample_size": size, "feats": values.T, "segment_i": i, **more}
                files["segmented"] = self._write("segmented", segment_name(name, i), part)
        return _line(meta, len(parts), files, tables), self._kept(x, parts) if keep and parts else None

    def _kept(self, x: NDArray[np.float64], parts: Sequence[tuple[NDArray[np.float64], Any]]) -> NDArray[np.float32]:
        """The segments as float32, (n, leads, samples)."""
        size = self.options.segment_samples
        if self.options.input is None:
            return np.asarray(core().cut(x, size))
        return np.concatenate([core().cut(np.ascontiguousarray(part), size) for part, _ in parts])

    def _org(self, row: Row, idx: int) -> tuple[dict[str, Any], Prepared, dict[str, str], dict[str, Any]]:
        """The fields of the org file without the signal, the `Prepared` recording, its meta and further tables."""
        found = self._extracted(row["save_file"], idx) if "org" in self.skipped else self._read(row)
        rate = int(found.rate) if float(found.rate).is_integer() else float(found.rate)
        prepared = prepare_recording(
            found.feats, rate, found.names, self.options, path=row["path"], standardised=found.standardised
        )
        size = len(prepared.org)
        leads = describe(prepared.org.T, self.options.lead_names)
        if not np.isfinite([leads[f"mean_{i}"] for i in range(prepared.org.shape[1])]).all():
            infinite = np.flatnonzero(np.isinf(prepared.org).any(axis=0))
            if len(infinite):
                name = self.options.lead_names[infinite[0]]
                raise SignalError("infinite values", path=row["path"], field=f"lead {name}")
        about = {
            "lead_order": str(self.options.lead_names),
            "sample_rate": rate,
            "sample_size": size,
            "avail_leads": str(prepared.available),
            **leads,
            "derived_leads": str([*found.derived, *prepared.derived]),
            **found.meta,
        }
        meta = {
            key: "" if value is None else table_cell(value) if isinstance(value, str) else str(value)
            for key, value in about.items()
        }
        tables = {
            name: [
                {key: table_cell(value) if isinstance(value, str) else value for key, value in one.items()}
                for one in rows
            ]
            for name, rows in found.tables.items()
        }
        fields = {"org_sample_rate": rate, "curr_sample_rate": rate, "org_sample_size": size, "curr_sample_size": size}
        return fields, prepared, meta, tables

    def _read(self, row: Row) -> Recording:
        """What the source gives; whatever a library or a user's own reader raises is an error of the recording."""
        try:
            return self.source.read(row)
        except (Error, OSError, MemoryError, Warning):
            raise
        except Exception as error:
            doubt = "; if the file is right, this is a defect of ecgfm" if is_defect(error) else ""
            text = short(f"{type(error).__name__}: {error}", _MOST_READER)
            raise FormatError(f"cannot be read: {text}{doubt}", path=row["path"]) from error

    def _extracted(self, name: str, idx: int) -> Recording:
        """The recording in an org file."""
        path, fields = self._checked("org", name, idx)
        count, feats = len(self.options.leads), fields["feats"]
        if len(feats) not in (count, len(LEADS)):
            raise SignalError(f"{len(feats)} leads, {count} are wanted", path=path, field="feats")
        names = self.options.lead_names if len(feats) == count else LEADS
        return Recording(feats, number(fields, "curr_sample_rate", path), names)

    def _stored(self, name: str, idx: int) -> tuple[dict[str, Any], NDArray[np.float64]]:
        """The fields of a preprocessed file and its signal, (samples, leads)."""
        path, fields = self._checked("preprocessed", name, idx)
        rate = number(fields, "curr_sample_rate", path)
        if rate != self.options.sample_rate:
            raise SignalError(f"{rate:g} Hz, not {self.options.sample_rate:g}", path=path, field="curr_sample_rate")
        return fields, np.ascontiguousarray(fields["feats"].T, dtype=np.float64)

    def _checked(self, stage: str, name: str, idx: int) -> tuple[str, dict[str, Any]]:
        """The path of an earlier stage's file, and its fields."""
        path = os.path.join(self.folder, stage, name)
        if not os.path.exists(path):
            raise SignalError("no such file; the stage that makes it was skipped", path=path)
        fields = read_mat(path)
        if "feats" not in fields:
            raise SignalError("the file holds no such array", path=path, field="feats")
        of = number(fields, "idx", path)
        if of != idx:
            raise SignalError(f"the file is that of {of}, not of {idx}", path=path, field="idx")
        return path, fields

    def _write(self, stage: str, name: str, fields: dict[str, Any]) -> int:
        """Write a file and return its size."""
        path = os.path.join(self.folder, stage, name)
        try:
            temporary = f"{self.temporary}{os.getpid()}"
            with open(temporary, "wb") as file:
                file.writelines(mat_bytes(fields))
                size = file.tell()
            os.replace(temporary, path)
        except OSError as error:
            raise WriteFailed(f"{path}: can't be written: {error.strerror or error}") from None
        return size

    def expected(self, row: Row, line: dict[str, Any]) -> Iterator[tuple[str, int]]:
        """(path, bytes) of each file that a journal's line tells of."""
        name = row["save_file"]
        for stage, size in line["files"].items():
            segments = (segment_name(name, i) for i in range(line["segments"]))  # one by one: the count may be a lie
            for part in segments if stage == "segmented" else [name]:
                yield os.path.join(self.folder, stage, part), size


def _line(meta: dict[str, str] | None, count: int, files: dict[str, int], tables: dict[str, Any]) -> dict[str, Any]:
    return {"meta": meta, "segments": count, "files": files, **({"tables": tables} if tables else {})}

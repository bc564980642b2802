"""The log of a run: lines for people or programs, CSV files in the run's directory, and what plugs into them."""

from __future__ import annotations

import json
import math
import os
import stat
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TextIO

from .._text import is_terminal, printable, short
from ..errors import ConfigError, MissingExtraError
from ..storage.rows import AppendedRows
from .settings import Report

__all__ = ["CsvLog", "Log"]

_MOST_SAID = 2_000


class Log:
    """Says what happens, on standard output and where else it is wanted.

    Parameters
    ----------
    report : Report
        Says how.
    folder : str
        The run's directory: CSV files stand there.
    quiet : bool
        Say nothing: for all ranks but the first.
    """

    def __init__(self, report: Report, folder: str | None, *, quiet: bool = False) -> None:
        self.format = report.log_format
        if self.format == "tqdm" and (report.no_progress_bar or not is_terminal(sys.stderr)):
            self.format = "simple"
        self.quiet = quiet
        self._csv = CsvLog(folder) if self.format == "csv" and folder is not None and not quiet else None
        self._file = _opened(report.log_file) if report.log_file and not quiet else None
        self._bar = False
        self._others = [] if quiet else self._make_others(report)

    def _make_others(self, report: Report) -> list[Any]:
        """Functions of (tag, step, stats) for what else records a run."""
        found: list[Any] = []
        if report.tensorboard_logdir:
            found.append(_Tensorboard(report.tensorboard_logdir))
        if report.wandb_project:
            try:
                found.append(_Wandb(report))
            except ImportError:
                self.say("wandb is not installed: common.wandb_project is not used; pip install wandb")
        return found

    def say(self, text: str, tag: str = "ecgfm") -> None:
        """One line."""
        if self.quiet:
            return
        text = printable(short(text, _MOST_SAID))
        line = f"[{time.strftime('%Y-%m-%d %H:%M:%S')}][{tag}] - {text}"
        self._clear()
        print(line, flush=True)
        if self._file is not None:
            print(line, file=self._file, flush=True)

    def inner(self, stats: Mapping[str, Any], epoch: int, done: int, updates: int) -> None:
        """What the last updates gave. ``done`` of the epoch's ``updates`` are done."""
        if self.quiet:
            return
        if self.format == "json":
            said = {"epoch": epoch, "update": round(epoch - 1 + done / max(updates, 1), 3), **_texts(stats)}
            self.say(json.dumps(said), "train_inner")
        elif self.format == "tqdm":
            self._bar = True
            text = f"epoch {epoch:03d}: {done}/{updates} loss={_text(stats['loss'])} lr={_text(stats['lr'])}"
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
        elif self.format != "none":
            self.say(f"epoch {epoch:03d}: {done:6d} / {updates} {_joined(stats)}", "train_inner")
        self._record("train_inner", stats)

    def total(self, tag: str, stats: Mapping[str, Any], epoch: int) -> None:
        """What an epoch or a validation gave."""
        if self.quiet:
            return
        if self.format == "json":
            self.say(
                json.dumps({"epoch": epoch, **{f"{tag}_{name}": text for name, text in _texts(stats).items()}}), tag
            )
        elif self.format != "none":
            self.say(f"epoch {epoch:03d} | {_joined(stats)}", tag)
        self._record(tag, stats)

    def labels(self, tag: str, step: int, rows: Iterable[tuple[Any, ...]]) -> None:
        """AUROC and average precision of each label in a validation: ``<tag>_labels.csv``."""
        if self._csv is None:
            return
        for name, positives, auroc, auprc in rows:
            self._csv.write(
                f"{tag}_labels", step, {"label": name, "positives": positives, "auroc": auroc, "auprc": auprc}
            )

    def _record(self, tag: str, given: Mapping[str, Any]) -> None:
        stats = dict(given)
        step = stats.pop("num_updates")
        if self._csv is not None:
            kept = {name for name in stats if not name.endswith("_macro") or f"best_{name}" in stats}
            self._csv.write(tag, step, {name: value for name, value in stats.items() if name in kept})
        for other in self._others:
            other(tag, step, stats)

    def _clear(self) -> None:
        if self._bar:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._bar = False

    def close(self) -> None:
        """Close the files."""
        self._clear()
        if self._file is not None:
            self._file.close()
        for other in self._others:
            if hasattr(other, "close"):
                other.close()


@dataclass(eq=False)
class CsvLog:
    """CSV files with the column ``step`` first, a row appended at a time.

    A run that goes on after an earlier one takes the rows of later steps out: they are of updates that were lost.
    """

    folder: str
    files: dict[str, AppendedRows] = field(default_factory=dict)

    def path(self, tag: str) -> str:
        return os.path.join(self.folder, f"{tag}.csv")

    def write(self, tag: str, step: int, values: Mapping[str, Any]) -> None:
        """Append a row; a value that the file has no column for is added as a new one."""
        if tag not in self.files:
            self.files[tag] = AppendedRows(self.path(tag))
        self.files[tag].append({"step": step, **{name: _cell(value) for name, value in values.items()}})

    def forget_after(self, step: int, again: Sequence[str] = ()) -> None:
        """Drop all rows of later steps, and a line that was cut off in the middle.

        Parameters
        ----------
        step : int
        again : sequence of str
            Tags whose row of `step` itself is dropped, too: it will be written again.
        """
        for name in sorted(os.listdir(self.folder)) if os.path.isdir(self.folder) else ():
            tag, suffix = os.path.splitext(name)
            if suffix != ".csv" or not os.path.isfile(self.path(tag)):
                continue
            file, last = AppendedRows(self.path(tag)), step - 1 if tag in again else step
            if file.columns[:1] == ["step"]:
                file.keep(partial(_until, last))


def _until(last: int, row: Mapping[str, Any]) -> bool:
    """Whether a row is of a step up to that one."""
    try:
        return int(row["step"]) <= last
    except (TypeError, ValueError):
        return False


def _cell(value: Any) -> Any:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _texts(stats: Mapping[str, Any]) -> dict[str, str]:
    return {name: _text(value) for name, value in stats.items()}


def _joined(stats: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_text(value)}" for name, value in stats.items())


def _opened(path: str) -> TextIO:
    try:
        if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):
            raise ConfigError("not a regular file", path=path, field="common.log_file")
        return open(path, "a", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise ConfigError(f"can't be written: {error.strerror}", path=path, field="common.log_file") from None


class _Tensorboard:
    def __init__(self, folder: str) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise MissingExtraError(
                "tensorboardX is not installed", field="common.tensorboard_logdir", remedy="pip install tensorboardX"
            ) from None
        self._make, self._folder = SummaryWriter, folder
        self._writers: dict[str, Any] = {}

    def __call__(self, tag: str, step: int, stats: Mapping[str, Any]) -> None:
        if tag not in self._writers:
            self._writers[tag] = self._make(os.path.join(self._folder, tag))
        for name, value in stats.items():
            if isinstance(value, (int, float)):
                self._writers[tag].add_scalar(name, value, step)
        self._writers[tag].flush()

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()


class _Wandb:
    def __init__(self, report: Report) -> None:
        import wandb

        self._wandb = wandb
        wandb.init(
            project=report.wandb_project, entity=report.wandb_entity, config=dict(report.wandb_config), reinit=False
        )

    def __call__(self, tag: str, step: int, stats: Mapping[str, Any]) -> None:
        self._wandb.log({f"{tag}/{name}": value for name, value in stats.items()}, step=step)

    def close(self) -> None:
        self._wandb.finish()

"""The log of a run: lines for people or programs, CSV files in the run's directory, and what plugs into them."""

import csv
import json
import math
import os
import sys
import time

from .._files import replacing
from ..errors import ConfigError, FormatError, MissingExtraError

__all__ = ["FORMATS", "CsvLog", "Log"]

FORMATS = ("json", "simple", "csv", "tqdm", "none")


class Log:
    """Says what happens, on standard output and where else it is wanted.

    Parameters
    ----------
    run : Run
        Its group ``common`` says how.
    folder : str
        The run's directory: CSV files stand there.
    quiet : bool
        Say nothing: for all ranks but the first.
    """

    def __init__(self, run, folder, *, quiet=False):
        common = run["common"]
        self.format = common["log_format"] or "tqdm"
        if self.format not in FORMATS:
            raise ConfigError(f"{self.format!r} is not known", field="common.log_format", remedy=f"Give {', '.join(FORMATS)}")
        if self.format == "tqdm" and (common["no_progress_bar"] or not _terminal()):
            self.format = "simple"
        self.quiet = quiet
        self._csv = CsvLog(folder) if self.format == "csv" and not quiet else None
        self._file = _opened(common["log_file"]) if common["log_file"] and not quiet else None
        self._others = [] if quiet else _others(common, run)
        self._bar = False

    def say(self, text, tag="ecgfm"):
        """One line."""
        if self.quiet:
            return
        line = f"[{time.strftime('%Y-%m-%d %H:%M:%S')}][{tag}] - {text}"
        self._clear()
        print(line, flush=True)
        if self._file is not None:
            print(line, file=self._file, flush=True)

    def inner(self, stats, epoch, done, updates):
        """What the last updates gave. ``done`` of the epoch's ``updates`` are done."""
        if self.quiet:
            return
        if self.format == "json":
            told = {"epoch": epoch, "update": round(epoch - 1 + done / max(updates, 1), 3), **_texts(stats)}
            self.say(json.dumps(told), "train_inner")
        elif self.format == "tqdm":
            self._bar = True
            text = f"epoch {epoch:03d}: {done}/{updates} loss={_text(stats['loss'])} lr={_text(stats['lr'])}"
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
        elif self.format != "none":
            self.say(f"epoch {epoch:03d}: {done:6d} / {updates} {_joined(stats)}", "train_inner")
        self._record("train_inner", stats)

    def total(self, tag, stats, epoch):
        """What an epoch or a validation gave."""
        if self.quiet:
            return
        if self.format == "json":
            self.say(json.dumps({"epoch": epoch, **{f"{tag}_{name}": text for name, text in _texts(stats).items()}}), tag)
        elif self.format != "none":
            self.say(f"epoch {epoch:03d} | {_joined(stats)}", tag)
        self._record(tag, stats)

    def labels(self, tag, step, rows):
        """AUROC and average precision of each label in a validation: ``<tag>_labels.csv``."""
        if self._csv is None:
            return
        for name, positives, auroc, auprc in rows:
            self._csv.write(f"{tag}_labels", step, {"label": name, "positives": positives, "auroc": auroc, "auprc": auprc})

    def _record(self, tag, stats):
        stats = dict(stats)
        step = stats.pop("num_updates")
        if self._csv is not None:
            kept = {name for name in stats if not name.endswith("_macro") or f"best_{name}" in stats}
            self._csv.write(tag, step, {name: value for name, value in stats.items() if name in kept})
        for other in self._others:
            other(tag, step, stats)

    def _clear(self):
        if self._bar:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._bar = False

    def close(self):
        """Close the files."""
        self._clear()
        if self._file is not None:
            self._file.close()
        for other in self._others:
            if hasattr(other, "close"):
                other.close()


class CsvLog:
    """CSV files with the column ``step`` first, a row appended at a time.

    A run that goes on after an earlier one takes the rows of later steps out: they are of updates that were lost.
    """

    def __init__(self, folder):
        self._folder = folder
        self._columns = {}

    def path(self, tag):
        return os.path.join(self._folder, f"{tag}.csv")

    def write(self, tag, step, values):
        """Append a row; a value that the file has no column for is added as a new one."""
        columns = self._columns.get(tag)
        rows = None
        if columns is None:
            columns, rows = self._read(tag)
        if columns is None:
            columns, rows = ["step", *values], []
        new = [name for name in values if name not in columns]
        if new:
            columns, rows = [*columns, *new], self._read(tag)[1] if rows is None else rows
        row = {"step": step, **{name: _cell(value) for name, value in values.items()}}
        path = self.path(tag)
        if new or not os.path.exists(path):
            _rewrite(path, columns, [*(rows or []), row])
        else:
            with open(path, "a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, columns, restval="", lineterminator="\n").writerow(row)
        self._columns[tag] = columns

    def forget_after(self, step):
        """Drop all rows of later steps, and a line that was cut off in the middle."""
        for name in sorted(os.listdir(self._folder)) if os.path.isdir(self._folder) else ():
            tag, suffix = os.path.splitext(name)
            if suffix != ".csv":
                continue
            columns, rows = self._read(tag)
            if columns is None or columns[0] != "step":
                continue
            kept = [row for row in rows if _step(row) is not None and _step(row) <= step and None not in row.values()]
            if len(kept) < len(rows):
                _rewrite(self.path(tag), columns, kept)

    def _read(self, tag):
        try:
            with open(self.path(tag), newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                rows = [row for row in reader if None not in row]
                return (list(reader.fieldnames) if reader.fieldnames else None), rows
        except FileNotFoundError:
            return None, []
        except (csv.Error, UnicodeDecodeError) as error:
            raise FormatError(f"not a log of ours: {error}", path=self.path(tag), remedy="Move it away") from None


def _step(row):
    try:
        return int(row["step"])
    except (TypeError, ValueError):
        return None


def _rewrite(path, columns, rows):
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def _cell(value):
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value


def _text(value):
    return f"{value:g}" if isinstance(value, float) else str(value)


def _texts(stats):
    return {name: _text(value) for name, value in stats.items()}


def _joined(stats):
    return ", ".join(f"{name}={_text(value)}" for name, value in stats.items())


def _terminal():
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):
        return False


def _opened(path):
    try:
        return open(path, "a", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"can't be written: {error.strerror}", path=path, field="common.log_file") from None


def _others(common, run):
    """Functions of (tag, step, stats) for what else records a run."""
    found = []
    if common.get("tensorboard_logdir"):
        found.append(_Tensorboard(common["tensorboard_logdir"]))
    if common["wandb_project"]:
        found.append(_Wandb(common, run))
    return found


class _Tensorboard:
    def __init__(self, folder):
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise MissingExtraError(
                "tensorboardX is not installed", field="common.tensorboard_logdir", remedy="pip install tensorboardX"
            ) from None
        self._make, self._folder, self._writers = SummaryWriter, folder, {}

    def __call__(self, tag, step, stats):
        if tag not in self._writers:
            self._writers[tag] = self._make(os.path.join(self._folder, tag))
        for name, value in stats.items():
            if isinstance(value, (int, float)):
                self._writers[tag].add_scalar(name, value, step)
        self._writers[tag].flush()

    def close(self):
        for writer in self._writers.values():
            writer.close()


class _Wandb:
    def __init__(self, common, run):
        try:
            import wandb
        except ImportError:
            raise MissingExtraError(
                "wandb is not installed", field="common.wandb_project", remedy="pip install wandb"
            ) from None
        self._wandb = wandb
        wandb.init(project=common["wandb_project"], entity=common["wandb_entity"], config=dict(run), reinit=False)

    def __call__(self, tag, step, stats):
        self._wandb.log({f"{tag}/{name}": value for name, value in stats.items()}, step=step)

    def close(self):
        self._wandb.finish()

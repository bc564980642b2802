"""What the commands that run recordings through a model have in common."""

from __future__ import annotations

import atexit
import os
import sys
import time
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from .._text import is_terminal, printable, short_path
from .._types import StrPath
from ..checkpoint.labels import assumption
from ..errors import Error, InputWarning
from ..inference.opening import input_of
from ..inference.result import seconds, without_path
from ..table import check_ending
from .doubts import Doubts

if TYPE_CHECKING:
    from ..inference.write import Written

__all__ = [
    "Bar",
    "Skipped",
    "Work",
    "caveats",
    "check_folder",
    "check_out",
    "counted",
    "loaded",
    "open_model",
    "saying_warnings",
]

UNNAMED = "The model has no label names: label_0 ... are its outputs in order (name them with --labels)."


def counted(number: int, what: str) -> str:
    """``3 recordings``, ``1 recording``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def caveats(model: Any, labels: bool = False) -> list[str]:
    """What must be known of a model by who reads its answers, a line each; with `labels`, also of their names."""
    said = getattr(model, "caveat", None)
    lines = [] if said is None else [f"{printable(said).rstrip('.')}."]
    if getattr(model, "input_assumed", False):
        lines.append(f"Input is assumed: {model.input} (--input says otherwise).")
    if labels:
        if model.labels is None:
            lines.append(UNNAMED)
        elif model.labels_assumed:
            lines.append(f"{assumption(model.labels)} (--labels names others).")
    return lines


def loaded(source: StrPath, args: Namespace, labels: str | None = None) -> Any:
    """The model, in the precision that was asked for; says on stderr what there is to be said of that."""
    from .. import load

    with saying_warnings():
        warnings.filterwarnings("ignore", "Label names are assumed", InputWarning)  # which the command says itself
        model = load(source, labels=labels, precision=args.precision, max_change=args.max_change,
                     input=getattr(args, "input", None))  # fmt: skip
    if model.precision_reason is not None:
        print(f"ecgfm: {printable(model.precision_reason)}.", file=sys.stderr, flush=True)
    return model


def open_model(args: Namespace) -> Any:
    """The model, with the threads that were asked for.

    Where a launcher such as mpiexec started several ranks, the first of them gets a model that all share. The others
    compute for it and end here.
    """
    from .. import set_num_threads
    from ..ranks import communicator

    ranks = communicator()
    if args.threads is not None:
        set_num_threads(args.threads)
    model = loaded(args.checkpoint, args, getattr(args, "labels", None))
    if ranks.size == 1:
        return model

    from ..inference.shared import SharedModel, serve

    if ranks.rank > 0:
        serve(model, ranks)
        sys.exit()
    args.batch_size *= ranks.size
    shared = SharedModel(model, ranks)
    atexit.register(shared.close)  # however the command ends
    return shared


@contextmanager
def saying_warnings(before: Callable[[], None] | None = None) -> Iterator[None]:
    """Print what `ecgfm.InputWarning` says in the block on stderr, a line each; other warnings stay as they are.

    `before` is called before each line. The same text is said once.
    """
    said = set()
    shown = warnings.showwarning

    def say(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, InputWarning):
            text = printable(message)
            if text in said:
                return
            said.add(text)
            if before is not None:
                before()
            print(f"ecgfm: {text}", file=sys.stderr, flush=True)
        else:
            shown(message, category, *where, **more)

    with warnings.catch_warnings():
        warnings.simplefilter("always", InputWarning)
        warnings.showwarning = say
        yield


class Skipped:
    """Says on stderr which recordings are skipped, and why.

    The first is held back until it is known that it isn't the only one: of that the command's error speaks.
    """

    def __init__(self, bar: Bar | None = None, debug: bool = False) -> None:
        self.errors: list[tuple[str, Error]] = []
        self.first: Error | None = None
        self._held: str | None = None
        self._bar, self._debug = bar, debug

    @property
    def count(self) -> int:
        """int: how many were skipped."""
        return len(self.errors)

    def __call__(self, file: str, error: Error) -> None:
        self.errors.append((file, error))
        text = f"ecgfm: skipped: {printable(short_path(str(file)))}: {printable(without_path(error))}"
        trace = getattr(error, "debug", "") if self._debug else ""
        text = "\n".join([*map(printable, trace.splitlines()), text])
        if self.count == 1:
            self.first, self._held = error, text
        else:
            self.report()
            self._say(text)

    def report(self) -> None:
        """Say what was held back."""
        if self._held is not None:
            self._say(self._held)
            self._held = None

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.clear()
        print(text, file=sys.stderr, flush=True)


class Bar:
    """A line on the terminal that says how far a command has come; elsewhere nothing.

    Parameters
    ----------
    total : int
        Recordings in all.
    """

    _EVERY_S = 0.2

    def __init__(self, total: int, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream or sys.stderr, clock
        self.total, self._shown = total, False
        self._began, self._last = clock(), float("-inf")
        self._first: int | None = None

    @staticmethod
    def wanted(stream: TextIO | None = None) -> bool:
        """Whether there is a terminal to draw on."""
        return is_terminal(stream or sys.stderr)

    def __call__(self, done: int, file: object) -> None:
        """`done` recordings are done, the last of them `file`."""
        now = self._clock()
        if self._first is None:
            self._first = done - 1  # those of an earlier run took no time
        if now - self._last < self._EVERY_S and done < self.total:
            return
        self._last, self._shown = now, True
        rate = (done - self._first) / max(now - self._began, 1e-9)
        share = min(done / max(self.total, 1), 1.0)
        filled = int(share * 24)
        left = _duration((self.total - done) / rate) if rate else "?"
        bar = f"[{'#' * filled}{'.' * (24 - filled)}]"
        self._stream.write(f"\r\x1b[K{bar} {done:,} of {self.total:,} recordings, {rate:.1f}/s, {left} left")
        self._stream.flush()

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._shown, self._last = False, float("-inf")


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def check_out(path: StrPath, inputs: Sequence[str] = (), suffixes: Sequence[str] = (), field: str = "--out") -> None:
    """Find out before the work whether its result can be written; the directory is made.

    Parameters
    ----------
    path : str
    inputs : sequence of str
        Files that are read, none of which it may be.
    suffixes : sequence of str
        How the name may end, which decides what is written.
    field : str
        The option that names the path.

    Raises
    ------
    Error
        If the path is a directory, is one of the inputs, doesn't end as it must, or its directory can't be made.
    """
    if any(os.path.exists(one) and os.path.exists(path) and os.path.samefile(one, path) for one in inputs):
        raise Error("is one of the recordings", path=path, field=field, remedy="Name another file")
    if os.path.isdir(path):
        raise Error("a directory, not a file", path=path, field=field, remedy="Name a file such as preds.csv")
    if suffixes:
        check_ending(path, suffixes, field)
    check_folder(os.path.dirname(os.path.abspath(path)), field)


def check_folder(path: StrPath, field: str) -> None:
    """Make a directory if it isn't there.

    Raises
    ------
    Error
        If it can't be made, or not be written to.
    """
    try:
        os.makedirs(path, exist_ok=True)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise Error(f"the directory can't be made: {why}", path=path, field=field) from None
    if not os.access(path, os.W_OK):
        raise Error("the directory can't be written to", path=path, field=field)


def again(written: Written) -> list[str]:
    """Lines on what an earlier run has done."""
    lines = []
    if written.resumed:
        lines.append(f"{written.resumed:,} of the recordings had been done before.")
    if written.dropped:
        lines.append(
            f"{counted(written.dropped, 'recording')} of the earlier run left out: changed since, or not among the"
            " files."
        )
    return lines


class Work:
    """The recordings that a command works on: prints which are skipped, and how far it has come.

    A context manager. If none could be done, the error of the only recording stays what it is; of several, one line for
    all is raised.

    Parameters
    ----------
    files : sequence of str
    out : str, optional
        A file that grows and can be continued. A message says so when the command is broken off.
    debug : bool
        Of defects of ecgfm that recordings were skipped for, the traceback is shown.
    on_done : callable, optional
        Gets what became of each recording that is written.

    Attributes
    ----------
    doubts : Doubts
        What is doubtful or was assumed about the recordings.
    """

    def __init__(
        self,
        files: Sequence[str],
        out: str | None = None,
        *,
        debug: bool = False,
        on_done: Callable[[Any], object] | None = None,
    ) -> None:
        from ..io.ignored import nothing_said
        from ..io.inputs import expand

        self._out, self._on_done = out, on_done
        self.bar = Bar(len(list(expand(files, nothing_said)))) if Bar.wanted() else None
        self.skipped, self.doubts = Skipped(self.bar, debug), Doubts()

    @property
    def options(self) -> dict[str, Any]:
        """What to give `ecgfm.predict` and its like."""
        return {"on_error": self.skipped, "progress": self.bar}

    def done(self, one: Any) -> None:
        """To be called with what became of each recording, as `on_done` of `predict_to` and its like."""
        self.doubts.add(one.file, one.provenance)
        if self._on_done is not None:
            self._on_done(one)

    def say_written(self, written: Written, model: Any) -> None:
        """Print what was written, what is doubtful about it."""
        length = seconds(input_of(model))
        print(f"{counted(written.records, 'recording')}, {counted(written.segments, 'segment')} of {length}")
        print(f"Written: {', '.join(map(printable, written.paths))}")
        print("".join(f"{line}\n" for line in [*again(written), *self.doubts.lines()]), end="")

    @property
    def status(self) -> int:
        """int: the exit status."""
        return 1 if self.skipped.count else 0

    def __enter__(self) -> Work:
        self._saying = saying_warnings(self.bar.clear if self.bar else None)
        self._saying.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._saying.__exit__(None, None, None)
        if self.bar is not None:
            self.bar.clear()
        if kind is None:
            self.skipped.report()
        elif not isinstance(error, Exception):  # Ctrl-C, SIGTERM
            if self._out is not None and os.path.exists(f"{os.path.realpath(self._out)}.part"):
                print("ecgfm: what is done is kept; --resume does the rest", file=sys.stderr, flush=True)
        elif error is self.skipped.first and self.skipped.count > 1:
            raise Error(f"none of the {self.skipped.count} recordings could be read") from None

"""``ecgfm COMMAND ...``: finds the command, runs it, and turns what goes wrong into one line and an exit status."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from types import FrameType
from typing import Any, NoReturn

from .. import __version__
from .._text import printable
from ..errors import Error, defect
from ..ranks import communicator, ranks_started

__all__ = ["COMMANDS", "Parser", "main", "run_command"]

#: Command -> its module, which has `add_arguments(parser)`, `run(args) -> int`, and the help in its first line.
COMMANDS = {
    "demo": "ecgfm.cli.demo",
    "predict": "ecgfm.cli.predict",
    "embed": "ecgfm.cli.embed",
    "saliency": "ecgfm.cli.saliency",
    "evaluate": "ecgfm.cli.evaluate",
    "compare": "ecgfm.cli.compare",
    "calibrate": "ecgfm.cli.calibrate",
    "finetune": "ecgfm.cli.finetune",
    "benchmark": "ecgfm.cli.benchmark",
    "models": "ecgfm.cli.models",
    "inspect": "ecgfm.cli.inspect",
    "convert": "ecgfm.cli.convert",
    "preprocess": "ecgfm.cli.preprocess",
    "label": "ecgfm.cli.label",
    "splits": "ecgfm.cli.splits",
    "labels": "ecgfm.cli.labels",
    "manifests": "ecgfm.cli.manifests",
    "subset": "ecgfm.cli.subset",
    "pack": "ecgfm.cli.pack",
    "speed": "ecgfm.cli.speed",
    "doctor": "ecgfm.cli.doctor",
}

DONE, COULD_NOT_RUN, DEFECT, INTERRUPTED, TERMINATED = 0, 2, 3, 130, 143


class _Terminated(BaseException):
    """SIGTERM, on its way through `finally` blocks."""


class Parser(argparse.ArgumentParser):
    """Reports what is wrong with the arguments in one line.

    Every command has ``--debug`` and takes each option with ``-`` or with ``_``.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.add_argument("--debug", action="store_true", help="show the traceback of an error")

    def error(self, message: str) -> NoReturn:
        raise Error(message, remedy=f"See {self.prog} --help")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        args = list(sys.argv[1:] if args is None else args)
        end = args.index("--") if "--" in args else len(args)
        return super().parse_known_args([*map(self._spelled, args[:end]), *args[end:]], namespace)

    def _spelled(self, argument: str) -> str:
        """An option as it is called here, where it was spelled with ``_`` for ``-`` or the other way round."""
        name, equals, value = argument.partition("=")
        known = self._option_string_actions
        if not name.startswith("--") or any(option.startswith(name) for option in known):
            return argument
        wanted = name[2:].replace("_", "-")
        found = [option for option in known if option[2:].replace("_", "-").startswith(wanted)]
        exact = [option for option in found if len(option) == len(name)]
        return (exact or found)[0][: len(name)] + equals + value if found else argument


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; by default those of the process.

    Returns
    -------
    int
        Exit status: 0 all done; 1 some inputs were skipped; 2 the command could not run; 3 a defect of ecgfm; 130
        Ctrl-C; 143 SIGTERM.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    return run_command(lambda: _run(argv), argv)


def run_command(function: Callable[[], int], argv: Sequence[str]) -> int:
    """What a command's function returns, its exit status; what goes wrong in it is said in one line.

    With ``--debug`` among the arguments, the traceback comes before that line.
    """
    debug = "--debug" in argv[: argv.index("--") if "--" in argv else None]
    restore = _answer_sigterm()
    try:
        status = function()
        if sys.stdout is not None:  # it is None where the process was started without one
            sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except _Terminated:
        return _fail("terminated", TERMINATED)
    except BrokenPipeError:
        _silence_stdout()
        return DONE
    except Exception as error:
        return _fail(*_said_of(error), _trace(error) if debug else "")
    finally:
        restore()


def _said_of(error: BaseException) -> tuple[str, int]:
    """The line and the exit status for what a command has raised."""
    if isinstance(error, (Error, ImportError)):  # an ImportError says what of the installation is missing
        return f"error: {error}", COULD_NOT_RUN
    if isinstance(error, MemoryError):
        text = str(error) or "not enough memory"
        remedy = "Give the model fewer segments at a time, or cut the recording into parts."
        return f"error: {text}. {remedy}", COULD_NOT_RUN
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"error: {where}{error.strerror or error}", COULD_NOT_RUN
    return f"error: {defect(error)}", DEFECT


def _trace(error: BaseException) -> str:
    return getattr(error, "debug", "") + "".join(traceback.format_exception(error))


def _run(argv: list[str]) -> int:
    while argv[:1] == ["--debug"]:
        argv = argv[1:]
    name = argv[0] if argv else "--help"
    if name in ("-h", "--help", "help"):
        print(_overview())
        return DONE
    if name == "--version":
        print(f"ecgfm {__version__}")
        return DONE
    if name not in COMMANDS:
        raise Error(f"there is no command {name!r}", remedy=f"The commands are {', '.join(COMMANDS)}")
    command = import_module(COMMANDS[name])
    parser = Parser(
        prog=f"ecgfm {name}", description=command.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_arguments(parser)
    try:
        args = parser.parse_args(argv[1:])
    except SystemExit as end:  # --help
        return int(end.code or 0)
    return int(command.run(args))


def _overview() -> str:
    lines = ["usage: ecgfm COMMAND ...", "", "ECG-FM on 12-lead ECGs. Not for clinical use.", ""]
    width = max(map(len, COMMANDS))
    for name, module in COMMANDS.items():
        first_line = (import_module(module).__doc__ or "").strip().splitlines()[0]
        lines.append(f"  {name:<{width}}  {first_line}")
    lines += ["", "ecgfm COMMAND --help tells more of one; ecgfm --version the version."]
    return "\n".join(lines)


def _fail(text: str, status: int, trace: str = "") -> int:
    """One line on stderr, whatever the text holds; if nobody can read it, the status must do.

    One of several ranks takes the others with it.
    """
    if trace:
        print("\n".join(map(printable, trace.rstrip("\n").split("\n"))), file=sys.stderr, flush=True)
    if ranks_started() > 1:
        communicator().end(status, f"ecgfm: {printable(text)}")
    try:
        print(f"ecgfm: {printable(text)}", file=sys.stderr, flush=True)
    except (OSError, ValueError, AttributeError):
        pass
    return status


def _answer_sigterm() -> Callable[[], object]:
    """Make SIGTERM end the command in good order; return what restores the old answer."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None

    def terminate(number: int, frame: FrameType | None) -> NoReturn:
        raise _Terminated

    old = signal.signal(signal.SIGTERM, terminate)
    return lambda: signal.signal(signal.SIGTERM, old if old is not None else signal.SIG_DFL)


def _silence_stdout() -> None:
    """The reader of stdout has gone: what is still to be flushed at the end goes nowhere."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError, AttributeError):  # stdout is no file, such as in a test
        pass

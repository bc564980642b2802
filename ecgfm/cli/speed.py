"""How fast a model runs on this machine: ms a segment, share of the processor's peak, memory, first answer.

Each precision that the processor supports is a process of its own; they take turns. The peak is measured in the same
turns: independent products of that precision in registers. Without MODEL and --size the small model that comes with the
package is timed. --accuracy says what each precision costs: the change of the labels' probabilities against float32.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .._text import printable
from ..errors import ConfigError
from ..specs.precision import PRECISIONS
from .arguments import Arguments, add
from .common import saying_warnings

if TYPE_CHECKING:
    from ..inference.speed import Speed

__all__ = ["add_arguments", "run"]

_COLUMNS = ("precision", "batch", "threads", "ms/segment", "min", "of peak", "x float32", "memory MB", "first answer s")
BUSY = "Other programs took part of the processors: these figures are not to be trusted."


ARGUMENTS: Arguments = {
    "checkpoint": {
        "metavar": "MODEL",
        "nargs": "?",
        "help": "checkpoint, model directory, known model (ecgfm models), or OWNER/NAME on the Hub",
    },
    "--size": {"choices": ("base", "large"), "help": "a model of this size with random weights"},
    "--precision": {
        "nargs": "+",
        "choices": PRECISIONS,
        "help": "number types of the matrix products (default: all that the processor supports)",
    },
    "--batch": {"nargs": "+", "type": int, "default": [1, 8], "metavar": "N", "help": "segments (default 1 8)"},
    "--threads": {"nargs": "+", "metavar": "N", "help": "numbers, or all (default 1 all)"},
    "--rounds": {"type": int, "metavar": "N", "help": "turns of each precision (default 5)"},
    "--seconds": {"type": float, "metavar": "S", "help": "length of a turn, at least one run (default 0.5)"},
    "--starts": {"type": int, "metavar": "N", "help": "fresh processes for the first answer (default 3)"},
    "--quick": {"action": "store_true", "help": "few and short turns, on all threads: a first idea"},
    "--accuracy": {"action": "store_true", "help": "also the change of the probabilities against float32"},
    "--keep": {
        "action": "store_true",
        "help": "for --accuracy: keep it in the model's directory, where --precision auto looks for it",
    },
    "--recordings": {"nargs": "+", "metavar": "FILE", "help": "for --accuracy (default: simulated recordings)"},
    "--json": {"action": "store_true", "help": "print JSON"},
}


def add_arguments(parser: ArgumentParser) -> None:
    add(parser, ARGUMENTS)


def run(args: Namespace) -> int:
    from ..inference.speed import accuracy, measure_speed
    from ..validation import Number, Whole, checked

    if args.recordings and not args.accuracy:
        raise ConfigError("they are looked at with --accuracy alone", field="--recordings")
    if args.keep and not (args.accuracy and args.checkpoint):
        raise ConfigError("there is nothing to keep, or no place", field="--keep", remedy="Give MODEL and --accuracy")
    rounds, seconds, starts = (2, 0.05, 1) if args.quick else (5, 0.5, 3)
    threads = _threads(args.threads or (["all"] if args.quick else ["1", "all"]))
    with _model(args) as (source, name):
        speed = measure_speed(
            source,
            name=name,
            precisions=args.precision,
            batches=[checked(n, Whole(1), "--batch") for n in args.batch],
            threads=threads,
            rounds=rounds if args.rounds is None else checked(args.rounds, Whole(1), "--rounds"),
            seconds=seconds if args.seconds is None else checked(args.seconds, Number(0), "--seconds"),
            starts=starts if args.starts is None else checked(args.starts, Whole(0), "--starts"),
            progress=_say if sys.stderr is not None and sys.stderr.isatty() else None,
        )
        measured = list(dict.fromkeys(row["precision"] for row in speed.rows))
        with saying_warnings():
            report = accuracy(source, measured, args.recordings) if args.accuracy else None
    if args.json:
        found = speed.to_dict() | ({} if report is None else {"accuracy": report.to_dict()})
        print(json.dumps(found, indent=1))
    else:
        lines = _page(speed) + ([] if report is None else ["", *str(report).split("\n")])
        print("\n".join(map(printable, lines)))
    if args.keep and report is not None:
        print(f"Kept: {printable(report.keep(args.checkpoint))}", file=sys.stderr)
    return 0


@contextmanager
def _model(args: Namespace) -> Iterator[tuple[str, str]]:
    """What is timed, and its name."""
    from ..inference.opening import shipped_model
    from ..inference.speed import random_model

    if args.checkpoint is not None and args.size is not None:
        raise ConfigError("MODEL has a size of its own", field="--size", remedy="Give one of the two")
    if args.checkpoint is not None:
        yield args.checkpoint, args.checkpoint
    elif args.size is not None:
        with random_model(args.size) as path:
            yield path, f"{args.size} (random weights)"
    else:
        with shipped_model() as path:
            yield str(path), "the shipped model"


def _threads(words: list[str]) -> list[int]:
    from ..kernels import core
    from ..validation import Whole, checked

    numbers = [core().processors() if word == "all" else int(word) if word.isdecimal() else word for word in words]
    return [checked(number, Whole(1), "--threads") for number in numbers]


def _say(text: str) -> None:
    print(f"ecgfm: {text}", file=sys.stderr, flush=True)


def _page(speed: Speed) -> list[str]:
    """The lines for people."""
    from ..machine import short_name

    has, model = speed.machine["processor"], speed.model
    lines = [
        f"{short_name(has['name'])}, {len(has['allowed'])} of {has['all']} processors, oneDNN"
        f" {speed.machine['onednn']['version']}",
        f"{model['name']}: {model['layers']} layers of {model['width']}, {model['parameters']:,} parameters,"
        f" {sum(model['operations'].values()) / 1e9:.3g} GFLOP a segment of {model['samples']:,} samples",
        "",
    ]
    table = [_COLUMNS, *map(_cells, speed.rows)]
    widths = [max(map(len, column)) for column in zip(*table)]
    for first, *rest in table:
        cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:])]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    lines += ["", *(f"{name}: {why}." for name, why in speed.absent.items())]
    return [*lines, *([BUSY] if speed.busy else []), speed.line()]


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    def cell(key: str, form: str) -> str:
        return "" if row.get(key) is None else format(row[key], form)

    return (
        row["precision"],
        str(row["batch"]),
        str(row["threads"]),
        cell("ms", ".4g"),
        cell("ms_min", ".4g"),
        cell("share_of_peak", ".0%"),
        cell("times_float32", ".2f"),
        cell("memory_mb", ".0f"),
        cell("first_answer_s", ".2f"),
    )

"""Published benchmarks: what a model reaches on PTB-XL's six tasks, in one command.

    ecgfm benchmark ptb-xl ptb-xl/ --model ecg-fm/pretrained --tasks all --share 1,10,100 --out bench

DIR holds PTB-XL or a part of it; what of it is there is said. Folds 1-8 train, 9 validates, 10 tests (or, where 10 is
absent, 1-7, 8 and 9). --tasks all is all six; a single one is named superdiagnostic and so on, the 71 statements
statements. Written: benchmark.md, .csv, .html and .json, and the embeddings, with which a run that was broken off goes
on. Needs the extra [train]. A recording that can't be read is reported and left out; the exit status is then 1.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from .._text import printable
from ..data.tables.ptb_xl import PTB_XL_TASKS, read_ptb_xl
from ..errors import ConfigError
from .arguments import INPUT, PRECISION, Arguments, add
from .common import Bar, Skipped, check_folder, check_out, loaded, saying_warnings

__all__ = ["add_arguments", "run"]

_STATEMENTS = "statements"  # the task of all statements, whose own name stands for all tasks here


PTB_XL: Arguments = {
    "folder": {"metavar": "DIR", "help": "ptbxl_database.csv, scp_statements.csv, records500/ or records100/"},
    "--model": {"metavar": "MODEL", "nargs": "+", "required": True, "help": "one or several, as for ecgfm embed"},
    "--out": {"metavar": "DIR", "required": True, "help": "folder to write to"},
    "--tasks": {
        "default": "all",
        "metavar": "A,B,...",
        "help": f"all (the six, default), or some of {_STATEMENTS}, {', '.join(PTB_XL_TASKS[1:])}",
    },
    "--ways": {
        "default": "linear",
        "metavar": "A,...",
        "help": "linear: logistic regressions on mean embeddings (default); finetune: all weights",
    },
    "--epochs": {"type": int, "default": 10, "metavar": "N", "help": "of finetune (default 10)"},
    "--lr": {"type": float, "default": 1e-4, "metavar": "RATE", "help": "learning rate of finetune (default 1e-4)"},
    "--share": {"default": "100", "metavar": "P,...", "help": "per cent of training, such as 1,10,100 (default 100)"},
    "--preset": {
        "choices": ("ecgfm", "helme", "ai4health"),
        "default": "ecgfm",
        "help": "convention of intervals and empty classes: 95 %% over patients (default), or those published",
    },
    "--no-random-weights": {"action": "store_true", "help": "no row for the first model's network with random weights"},
    "--layer": {"type": int, "metavar": "I", "help": "embeddings of transformer layer I (0: the first)"},
    "--seed": {"type": int, "default": 0, "help": "of shares, resamples and random weights (default 0)"},
    "--plot": {"metavar": "FILE", "help": "also draw the table, .png, .svg or .pdf (needs the extra [plot])"},
    "--batch-size": {"type": int, "default": 8, "metavar": "N", "help": "segments at a time (default 8)"},
    "--threads": {"type": int, "metavar": "N", "help": "threads of the kernels (default: all processors)"},
    "--readers": {"type": int, "default": 2, "metavar": "N", "help": "threads that read files ahead (default 2)"},
    **INPUT,
    **PRECISION,
}


def add_arguments(parser: ArgumentParser) -> None:
    names = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    what = "PTB-XL's six tasks, with its folds"
    add(names.add_parser("ptb-xl", aliases=["ptb_xl"], help=what, description=what), PTB_XL)


def run(args: Namespace) -> int:
    check_folder(args.out, "--out")
    if args.plot is not None:
        check_out(args.plot, (), (".png", ".svg", ".pdf"), "--plot")
    from .. import set_num_threads
    from ..training.benchmark import benchmark_ptb_xl

    if args.threads is not None:
        set_num_threads(args.threads)
    bar = Bar(len(read_ptb_xl(args.folder).codes)) if Bar.wanted() else None
    skipped = Skipped(bar, args.debug)

    def say(text: str) -> None:
        if bar is not None:
            bar.clear()
        print(f"ecgfm: {printable(text)}", file=sys.stderr, flush=True)

    models = {name: loaded(name, args, None) for name in args.model}
    options = {"layer": args.layer, "batch_size": args.batch_size, "readers": args.readers}
    with saying_warnings(None if bar is None else bar.clear):
        found = benchmark_ptb_xl(
            models,
            args.folder,
            args.out,
            tasks=_tasks(args.tasks),
            ways=args.ways,
            shares=args.share,
            preset=args.preset,
            random_weights=not args.no_random_weights,
            epochs=args.epochs,
            learning_rate=args.lr,
            seed=args.seed,
            say=say,
            on_error=skipped,
            progress=bar,
            **options,
        )
    skipped.report()
    print(found.to_text())
    written = found.write(args.out)
    if args.plot is not None:
        from ..training.benchmark.picture import draw

        draw(found, args.plot)
        written.append(args.plot)
    print(f"Written: {', '.join(map(printable, written))}")
    return 1 if skipped.count else 0


def _tasks(text: str) -> list[str]:
    """The tasks that are named; ``all`` is all of them."""
    named = [one.strip() for one in text.split(",") if one.strip()]
    if "all" in named:
        if len(named) > 1:
            raise ConfigError("all stands for the six tasks, alone", field="--tasks", remedy=f"Name {_STATEMENTS}")
        return list(PTB_XL_TASKS)
    return [PTB_XL_TASKS[0] if one == _STATEMENTS else one for one in named]

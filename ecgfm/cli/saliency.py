"""Saliency along recordings as an array: how strongly the network attends, at each sample of each segment.

SAL.npy gets the values (segments, samples) from 0 to 1, SAL.csv says what each row is, SAL.status.csv what was skipped;
with --plot each recording is drawn. By default the last layer's largest attention weight per token is taken, as in
ECG-FM's tutorial. A recording that can't be read is reported and skipped; the exit status is then 1.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace

from .._text import printable
from ..errors import ConfigError
from ..inference.saliency import REDUCTIONS
from .arguments import MODEL, READING, RESUMING, Arguments, add, reading
from .common import (
    Work,
    caveats,
    check_folder,
    check_out,
    counted,
    open_model,
)

_PICTURES = (".png", ".svg", ".pdf", ".jpg", ".jpeg", ".tif", ".tiff")

__all__ = ["add_arguments", "run"]


ARGUMENTS: Arguments = (
    MODEL
    | {
        "--out": {"metavar": "SAL.npy", "required": True, "help": "where the array goes"},
    }
    | RESUMING
    | {
        "--layer": {
            "type": int,
            "metavar": "I",
            "help": "attention of transformer layer I (0: the first; default: the last)",
        },
        "--reduction": {
            "choices": REDUCTIONS,
            "default": "max",
            "help": "per token the largest weight that it gives to any (default), or the mean or the largest that "
            "it gets",
        },
        "--tokens": {"action": "store_true", "help": "the tokens' weights (n, T), not resampled, not scaled"},
        "--plot": {"metavar": "FOLDER", "help": "draw each recording into a PNG there (extra [plot])"},
    }
    | READING
)


def add_arguments(parser: ArgumentParser) -> None:
    add(parser, ARGUMENTS)


def run(args: Namespace) -> int:
    check_out(args.out, args.files, (".npy",))
    if args.plot is not None:
        if args.plot.lower().endswith(_PICTURES) and not os.path.isdir(args.plot):
            raise ConfigError(
                "a picture, not a folder", path=args.plot, field="--plot", remedy="Name the folder of the pictures"
            )
        check_folder(args.plot, "--plot")
    from ..inference import saliency_to

    on_done = None
    if args.plot is not None:
        from ..view.plot import SaliencyPlots

        how = {name: value for name, value in reading(args).items() if name in ("sampling_rate", "leads", "unit")}
        on_done = SaliencyPlots(args.plot, **how)
    model = open_model(args)
    with Work(args.files, args.out, debug=args.debug, on_done=on_done) as work:
        written = saliency_to(
            model,
            args.files,
            args.out,
            layer=args.layer,
            reduction=args.reduction,
            tokens=args.tokens,
            resume=args.resume,
            overwrite=args.overwrite,
            on_done=work.done,
            **reading(args),
            **work.options,
        )
    work.say_written(written, model)
    if on_done is not None:
        print(f"Drawn: {counted(len(on_done.paths), 'picture')} in {printable(args.plot)}")
    print("".join(f"{line}\n" for line in caveats(model)), end="")
    return work.status

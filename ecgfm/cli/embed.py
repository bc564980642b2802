"""Embeddings of recordings as an array: per segment or per recording, pooled or per token, of any layer.

EMB.npy gets the array, EMB.csv says what each of its rows is, EMB.status.csv what was skipped. The array grows as the
recordings are done; a command that was broken off goes on with --resume. A recording that can't be read is reported and
skipped; the exit status is then 1.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ..errors import ConfigError
from .arguments import MODEL, READING, RESUMING, Arguments, add, reading
from .common import Work, caveats, check_out, open_model

__all__ = ["add_arguments", "run"]


ARGUMENTS: Arguments = (
    MODEL
    | {
        "--out": {"metavar": "EMB.npy", "required": True, "help": "where the array goes"},
    }
    | RESUMING
    | {
        "--layer": {"type": int, "metavar": "I", "help": "of transformer layer I (0: the first), not of the output"},
        "--per": {
            "choices": ("segment", "record"),
            "default": "segment",
            "help": "a row per segment (default) or per recording, the mean of its segments",
        },
        "--tokens": {"action": "store_true", "help": "every token (n, T, C) instead of their mean (n, C)"},
    }
    | READING
)


def add_arguments(parser: ArgumentParser) -> None:
    add(parser, ARGUMENTS)


def run(args: Namespace) -> int:
    check_out(args.out, args.files, (".npy",))
    if args.tokens and args.per == "record":
        raise ConfigError("tokens are those of a segment", field="--per", remedy="Leave out --tokens or --per record")
    from ..inference import embed_to

    model = open_model(args)
    with Work(args.files, args.out, debug=args.debug) as work:
        written = embed_to(
            model,
            args.files,
            args.out,
            layer=args.layer,
            tokens=args.tokens,
            per_record=args.per == "record",
            resume=args.resume,
            overwrite=args.overwrite,
            on_done=work.done,
            **reading(args),
            **work.options,
        )
    work.say_written(written, model)
    print("".join(f"{line}\n" for line in caveats(model)), end="")
    return work.status

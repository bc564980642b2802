"""A checkpoint in another format: .pt to safetensors, and back.

DST is NAME.pt, NAME.safetensors (config.json is written beside it), or else a directory, which gets model.safetensors
and config.json. Weights, settings and label names go along; the state of training stays behind. With --precision the
weights are rounded: the directory is smaller, loads faster, and is run in that precision.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from typing import Any

from .._text import printable, shown
from ..errors import ConfigError
from ..specs.precision import PRECISIONS
from .arguments import INPUT, Arguments, add

__all__ = ["add_arguments", "run"]


ARGUMENTS: Arguments = {
    "source": {
        "metavar": "SRC",
        "help": ".pt or .safetensors file, a directory of one, a known model (ecgfm models), or OWNER/NAME on the Hub",
    },
    "destination": {"metavar": "DST", "help": "what to write"},
    "--force": {"action": "store_true", "help": "replace files that are there"},
    "--labels": {"metavar": "LABEL_DEF.csv", "help": "names of the model's outputs (column name)"},
    **INPUT,
    "--set": {
        "metavar": "KEY=VALUE",
        "action": "append",
        "default": [],
        "help": "a setting of the model that the file has wrong, such as encoder_attention_heads=16",
    },
    "--precision": {
        "choices": PRECISIONS[1:],
        "help": "round the weights for inference in this precision; what only pretraining needs stays behind",
    },
}


def add_arguments(parser: ArgumentParser) -> None:
    add(parser, ARGUMENTS)


def run(args: Namespace) -> int:
    from ..checkpoint import convert
    from ..model.loading import convert_rounded

    options: dict[str, Any] = {"labels": args.labels, "config": dict(map(_setting, args.set)), "force": args.force}
    options["input"] = args.input
    if args.precision is None:
        written = convert(args.source, args.destination, **options)
    else:
        written = convert_rounded(args.source, args.destination, args.precision, **options)
    for path in written:
        print(f"wrote {printable(path)}")
    return 0


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ConfigError(f"{shown(text)} is not KEY=VALUE", field="--set")
    try:
        return key, json.loads(value)
    except (ValueError, RecursionError):
        return key, value

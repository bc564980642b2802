"""What is in a checkpoint: architecture, tensors, labels, and what in the file was refused.

No code in the file is run. The checksums of a .pt file are checked; with --verify also the hash of all values of a
.safetensors file, which takes seconds for a large model.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace

from .._text import printable
from .arguments import INPUT, Arguments, add

__all__ = ["add_arguments", "run"]


ARGUMENTS: Arguments = {
    "checkpoint": {
        "metavar": "FILE",
        "help": ".pt or .safetensors file, a directory of one, a known model (ecgfm models), or OWNER/NAME on the Hub",
    },
    "--labels": {"metavar": "LABEL_DEF.csv", "help": "names of the model's outputs (column name)"},
    **INPUT,
    "--verify": {"action": "store_true", "help": "also check the hash of all values of a .safetensors file"},
    "--json": {"action": "store_true", "help": "print JSON"},
}


def add_arguments(parser: ArgumentParser) -> None:
    add(parser, ARGUMENTS)


def run(args: Namespace) -> int:
    from ..checkpoint import describe, describe_text, read

    with read(args.checkpoint, labels=args.labels, input=args.input) as found:
        checked = found.verify() if args.verify or found.format != "safetensors" else None
        if args.json:
            print(json.dumps(describe(found) | {"checked": checked}, indent=1, allow_nan=False))
        else:
            said = {
                True: "all values, as they were saved",
                False: "nothing: the file has no checksums",
                None: "not the values; --verify does",
            }
            lines = [*describe_text(found), "", f"checked     {said[checked]}"]
            print("\n".join(map(printable, lines)))
    return 0

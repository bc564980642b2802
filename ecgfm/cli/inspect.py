"""What is in a checkpoint: architecture, tensors, labels, and what in the file was refused.

No code in the file is run. Where the file has checksums, they are checked.
"""

import json

from .._text import printable

__all__ = ["add_arguments", "run"]


def add_arguments(parser):
    parser.add_argument("checkpoint", metavar="FILE", help=".pt or .safetensors file, or a directory of one")
    parser.add_argument("--labels", metavar="LABEL_DEF.csv", help="names of the model's outputs (column name)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args):
    from ..checkpoint import describe, describe_text, read

    with read(args.checkpoint, labels=args.labels) as found:
        found.verify()
        if args.json:
            print(json.dumps(describe(found), indent=1, allow_nan=False))
        else:
            print("\n".join(printable(line) for line in describe_text(found)))
    return 0

"""Keep a random share of the training records of a folder of manifests.

    ecgfm subset --manifest_dir manifests --percent 0.1 --seed 1

makes the folder manifests/0.1 with a smaller train.tsv, the other manifests, and subset_args.json, which says the seed.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from .arguments import Arguments, add

__all__ = ["add_arguments", "run"]


ARGUMENTS: Arguments = {
    "--manifest_dir": {"required": True, "metavar": "DIR", "help": "folder with train.tsv"},
    "--percent": {
        "required": True,
        "type": float,
        "metavar": "P",
        "help": "share of the records to keep: 0.1 is a tenth",
    },
    "--save_dir": {"metavar": "DIR", "help": "folder to make (default: the share, in the manifests' folder)"},
    "--seed": {"type": int, "default": 1, "help": "default 1"},
}


def add_arguments(parser: ArgumentParser) -> None:
    add(parser, ARGUMENTS)


def run(args: Namespace) -> int:
    from ..data.tables.subset import subset_manifest

    done = subset_manifest(args.manifest_dir, args.percent, args.save_dir, seed=args.seed)
    (records, all_records), (lines, all_lines) = done["records"], done["lines"]
    print(f"{records} of {all_records} records, {lines} of {all_lines} lines, seed {args.seed}: {done['save_dir']}")
    return 0

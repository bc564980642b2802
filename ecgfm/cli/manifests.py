"""Manifests for training: plain ones from split tables, and pairs of segments (CMSC) for pretraining.

    ecgfm manifests --split_file_paths data/code_15/segmented_split.csv --save_dir manifests --cmsc
    ecgfm manifests manifests/ --dest manifests/

The first writes a .tsv for each split and, with --cmsc, those of pairs to manifests/cmsc; the second makes those of
pairs from plain ones that are there.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping

from ..errors import ConfigError
from .arguments import Arguments, add

__all__ = ["add_arguments", "run"]


ARGUMENTS: Arguments = {
    "manifest_dir": {"nargs": "?", "metavar": "MANIFEST_DIR", "help": "folder of plain manifests to make pairs from"},
    "--split_file_paths": {"metavar": "CSV,CSV,...", "help": "tables with split, path and sample_size of each segment"},
    "--save_dir": {"metavar": "DIR", "help": "folder for the manifests of the tables"},
    "--cmsc": {"action": "store_true", "help": "with --split_file_paths: also those of pairs, to cmsc/ in --save_dir"},
    "--dest": {
        "default": ".",
        "metavar": "DIR",
        "help": "with MANIFEST_DIR: cmsc/ is made here (default: working directory)",
    },
    "--ext": {"default": "mat", "help": "extension of the segments (default mat)"},
    "--n-lead": {"type": int, "default": 12, "metavar": "N", "help": "taken and not used, as in the original"},
}


def add_arguments(parser: ArgumentParser) -> None:
    add(parser, ARGUMENTS)


def run(args: Namespace) -> int:
    from ..data.tables.manifests import cmsc_manifests, make_manifests

    if (args.manifest_dir is None) == (args.split_file_paths is None):
        raise ConfigError("give either MANIFEST_DIR or --split_file_paths", field="arguments")
    if args.split_file_paths is None:
        _say(cmsc_manifests(args.manifest_dir, args.dest, ext=args.ext), "pairs")
        return 0
    if args.save_dir is None:
        raise ConfigError("is missing", field="--save_dir")
    _say(make_manifests(args.split_file_paths, args.save_dir), "segments")
    if args.cmsc:
        _say(cmsc_manifests(args.save_dir, args.save_dir, ext=args.ext), "pairs")
    return 0


def _say(counts: Mapping[str, int], what: str) -> None:
    for split, count in counts.items():
        print(f"{split}: {count} {what}")
        if not count:
            print(f"ecgfm: the manifest of {split} has no {what}", file=sys.stderr)

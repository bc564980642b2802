"""Packed splits, one memory-mapped file each, from the segments of manifests or of another packed file.

    ecgfm pack manifests/train.tsv manifests/valid.tsv
    ecgfm pack --packed data/packed/all.npy --splits data/meta_split.csv --save_dir manifests

writes train.npy and train.index.csv, and so on; training takes them in place of the manifests.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ..errors import ConfigError
from .arguments import Arguments, add

__all__ = ["add_arguments", "run"]


ARGUMENTS: Arguments = {
    "manifests": {"metavar": "TSV", "nargs": "*", "help": "plain manifests, whose order the rows have"},
    "--packed": {"metavar": "NPY", "help": "a packed file, to be cut by --splits"},
    "--splits": {"metavar": "CSV", "help": "table with save_file and split, such as meta_split.csv"},
    "--save_dir": {"metavar": "DIR", "help": "default: the folder of each manifest"},
}


def add_arguments(parser: ArgumentParser) -> None:
    add(parser, ARGUMENTS)


def run(args: Namespace) -> int:
    from ..data.build.repack import pack_manifest, pack_splits

    if bool(args.manifests) == bool(args.packed) or bool(args.packed) != bool(args.splits):
        raise ConfigError("give manifests, or --packed and --splits", field="TSV")
    if args.packed:
        if not args.save_dir:
            raise ConfigError("it is not given", field="--save_dir")
        found = pack_splits(args.packed, args.splits, args.save_dir)
    else:
        found = dict(pack_manifest(path, args.save_dir) for path in args.manifests)
    for path, count in found.items():
        print(f"{count:,} segments in {path}")
    return 0

"""Split a processed data set into training, validation and test records.

    ecgfm splits --strategy grouped --group_col patient_id --processed_root data/code_15 --seed 1

writes meta_split.csv (idx, save_file, split, ...), segmented_split.csv (the same for each segment, with path and
sample_size) and meta_split_args.json, which says the seed.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from .._text import printable, short, shown
from ..data.tables.splits import STRATEGIES
from .arguments import Arguments, add
from .common import counted, saying_warnings

__all__ = ["add_arguments", "run"]

_OPTIONS = (  # of `make_splits`
    "meta_file segmented_file save_files_suffix fractions split_labels group_col date_col"
    " grouped_temporal_filter_strategy filter_cols dataset_subset keep_cols seed"
).split()


ARGUMENTS: Arguments = {
    "--strategy": {
        "required": True,
        "choices": STRATEGIES,
        "help": "random: each record by itself; grouped: whole groups, "
        "such as patients; temporal: the earliest first; grouped_temporal: by date, and "
        "--grouped_temporal_filter_strategy",
    },
    "--processed_root": {"required": True, "metavar": "DIR", "help": "folder of the tables"},
    "--meta_file": {"default": "meta.csv", "metavar": "CSV", "help": "table of the records (default meta.csv)"},
    "--segmented_file": {"metavar": "CSV", "help": "table of the segments (default segmented.csv, if there is one)"},
    "--save_files_suffix": {
        "default": "_split",
        "metavar": "TEXT",
        "help": "in the names of the files (default _split)",
    },
    "--fractions": {
        "default": "0.8,0.1,0.1",
        "metavar": "F,F,...",
        "help": "default 0.8,0.1,0.1; if they add up to less than 1, the rest is one more",
    },
    "--split_labels": {"default": "train,valid,test", "metavar": "A,B,...", "help": "default train,valid,test"},
    "--group_col": {"metavar": "COLUMN", "help": "groups that stay together, such as patient_id; 7 and 7.0 are one"},
    "--date_col": {
        "metavar": "COLUMN",
        "help": "dates: 2015-03-28 (with or without a time), numbers, or all in one other form that leaves no doubt",
    },
    "--grouped_temporal_filter_strategy": {
        "default": "train",
        "metavar": "train|true|false",
        "help": "leave out records if "
        "either their own split or that of most of their group is this one and the other isn't (default train); true: "
        "if the two differ; false: none",
    },
    "--filter_cols": {"metavar": "A,B,...", "help": "columns of true and false; records with a true one are left out"},
    "--dataset_subset": {"metavar": "A,B,...", "help": "only records of these data sets (column dataset)"},
    "--keep_cols": {"metavar": "A,B,...", "help": "columns of the records' table to keep"},
    "--seed": {"type": int, "default": 1, "help": "default 1"},
}


def add_arguments(parser: ArgumentParser) -> None:
    add(parser, ARGUMENTS)


def run(args: Namespace) -> int:
    from ..data.tables.splits import make_splits

    options = {name: getattr(args, name) for name in _OPTIONS}
    strategy = options["grouped_temporal_filter_strategy"]
    known = {"true": True, "t": True, "false": False, "f": False}
    options["grouped_temporal_filter_strategy"] = known.get(strategy.lower(), strategy)
    with saying_warnings():
        done = make_splits(args.processed_root, args.strategy, **options)
    segments = done["segments"]
    for label, count in done["counts"].items():
        print(f"{label}: {count} records" + ("" if segments is None else f", {segments[label]} segments"))
    for label, date in zip(done["counts"], done["transitions"]):
        print(f"{label} ends with {date}")
    print(f"seed {args.seed}: {done['paths']['args']}")
    for reason, count in done["dropped"].items():
        print(f"ecgfm: left out {count} records {reason}", file=sys.stderr)
    if done["merged"]:
        count, ways = len(done["merged"]), " and ".join(map(shown, done["merged"][0]))
        text = f"{counted(count, 'group')} written in several ways taken as one: {short(ways)}"
        print(f"ecgfm: {printable(text)}", file=sys.stderr)
    if segments is None:
        print("ecgfm: no segmented.csv: only records are split", file=sys.stderr)
    return 0

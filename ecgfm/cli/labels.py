"""The label files that finetuning takes, made from a data source.

    ecgfm labels mimic_iv_ecg --machine_measurements machine_measurements.csv --meta meta.csv \\
        --meta_splits meta_split.csv --output_dir labels
    ecgfm labels code_15 --processed_root data/code_15 --meta_splits data/code_15/meta_split.csv
    ecgfm labels physionet2021 --processed_root data/physionet2021 --weights_path weights.csv \\
        --weight_abbrev_path weights_abbreviations.csv --meta_splits data/physionet2021/meta_split.csv
    ecgfm labels ptb-xl --raw_root ptb-xl/ --task superdiagnostic --output_dir labels
    ecgfm labels csv --labels labels.csv --meta_splits meta_split.csv --output_dir labels

writes labels.csv (not from csv, which reads it), label_def.csv, y.npy, pos_weight.txt and labels_args.json. Records
that have no labels (no report, an empty cell) are left out, which is reported; the exit status is then 1. Of PTB-XL
those without a label of the task are left out, as its benchmark does; meta_split.csv has the others with their splits.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from .._text import printable
from ..data.tables.ptb_xl import PTB_XL_TASKS
from ..errors import ConfigError
from .arguments import Arguments, add, spellings
from .common import counted, saying_warnings

if TYPE_CHECKING:
    from ..data import Labels

__all__ = ["SOURCES", "add_arguments", "run"]


SHARED: Arguments = {
    "--meta_splits": {
        "metavar": "CSV",
        "help": "table with split and idx, or a name, of each record, such as meta_split.csv",
    },
    "--segmented_splits": {"metavar": "CSV", "help": "the same of each segment, such as segmented_split.csv"},
    "--labeled_meta_splits_save_file": {
        "metavar": "CSV",
        "help": "where to write the rows of --meta_splits whose records have labels",
    },
    "--labeled_segmented_splits_save_file": {
        "metavar": "CSV",
        "help": "where to write the rows of --segmented_splits whose records have labels",
    },
    "--finite_weights": {
        "action": "store_true",
        "help": "weight 1, not inf, in pos_weight.txt for a label that no record has",
    },
}
LABELS_PATH: Arguments = {
    "--labels_path": {"metavar": "CSV", "help": "default: labels/labels.csv in the folder"},
    "--output_dir": {"metavar": "DIR", "help": "for the other files; default: the folder of labels.csv"},
    **SHARED,
}
MIMIC: Arguments = {
    "--machine_measurements": {
        "metavar": "CSV",
        "required": True,
        "help": "the data set's machine_measurements.csv: study_id, report_0, report_1, ...",
    },
    "--meta": {
        "metavar": "CSV",
        "required": True,
        "help": "table with idx and study_id of each record, such as the meta.csv of preprocessing",
    },
    "--output_dir": {"metavar": "DIR", "required": True},
    "--meta_splits": {"metavar": "CSV", "help": "table with idx and split, such as meta_split.csv"},
    "--labels": {
        "default": "final",
        "metavar": "NAMES",
        "help": "names separated by semicolons, or a label_def.csv, in the order of the outputs; default: "
        "the 17 of ECG-FM's classifier",
    },
    "--definitions": {"metavar": "DIR", "help": "directory of definitions (default: the package's own)"},
    "--mode": {
        "choices": ("documented", "reference"),
        "default": "documented",
        "help": "documented: what the rules say (default); reference: what ECG-FM's labeler yields",
    },
    "--threshold": {
        "type": float,
        "default": 0.0,
        "metavar": "P",
        "help": "a label counts when its probability is above this (default 0)",
    },
    "--processes": {"type": int, "default": 1, "metavar": "N", "help": "0: one per core (default 1)"},
}
CODE_15: Arguments = {
    "--processed_root": {"metavar": "DIR", "required": True, "help": "folder with meta.csv"},
    **LABELS_PATH,
}
PHYSIONET2021: Arguments = {
    "--processed_root": {"metavar": "DIR", "required": True, "help": "folder with meta.csv"},
    "--weights_path": {"metavar": "CSV", "required": True, "help": "the challenge's weights.csv"},
    "--weight_abbrev_path": {"metavar": "CSV", "required": True, "help": "the challenge's weights_abbreviations.csv"},
    "--uncombined": {"action": "store_true", "help": "a label for each of the codes that count as the same"},
    **LABELS_PATH,
}
PTB_XL: Arguments = {
    "--raw_root": {
        "metavar": "DIR",
        "required": True,
        "help": "the data set, with ptbxl_database.csv and scp_statements.csv",
    },
    "--task": {
        "required": True,
        "choices": PTB_XL_TASKS,
        "help": "all statements, diagnostic ones, subclasses or superclasses of these, form, or rhythm",
    },
    "--processed_root": {
        "metavar": "DIR",
        "help": "folder of ecgfm preprocess: records get its numbers (idx in meta.csv); without it, their ecg_id",
    },
    **LABELS_PATH,
}
CSV: Arguments = {
    "--labels": {
        "metavar": "CSV",
        "required": True,
        "help": "table with a column of 1 and 0, or true and false, for each label, and idx (the number "
        "in meta.csv) or the record's name: save_file, path, file, record",
    },
    "--output_dir": {"metavar": "DIR", "required": True},
    "--meta": {
        "metavar": "CSV",
        "help": "table with idx and names of the records (default: meta.csv beside --meta_splits, if there is one)",
    },
    **SHARED,
}


def add_arguments(parser: ArgumentParser) -> None:
    sources = parser.add_subparsers(dest="source", required=True, metavar="SOURCE")
    for name, (text, arguments, make) in SOURCES.items():
        source = sources.add_parser(name, aliases=spellings(name), help=text.replace("%", "%%"), description=text)
        add(source, arguments)
        source.set_defaults(make=make)


def run(args: Namespace) -> int:
    return int(args.make(args))


def mimic(args: Namespace) -> int:
    from ..data.tables.mimic_labels import mimic_iv_ecg_labels
    from ..labeler import load
    from .label import wanted_labels

    names = wanted_labels(args.labels, load(args.definitions), args.mode) or []
    done = mimic_iv_ecg_labels(
        args.machine_measurements,
        args.meta,
        args.output_dir,
        names=names,
        splits=args.meta_splits,
        definitions=args.definitions,
        mode=args.mode,
        threshold=args.threshold,
        processes=args.processes,
    )
    print(f"{done['labeled']} of {done['records']} records labeled, {len(names)} labels: {args.output_dir}")
    if done["never"]:
        print(f"ecgfm: no record has {'; '.join(done['never'])}: weight 1 in pos_weight.txt", file=sys.stderr)
    if done["without_report"]:
        print(f"ecgfm: skipped {done['without_report']} records without a report", file=sys.stderr)
    return 1 if done["without_report"] else 0


def code_15(args: Namespace) -> int:
    from ..data.tables.labels import code_15_labels

    return write(args, code_15_labels(meta(args)), words=True)


def physionet2021(args: Namespace) -> int:
    from ..data.tables.labels import physionet2021_labels

    found = physionet2021_labels(meta(args), args.weights_path, args.weight_abbrev_path, combined=not args.uncombined)
    return write(args, found)


def ptb_xl(args: Namespace) -> int:
    from ..data.tables.ptb_xl import write_ptb_xl_labels

    root = args.processed_root or args.output_dir
    if root is None and args.labels_path is None:
        raise ConfigError("nothing says where to write", field="--output_dir", remedy="Give it, or --processed_root")
    path = args.labels_path or os.path.join(root, *["labels"] * (args.output_dir is None), "labels.csv")
    folder = args.output_dir or os.path.dirname(os.path.abspath(path))
    splits = None if args.meta_splits else os.path.join(folder, "meta_split.csv")
    with saying_warnings():
        labels, about = write_ptb_xl_labels(
            args.raw_root, args.task, path, splits, meta(args) if args.processed_root is not None else None
        )
    print("\n".join(map(printable, about)))
    args.meta_splits = args.meta_splits or splits
    return finish(args, labels, folder)


def csv(args: Namespace) -> int:
    from ..data.tables.labels import read_labels
    from ..data.tables.prepared_labels import find_meta

    with saying_warnings():
        labels = read_labels(args.labels, find_meta(args.meta, args.meta_splits) or args.meta_splits)
    return finish(args, labels, args.output_dir)


def meta(args: Namespace) -> str:
    return os.path.join(args.processed_root, "meta.csv")


def write(args: Namespace, labels: Labels, *, words: bool = False) -> int:
    path = args.labels_path or os.path.join(args.processed_root, "labels", "labels.csv")
    folder = args.output_dir or os.path.dirname(os.path.abspath(path))
    labels.to_csv(path, words=words)
    return finish(args, labels, folder)


def finish(args: Namespace, labels: Labels, folder: str) -> int:
    from ..data.tables.prepared_labels import prepare_labels

    options = {
        name: getattr(args, name, None)
        for name in ("meta", "segmented_splits", "labeled_meta_splits_save_file", "labeled_segmented_splits_save_file")
    }
    settings = {name: value for name, value in vars(args).items() if name not in ("make", "debug", "quiet", "verbose")}
    done = prepare_labels(
        labels, folder, args.meta_splits, infinite=not args.finite_weights, settings=settings, **options
    )
    print(f"{done['labeled']} of {done['records']} records labeled, {len(labels.names)} labels: {folder}")
    if labels.unknown:
        print(f"ecgfm: {counted(labels.unknown, 'row')} of labels left out: of no known record", file=sys.stderr)
    if done["never"]:
        weight = "1" if args.finite_weights else "inf"
        hint = "" if args.finite_weights else ", which training refuses; --finite_weights writes 1"
        never = "; ".join(done["never"])
        print(f"ecgfm: no record has {never}: weight {weight} in pos_weight.txt{hint}", file=sys.stderr)
    missing = done["records"] - done["labeled"]
    if missing:
        print(
            f"ecgfm: {missing} records have no labels: their rows in y.npy are 0; make manifests from the tables of "
            "--labeled_..._save_file",
            file=sys.stderr,
        )
    return 1 if missing or labels.unknown else 0


#: Source -> (help, its arguments, what makes its labels and returns the exit status).
SOURCES = {
    "mimic_iv_ecg": ("MIMIC-IV-ECG, from the machine reports, joined by study", MIMIC, mimic),
    "code_15": ("CODE-15%, from its columns", CODE_15, code_15),
    "physionet2021": (
        "PhysioNet 2021, from the diagnoses and the challenge's weight tables",
        PHYSIONET2021,
        physionet2021,
    ),
    "ptb_xl": ("PTB-XL, the six tasks of its benchmark, with its folds as splits", PTB_XL, ptb_xl),
    "csv": ("any table of labels", CSV, csv),
}

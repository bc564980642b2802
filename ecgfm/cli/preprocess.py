"""Prepare a data set for training: recordings in, segments and tables out.

    ecgfm preprocess code_15 --raw_root code15/ --processed_root data/code_15
    ecgfm preprocess physionet2021 --raw_root physionet2021/training --processed_root data/physionet2021
    ecgfm preprocess mimic_iv_ecg --raw_root mimic/ --processed_root data/mimic_iv_ecg --manifest_file data/manifest.csv

The folder gets records.csv (made from the data set if it isn't there), org/, preprocessed/ and segmented/ with .mat
files, and the tables meta.csv, segmented.csv, manifest.csv, errors.csv and status.csv. A recording that can't be
prepared is in errors.csv with the reason; the exit status is then 1. status.csv has a row for each recording, and
for each file that is none and was ignored. The same command continues a run that was broken off, and does what is new
or has changed since.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from .._text import printable, short, shown
from ..data.recording import MISSING, STRATEGIES, Options
from ..data.sources import SOURCES, find_source
from ..errors import ConfigError
from ..signal.leads import LEADS
from .arguments import INPUT, Arguments, add, spellings
from .common import Bar, counted, saying_warnings

if TYPE_CHECKING:
    from ..data import Summary

__all__ = ["add_arguments", "run"]

_KINDS = 6  # endings of ignored files that are printed
_SHOWN = 20  # errors that are printed; errors.csv has them all


PACKING: Arguments = {
    "--packed": {"action": "store_true", "help": "write the segments to one file, packed/all.npy"},
    "--packed_splits": {
        "metavar": "CSV",
        "help": "table with split and save_file (or idx, path, file, record), such as "
        "meta_split.csv: write them to "
        "packed/<split>.npy",
    },
    "--fractions": {
        "metavar": "0.8,...",
        "help": "draw the splits instead and pack them: shares of the recordings, or of "
        "the groups of --group_col, for --split_labels with --seed",
    },
    "--split_labels": {"default": "train,valid,test", "metavar": "A,B,...", "help": "default train,valid,test"},
    "--group_col": {"metavar": "NAME", "help": "column of the records' table: no group is in two splits"},
    "--seed": {
        "type": int,
        "default": 1,
        "metavar": "N",
        "help": "of the splits that are drawn, all else is without chance (default 1)",
    },
}

SHARED: Arguments = {
    "--processed_root": {"required": True, "metavar": "DIR", "help": "folder to write to"},
    "--raw_root": {"metavar": "DIR", "help": "where the data set lies; not needed with --skip org"},
    "--for": {
        "dest": "model",
        "metavar": "MODEL",
        "help": "prepare for this model: its rate, samples, unit, normalisation, leads (see ecgfm inspect), instead of "
        "the options that say them",
    },
    **INPUT,
    "--manifest_file": {
        "metavar": "CSV",
        "help": "table of several sources: numbers go on from its largest, rows are "
        "added (default: manifest.csv in the folder that is written to)",
    },
    "--results_suffix": {"default": "", "metavar": "TEXT", "help": "goes into the names of the tables"},
    "--dataset_subset": {"metavar": "A,B", "help": "only recordings of these data sets (column dataset)"},
    "--desired_sample_rate": {"type": float, "metavar": "HZ", "help": "default 500"},
    "--segment_seconds": {"type": float, "metavar": "S", "help": "length of a segment (default 5)"},
    "--no_standardization": {
        "action": "store_true",
        "help": "leave each lead's mean and standard deviation as they are",
    },
    "--leads": {
        "metavar": "0,1,...",
        "help": "numbers of the leads to keep: 0 is I, 11 is V6 (default: all)",
    },
    "--constant_lead_strategy": {
        "choices": STRATEGIES,
        "default": "zero",
        "help": "what becomes of a lead without change (default zero)",
    },
    "--missing_leads": {
        "choices": MISSING,
        "default": "error",
        "help": "what to do without a lead that can't be calculated from I and II: skip the "
        "recording (default; derive is the same), or fill with zeros; nan calculates none and fills all with NaN",
    },
    "--skip": {"default": "", "metavar": "org,...", "help": "stages that are not run, since their files are there"},
    "--stages": {
        "metavar": "org,...",
        "help": "stages that are written (default: all, or none with --packed); "
        "--stages segmented goes straight to segments",
    },
    **PACKING,
    "--no_parallel": {"action": "store_true", "help": "work in one process"},
    "--nb_workers": {"type": int, "metavar": "N", "help": "processes (default: all processors)"},
}


def add_arguments(parser: ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="source", metavar="SOURCE", required=True)
    for name, source in SOURCES.items():
        what = (source.__doc__ or "").strip().splitlines()[0]
        command = commands.add_parser(name, aliases=spellings(name), help=what.replace("%", "%%"), description=what)
        add(command, SHARED)
        source().arguments(command)


def run(args: Namespace) -> int:
    from ..data.build.pipeline import preprocess
    from ..ranks import Ranks, communicator
    from ..workers import serve_work

    ranks = communicator()
    if ranks.rank > 0:
        serve_work(ranks)
        return 0
    source = find_source(args.source).configured(args)
    options = _options(args)
    report = _Report()
    with saying_warnings():
        summary = preprocess(
            source,
            args.processed_root,
            args.raw_root,
            options=options,
            stages=None if args.stages is None else _list(args.stages),
            packed=args.packed,
            packed_splits=args.packed_splits,
            fractions=args.fractions,
            split_labels=args.split_labels,
            group_col=args.group_col,
            seed=args.seed,
            skip=_list(args.skip),
            dataset_subset=_list(args.dataset_subset) or None,
            manifest_file=args.manifest_file,
            results_suffix=args.results_suffix,
            workers=1 if args.no_parallel else args.nb_workers,
            ranks=ranks if isinstance(ranks, Ranks) else None,
            on_error=report.error,
            progress=report.progress,
            **source.own(args),
        )
    ranks.broadcast(None)  # the other ranks are done
    report.clear()
    _say(summary)
    earlier = f", {summary.resumed:,} of them by an earlier run" if summary.resumed else ""
    print(f"{summary.records:,} recordings{earlier}, {summary.segments:,} segments in {summary.folder}")
    if summary.skipped:
        print(f"{summary.skipped:,} recordings were skipped: {summary.paths['errors']}", file=sys.stderr)
    return 1 if summary.skipped else 0


def _options(args: Namespace) -> Options:
    """How recordings are prepared: as the options say, or as a model does."""
    how = {"constant_lead_strategy": args.constant_lead_strategy, "missing_leads": args.missing_leads}
    said = {
        "desired_sample_rate": args.desired_sample_rate,
        "segment_seconds": args.segment_seconds,
        "no_standardization": args.no_standardization or None,
        "leads": args.leads,
    }
    if args.model is None:
        if args.input is not None:
            raise ConfigError("it changes what a model takes", field="--input", remedy="Name the model: --for MODEL")
        return Options(
            sample_rate=500 if args.desired_sample_rate is None else args.desired_sample_rate,
            segment_seconds=5 if args.segment_seconds is None else args.segment_seconds,
            standardize=not args.no_standardization,
            leads=tuple(range(len(LEADS))) if args.leads is None else tuple(_numbers(args.leads)),
            **how,
        )
    for name, value in said.items():
        if value is not None:
            remedy = "Leave one of them out, or change what the model takes: --input FIELD=VALUE"
            raise ConfigError("the model given by --for says it", field=f"--{name}", remedy=remedy)
    from ..checkpoint import read

    with read(args.model, input=args.input) as found:
        print(f"ecgfm: prepared for {printable(found.path)}: {found.input}; {found.input_source}", file=sys.stderr)
        return Options.for_model(found.input, **how)


def _say(summary: Summary) -> None:
    """What a user would else find out late, a line each."""
    where = summary.paths["status"]
    said = []
    if summary.added:
        said.append(f"{counted(summary.added, 'recording')} new since the last run")
    if summary.derived:
        said.append(f"{counted(summary.derived, 'recording')} with leads calculated from I and II (derived_leads)")
    if summary.renamed:
        said.append(f"{counted(summary.renamed, 'recording')} with names of their own, others have theirs: {where}")
    if summary.ignored:
        kinds = list(summary.ignored.items())
        text = ", ".join(f"{count:,} {short(ending, 20)}" for ending, count in kinds[:_KINDS])
        text += f", {sum(count for _, count in kinds[_KINDS:]):,} others" if len(kinds) > _KINDS else ""
        said.append(f"{counted(sum(summary.ignored.values()), 'file')} ignored, no recordings ({text}): {where}")
    for line in said:
        print(f"ecgfm: {printable(line)}", file=sys.stderr)


def _list(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in _list(text)]
    except ValueError:
        raise ConfigError(f"{shown(text)} are no numbers", field="--leads", remedy="Give some such as 0,1,6") from None


class _Report:
    """Says on stderr what is skipped and how far the run has come."""

    def __init__(self) -> None:
        self.bar, self.errors = Bar(0) if Bar.wanted() else None, 0

    def error(self, path: str, why: str) -> None:
        self.errors += 1
        if self.errors <= _SHOWN:
            self.clear()
            print(f"ecgfm: skipped: {printable(path)}: {printable(why.removeprefix(f'{path}: '))}", file=sys.stderr)
        if self.errors == _SHOWN:
            print("ecgfm: all others are in errors.csv", file=sys.stderr)

    def progress(self, done: int, total: int, path: str) -> None:
        if self.bar is not None:
            self.bar.total = total
            self.bar(done, path)

    def clear(self) -> None:
        if self.bar is not None:
            self.bar.clear()

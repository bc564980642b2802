"""Arguments of commands as tables, and those that several commands have."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from ..specs.precision import AUTO, PRECISIONS

__all__ = ["INPUT", "MODEL", "PRECISION", "READING", "RESUMING", "Arguments", "add", "reading", "spellings"]

#: Name of an argument -> what `ArgumentParser.add_argument` takes of it.
Arguments = dict[str, dict[str, Any]]

#: In which number type the model computes.
PRECISION: Arguments = {
    "--precision": {
        "choices": (*PRECISIONS, AUTO),
        "help": "number type that the model computes in (default: float32, or that in which it was saved); auto: the "
        "fastest that is exact enough by the report kept with the model",
    },
    "--max-change": {
        "type": float,
        "default": 0.01,
        "metavar": "P",
        "help": "for --precision auto: largest change of a probability (default 0.01)",
    },
}


#: What the model takes, where its file doesn't say it.
INPUT: Arguments = {
    "--input": {
        "metavar": "FIELD=VALUE,...",
        "help": "what the model takes, such as sampling_rate=250,samples=2500,normalisation=none: fields of "
        "ecgfm.InputSpec that replace those found (ecgfm inspect shows them)",
    },
}


#: The checkpoint and what is run through it.
MODEL: Arguments = {
    "checkpoint": {
        "metavar": "CHECKPOINT",
        "help": ".pt or .safetensors file, a directory of one, a known model (ecgfm models), or OWNER/NAME on the Hub",
    },
    "files": {"metavar": "FILE", "nargs": "+", "help": "recordings, directories of recordings, manifests (.tsv)"},
    **INPUT,
    **PRECISION,
}


#: How recordings are read, and how fast.
READING: Arguments = {
    "--sampling-rate": {"type": float, "metavar": "HZ", "help": "for files that don't state it"},
    "--leads": {"metavar": "I,II,...", "help": "names of the rows, for files that don't state them"},
    "--unit": {"choices": ("mV", "uV", "V"), "help": "of the values, for files that don't state it"},
    "--missing-leads": {
        "choices": ("error", "zero"),
        "default": "error",
        "help": "what to do without a lead that can't be calculated from I and II: skip the recording (default), or "
        "fill with zeros",
    },
    "--short": {
        "choices": ("error", "pad"),
        "help": "what to do with less than a segment (5 s): skip the recording, or pad it (default: as the model says, "
        "error for ECG-FM)",
    },
    "--only-leads": {"metavar": "I,II,...", "help": "leads that the model may see; all others are zero"},
    "--overlap": {
        "type": float,
        "default": 0.0,
        "metavar": "S",
        "help": "seconds that a segment shares with the next (default 0)",
    },
    "--batch-size": {"type": int, "default": 8, "metavar": "N", "help": "segments at a time (default 8)"},
    "--threads": {"type": int, "metavar": "N", "help": "threads of the kernels (default: all processors)"},
    "--readers": {
        "type": int,
        "default": 2,
        "metavar": "N",
        "help": "threads that read files ahead (default 2; 0: none)",
    },
}


#: What becomes of an earlier run.
RESUMING: Arguments = {
    "--resume": {"action": "store_true", "help": "do only what an earlier run into --out has not done"},
    "--overwrite": {"action": "store_true", "help": "begin anew, though a run is there that was broken off"},
}


def add(parser: ArgumentParser, arguments: Arguments) -> None:
    """Add arguments to the parser of a command, in their order."""
    for name, options in arguments.items():
        parser.add_argument(name, **options)


def spellings(name: str) -> list[str]:
    """Other spellings of a data set's name on the command line: ``ptb-xl`` of ``ptb_xl``."""
    return [name.replace("_", "-")] if "_" in name else []


def reading(args: Namespace) -> dict[str, Any]:
    """The arguments of `READING` as those of `ecgfm.predict` and its like."""
    return {
        "sampling_rate": args.sampling_rate,
        "leads": args.leads,
        "unit": args.unit,
        "missing_leads": args.missing_leads,
        "short": args.short,
        "only_leads": args.only_leads,
        "overlap_s": args.overlap,
        "batch_size": args.batch_size,
        "readers": args.readers,
    }

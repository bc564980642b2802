"""A part of a training set, for studies of how much data it takes."""

from __future__ import annotations

import os
import re
import shutil
from typing import Any

import numpy as np

from ..._text import shown
from ..._types import StrPath
from ...errors import ConfigError, FormatError
from ...storage.atomic import new_folder, write_text
from ...storage.inputs import lines as bounded_lines
from ...storage.inputs import open_input, open_text
from ...storage.json import write_json
from ...validation import Number, Seed, checked

__all__ = ["subset_manifest"]

_MOST_BYTES = 1 << 30  # of a manifest
_MOST_BLANK = 1000
_NUMBER = re.compile(r"_\d+\.[^./_]+$")


def subset_manifest(
    manifest_dir: StrPath, percent: float, save_dir: StrPath | None = None, *, seed: int = 1
) -> dict[str, Any]:
    """Keep a random share of the records of ``train.tsv``; the folder's other manifests are copied.

    ``subset_args.json`` in the new folder says the seed.

    Parameters
    ----------
    manifest_dir : path-like
        Folder of manifests, plain ones or such of pairs.
    percent : float
        Share of the records, above 0 and at most 1. All segments of a record are kept, or none.
    save_dir : path-like, optional
        Folder to make. Default: `percent` in `manifest_dir`.
    seed : int
        From 0 to 4294967295.

    Returns
    -------
    dict
        ``records`` and ``lines``, each (kept, of all); ``save_dir``.

    Raises
    ------
    ConfigError
        If an argument is out of range or the new folder exists.
    FormatError
        If ``train.tsv`` can't be read.
    """
    checked(percent, Number(above=0, at_most=1), "percent")
    seed = checked(seed, Seed(), "seed")
    manifest_dir = os.fsdecode(manifest_dir)
    target = os.path.join(manifest_dir, str(percent)) if save_dir is None else os.fsdecode(save_dir)
    if os.path.lexists(target):
        raise ConfigError(f"{target} exists", field="save_dir", remedy="Remove it or give another name")
    head, lines, records = _train(os.path.join(manifest_dir, "train.tsv"))
    known = sorted(set(records))
    count = round(percent * len(known))
    kept = {known[i] for i in np.random.RandomState(seed).permutation(len(known))[:count]}
    chosen = [line for line, record in zip(lines, records) if record in kept]
    if not chosen:
        raise ConfigError(f"{percent:g} of {len(known)} records is none", field="percent")
    made = {"manifest_dir": manifest_dir, "percent": percent, "seed": seed, "records": [count, len(known)]}
    with new_folder(target) as folder:
        write_text(os.path.join(folder, "train.tsv"), "\n".join([*head, *chosen]) + "\n")
        for name in sorted(os.listdir(manifest_dir)):
            if name.endswith(".tsv") and name != "train.tsv":
                _copy(os.path.join(manifest_dir, name), os.path.join(folder, name))
        write_json(os.path.join(folder, "subset_args.json"), made)
    return {"records": (count, len(known)), "lines": (len(chosen), len(lines)), "save_dir": target}


def _train(path: str) -> tuple[list[str], list[str], list[str]]:
    """The head of a manifest, its other lines, and the record of each."""
    lines: list[str] = []
    blank = 0
    try:
        with open_text(path, most=_MOST_BYTES, encoding="utf-8", newline="\n") as file:
            for line in bounded_lines(file, path):
                blank += line == "\n"
                if blank > _MOST_BLANK:
                    raise FormatError(f"more than {_MOST_BLANK} empty lines", path=path)
                lines.append(line.removesuffix("\n"))
    except UnicodeDecodeError:
        raise FormatError("can't be read: not UTF-8", path=path) from None
    lines = lines or [""]
    head = 1 if "\t" in lines[0] or (len(lines) > 1 and "\t" in lines[1]) else 2
    rest = [line for line in lines[head:] if line]
    fields = 2 if head == 1 else 4
    for number, line in enumerate(rest, head + 1):
        if len(line.split("\t")) != fields:
            raise FormatError(f"{shown(line)} has not {fields} fields", path=path, field=f"line {number}")
    if not rest:
        raise FormatError("the manifest is empty", path=path)
    return lines[:head], rest, [_NUMBER.sub("", line.split("\t")[0]) for line in rest]


def _copy(source: str, target: str) -> None:
    with open_input(source, most=_MOST_BYTES) as file, open(target, "wb") as copy:
        shutil.copyfileobj(file, copy, 1 << 20)
    shutil.copystat(source, target)

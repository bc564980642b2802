"""From many recordings straight into files: what predict, embed and saliency give, with bounded memory."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from .. import __version__
from .._types import StrPath
from ..errors import ConfigError
from ..io.ignored import Ignored
from ..storage.growing import Growing
from ..table import check_ending
from ..validation import checked
from .aggregate import METHOD
from .embed import embedded
from .opening import Inputs, ModelLike, Ready, as_asked, input_of, opened_model
from .predict import Outcome, predicted
from .result import Result, about, record_table, segment_table, with_beside, without_path
from .saliency import salient
from .stream import Done, Reading

Found = Callable[..., Iterator[Any]]

__all__ = ["Written", "embed_to", "fingerprint", "predict_to", "saliency_to"]


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes
    ----------
    paths : tuple of str
        The files, the status table last.
    records, segments : int
        How many of each the files hold.
    resumed : int
        How many of the recordings had been done by an earlier run.
    skipped : int
        How many recordings could not be done; the status table says why.
    dropped : int
        How many recordings of an earlier run were left out, since they have changed or are not among the inputs.
    """

    paths: tuple[str, ...]
    records: int
    segments: int
    resumed: int
    skipped: int
    dropped: int = 0


def predict_to(
    model: ModelLike,
    inputs: Inputs,
    path: StrPath,
    *,
    aggregate: str = "tutorial",
    calibrated: bool = True,
    resume: bool = False,
    overwrite: bool = False,
    **options: Any,
) -> Written:
    """Write predictions into CSV files as they come, however many recordings there are.

    ``p.csv`` gets a row per recording, ``p.segments.csv`` a row per segment, both as of `Result.to_csv`;
    ``p.status.csv`` tells of each recording whether it was done, and names the
    files of folders that were ignored. While the run lasts, ``.part`` stands at the end of
    these names; a run that was broken off leaves them, goes on with ``resume=True``, and is not thrown away unless
    ``overwrite=True`` says so.

    Parameters
    ----------
    model, inputs, aggregate, calibrated
        As for `ecgfm.predict`.
    path : path-like
        The CSV file of recordings.
    resume : bool
        Do only what an earlier run into these files hasn't done, with the same model and arguments; begin, if there was
        none. Recordings that it has skipped are tried again; rows of recordings that have changed since, or are not
        among the inputs, are left out.
    overwrite : bool
        Begin anew, though a run is there that was broken off.
    batch_size, sampling_rate, leads, readers, on_error, progress, **reading
        As for `ecgfm.predict`.
    on_done : callable, optional
        Gets the `Outcome` of each recording once it is written.

    Returns
    -------
    Written

    Raises
    ------
    Error
        The first recording's, if none could be done; then nothing is written.
    ConfigError
        If an argument is out of range, the model has no labels, the name doesn't end in ``.csv``, the run to be
        continued
        was another, or one is there that was broken off and neither `resume` nor `overwrite` is said.
    """
    model = as_asked(opened_model(model, inputs), calibrated)
    checked(aggregate, METHOD, "aggregate")
    path = os.fspath(path)
    check_ending(path, (".csv",))
    segments = "{}.segments{}".format(*os.path.splitext(path))

    def rows(outcome: Outcome) -> dict[str, Any]:
        result = Result.of(model, [outcome], [], aggregate)
        return {path: result.records, segments: result.segments}

    outputs = {path: "record", segments: "segment"}
    return _write(model, inputs, path, predicted, outputs, rows, (resume, overwrite), {"aggregate": aggregate}, options)


def embed_to(
    model: ModelLike,
    inputs: Inputs,
    path: StrPath,
    *,
    layer: int | None = None,
    tokens: bool = False,
    per_record: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    **options: Any,
) -> Written:
    """Write embeddings into a ``.npy`` file as they come, and what its rows are into a CSV file beside it.

    Parameters
    ----------
    model, inputs, layer, tokens
        As for `ecgfm.embed`; with `tokens` the array is (n, T, C).
    path : path-like
        The ``.npy`` file.
    per_record : bool
        One row per recording, the mean over its segments, instead of one per segment.
    resume, overwrite, **options
        As for `predict_to`.

    Returns
    -------
    Written

    Raises
    ------
    Error
        As for `predict_to`.
    """
    if tokens and per_record:
        raise ConfigError("tokens are those of a segment", field="per_record", remedy="Take the one or the other")
    found = partial(embedded, layer=layer, tokens=tokens)
    settings = {"layer": layer, "tokens": bool(tokens), "per_record": bool(per_record)}
    what = "tokens" if tokens else "embeddings"
    return _write_npy(model, inputs, path, found, what, per_record, (resume, overwrite), settings, options)


def saliency_to(
    model: ModelLike,
    inputs: Inputs,
    path: StrPath,
    *,
    layer: int | None = None,
    reduction: str = "max",
    tokens: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    **options: Any,
) -> Written:
    """Write saliency into a ``.npy`` file as it comes, and what its rows are into a CSV file beside it.

    Parameters
    ----------
    model, inputs, layer, reduction
        As for `ecgfm.saliency`.
    path : path-like
        The ``.npy`` file.
    tokens : bool
        Write the tokens' attention weights (n, T) instead of the samples' scaled values (n, N).
    resume, overwrite, **options
        As for `predict_to`.

    Returns
    -------
    Written

    Raises
    ------
    Error
        As for `predict_to`.
    """
    found = partial(salient, layer=layer, reduction=reduction)
    settings = {"layer": layer, "reduction": reduction, "tokens": bool(tokens)}
    what = "tokens" if tokens else "samples"
    return _write_npy(model, inputs, path, found, what, False, (resume, overwrite), settings, options)


def _write_npy(
    model: ModelLike,
    inputs: Inputs,
    path: StrPath,
    found: Found,
    what: str,
    per_record: bool,
    again: tuple[bool, bool],
    settings: dict[str, Any],
    options: Mapping[str, Any],
) -> Written:
    """Write the output `what` of each segment, or its mean over each recording."""
    path, beside = with_beside(path)
    ready = opened_model(model, inputs)

    def rows(done: Done) -> dict[str, Any]:
        if not per_record:
            return {path: done.outputs[what], beside: segment_table([done], ready)}
        mean = done.outputs[what].mean(axis=0, keepdims=True, dtype=np.float64)
        return {path: mean.astype(np.float32), beside: record_table([done], ready)}

    kind = "record" if per_record else "segment"
    outputs = {path: kind, beside: kind}
    return _write(ready, inputs, path, found, outputs, rows, again, settings, options)


def _write(
    model: Ready,
    inputs: Inputs,
    path: str,
    found: Found,
    outputs: Mapping[str, str],
    rows: Callable[[Any], Mapping[str, Any]],
    again: tuple[bool, bool],
    settings: dict[str, Any],
    options: Mapping[str, Any],
) -> Written:
    """Run `inputs` through `found` and write `rows` of each into the `outputs`; `again` is (resume, overwrite)."""
    options = dict(options)
    on_error, progress, on_done = (options.pop(name, None) for name in ("on_error", "progress", "on_done"))
    on_error = "skip" if on_error is None else on_error
    if on_error not in ("skip", "raise") and not callable(on_error):
        raise ConfigError(f"{on_error!r} is not known", field="on_error", remedy="Give 'skip', 'raise' or a function")
    reading = Reading(input=input_of(model), **options)
    settings = {"ecgfm": __version__, "model": fingerprint(model), **settings}
    # Neither speed nor memory is part of what the results are.
    settings["reading"] = {k: _plain(v) for k, v in options.items() if k not in ("batch_size", "readers")}
    first = None
    with Growing(path, outputs, settings, resume=again[0], overwrite=again[1]) as files:
        ignored = Ignored(files.ignore)
        for each in found(model, inputs, reading, select=files.missing, ignored=ignored):
            if each.error is None:
                files.add(each.file, len(each.start_s), rows(each))
                if on_done is not None:
                    on_done(each)
            elif on_error == "raise":
                raise each.error
            else:
                first = first or each.error
                files.skip(each.file, without_path(each.error))
                if callable(on_error):
                    on_error(each.file, each.error)
            if progress is not None:
                progress(files.records + files.skipped, each.file)
        if not files.records:
            raise first or ConfigError("no recordings were given", field="files")
    ignored.warn(stacklevel=3)
    if first is not None and on_error == "skip":
        told = f"{files.skipped} recordings were skipped, see {files.paths[-1]}; the first: {first}"
        warnings.warn(told, stacklevel=3)
    return Written(files.paths, files.records, files.segments, files.resumed, files.skipped, files.dropped)


def fingerprint(model: Any) -> dict[str, Any]:
    """What tells one model from another, as far as its file does."""
    said = about(model) | {"labels": None if model.labels is None else list(model.labels)}
    try:
        found = os.stat(said["source"])
    except (OSError, TypeError, ValueError):  # made from arrays, or no longer there
        return said
    return said | {"bytes": found.st_size, "modified_ns": found.st_mtime_ns}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (tuple, set)) else value

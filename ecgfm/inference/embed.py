"""Embeddings of recordings: pooled or per token, of the encoder's output or of any layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .._types import StrPath
from ..errors import SignalError
from ..io.inputs import expand
from ..table import AsArray, Table
from .opening import Inputs, ModelLike, Ready, input_of, opened_model
from .result import about, errors_table, record_table, segment_table, write_with_rows
from .stream import Done, OnError, Progress, Reading, Select, collect, stream

__all__ = ["Embeddings", "embed", "embedded"]


@dataclass(eq=False)
class Embeddings(AsArray):
    """Embeddings of the segments of recordings; usable as an array (n, C).

    Attributes
    ----------
    embeddings : ndarray
        (n, C) float32, one row per segment: the mean of its tokens, as the original pools them.
    tokens : ndarray or None
        (n, T, C) float32, if they were asked for; padded tokens are 0.
    segments : Table
        A row per segment: ``file``, ``segment``, ``start_s``, ``end_s``, and what was done to its recording.
    records : Table
        A row per recording: ``file``, ``segments`` (their number) and what was done to it.
    layer : int or None
        The transformer layer that they are of (0 = first); None for the encoder's output.
    errors : Table
        ``file`` and ``error`` of each recording that was skipped.
    model : dict
        What is known of the model.
    provenance : list of dict
        Of each recording in `records`; see `ecgfm.ecg.Segments`.
    """

    embeddings: NDArray[np.float32]
    tokens: NDArray[np.float32] | None
    segments: Table
    records: Table
    layer: int | None
    errors: Table
    model: dict[str, Any]
    provenance: list[dict[str, Any]]

    _array = "embeddings"

    def per_record(self) -> NDArray[np.float32]:
        """ndarray: (recordings, C) float32, the mean over each recording's segments, computed in float64."""
        counts = self.records["segments"]
        sums = np.add.reduceat(self.embeddings, np.cumsum(counts) - counts, axis=0, dtype=np.float64)
        return np.asarray(sums / counts[:, None], np.float32)

    def to_npy(self, path: StrPath) -> tuple[str, str]:
        """Write the embeddings (the tokens, if there are any) as ``.npy``, and their rows beside it as CSV.

        ``emb.npy`` gets ``emb.csv``: row i of the one says what row i of the other is. Returns both paths.

        Raises ConfigError if the name doesn't end in ``.npy``.
        """
        return write_with_rows(path, self.embeddings if self.tokens is None else self.tokens, self.segments)

    def to_table(self) -> Table:
        """Table: the rows of `segments` with the columns ``e0``, ``e1``, ... of `embeddings`."""
        columns = {name: self.segments[name] for name in self.segments.columns}
        return Table(columns | {f"e{i}": column for i, column in enumerate(self.embeddings.T)})

    def __repr__(self) -> str:
        return (
            f"Embeddings({len(self.records)} records, {len(self)} segments, width {self.embeddings.shape[1]},"
            f" {len(self.errors)} errors)"
        )


def embed(
    model: ModelLike,
    inputs: Inputs,
    *,
    layer: int | None = None,
    tokens: bool = False,
    batch_size: int = 8,
    sampling_rate: float | None = None,
    leads: str | Sequence[str] | None = None,
    missing_leads: str = "error",
    short: str | None = None,
    only_leads: str | Sequence[str] | None = None,
    overlap_s: float = 0.0,
    unit: str | None = None,
    readers: int = 2,
    on_error: str | OnError = "skip",
    progress: Progress | Literal[False] | None = None,
) -> Embeddings:
    """Embeddings of each segment of recordings, which for ECG-FM is 5 s.

    Nothing is random in them: a segment's embedding depends on the segment and the weights alone, and on what else is
    in its batch by no more than rounding.

    Parameters
    ----------
    model : Model, or path-like
        A classifier or an encoder, from `ecgfm.load`; or what that takes.
    inputs : path, file-like, Record, Segments, array_like or object, or an iterable of them
        As for `ecgfm.predict`.
    layer : int, optional
        Of this transformer layer (0 = first) instead of the encoder's output.
    tokens : bool
        Also keep every token: 156 times as much memory as the pooled embeddings.
    batch_size, sampling_rate, leads, missing_leads, short, only_leads, overlap_s, unit, readers, on_error, progress
        As for `ecgfm.predict`.

    Returns
    -------
    Embeddings
        In the order of `inputs`.

    Raises
    ------
    Error
        The first recording's, if none could be done.
    ConfigError
        If an argument is out of range, such as a layer that is not there.
    SignalError
        If tokens are asked for and segments have different lengths.

    Examples
    --------
    >>> found = ecgfm.embed(model, "recordings/")
    >>> found.embeddings.shape, found.per_record().shape
    ((14, 768), (10, 768))
    """
    model = opened_model(model, inputs)
    reading = Reading(
        sampling_rate, leads, missing_leads, short, only_leads, overlap_s, unit, input_of(model),
        batch_size=batch_size, readers=readers,
    )  # fmt: skip
    done, failed = collect(embedded(model, inputs, reading, layer=layer, tokens=tokens), on_error, progress)
    return Embeddings(
        np.concatenate([each.outputs["embeddings"] for each in done]),
        _joined_tokens(done) if tokens else None,
        segment_table(done, model),
        record_table(done, model),
        layer,
        errors_table(failed),
        about(model),
        [each.provenance for each in done],
    )


def embedded(
    model: Ready,
    inputs: Inputs,
    reading: Reading,
    *,
    layer: int | None = None,
    tokens: bool = False,
    select: Select | None = None,
    ignored: Callable[[str, str], object] | None = None,
) -> Iterator[Done]:
    """Iterate over each recording's `Done` with ``embeddings`` (n, C) and, if asked for, ``tokens`` (n, T, C)."""
    given: Any = {} if layer is None else {"layer": layer}

    def forward(x: NDArray[np.float32], padding_mask: NDArray[np.bool_] | None) -> dict[str, NDArray[Any]]:
        output = model(x, padding_mask=padding_mask, **given)
        return {"embeddings": output.embedding} | ({"tokens": output.tokens} if tokens else {})

    return stream(forward, expand(inputs, ignored), reading, select)


def _joined_tokens(done: Sequence[Any]) -> NDArray[np.float32]:
    lengths = {each.outputs["tokens"].shape[1] for each in done}
    if len(lengths) > 1:
        raise SignalError(
            "the segments have different lengths, so that their tokens fit in no one array",
            field="tokens",
            remedy="Give segments of one length at a time",
        )
    return np.concatenate([each.outputs["tokens"] for each in done])

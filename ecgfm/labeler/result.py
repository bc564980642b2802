"""What labeling returns: the texts and the tables made from them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..table import Table
from .arrays import to_multilabel
from .definitions import AFTER, BEFORE, BOUNDARY, CONNECTIVE, ENTITY, Pattern
from .engine import Engine
from .matching import Match
from .rules import Expansion

__all__ = ["Result"]


class Result:
    """The labels of a batch of reports, and every step on the way to them.

    ``labels_flat`` is there when the object is; the other tables are made when they are asked for. In all of
    them ``sample`` is the position of the report in the batch; a report without labels has no rows in
    ``labels_flat`` but is counted in ``len(result)`` and is in ``texts`` and ``unmatched``.

    Attributes
    ----------
    texts : Table
        ``sample, text``: the normalized texts.
    matches : Table
        ``sample, match, kind, text, start, end, left, right, pattern, entities``: the patterns found, in text
        order. ``kind`` is ``e`` (entity), ``b`` (descriptor for what follows), ``a`` (descriptor for what
        precedes), ``c`` (connective), ``s`` (boundary) or ``ab`` (attaches to nothing); places are characters
        [start, end) of the normalized text. ``left`` and ``right`` are the matches that a descriptor or connective
        belongs to, -1 for none. An entity pattern stands for ``entities`` entities, which have the numbers from
        ``pattern`` on in the other tables (-1 and 0 for the other kinds).
    unmatched : Table
        ``sample, unmatched, stripped``: what no pattern took; and that with only ASCII letters, digits and
        spaces, trimmed.
    entities_text, descriptors_text : Table
        ``sample, pattern, entity, name``: what the matched patterns themselves say. ``pattern`` counts the
        entities of a report that come from its text, then those from compounds; ``entity`` counts the rows that
        each leads to and is 0 here.
    entities : Table
        ``sample, pattern, entity, name, source, prob``: with created entities, super-entities, attached and
        compound ones.
    descriptors : Table
        ``sample, pattern, entity, name, source``.
    labels : Table
        ``sample, pattern, entity, name, prob, label_type``: one row per entity or descriptor row that is a label.
    labels_flat : Table
        ``sample, name, prob``: each label of a report once, with its highest probability, sorted by name.
    mode : str
        "documented" or "reference".
    """

    def __init__(
        self,
        engine: Engine,
        texts: list[str],
        samples: NDArray[np.int64],
        numbers: NDArray[np.int32],
        probs: NDArray[np.float64],
    ) -> None:
        self._engine = engine
        self._texts = texts
        self._flat = samples, numbers, probs
        self.mode = engine.mode

    def __len__(self) -> int:
        return len(self._texts)

    def __repr__(self) -> str:
        return f"Result({len(self)} reports, {len(self._flat[0])} labels, mode {self.mode!r})"

    @property
    def label_names(self) -> list[str]:
        """list of str: the names that occur in ``labels_flat``, sorted."""
        names = self._engine.rules.labels
        return [names[i] for i in np.unique(self._flat[1])]

    @cached_property
    def labels_flat(self) -> Table:
        samples, numbers, probs = self._flat
        return Table({"sample": samples, "name": self._engine.label_names[numbers], "prob": probs})

    @cached_property
    def texts(self) -> Table:
        return Table({"sample": np.arange(len(self)), "text": strings(self._texts)})

    def by_report(self) -> Iterator[dict[str, float]]:
        """Iterate over the reports: a dict of label name to probability for each, in order of name."""
        samples, numbers, probs = self._flat
        names = self._engine.rules.labels
        bounds = np.searchsorted(samples, np.arange(len(self) + 1)).tolist()
        numbers, probs = numbers.tolist(), probs.tolist()
        for start, end in zip(bounds, bounds[1:]):
            yield {names[n]: p for n, p in zip(numbers[start:end], probs[start:end])}

    def to_multilabel(
        self, names: Sequence[str] | None = None, *, threshold: float = 0.0
    ) -> tuple[NDArray[np.bool_], list[str]]:
        """A boolean array (reports, labels): which report has which label.

        Parameters
        ----------
        names : sequence of str, optional
            The columns. Default: the labels that occur, sorted by name.
        threshold : float
            A label counts when its probability is above this.

        Returns
        -------
        y : ndarray of bool, shape (n, Y)
        names : list of str
        """
        return to_multilabel(self.labels_flat, len(self), names, threshold=threshold)

    # The tables that are made on demand.

    @property
    def matches(self) -> Table:
        return self._details[0]

    @property
    def unmatched(self) -> Table:
        return self._details[1]

    @cached_property
    def _details(self) -> tuple[Table, Table]:
        matcher = self._engine.matcher
        rows, rests = [], []
        for sample, text in enumerate(self._texts):
            places, rest = matcher.place(text)
            rests.append(rest)
            rows += [(sample, *row) for row in link(matcher.patterns, places)]
        columns = "sample:i match:i kind:s text:s start:i end:i left:i right:i pattern:i entities:i"
        stripped = [re.sub(r"[^a-zA-Z0-9 ]", "", rest).strip() for rest in rests]
        unmatched = Table({"sample": np.arange(len(self)), "unmatched": strings(rests), "stripped": strings(stripped)})
        return table(columns, rows), unmatched

    @cached_property
    def _parts(self) -> list[list[Expansion]]:
        return [self._engine.expansions(text) for text in self._texts]

    def _each(self) -> Iterator[tuple[int, int, Expansion]]:
        """(sample, pattern number, expansion) of all reports."""
        for sample, parts in enumerate(self._parts):
            for pattern, part in enumerate(parts):
                yield sample, pattern, part

    @cached_property
    def entities_text(self) -> Table:
        return table(
            "sample:i pattern:i entity:i name:s",
            [(s, p, 0, part.name) for s, p, part in self._each() if part.name is not None],
        )

    @cached_property
    def descriptors_text(self) -> Table:
        return table(
            "sample:i pattern:i entity:i name:s",
            [(s, p, 0, name) for s, p, part in self._each() for name in part.text_descriptors],
        )

    @cached_property
    def entities(self) -> Table:
        return table(
            "sample:i pattern:i entity:i name:s source:s prob:f",
            [
                (s, p, e, name, describe(source, part, s, p), prob)
                for s, p, part in self._each()
                for e, (name, source, prob) in enumerate(part.entities)
            ],
        )

    @cached_property
    def descriptors(self) -> Table:
        return table(
            "sample:i pattern:i entity:i name:s source:s",
            [
                (s, p, e, name, describe(source, part, s, p))
                for s, p, part in self._each()
                for e, name, source in part.descriptors
            ],
        )

    @cached_property
    def labels(self) -> Table:
        return table(
            "sample:i pattern:i entity:i name:s prob:f label_type:s",
            [(s, p, e, name, prob, kind) for s, p, part in self._each() for e, name, prob, kind in part.labels],
        )


def link(patterns: Sequence[Pattern], places: Sequence[Match]) -> list[list[Any]]:
    """The rows of the table of matches of one report, without the sample."""
    rows = []
    left, count = -1, 0
    waiting: list[list[Any]] = []  # rows that belong to the next entity pattern
    for number, (start, end, rank) in enumerate(places):
        pattern = patterns[rank]
        row = [number, pattern.kind, pattern.text, start, end, -1, -1, -1, 0]
        rows.append(row)
        if pattern.kind == ENTITY:
            for other in waiting:
                other[6] = number
            waiting.clear()
            left, row[7], row[8] = number, count if pattern.use else -1, len(pattern.use)
            count += len(pattern.use)
        if pattern.kind == BOUNDARY:
            waiting.clear()
        if pattern.kind in (AFTER, CONNECTIVE):
            row[5] = left
        if pattern.kind in (BEFORE, CONNECTIVE):
            waiting.append(row)
    return rows


def describe(source: tuple[Any, ...], part: Expansion, sample: int, pattern: int) -> str:
    """The source of a row, in the words of the tables."""
    kind = source[0]
    if kind == "text":
        return "text"
    if kind == "compound":
        return f"compound - {source[2]} [{sample}]"
    row = source[-1]
    where = f"[({sample}, {pattern}, {row})]"
    if kind == "attached":
        return f"attached - {source[1]} - {source[2]} {where}"
    word = {"created": "desc_create_entities", "propagated": "propagated", "sup": "sup"}[kind]
    return f"{word} - {part.entities[row][0]} {where}"


def strings(values: Sequence[Any]) -> NDArray[Any]:
    """An object column: texts of very different lengths take no more memory than they need."""
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def table(columns: str, rows: Sequence[Sequence[Any]]) -> Table:
    """A table from rows; ``columns`` gives names and types, as in ``"sample:i name:s prob:f"``."""
    made = {}
    values = list(zip(*rows)) or None
    for i, column in enumerate(columns.split()):
        name, kind = column.split(":")
        content = values[i] if values else ()
        made[name] = strings(content) if kind == "s" else np.array(content, dtype=int if kind == "i" else float)
    return Table(made)

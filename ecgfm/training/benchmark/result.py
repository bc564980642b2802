"""The result of a benchmark: a table in Markdown, CSV, HTML and JSON."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from ..._text import printable, safe
from ..._types import StrPath
from ...storage.atomic import write_text
from ...table import Table, json_value

__all__ = ["Benchmark"]

_HEADS: Final = (
    "model",
    "way",
    "share",
    "task",
    "macro AUROC",
    "interval",
    "as printed",
    "over random weights",
    "classes",
    "train",
    "test",
    "s",
)
_TITLE: Final = "PTB-XL benchmark"
_STYLE: Final = (
    "body{font-family:sans-serif;margin:2em}table{border-collapse:collapse}"
    "td,th{border:1px solid #999;padding:.3em .6em}td:nth-child(n+5){text-align:right}"
)


@dataclass(eq=False)
class Benchmark:
    """What models reach.

    Attributes
    ----------
    table : Table
        A row per model, way, share and task: ``auroc`` (macro, of the test fold), its interval ``auroc_low``,
        ``auroc_high``, and ``printed`` as published tables have it; ``over_random``, the difference to random weights,
        with its interval and p, on the same resamples; ``classes``, ``undefined`` (those without a value
        in the test fold) and ``without_training_positives``; numbers of recordings; ``c`` and ``valid_auroc``, by which
        it was chosen; ``trained_parameters``; ``seconds`` of fitting and ``embedding_seconds`` of this run for the
        model.
    notes : tuple of str
        What the table was made of, and what must be known to read it.
    settings : dict
    """

    table: Table
    notes: tuple[str, ...]
    settings: dict[str, Any]

    def to_markdown(self) -> str:
        """The table and its notes as Markdown."""
        lines = [f"# {_TITLE}", "", *(f"- {_cell(note)}" for note in self.notes), ""]
        lines += [f"| {' | '.join(_HEADS)} |", "|" + "---|" * 4 + "---:|" * (len(_HEADS) - 4)]
        lines += [f"| {' | '.join(map(_cell, cells))} |" for cells in self._cells()]
        undefined = list(self._undefined())
        return "\n".join([*lines, *([""] if undefined else []), *(f"- {_cell(line)}" for line in undefined)]) + "\n"

    def to_html(self) -> str:
        """The same as a page of HTML, which needs nothing else."""
        heads = "".join(f"<th>{escape(head)}</th>" for head in _HEADS)
        rows = ["".join(f"<td>{escape(cell)}</td>" for cell in cells) for cells in self._cells()]
        table = "\n".join([f"<table><tr>{heads}</tr>", *(f"<tr>{row}</tr>" for row in rows), "</table>"])
        head = f'<meta charset="utf-8"><title>{_TITLE}</title><style>{_STYLE}</style>'
        body = f"<h1>{_TITLE}</h1>\n{_listed(self.notes)}\n{table}\n{_listed(self._undefined())}"
        return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'

    def to_text(self) -> str:
        """The same as aligned text."""
        rows = [list(_HEADS), *self._cells()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADS))]
        table = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths)).rstrip() for row in rows]
        return "\n".join([*map(printable, self.notes), "", *table, "", *map(printable, self._undefined())]).rstrip()

    __str__ = to_text

    def __repr__(self) -> str:
        return f"Benchmark({len(self.table)} rows)"

    def write(self, folder: StrPath) -> list[str]:
        """Write ``benchmark.csv``, ``.md``, ``.html`` and ``.json`` into a folder; returns their paths."""
        path = os.path.join(folder, "benchmark")
        self.table.to_csv(f"{path}.csv")
        write_text(f"{path}.md", self.to_markdown())
        write_text(f"{path}.html", self.to_html())
        made = {"settings": json_value(self.settings), "notes": json_value(self.notes), "rows": self.table.json_rows()}
        write_text(f"{path}.json", json.dumps(made, indent=1) + "\n")
        return [f"{path}{ending}" for ending in (".csv", ".md", ".html", ".json")]

    def _cells(self) -> Iterator[list[str]]:
        for row in self.table.rows():
            interval = "" if math.isnan(row["auroc_low"]) else f"{row['auroc_low']:.4f} to {row['auroc_high']:.4f}"
            cells = [row["model"], row["way"], f"{row['share']:g} %", row["task"], _number(row["auroc"]), interval]
            cells += [
                row["printed"],
                _over(row),
                _classes(row),
                f"{row['train']:,}",
                f"{row['test']:,}",
                f"{row['seconds']:.1f}",
            ]
            yield [printable(cell) for cell in cells]

    def _undefined(self) -> Iterator[str]:
        """Which classes have no value, or nothing to learn from, a line each time it is another set."""
        said: dict[str, None] = {}
        for row in self.table.rows():
            if row["undefined"]:
                said[f"{row['task']}: without a value, since the test fold has one class only: {row['undefined']}"] = (
                    None
                )
            if row["without_training_positives"]:
                what = (
                    f"{row['task']}, {row['share']:g} %: no positive in training: {row['without_training_positives']}"
                )
                said[what] = None
        return iter(said)


def _classes(row: Mapping[str, Any]) -> str:
    return f"{row['classes']}" + (" *" if row["undefined"] else "")


def _over(row: Mapping[str, Any]) -> str:
    """The difference to random weights, its interval and p."""
    difference, low, high, p = (row[f"over_random{name}"] for name in ("", "_low", "_high", "_p"))
    if math.isnan(difference):
        return ""
    return f"{difference:+.4f}" + ("" if math.isnan(low) else f" ({low:+.4f} to {high:+.4f}, p {p:.3f})")


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


def _cell(text: str) -> str:
    """Text within a line of Markdown."""
    return safe(printable(text)).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "\\`")


def _listed(lines: Iterable[str]) -> str:
    items: Sequence[str] = [f"<li>{escape(printable(line))}</li>" for line in lines]
    return f"<ul>{''.join(items)}</ul>" if items else ""

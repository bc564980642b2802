"""Labels from the free text of ECG reports.

    ecgfm label reports.csv                       row, label and probability of each label, as CSV
    ecgfm label reports.csv --column note --id study_id --out labels.csv
    ecgfm label reports.parquet --format wide     one row per report, one column per label
    ecgfm label reports.csv --format text         why each report got its labels
    echo "Sinus rhythm with PVCs" | ecgfm label -

Files are .csv, .tsv, .parquet (extra [tables]) or lines of text; - is standard input. Rows are read, labeled and
written some at a time. A file that can't be read is reported and skipped; the exit status is then 1.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TextIO

from .._text import printable, shown, table_cell
from ..errors import ConfigError, Error, LabelError
from ..storage.atomic import replacing
from ..storage.rows import csv_text, plain_csv_text
from .arguments import Arguments, add
from .common import check_out

if TYPE_CHECKING:
    from ..labeler import Explanation, Labeler, Result

__all__ = ["add_arguments", "run"]

_ENDINGS = {"long": (".csv",), "wide": (".csv",), "jsonl": (".jsonl", ".json", ".ndjson"), "text": (".txt",)}


ARGUMENTS: Arguments = {
    "files": {"metavar": "FILE", "nargs": "*", "default": ["-"], "help": "tables of reports, or - (default)"},
    "--column": {"metavar": "NAME", "help": "column with the text; several, separated by commas, are joined"},
    "--id": {"metavar": "NAME", "help": "column to hand on with each report, such as study_id"},
    "--input-format": {"choices": ("csv", "tsv", "parquet", "lines"), "help": "default: by the file name"},
    "--definitions": {"metavar": "DIR", "help": "directory of definitions (default: the package's own)"},
    "--mode": {
        "choices": ("documented", "reference"),
        "default": "documented",
        "help": "documented: what the rules say (default); reference: what ECG-FM's labeler yields",
    },
    "--normalized": {"action": "store_true", "help": "the texts are normalized already"},
    "--labels": {
        "metavar": "NAMES",
        "help": "only these labels: names separated by semicolons, or a "
        "label_def.csv; final: the 17 of ECG-FM's classifier",
    },
    "--format": {
        "choices": ("long", "wide", "jsonl", "text"),
        "default": "long",
        "help": "long: a row per label (default); wide: a column per label; jsonl: an object per report; "
        "text: explanations to read",
    },
    "--explain": {"action": "store_true", "help": "with jsonl: which words led to which label, and how"},
    "--unmatched": {"metavar": "FILE", "help": "write what no pattern took there, a row per report"},
    "--out": {
        "metavar": "FILE",
        "help": "ends in .csv, with jsonl in .jsonl, with text in .txt; default: standard output",
    },
    "--processes": {"type": int, "default": 1, "metavar": "N", "help": "0: one per core (default 1)"},
}


def add_arguments(parser: ArgumentParser) -> None:
    add(parser, ARGUMENTS)


def run(args: Namespace) -> int:
    from ..labeler import load

    if args.explain and args.format not in ("jsonl", "text"):
        raise ConfigError("explanations need --format jsonl or text", field="--explain")
    if args.out is not None:
        check_out(args.out, args.files, _ENDINGS[args.format])
    if args.unmatched is not None:
        check_out(args.unmatched, args.files, _ENDINGS["long"], "--unmatched")
    labeler = load(args.definitions)
    if not args.normalized:
        _ = labeler.normalizer  # what is wrong with its rules is said before anything is written
    names = wanted_labels(args.labels, labeler, args.mode)
    if args.format == "wide" and names is None:
        names = wanted_labels("final", labeler, args.mode)
    failed = 0
    with output(args.out) as stream, output(args.unmatched) if args.unmatched else nullcontext() as rest:
        writer = Writer(args, names, labeler, stream, rest)
        for path in args.files:
            try:
                label_file(path, args, labeler, writer)
            except Error as error:
                if len(args.files) == 1:
                    raise
                failed += 1
                print(f"ecgfm: skipped: {error}", file=sys.stderr, flush=True)
        if failed == len(args.files):
            raise Error(f"none of the {failed} files could be read")
        writer.finish()
    return 1 if failed else 0


def label_file(path: str, args: Namespace, labeler: Labeler, writer: Writer) -> None:
    """Label the reports of one file, in chunks."""
    from ..labeler.reports import Reports

    columns = args.column.split(",") if args.column else None
    kept, row = [], 0

    def texts() -> Iterator[Any]:
        for values, text in Reports(path, columns, [args.id] if args.id else (), args.input_format):
            kept.append((values, text))
            yield text

    for result in labeler.stream(texts(), args.mode, args.normalized, processes=args.processes):
        rows = kept[: len(result)]
        del kept[: len(result)]
        writer.write(path, row, rows, result)
        row += len(result)


def wanted_labels(text: str | None, labeler: Labeler, mode: str) -> list[str] | None:
    """The names that --labels stands for; None for all."""
    from ..checkpoint.labels import read_label_file
    from ..specs.known import MIMIC_IV_ECG

    if text is None:
        return None
    if text == "final":
        names = list(MIMIC_IV_ECG)
    elif text.lower().endswith(".csv"):
        names = read_label_file(text)
    else:
        names = [name.strip() for name in text.split(";") if name.strip()]
    known = set(labeler.engine(mode).rules.labels)
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise LabelError(
            f"the definitions have no label {shown(unknown[0])}" if unknown else "no label is named", field="--labels"
        )
    return list(dict.fromkeys(names))


class Writer:
    """Writes results in the format that was asked for."""

    def __init__(
        self, args: Namespace, names: list[str] | None, labeler: Labeler, stream: TextIO, rest: TextIO | None
    ) -> None:
        self._args, self._names, self._labeler, self._stream = args, names, labeler, stream
        self._set = None if names is None else set(names)
        self._many = len(args.files) > 1
        self._head = (["file"] if self._many else []) + ["row"] + ([args.id] if args.id else [])
        self._rest = rest
        self._cells = {name: table_cell(name) for name in labeler.engine(args.mode).rules.labels}
        self._write = getattr(self, f"_{args.format}")
        self._begun = False

    def write(self, path: str, first: int, rows: Sequence[tuple[Any, Any]], result: Result) -> None:
        """Write one chunk; ``first`` is the number of its first report in its file, from 0."""
        self._begin()
        heads = [([path] if self._many else []) + [row, *values] for row, (values, _) in enumerate(rows, first)]
        self._write(heads, rows, result)
        if self._rest is not None:
            rest = result.unmatched["stripped"].tolist()
            self._rest.write(csv_text([*map(_cell, head), text] for head, text in zip(heads, rest)))
        self._stream.flush()

    def _begin(self) -> None:
        """The heads of the tables; not before there is something to write, lest an error follow them."""
        if self._begun:
            return
        self._begun = True
        if self._args.format in ("long", "wide"):
            columns = ["label", "probability"] if self._args.format == "long" else self._names or []
            self._stream.write(plain_csv_text([[*self._head, *columns]]))
        if self._rest is not None:
            self._rest.write(plain_csv_text([[*self._head, "unmatched"]]))

    def finish(self) -> None:
        """A table without rows has its head all the same."""
        self._begin()
        self._stream.flush()

    def _labels(self, result: Result) -> Iterator[dict[str, float]]:
        for labels in result.by_report():
            yield labels if self._set is None else {n: p for n, p in labels.items() if n in self._set}

    def _long(self, heads: Sequence[Sequence[Any]], rows: Sequence[tuple[Any, Any]], result: Result) -> None:
        for head, labels in zip(heads, self._labels(result)):
            head = [*map(_cell, head)]
            rows_of = ([*head, self._cells[name], digits(prob)] for name, prob in labels.items())
            self._stream.write(csv_text(rows_of))

    def _wide(self, heads: Sequence[Sequence[Any]], rows: Sequence[tuple[Any, Any]], result: Result) -> None:
        names, each = self._names or [], zip(heads, self._labels(result))
        self._stream.write(
            csv_text([*map(_cell, head), *(digits(labels.get(name, 0.0)) for name in names)] for head, labels in each)
        )

    def _jsonl(self, heads: Sequence[Sequence[Any]], rows: Sequence[tuple[Any, Any]], result: Result) -> None:
        for head, labels, (_, text), normalized in zip(heads, self._labels(result), rows, result.texts["text"]):
            item = dict(zip(self._head, head))
            item["labels"] = labels
            if self._args.explain:
                item["explanation"] = self._explain(text, normalized).to_dict()
            self._stream.write(json.dumps(item, default=str) + "\n")

    def _text(self, heads: Sequence[Sequence[Any]], rows: Sequence[tuple[Any, Any]], result: Result) -> None:
        for head, (_, text), normalized in zip(heads, rows, result.texts["text"]):
            where = ", ".join(f"{name} {value}" for name, value in zip(self._head, head))
            lines = str(self._explain(text, normalized)).splitlines()
            self._stream.write("\n".join([*map(printable, (where, *lines)), "", ""]))

    def _explain(self, text: Any, normalized: str) -> Explanation:
        from ..labeler.explain import Explanation
        from ..labeler.normalizer import clean

        explanation = Explanation(self._labeler.engine(self._args.mode), clean(text), normalized)
        if self._set is not None:
            explanation.labels = [label for label in explanation.labels if label["name"] in self._set]
        return explanation


def _cell(value: Any) -> Any:
    """A value as a cell of a CSV file."""
    return table_cell(value) if isinstance(value, str) else value


def digits(prob: float) -> str:
    """A probability in the fewest digits that say it to nine places."""
    return repr(round(prob, 9)).removesuffix(".0")


@contextmanager
def output(path: str | None) -> Iterator[TextIO]:
    """A text stream to write to: standard output, or a file that takes its place when all is written."""
    if path is None:
        yield sys.stdout
        return
    with replacing(path) as temporary:
        with open(temporary, "w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            yield stream

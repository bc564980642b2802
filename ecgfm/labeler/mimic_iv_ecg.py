"""Labels of MIMIC-IV-ECG from its machine reports, joined to the records by study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._text import shown
from .._types import StrPath
from ..errors import FormatError, LabelError
from ..storage.inputs import open_text
from .label_files import write_label_files
from .labeler import load
from .reports import Reports, table_rows

__all__ = ["make_labels"]

STUDY = "study_id"


def make_labels(
    measurements: StrPath,
    meta: StrPath,
    folder: StrPath,
    *,
    names: Sequence[str],
    splits: StrPath | None = None,
    definitions: StrPath | None = None,
    mode: str = "documented",
    threshold: float = 0.0,
    processes: int = 1,
) -> dict[str, Any]:
    """Label the machine reports and write the label files; see :func:`write_label_files`.

    Parameters
    ----------
    measurements : path-like
        ``machine_measurements.csv``: columns ``study_id`` and ``report_0``, ``report_1``, ... The parts of a report
        are joined with "; ".
    meta : path-like
        A table with ``idx`` and ``study_id`` of each record, such as the ``meta.csv`` of preprocessing.
    folder : path-like
        Where to write.
    names : sequence of str
        The labels, in the order of the outputs.
    splits : path-like, optional
        A table with ``idx`` and ``split``, such as ``meta_split.csv``.
    definitions : path-like, optional
        A directory of definitions. Default: those of the package.
    mode, processes
        As for :meth:`Labeler.label`.
    threshold : float
        A label counts when its probability is above this.

    Returns
    -------
    dict
        ``records``, ``labeled``, ``without_report`` (counts of records) and ``never`` (labels that no record has).

    Raises
    ------
    FormatError
        If a table lacks a column, a study has two reports or is not a number.
    LabelError
        If a name is not a label of the definitions, or no record has a report.
    """
    labeler = load(definitions)
    known = set(labeler.engine(mode).rules.labels)
    for name in names:
        if name not in known:
            raise LabelError("the definitions have no such label", path=definitions, field=name)
    idx, studies = read_meta(meta)
    split_of = read_splits(splits) if splits is not None else None
    wanted = {study: row for row, study in enumerate(studies.tolist())}
    if len(wanted) != len(studies):
        raise FormatError("a study stands twice", path=meta, field=STUDY)
    y = np.zeros((len(idx), len(names)), dtype=bool)
    labeled = np.zeros(len(idx), dtype=bool)
    rows = []  # the records of the reports that are on their way through the labeler

    def texts() -> Iterator[str]:
        for line, ((study,), text) in enumerate(Reports(measurements, keep=[STUDY], format="csv"), 2):
            row = wanted.get(whole(study, measurements, line, STUDY))
            if row is None:
                continue
            if labeled[row]:
                raise FormatError(f"study {shown(study)} has two reports (line {line})", path=measurements, field=STUDY)
            labeled[row] = True
            rows.append(row)
            yield text

    for result in labeler.stream(texts(), mode, processes=processes):
        y[rows[: len(result)]] = result.to_multilabel(names, threshold=threshold)[0]
        del rows[: len(result)]
    if not labeled.any():
        raise LabelError(
            "no record has a report",
            path=measurements,
            field=STUDY,
            remedy=f"Check that {meta} belongs to the same data",
        )
    settings = {
        "source": "mimic_iv_ecg",
        "machine_measurements": str(measurements),
        "meta": str(meta),
        "meta_splits": None if splits is None else str(splits),
        "mode": mode,
        "threshold": threshold,
        "definitions": None if definitions is None else str(definitions),
        "labels": list(names),
    }
    kept = idx[labeled]
    never = write_label_files(
        folder,
        kept,
        y[labeled],
        names,
        extra={STUDY: studies[labeled].tolist()},
        settings=settings,
        splits=None if split_of is None else [split_of.get(i) for i in kept.tolist()],
    )
    return {"records": len(idx), "labeled": int(labeled.sum()), "without_report": int((~labeled).sum()), "never": never}


def read_meta(path: StrPath) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The columns idx and study_id, as arrays of int64."""
    rows = list(read_columns(path, "idx", STUDY))
    if not rows:
        raise FormatError("the table has no rows", path=path)
    idx, studies = (np.array(column, dtype=np.int64) for column in zip(*rows))
    return idx, studies


def read_splits(path: StrPath) -> dict[int, str]:
    """idx -> split."""
    return dict(read_columns(path, "idx", "split"))


def read_columns(path: StrPath, *columns: str) -> Iterator[tuple[Any, ...]]:
    """Columns of a CSV table: whole numbers, split as text."""
    with open_text(path) as stream:
        rows = table_rows(stream, path)
        try:
            header = next(rows, [])
            missing = [name for name in columns if name not in header]
            if missing:
                raise FormatError(
                    "there is no such column",
                    path=path,
                    field=missing[0],
                    remedy=f"The columns are {', '.join(map(shown, header[:30])) or 'none'}",
                )
            places = [header.index(name) for name in columns]
            for line, row in enumerate(rows, 2):
                if row:
                    values = [row[i] if i < len(row) else "" for i in places]
                    yield tuple(
                        value if name == "split" else whole(value, path, line, name)
                        for name, value in zip(columns, values)
                    )
        except UnicodeDecodeError as error:
            raise FormatError(f"not UTF-8 text: {error.reason}", path=path) from None
        except OSError as error:
            raise FormatError(f"can't be read: {error.strerror or error}", path=path) from None


def whole(value: Any, path: StrPath, line: int, column: str) -> int:
    """A whole number; pandas writes 12 as 12.0 when another row lacks one."""
    try:
        number = int(value) if value.isdecimal() else float(value)
        if number == int(number) and abs(number) < 1 << 62:
            return int(number)
    except (TypeError, ValueError, OverflowError, AttributeError):
        pass
    raise FormatError(f"line {line}: {shown(value)} is not a whole number", path=path, field=column)

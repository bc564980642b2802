"""Labels of MIMIC-IV-ECG from its machine reports, joined to the records by study."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._text import shown
from ..._types import StrPath
from ...errors import FormatError, LabelError
from ...labeler.labeler import load
from ...labeler.reports import Reports
from ...storage.columns import read_columns, whole_numbers
from .label_files import write_label_files

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["mimic_iv_ecg_labels"]

_STUDY = "study_id"


def mimic_iv_ecg_labels(
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
    """Label the machine reports and write the label files; see `write_label_files`.

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
        As for `Labeler.label`.
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
    strange = [name for name in names if name not in known]
    if strange:
        raise LabelError("the definitions have no such label", path=definitions, field=strange[0])
    idx, studies = _numbers(meta, "idx", _STUDY)
    if not len(idx):
        raise FormatError("the table has no rows", path=meta)
    split_of = None if splits is None else _split_of(splits)
    rows = {study: row for row, study in enumerate(studies.tolist())}
    if len(rows) != len(studies):
        raise FormatError("a study is there twice", path=meta, field=_STUDY)
    y, labeled = np.zeros((len(idx), len(names)), dtype=bool), np.zeros(len(idx), dtype=bool)
    under_way: deque[int] = deque()  # rows of the reports that are on their way through the labeler
    reports = _wanted_reports(measurements, rows, labeled, under_way)
    for result in labeler.stream(reports, mode, processes=processes):
        y[[under_way.popleft() for _ in range(len(result))]] = result.to_multilabel(names, threshold=threshold)[0]
    if not labeled.any():
        raise LabelError(
            "no record has a report",
            path=measurements,
            field=_STUDY,
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
        extra={_STUDY: studies[labeled].tolist()},
        settings=settings,
        splits=None if split_of is None else [split_of.get(i) for i in kept.tolist()],
    )
    return {"records": len(idx), "labeled": int(labeled.sum()), "without_report": int((~labeled).sum()), "never": never}


def _wanted_reports(
    path: StrPath, rows: Mapping[int, int], labeled: NDArray[np.bool_], under_way: deque[int]
) -> Iterator[str]:
    """The reports of studies that have a row, which is noted in `labeled` and `under_way`."""
    for line, ((text,), report) in enumerate(Reports(path, keep=[_STUDY], format="csv"), 2):
        study = int(text) if len(text) < 19 and text.isdecimal() else whole_numbers([text], path, _STUDY, line=line)[0]
        row = rows.get(int(study))
        if row is None:
            continue
        if labeled[row]:
            raise FormatError(f"study {shown(text)} has two reports (line {line})", path=path, field=_STUDY)
        labeled[row] = True
        under_way.append(row)
        yield report


def _numbers(path: StrPath, *names: str) -> list[NDArray[np.int64]]:
    columns = read_columns(path, names)
    return [whole_numbers(columns[name], path, name) for name in names]


def _split_of(path: StrPath) -> dict[int, str]:
    """Number of a record -> its split."""
    columns = read_columns(path, ["idx", "split"])
    return dict(zip(whole_numbers(columns["idx"], path, "idx").tolist(), columns["split"]))

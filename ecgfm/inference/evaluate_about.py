"""What an evaluation knows of recordings beside their labels: the patient, subgroups; and thresholds of the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .._text import shown
from ..errors import ConfigError, LabelError
from ..metrics.subgroups import as_levels
from ..validation import Number
from .evaluate_truth import Truth, key_text
from .truth_table import mapping_columns

__all__ = ["About", "Patients", "thresholds_of"]

ASSUMED: Final = 0.5
_MISSING = frozenset(("", "nan", "none", "na", "n/a", "null", "<na>", "nat"))


@dataclass(eq=False)
class Patients:
    """Whose recordings they are.

    Attributes
    ----------
    of : ndarray of int
        (recordings,) the patient of each, 0 to their number - 1.
    unknown : int
        Recordings without a patient, each of which counts as a patient of its own.
    """

    of: NDArray[np.int64]
    unknown: int


class About:
    """Patients and subgroups as the user gives them: names of columns of the truth, or a value for each input.

    Parameters
    ----------
    groups, subgroups
        As of `ecgfm.evaluate`.

    Attributes
    ----------
    columns : tuple of str
        The columns of the truth that are needed.
    """

    def __init__(self, groups: Any, subgroups: Any) -> None:
        self.groups = groups if groups is None or isinstance(groups, str) else _values(groups, "groups")
        self.subgroups: dict[str, list[Any] | None] = {}
        if isinstance(subgroups, str):
            subgroups = [one.strip() for one in subgroups.split(",") if one.strip()]
        if hasattr(subgroups, "keys") or hasattr(subgroups, "columns"):
            self.subgroups = dict(mapping_columns(subgroups, indexed=False)[1])
        elif subgroups is not None:
            names = subgroups if isinstance(subgroups, (list, tuple)) else [None]
            if not all(isinstance(name, str) for name in names):
                raise ConfigError(
                    f"{shown(subgroups)} are neither names of columns nor a table",
                    field="subgroups",
                    remedy='Give names, such as ["sex", "age"], or a dict with a value for each recording',
                )
            self.subgroups = {str(name): None for name in names}
        if subgroups is not None and not self.subgroups:
            raise ConfigError(
                "none is given", field="subgroups", remedy='Give names of columns, such as ["sex", "age"]'
            )
        named = [name for name, values in self.subgroups.items() if values is None]
        self.columns = tuple(dict.fromkeys([*[groups] * isinstance(groups, str), *named]))

    def check(self, count: int) -> None:
        """Refuse values that are not one for each input."""
        given = {"groups": None if isinstance(self.groups, str) else self.groups, **self.subgroups}
        for name, values in given.items():
            if values is not None and len(values) != count:
                raise LabelError(f"{len(values)} values of {shown(name)} for {count} recordings", field=name)

    def patients(
        self, truth: Truth, rows: Sequence[int], places: Sequence[int], of_file: NDArray[np.int64], files: Sequence[str]
    ) -> Patients | None:
        """The patient of each recording; None if none is given.

        Parameters
        ----------
        truth : Truth
        rows, places : sequence of int
            Of each input its row of the truth and its place among all inputs.
        of_file : ndarray of int
            The recording that each input is of.
        files : sequence of str
            Their names.
        """
        if self.groups is None:
            return None
        if isinstance(self.groups, str):
            values = [truth.also[self.groups][row] for row in rows]
        else:
            values = [self.groups[place] for place in places]
        keys = [None if _is_missing(value) else key_text(value) for value in values]
        first: dict[int, str | None] = {}
        for key, recording, file in zip(keys, of_file.tolist(), files):
            if first.setdefault(recording, key) != key:
                raise LabelError(
                    "it is of another patient than another file of its recording", path=file, field="groups"
                )
        numbers: dict[object, int] = {}
        of = [numbers.setdefault(("", i) if first[i] is None else first[i], len(numbers)) for i in range(len(first))]
        return Patients(np.array(of, np.int64), sum(key is None for key in first.values()))

    def variables(self, truth: Truth, rows: Sequence[int], places: Sequence[int]) -> dict[str, list[str]]:
        """Variable -> its value of each recording, from the row and the place of its first input."""
        found = {}
        for name, values in self.subgroups.items():
            of = truth.also[name] if values is None else values
            found[name] = as_levels(name, [of[i] for i in (rows if values is None else places)])
        return found


def _values(values: Any, name: str) -> list[Any]:
    array = np.asarray(values, dtype=object) if isinstance(values, (list, tuple)) else np.asarray(values)
    if array.ndim != 1:
        raise ConfigError(
            f"{shown(values)} has not one dimension",
            field=name,
            remedy="Give the name of a column of the labels, or a value for each recording",
        )
    return list(array.tolist())


def _is_missing(value: Any) -> bool:
    return value is None or value != value or (isinstance(value, str) and value.strip().lower() in _MISSING)


def thresholds_of(given: Any, model: Any, labels: Sequence[str]) -> tuple[NDArray[np.float64], str]:
    """The threshold of each label, and where it comes from.

    Parameters
    ----------
    given : float, sequence, mapping or None
        As of `ecgfm.evaluate`; None for those that the model has, or 0.5.
    model : Model
    labels : sequence of str

    Raises
    ------
    ConfigError
        If one is no probability, or they are not those of the labels.
    """
    source = "as given"
    if given is None:
        given, source = getattr(model, "thresholds", None), "the model's"
    if given is None:
        return np.full(len(labels), ASSUMED), f"{ASSUMED} of each label, assumed"
    if isinstance(given, (int, float, np.number)) and not isinstance(given, bool):
        return np.full(len(labels), _one(given)), source
    if isinstance(given, Mapping):
        unknown = [name for name in given if name not in labels]
        if unknown:
            raise ConfigError(f"{shown(unknown[0])} is no label of the model", field="thresholds")
        values = [given.get(name) for name in labels]
    else:
        values = _values(given, "thresholds")
        if len(values) != len(labels):
            raise ConfigError(f"{len(values)} thresholds for {len(labels)} labels", field="thresholds")
    lacking = [value is None or value != value for value in values]
    if any(lacking):
        source += f"; {ASSUMED} of {sum(lacking)} labels without one, assumed"
    return np.array([ASSUMED if none else _one(value) for value, none in zip(values, lacking)]), source


def _one(value: Any) -> float:
    return float(Number(at_least=0, at_most=1).check(value, "thresholds"))

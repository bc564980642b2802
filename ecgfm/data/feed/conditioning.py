"""Which leads of a segment are taken when it is read, and a mean and a deviation for each of the 12."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..._text import shown
from ...errors import ConfigError, FormatError, LeadError
from ...signal.leads import LEADS, canonical_lead
from ...storage.inputs import read_input
from ...validation import refuse_masked

__all__ = ["lead_numbers", "lead_values"]

_MOST_BYTES = 1 << 16  # of a file with a number for each lead


def lead_numbers(leads: str | int | Iterable[int | str], field: str = "leads_to_load") -> list[int]:
    """Numbers of leads, 0 (I) to 11 (V6).

    Parameters
    ----------
    leads : str or sequence of int or str
        Numbers or names in any case, or the text of such a list: ``"[0, 'V1']"``.

    Raises
    ------
    LeadError
        If one is unknown or stands twice.
    """
    remedy = "Give a list of numbers from 0 (I) to 11 (V6) or of names, such as [0,1,6] or ['I','II','V1']"
    given: Any = leads
    if isinstance(leads, str):
        try:
            given = ast.literal_eval(leads)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            raise LeadError(f"{shown(leads)} is not a list", field=field, remedy=remedy) from None
    if isinstance(given, (str, bytes)) or not hasattr(given, "__iter__"):
        given = [given]
    numbers: list[int] = []
    for lead in given:
        name = canonical_lead(lead) if isinstance(lead, str) else ""
        if name in LEADS:
            numbers.append(LEADS.index(name))
        elif isinstance(lead, (int, np.integer)) and not isinstance(lead, bool) and 0 <= lead < len(LEADS):
            numbers.append(int(lead))
        else:
            raise LeadError(f"{shown(lead)} is not a lead", field=field, remedy=remedy)
    if not numbers or len(set(numbers)) != len(numbers):
        raise LeadError("a lead stands twice" if numbers else "no lead is named", field=field, remedy=remedy)
    return numbers


def lead_values(values: Any, field: str, leads: Sequence[int]) -> NDArray[np.float64]:
    """A number for each of the 12 leads, from a text file with one in a line, or as given.

    A list with as many numbers as `leads` is taken as theirs.

    Raises
    ------
    ConfigError, FormatError
        If there is another number of them, or one is not finite (or not positive: ``std_path``).
    """
    path = None
    if isinstance(values, (str, os.PathLike)):
        path = os.fsdecode(values)
        content = read_input(path, most=_MOST_BYTES, field=field)
        try:
            values = [float(line) for line in content.decode().split()]
        except UnicodeDecodeError:
            raise FormatError("not text", path=path, field=field) from None
        except ValueError as error:
            raise FormatError(f"not one number a line: {error}", path=path, field=field) from None
    elif values is None:
        raise ConfigError("normalize needs it", field=field, remedy="Give a text file with one number a line")
    refuse_masked(values, field, ConfigError)
    found = np.asarray(values, np.float64).ravel()
    if len(found) == len(leads) != len(LEADS):
        found, given = np.ones(len(LEADS)), found
        found[list(leads)] = given
    if len(found) != len(LEADS):
        raise ConfigError(f"{len(found)} numbers for {len(LEADS)} leads", path=path, field=field)
    if not np.isfinite(found).all() or (field == "std_path" and not (found > 0).all()):
        what = "finite and positive" if field == "std_path" else "finite"
        raise ConfigError(f"a number is not {what}", path=path, field=field)
    return found[:, None]

"""The leads: their names and spellings, their order, and where each wanted lead of a recording comes from.

One rule holds wherever recordings are prepared. A lead that is not there, or holds nothing but NaN, is missing. Then
III, aVR, aVL and aVF are calculated from I and II (Einthoven's law and Goldberger's leads). Any other missing lead is
an error, unless the caller asks for it to be filled.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .._text import printable, short, shown
from ..errors import LeadError
from ..specs.inputs import LEADS

__all__ = [
    "DERIVED",
    "LEADS",
    "Origins",
    "agreed_leads",
    "canonical_lead",
    "canonical_leads",
    "check_named_once",
    "complete",
    "derive",
    "empty_leads",
    "find_leads",
    "is_lead",
    "listed",
    "names_lead",
]

#: Lead -> the factors of I and II that it is the sum of.
DERIVED: Final = {"III": (-1.0, 1.0), "aVR": (-0.5, -0.5), "aVL": (1.0, -0.5), "aVF": (-0.5, 1.0)}

_MOST_NAME, _MOST_NAMES = 64, 1 << 16  # characters of a lead's name, and how many leads a recording may have
_LISTED = 20  # names that a message holds

_SPELLINGS = {name.lower(): name for name in LEADS}
_SPELLINGS |= {"d" + name.lower(): name for name in LEADS[:3]}  # DI, DII, DIII
_SPELLINGS |= {"vx": "VX", "vy": "VY", "vz": "VZ", "x": "X", "y": "Y", "z": "Z"}  # Frank's leads
_KNOWN = frozenset(_SPELLINGS.values())
_PREFIX = re.compile(r"^(mdc_ecg_|ecg[ _:]+|ekg[ _:]+)?(lead[ _:]*)?")
_SUFFIX = re.compile(r"\s*\([^()]*\)$")  # "Lead I (Einthoven)"; names are cut before they come here


# ---- names --------------------------------------------------------------------------------------


def canonical_lead(name: object) -> str:
    """The usual spelling of a lead's name.

    Case, surrounding spaces and the usual decorations are dropped: ``"AVR"``, ``"lead i"``, ``"MDC_ECG_LEAD_V1"``,
    ``"Lead I (Einthoven)"``, ``"ECG II"``, ``"DIII"``. A name that is none of the 12 leads comes back stripped and
    otherwise unchanged; in particular ``"-aVR"`` (the inverted lead) and ``"MLII"`` (a modified lead) stay as they are.
    Of longer names the first 64 characters count, and what can't be printed becomes an escape.

    Parameters
    ----------
    name : str

    Returns
    -------
    str
    """
    return _canonical(str(name).strip()[:_MOST_NAME])


@lru_cache(4096)
def _canonical(name: str) -> str:
    text = short(printable(name), _MOST_NAME)
    key = _PREFIX.sub("", _SUFFIX.sub("", text.lower()))
    return _SPELLINGS.get(re.sub(r"[ _]", "", key), text)


def canonical_leads(names: str | Iterable[object], *, path: str | None = None) -> tuple[str, ...]:
    """The usual spellings of several leads, given as a sequence or as text with commas.

    Raises
    ------
    LeadError
        If they are no names, or one of the 12 leads is named twice.
    """
    if isinstance(names, str):
        names = names.split(",")
    try:
        leads = tuple(canonical_lead(name) for name in names)
    except TypeError:
        raise LeadError(f"{shown(names)} is not a list of names", path=path, field="leads") from None
    if len(leads) > _MOST_NAMES:
        raise LeadError(f"{len(leads):,} names of leads; at most {_MOST_NAMES:,} are read", path=path, field="leads")
    check_named_once(leads, path=path)
    return leads


def check_named_once(names: Sequence[str], wanted: Iterable[str] = LEADS, *, path: str | None = None) -> None:
    """Refuse canonical names of which a wanted one stands twice."""
    twice = [] if len(set(names)) == len(names) else [name for name in wanted if names.count(name) > 1]
    if twice:
        raise LeadError(
            f"named more than once: {', '.join(twice)}", path=path, field="leads", remedy="Give each lead one name"
        )


def is_lead(name: str) -> bool:
    """Whether a canonical name is that of a lead: one of the 12, or of Frank's."""
    return name in _KNOWN


def names_lead(name: object) -> bool:
    """Whether a name, in any spelling, is that of a lead: one of the 12, or of Frank's."""
    return canonical_lead(name) in _KNOWN


def listed(names: Iterable[object]) -> str:
    """Names for a message: with commas, and not more of them than anyone reads."""
    names = list(names)
    more = f" ... ({len(names)} in all)" if len(names) > _LISTED else ""
    return ", ".join(str(name) for name in names[:_LISTED]) + more


def agreed_leads(
    stated: tuple[str, ...] | None, given: tuple[str, ...] | None, *, path: str | None = None
) -> tuple[str, ...] | None:
    """The names of the rows: those that are given, which must not contradict the lead names that are stated.

    Parameters
    ----------
    stated, given : tuple of str or None
        Canonical names. What is stated and is not a lead's name (``lead_1``) gives way.

    Raises
    ------
    LeadError
        If they contradict each other, or are not as many.
    """
    if stated is None or given is None:
        return given if stated is None else stated
    if len(stated) == len(given) and all(one == other or not is_lead(one) for one, other in zip(stated, given)):
        return given
    raise LeadError(f"the file says {listed(stated)}; given was {listed(given)}", path=path, field="leads")


# ---- what follows from I and II -----------------------------------------------------------------


def derive(name: str, one: ArrayLike, two: ArrayLike) -> NDArray[np.float64]:
    """A lead from I and II.

    Parameters
    ----------
    name : {"III", "aVR", "aVL", "aVF"}
    one, two : array_like
        (samples,) leads I and II.

    Returns
    -------
    ndarray
        (samples,) float64. III = II - I, aVR = -(I + II) / 2, aVL = I - II / 2, aVF = II - I / 2.
    """
    a, b = DERIVED[name]
    return a * np.asarray(one, dtype=np.float64) + b * np.asarray(two, dtype=np.float64)


def complete(signal: NDArray[Any], leads: Sequence[str]) -> tuple[NDArray[Any], tuple[str, ...], tuple[str, ...]]:
    """Add those of III, aVR, aVL, aVF that a recording lacks, if it has I and II.

    Parameters
    ----------
    signal : ndarray
        (leads, samples).
    leads : sequence of str
        Canonical names of its rows.

    Returns
    -------
    tuple
        The signal with the derived rows and the names with theirs, in the order of `LEADS` and then of the file; and
        the names of the derived. All as given if nothing is derived.
    """
    leads = tuple(leads)
    derived = tuple(name for name in DERIVED if name not in leads)
    if not derived or "I" not in leads or "II" not in leads:
        return signal, leads, ()
    one, two = signal[leads.index("I")], signal[leads.index("II")]
    rows = dict(zip(leads, signal)) | {name: derive(name, one, two) for name in derived}
    names = tuple(name for name in LEADS if name in rows) + tuple(name for name in leads if name not in LEADS)
    return np.stack([rows[name] for name in names]), names, derived


# ---- which lead comes from where ----------------------------------------------------------------


@dataclass(frozen=True)
class Origins:
    """Where each of the wanted leads comes from.

    Attributes
    ----------
    wanted : tuple of str
    rows : dict of str to int
        The rows of all that the recording has.
    derived : tuple of str
        Those that are calculated from I and II.
    filled : tuple of str
        Those that are missing, and filled.
    fill : float
        What with.
    """

    wanted: tuple[str, ...]
    rows: dict[str, int]
    derived: tuple[str, ...]
    filled: tuple[str, ...]
    fill: float = 0.0

    @property
    def read(self) -> dict[str, int]:
        """Lead -> row, of those that are taken or calculated from."""
        needed = {"I", "II", *self.wanted} if self.derived else {*self.wanted}
        return {name: row for name, row in self.rows.items() if name in needed}

    @property
    def available(self) -> list[str]:
        """The wanted leads that the recording has, or that are calculated."""
        return [name for name in self.wanted if name not in self.filled]

    def take(
        self, signal: NDArray[Any], first: int = 0, last: int | None = None, dtype: DTypeLike | None = None
    ) -> NDArray[Any]:
        """Samples `first` to before `last` of the wanted leads of a recording (leads, samples): (n, wanted), dense."""
        part = signal[:, first:last]
        out = np.empty((part.shape[1], len(self.wanted)), part.dtype if dtype is None else dtype)
        for i, name in enumerate(self.wanted):
            if name in self.filled:
                out[:, i] = self.fill
            elif name in self.derived:
                out[:, i] = derive(name, part[self.rows["I"]], part[self.rows["II"]])
            else:
                out[:, i] = part[self.rows[name]]
        return out


def empty_leads(signal: NDArray[Any], names: Iterable[str]) -> list[str]:
    """The names of the rows of a recording (leads, samples) that hold nothing but NaN."""
    begins = np.isnan(signal[:, 0]) if signal.shape[1] else ()
    return [name for name, bad, row in zip(names, begins, signal) if bad and np.isnan(row).all()]


def find_leads(
    names: Sequence[str],
    wanted: Sequence[str] = LEADS,
    *,
    missing: str = "error",
    empty: Sequence[str] = (),
    can_derive: bool = True,
    path: str | None = None,
) -> Origins:
    """Where each of the wanted leads comes from, by the one rule for missing leads.

    Parameters
    ----------
    names : sequence of str
        Canonical names of the recording's rows.
    wanted : sequence of str
    missing : {"error", "zero", "nan"}
        What happens to a lead that is missing and can't be calculated: that is an error, or it is filled. A recording
        that has none of the wanted leads is refused in any case.
    empty : sequence of str
        Leads that hold nothing but NaN, which are missing; see `empty_leads`.
    can_derive : bool
        Whether leads may be calculated from I and II. In a standardised recording they can't be.
    path : str, optional
        For messages.

    Raises
    ------
    LeadError
        If a wanted lead is named twice, or is missing, can't be calculated and is not to be filled.
    """
    check_named_once(names, wanted, path=path)
    rows = {name: i for i, name in enumerate(names) if name not in empty}
    can_derive = can_derive and "I" in rows and "II" in rows
    derived = tuple(name for name in wanted if name not in rows and name in DERIVED and can_derive)
    absent = tuple(name for name in wanted if name not in rows and name not in derived)
    if absent and (missing == "error" or len(absent) == len(wanted)):
        why = f"the recording has {listed(names)}"
        nothing = [name for name in absent if name in empty]
        if nothing:
            why = "holding nothing but NaN" + ("" if nothing == list(absent) else f": {', '.join(nothing)}")
        raise LeadError(
            f"leads missing: {', '.join(absent)} ({why})",
            path=path,
            field="leads",
            remedy="The model needs all 12 leads; missing_leads='zero' (--missing-leads zero) fills these with zeros",
        )
    return Origins(tuple(wanted), rows, derived, absent, np.nan if missing == "nan" else 0.0)

"""A recording in memory."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._text import printable, short
from ..errors import LeadError, SignalError
from ..signal.checks import UNIT_ASSUMED, checked_rate, checked_signal, checked_unit, millivolts_per
from ..signal.leads import agreed_leads, canonical_leads, names_lead
from .named import named_rows

__all__ = ["Record"]


@dataclass(eq=False)
class Record:
    """One recording.

    Parameters
    ----------
    signal : array_like
        (leads, samples), millivolt. Kept as C-contiguous float32; not copied if it is that already. NaN stays NaN.
    sampling_rate : float
        In Hz.
    leads : sequence of str
        One name per row of ``signal``, in any usual spelling (see `canonical_lead`).
    source : str, optional
        Where the recording comes from, usually a file's path.
    standardised : bool
        True if each lead was standardised over the whole recording already, so that `prepare` must not do it again.
    start_s : float
        Time of the first sample in the recording that this one was cut from.
    notes : tuple of str
        What a reader assumed or did, in words. Travels into every result.
    derived : tuple of str
        Leads that were not recorded but calculated from I and II.
    units : tuple of (str or None)
        What the file states the values of each lead to be in, before they became millivolts; None where it states
        nothing and millivolts are assumed; an empty text where only the reader knows it. None at all: millivolts.

    Raises
    ------
    SignalError, LeadError
        If the parts contradict each other. A signal that names its leads (a DataFrame) must name these.
    """

    signal: NDArray[np.float32]
    sampling_rate: float
    leads: tuple[str, ...]
    source: str | None = None
    standardised: bool = False
    start_s: float = 0.0
    notes: tuple[str, ...] = field(default=())
    derived: tuple[str, ...] = field(default=())
    units: tuple[str | None, ...] = field(default=())

    def __post_init__(self) -> None:
        self.source = None if self.source is None else str(self.source)
        signal, leads = _rows_of(self.signal, self.leads, self.source)
        signal = checked_signal(signal, path=self.source)
        with np.errstate(over="ignore"):  # a value beyond float32 becomes inf, which prepare() names
            self.signal = np.asarray(signal, dtype=np.float32, order="C")
        self.sampling_rate = checked_rate(self.sampling_rate, path=self.source)
        self.leads = canonical_leads(leads, path=self.source)
        self.notes, self.derived, self.units = tuple(self.notes), tuple(self.derived), tuple(self.units)
        if len(self.leads) != len(self.signal):
            raise LeadError(
                f"{len(self.leads)} lead names for {len(self.signal)} rows of signal", path=self.source, field="leads"
            )

    @property
    def samples(self) -> int:
        """int: samples per lead."""
        return int(self.signal.shape[1])

    @property
    def duration_s(self) -> float:
        """float: samples divided by the sampling rate."""
        return self.samples / self.sampling_rate

    def set_unit(self, unit: str | None) -> None:
        """Take the values of leads whose unit the file doesn't state to be in this one; None changes nothing.

        Parameters
        ----------
        unit : {"mV", "uV", "V"} or None

        Raises
        ------
        SignalError
            If the file states another, or the recording isn't from a file and so in millivolts.
        """
        if checked_unit(unit) is None or self.standardised:
            return
        for name, stated in zip(self.leads, self.units or ("mV",) * len(self.leads)):
            if stated is not None and millivolts_per(stated) != millivolts_per(unit):
                says = f"the file says {short(printable(stated), 20)}" if stated else "the file states its unit"
                raise SignalError(
                    f"{says}; given was {unit}" if self.units else f"a Record is in mV, not in {unit}",
                    path=self.source,
                    field=f"unit of lead {name}",
                    remedy="Leave out the unit",
                )
        factor = np.float32(millivolts_per(unit))
        for i, stated in enumerate(self.units):
            if stated is None:
                self.signal[i] *= factor
        self.units = tuple(stated or unit for stated in self.units)
        self.notes = tuple(note for note in self.notes if note != UNIT_ASSUMED)

    def __repr__(self) -> str:
        return (
            f"Record({len(self.leads)} leads, {self.samples} samples, {self.sampling_rate:g} Hz,"
            f" {self.duration_s:.2f} s, source={self.source!r})"
        )


def _rows_of(signal: Any, leads: Any, source: str | None) -> tuple[Any, Any]:
    """The signal as rows and its names, where it carries some, held against those that are given."""
    signal, names, _ = named_rows(signal, names_lead)
    if names is None:
        return signal, leads
    stated, given = canonical_leads(names, path=source), canonical_leads(leads, path=source)
    return signal, agreed_leads(stated, given, path=source)

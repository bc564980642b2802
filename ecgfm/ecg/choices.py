"""What a user chooses of how recordings are read and prepared, checked before any is read."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..errors import LeadError
from ..signal.checks import checked_rate, checked_unit
from ..signal.leads import LEADS, canonical_leads
from ..specs.inputs import SAMPLES, SAMPLING_RATE
from ..validation import Settings, number, one_of

__all__ = ["Choices"]

_MOST_OVERLAP_S = 4.9


@dataclass(frozen=True, slots=True)
class Choices(Settings):
    """The options of `ecgfm.prepare`.

    Attributes
    ----------
    sampling_rate, leads, missing_leads, short, only_leads, overlap_s, unit
        As of `ecgfm.prepare`; rate and leads are for what doesn't state its own.
    used : tuple of str
        The leads that the model may see, in the order of `LEADS`.

    Raises
    ------
    ConfigError, LeadError, SignalError
        If an option is not known, or `only_leads` names another lead or none.
    """

    sampling_rate: float | None = None
    leads: str | Sequence[str] | None = None
    missing_leads: str = one_of("error", "zero", default="error")
    short: str = one_of("error", "pad", default="error")
    only_leads: str | Sequence[str] | None = None
    overlap_s: float = number(0.0, at_least=0, at_most=_MOST_OVERLAP_S)
    unit: str | None = None
    used: tuple[str, ...] = field(init=False)

    def agree(self) -> None:
        if self.sampling_rate is not None:
            object.__setattr__(self, "sampling_rate", checked_rate(self.sampling_rate))
        if self.leads is not None:
            object.__setattr__(self, "leads", canonical_leads(self.leads))
        checked_unit(self.unit)
        only = LEADS if self.only_leads is None else canonical_leads(self.only_leads)
        strange = [name for name in only if name not in LEADS]
        if strange or not only:
            raise LeadError(
                f"none of the 12 leads: {', '.join(strange) or 'no name'}",
                field="only_leads",
                remedy=f"Choose from {', '.join(LEADS)}",
            )
        object.__setattr__(self, "used", tuple(name for name in LEADS if name in only))

    @property
    def step(self) -> int:
        """From the start of a segment to that of the next, in samples at 500 Hz."""
        return SAMPLES - round(self.overlap_s * SAMPLING_RATE)

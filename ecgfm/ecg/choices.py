"""What a user chooses of how recordings are read and prepared, checked before any is read."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..errors import ConfigError, LeadError
from ..signal.checks import checked_rate, checked_unit
from ..signal.leads import canonical_leads
from ..specs.inputs import ECG_FM, InputSpec
from ..validation import Number, Settings, number, one_of

__all__ = ["Choices"]

_LEAST_NEW_S = 0.1  # of each segment


@dataclass(frozen=True, slots=True)
class Choices(Settings):
    """The options of `ecgfm.prepare`.

    Attributes
    ----------
    sampling_rate, leads, missing_leads, short, only_leads, overlap_s, unit
        As of `ecgfm.prepare`; rate and leads are for what doesn't state its own.
    input : InputSpec
        What the model takes.
    used : tuple of str
        The leads that the model may see, in its order.

    Raises
    ------
    ConfigError, LeadError, SignalError
        If an option is not known, `only_leads` names another lead or none, or nobody said which leads the model takes.
    """

    sampling_rate: float | None = None
    leads: str | Sequence[str] | None = None
    missing_leads: str = one_of("error", "zero", default="error")
    short: str | None = one_of("error", "pad", default=None)
    only_leads: str | Sequence[str] | None = None
    overlap_s: float = number(0.0, at_least=0)
    unit: str | None = None
    input: InputSpec = ECG_FM
    used: tuple[str, ...] = field(init=False)

    def agree(self) -> None:
        if self.sampling_rate is not None:
            object.__setattr__(self, "sampling_rate", checked_rate(self.sampling_rate))
        if self.leads is not None:
            object.__setattr__(self, "leads", canonical_leads(self.leads))
        checked_unit(self.unit)
        most = max(self.input.duration_s - _LEAST_NEW_S, 0)
        Number(0, at_most=round(most, 9)).check(self.overlap_s, "overlap_s")
        if self.input.leads is None:
            raise ConfigError(
                "nothing says which leads the model takes",
                field="input.leads",
                remedy="Say it in their order: ecgfm.load(path, input={'leads': [...]}), --input leads=I,II,...",
            )
        object.__setattr__(self, "used", self._chosen(self.input.leads))

    def _chosen(self, leads: tuple[str, ...]) -> tuple[str, ...]:
        only = leads if self.only_leads is None else canonical_leads(self.only_leads)
        strange = [name for name in only if name not in leads]
        if strange or not only:
            raise LeadError(
                f"none of the {len(leads)} leads: {', '.join(strange) or 'no name'}",
                field="only_leads",
                remedy=f"Choose from {', '.join(leads)}",
            )
        return tuple(name for name in leads if name in only)

    @property
    def step(self) -> int:
        """From the start of a segment to that of the next, in samples at the model's rate."""
        return self.input.samples - round(self.overlap_s * self.input.sampling_rate)

    @property
    def pads(self) -> bool:
        """bool: whether what is shorter than a segment is padded."""
        return (self.short or self.input.short) == "pad"

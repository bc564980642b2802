"""What a user chooses of how recordings are prepared, checked before any is read."""

import math
from dataclasses import dataclass

from ..errors import ConfigError, LeadError
from ..signal.checks import checked_unit
from ..signal.leads import LEADS, canonical_leads
from ..specs.inputs import SAMPLES, SAMPLING_RATE

__all__ = ["Choices", "check_choices"]

_MOST_OVERLAP_S = 4.9


@dataclass(frozen=True)
class Choices:
    zero_missing: bool
    pad: bool
    used: tuple  # the leads that the model may see
    step: int = SAMPLES  # from the start of a segment to that of the next, in samples at 500 Hz
    unit: str = None


def check_choices(missing_leads="error", short="error", only_leads=None, overlap_s=0.0, unit=None):
    """Find out before any recording is read whether these options of `prepare` can be.

    Raises
    ------
    ConfigError, LeadError, SignalError
        If an option is not known, or `only_leads` names another lead or none.
    """
    if missing_leads not in ("error", "zero"):
        raise ConfigError(f"{missing_leads!r} is not known", field="missing_leads", remedy="Give 'error' or 'zero'")
    if short not in ("error", "pad"):
        raise ConfigError(f"{short!r} is not known", field="short", remedy="Give 'error' or 'pad'")
    used = LEADS if only_leads is None else canonical_leads(only_leads)
    strange = [name for name in used if name not in LEADS]
    if strange or not used:
        raise LeadError(
            f"none of the 12 leads: {', '.join(strange) or 'no name'}",
            field="only_leads",
            remedy=f"Choose from {', '.join(LEADS)}",
        )
    step = SAMPLES - _checked_overlap(overlap_s)
    return Choices(missing_leads == "zero", short == "pad", used, step, checked_unit(unit))


def _checked_overlap(overlap_s):
    """The overlap in samples."""
    try:
        seconds = float(overlap_s)
    except (TypeError, ValueError):
        seconds = math.nan
    if isinstance(overlap_s, bool) or not 0 <= seconds <= _MOST_OVERLAP_S:
        raise ConfigError(
            f"{overlap_s!r} is not a number from 0 to {_MOST_OVERLAP_S:g}",
            field="overlap_s",
            remedy="Give the seconds that a segment of 5 s shares with the next",
        )
    return round(seconds * SAMPLING_RATE)

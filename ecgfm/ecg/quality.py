"""What is doubtful about a recording, found without changing it: a summary for people, not a diagnosis."""

from typing import Any

from ..signal.quality import describe, findings
from .record import Record

__all__ = ["describe", "findings", "quality"]


def quality(record: Record) -> dict[str, Any]:
    """What is doubtful about a recording.

    Parameters
    ----------
    record : Record

    Returns
    -------
    dict
        Only what was found, so that an empty one means nothing was:

        - ``flat``: list of leads that hold one value for 1 s or longer;
        - ``clipped``: list of leads whose largest or smallest value is held for 20 ms or longer at least twice, and
          left in between;
        - ``nan``: lead -> number of samples that are NaN or infinite;
        - ``amplitude``: lead -> peak-to-peak value in mV, where it is not between 0.05 and 20 mV (often a wrong unit);
        - ``sampling_rate``: the rate in Hz, where it is not between 100 and 10,000 Hz;
        - ``swapped``: the two limb leads whose names are exchanged. Only if it is certain: as named, the six limb
          leads contradict Einthoven's law, and exchanging these two names, and no other change of names, mends it.
    """
    return findings(
        record.signal, record.sampling_rate, record.leads, derived=record.derived, standardised=record.standardised
    )

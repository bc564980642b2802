"""Recordings: read them, prepare them for the model, simulate them."""

from typing import TYPE_CHECKING

from ..signal.conditioning import resample
from ..signal.leads import LEADS, canonical_lead, canonical_leads
from ..specs.inputs import SAMPLES, SAMPLING_RATE
from . import augment
from .prepare import Segments, prepare
from .quality import quality
from .record import Record
from .simulate import simulate
from .simulation import LABELS as SIMULATED_LABELS
from .simulation import SimulatedPatient, SimulatedRecord, simulate_cohort, write_wfdb

__all__ = [
    "LEADS",
    "SAMPLES",
    "SAMPLING_RATE",
    "SIMULATED_LABELS",
    "Record",
    "Segments",
    "SimulatedPatient",
    "SimulatedRecord",
    "augment",
    "canonical_lead",
    "canonical_leads",
    "prepare",
    "quality",
    "read",
    "resample",
    "simulate",
    "simulate_cohort",
    "write_wfdb",
]


if TYPE_CHECKING:
    from ..io import read as read
else:

    def __getattr__(name: str) -> object:
        if name == "read":  # of the floor above
            from ..io import read

            return read
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), "read"})

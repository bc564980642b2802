"""Recordings: read them, prepare them for the model, simulate them."""

from .prepare import SAMPLES, SAMPLING_RATE, Segments, prepare, resample
from .quality import quality
from .readers import read
from .record import LEADS, Record, canonical_lead, canonical_leads
from .simulate import simulate

__all__ = [
    "LEADS",
    "SAMPLES",
    "SAMPLING_RATE",
    "Record",
    "Segments",
    "canonical_lead",
    "canonical_leads",
    "prepare",
    "quality",
    "read",
    "resample",
    "simulate",
]

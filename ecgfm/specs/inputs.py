"""What ECG-FM takes: segments of 12 leads, 5 s at 500 Hz."""

from typing import Final

__all__ = ["LEADS", "SAMPLES", "SAMPLING_RATE"]

#: The 12 leads in the order that the model takes them.
LEADS: Final = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
SAMPLES: Final = 2500  # of a segment
SAMPLING_RATE: Final = 500  # Hz

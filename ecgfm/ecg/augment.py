"""Perturbations of segments, under the name that users know; see `ecgfm.signal.augment`."""

from ..signal.augment import (
    PERTURBATIONS,
    augmentation,
    baseline_shift,
    baseline_wander,
    emg_noise,
    powerline_noise,
    random_leads_masking,
)

__all__ = [
    "PERTURBATIONS",
    "augmentation",
    "baseline_shift",
    "baseline_wander",
    "emg_noise",
    "powerline_noise",
    "random_leads_masking",
]

"""The noise of training: spans of masked steps and channels, negatives, perturbations; given, or drawn by counters."""

from .draws import Purpose, Source, codebook_negatives, gumbel, negatives, perturb
from .spans import channel_masks, check_steps, compute_mask_indices, time_masks

__all__ = [
    "Purpose",
    "Source",
    "channel_masks",
    "check_steps",
    "codebook_negatives",
    "compute_mask_indices",
    "gumbel",
    "negatives",
    "perturb",
    "time_masks",
]

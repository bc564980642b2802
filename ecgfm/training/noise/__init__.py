"""The noise of training: drawn by counters, or given as arrays.

What a caller may give by name, with B segments (in pretraining the rows of the pairs in their order), T tokens, M of
them masked in each row, L leads, C channels, H heads, F feed-forward channels, G codebooks of V entries:

- masks of dropout, True = kept: ``input``, ``encoder``, ``final`` (B, T, C), the last in finetuning alone;
  ``layer{i}.attention`` (B, H, T, T), ``layer{i}.activation`` (B, T, F), ``layer{i}.residual1`` and
  ``layer{i}.residual2`` (B, T, C); ``layers`` (layers,), False for a layer that is left out. Those whose probability is
  0 are not looked at.
- in pretraining, under the original's names: ``lead_kept`` (B, L) bool, which replaces all perturbations;
  ``mask_indices`` (B, T) bool; ``mask_channel_indices`` (B, C) bool; ``neg_idxs`` (B, M n) or (B M, n) rows of the B M
  masked steps; ``codebook_idxs`` (m, B M); ``gumbel`` (B M, G V) or (B M G, V).
"""

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

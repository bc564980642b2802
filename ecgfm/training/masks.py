"""The old name of `ecgfm.training.noise.spans`."""

from __future__ import annotations

from .noise.spans import Spans, compute_mask_indices, equal_rows

__all__ = ["Spans", "compute_mask_indices", "equal_rows"]

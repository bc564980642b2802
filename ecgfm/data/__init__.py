"""Data sets: their order and their batches."""

from .order import batches, epoch_order

__all__ = ["batches", "epoch_order"]

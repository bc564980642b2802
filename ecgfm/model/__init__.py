"""The model: load a checkpoint, run segments through it."""

from .model import Model, Output, load

__all__ = ["Model", "Output", "load"]

"""The model: load a checkpoint, run segments through it."""

from . import pickling as pickling  # it teaches pickle and copy what a model is
from .loading import load
from .model import Model, Output
from .quantization import quantization_report
from .report import QuantizationReport

__all__ = ["Model", "Output", "QuantizationReport", "load", "quantization_report"]

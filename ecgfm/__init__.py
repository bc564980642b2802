"""ECG-FM, the open foundation model for 12-lead ECGs, on C kernels: NumPy in, NumPy out.

Not for clinical use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from . import _moved
from .errors import (
    CheckpointError,
    ConfigError,
    Error,
    FormatError,
    InputWarning,
    LabelError,
    LeadError,
    MissingExtraError,
    SignalError,
)

if TYPE_CHECKING:  # what `__getattr__` imports when it is first used, as editors and type checkers see it
    from . import _core as _core
    from . import checkpoint as checkpoint
    from . import data as data
    from . import ecg as ecg
    from . import inference as inference
    from . import io as io
    from . import labeler as labeler
    from . import model as model
    from . import ranks as ranks
    from . import training as training
    from . import view as view
    from .ecg import LEADS, Record, Segments, prepare
    from .inference.calibrate import calibrate
    from .inference.compare import compare
    from .inference.embed import embed
    from .inference.evaluate import evaluate
    from .inference.predict import predict
    from .inference.result import Result
    from .inference.saliency import saliency
    from .io import read
    from .kernels import get_num_threads, set_num_threads
    from .model import Model, Output, QuantizationReport, load, quantization_report
    from .specs.inputs import InputSpec
    from .table import Table
    from .training.finetune import finetune
    from .training.pretrain import pretrain
    from .training.trainer import Trainer
    from .view.plot import plot

_moved.install()

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "ConfigError",
    "Error",
    "FormatError",
    "InputSpec",
    "InputWarning",
    "LEADS",
    "LabelError",
    "LeadError",
    "MissingExtraError",
    "Model",
    "Output",
    "QuantizationReport",
    "Record",
    "Result",
    "Segments",
    "SignalError",
    "Table",
    "Trainer",
    "__version__",
    "calibrate",
    "compare",
    "embed",
    "evaluate",
    "finetune",
    "get_num_threads",
    "load",
    "plot",
    "predict",
    "prepare",
    "pretrain",
    "quantization_report",
    "read",
    "saliency",
    "set_num_threads",
]

if not TYPE_CHECKING:
    # Module -> the public names that it defines. A module is imported when one of them is first used, so that a part of
    # the package that needs no kernels does not load them.
    _DEFINES = {
        "kernels": ("get_num_threads", "set_num_threads"),
        "ecg": ("LEADS", "Record", "Segments", "prepare"),
        "inference": ("Result", "calibrate", "compare", "embed", "evaluate", "predict", "saliency"),
        "io": ("read",),
        "model": ("Model", "Output", "QuantizationReport", "load", "quantization_report"),
        "specs.inputs": ("InputSpec",),
        "table": ("Table",),
        "training": ("Trainer", "finetune", "pretrain"),
        "view": ("plot",),
    }
    _WHERE = {name: module for module, names in _DEFINES.items() for name in names}
    _MODULES = ("checkpoint", "data", "ecg", "inference", "io", "labeler", "model", "ranks", "training", "view")

    def __getattr__(name):
        if name == "_core":
            from .kernels import core

            return core()
        if name in _WHERE:
            value = getattr(import_module(f".{_WHERE[name]}", __name__), name)
            globals()[name] = value
            return value
        if name in _MODULES:
            return import_module(f".{name}", __name__)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        return sorted({*globals(), *_WHERE, *_MODULES})

"""ECG-FM, the open foundation model for 12-lead ECGs, on C kernels: NumPy in, NumPy out.

Not for clinical use.
"""

from importlib import import_module

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

__version__ = "0.1.0"

# Public name -> the module that defines it. They are imported when they are first used, so that a part
# of the package that needs no kernels does not load them.
_WHERE = {
    "Model": ".model",
    "Output": ".model",
    "load": ".model",
    "get_num_threads": ".kernels",
    "set_num_threads": ".kernels",
    "LEADS": ".ecg",
    "Record": ".ecg",
    "Segments": ".ecg",
    "prepare": ".ecg",
    "read": ".io",
    "Result": ".inference",
    "embed": ".inference",
    "evaluate": ".inference",
    "predict": ".inference",
    "saliency": ".inference",
    "Table": ".table",
    "plot": ".view",
    "Trainer": ".training",
    "finetune": ".training",
    "pretrain": ".training",
}
_MODULES = ("checkpoint", "data", "ecg", "inference", "io", "labeler", "model", "ranks", "training", "view")

__all__ = [
    "CheckpointError",
    "ConfigError",
    "Error",
    "FormatError",
    "InputWarning",
    "LabelError",
    "LeadError",
    "MissingExtraError",
    "SignalError",
    "__version__",
    *_WHERE,
]


def __getattr__(name):
    if name == "_core":
        from .kernels import core

        return core()
    if name in _WHERE:
        value = getattr(import_module(_WHERE[name], __name__), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_WHERE, *_MODULES})

"""How many threads the kernels use."""

import os
import threading

from ._load import load_core
from .errors import ConfigError

__all__ = ["core", "get_num_threads", "set_num_threads"]

_loading = threading.RLock()  # loading changes the environment for a moment
_ready = None


def core():
    """``ecgfm._core``, loaded at the first call, with the threads that ``ECGFM_NUM_THREADS`` asks for."""
    return _ready or _load()


def _load():
    global _ready
    with _loading:
        if _ready is None:
            value = os.environ.get("ECGFM_NUM_THREADS", "").strip()
            count = _check(value, "ECGFM_NUM_THREADS") if value else None
            module = load_core()
            if count is not None:
                _set(module, count, "ECGFM_NUM_THREADS")
            _ready = module
    return _ready


def set_num_threads(n):
    """Set the number of threads of all later calls.

    Parameters
    ----------
    n : int
        At least 1. The default is the environment variable ``ECGFM_NUM_THREADS``, else the number of
        processors that this process may use. Results are the same to the bit at a given number.

    Raises
    ------
    ConfigError
        If `n` is not a positive integer, or this process can't start so many threads.
    """
    _set(core(), _check(n, "num_threads"), "num_threads")


def get_num_threads():
    """The number of threads that a call made now would use.

    It is 1 in a child process made by ``fork``, where the worker threads of the parent don't exist.
    """
    return core().get_num_threads()


def _set(module, count, field):
    try:
        module.set_num_threads(count)
    except MemoryError as error:
        raise ConfigError(str(error), field=field) from None


def _check(n, field):
    try:
        count = int(n)
    except (TypeError, ValueError):
        count = 0
    if isinstance(n, (bool, float)) or not 1 <= count <= 4096:
        raise ConfigError(f"{n!r} is not a number of threads", field=field, remedy="Give an integer from 1 to 4096")
    return count

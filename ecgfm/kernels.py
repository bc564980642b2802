"""The compiled kernels: loading them with oneDNN's library, and how many threads they use."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import CDLL, POINTER, RTLD_LOCAL, Structure, c_int
from importlib import import_module
from types import ModuleType

from ._text import shown
from .errors import ConfigError

__all__ = ["core", "get_num_threads", "set_num_threads"]

_MOST_THREADS = 4096
_loading = threading.RLock()  # loading changes the environment for a moment
_ready: ModuleType | None = None


def core() -> ModuleType:
    """``ecgfm._core``, loaded at the first call, with the threads that ``ECGFM_NUM_THREADS`` asks for.

    ``ECGFM_ONEDNN`` may name another ``libdnnl.so.3`` (the file name of every oneDNN 3.x). Otherwise the library is
    found through the extension's rpath, or, where that does not lead to it (an editable install), where the installed
    distribution says that it lies.
    """
    return _ready or _load()


def set_num_threads(n: int) -> None:
    """Set the number of threads of all later calls.

    Parameters
    ----------
    n : int
        At least 1. The default is the environment variable ``ECGFM_NUM_THREADS``, else the number of
        processors that this process may use. Results are the same to the bit at a given number.

    Raises
    ------
    ConfigError
        If `n` is not a positive integer, or this process can't start that many threads.
    """
    _set(core(), _count(n, "num_threads"), "num_threads")


def get_num_threads() -> int:
    """The number of threads that a call made now would use.

    It is 1 in a child process made by ``fork``, where the worker threads of the parent don't exist.
    """
    return int(core().get_num_threads())


def _set(module: ModuleType, count: int, field: str) -> None:
    try:
        module.set_num_threads(count)
    except MemoryError as error:
        raise ConfigError(str(error), field=field) from None


def _count(n: object, field: str) -> int:
    """The number of threads that a number, or the text of one, asks for."""
    try:
        count = int(n)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        count = 0
    if isinstance(n, (bool, float)) or not 1 <= count <= _MOST_THREADS:
        remedy = f"Give an integer from 1 to {_MOST_THREADS}"
        raise ConfigError(f"{shown(n)} is not a number of threads", field=field, remedy=remedy)
    return int(count)


# ---- loading ------------------------------------------------------------------------------------------------------


def _load() -> ModuleType:
    global _ready
    with _loading:
        if _ready is None:
            value = os.environ.get("ECGFM_NUM_THREADS", "").strip()
            count = _count(value, "ECGFM_NUM_THREADS") if value else None
            _load_chosen()
            with _short_waits():
                module = _import_core()
            if count is not None:
                _set(module, count, "ECGFM_NUM_THREADS")
            _ready = module
    return _ready


class _Version(Structure):
    _fields_ = [("major", c_int)]


def _load_chosen() -> None:
    """Load the library that ``ECGFM_ONEDNN`` names, and refuse what the dynamic linker would pass over: only a
    oneDNN 3.x stands in for the one that is installed.
    """
    chosen = os.environ.get("ECGFM_ONEDNN")
    if not chosen:
        return
    try:
        version = CDLL(chosen, mode=RTLD_LOCAL).dnnl_version
    except OSError as error:
        raise ImportError(f"ECGFM_ONEDNN names {chosen!r}, which can't be loaded: {error}") from None
    except AttributeError:
        raise ImportError(f"ECGFM_ONEDNN names {chosen!r}, which is not a oneDNN library") from None
    version.restype = POINTER(_Version)
    major = version().contents.major
    if major != 3:
        raise ImportError(f"ECGFM_ONEDNN names {chosen!r}, which is oneDNN {major}.x; 3.x is needed")


@contextmanager
def _short_waits() -> Iterator[None]:
    """Let OpenMP's idle threads sleep soon, unless the user has said how they wait.

    By default they spin for milliseconds. On a machine with other work to do, a thread that waits so for one that is
    not running keeps the very processor that it waits for: calls become several times slower. libgomp reads the
    variable when it is loaded.
    """
    if {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ):
        yield
        return
    os.environ["GOMP_SPINCOUNT"] = "3000"
    try:
        yield
    finally:
        del os.environ["GOMP_SPINCOUNT"]


def _import_core() -> ModuleType:
    try:
        return import_module("ecgfm._core")
    except ImportError as error:
        if "libdnnl" not in str(error):
            raise
        path = _find_installed()
        if path is None:
            raise ImportError(
                "libdnnl.so.3 was not found. It comes with the package onednn-cpu-gomp, which pip installs beside "
                "ecgfm; 'pip install --target' leaves it out. Install into an environment, or set ECGFM_ONEDNN to "
                "the path of a libdnnl.so.3"
            ) from error
        CDLL(path, mode=RTLD_LOCAL)
        return import_module("ecgfm._core")


def _find_installed() -> str | None:
    from importlib.metadata import PackageNotFoundError, files

    try:
        entries = files("onednn-cpu-gomp") or ()
    except PackageNotFoundError:
        return None
    paths = (str(entry.locate()) for entry in entries if entry.name == "libdnnl.so.3")
    return next((os.path.realpath(path) for path in paths if os.path.exists(path)), None)

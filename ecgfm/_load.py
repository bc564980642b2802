"""Makes oneDNN's library known to the dynamic linker before the extension module asks for it."""

import os
from contextlib import contextmanager
from ctypes import CDLL, POINTER, RTLD_LOCAL, Structure, c_int
from importlib import import_module

__all__ = ["load_core"]


def load_core():
    """Import and return ``ecgfm._core``.

    ``ECGFM_ONEDNN`` may name another ``libdnnl.so.3`` (the file name of every oneDNN 3.x). Otherwise the
    library is found through the extension's rpath, or, where that does not lead to it (an editable
    install), where the installed distribution says that it lies.
    """
    chosen = os.environ.get("ECGFM_ONEDNN")
    if chosen:
        try:
            library = CDLL(chosen, mode=RTLD_LOCAL)
        except OSError as error:
            raise ImportError(f"ECGFM_ONEDNN names {chosen!r}, which can't be loaded: {error}") from None
        _check_onednn(library, chosen)
    with _short_waits():
        return _import_core()


class _Version(Structure):
    _fields_ = [("major", c_int)]


def _check_onednn(library, chosen):
    """Refuse what the dynamic linker would pass over: only a oneDNN 3.x stands in for the one that is installed."""
    try:
        version = library.dnnl_version
    except AttributeError:
        raise ImportError(f"ECGFM_ONEDNN names {chosen!r}, which is no oneDNN library") from None
    version.restype = POINTER(_Version)
    major = version().contents.major
    if major != 3:
        raise ImportError(f"ECGFM_ONEDNN names {chosen!r}, which is oneDNN {major}.x; 3.x is needed")


@contextmanager
def _short_waits():
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


def _import_core():
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


def _find_installed():
    from importlib.metadata import PackageNotFoundError, files

    try:
        entries = files("onednn-cpu-gomp") or ()
    except PackageNotFoundError:
        return None
    for entry in entries:
        path = entry.locate()
        if entry.name == "libdnnl.so.3" and os.path.exists(path):
            return os.path.realpath(path)
    return None

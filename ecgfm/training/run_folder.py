"""The directory of a run: it is made, and what describes the run is written into it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import ConfigError
from ..storage import atomic
from ..storage.inputs import read_input
from .setting_up import label_names_file
from .settings import Feeding

__all__ = ["copy_label_names", "make_folder", "writing"]

_MOST_NAMES = 1 << 24  # bytes of a label_def.csv


def make_folder(folder: str) -> None:
    """Make the directory, which must be one that can be written to.

    Raises
    ------
    ConfigError
    """
    with writing(folder):
        os.makedirs(os.path.join(folder, ".hydra"), exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise _unwritable(folder)


def copy_label_names(feeding: Feeding, folder: str) -> None:
    """Copy the ``label_def.csv`` that is beside the labels, if there is one."""
    named = label_names_file(feeding)
    if named is not None:
        text = read_input(named, most=_MOST_NAMES, field="task.label_file")
        with atomic.writing(os.path.join(folder, "label_def.csv")) as file:
            file.write(text)


@contextmanager
def writing(folder: str) -> Iterator[None]:
    """What the system refuses in here is an error of the directory."""
    try:
        yield
    except OSError as error:
        raise _unwritable(folder, error.strerror) from None


def _unwritable(folder: str, why: str | None = None) -> ConfigError:
    message = f"can't be written to: {why}" if why else "can't be written to"
    return ConfigError(message, path=folder, field="checkpoint.save_dir")

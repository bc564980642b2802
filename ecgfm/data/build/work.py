"""The work on some recordings at a time, in whatever process."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ...errors import ConfigError
from ...storage.atomic import open_own
from .stages import Row, Stages, WriteFailed

__all__ = ["Work", "check_outputs", "clean"]

_HALF_WRITTEN = re.compile(r"\.(csv|json|jsonl)\.[0-9a-f]{8}\.tmp$|\.npy\.part\.tmp$")


def check_outputs(folder: str, paths: Iterable[str]) -> None:
    """Refuse what is in the place of a file that is to be written: anything but a file that lies in the folder.

    Raises
    ------
    ConfigError
        If something is a directory, FIFO or device, or a link that leads out of the folder.
    """
    top = os.path.join(os.path.realpath(folder), "")
    for path in paths:
        if os.path.exists(path) and not os.path.isfile(path):
            raise ConfigError("not a regular file", path=path, remedy="Remove it")
        if os.path.islink(path) and not os.path.realpath(path).startswith(top):
            raise ConfigError("a link that leads out of the folder", path=path, remedy="Remove it")


def clean(folder: str, state: str, parts: str) -> None:
    """Remove what a killed run left half written in its folders, and make `parts` anew."""
    shutil.rmtree(parts, ignore_errors=True)
    os.makedirs(parts)
    for one in (folder, state, os.path.join(folder, "packed")):
        for name in os.listdir(one) if os.path.isdir(one) else ():
            if _HALF_WRITTEN.search(name):
                os.unlink(os.path.join(one, name))


@dataclass
class Work:
    """What is done in a process of its own, or on another rank."""

    stages: Stages

    def __call__(
        self, task: tuple[int, list[tuple[int, Row]], str | None]
    ) -> tuple[list[dict[str, Any]], list[Any] | None]:
        """The journal's lines for some rows, and their segments to be packed.

        The segments come in the file that the task names, or as arrays.
        """
        _, piece, path = task
        lines, segments = [], []
        for number, row in piece:
            line, found = self.stages.run(row, keep=row["_split"] is not None)
            lines.append({"i": number, **line})
            if found is not None:
                segments.append(found)
        if path is None or not segments:
            return lines, segments
        try:
            with open_own(path, make=True) as file:
                file.writelines(one.data for one in segments)
        except OSError as error:
            raise WriteFailed(f"{path}: can't be written: {error.strerror or error}") from None
        return lines, None

"""Figures of matplotlib without its global state."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .._text import printable, short
from .._types import StrPath
from ..errors import ConfigError, MissingExtraError
from ..storage.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["GREY", "HIGH", "LOW", "file_label", "new_figure", "save", "text_label"]

_MOST_LABEL = 300  # characters

#: The tutorial's colours of low and high saliency, and what is used where there is none.
LOW, HIGH, GREY = "#0047AB", "#DC143C", "#9AA0A6"


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches.

    Raises
    ------
    MissingExtraError
        If matplotlib isn't installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError(
            "matplotlib is not installed", field="plot", remedy="Install it with: pip install 'ecgfm[plot]'"
        ) from None
    return Figure(figsize=(width, height), dpi=100, layout="constrained", facecolor="white")


def text_label(text: object) -> str:
    """Text as it is drawn: short, and without what a picture's file or its reader could stumble over."""
    return "\n".join(map(printable, short(str(text), _MOST_LABEL).split("\n")))


def file_label(source: object) -> str:
    """What is drawn as the name of a recording: its file's name, no formula of matplotlib."""
    return "" if source is None else text_label(os.path.basename(str(source))).replace("$", r"\$")


def save(figure: Figure, path: StrPath, **options: Any) -> None:
    """Write a figure; the ending of the name chooses the format. The file is replaced whole.

    Raises
    ------
    ConfigError
        If the ending is that of no picture.
    """
    kind = os.path.splitext(os.fspath(path))[1].lstrip(".").lower()
    known = figure.canvas.get_supported_filetypes()
    if kind not in known:
        raise ConfigError(
            "the ending of the name is that of no picture", path=path, field="path", remedy=f"Give {', '.join(known)}"
        )
    with replacing(path) as temporary:
        figure.savefig(temporary, format=kind, **options)

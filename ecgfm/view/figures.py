"""Figures of matplotlib without its global state."""

import os

from .._files import replacing
from ..errors import MissingExtraError

__all__ = ["GREY", "HIGH", "LOW", "new_figure", "save"]

#: The tutorial's colours of low and high saliency, and what is used where there is none.
LOW, HIGH, GREY = "#0047AB", "#DC143C", "#9AA0A6"


def new_figure(width, height):
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


def save(figure, path, **options):
    """Write a figure; the ending of the name chooses the format. The file is replaced whole."""
    kind = os.path.splitext(os.fspath(path))[1].lstrip(".").lower() or "png"
    with replacing(path) as temporary:
        figure.savefig(temporary, format=kind, **options)

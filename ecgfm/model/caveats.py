"""What who reads a model's answers must know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._text import printable, short

__all__ = ["caveat_of"]

# What `info["training"]` amounts to, where the file has no caveat of its own.
_CAVEATS = {
    "none": "This model is untrained: what it says means nothing",
    "simulated patients": "This model knows simulated patients only: what it says of real recordings means nothing",
}


def caveat_of(info: Mapping[str, Any]) -> str | None:
    """The caveat in a model's `info`, short and printable; None if it has none."""
    card = info.get("card")
    for place in (info, card if isinstance(card, dict) else {}):
        said = place.get("caveat")
        if isinstance(said, str) and said.strip():
            return short(printable(" ".join(said[:2000].split())), 300)
    training = info.get("training")
    return _CAVEATS.get(training) if isinstance(training, str) else None

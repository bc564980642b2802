"""Whether a model has seen a data set: what is known of published models, and what is not known of others."""

from __future__ import annotations

from typing import Any, Final

from ...specs.known import KNOWN, Known

__all__ = ["seen_text"]

_SIGNALS: Final = (
    "warning: its pretraining set (PhysioNet 2021) contains PTB-XL, the test fold too: it has seen these signals, not"
    " their labels"
)
_LABELS: Final = (
    "warning: it was finetuned on PhysioNet 2021, which contains PTB-XL, in a split of its own: it has seen labels of"
    " these recordings, and its score means nothing"
)
#: Known model -> whether it has seen PTB-XL.
_SEEN: Final = {
    "ecg-fm": _SIGNALS,
    "ecg-fm/pretrained": _SIGNALS,
    "ecg-fm/physionet": _LABELS,
    "demo": "it knows simulated patients only",
}
_TRAINING: Final = {"none": "it is untrained", "simulated patients": _SEEN["demo"]}


def seen_text(given: Any, model: Any) -> str:
    """Whether a model has seen PTB-XL, as far as that is known.

    Parameters
    ----------
    given : object
        What the user named it by.
    model : Model
    """
    training = getattr(model, "info", {}).get("training")
    if training in _TRAINING:
        return _TRAINING[training]
    known = KNOWN.get(given) if isinstance(given, str) else None
    labels = getattr(model, "labels", None)
    alike = [one.name for one in KNOWN.values() if labels and one.labels == labels and one.name in _SEEN]
    name = known.name if isinstance(known, Known) else alike[0] if len(alike) == 1 else None
    if name in _SEEN:
        return _SEEN[name] if known else f"{_SEEN[name]} (assumed: it has the labels of {name})"
    return "whether it has seen these recordings is not known"

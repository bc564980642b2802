"""Free-text ECG reports to labels: normalisation, pattern matching, a knowledge graph, probabilities.

>>> from ecgfm import labeler
>>> print(labeler.label(["Sinus bradycardia"]).labels_flat["name"].tolist())
['Arrhythmia', 'Bradycardia', 'Low heart rate', 'Sinus bradycardia', 'Sinus rhythm']
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._types import StrPath
from .arrays import labels_to_array, to_multilabel
from .definitions import Definitions
from .explain import Explanation
from .graph import Graph
from .labeler import Labeler, label, load, normalize
from .normalizer import Normalizer
from .result import Result

__all__ = [
    "Definitions",
    "Explanation",
    "Graph",
    "Labeler",
    "Normalizer",
    "Result",
    "label",
    "labels_to_array",
    "load",
    "normalize",
    "to_multilabel",
]


def save(labeler: Labeler, folder: StrPath) -> None:
    """Write the definitions of a labeler to a directory; see :meth:`Labeler.save`."""
    labeler.save(folder)


def cull(labeler: Labeler, texts: Sequence[Any] | Result, normalized: bool = False) -> Labeler:
    """A labeler with only what some reports use; see :meth:`Labeler.cull`."""
    return labeler.cull(texts, normalized)


__all__ += ["cull", "save"]

"""Free-text ECG reports to labels: normalisation, pattern matching, a knowledge graph, probabilities.

>>> from ecgfm import labeler
>>> print(labeler.label(["Sinus bradycardia"]).labels_flat["name"].tolist())
['Arrhythmia', 'Bradycardia', 'Low heart rate', 'Sinus bradycardia', 'Sinus rhythm']
"""

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


def save(labeler, folder):
    """Write the definitions of a labeler to a directory; see :meth:`Labeler.save`."""
    labeler.save(folder)


def cull(labeler, texts, normalized=False):
    """A labeler with only what some reports use; see :meth:`Labeler.cull`."""
    return labeler.cull(texts, normalized)


__all__ += ["cull", "save"]

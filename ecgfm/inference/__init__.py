"""From recordings to predictions."""

from .aggregate import METHODS, TUTORIAL_MAX, aggregate
from .calibrate import Calibrated, calibrate
from .compare import Comparison, compare
from .embed import Embeddings, embed
from .evaluate import Evaluation, evaluate
from .predict import Outcome, outcomes, predict
from .result import Predictions, Result
from .saliency import Saliency, saliency
from .stores import open_store
from .write import Written, embed_to, predict_to, saliency_to

__all__ = [
    "METHODS",
    "TUTORIAL_MAX",
    "Calibrated",
    "Comparison",
    "Embeddings",
    "Evaluation",
    "Outcome",
    "Predictions",
    "Result",
    "Saliency",
    "Written",
    "aggregate",
    "calibrate",
    "compare",
    "embed",
    "embed_to",
    "evaluate",
    "open_store",
    "outcomes",
    "predict",
    "predict_to",
    "saliency",
    "saliency_to",
]

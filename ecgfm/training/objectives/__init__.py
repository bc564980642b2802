"""What a training is for, a file each: the loss, its settings, batches, noise and reports."""

from .base import Objective, Rows
from .classification import Asymmetric, BinaryCrossEntropy, Focal
from .contrastive import CMSC, WCR, Wav2Vec2
from .labelled import Labelled
from .regression import MeanSquaredError
from .reports import Classification, Losses, Report
from .simclr import SimCLR

__all__ = ["OBJECTIVES", "Classification", "Labelled", "Losses", "Objective", "Report", "Rows"]

#: Name of a loss -> its objective. This is the one place where they are listed.
OBJECTIVES: dict[str, type[Objective]] = {
    each.loss: each for each in (BinaryCrossEntropy, Focal, Asymmetric, MeanSquaredError, WCR, Wav2Vec2, CMSC, SimCLR)
}

"""Training: schedules, the trainer, and the loop over epochs."""

from .finetune import Finetuned, finetune
from .masks import compute_mask_indices
from .schedules import Fixed, Step, TriStage
from .trainer import Trainer

__all__ = ["Finetuned", "Fixed", "Step", "Trainer", "TriStage", "compute_mask_indices", "finetune"]

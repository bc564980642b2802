"""Training: schedules, the trainer, and the loop over epochs."""

from .finetune import Finetuned, finetune
from .schedules import Fixed, Step, TriStage
from .trainer import Trainer

__all__ = ["Finetuned", "Fixed", "Step", "Trainer", "TriStage", "finetune"]

"""Training: schedules, the trainers, masks, and the loops over epochs."""

from .finetune import Finetuned, finetune
from .noise import compute_mask_indices
from .pretrain import Pretrained, pretrain
from .pretrain_trainer import PretrainingTrainer
from .range_test import LearningRates, learning_rates
from .schedules import Fixed, Step, TriStage
from .trainer import Trainer

__all__ = [
    "Finetuned",
    "Fixed",
    "LearningRates",
    "Pretrained",
    "PretrainingTrainer",
    "Step",
    "Trainer",
    "TriStage",
    "compute_mask_indices",
    "finetune",
    "learning_rates",
    "pretrain",
]

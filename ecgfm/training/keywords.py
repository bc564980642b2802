"""The names that `ecgfm.Trainer`, `ecgfm.finetune` and `ecgfm.pretrain` take beside their own arguments, for type
checkers.

Nothing here runs: the fields of `ecgfm.training.settings` decide what is taken, with which defaults and limits. A test
holds the two equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

from numpy.typing import ArrayLike

from .._types import StrPath
from ..ranks import Alone, Ranks
from ..specs.inputs import InputSpec
from ..specs.target import Target

__all__ = ["LoopKeywords", "RecordingKeywords", "Schedule", "SettingKeywords"]

Schedule = float | Sequence[float] | Mapping[str, Any] | Callable[[int, int], float]


class DropoutKeywords(TypedDict, total=False):
    """Of finetuning and of pretraining."""

    dropout: float
    attention_dropout: float
    activation_dropout: float
    dropout_input: float
    encoder_layerdrop: float
    feature_grad_mult: float


class FinetuningKeywords(TypedDict, total=False):
    """Of finetuning alone."""

    num_labels: int | None
    labels: Sequence[str] | StrPath | None
    pos_weight: ArrayLike | None
    label_weight: ArrayLike | None
    target: Target | Mapping[str, Any] | None
    units: Sequence[str] | None
    gamma: float
    alpha: float | None
    gamma_pos: float
    gamma_neg: float
    clip: float
    final_dropout: float
    freeze_finetune_updates: int
    trainable: str | int | Sequence[str]
    lr_decay: float
    adapters: int


class PretrainingKeywords(TypedDict, total=False):
    """Of pretraining alone."""

    dropout_features: float
    mask_prob: float
    mask_length: int
    mask_selection: str
    mask_other: float
    no_mask_overlap: bool
    mask_min_space: int
    mask_channel_prob: float
    mask_channel_length: int
    mask_channel_selection: str
    mask_channel_other: float
    no_mask_channel_overlap: bool
    mask_channel_min_space: int
    num_negatives: int
    cross_sample_negatives: int
    codebook_negatives: int
    logit_temp: float
    latent_temp: Sequence[float]
    loss_weights: Sequence[float]
    infonce: bool
    temp: float
    cmsc_weights: float | None
    cmsc_all_ranks: bool


class PerturbationKeywords(TypedDict, total=False):
    """What is done to the segments of pretraining; the options of `ecgfm.ecg.augment`."""

    perturbation_mode: Sequence[str] | str | None
    p: Sequence[float] | float
    max_amplitude: float
    min_amplitude: float
    dependency: bool
    shift_ratio: float
    num_segment: int
    max_freq: float
    min_freq: float
    k: int
    freq: float
    mask_leads_selection: str
    mask_leads_prob: float
    mask_leads_condition: Sequence[int]
    keep_one_lead: bool


class SettingKeywords(DropoutKeywords, FinetuningKeywords, PretrainingKeywords, PerturbationKeywords, total=False):
    """The settings of all losses."""


class LoopKeywords(SettingKeywords, total=False):
    """Also what `ecgfm.finetune` and `ecgfm.pretrain` hand on to the `Trainer`."""

    loss: str
    schedule: Schedule
    optimizer: Mapping[str, Any] | None
    on_nonfinite: str
    recompute: bool
    precision: str
    communicator: Alone | Ranks | None
    input: InputSpec | Mapping[str, Any] | str | None


class RecordingKeywords(LoopKeywords, total=False):
    """Also how `ecgfm.finetune` reads recordings."""

    sampling_rate: float | None
    leads: str | Sequence[str] | None
    unit: str | None
    missing_leads: str
    short: str | None
    only_leads: str | Sequence[str] | None
    overlap_s: float
    readers: int

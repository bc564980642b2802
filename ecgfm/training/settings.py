"""What a run of training or evaluation is to do: settings whose fields declare their limits.

Fields have the original's names. Their defaults are those of ECG-FM's recipe; the commands that read YAML files give
every field, from the defaults of the original (``ecgfm/cli/fairseq/keys.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .._text import shown
from ..ecg.augment import augmentation
from ..errors import ConfigError
from ..specs.precision import FLOAT32
from ..validation import Settings, flag, number, numbers, one_of, seed, share, whole
from .trainable import Trainable

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self

__all__ = [
    "FORMATS",
    "CMSCAlone",
    "Dropout",
    "EvaluationSettings",
    "Every",
    "Feeding",
    "Finetuning",
    "Keep",
    "Limits",
    "Loop",
    "Masks",
    "Negatives",
    "Optimizer",
    "Perturbation",
    "Pretraining",
    "Quantizer",
    "Report",
    "RunSettings",
    "Scoring",
    "Start",
    "Work",
]

#: What a log can look like.
FORMATS = ("json", "simple", "csv", "tqdm", "none")
SELECTIONS = ("static", "uniform", "normal", "poisson")
#: What ends a run of the original in an error, and the one value that doesn't.
UNABLE = {
    "quantize_targets": True,
    "quantize_input": False,
    "same_quantizer": False,
    "negatives_from_everywhere": False,
    "apply_mask": True,
}


# ---- what an objective takes --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dropout(Settings):
    """What is left out at random, and how much of the gradient reaches the conv layers."""

    dropout: float = number(0.1, at_least=0, below=1)
    attention_dropout: float = number(0.1, at_least=0, below=1)
    activation_dropout: float = number(0.0, at_least=0, below=1)
    dropout_input: float = number(0.1, at_least=0, below=1)
    encoder_layerdrop: float = number(0.0, at_least=0, below=1)
    feature_grad_mult: float = number(0.1, at_least=0)


@dataclass(frozen=True)
class Finetuning(Dropout):
    """Of a classifier. ``freeze_finetune_updates``: as many updates train the output layer alone.

    ``trainable``, ``lr_decay``, ``adapters``: what is trained, as of `ecgfm.training.trainable`.
    """

    dropout: float = number(0.0, at_least=0, below=1)
    attention_dropout: float = number(0.0, at_least=0, below=1)
    activation_dropout: float = number(0.1, at_least=0, below=1)
    dropout_input: float = number(0.0, at_least=0, below=1)
    final_dropout: float = number(0.0, at_least=0, below=1)
    feature_grad_mult: float = number(0.0, at_least=0)
    freeze_finetune_updates: int = whole(0, floats=True)
    trainable: str | int | tuple[str, ...] = field(default="all", metadata={"rule": Trainable()})
    lr_decay: float = number(1.0, above=0, at_most=1)
    adapters: int = whole(0, at_most=1 << 16)


@dataclass(frozen=True)
class Masks(Settings):
    """Spans of steps, and of channels, that are masked. With ``mask_prob`` 0 all steps are predicted."""

    mask_prob: float = share(0.65)
    mask_length: int = whole(10, at_least=1, floats=True)
    mask_selection: str = one_of(*SELECTIONS, default="static")
    mask_other: float = number(0.0, at_least=0)
    no_mask_overlap: bool = flag(False)
    mask_min_space: int = whole(1, floats=True)
    mask_channel_prob: float = share(0.0)
    mask_channel_length: int = whole(10, at_least=1, floats=True)
    mask_channel_selection: str = one_of(*SELECTIONS, default="static")
    mask_channel_other: float = number(0.0, at_least=0)
    no_mask_channel_overlap: bool = flag(False)
    mask_channel_min_space: int = whole(1, floats=True)


@dataclass(frozen=True)
class Negatives(Settings):
    """What each masked step is compared with, beside its target."""

    num_negatives: int = whole(100, floats=True)
    cross_sample_negatives: int = whole(0, floats=True)
    codebook_negatives: int = whole(0, floats=True)
    logit_temp: float = number(0.1, above=0)


@dataclass(frozen=True)
class Quantizer(Settings):
    """The Gumbel softmax. ``latent_temp``: start, end and decay of its temperature."""

    latent_temp: tuple[float, ...] = numbers(3, (2.0, 0.5, 0.999995), above=0)


@dataclass(frozen=True)
class Pretraining(Quantizer, Negatives, Masks, Dropout):
    """Of W2V with or without CMSC. ``loss_weights``: of the diversity of the codebook and of the feature penalty."""

    dropout_features: float = number(0.1, at_least=0, below=1)
    loss_weights: tuple[float, ...] = numbers(2, (0.1, 10.0), at_least=0)
    infonce: bool = flag(True)
    temp: float = number(0.1, above=0)
    cmsc_weights: float | None = number(None, at_least=0)

    @classmethod
    def of(cls, given: Mapping[str, object], *, prefix: str = "") -> Self:
        """As of `Settings`. What the original cannot train with is refused; its one possible value may be given."""
        for name, value in UNABLE.items():
            if name in given and not (isinstance(given[name], (bool, int)) and given[name] == value):
                raise ConfigError(
                    f"{shown(given[name])} is refused: the original cannot train with it",
                    field=prefix + name,
                    remedy=f"Give {shown(value)}",
                )
        return super().of({name: value for name, value in given.items() if name not in UNABLE}, prefix=prefix)

    def agree(self) -> None:
        if self.num_negatives + self.cross_sample_negatives == 0:
            raise ConfigError(
                "without negatives of its own or of other segments the original cannot train, with those of the "
                "codebook neither",
                field="num_negatives",
                remedy="Give num_negatives or cross_sample_negatives",
            )


@dataclass(frozen=True)
class CMSCAlone(Pretraining):
    """Of CMSC without W2V, which draws no negatives."""

    def agree(self) -> None:
        pass


@dataclass(frozen=True)
class Perturbation:
    """What is done to segments in training: names of `ecgfm.ecg.augment`, in order, and their options."""

    perturbation_mode: Sequence[str] | str | None = ("random_leads_masking",)
    p: Sequence[float] | float | None = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)

    def made(self) -> Callable[[NDArray[Any], Any], NDArray[Any]] | None:
        """A function of a segment (12, N) and a generator; None if there is nothing to do."""
        made: Callable[[NDArray[Any], Any], NDArray[Any]] | None
        made = augmentation(self.perturbation_mode, self.p, **self.options)
        return made


@dataclass(frozen=True)
class Optimizer(Settings):
    """Of Adam. ``clip_norm`` 0: the norm of the gradients is not limited."""

    adam_betas: tuple[float, ...] = numbers(2, (0.9, 0.98), at_least=0, below=1)
    adam_eps: float = number(1e-8, above=0)
    weight_decay: float = number(0.0, at_least=0)
    clip_norm: float = number(0.0, at_least=0)


# ---- a run --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Start:
    """Where the weights come from.

    Attributes
    ----------
    model : str or None
        A checkpoint. None: new weights.
    architecture : Mapping
        Of new weights.
    said : Mapping
        Of the architecture, what must be so in the checkpoint.
    signals : Mapping
        Of how signals are prepared, what must be so in the run that made the checkpoint.
    num_labels : int or None
    pos_weight : tuple of float or None
    settings : Mapping
        The original's group ``model``, for the checkpoints of this run.
    """

    model: str | None = None
    architecture: Mapping[str, Any] = field(default_factory=dict)
    said: Mapping[str, Any] = field(default_factory=dict)
    signals: Mapping[str, bool] = field(default_factory=dict)
    num_labels: int | None = None
    pos_weight: Sequence[float] | None = None
    label_weight: Sequence[float] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Scoring(Settings):
    """Which numbers are reported. ``weights_file``: the table of the challenge's score, None without it."""

    threshold: float = number(0.5, above=0, below=1)
    report_auc: bool = flag(True)
    weights_file: str | None = None
    log_keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Feeding(Settings):
    """Which segments there are, how they are read, and how many make a batch.

    ``label_file`` "file": labels are in the files of the segments. ``views``: the objective makes perturbed views of
    what it is fed, and the data set perturbs nothing.
    """

    data: str = ""
    train_subset: str = "train"
    valid_subsets: tuple[str, ...] = ()
    pairs: bool = flag(False)
    label_file: str | None = None
    sample_rate: int | None = None
    leads_to_load: str | Sequence[str | int] | None = None
    leads_bucket: str | Sequence[str | int] | None = None
    enable_padding_leads: bool = flag(False)
    filter: bool = flag(False)
    normalize: bool = flag(False)
    mean_path: str | None = None
    std_path: str | None = None
    enable_padding: bool = flag(False)
    max_sample_size: int | None = None
    min_sample_size: int | None = None
    perturbation: Perturbation | None = None
    views: bool = flag(False)
    batch_size: int | None = whole(None, at_least=1)
    max_tokens: int | None = whole(None, at_least=1)
    batch_size_valid: int | None = whole(None, at_least=1)
    max_tokens_valid: int | None = whole(None, at_least=1)
    max_valid_steps: int | None = whole(None)
    required_batch_size_multiple: int = whole(8, at_least=1)
    curriculum: int = whole(0)
    num_workers: int = whole(1)
    max_bad_segments: float = share(0.01)
    seed: int = seed(1)


@dataclass(frozen=True)
class Loop(Settings):
    """How long, and how many batches make an update.

    Parameters
    ----------
    epochs : int
        0: until a callback stops it.
    update_freq : tuple of int
        Batches of an update in epoch 1, 2, ...; the last one stays.
    """

    epochs: int = whole(0)
    update_freq: tuple[int, ...] = (1,)

    def batches_of_update(self, epoch: int) -> int:
        """Batches of an update in an epoch."""
        return self.update_freq[min(epoch, len(self.update_freq)) - 1]


@dataclass(frozen=True)
class Limits(Settings):
    """What else ends a run; 0: no limit. ``patience``: validations without a better score."""

    max_update: int = whole(0)
    stop_time_hours: float = number(0.0)
    stop_min_lr: float = number(-1.0)
    patience: int = whole(0)


@dataclass(frozen=True)
class Every(Settings):
    """When a run is validated: after how many epochs and updates (0: never), and the first update to validate after."""

    validate_interval: int = whole(1, at_least=1)
    validate_interval_updates: int = whole(0)
    validate_after_updates: int = whole(0)


@dataclass(frozen=True)
class Keep(Settings):
    """Which checkpoints are written and kept, and from which one the run goes on; 0 is never, or all of them."""

    save_dir: str
    restore_file: str = "checkpoint_last.pt"
    finetune_from_model: str | None = None
    reset_dataloader: bool = flag(False)
    reset_lr_scheduler: bool = flag(False)
    reset_meters: bool = flag(False)
    reset_optimizer: bool = flag(False)
    save_interval: int = whole(1, at_least=1)
    save_interval_updates: int = whole(0)
    keep_interval_updates: int = whole(0)
    keep_interval_updates_pattern: int = whole(0)
    keep_last_epochs: int = whole(0)
    keep_best_checkpoints: int = whole(0)
    no_save: bool = flag(False)
    no_epoch_checkpoints: bool = flag(False)
    no_last_checkpoints: bool = flag(False)
    no_save_optimizer_state: bool = flag(False)
    best_checkpoint_metric: str = "loss"
    maximize_best_checkpoint_metric: bool = flag(False)
    checkpoint_suffix: str = ""

    @property
    def resets(self) -> list[str]:
        """The names of what does not go on."""
        names = ("reset_dataloader", "reset_lr_scheduler", "reset_meters", "reset_optimizer")
        return [name for name in names if getattr(self, name)]


@dataclass(frozen=True)
class Report(Settings):
    """What is said of a run, and where."""

    log_interval: int = whole(100, at_least=1)
    log_format: str = one_of(*FORMATS, default="json")
    log_file: str | None = None
    no_progress_bar: bool = flag(False)
    tensorboard_logdir: str | None = None
    wandb_project: str | None = None
    wandb_entity: str | None = None
    wandb_config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What training and evaluation have in common.

    Attributes
    ----------
    objective : str
        The criterion's name.
    kind : {"classifier", "pretraining"}
        Of the network.
    method : Settings
        What the objective takes: `Finetuning`, `Pretraining`.
    notices : tuple of str
        Lines for the user.
    """

    objective: str
    kind: str
    start: Start
    feeding: Feeding
    scoring: Scoring
    report: Report
    method: Settings = Finetuning()
    seed: int = 1
    threads: int | None = None
    notices: tuple[str, ...] = ()

    @property
    def classifies(self) -> bool:
        """Whether a classifier is trained or evaluated; else a model is pretrained."""
        return self.kind == "classifier"


@dataclass(frozen=True, kw_only=True)
class RunSettings(Work):
    """All of a run of training.

    Attributes
    ----------
    schedule : Mapping
        Of the learning rate, as `ecgfm.Trainer` takes it.
    cache, cache_dtype : str
        Where and in which type the rows that enter what is trained are kept, as of `ecgfm.finetune`.
    cargo : Mapping
        The original's configuration, which is written into checkpoints as it is; nothing here reads it.
    """

    optimizer: Optimizer
    schedule: Mapping[str, Any]
    loop: Loop
    limits: Limits
    every: Every
    keep: Keep
    on_nonfinite: str = "error"
    recompute: bool = False
    cache: str = "auto"
    cache_dtype: str = "float32"
    precision: str = FLOAT32
    sums: str = FLOAT32
    cmsc_all_ranks: bool = False
    cargo: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings(Work):
    """All of a run of validation or inference.

    Attributes
    ----------
    labelled : bool
        Whether labels are read.
    checkpoint : str
    updates : int
        That the checkpoint has seen.
    extract : tuple of str
        What is stored: ``output``, ``encoder_out``, ``saliency``.
    results_path : str or None
        The directory of the stores.
    precision : str or None
        In which a classifier runs; None: that of the checkpoint.
    """

    checkpoint: str
    labelled: bool = True
    updates: int = 0
    extract: tuple[str, ...] = ()
    results_path: str | None = None
    precision: str | None = None

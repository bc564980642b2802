"""From the settings of a run to data sets, loaders, the trainer and the objective."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from .. import checkpoint
from .._text import shown
from ..checkpoint.labels import check_labels
from ..data import Dataset, Loader
from ..errors import ConfigError, LabelError
from ..metrics.challenge import ChallengeScore
from ..model.caveats import caveat_of
from ..ranks import Alone, Ranks
from ..specs.blocks import conv_feature_layers
from .feed import rate_of
from .objectives import OBJECTIVES
from .settings import Feeding, RunSettings, Start, Work
from .trainer import Trainer

__all__ = [
    "check_data",
    "check_metric",
    "label_names_file",
    "load_dataset",
    "load_loader",
    "make_objective",
    "make_trainer",
    "say_unknown",
]


def make_objective(work: Work) -> Any:
    """What is trained for."""
    scoring = work.scoring
    challenge = None if scoring.weights_file is None else ChallengeScore(scoring.weights_file)
    return OBJECTIVES[work.objective].reporting(
        threshold=scoring.threshold, report_auc=scoring.report_auc, challenge=challenge, log_keys=scoring.log_keys
    )


def load_dataset(feeding: Feeding, subset: str, *, training: bool) -> Dataset:
    """The data set of a subset.

    Raises
    ------
    FormatError, LabelError, ConfigError
        If its manifest is missing or damaged, or the labels don't fit.
    """
    perturbation = feeding.perturbation if training and not feeding.views else None
    return Dataset(
        os.path.join(feeding.data, subset),
        pairs=feeding.pairs,
        training=training,
        labels=feeding.label_file,
        sample_rate=feeding.sample_rate,
        leads_to_load=feeding.leads_to_load,
        leads_bucket=feeding.leads_bucket,
        pad_leads=feeding.enable_padding_leads,
        filter=feeding.filter,
        normalize=feeding.normalize,
        mean_path=feeding.mean_path,
        std_path=feeding.std_path,
        augment=None if perturbation is None else perturbation.made(),
        pad=feeding.enable_padding,
        max_sample_size=feeding.max_sample_size,
        min_sample_size=feeding.min_sample_size,
        seed=feeding.seed,
    )


def load_loader(
    feeding: Feeding,
    dataset: Dataset,
    ranks: Alone | Ranks,
    *,
    valid: bool = False,
    shuffle: bool = True,
    report: Callable[[str, Exception], None] | None = None,
) -> Loader:
    """The batches of a data set."""
    return Loader(
        dataset,
        batch_size=feeding.batch_size_valid if valid else feeding.batch_size,
        max_tokens=feeding.max_tokens_valid if valid else feeding.max_tokens,
        required_batch_size_multiple=feeding.required_batch_size_multiple,
        shuffle=shuffle,
        curriculum=feeding.curriculum,
        rank=ranks.rank,
        ranks=ranks.size,
        threads=min(feeding.num_workers, 8),
        max_bad_segments=feeding.max_bad_segments,
        report=report,
    )


def make_trainer(settings: RunSettings, dataset: Dataset, ranks: Alone | Ranks, say: Callable[[str], None]) -> Any:
    """The trainer, from a checkpoint or new. `say` gets lines for the user.

    Raises
    ------
    Error
        If the checkpoint is of another architecture, or labels, weights and settings don't fit.
    """
    common = {
        "schedule": settings.schedule,
        "optimizer": asdict(settings.optimizer),
        "seed": settings.seed,
        "on_nonfinite": settings.on_nonfinite,
        "recompute": settings.recompute,
        "precision": settings.precision,
        "communicator": ranks,
    }
    if settings.classifies:
        trainer = _classifier(settings, dataset, common, say)
    else:
        trainer = pretraining_trainer(settings, cmsc_all_ranks=settings.cmsc_all_ranks, **common)
    took = trainer.input.sampling_rate
    if trainer.follow_rate(rate_of(dataset), refuse=False):
        say(f"the segments are at {trainer.input.sampling_rate:g} Hz, and so is the model now; before: {took:g} Hz")
    trainer.objective.looked = True  # the configuration says what segments are like
    return trainer


def pretraining_trainer(work: Work, **options: Any) -> Any:
    """A trainer of new weights; data sets perturb what it is fed, unless it makes views of its own."""
    views = work.feeding.perturbation if work.feeding.views else None
    perturbed = {} if views is None else {"p": views.p, **views.options}
    return Trainer(
        dict(work.start.architecture),
        loss=work.objective,
        perturbation_mode=None if views is None else views.perturbation_mode,
        **perturbed,
        **asdict(work.method),
        **options,
    )


def _classifier(settings: RunSettings, dataset: Dataset, common: Mapping[str, Any], say: Callable[[str], None]) -> Any:
    start, feeding = settings.start, settings.feeding
    count = start.num_labels or 0
    if dataset.num_labels != count:
        raise LabelError(
            f"the data have {dataset.num_labels} labels, model.num_labels is {count}",
            path=None if feeding.label_file == "file" else feeding.label_file,
            field="model.num_labels",
        )
    model: Any = start.model
    if model is None:
        model = Trainer(dict(start.architecture), loss="wav2vec2_with_cmsc", seed=settings.seed).model()
    else:
        with checkpoint.read(model) as found:
            _check_architecture(start, found, model)
            _check_signals(start, found, model)
            caveat = caveat_of(found.info)
        if caveat is not None:
            say(f"{model}: {caveat}")
    named = label_names_file(feeding)
    return Trainer(
        model,
        loss=settings.objective,
        num_labels=count,
        labels=None if named is None else check_labels(named, count or 0),
        pos_weight=start.pos_weight,
        label_weight=start.label_weight,
        **common,
        **asdict(settings.method),
    )


def label_names_file(feeding: Feeding) -> str | None:
    """The ``label_def.csv`` beside the labels of a run, if it is there."""
    if feeding.label_file is None:
        return None
    beside = os.path.join(os.path.dirname(feeding.label_file), "label_def.csv")
    return beside if feeding.label_file != "file" and os.path.isfile(beside) else None


def _check_architecture(start: Start, found: checkpoint.Checkpoint, path: str) -> None:
    """What the configuration says of the network must be so in the checkpoint."""
    for name, said in start.said.items():
        there = found.config[name]
        if name == "conv_feature_layers":
            said = conv_feature_layers(said)
        if said != there:
            raise ConfigError(
                f"it is {shown(said)} in the configuration and {shown(there)} in {path}",
                field=f"model.{name}",
                remedy="Leave it out: the architecture is the checkpoint's",
            )


def _check_signals(start: Start, found: checkpoint.Checkpoint, path: str) -> None:
    """Signals must be normalised and filtered as in the run that made the checkpoint, as fairseq-signals demands."""
    made = found.of_run("task")
    for name, said in start.signals.items():
        there = made.get(name)
        if isinstance(there, bool) and said != there:
            raise ConfigError(
                f"it is {str(said).lower()} here and was {str(there).lower()} in the run that made {path}",
                field=f"task.{name}",
                remedy=f"Say task.{name}={str(there).lower()}",
            )


# ---- what can be wrong with all of a run -----------------------------------------------------------------------


def check_metric(metric: str, objective: Any) -> None:
    """The metric by which checkpoints are compared must be one that validation gives."""
    known = [
        *objective.valid_columns,
        *(f"{name}_macro" for name in ("auroc", "auprc") if name in objective.valid_columns),
    ]
    if metric not in known:
        raise ConfigError(
            f"{shown(metric)} is not known",
            field="checkpoint.best_checkpoint_metric",
            remedy=f"Choose from {', '.join(known)}",
        )


def check_data(data: Dataset, trainer: Any) -> None:
    """What is wrong with all of a data set, found by reading a few of its items."""
    if len(data) == 0:
        raise ConfigError("there are no segments in it", path=data.path, field="task.data")
    data.check()
    wanted = int(trainer.config["in_d"])
    if data.num_leads != wanted:
        raise ConfigError(
            f"segments have {data.num_leads} leads, the model takes {wanted}", path=data.path, field="model.in_d"
        )


def say_unknown(name: str, data: Dataset, say: Callable[[str], None]) -> None:
    """Say how many labels of a data set are not known."""
    y = data.labels()
    unknown = 0 if y is None or y.dtype.kind != "f" else int(np.isnan(y).sum())
    if y is not None and unknown:
        say(f"{name}: {unknown:,} of {y.size:,} labels are not known (NaN): they count nowhere")

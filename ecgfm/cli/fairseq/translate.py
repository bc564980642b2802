"""From the original's configuration to the settings of a run: the one place that knows where which key stands."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeVar

from ..._text import shown
from ...ecg.augment import PERTURBATIONS
from ...errors import ConfigError
from ...kernels import core
from ...specs.architecture import architecture_keys
from ...specs.precision import BFLOAT16, FLOAT32, TRAINED
from ...storage.json import plain_json
from ...training.objectives import OBJECTIVES
from ...training.objectives.reports import LOG_KEYS
from ...training.settings import (
    UNABLE,
    Every,
    Feeding,
    Finetuning,
    Keep,
    Limits,
    Loop,
    Optimizer,
    Perturbation,
    Pretraining,
    Report,
    RunSettings,
    Scoring,
    Start,
)
from ...validation import Settings
from .compose import Run
from .keys import MISSING
from .values import numbers

__all__ = ["feeding", "method", "objective", "report", "scoring", "settings_of", "start"]

Made = TypeVar("Made", bound=Settings)
_NAMES = {
    "task": ("ecg_classification",),
    "model": ("ecg_transformer_classifier",),
    "criterion": tuple(name for name, each in OBJECTIVES.items() if each.kind == "classifier"),
}
_PATHS = ("mean_path", "std_path")


def settings_of(run: Run) -> RunSettings:
    """All of a run of training.

    Raises
    ------
    ConfigError
        If a key that training needs is not given, or keys don't fit each other.
    """
    loss, ecgfm, keep, loop = objective(run), run["ecgfm"], _keep(run), _loop(run)
    precision, said = _precision(run)
    kind = OBJECTIVES[loss].kind
    classifies = kind == "classifier"
    found = RunSettings(
        objective=loss,
        kind=kind,
        scoring=scoring(run),
        report=report(run),
        feeding=feeding(run, _subsets(run), labelled=classifies),
        start=_finetuned(run) if classifies else start(run),
        method=method(run),
        seed=run["common"]["seed"],
        threads=ecgfm["threads"],
        notices=(*run.notices, *said),
        optimizer=_optimizer(run),
        schedule=_schedule(run),
        loop=loop,
        limits=_limits(run),
        every=_every(run),
        keep=keep,
        on_nonfinite=ecgfm["on_nonfinite"],
        recompute=ecgfm["recompute"],
        cache=ecgfm["cache"],
        cache_dtype=ecgfm["cache_dtype"],
        precision=precision,
        sums=ecgfm["sums"],
        cmsc_all_ranks=ecgfm["cmsc_all_ranks"],
        cargo={"_name": None} | {group: plain_json(values) for group, values in run.of_fairseq_signals().items()},
    )
    _check_ends(found)
    return found


def _precision(run: Run) -> tuple[str, list[str]]:
    """The type of the products of training, and what there is to be said of it."""
    asked, half = run["ecgfm"]["precision"], run["common"]["fp16"]
    if asked not in (None, *TRAINED):
        known = " and ".join(TRAINED)
        raise ConfigError(f"training computes in {known}, not in {asked}", field="ecgfm.precision")
    if not half:
        return asked or FLOAT32, []
    if asked == FLOAT32:
        return asked, ["common.fp16=true means nothing here: ecgfm.precision is float32"]
    if asked is None and BFLOAT16 not in core().precisions():
        return FLOAT32, [
            "common.fp16=true: this processor lacks the instructions for bfloat16; products are in float32"
        ]
    return BFLOAT16, ["common.fp16=true: products are in bfloat16, weights and gradients in float32; no loss is scaled"]


def _of(kind: type[Made], values: Mapping[str, Any], prefix: str) -> Made:
    """Settings of the keys of a group that they have."""
    return kind.of({name: values[name] for name in kind.__dataclass_fields__ if name in values}, prefix=prefix)


# ---- what is trained ----------------------------------------------------------------------------------------------


def objective(run: Run) -> str:
    """The name of the criterion, if task and model go with it."""
    named = {group: run[group]["_name"] for group in _NAMES}
    same = [named[group] in names for group, names in _NAMES.items()]
    if any(same) and not all(same):
        odd = next(group for group, fits in zip(_NAMES, same) if fits != same[0])
        raise ConfigError(f"{named[odd]} does not go together with the task {named['task']}", field=f"{odd}._name")
    loss: str = named["criterion"]
    if not same[0] and (named["model"] == "wav2vec2") != (loss == "wav2vec2"):
        raise ConfigError(f"does not go together with the criterion {loss}", field="model._name")
    return loss


def method(run: Run) -> Settings:
    """What the objective takes."""
    model, criterion, kind = run["model"], run["criterion"], OBJECTIVES[objective(run)].settings_type
    known = kind.__dataclass_fields__
    given: dict[str, Any] = {}
    if issubclass(kind, Pretraining):
        given = {name: model[name] for name in UNABLE if name in model and (name != "apply_mask" or not model[name])}
    given |= {name: values[name] for values in (model, criterion, run["ecgfm"]) for name in known if name in values}
    given |= {name: numbers(given[name], name) for name in ("latent_temp", "loss_weights") if name in given}
    for name in ("trainable", "lr_decay", "adapters", "cache", "cache_dtype"):
        if not issubclass(kind, Finetuning) and f"ecgfm.{name}" in run.given:
            raise ConfigError("it is of finetuning", field=f"ecgfm.{name}", remedy="Leave it out")
    return kind.of(given)


def start(run: Run) -> Start:
    """Where the weights of a run of pretraining come from."""
    return Start(architecture=_architecture(run["model"]), settings=run["model"])


def _architecture(model: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: model[name] for name in architecture_keys("pretraining") if name in model}
    if not found.get("final_dim"):
        found["final_dim"] = found["encoder_embed_dim"]
    return found


def _finetuned(run: Run) -> Start:
    """Where the weights of a classifier come from."""
    model, task = run["model"], run["task"]
    if model["apply_mask"]:
        raise ConfigError("finetuning masks nothing", field="model.apply_mask", remedy="Say model.apply_mask=false")
    said = {name: model[name] for name in architecture_keys("encoder") if f"model.{name}" in run.given}
    return Start(
        model=None if model["no_pretrained_weights"] else run.need("model.model_path"),
        architecture=_architecture(model),
        said=said,
        signals={name: task[name] for name in ("normalize", "filter")},
        num_labels=run.need("model.num_labels"),
        pos_weight=cell_weights(run, "pos_weight"),
        label_weight=cell_weights(run, "weight"),
        settings=model,
    )


def cell_weights(run: Run, name: str) -> list[float] | None:
    """The weights of the positive cells of each label (``pos_weight``), or of all of them (``weight``)."""
    given = run["criterion"].get(name)
    return None if given is None else numbers(given, f"criterion.{name}")


def _optimizer(run: Run) -> Optimizer:
    values = run["optimizer"] | {"clip_norm": run["optimization"]["clip_norm"]}
    values["adam_betas"] = numbers(values["adam_betas"], "optimizer.adam_betas")
    return _of(Optimizer, values, "")


def _schedule(run: Run) -> dict[str, Any]:
    found = dict(run["lr_scheduler"]) | {"lr": numbers(run["optimization"]["lr"], "optimization.lr")}
    if found.get("phase_ratio") is not None:
        found["phase_ratio"] = numbers(found["phase_ratio"], "lr_scheduler.phase_ratio")
    return found


# ---- what it is fed -----------------------------------------------------------------------------------------------


def feeding(run: Run, subsets: tuple[str, ...], *, labelled: bool) -> Feeding:
    """Which segments there are, and how they are read."""
    task, dataset, loss = run["task"], run["dataset"], objective(run)
    values = task | dataset | {name: run.path(f"task.{name}") for name in _PATHS}
    values |= {
        "data": run.need("task.data"),
        "valid_subsets": subsets,
        "pairs": OBJECTIVES[loss].pairs,
        "label_file": _label_file(run) if labelled else None,
        "perturbation": None if OBJECTIVES[loss].kind == "classifier" else _perturbation(run),
        "views": OBJECTIVES[loss].perturbs,
        "max_bad_segments": run["ecgfm"]["max_bad_segments"],
        "seed": run["common"]["seed"],
    }
    if dataset["batch_size"] is None and dataset["max_tokens"] is None:
        raise ConfigError("neither it nor dataset.max_tokens is given", field="dataset.batch_size")
    return _of(Feeding, values, "dataset.")


def _label_file(run: Run) -> str:
    found: str = run.path("task.label_file") or "file"
    if run["task"]["label_file"] == MISSING:
        raise ConfigError("it is not given", field="task.label_file")
    return found


def _perturbation(run: Run) -> Perturbation | None:
    task = run["task"]
    if not task["perturbation_mode"]:
        return None
    options = {name: task[name] for _, names in PERTURBATIONS.values() for name in names if name in task}
    options |= {"freq": task["sample_rate"] or 500, "keep_one_lead": run["ecgfm"]["keep_one_lead"]}
    return Perturbation(task["perturbation_mode"], numbers(task["p"], "task.p"), options)


def _subsets(run: Run) -> tuple[str, ...]:
    """The names of the subsets to validate on; none without validation."""
    dataset = run["dataset"]
    names = named_subsets(run)
    if dataset["combine_valid_subsets"]:
        raise ConfigError(
            "subsets are not combined",
            field="dataset.combine_valid_subsets",
            remedy="Name them in dataset.valid_subset",
        )
    if dataset["disable_validation"]:
        return ()
    folder = run.need("task.data")
    if not dataset["ignore_unused_valid_subsets"] and os.path.isdir(folder):
        unused = sorted(
            name
            for name, suffix in map(os.path.splitext, os.listdir(folder))
            if suffix == ".tsv" and name.startswith("valid") and name not in names and name != dataset["train_subset"]
        )
        if unused and names:
            raise ConfigError(
                f"{', '.join(unused[:10])} in {folder} is not in it",
                field="dataset.valid_subset",
                remedy="Name it, or say dataset.ignore_unused_valid_subsets=true",
            )
    return names


def named_subsets(run: Run) -> tuple[str, ...]:
    """What ``dataset.valid_subset`` names."""
    return tuple(name.strip() for name in (run.path("dataset.valid_subset") or "").split(",") if name.strip())


# ---- how long, and what is said and kept --------------------------------------------------------------------------


# A limit below 0 is none in the original.


def _loop(run: Run) -> Loop:
    freq = numbers(run["optimization"]["update_freq"], "optimization.update_freq")
    if not freq or not all(1 <= value < 1 << 53 and value == int(value) for value in freq):
        raise ConfigError(f"{shown(freq)} are not whole numbers from 1 up", field="optimization.update_freq")
    return Loop(max(run["optimization"]["max_epoch"], 0), tuple(map(int, freq)))


def _limits(run: Run) -> Limits:
    c = run["optimization"]
    return Limits(
        max_update=max(c["max_update"], 0),
        stop_time_hours=c["stop_time_hours"],
        stop_min_lr=c["stop_min_lr"],
        patience=max(run["checkpoint"]["patience"], 0),
    )


def _check_ends(found: RunSettings) -> None:
    limits = found.limits
    counted = found.loop.epochs or limits.max_update or limits.patience
    if not counted and limits.stop_time_hours <= 0 and limits.stop_min_lr < 0:
        raise ConfigError("the run would never end", field="optimization.max_epoch", remedy="Give max_epoch")


def _every(run: Run) -> Every:
    dataset = run["dataset"]
    return Every(
        validate_interval=max(dataset["validate_interval"], 1),
        validate_interval_updates=max(dataset["validate_interval_updates"], 0),
        validate_after_updates=max(dataset["validate_after_updates"], 0),
    )


def _keep(run: Run) -> Keep:
    values = dict(run["checkpoint"])
    for name in ("save_interval_updates", *(key for key in values if key.startswith("keep_"))):
        values[name] = max(values[name], 0)
    values |= {
        "save_dir": run.need("checkpoint.save_dir"),
        "save_interval": max(values["save_interval"], 1),
        "restore_file": run.need("checkpoint.restore_file"),
        "finetune_from_model": run.path("checkpoint.finetune_from_model"),
        "checkpoint_suffix": values["checkpoint_suffix"] or "",
    }
    return _of(Keep, values, "checkpoint.")


def report(run: Run) -> Report:
    """What is said of a run, and where."""
    values = dict(run["common"])
    for name in ("log_file", "tensorboard_logdir", "wandb_project"):
        values[name] = run.path(f"common.{name}")
    values |= {"log_format": values["log_format"] or "tqdm", "log_interval": max(values["log_interval"], 1)}
    return _of(Report, values | {"wandb_config": dict(run)}, "common.")


def scoring(run: Run) -> Scoring:
    """Which numbers are reported."""
    values = run["criterion"]
    if OBJECTIVES[values["_name"]].kind != "classifier":
        return Scoring(log_keys=_log_keys(values.get("log_keys")))
    table = run.need("criterion.weights_file") if values.get("report_cinc_score") else None
    return _of(Scoring, values | {"weights_file": table}, "criterion.")


def _log_keys(given: list[str] | str | None) -> tuple[str, ...]:
    """What pretraining reports beside its losses."""
    given = [given] if isinstance(given, str) else given or []
    for name in given:
        if name not in (*LOG_KEYS, "logits", "target"):  # the last two fairseq-signals keeps to itself
            remedy = f"Known are {', '.join(LOG_KEYS)}"
            raise ConfigError(f"{shown(name)} is not known", field="criterion.log_keys", remedy=remedy)
    return tuple(name for name in LOG_KEYS if name in given)

"""What the checkpoints of a run hold."""

from __future__ import annotations

from typing import Any

from ..checkpoint.directory import saved_settings
from ..checkpoint.inputs import written_input
from ..signal.profile import PIPELINE
from .meters import MeterSet
from .settings import RunSettings
from .trainable import is_adapter

__all__ = ["content"]

_JOB_LOGGING = {
    "version": 1,
    "formatters": {"simple": {"format": "[%(asctime)s][%(name)s] - %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "simple", "stream": "ext://sys.stdout"}},
    "root": {"level": "INFO", "handlers": ["console"]},
    "disable_existing_loggers": False,
}


def content(
    settings: RunSettings,
    trainer: Any,
    criterion: str,
    place: tuple[int, int],
    meters: MeterSet,
    best: tuple[float | None, float | None],
    ours: dict[str, Any],
) -> dict[str, Any]:
    """What a ``.pt`` file of this run holds, for `ecgfm.checkpoint.write_pt`.

    Parameters
    ----------
    settings : RunSettings
    trainer : Trainer
    criterion : str
        Name of the original's class.
    place : (int, int)
        The epoch to go on with, and how many of its batches are done.
    meters : MeterSet
    best : (float or None, float or None)
        The score of the last validation, and the best so far.
    ours : dict
        What only this package knows.
    """
    state = trainer.state()
    model = saved_settings(settings.kind, trainer.config, settings.start.settings) | {"args": None}
    cfg = {**settings.cargo, "model": model, "job_logging_cfg": _JOB_LOGGING}
    lr = float(trainer.schedule(max(trainer.num_updates - 1, 0), trainer.epoch))
    history = {
        "criterion_name": criterion,
        "optimizer_name": "Adam",
        "lr_scheduler_state": {"lr": lr},
        "num_updates": trainer.num_updates,
    }
    epoch, batches = place
    names_known = trainer.labels and not trainer.labels_assumed  # what is only assumed is assumed again
    saved = {
        "args": None,
        "cfg": cfg,
        "model": trainer.state_dict(),
        "criterion": None,
        "optimizer_history": [history],
        "task_state": {},
        "extra_state": {
            "metrics": meters.state(),
            "previous_training_time": float(meters.seconds()),
            "train_iterator": {"version": 2, "epoch": epoch, "iterations_in_epoch": batches, "shuffle": True},
            "val_loss": best[0],
            "best": best[1],
            # Manifests and packed splits are what preprocessing made.
            "ecgfm": ours
            | {"info": {"profile": PIPELINE.name}}
            | written_input(trainer.input, trainer.input_source)
            | adapters_of(state, moments=not settings.keep.no_save_optimizer_state)
            | ({"labels": list(trainer.labels)} if names_known else {}),
        },
    }
    if not settings.keep.no_save_optimizer_state:
        saved["last_optimizer_state"] = _optimizer_state(trainer, state, lr)
    return saved


def adapters_of(state: dict[str, Any], *, moments: bool) -> dict[str, Any]:
    """The low-rank adapters, which are no tensors of the network: what is trained, and its moments."""
    found: dict[str, Any] = {}
    for name in filter(is_adapter, state["parameters"]):
        found[name] = {"values": state["parameters"][name]}
        if moments:
            found[name] |= {part: state[part][name] for part in ("exp_avg", "exp_avg_sq")}
            found[name]["step"] = state["steps"][name]
    return {"adapters": found} if found else {}


def _optimizer_state(trainer: Any, state: dict[str, Any], lr: float) -> dict[str, Any]:
    """As torch's optimizers save theirs: tensors by their place among the model's."""
    names = list(trainer.state_dict())
    moments = {
        names.index(name): {
            "step": state["steps"][name],
            "exp_avg": state["exp_avg"][name],
            "exp_avg_sq": state["exp_avg_sq"][name],
        }
        for name in state["exp_avg"]
        if state["steps"][name] > 0 and not is_adapter(name)
    }
    beta1, beta2 = trainer.optimizer["adam_betas"]
    group = {
        "lr": lr,
        "betas": [beta1, beta2],
        "eps": trainer.optimizer["adam_eps"],
        "weight_decay": trainer.optimizer["weight_decay"],
        "amsgrad": False,
        "params": list(range(len(names))),
    }
    return {"state": dict(sorted(moments.items())), "param_groups": [group]}

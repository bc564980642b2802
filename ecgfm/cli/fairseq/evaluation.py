"""From the original's configuration and a checkpoint to the settings of a run of validation or inference.

The network, the criterion and the file of labels are those of the checkpoint's own run, as in fairseq-signals.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..._text import shown
from ...checkpoint import Checkpoint
from ...errors import CheckpointError, ConfigError, Error
from ...specs.precision import FLOAT32
from ...training.objectives import OBJECTIVES
from ...training.settings import EvaluationSettings, Scoring, Start
from ...training.subsets import EXTRACT
from . import translate
from .compose import Run
from .keys import named
from .values import checked, settings_of_text

__all__ = ["of_checkpoint"]

# Group -> keys that are those of the checkpoint's own run, all where none is named.
_OWN: Mapping[str, tuple[str, ...]] = {
    "criterion": (),
    "task": ("label_file", "min_sample_size", "max_sample_size", "leads_bucket", "bucket_selection"),
}


def of_checkpoint(found: Checkpoint, run: Run, *, labelled: bool = True) -> EvaluationSettings:
    """All of a run of validation, or of inference, where no labels are read.

    Parameters
    ----------
    found : Checkpoint
        That of ``common_eval.path``.
    run : Run
        ``task.data`` and ``dataset``: the subsets; ``common_eval.extract`` and ``common_eval.results_path``: stores.
    labelled : bool

    Raises
    ------
    ConfigError, CheckpointError
        If a key that is needed is not given, keys don't fit each other, or the checkpoint's own are not those of a run.
    """
    overrides = _overrides(run)
    loss = translate.objective(run)
    kind = OBJECTIVES[loss].kind
    classifies = kind == "classifier"
    extract = _extract(run, labelled, classifies)
    results = _results(run) if extract else None
    if classifies and found.kind != "classifier" and (labelled or "output" in extract):
        raise ConfigError(
            "a pretrained model has no outputs",
            path=found.path,
            field="common_eval.path",
            remedy="Give a finetuned checkpoint, or ecgfm-hydra-inference with common_eval.extract=[encoder_out]",
        )
    labelled = labelled and classifies
    merging = _Merging(found, run, labelled)
    if run["common_eval"]["save_outputs"] and not classifies:
        merging.notices.append("common_eval.save_outputs=true means nothing here: a pretrained model has no outputs")
    if "common.fp16" in run.given and run["common"]["fp16"]:
        merging.notices.append("common.fp16=true means nothing here: ecgfm.precision says in what a model computes")
    run = merging.merged(overrides)
    subsets = translate.named_subsets(run)
    if not subsets:
        raise ConfigError("no subset is named", field="dataset.valid_subset", remedy="Say dataset.valid_subset=test")
    if run["common"]["log_format"] == "csv" and results is None:
        run["common"]["log_format"] = "simple"  # there is no directory for files
    weights = [translate.cell_weights(run, name) if labelled else None for name in ("pos_weight", "weight")]
    return EvaluationSettings(
        objective=loss,
        kind=kind,
        start=Start(pos_weight=weights[0], label_weight=weights[1]) if classifies else translate.start(run),
        feeding=translate.feeding(run, subsets, labelled=labelled),
        scoring=translate.scoring(run) if labelled or not classifies else Scoring(),
        report=translate.report(run),
        method=translate.method(run),
        seed=run["common"]["seed"],
        threads=run["ecgfm"]["threads"],
        precision=_precision(run, classifies),
        notices=tuple(run.notices),
        checkpoint=str(found.path),
        labelled=labelled,
        updates=_updates(found),
        extract=extract,
        results_path=results,
    )


def _precision(run: Run, classifies: bool) -> str | None:
    """That of a classifier; what a pretrained model gives comes from the kernels of training, in float32."""
    asked: str | None = run["ecgfm"]["precision"]
    if not classifies and asked not in (None, FLOAT32):
        raise ConfigError("a pretrained model runs in float32 here", field="ecgfm.precision", remedy="Leave it out")
    return asked


def _updates(found: Checkpoint) -> int:
    history = found.content.get("optimizer_history")
    last = history[-1] if isinstance(history, list) and history else {}
    updates = last.get("num_updates") if isinstance(last, dict) else None
    return updates if isinstance(updates, int) else 0


# ---- what is the checkpoint's ---------------------------------------------------------------------------------------


class _Merging:
    """Puts what is the checkpoint's in the place of what the run says."""

    def __init__(self, found: Checkpoint, run: Run, labelled: bool) -> None:
        self.found, self.run, self.labelled = found, run.copied(), labelled
        self.notices = list(run.notices)

    def merged(self, overrides: Mapping[str, Mapping[str, Any]]) -> Run:
        """The configuration with the checkpoint's network, criterion and file of labels."""
        found, model = self.found, self.run["model"]
        settings = {} if found.kind == "classifier" else found.settings
        for key, value in settings.items():
            if value is not None and key in model and key not in ("_name", "args", *found.config):
                model[key] = self.value_of("model", key, value)
        model |= {key: value for key, value in found.config.items() if key in model}
        for group, keys in _OWN.items():
            for key, value in {**self.own(group, keys), **overrides[group]}.items():
                if key != "_name" and key in self.run[group]:
                    self.take(group, key, value)
        self.run.notices = self.notices
        return self.run

    def own(self, group: str, keys: tuple[str, ...]) -> dict[str, Any]:
        """What the checkpoint's own run says in a group, if it is of the same kind."""
        values, name = self.found.of_run(group), self.run[group]["_name"]
        if not values or values.get("_name") not in (None, name):
            return {}
        found = {key: values[key] for key in keys or values if key in values}
        return found if keys else {**named(group)[name], **found}  # the whole group is the checkpoint's

    def value_of(self, group: str, key: str, value: object) -> Any:
        """A value of the checkpoint's own run, if it is one that a run can have."""
        try:
            return checked(f"{group}.{key}", value, named(group)[self.run[group]["_name"]][key])
        except ConfigError as error:
            raise CheckpointError(error.message, path=self.found.path, field=f"cfg.{group}.{key}") from None

    def take(self, group: str, key: str, value: object) -> None:
        """Put a value of the checkpoint's own run in the place of this run's."""
        field, said = f"{group}.{key}", self.run[group][key]
        value = self.value_of(group, key, value)
        if key == "label_file" and not self.readable(value):
            return
        if field in self.run.given and said is not None and said != value:
            self.notices.append(f"{field}={shown(said)} is not used: that of the checkpoint is {shown(value)}")
        self.run[group][key] = value

    def readable(self, value: object) -> bool:
        """Whether the checkpoint's file of labels is to be read, and not that which this run names."""
        if not self.labelled or (isinstance(value, str) and os.path.exists(value)):
            return self.labelled
        said = self.run.path("task.label_file")
        if said is None and value is not None:
            raise ConfigError(
                f"that of the checkpoint, {shown(value)}, is not there",
                path=self.found.path,
                field="task.label_file",
                remedy="Say task.label_file=...",
            )
        if said is not None:
            why = f"that of the checkpoint is not there, {shown(value)}"
            why = "the checkpoint names none" if value is None else why
            self.notices.append(f"task.label_file={said} is used: {why}")
        return said is None


# ---- the group common_eval ------------------------------------------------------------------------------------------


def _overrides(run: Run) -> dict[str, dict[str, Any]]:
    """Group -> key -> value of ``common_eval.model_overrides``, which changes what is the checkpoint's."""
    field = "common_eval.model_overrides"
    found: dict[str, dict[str, Any]] = {group: {} for group in _OWN}
    for key, value in settings_of_text(run["common_eval"]["model_overrides"], field).items():
        known = [group for group, keys in _OWN.items() if isinstance(key, str) and key in (keys or run[group])]
        if not known or key == "_name":
            raise ConfigError(
                f"{shown(key)} is not the name of the file of labels or of a setting of the criterion: "
                "the model is that of the checkpoint",
                field=field,
                remedy="Leave it out",
            )
        found[known[0]][key] = value
    return found


def _extract(run: Run, labelled: bool, classifies: bool) -> tuple[str, ...]:
    """What is stored."""
    values = run["common_eval"]
    given = values["extract"]
    if not classifies:
        if not labelled:
            raise ConfigError(
                "a run of pretraining has no outputs",
                field="task._name",
                remedy="Take the config diagnosis; it extracts encoder_out of pretrained models too",
            )
        if given:
            raise ConfigError(
                "nothing is extracted in pretraining",
                field="common_eval.extract",
                remedy="ecgfm-hydra-inference with the config diagnosis extracts encoder_out of a pretrained model too",
            )
        return ()
    if given is None and values["save_outputs"]:
        given = "output"
    if given is None:
        return () if labelled else ("output",)
    given = [part.strip() for part in given.split(",")] if isinstance(given, str) else given
    for name in given if isinstance(given, list) else [given]:
        if name not in EXTRACT:
            raise ConfigError(
                f"{shown(name)} can't be extracted",
                field="common_eval.extract",
                remedy=f"Known are {', '.join(EXTRACT)}",
            )
    return tuple(given)


def _results(run: Run) -> str:
    folder: str = run.need("common_eval.results_path")
    field = "common_eval.results_path"
    if not os.path.isdir(folder):
        raise ConfigError("there is no such directory", path=folder, field=field, remedy="Make it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise Error("the directory can't be written to", path=folder, field=field)
    return folder

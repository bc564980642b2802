"""Runs subsets through a checkpoint: the metrics of its criterion, and stores of what the network gives."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

import numpy as np

from ..errors import ConfigError, FormatError, LabelError
from ..inference.shared import SharedModel
from ..inference.stores import Stores
from ..model.loading import load
from ..ranks import Alone, Ranks
from .logs import Log
from .meters import Meters
from .objectives import OBJECTIVES
from .restoring import restore
from .scoring import validate as validate_subset
from .setting_up import load_dataset, load_loader, make_objective, pretraining_trainer
from .settings import EvaluationSettings

__all__ = ["EXTRACT", "infer", "validate"]

#: What can be extracted.
EXTRACT = ("output", "encoder_out", "saliency")


def validate(settings: EvaluationSettings, ranks: Alone | Ranks | None = None) -> list[tuple[str, dict[str, Any]]]:
    """Report the metrics of each subset, and write stores of what is to be extracted.

    Parameters
    ----------
    settings : EvaluationSettings
    ranks : Ranks, optional
        Of pretraining, each rank calls this. Of a classifier, rank 0 does: the others `ecgfm.inference.shared.serve` a
        model of this checkpoint.

    Returns
    -------
    list of (str, dict)
        Subset and metrics, of the last one last.

    Raises
    ------
    Error
        Before the first batch: of the settings, the checkpoint, the manifests and the stores' directory. Later: a
        damaged segment, as rows must match the lines of the manifest; a disk that is full.
    """
    ranks = Alone() if ranks is None else ranks
    return (_Classifier(settings, ranks) if settings.classifies else _Pretraining(settings, ranks)).work()


def infer(settings: EvaluationSettings, ranks: Alone | Ranks | None = None) -> list[tuple[str, list[str]]]:
    """Write stores of what is to be extracted of each subset. No labels are read.

    Parameters and errors are those of `validate`.

    Returns
    -------
    list of (str, list of str)
        Subset and the stores written.
    """
    return _Classifier(settings, Alone() if ranks is None else ranks).work()


class _Evaluation(ABC):
    """A checkpoint and the subsets to run through it."""

    model: Any = None

    def __init__(self, settings: EvaluationSettings, ranks: Alone | Ranks, loading: Alone | Ranks) -> None:
        self.settings, self.ranks = settings, ranks
        self.objective = make_objective(settings)
        feeding = settings.feeding
        self.subsets = {name: load_dataset(feeding, name, training=False) for name in feeding.valid_subsets}
        self.loaders = {}
        for name, each in self.subsets.items():
            each.check()
            self.loaders[name] = load_loader(feeding, each, loading, shuffle=False)

    def work(self) -> list[tuple[str, Any]]:
        """Every subset in turn."""
        log = Log(self.settings.report, self.settings.results_path, quiet=self.ranks.rank > 0)
        try:
            for notice in self.settings.notices:
                log.say(notice)
            return [(name, self.subset(name, log)) for name in self.subsets]
        finally:
            log.close()
            if isinstance(self.model, SharedModel):
                self.model.close()

    @abstractmethod
    def subset(self, name: str, log: Log) -> Any:
        """Metrics or stores of a subset."""


class _Pretraining(_Evaluation):
    """The losses of a pretrained model."""

    def __init__(self, settings: EvaluationSettings, ranks: Alone | Ranks) -> None:
        super().__init__(settings, ranks, loading=ranks)
        self.trainer = pretraining_trainer(settings, seed=settings.seed)
        restore(settings.checkpoint, self.trainer, self.objective.criterion, optimizer=False)
        self.trainer.num_updates, self.trainer.objective.looked = settings.updates, True

    def subset(self, name: str, log: Log) -> dict[str, Any]:
        limit = self.settings.feeding.max_valid_steps
        stats, _ = validate_subset(
            self.trainer, self.objective, self.loaders[name], self.ranks, limit=limit, all_signals=True
        )
        stats["num_updates"] = self.settings.updates
        log.total(name, stats, 1)
        return stats


class _Classifier(_Evaluation):
    """The metrics of a classifier, and what the network gives."""

    def __init__(self, settings: EvaluationSettings, ranks: Alone | Ranks) -> None:
        self.model = load(settings.checkpoint, precision=settings.precision)
        if self.model.precision_reason is not None:
            print(f"ecgfm: {self.model.precision_reason}.", file=sys.stderr)
        if self.model.caveat is not None:
            print(f"ecgfm: {self.model.caveat}.", file=sys.stderr)
        if ranks.size > 1:
            self.model = SharedModel(self.model, ranks)
        super().__init__(settings, ranks, loading=Alone())
        self.labelled, self.extract = settings.labelled, settings.extract
        for data in self.subsets.values():
            self._check_data(data)
        self.own = self._objective() if self.labelled else None

    def _check_data(self, data: Any) -> None:
        if self.labelled and data.num_labels != self.model.num_labels:
            labels = self.settings.feeding.label_file
            raise LabelError(
                f"{data.num_labels} labels, the checkpoint has {self.model.num_labels}",
                path=data.path if labels == "file" else labels,
                field="task.label_file",
                remedy=f"Give the labels that {self.model.source} was trained with",
            )
        leads = int(self.model.config["in_d"])
        if data.num_leads != leads:
            message = f"{data.num_leads} leads, the checkpoint takes {leads}"
            raise ConfigError(message, path=data.path, field="model.in_d")

    def _objective(self) -> Any:
        """What the losses are of."""
        settings, start, model = self.settings, self.settings.start, self.model
        if (model.target is None) == (settings.objective == "mse"):
            what, name = ("labels", "of labels") if model.target is None else ("numbers", "mse")
            raise ConfigError(
                f"the checkpoint's outputs are {what}", path=model.source, field="criterion._name", remedy=f"Say {name}"
            )
        weights = {"pos_weight": start.pos_weight, "label_weight": start.label_weight}
        for name, given in weights.items():
            field = "criterion.pos_weight" if name == "pos_weight" else "criterion.weight"
            if given is not None and len(given) != model.num_labels:
                message = f"{len(given)} weights, the checkpoint has {model.num_labels} labels"
                raise LabelError(message, field=field)
            if given is not None and not (np.isfinite(given) & (np.array(given) >= 0)).all():
                raise LabelError("a weight is negative or not finite", field=field)
        made: Any = OBJECTIVES[settings.objective](weights | asdict(settings.method), settings.seed, Alone())
        return made.adopt(model)

    # ---- the work -----------------------------------------------------------------------------------

    def subset(self, name: str, log: Log) -> Any:
        data, results = self.subsets[name], self.settings.results_path
        stores = Stores(results or "", name, self._shapes(data)) if self.extract else None
        meters = Meters()
        logits: list[Any] = []
        y: list[Any] = []
        with stores or nullcontext():
            padded = False
            for batch in self.loaders[name].epoch(1):
                out = self.model(batch.x, batch.padding_mask, attention="saliency" in self.extract)
                if stores is not None:
                    padded |= self._store(stores, data, batch, out)
                if self.labelled:
                    for entry in self.objective.entries(self.objective.summed(self.own, out.logits, batch.y)):
                        meters.log(*entry)
                    logits.append(out.logits)
                    y.append(batch.y)
            if stores is not None and "encoder_out" in self.extract and not padded:
                stores.drop("padding_mask")
        if stores is not None:
            log.say(f"written: {', '.join(stores.paths)}", name)
        if not self.labelled:
            return [] if stores is None else stores.paths
        stats, labels = self.objective.shown(meters), self.model.labels
        stats["nsignals"] = meters.sum("nsignals")
        stats, rows = self.objective.ranking(stats, np.concatenate(logits), np.concatenate(y), labels)
        stats["num_updates"] = self.settings.updates
        log.total(name, stats, 1)
        log.labels(name, self.settings.updates, rows)
        return stats

    def _shapes(self, data: Any) -> dict[str, Any]:
        """The arrays of a subset's stores: name -> shape and number type."""
        config, n = self.model.config, len(data)
        tokens, labels = self.model.tokens(int(data.sizes.max())), ((n, self.model.num_labels), "float32")
        width, layers = int(config["encoder_embed_dim"]), int(config["encoder_layers"])
        of_each: dict[str, dict[str, Any]] = {
            "output": {"outputs": labels, "targets": labels} if self.labelled else {"outputs": labels},
            "encoder_out": {"encoder_out": ((n, tokens, width), "float32"), "padding_mask": ((n, tokens), "bool")},
            "saliency": {"saliency": ((n, layers, tokens, tokens), "float32")},
        }
        return {name: how for each in EXTRACT if each in self.extract for name, how in of_each[each].items()}

    def _store(self, stores: Stores, data: Any, batch: Any, out: Any) -> bool:
        """Write a batch; whether a row of it is padded."""
        longest, count = self.model.tokens(int(data.sizes.max())), out.tokens.shape[1]
        if count > longest:
            said = int(data.sizes.max())
            message = f"a segment has {batch.x.shape[2]} samples, the manifest says {said} at most"
            raise FormatError(message, path=data.path)
        valid, more = np.full(len(batch), batch.x.shape[2]), (0, longest - count)
        if batch.padding_mask is not None:
            valid -= batch.padding_mask.sum(axis=1)
        tokens = np.array([self.model.tokens(int(n)) for n in valid])
        mask = np.arange(longest) >= tokens[:, None]
        if "output" in self.extract:
            stores.write("outputs", out.logits if out.values is None else out.values.astype(np.float32))
            if self.labelled:
                stores.write("targets", batch.y)
        if "encoder_out" in self.extract:
            stores.write("encoder_out", np.pad(out.tokens, ((0, 0), more, (0, 0))) if more[1] else out.tokens)
            stores.write("padding_mask", mask)
        if "saliency" in self.extract:
            wide = ((0, 0), (0, 0), more, more)
            stores.write("saliency", np.pad(out.attention, wide) if more[1] else out.attention)
        return bool(mask.any())

"""Runs subsets through a checkpoint: the metrics of a run's criterion, and stores of what the network gives."""

import os
import sys

import numpy as np

from .. import checkpoint
from .._text import shown
from ..errors import CheckpointError, ConfigError, Error, FormatError, LabelError
from ..inference.shared import SharedModel
from ..inference.stores import Stores
from ..model.model import load
from ..ranks import Alone
from .config import NAMED_GROUPS, Run, numbers
from .config_values import checked, settings_of_text
from .logs import Log
from .meters import Meters
from .saving import restore
from .scoring import validate as validate_subset
from .setting_up import classifies, load_dataset, load_loader, make_objective, make_trainer

__all__ = ["EXTRACT", "infer", "validate"]

# Group -> keys that are those of the checkpoint's own run, all where none is named.
_OWN = {
    "criterion": (),
    "task": ("label_file", "min_sample_size", "max_sample_size", "leads_bucket", "bucket_selection"),
}

#: What ``common_eval.extract`` may name.
EXTRACT = ("output", "encoder_out", "saliency")


def validate(run, ranks=None):
    """Report the metrics of each subset in ``dataset.valid_subset``, and write stores of what is to be extracted.

    Parameters
    ----------
    run : Run
        ``common_eval.path``: the checkpoint; ``task.data`` and ``dataset``: the subsets; ``common_eval.extract`` of
        `EXTRACT` and ``common_eval.results_path``: stores. The criterion and the file of labels are those of the
        checkpoint's own run.
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
        Before the first batch: of the configuration, the checkpoint, the manifests and the stores' directory. Later: a
        damaged segment, as rows must match the lines of the manifest; a disk that is full.
    """
    ranks = Alone() if ranks is None else ranks
    return (_Classifier(run, ranks, labelled=True) if classifies(run) else _Pretraining(run, ranks)).work()


def infer(run, ranks=None):
    """Write stores of what is to be extracted (by default ``output``) of each subset. No labels are read.

    Parameters and errors are those of `validate`.

    Returns
    -------
    list of (str, list of str)
        Subset and the stores written.
    """
    return _Classifier(run, Alone() if ranks is None else ranks, labelled=False).work()


class _Evaluation:
    """A checkpoint and the subsets to run through it."""

    model = None
    labelled = False
    loading = Alone()  # which ranks read

    def __init__(self, run, ranks):
        _check_ranks(run, ranks)
        self.ranks = ranks
        run.need("common_eval.path")
        self.overrides = _checked_overrides(run)
        self.run = Run({group: dict(values) for group, values in run.items()})
        self.run.given, self.run.notices, self.run.overrides = run.given, list(run.notices), run.overrides
        self.results = self.updates = None

    def open_subsets(self, labelled):
        names = [name.strip() for name in str(self.run["dataset"]["valid_subset"] or "").split(",") if name.strip()]
        if not names:
            remedy = "Say dataset.valid_subset=test"
            raise ConfigError("no subset is named", field="dataset.valid_subset", remedy=remedy)
        self.subsets = {name: load_dataset(self.run, name, training=False, labelled=labelled) for name in names}
        self.loaders = {}
        for name, each in self.subsets.items():
            each.check()
            self.loaders[name] = load_loader(self.run, each, self.loading, shuffle=False)

    def take_settings(self, source):
        """Take what is the checkpoint's: its network, the criterion and the file of labels, as fairseq-signals does."""
        with checkpoint.read(source) as found:
            own, history = found.cfg or {}, found.content.get("optimizer_history")
            settings = {} if found.kind == "classifier" else found.settings
            for key, value in settings.items():
                if value is not None and key in self.run["model"] and key not in ("_name", "args", *found.config):
                    self.run["model"][key] = self._value_of(source, "model", key, value)
            self.run["model"] |= {key: value for key, value in found.config.items() if key in self.run["model"]}
        for group, keys in _OWN.items():
            values = own.get(group)
            same = isinstance(values, dict) and values.get("_name") in (None, self.run[group]["_name"])
            values = {key: values[key] for key in keys or values if key in values} if same else {}
            if same and not keys:
                values = NAMED_GROUPS[group][self.run[group]["_name"]] | values  # the whole group is the checkpoint's
            for key, value in (values | self.overrides[group]).items():
                if key != "_name" and key in self.run[group]:
                    self._take(source, group, key, value)
        last = history[-1] if isinstance(history, list) and history else {}
        updates = last.get("num_updates") if isinstance(last, dict) else None
        self.updates = updates if isinstance(updates, int) else 0

    def _value_of(self, source, group, key, value):
        """A value of the checkpoint's own run, if it is one that a run can have."""
        try:
            return checked(f"{group}.{key}", value, NAMED_GROUPS[group][self.run[group]["_name"]][key])
        except ConfigError as error:
            raise CheckpointError(error.message, path=source, field=f"cfg.{group}.{key}") from None

    def _take(self, source, group, key, value):
        """Put a value of the checkpoint's own run in the place of this run's."""
        field, said = f"{group}.{key}", self.run[group][key]
        value = self._value_of(source, group, key, value)
        if key == "label_file" and not self._readable(value, said, source):
            return
        if field in self.run.given and said is not None and said != value:
            self.run.notices.append(f"{field}={shown(said)} is not used: that of the checkpoint is {shown(value)}")
        self.run[group][key] = value

    def _readable(self, value, said, source):
        """Whether the checkpoint's file of labels is to be read, and not that which this run names."""
        if not self.labelled or (isinstance(value, str) and os.path.exists(value)):
            return self.labelled
        said = self.run.path("task.label_file")
        if said is None and value is not None:
            raise ConfigError(
                f"that of the checkpoint, {shown(value)}, is not there",
                path=source,
                field="task.label_file",
                remedy="Say task.label_file=...",
            )
        if said is not None:
            self.run.notices.append(
                f"task.label_file={said} is used: "
                + (
                    "the checkpoint names none"
                    if value is None
                    else f"that of the checkpoint is not there, {shown(value)}"
                )
            )
        return said is None

    def work(self):
        """Every subset in turn."""
        common = self.run["common"]
        if common["log_format"] == "csv" and self.results is None:
            common["log_format"] = "simple"  # there is no directory for files
        log = Log(self.run, self.results, quiet=self.ranks.rank > 0)
        try:
            for notice in self.run.notices:
                log.say(notice)
            return [(name, self.subset(name, log)) for name in self.subsets]
        finally:
            log.close()
            if isinstance(self.model, SharedModel):
                self.model.close()


class _Pretraining(_Evaluation):
    """The losses of a pretrained model."""

    def __init__(self, run, ranks):
        super().__init__(run, ranks)
        self.loading = ranks
        if run["common_eval"]["extract"]:
            raise ConfigError(
                "nothing is extracted in pretraining",
                field="common_eval.extract",
                remedy="ecgfm-hydra-inference with the config diagnosis extracts encoder_out of a pretrained model too",
            )
        path = self.run["common_eval"]["path"]
        self.take_settings(path)
        self.objective = make_objective(self.run)
        self.open_subsets(labelled=False)
        self.trainer = make_trainer(self.run, None, Alone())
        restore(path, self.trainer, self.objective.criterion, optimizer=False)
        self.trainer.num_updates = self.updates

    def subset(self, name, log):
        stats, _ = validate_subset(
            self.run, self.trainer, self.objective, self.loaders[name], self.ranks, all_signals=True
        )
        stats["num_updates"] = self.updates
        log.total(name, stats, 1)
        return stats


class _Classifier(_Evaluation):
    """The metrics of a classifier, and what the network gives."""

    def __init__(self, run, ranks, labelled):
        super().__init__(run, ranks)
        if not classifies(run):
            raise ConfigError(
                "a run of pretraining has no outputs",
                field="task._name",
                remedy="Take the config diagnosis; it extracts encoder_out of pretrained models too",
            )
        self.labelled = labelled
        self.extract = _checked_extract(run, labelled)
        self.results = _checked_results(run) if self.extract else None
        self.model = load(run["common_eval"]["path"])
        if self.model.caveat is not None:
            print(f"ecgfm: {self.model.caveat}.", file=sys.stderr)
        if ranks.size > 1:
            self.model = SharedModel(self.model, ranks)
        if self.model.kind != "classifier" and (labelled or "output" in self.extract):
            raise ConfigError(
                "a pretrained model has no outputs",
                path=self.model.source,
                field="common_eval.path",
                remedy="Give a finetuned checkpoint, or ecgfm-hydra-inference with common_eval.extract=[encoder_out]",
            )
        self.take_settings(self.model.source)
        self.objective = make_objective(self.run) if labelled else None
        self.open_subsets(labelled)
        for data in self.subsets.values():
            self._check_data(data)
        self.pos_weight = self._pos_weight() if labelled else None

    def _check_data(self, data):
        if self.labelled and data.num_labels != self.model.num_labels:
            raise LabelError(
                f"{data.num_labels} labels, the checkpoint has {self.model.num_labels}",
                path=self.run["task"]["label_file"] or data.path,
                field="task.label_file",
                remedy=f"Give the labels that {self.model.source} was trained with",
            )
        leads = int(self.model.config["in_d"])
        if data.num_leads != leads:
            message = f"{data.num_leads} leads, the checkpoint takes {leads}"
            raise ConfigError(message, path=data.path, field="model.in_d")

    def _pos_weight(self):
        given, count = self.run["criterion"]["pos_weight"], self.model.num_labels
        if given is None:
            return None
        weights = np.array(numbers(given, "criterion.pos_weight"), np.float32)
        if weights.shape != (count,):
            raise LabelError(f"{len(weights)} weights, the checkpoint has {count} labels", field="criterion.pos_weight")
        if not (np.isfinite(weights) & (weights >= 0)).all():
            raise LabelError("a weight is negative or not finite", field="criterion.pos_weight")
        return weights

    # ---- the work -----------------------------------------------------------------------------------

    def subset(self, name, log):
        data = self.subsets[name]
        stores = Stores(self.results, name, self._shapes(data)) if self.extract else None
        meters, logits, y = Meters(), [], []
        with stores or _Nothing():
            padded = False
            for batch in self.loaders[name].epoch(1):
                out = self.model(batch.x, batch.padding_mask, attention="saliency" in self.extract)
                if stores is not None:
                    padded |= self._store(stores, data, batch, out)
                if self.labelled:
                    self.objective.log(meters.log, self.objective.sums(out.logits, batch.y, self.pos_weight))
                    logits.append(out.logits)
                    y.append(batch.y)
            if "encoder_out" in self.extract and not padded:
                stores.drop("padding_mask")
        if stores is not None:
            log.say(f"written: {', '.join(stores.paths)}", name)
        if not self.labelled:
            return stores.paths
        stats, labels = self.objective.shown(meters), self.model.labels
        stats["nsignals"] = meters.sum("nsignals")
        stats, rows = self.objective.ranking(stats, np.concatenate(logits), np.concatenate(y), labels)
        stats["num_updates"] = self.updates
        log.total(name, stats, 1)
        log.labels(name, self.updates, rows)
        return stats

    def _shapes(self, data):
        """The arrays of a subset's stores: name -> shape and number type."""
        config, n = self.model.config, len(data)
        tokens, labels = self.model.tokens(int(data.sizes.max())), self.model.num_labels
        shapes = {}
        if "output" in self.extract:
            shapes["outputs"] = ((n, labels), "float32")
            if self.labelled:
                shapes["targets"] = ((n, labels), "float32")
        if "encoder_out" in self.extract:
            shapes["encoder_out"] = ((n, tokens, int(config["encoder_embed_dim"])), "float32")
            shapes["padding_mask"] = ((n, tokens), "bool")
        if "saliency" in self.extract:
            shapes["saliency"] = ((n, int(config["encoder_layers"]), tokens, tokens), "float32")
        return shapes

    def _store(self, stores, data, batch, out):
        """Write a batch; whether a row of it is padded."""
        longest, count = self.model.tokens(int(data.sizes.max())), out.tokens.shape[1]
        if count > longest:
            said = int(data.sizes.max())
            message = f"a segment has {batch.x.shape[2]} samples, the manifest says {said} at most"
            raise FormatError(message, path=data.path)
        if "output" in self.extract:
            stores.write("outputs", out.logits)
            if self.labelled:
                stores.write("targets", batch.y)
        more, mask = longest - count, None
        if "encoder_out" in self.extract:
            valid = np.full(len(batch), batch.x.shape[2])
            if batch.padding_mask is not None:
                valid -= batch.padding_mask.sum(axis=1)
            tokens = np.array([self.model.tokens(int(n)) for n in valid])
            mask = np.arange(longest) >= tokens[:, None]
            stores.write("encoder_out", np.pad(out.tokens, ((0, 0), (0, more), (0, 0))) if more else out.tokens)
            stores.write("padding_mask", mask)
        if "saliency" in self.extract:
            wide = ((0, 0), (0, 0), (0, more), (0, more))
            stores.write("saliency", np.pad(out.attention, wide) if more else out.attention)
        return mask is not None and bool(mask.any())


class _Nothing:
    """A block without stores."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


def _checked_overrides(run):
    """Group -> key -> value of ``common_eval.model_overrides``, which changes what is the checkpoint's."""
    field = "common_eval.model_overrides"
    found = {group: {} for group in _OWN}
    for key, value in settings_of_text(run["common_eval"]["model_overrides"], field).items():
        for group, keys in _OWN.items():
            if isinstance(key, str) and key != "_name" and key in (keys or run[group]):
                found[group][key] = value
                break
        else:
            raise ConfigError(
                f"{shown(key)} is not the name of the file of labels or of a setting of the criterion: "
                "the model is that of the checkpoint",
                field=field,
                remedy="Leave it out",
            )
    return found


def _checked_extract(run, labelled):
    given = run["common_eval"]["extract"]
    if given is None and run["common_eval"]["save_outputs"]:
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


def _checked_results(run):
    folder = run.need("common_eval.results_path")
    if not os.path.isdir(folder):
        field = "common_eval.results_path"
        raise ConfigError("there is no such directory", path=folder, field=field, remedy="Make it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise Error("the directory can't be written to", path=folder, field="common_eval.results_path")
    return folder


def _check_ranks(run, ranks):
    size = run["distributed_training"]["distributed_world_size"]
    if ranks.size == 1 and size not in (None, 0, 1):
        raise ConfigError(
            f"this process is not one of {size} ranks",
            field="distributed_training.distributed_world_size",
            remedy="Say distributed_training.distributed_world_size=1; one process uses all processors",
        )

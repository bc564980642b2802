"""From a configuration to data sets, loaders, the trainer and the objective."""

import os

from .. import checkpoint
from .._text import shown
from ..checkpoint.labels import check_labels
from ..data import Dataset, Loader
from ..ecg.augment import PERTURBATIONS, augmentation
from ..errors import ConfigError, LabelError
from ..model.model import caveat_of
from ..specs.architecture import architecture_keys
from ..specs.blocks import conv_feature_layers
from .config import MISSING, numbers
from .objectives import ChallengeScore, Classification, Pretraining
from .pretrain_settings import SETTINGS, UNABLE
from .trainer import SETTINGS as FINETUNING
from .trainer import Trainer

__all__ = [
    "check_data",
    "check_loop",
    "check_metric",
    "classifies",
    "label_names_file",
    "load_dataset",
    "load_loader",
    "make_objective",
    "make_trainer",
    "update_freq",
    "valid_subsets",
]

_CRITERION = ("temp", "loss_weights", "cmsc_weights", "infonce")


def classifies(run):
    """Whether the run is one of classification; else it is one of pretraining."""
    named = {group: run[group]["_name"] for group in ("task", "model", "criterion")}
    wanted = {
        "task": "ecg_classification",
        "model": "ecg_transformer_classifier",
        "criterion": "binary_cross_entropy_with_logits",
    }
    same = [named[group] == name for group, name in wanted.items()]
    if any(same) and not all(same):
        odd = next(group for group, fits in zip(wanted, same) if fits != same[0])
        raise ConfigError(f"{named[odd]} does not go together with the task {named['task']}", field=f"{odd}._name")
    return same[0]


def make_objective(run):
    """What is trained for."""
    c = run["criterion"]
    if not classifies(run):
        return Pretraining(c["_name"], _log_keys(c.get("log_keys")))
    if c["weight"] is not None:
        raise ConfigError(
            "weights of cells are not supported", field="criterion.weight", remedy="Give criterion.pos_weight"
        )
    if not 0 < c["threshold"] < 1:
        raise ConfigError(f"{c['threshold']} is not between 0 and 1", field="criterion.threshold")
    challenge = ChallengeScore(run.need("criterion.weights_file")) if c["report_cinc_score"] else None
    return Classification(c["threshold"], c["report_auc"], challenge)


def _log_keys(given):
    """What pretraining reports beside its losses."""
    given = [given] if isinstance(given, str) else given or []
    for name in given:
        if name not in (*Pretraining.DIGITS, "logits", "target"):  # the last two fairseq-signals keeps to itself
            remedy = f"Known are {', '.join(Pretraining.DIGITS)}"
            raise ConfigError(f"{shown(name)} is not known", field="criterion.log_keys", remedy=remedy)
    return tuple(name for name in Pretraining.DIGITS if name in given)


def load_dataset(run, subset, *, training, labelled=True):
    """The data set of a subset; without its labels if they are not wanted.

    Raises
    ------
    FormatError, LabelError, ConfigError
        If its manifest is missing or damaged, or the labels don't fit.
    """
    t, labels, classification = run["task"], None, classifies(run)
    if classification and labelled:
        labels = run.path("task.label_file") or "file"
        if t["label_file"] == MISSING:
            raise ConfigError("it is not given", field="task.label_file")
    augment = None
    if training and t["perturbation_mode"] and not classification:
        known = {name for _, names in PERTURBATIONS.values() for name in names}
        options = {name: t[name] for name in known if name in t}
        options |= {"freq": t["sample_rate"] or 500, "keep_one_lead": bool(run["ecgfm"]["keep_one_lead"])}
        augment = augmentation(t["perturbation_mode"], numbers(t["p"], "task.p"), **options)
    return Dataset(
        os.path.join(run.need("task.data"), subset),
        pairs=run["criterion"]["_name"] in ("wav2vec2_with_cmsc", "cmsc"),
        training=training,
        labels=labels,
        sample_rate=t["sample_rate"],
        leads_to_load=t["leads_to_load"],
        leads_bucket=t["leads_bucket"],
        pad_leads=bool(t["enable_padding_leads"]),
        filter=bool(t["filter"]),
        normalize=bool(t["normalize"]),
        mean_path=run.path("task.mean_path"),
        std_path=run.path("task.std_path"),
        augment=augment,
        pad=bool(t["enable_padding"]),
        max_sample_size=t["max_sample_size"],
        min_sample_size=t["min_sample_size"],
        seed=run["common"]["seed"],
    )


def load_loader(run, dataset, ranks, *, valid=False, shuffle=True, report=None):
    """The batches of a data set."""
    d = run["dataset"]
    suffix = "_valid" if valid else ""
    size, tokens = d[f"batch_size{suffix}"], d[f"max_tokens{suffix}"]
    if size is None and tokens is None:
        raise ConfigError("neither it nor dataset.max_tokens is given", field="dataset.batch_size")
    return Loader(
        dataset,
        batch_size=size,
        max_tokens=tokens,
        required_batch_size_multiple=d["required_batch_size_multiple"],
        shuffle=shuffle,
        curriculum=d["curriculum"],
        rank=ranks.rank,
        ranks=ranks.size,
        threads=min(d["num_workers"], 8),
        max_bad_segments=run["ecgfm"]["max_bad_segments"],
        report=report,
    )


def make_trainer(run, dataset, ranks):
    """The trainer, from a checkpoint or new.

    Raises
    ------
    Error
        If the checkpoint is of another architecture, or labels, weights and settings don't fit.
    """
    optimizer = {name: value for name, value in run["optimizer"].items() if name not in ("_name", "lr", "use_old_adam")}
    optimizer["adam_betas"] = numbers(optimizer["adam_betas"], "optimizer.adam_betas")
    optimizer["clip_norm"] = float(run["optimization"]["clip_norm"])
    schedule = dict(run["lr_scheduler"]) | {"lr": numbers(run["optimization"]["lr"], "optimization.lr")}
    if schedule.get("phase_ratio") is not None:
        schedule["phase_ratio"] = numbers(schedule["phase_ratio"], "lr_scheduler.phase_ratio")
    common = {
        "schedule": schedule,
        "optimizer": optimizer,
        "seed": run["common"]["seed"],
        "on_nonfinite": run["ecgfm"]["on_nonfinite"],
        "recompute": bool(run["ecgfm"]["recompute"]),
        "communicator": ranks,
    }
    trainer = _finetuning(run, dataset, common) if classifies(run) else _pretraining(run, common)
    trainer.expected = None  # the configuration says what segments are like
    return trainer


def _finetuning(run, dataset, common):
    m, labels = run["model"], run.need("model.num_labels")
    if m["apply_mask"]:
        raise ConfigError("finetuning masks nothing", field="model.apply_mask", remedy="Say model.apply_mask=false")
    if dataset.num_labels != labels:
        raise LabelError(
            f"the data have {dataset.num_labels} labels, model.num_labels is {labels}",
            path=run["task"]["label_file"],
            field="model.num_labels",
        )
    weights = run["criterion"]["pos_weight"]
    if weights is not None:
        weights = numbers(weights, "criterion.pos_weight")
    if m["no_pretrained_weights"]:
        model = Trainer(_architecture(m), loss="wav2vec2_with_cmsc", seed=common["seed"]).model()
    else:
        model = run.need("model.model_path")
        with checkpoint.read(model) as found:
            _check_architecture(run, found, model)
            _check_signals(run, found, model)
            caveat = caveat_of(found.info)
        if caveat is not None:
            run.notices.append(f"{model}: {caveat}")
    settings = {name: type(default)(m[name]) for name, default in FINETUNING.items()}
    names = _label_names(run, labels)
    return Trainer(model, num_labels=labels, labels=names, pos_weight=weights, **common, **settings)


def _label_names(run, count):
    """From the ``label_def.csv`` beside the labels, if it is there."""
    beside = label_names_file(run)
    return None if beside is None else check_labels(beside, count)


def label_names_file(run):
    """The ``label_def.csv`` beside the labels of a run, if it is there."""
    path = run["task"].get("label_file")
    beside = os.path.join(os.path.dirname(path), "label_def.csv") if isinstance(path, str) else None
    return beside if beside is not None and os.path.isfile(beside) else None


def _architecture(m):
    """The keys of the architecture out of a group ``model``."""
    found = {name: m[name] for name in architecture_keys("pretraining") if name in m}
    if not found.get("final_dim"):
        found["final_dim"] = found["encoder_embed_dim"]
    return found


def _check_architecture(run, found, path):
    """What the configuration says of the network must be so in the checkpoint."""
    for name in architecture_keys("encoder"):
        if f"model.{name}" not in run.given:
            continue
        said, there = run["model"][name], found.config[name]
        if name == "conv_feature_layers":
            said = conv_feature_layers(said)
        if said != there:
            raise ConfigError(
                f"it is {shown(said)} in the configuration and {shown(there)} in {path}",
                field=f"model.{name}",
                remedy="Leave it out: the architecture is the checkpoint's",
            )


def _check_signals(run, found, path):
    """Signals must be normalised and filtered as in the run that made the checkpoint, as fairseq-signals demands."""
    task = (found.cfg or {}).get("task")
    for name in ("normalize", "filter"):
        there = task.get(name) if isinstance(task, dict) else None
        said = run["task"][name]
        if isinstance(there, bool) and said != there:
            raise ConfigError(
                f"it is {str(said).lower()} here and was {str(there).lower()} in the run that made {path}",
                field=f"task.{name}",
                remedy=f"Say task.{name}={str(there).lower()}",
            )


def _pretraining(run, common):
    m, c = run["model"], run["criterion"]
    loss = c["_name"]
    if (m["_name"] == "wav2vec2") != (loss == "wav2vec2"):
        raise ConfigError(f"does not go together with the criterion {loss}", field="model._name")
    settings = {name: m[name] for name in (*SETTINGS, *UNABLE) if name in m and name != "apply_mask"}
    if not m["apply_mask"]:
        settings["apply_mask"] = False
    settings |= {name: c[name] for name in _CRITERION if name in c}
    for name in ("latent_temp", "loss_weights"):
        if name in settings:
            settings[name] = numbers(settings[name], name)
    architecture = _architecture(m)
    settings["cmsc_all_ranks"] = bool(run["ecgfm"]["cmsc_all_ranks"])
    return Trainer(architecture, loss=loss, perturbation_mode=None, **common, **settings)


# ---- what can be wrong with all of a run -----------------------------------------------------------------------


def check_loop(run):
    """The run must end, and take whole numbers of batches for an update."""
    freq = numbers(run["optimization"]["update_freq"], "optimization.update_freq")
    if not freq or not all(1 <= value < 1 << 53 and value == int(value) for value in freq):
        raise ConfigError(f"{shown(freq)} are not whole numbers from 1 up", field="optimization.update_freq")
    if run["optimization"]["max_epoch"] <= 0 and run["optimization"]["max_update"] <= 0:
        if run["optimization"]["stop_time_hours"] <= 0 and run["checkpoint"]["patience"] <= 0:
            if run["optimization"]["stop_min_lr"] < 0:
                raise ConfigError("the run would never end", field="optimization.max_epoch", remedy="Give max_epoch")
    if run["dataset"]["combine_valid_subsets"]:
        raise ConfigError(
            "subsets are not combined",
            field="dataset.combine_valid_subsets",
            remedy="Name them in dataset.valid_subset",
        )


def check_metric(run, objective):
    """The metric by which checkpoints are compared must be one that validation gives."""
    metric = run["checkpoint"]["best_checkpoint_metric"]
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


def valid_subsets(run):
    """The names of the subsets to validate on; none without validation."""
    dataset = run["dataset"]
    names = [name.strip() for name in (run.path("dataset.valid_subset") or "").split(",") if name.strip()]
    if dataset["disable_validation"]:
        return []
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


def check_data(data, trainer):
    """What is wrong with all of a data set, found by reading a few of its items."""
    if len(data) == 0:
        raise ConfigError("there are no segments in it", path=data.path, field="task.data")
    data.check()
    wanted = int(trainer.config["in_d"])
    if data.num_leads != wanted:
        raise ConfigError(
            f"segments have {data.num_leads} leads, the model takes {wanted}", path=data.path, field="model.in_d"
        )


def update_freq(values, epoch):
    """How many batches an update of that epoch takes."""
    values = [int(value) for value in numbers(values, "optimization.update_freq")]
    return values[min(epoch, len(values)) - 1]

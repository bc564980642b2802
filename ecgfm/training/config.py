"""The configuration of a run, as fairseq-signals names it: groups, keys, defaults, YAML files and overrides of hydra."""

import ast
import difflib
import os
import warnings

from ..errors import ConfigError, MissingExtraError

__all__ = ["CONFIGS", "CONFIG_GROUPS", "Run", "compose", "numbers"]

#: The configurations that come with the package.
CONFIGS = os.path.join(os.path.dirname(__file__), "configs")

MISSING = "???"

#: Group -> key -> default, for groups that are the same in every run.
CONFIG_GROUPS = {
    "common": {
        "no_progress_bar": False,
        "log_interval": 100,
        "log_format": "json",
        "log_file": None,
        "tensorboard_logdir": None,
        "wandb_project": None,
        "wandb_entity": None,
        "seed": 1,
        "fp16": False,
        "memory_efficient_fp16": False,
        "fp16_no_flatten_grads": False,
        "fp16_init_scale": 128,
        "fp16_scale_window": None,
        "fp16_scale_tolerance": 0.0,
        "on_cpu_convert_precision": False,
        "min_loss_scale": 1e-4,
        "threshold_loss_scale": None,
        "empty_cache_freq": 0,
        "all_gather_list_size": 16384,
        "model_parallel_size": 1,
        "profile": False,
        "reset_logging": False,
        "suppress_crashes": False,
    },
    "common_eval": {
        "path": None,
        "quiet": False,
        "model_overrides": "{}",
        "extract": None,
        "results_path": None,
    },
    "distributed_training": {
        "distributed_world_size": 1,
        "distributed_rank": 0,
        "distributed_backend": "nccl",
        "distributed_init_method": None,
        "distributed_port": 12355,
        "device_id": 0,
        "ddp_comm_hook": "none",
        "bucket_cap_mb": 25,
        "fix_batches_to_gpus": False,
        "find_unused_parameters": False,
        "heartbeat_timeout": -1,
        "broadcast_buffers": False,
        "fp16": False,
        "memory_efficient_fp16": False,
    },
    "dataset": {
        "num_workers": 1,
        "skip_invalid_size_inputs_valid_test": False,
        "max_tokens": None,
        "batch_size": None,
        "required_batch_size_multiple": 8,
        "data_buffer_size": 10,
        "train_subset": "train",
        "valid_subset": "valid",
        "combine_valid_subsets": None,
        "ignore_unused_valid_subsets": False,
        "validate_interval": 1,
        "validate_interval_updates": 0,
        "validate_after_updates": 0,
        "fixed_validation_seed": None,
        "disable_validation": False,
        "max_tokens_valid": None,
        "batch_size_valid": None,
        "max_valid_steps": None,
        "curriculum": 0,
        "num_shards": 1,
        "shard_id": 0,
    },
    "optimization": {
        "max_epoch": 0,
        "max_update": 0,
        "lr": [0.25],
        "stop_time_hours": 0.0,
        "clip_norm": 0.0,
        "update_freq": [1],
        "stop_min_lr": -1.0,
    },
    "checkpoint": {
        "save_dir": "checkpoints",
        "restore_file": "checkpoint_last.pt",
        "finetune_from_model": None,
        "reset_dataloader": False,
        "reset_lr_scheduler": False,
        "reset_meters": False,
        "reset_optimizer": False,
        "optimizer_overrides": "{}",
        "save_interval": 1,
        "save_interval_updates": 0,
        "keep_interval_updates": -1,
        "keep_interval_updates_pattern": -1,
        "keep_last_epochs": -1,
        "keep_best_checkpoints": -1,
        "no_save": False,
        "no_epoch_checkpoints": False,
        "no_last_checkpoints": False,
        "no_save_optimizer_state": False,
        "best_checkpoint_metric": "loss",
        "maximize_best_checkpoint_metric": False,
        "patience": -1,
        "checkpoint_suffix": "",
        "checkpoint_shard_count": 1,
        "load_checkpoint_on_all_dp_ranks": False,
    },
    "ecgfm": {
        "keep_one_lead": False,
        "recompute": False,
        "on_nonfinite": "error",
        "cmsc_all_ranks": False,
        "max_bad_segments": 0.01,
        "threads": None,
    },
}

_DATA = {
    "data": MISSING,
    "leads_to_load": None,
    "leads_bucket": None,
    "bucket_selection": "uniform",
    "sample_rate": None,
    "filter": False,
    "normalize": False,
    "mean_path": None,
    "std_path": None,
    "enable_padding": False,
    "enable_padding_leads": False,
    "max_sample_size": None,
    "min_sample_size": None,
    "num_batch_buckets": 0,
    "precompute_mask_indices": False,
    "perturbation_mode": None,
    "p": [1.0],
    "max_amplitude": 0.1,
    "min_amplitude": 0.0,
    "dependency": True,
    "shift_ratio": 0.2,
    "num_segment": 1,
    "max_freq": 0.2,
    "min_freq": 0.01,
    "k": 3,
    "mask_leads_selection": "random",
    "mask_leads_prob": 0.5,
    "mask_leads_condition": [4, 5],
    "inferred_w2v_config": None,
    "inferred_3kg_config": None,
    "criterion_name": None,
}

_ENCODER = {
    "all_gather": False,
    "normalize": False,
    "filter": False,
    "data": None,
    "args": None,
    "encoder_layers": 12,
    "encoder_embed_dim": 768,
    "encoder_ffn_embed_dim": 3072,
    "encoder_attention_heads": 12,
    "layer_norm_first": False,
    "saliency": False,
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "activation_dropout": 0.0,
    "encoder_layerdrop": 0.0,
    "dropout_input": 0.0,
    "dropout_features": 0.0,
    "apply_mask": False,
    "mask_length": 10,
    "mask_prob": 0.65,
    "mask_selection": "static",
    "mask_other": 0.0,
    "no_mask_overlap": False,
    "mask_min_space": 1,
    "mask_channel_length": 10,
    "mask_channel_prob": 0.0,
    "mask_channel_selection": "static",
    "mask_channel_other": 0.0,
    "no_mask_channel_overlap": False,
    "mask_channel_min_space": 1,
    "extractor_mode": "default",
    "conv_feature_layers": "[(256, 2, 2)] * 4",
    "in_d": 12,
    "conv_bias": False,
    "feature_grad_mult": 1.0,
    "conv_pos": 128,
    "conv_pos_groups": 16,
}

_PRETRAINING = {
    "logit_temp": 0.1,
    "quantize_targets": False,
    "quantize_input": False,
    "same_quantizer": False,
    "target_glu": False,
    "latent_vars": 320,
    "latent_groups": 2,
    "latent_dim": 0,
    "final_dim": 0,
    "num_negatives": 100,
    "negatives_from_everywhere": False,
    "cross_sample_negatives": 0,
    "codebook_negatives": 0,
    "latent_temp": [2.0, 0.5, 0.999995],
}

#: Group -> ``_name`` -> key -> default.
NAMED_GROUPS = {
    "task": {
        "ecg_pretraining": _DATA,
        "ecg_classification": _DATA | {"path_dataset": False, "label_file": None, "load_specific_lead": False},
    },
    "model": {
        "wav2vec2_cmsc": _ENCODER | {"apply_mask": True} | _PRETRAINING,
        "wav2vec2": _ENCODER | {"apply_mask": True} | _PRETRAINING,
        "ecg_transformer_classifier": _ENCODER
        | {
            "mask_prob": 0.0,
            "model_path": MISSING,
            "no_pretrained_weights": False,
            "freeze_finetune_updates": 0,
            "final_dropout": 0.0,
            "num_labels": MISSING,
        },
    },
    "criterion": {
        "wav2vec2_with_cmsc": {
            "temp": 0.1,
            "eps": 1e-8,
            "all_gather": False,
            "infonce": True,
            "loss_weights": [0.1, 10.0],
            "log_keys": ["prob_perplexity", "code_perplexity", "temp"],
            "cmsc_weights": None,
        },
        "wav2vec2": {
            "infonce": True,
            "loss_weights": [0.1, 10.0],
            "log_keys": ["prob_perplexity", "code_perplexity", "temp"],
        },
        "cmsc": {"temp": 0.1, "eps": 1e-8, "all_gather": False},
        "binary_cross_entropy_with_logits": {
            "weight": None,
            "threshold": 0.5,
            "report_auc": True,
            "auc_average": "macro",
            "pos_weight": None,
            "report_cinc_score": False,
            "weights_file": None,
            "per_log_keys": [],
        },
    },
    "optimizer": {
        "adam": {
            "adam_betas": "(0.9, 0.999)",
            "adam_eps": 1e-8,
            "weight_decay": 0.0,
            "use_old_adam": False,
        },
    },
    "lr_scheduler": {
        "fixed": {"force_anneal": None, "lr_shrink": 0.1, "warmup_updates": 0},
        "tri_stage": {
            "warmup_steps": 0,
            "hold_steps": 0,
            "decay_steps": 0,
            "phase_ratio": None,
            "init_lr_scale": 0.01,
            "final_lr_scale": 0.01,
            "max_update": 0,
        },
        "step": {
            "warmup_updates": 0,
            "warmup_init_lr": -1.0,
            "min_lr": 0.0,
            "lr_deacy_period": 1,
            "lr_decay": 1.0,
        },
    },
}

_FLOAT32 = "numbers are float32"
_NO_GPU = "there is no GPU"
_MPI = "ranks talk by MPI"
_EQUAL_SHAPES = "no accelerator needs equal shapes"

# What is accepted and said to mean nothing here.
_NO_MEANING = {
    "common": {
        "fp16": _FLOAT32,
        "memory_efficient_fp16": _FLOAT32,
        "fp16_no_flatten_grads": _FLOAT32,
        "fp16_init_scale": _FLOAT32,
        "fp16_scale_window": _FLOAT32,
        "fp16_scale_tolerance": _FLOAT32,
        "on_cpu_convert_precision": _FLOAT32,
        "min_loss_scale": _FLOAT32,
        "threshold_loss_scale": _FLOAT32,
        "empty_cache_freq": _NO_GPU,
        "profile": "there is no GPU to profile",
        "reset_logging": "no other program sets up the log",
        "suppress_crashes": "errors are reported",
        "all_gather_list_size": "there is no such limit",
        "model_parallel_size": "models are not split",
    },
    "common_eval": {"quiet": "common.log_format=none is quiet"},
    "distributed_training": {
        "distributed_rank": _MPI,
        "distributed_backend": _MPI,
        "distributed_init_method": _MPI,
        "distributed_port": _MPI,
        "device_id": _NO_GPU,
        "ddp_comm_hook": _MPI,
        "bucket_cap_mb": _MPI,
        "find_unused_parameters": "no parameter has to be looked for",
        "broadcast_buffers": "there are no buffers",
        "fix_batches_to_gpus": _NO_GPU,
        "heartbeat_timeout": _MPI,
        "fp16": _FLOAT32,
        "memory_efficient_fp16": _FLOAT32,
    },
    "dataset": {
        "data_buffer_size": "batches are read ahead by the number of threads (num_workers)",
        "skip_invalid_size_inputs_valid_test": "segments of any length are taken",
        "fixed_validation_seed": "every validation has the same noise",
    },
    "optimizer": {"use_old_adam": "it had no effect"},
    "task": {
        "num_batch_buckets": _EQUAL_SHAPES,
        "precompute_mask_indices": _EQUAL_SHAPES,
        "inferred_w2v_config": "it is derived from the model",
        "inferred_3kg_config": "it is derived from the model",
    },
    "criterion": {
        "auc_average": "auroc and auprc are over all cells, auroc_macro and auprc_macro means over labels",
        "per_log_keys": "values per label stand in <subset>_labels.csv",
    },
    "checkpoint": {
        "reset_lr_scheduler": "the learning rate follows from the epoch and the updates",
        "optimizer_overrides": "the settings of this run hold for its optimizer",
        "load_checkpoint_on_all_dp_ranks": "each rank reads the checkpoint",
        "checkpoint_shard_count": "checkpoints are whole",
    },
}

# What would change a run and is not done: any other value than the default is refused.
_REFUSED = {
    "dataset": {
        "num_shards": "data are shared out by distributed_training.distributed_world_size",
        "shard_id": "data are shared out by distributed_training.distributed_world_size",
    },
    "task": {
        "path_dataset": "label files are arrays",
        "load_specific_lead": "leads are chosen by task.leads_to_load",
        "bucket_selection": "a lead is drawn uniformly",
    },
    "model": {"all_gather": "ecgfm.cmsc_all_ranks=true compares the pairs of all ranks"},
    "criterion": {"all_gather": "ecgfm.cmsc_all_ranks=true compares the pairs of all ranks"},
}


class Run(dict):
    """The configuration of one run: group -> key -> value, every key with a value.

    Attributes
    ----------
    given : set of str
        ``group.key`` of what a file or an override says.
    notices : list of str
        Lines for the user: keys that mean nothing here.
    overrides : list of str
        As they were given.
    """

    given = frozenset()
    notices = ()
    overrides = ()

    def need(self, key):
        """The value of ``group.key``.

        Raises
        ------
        ConfigError
            If it is missing (``???``) or null.
        """
        group, name = key.split(".")
        value = self[group].get(name)
        if value is None or value == MISSING:
            raise ConfigError("it is not given", field=key, remedy=f"Say {key}=...")
        return value


def compose(config_name, overrides=(), config_dir=None):
    """Read a YAML file and its overrides, as hydra does.

    Parameters
    ----------
    config_name : str
        Name of the file, without ``.yaml``; without `config_dir` one that comes with the package: ``w2v_cmsc_rlm``,
        ``diagnosis``, and both with ``_large``.
    overrides : sequence of str
        ``group.key=value``; ``+`` or ``++`` before the key mean the same; ``~group.key`` takes the default.
    config_dir : path-like, optional

    Returns
    -------
    Run

    Raises
    ------
    ConfigError
        If the file is not there or no configuration of ECG-FM, or a key is unknown or out of place.
    MissingExtraError
        Without hydra-core.
    """
    found, overrides = _hydra(config_name, [str(one) for one in overrides], config_dir)
    typed = {one.lstrip("+~").split("=")[0] for one in overrides}
    run = _checked(found, typed, config_dir is not None)
    run.overrides = list(overrides)
    return run


def _hydra(config_name, overrides, config_dir):
    try:
        from hydra import compose as hydra_compose
        from hydra import initialize_config_dir
        from hydra.core.global_hydra import GlobalHydra
        from hydra.core.override_parser.overrides_parser import OverridesParser
        from hydra.errors import HydraException
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException
    except ImportError:
        raise MissingExtraError(
            "YAML files are read by hydra-core", field="hydra-core", remedy="pip install 'ecgfm[train]'"
        ) from None
    folder = os.path.abspath(CONFIGS if config_dir is None else os.fspath(config_dir))
    name = str(config_name).removesuffix(".yaml")
    if not os.path.isfile(os.path.join(folder, f"{name}.yaml")):
        there = sorted(file[:-5] for file in os.listdir(folder) if file.endswith(".yaml")) if os.path.isdir(folder) else []
        raise ConfigError(
            f"there is no {name}.yaml",
            path=folder,
            field="--config-name",
            remedy=f"There are {', '.join(there[:10])}" if there else "Check --config-dir",
        )
    parser, changes, removed = OverridesParser.create(), [], []
    for text in overrides:
        try:
            one = parser.parse_override(text)
        except HydraException as error:
            raise ConfigError(f"not understood: {str(error).splitlines()[0]}", field=text) from None
        if one.is_delete():
            removed.append(one.key_or_group)
        elif one.is_sweep_override():
            raise ConfigError("sweeps are not run", field=text, remedy="Give one value, or quote it")
        else:
            changes.append("++" + text.lstrip("+"))
    GlobalHydra.instance().clear()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what hydra will change some day
            with initialize_config_dir(folder, version_base="1.1"):
                found = OmegaConf.to_container(hydra_compose(name, overrides=changes), resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        message = " ".join(str(error).split())[:300]
        raise ConfigError(message, path=os.path.join(folder, f"{name}.yaml")) from None
    for key in removed:
        _remove(found, key)
    return found, overrides


def _remove(found, key):
    *path, last = key.split(".")
    for part in path:
        found = found.get(part) if isinstance(found, dict) else None
    if isinstance(found, dict):
        found.pop(last, None)


def _checked(found, typed, own):
    """The run; `own` says that the file is the user's, so that its keys without a meaning are named too."""
    run, given, notices = Run(), set(), []
    known = [*CONFIG_GROUPS, *NAMED_GROUPS]
    for group in found:
        if group not in known and group not in ("_name", "hydra", "job_logging_cfg"):
            raise ConfigError("there is no such group", field=str(group), remedy=_nearest(group, known))
    for group in known:
        values = found.get(group)
        values = {} if values is None else values
        if not isinstance(values, dict):
            raise ConfigError(f"{values!r} is not a group of keys", field=group)
        defaults = CONFIG_GROUPS.get(group)
        name = values.get("_name")
        if defaults is None:
            names = NAMED_GROUPS[group]
            if name is None:
                raise ConfigError("it is not given", field=f"{group}._name", remedy=f"Known are {', '.join(names)}")
            if name not in names:
                raise ConfigError(
                    f"{name!r} is not of ECG-FM's methods", field=f"{group}._name", remedy=f"Known are {', '.join(names)}"
                )
            defaults = names[name]
        run[group] = {"_name": name, **_copied(defaults)}
        for key, value in values.items():
            if key == "_name":
                continue
            if key not in defaults and not (key == "lr" and group in ("optimizer", "lr_scheduler")):
                raise ConfigError("there is no such key", field=f"{group}.{key}", remedy=_nearest(key, defaults))
            if value != defaults.get(key) and key in _REFUSED.get(group, ()):
                remedy = f"Leave it {str(defaults[key]).lower()}: {_REFUSED[group][key]}"
                raise ConfigError(f"{value!r} is not supported", field=f"{group}.{key}", remedy=remedy)
            if value != defaults.get(key) and key in _NO_MEANING.get(group, ()) and (own or f"{group}.{key}" in typed):
                notices.append(f"{group}.{key}={value} means nothing here: {_NO_MEANING[group][key]}")
            run[group][key] = value
            given.add(f"{group}.{key}")
    dataset = run["dataset"]
    for key in ("max_tokens", "batch_size"):
        if dataset[f"{key}_valid"] is None:
            dataset[f"{key}_valid"] = dataset[key]
    run["model"]["data"], run["task"]["criterion_name"] = run["task"]["data"], run["criterion"]["_name"]
    run["optimizer"]["lr"] = run["lr_scheduler"]["lr"] = run["optimization"]["lr"]
    run.given, run.notices = frozenset(given), notices
    return run


def _copied(defaults):
    return {key: list(value) if isinstance(value, list) else value for key, value in defaults.items()}


def _nearest(key, known):
    near = difflib.get_close_matches(str(key), list(known), n=1, cutoff=0.5)
    return f"Did you mean {near[0]}?" if near else f"Known are {', '.join(sorted(known)[:40])}"


def numbers(value, field):
    """A list of numbers from a list, a tuple, one number, or the text of one of these.

    Raises
    ------
    ConfigError
        If it is something else.
    """
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise ConfigError(f"{value[:80]!r} is not a list of numbers", field=field) from None
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    found = []
    for one in values:
        if isinstance(one, str):
            try:
                one = float(one)
            except ValueError:
                one = None
        if isinstance(one, bool) or not isinstance(one, (int, float)):
            raise ConfigError(f"{value!r} is not a list of numbers", field=field)
        found.append(one)
    return found

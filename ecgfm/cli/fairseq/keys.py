"""The tables of the configuration: groups, keys and defaults as fairseq-signals has them, and what is not done here."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from ...specs.original import GROUPS, MISSING
from ...specs.original import NAMED_GROUPS as ORIGINAL
from ...training.objectives import OBJECTIVES, Objective

__all__ = ["CONFIG_GROUPS", "MISSING", "NAMED_GROUPS", "NO_MEANING", "OURS", "REFUSED", "named"]

_OURS: dict[str, dict[str, Any]] = {
    "common": {"tensorboard_logdir": None},
    "common_eval": {"save_outputs": False},
    "ecgfm": {
        "keep_one_lead": False,
        "recompute": False,
        "on_nonfinite": "error",
        "cmsc_all_ranks": False,
        "max_bad_segments": 0.01,
        "threads": None,
        "precision": None,
        "trainable": "all",
        "lr_decay": 1.0,
        "adapters": 0,
        "cache": "auto",
        "cache_dtype": "float32",
        "sums": "float32",
    },
}

#: Group -> key -> default, for groups that are the same in every run.
CONFIG_GROUPS: dict[str, dict[str, Any]] = {
    group: GROUPS.get(group, {}) | _OURS.get(group, {}) for group in (*GROUPS, "ecgfm")
}
#: Group -> ``_name`` -> key -> default.
NAMED_GROUPS: dict[str, dict[str, dict[str, Any]]] = {
    group: {name: keys for name, keys in names.items() if name != "ecg_transformer"}  # which no run makes
    for group, names in ORIGINAL.items()
}


_OF_LABELS = "binary_cross_entropy_with_logits"  # whose keys other losses of labels take, too


def named(group: str) -> dict[str, dict[str, Any]]:
    """``_name`` -> key -> default of a group, with the objectives that the original does not know."""
    if group != "criterion":
        return NAMED_GROUPS[group]
    known = NAMED_GROUPS[group]
    return known | {name: _keys_of(each) for name, each in OBJECTIVES.items() if name not in known}


def _keys_of(objective: type[Objective]) -> dict[str, Any]:
    """Settings that are not the model's."""
    model, more = NAMED_GROUPS["model"]["wav2vec2_cmsc"], {}
    if objective.kind == "classifier":
        model, more = NAMED_GROUPS["model"]["ecg_transformer_classifier"], NAMED_GROUPS["criterion"][_OF_LABELS]
    other = model | _OURS["ecgfm"]
    return more | {one.name: one.default for one in fields(objective.settings_type) if one.name not in other}


_MASTERS = "weights and gradients are float32"
_UNSCALED = "bfloat16 needs no scaling of the loss"
_NO_GPU = "there is no GPU"
_MPI = "ranks talk by MPI"
_EQUAL_SHAPES = "no accelerator needs equal shapes"

#: Group or ``_name`` -> key -> why it means nothing here; it is accepted, and that is said.
NO_MEANING: dict[str, dict[str, str]] = {
    "common": {
        "memory_efficient_fp16": _MASTERS,
        "fp16_no_flatten_grads": _MASTERS,
        "fp16_init_scale": _UNSCALED,
        "fp16_scale_window": _UNSCALED,
        "fp16_scale_tolerance": _UNSCALED,
        "on_cpu_convert_precision": _MASTERS,
        "min_loss_scale": _UNSCALED,
        "threshold_loss_scale": _UNSCALED,
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
        "ddp_comm_hook": "sums in the group ecgfm says in what gradients are sent",
        "bucket_cap_mb": _MPI,
        "find_unused_parameters": "no parameter has to be looked for",
        "broadcast_buffers": "there are no buffers",
        "fix_batches_to_gpus": _NO_GPU,
        "heartbeat_timeout": _MPI,
        "fp16": "common.fp16 is what counts",
        "memory_efficient_fp16": _MASTERS,
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
    "ecg_classification": {
        "perturbation_mode": "fairseq-signals perturbs in pretraining only; in Python ecgfm.Dataset takes augment=...",
    },
    "criterion": {
        "auc_average": "auroc and auprc are over all cells, auroc_macro and auprc_macro means over labels",
        "per_log_keys": "values per label are in <subset>_labels.csv",
    },
    "checkpoint": {
        "reset_lr_scheduler": "the learning rate follows from the epoch and the updates",
        "optimizer_overrides": "the settings of this run hold for its optimizer",
        "load_checkpoint_on_all_dp_ranks": "each rank reads the checkpoint",
        "checkpoint_shard_count": "checkpoints are whole",
    },
}

#: What would change a run and is not done: any other value than the default is refused.
REFUSED: dict[str, dict[str, str]] = {
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
    "criterion": {
        "all_gather": "ecgfm.cmsc_all_ranks=true compares the pairs of all ranks",
        "eps": "the smallest norm is fixed",
    },
}

#: Keys that fairseq-signals does not know: its commands refuse a file that has them. All of the group ``ecgfm``, too.
OURS = {group: tuple(keys) for group, keys in _OURS.items() if group != "ecgfm"}

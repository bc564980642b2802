"""The configuration that fairseq-signals keeps in a ``.pt`` file: every key that it needs to build, finetune from and
validate a model, with its default.

The original reads a checkpoint's configuration strictly: it fails on an absent key even where nothing depends on it.
"""

from copy import deepcopy

__all__ = ["CRITERIA", "NAMES", "complete"]

_COMMON = {
    "no_progress_bar": False,
    "log_interval": 100,
    "log_format": "json",
    "log_file": None,
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
    "min_loss_scale": 0.0001,
    "threshold_loss_scale": None,
    "empty_cache_freq": 0,
    "all_gather_list_size": 16384,
    "model_parallel_size": 1,
    "profile": False,
    "reset_logging": False,
    "suppress_crashes": False,
}

_COMMON_EVAL = {
    "path": None,
    "quiet": False,
    "model_overrides": "{}",
    "extract": None,
    "results_path": None,
}

_DISTRIBUTED_TRAINING = {
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
}

_DATASET = {
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
}

_OPTIMIZATION = {
    "max_epoch": 0,
    "max_update": 0,
    "lr": [5e-5],
    "stop_time_hours": 0.0,
    "clip_norm": 0.0,
    "update_freq": [1],
    "stop_min_lr": -1.0,
}

_CHECKPOINT = {
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
}

_TASK = {
    "data": None,
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

_CLASSIFIER = _ENCODER | {
    "mask_prob": 0.0,
    "model_path": None,
    "no_pretrained_weights": False,
    "freeze_finetune_updates": 0,
    "final_dropout": 0.0,
    "num_labels": None,
}
_MODELS = {
    "ecg_transformer": _ENCODER,
    "ecg_transformer_classifier": _CLASSIFIER,
    "wav2vec2": _ENCODER | _PRETRAINING,
    "wav2vec2_cmsc": _ENCODER | _PRETRAINING,
}
_TASKS = {
    "ecg_pretraining": _TASK,
    "ecg_classification": _TASK | {"path_dataset": False, "label_file": None, "load_specific_lead": False},
}
_CRITERIA = {
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
}
_OPTIMIZERS = {
    "adam": {"adam_betas": "(0.9, 0.98)", "adam_eps": 1e-6, "weight_decay": 0.01, "use_old_adam": False, "lr": [5e-5]},
}
_SCHEDULERS = {
    "fixed": {"force_anneal": None, "lr_shrink": 0.1, "warmup_updates": 0, "lr": [5e-5]},
}
_GROUPS = {
    "common": _COMMON,
    "common_eval": _COMMON_EVAL,
    "distributed_training": _DISTRIBUTED_TRAINING,
    "dataset": _DATASET,
    "optimization": _OPTIMIZATION,
    "checkpoint": _CHECKPOINT,
}
_NAMED = {
    "task": _TASKS,
    "model": _MODELS,
    "criterion": _CRITERIA,
    "lr_scheduler": _SCHEDULERS,
    "optimizer": _OPTIMIZERS,
}
_JOB_LOGGING = {
    "version": 1,
    "formatters": {"simple": {"format": "[%(asctime)s][%(name)s][%(levelname)s] - %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "simple", "stream": "ext://sys.stdout"}},
    "root": {"level": "INFO", "handlers": ["console"]},
    "disable_existing_loggers": False,
}

#: Kind -> group -> the names that stand for it in a checkpoint; where another stands there, the first is written.
NAMES = {
    "classifier": {
        "task": ("ecg_classification",),
        "model": ("ecg_transformer_classifier",),
        "criterion": ("binary_cross_entropy_with_logits",),
    },
    "pretraining": {
        "task": ("ecg_pretraining",),
        "model": ("wav2vec2_cmsc", "wav2vec2"),
        "criterion": ("wav2vec2_with_cmsc", "wav2vec2", "cmsc"),
    },
    "encoder": {
        "task": ("ecg_pretraining",),
        "model": ("ecg_transformer",),
        "criterion": ("wav2vec2_with_cmsc", "wav2vec2", "cmsc"),
    },
}
#: Criterion -> the name of its class, which the original compares when it goes on with a run.
CRITERIA = {
    "binary_cross_entropy_with_logits": "BinaryCrossEntropyWithLogitsCriterion",
    "wav2vec2_with_cmsc": "Wav2Vec2WithCMSCCriterion",
    "wav2vec2": "Wav2Vec2Criterion",
    "cmsc": "CMSCCriterion",
}


def complete(cfg, kind):
    """A configuration with every key that the original has.

    Parameters
    ----------
    cfg : dict
        What there is of it, by group. ``cfg["model"]`` holds the architecture.
    kind : {"classifier", "pretraining", "encoder"}

    Returns
    -------
    dict
        `cfg`, and defaults where it says nothing.
    """
    made = {"_name": None}
    for group, defaults in _GROUPS.items():
        made[group] = {"_name": None} | deepcopy(defaults) | _group(cfg, group)
    for group, known in _NAMED.items():
        given, names = _group(cfg, group), NAMES[kind].get(group, tuple(known))
        name = given.get("_name")
        if name not in names and (group in NAMES[kind] or name is None):
            name = names[0]  # another method's settings: what it shares with this one is kept
            given = {key: value for key, value in given.items() if key in known[name]}
        if group == "criterion":  # which the original builds without passing over what it does not know
            given = {key: value for key, value in given.items() if key in known[name]}
        made[group] = {"_name": name} | deepcopy(known.get(name, {})) | given | {"_name": name}
    made["job_logging_cfg"] = _group(cfg, "job_logging_cfg") or deepcopy(_JOB_LOGGING)
    _agree(made, cfg, kind)
    return made | {group: values for group, values in cfg.items() if group not in made}


def _group(cfg, group):
    found = cfg.get(group)
    return found if isinstance(found, dict) else {}


def _agree(made, cfg, kind):
    """What one group says of another, and what the tensors that are written say."""
    model, task = made["model"], made["task"]
    model["args"] = None
    for key, default in (("normalize", False), ("filter", False), ("data", "")):
        said = (_group(cfg, group).get(key) for group in ("task", "model"))
        model[key] = task[key] = next((value for value in said if value is not None), default)
    model["apply_mask"] = kind == "pretraining"  # whether there is a mask embedding
    if "model_path" in model:
        model["model_path"] = None  # the weights are all here; that file need not be
    if kind == "pretraining":
        model |= {"quantize_targets": True, "quantize_input": False, "same_quantizer": False}
    if task.get("criterion_name") is None:
        task["criterion_name"] = made["criterion"]["_name"]

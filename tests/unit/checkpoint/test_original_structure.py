"""Every .pt file that is written has all that the original needs to build, finetune from and validate it."""

import json

import checkpoint_files as files
import numpy as np
import pytest
import weights

import ecgfm
from ecgfm import checkpoint

GROUPS = {
    "_name", "common", "common_eval", "distributed_training", "dataset", "optimization", "checkpoint", "model", "task",
    "criterion", "lr_scheduler", "optimizer", "job_logging_cfg",
}  # fmt: skip
# Of each group, keys without which the original ends.
NEEDED = {
    "model": {
        "_name", "apply_mask", "all_gather", "normalize", "filter", "data", "args", "saliency", "dropout_features",
        "mask_channel_prob", "feature_grad_mult", "in_d", "conv_feature_layers",
    },
    "task": {"_name", "data", "normalize", "filter", "enable_padding", "perturbation_mode", "criterion_name"},
    "criterion": {"_name"},
    "checkpoint": {"save_dir", "restore_file", "checkpoint_suffix"},
    "optimization": {"lr", "update_freq"},
}  # fmt: skip
NEEDED_BY_KIND = {
    "classifier": {
        "model": {"model_path", "no_pretrained_weights", "freeze_finetune_updates", "final_dropout", "num_labels"},
        "criterion": {"pos_weight", "report_auc", "threshold"},
        "task": {"label_file"},
    },
    "pretraining": {
        "model": {"quantize_targets", "quantize_input", "logit_temp", "latent_temp", "num_negatives", "final_dim"},
        "criterion": {"infonce", "loss_weights", "log_keys"},
    },
    "encoder": {},
}
NAMES = {
    "classifier": ("ecg_transformer_classifier", "ecg_classification", "BinaryCrossEntropyWithLogitsCriterion"),
    "pretraining": ("wav2vec2_cmsc", "ecg_pretraining", "Wav2Vec2WithCMSCCriterion"),
    "encoder": ("ecg_transformer", "ecg_pretraining", "Wav2Vec2WithCMSCCriterion"),
}


def content(path):
    """What is in a file but the tensors, and its kind."""
    with checkpoint.read(path) as found:
        return found.content | {"model": list(found.tensors)}, found.kind


def written(folder):
    """Files of every way to write one: {name: path}."""
    for kind in ("classifier", "pretraining"):
        files.write(folder / f"{kind}.pt", kind=kind)
    ways = {}
    for kind in ("classifier", "pretraining"):
        source = folder / f"{kind}.pt"
        checkpoint.convert(source, folder / f"{kind} dir")
        ways[f"{kind} through a directory"] = folder / f"{kind}-2.pt"
        checkpoint.convert(folder / f"{kind} dir", folder / f"{kind}-2.pt")
        ways[f"{kind} converted"] = folder / f"{kind}-3.pt"
        checkpoint.convert(source, folder / f"{kind}-3.pt")
        ways[f"Model.save of a {kind}"] = folder / f"{kind}-4.pt"
        ecgfm.load(source).save(folder / f"{kind}-4.pt")
    ways["PretrainingTrainer.save"] = folder / "trainer.pt"
    ecgfm.Trainer(folder / "pretraining.pt", loss="wav2vec2_with_cmsc", temp=0.2).save(folder / "trainer.pt")
    return ways


def test_keys_for_the_original(tmp_path):
    for way, path in written(tmp_path).items():
        found, kind = content(path)
        cfg, (model, task, criterion) = found["cfg"], NAMES[kind]
        assert set(cfg) == GROUPS, way
        for group, keys in NEEDED.items():
            keys = keys | NEEDED_BY_KIND[kind].get(group, set())
            assert keys <= set(cfg[group]), (way, group, keys - set(cfg[group]))
        assert cfg["model"]["_name"] == model and cfg["task"]["_name"] == task, way
        assert found["optimizer_history"][-1]["criterion_name"] == criterion
        history = {"criterion_name", "optimizer_name", "lr_scheduler_state", "num_updates"}
        assert set(found["optimizer_history"][-1]) == history
        # What it builds has just the tensors that are there.
        has_mask = "mask_emb" in found["model"] or "encoder.mask_emb" in found["model"]
        assert cfg["model"]["apply_mask"] == has_mask, way
        assert cfg["model"].get("quantize_targets", False) == ("quantizer.vars" in found["model"]), way
        assert isinstance(cfg["model"]["data"], str) and isinstance(cfg["task"]["data"], str), way
        assert cfg["model"]["normalize"] == cfg["task"]["normalize"], way


def test_settings_of_a_trainer_reach_their_groups(tmp_path):
    files.write(tmp_path / "a.pt", kind="pretraining")
    for loss, expected in (("wav2vec2_with_cmsc", {"temp": 0.3, "infonce": True}), ("wav2vec2", {"infonce": True})):
        options = {"temp": 0.3} if loss != "wav2vec2" else {}
        ecgfm.Trainer(tmp_path / "a.pt", loss=loss, mask_prob=0.5, **options).save(tmp_path / "b.pt", force=True)
        found, _ = content(tmp_path / "b.pt")
        criterion = found["cfg"]["criterion"]
        assert criterion["_name"] == loss and criterion.items() >= expected.items()
        assert ("temp" in criterion) == (loss != "wav2vec2")
        assert found["cfg"]["model"]["mask_prob"] == 0.5 and "temp" not in found["cfg"]["model"]


def test_the_whole_structure_of_the_original(tmp_path, shared):
    structure = json.loads((shared / "golden" / "cli" / "checkpoint_structure.json").read_text())
    for way, path in written(tmp_path).items():
        found, kind = content(path)
        whole = structure["finetune" if kind == "classifier" else "pretrain"]
        assert set(whole) <= set(found), way
        for group, values in whole["cfg"].items():
            if not isinstance(values, dict) or group == "job_logging_cfg" or (kind, group) == ("encoder", "model"):
                continue
            assert set(values) <= set(found["cfg"][group]), (way, group, set(values) - set(found["cfg"][group]))
        assert set(whole["extra_state"]) <= set(found["extra_state"]), way
        assert set(whole["last_optimizer_state"]) == set(found["last_optimizer_state"]), way


def test_defaults_are_those_of_the_commands():
    """The two tables, one of what is read and one of what is written, say the same where both do."""
    from ecgfm.checkpoint import original
    from ecgfm.cli.fairseq.keys import CONFIG_GROUPS, NAMED_GROUPS

    differ = {("optimization", "lr"), ("common", "tensorboard_logdir"), ("model", "apply_mask")}
    differ |= {
        ("model", "model_path"),
        ("model", "num_labels"),
        ("task", "data"),
        ("task", "criterion_name"),
        ("common_eval", "save_outputs"),
    }
    differ |= {("model", key) for key in ("quantize_targets", "data", "args")}
    for kind, names in NAMES.items():
        made = original.complete({}, kind)
        for group, values in made.items():
            known = CONFIG_GROUPS.get(group) or NAMED_GROUPS.get(group, {}).get((values or {}).get("_name"))
            for key, value in (known or {}).items():
                if (group, key) not in differ and group != "optimizer":
                    given = values[key]
                    assert (list(given) if isinstance(given, tuple) else given) == value, (kind, group, key)
        assert made["model"]["_name"] == names[0]


def test_what_was_another_method_s_becomes_this_one_s(tmp_path):
    """An encoder that a run of another name left: the name is the one that builds these tensors."""
    value, storages = files.content(weights.SMALL, "pretraining")
    value["cfg"] = value["cfg"] | {"criterion": {"_name": "3kg", "temp": 0.7, "strange": 1}, "task": "nothing"}
    (tmp_path / "a.pt").write_bytes(files.zip_bytes(files.zip_members(value, storages.raw)))
    checkpoint.convert(tmp_path / "a.pt", tmp_path / "b.pt")
    found, _ = content(tmp_path / "b.pt")
    assert found["cfg"]["criterion"]["_name"] == "wav2vec2_with_cmsc" and found["cfg"]["criterion"]["temp"] == 0.7
    assert "strange" not in found["cfg"]["criterion"] and found["cfg"]["task"]["_name"] == "ecg_pretraining"


def test_going_on_from_an_export_begins_anew(tmp_path):
    """NaN is no best score, and there are no moments: an export is where a run may start."""
    from ecgfm.training.restoring import Restored

    files.write(tmp_path / "a.pt")
    checkpoint.convert(tmp_path / "a.pt", tmp_path / "b.pt")
    found, _ = content(tmp_path / "b.pt")
    assert np.isnan(found["extra_state"]["best"]) and found["last_optimizer_state"]["state"] == {}
    assert found["last_optimizer_state"]["param_groups"][0]["params"] == list(range(len(found["model"])))
    restored = Restored(found["extra_state"], found["optimizer_history"][-1])
    assert restored.best is None and restored.epoch == 1


@pytest.mark.parametrize("kind", ["classifier", "pretraining"])
def test_the_model_is_the_same(tmp_path, kind):
    before = files.write(tmp_path / "a.pt", kind=kind) or files.state(weights.SMALL, kind)
    checkpoint.convert(tmp_path / "a.pt", tmp_path / "b.pt")
    with checkpoint.read(tmp_path / "b.pt") as found:
        for name, values in before.items():
            assert np.array_equal(np.asarray(found.tensors[name]), values)

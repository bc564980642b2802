"""The architecture: one table of keys, the same in C; what follows from it; what differs in the YAML commands."""

import json
import subprocess
import sys
from dataclasses import asdict

import pytest
import weights

import ecgfm
from ecgfm.cli.fairseq.keys import NAMED_GROUPS
from ecgfm.errors import ConfigError
from ecgfm.kernels import core
from ecgfm.specs.architecture import KINDS, OPTIONAL, Architecture, architecture_keys
from ecgfm.specs.known import MIMIC_IV_ECG
from ecgfm.validation import Whole

SMALL = {name: weights.SMALL[name] for name in architecture_keys("pretraining")}


@pytest.mark.parametrize("kind", KINDS)
def test_the_kernels_take_what_it_gives(kind):
    labels = {"num_labels": 3} if kind == "classifier" else {}
    config = Architecture.of_kind(kind, labels).config()
    assert tuple(config) == architecture_keys(kind)
    names = [name for name, _ in core().parameters(config, kind)]
    assert len(set(names)) == len(names) > 190
    assert Architecture.of_config(config | {"_name": "x"}) == Architecture.of_kind(kind, labels)


@pytest.mark.parametrize("blocks", ["[(256, 2, 2)] * 4", "[(24, 5, 3)] + [(16, 3, 2)] * 2", "[(8, 1, 1)]"])
def test_tokens_are_those_of_the_kernels(blocks):
    keys = {key: SMALL[key] for key in architecture_keys("encoder")} | {"conv_feature_layers": blocks}
    found = Architecture.of_kind("encoder", keys)
    model = core().Model(found.config(), "encoder")
    assert found.min_samples == model.min_samples()
    for samples in (1, 15, 16, 17, 399, 400, 2500, 5001):
        assert found.tokens(samples) == model.tokens(samples)
        assert found.steps(samples)[-1] == found.tokens(samples)


@pytest.mark.parametrize("size", ["base", "large"])
def test_the_published_sizes(shared, size):
    found = json.loads((shared / "golden" / f"params_{size}.json").read_text())
    for kind, part in (("pretraining", "pretraining"), ("classifier", "finetuned")):
        keys = {key: found[f"hyperparameters_{part}"][key] for key in architecture_keys(kind)}
        made = Architecture.of_kind(kind, keys, complete=True)
        assert made.config() == {key: getattr(weights, size.upper())[key] for key in keys}
        if size == "base":  # whose keys are the defaults
            assert made == Architecture.of_kind(kind, {"num_labels": 17} if kind == "classifier" else {})


@pytest.mark.parametrize(
    ("kind", "keys", "field"),
    [
        ("encoder", {"num_labels": 3}, "num_labels"),
        ("classifier", {}, "num_labels"),
        ("classifier", {"latent_vars": 3, "num_labels": 3}, "latent_vars"),
        ("encoder", {"kind": "classifier"}, "kind"),
        ("pretraining", {"final_dim": 0}, "final_dim"),
        ("encoder", {"conv_feature_layers": [(8, 2, 0)]}, "conv_feature_layers"),
        ("encoder", {"conv_feature_layers": [(8, 5000, 2)]}, "conv_feature_layers"),
        ("encoder", {"encoder_layer": 3}, "encoder_layer"),
        ("encoder", {"encoder_layers": 3.0}, "encoder_layers"),
        ("encoder", {"layer_norm_first": "no"}, "layer_norm_first"),
    ],
)
def test_what_does_not_fit_is_refused(kind, keys, field):
    with pytest.raises(ConfigError) as found:
        Architecture.of_kind(kind, keys, prefix="model.")
    assert found.value.field == f"model.{field}"


@pytest.mark.parametrize("key", architecture_keys("pretraining"))
def test_what_may_be_absent(key):
    keys = {name: value for name, value in SMALL.items() if name != key}
    if key in OPTIONAL:
        assert getattr(Architecture.of_kind("pretraining", keys, complete=True), key) == getattr(
            Architecture.of_kind("pretraining", {}), key
        )
        return
    with pytest.raises(ConfigError, match="lacks this key") as found:
        Architecture.of_kind("pretraining", keys, complete=True)
    assert found.value.field == key


def test_the_table_of_the_kernels_is_the_same():
    there = core().architecture_keys()
    rules = Architecture.rules()
    assert set(there) == set(rules) - {"kind"}
    for key, (_, kinds, least, most, _) in there.items():
        assert {kind for kind in KINDS if key in architecture_keys(kind)} == set(kinds), key
        if isinstance(rules[key], Whole):
            assert (rules[key].at_least, rules[key].at_most) == (least, most), key


def differing(trainer, model, criterion=None):
    yaml = NAMED_GROUPS["model"][model] | NAMED_GROUPS["optimizer"]["adam"]
    yaml = yaml | (NAMED_GROUPS["criterion"][criterion] if criterion else {})
    api = asdict(trainer.settings) | trainer.optimizer
    yaml = {key: tuple(value) if isinstance(value, list) else value for key, value in yaml.items()}
    yaml["adam_betas"] = tuple(float(part) for part in yaml["adam_betas"].strip("()").split(","))
    return {key: (value, yaml[key]) for key, value in api.items() if key in yaml and yaml[key] != value}


def test_where_the_defaults_of_the_yaml_commands_differ():
    """The API has ECG-FM's recipe, the YAML commands have fairseq's dataclasses: both rightly, and nowhere else."""
    small = {key: value for key, value in SMALL.items() if key != "final_dim"}
    trainer = ecgfm.Trainer(small | {"latent_vars": 6}, loss="wav2vec2_with_cmsc")
    assert trainer.config["final_dim"] == 256 and NAMED_GROUPS["model"]["wav2vec2_cmsc"]["final_dim"] == 0
    assert differing(trainer, "wav2vec2_cmsc", "wav2vec2_with_cmsc") == {
        "dropout_input": (0.1, 0.0),
        "dropout_features": (0.1, 0.0),
        "feature_grad_mult": (0.1, 1.0),
        "adam_betas": ((0.9, 0.98), (0.9, 0.999)),
        "adam_eps": (1e-6, 1e-8),
        "weight_decay": (0.01, 0.0),
    }
    assert differing(ecgfm.Trainer(trainer.model(), num_labels=2), "ecg_transformer_classifier") == {
        "dropout": (0.0, 0.1),
        "attention_dropout": (0.0, 0.1),
        "activation_dropout": (0.1, 0.0),
        "feature_grad_mult": (0.0, 1.0),
        "adam_betas": ((0.9, 0.98), (0.9, 0.999)),
    }


def test_the_names_of_the_published_outputs():
    assert len(set(MIMIC_IV_ECG)) == 17


@pytest.mark.parametrize("module", ["ecgfm.checkpoint", "ecgfm.specs.architecture", "ecgfm.validation"])
def test_what_is_on_paper_loads_no_recordings(module):
    code = f"import sys, {module}; print([m for m in sys.modules if m.split('.')[:2] == ['ecgfm', 'ecg']])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

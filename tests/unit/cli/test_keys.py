"""Every key of a configuration refuses values of a wrong type, by an error that names the key."""

import pytest

from ecgfm.cli.fairseq import values as config_values
from ecgfm.cli.fairseq.compose import compose
from ecgfm.cli.fairseq.keys import CONFIG_GROUPS, NAMED_GROUPS, REFUSED
from ecgfm.cli.fairseq.values import numbers
from ecgfm.errors import ConfigError

KEYS = [(group, None, key, default) for group, keys in CONFIG_GROUPS.items() for key, default in keys.items()]
KEYS += [
    (group, name, key, default)
    for group, names in NAMED_GROUPS.items()
    for name, keys in names.items()
    for key, default in keys.items()
]
OBJECT, NESTED, HUGE = {"a": 1}, [[1, [2]]], 10**400
WRONG = [OBJECT, {}, NESTED, [None], [OBJECT], [True], HUGE, float("nan"), "\0", "x" * 100_000, b"bytes", 1 + 2j]
# Keys that take nearly anything: groups of settings as text or not, and what the program does not look at.
FREE = {"model_overrides", "optimizer_overrides", "combine_valid_subsets", "inferred_w2v_config", "inferred_3kg_config"}
FREE |= {"args", "weight"}
FLAGS = ["maybe", 1, 0, 0.5, [], "", 2]
WHOLE = ["four", 1.5, "1.5", True, [4], float("inf"), 1 << 60, "9" * 5000]
REAL = ["much", True, [0.5], float("inf"), "inf", "nan", ""]
LISTS = ["some", "{[]: 1}", "[1, 'a']", [["a"]], True, [True], "(((", "[" * 500, {"a": [1]}]
TEXTS = [7, 1.5, True, [1], {"a": "b"}]


def wrong_of(key, default):
    """Values that are of a wrong type for a key with this default."""
    if isinstance(default, bool):
        return FLAGS
    if isinstance(default, int):
        return WHOLE
    if isinstance(default, float):
        return REAL
    if isinstance(default, list) and all(isinstance(item, (int, float)) for item in default):
        return LISTS if default else []
    if (
        isinstance(default, str)
        and default != "???"
        and key not in ("conv_feature_layers", "adam_betas", "trainable", "cache")
    ):
        return TEXTS
    return []


@pytest.mark.parametrize("group, name, key, default", KEYS, ids=[f"{n or g}.{k}" for g, n, k, _ in KEYS])
def test_wrong_types(group, name, key, default):
    if key in FREE or key in REFUSED.get(group, ()):
        return
    field, refused = f"{group}.{key}", 0
    for value in [*WRONG, *wrong_of(key, default)]:
        try:
            config_values.checked(field, value, default)
        except ConfigError as error:
            refused += 1
            assert error.field == field and len(str(error)) < 500
        else:
            assert value not in wrong_of(key, default), value
            assert value in ({}, [None]) or isinstance(value, str), (field, value)
    assert refused >= 9 + len(wrong_of(key, default))


@pytest.mark.parametrize("group, name, key, default", KEYS, ids=[f"{n or g}.{k}" for g, n, k, _ in KEYS])
def test_the_default_is_right(group, name, key, default):
    assert config_values.checked(f"{group}.{key}", default, default) == default


@pytest.mark.parametrize(
    "key, values",
    {
        "dataset.batch_size": ["x", "[1]", "{a: 1}", "true", "0", "-4", "1.5", "1e30"],
        "dataset.max_tokens": ["x", "[1]", "true", "0", "-1"],
        "dataset.required_batch_size_multiple": ["x", "[8]", "null", "0", "true", "{}"],
        "dataset.valid_subset": ["[valid,test]", "{a: 1}", "7", "true", "../x", "a/b"],
        "checkpoint.save_dir": ["[a]", "{a: b}", "true", "null", "7"],
        "task.data": ["[a]", "{a: b}", "7", "true"],
        "task.sample_rate": ["x", "[500]", "{a: 1}", "0", "-500", "true"],
        "model.dropout": ["x", "[0.1]", "null", "{a: 1}", "true", "-0.1", "1.5"],
        "model.freeze_finetune_updates": ["x", "[1]", "null", "1.5", "-1", "true"],
        "common.seed": ["x", "-1", "4294967296", "null", "[1]"],
        "optimization.lr": ["x", "[a]", "null", "-1", "[]", "{a: 1}"],
        "optimizer.adam_betas": ["0.9", "[0.9]", "x"],
        "criterion.pos_weight": ["[1,x]", "x", "{a: 1}"],
        "ecgfm.trainable": ["x", "0", "true", "null", "[]", "[1]", "{a: 1}", "1.5"],
        "ecgfm.cache": ["[a]", "7", "null", "true"],
        "ecgfm.cache_dtype": ["int8", "x", "null"],
        "ecgfm.lr_decay": ["0", "x", "1.5", "null", "[1]"],
        "ecgfm.threads": ["0", "x", "5000", "[1]"],
    }.items(),
)
def test_on_the_command_line(key, values):
    pytest.importorskip("hydra", reason="needs the extra [train]")
    for value in values:
        with pytest.raises(ConfigError, match=key.replace(".", r"\.")) as caught:
            compose("diagnosis", [f"{key}={value}"])
        assert len(str(caught.value)) < 300


def test_numbers_and_flags_may_be_text():
    """As in the original, whose OmegaConf takes them."""
    pytest.importorskip("hydra", reason="needs the extra [train]")
    more = ["common.seed='7'", "optimization.clip_norm='1e-3'", "dataset.disable_validation='True'"]
    run = compose("diagnosis", [*more, "optimization.update_freq='[1, 2]'", "dataset.num_workers=2.0"])
    assert run["common"]["seed"] == 7 and run["optimization"]["clip_norm"] == 1e-3
    assert run["dataset"]["disable_validation"] is True and run["dataset"]["num_workers"] == 2
    assert numbers(run["optimization"]["update_freq"], "update_freq") == [1, 2]


@pytest.mark.parametrize(
    "value", ["{[]: 1}", "[" * 3000, "9" * 30_000, [10**400], [None], {"a": 1}, "[True]", object(), None]
)
def test_no_list_of_numbers(value):
    with pytest.raises(ConfigError, match="is not a list of numbers") as caught:
        numbers(value, "optimization.lr")
    assert caught.value.field == "optimization.lr" and len(str(caught.value)) < 300


def test_a_placeholder_is_no_path():
    pytest.importorskip("hydra", reason="needs the extra [train]")
    run = compose("diagnosis", ["task.data='<REDACTED>'", "task.label_file=y.npy"])
    with pytest.raises(ConfigError, match="task.data: '<REDACTED>' is a placeholder. Say task.data=..."):
        run.need("task.data")
    assert run.path("task.label_file") == "y.npy"
    with pytest.raises(ConfigError, match="model.model_path: it is not given"):
        run.need("model.model_path")


def test_a_name_nearly_right():
    pytest.importorskip("hydra", reason="needs the extra [train]")
    with pytest.raises(ConfigError) as caught:
        compose("diagnosis", ["++lr_scheduler.warmup_update=3"])
    assert str(caught.value) == "lr_scheduler.warmup_update: there is no such key. Did you mean warmup_updates?"

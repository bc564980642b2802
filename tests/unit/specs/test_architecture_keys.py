"""The kernels' table of the keys of a configuration: what it says is what is asked for and checked."""

import pytest
from weights import SMALL

import ecgfm

KINDS = ("encoder", "classifier", "pretraining")
CORE = ecgfm._core
CONFIG = SMALL | {"latent_vars": 6, "latent_groups": 2, "latent_dim": 16, "final_dim": 12}


def keys_of(kind):
    return {key: about for key, about in CORE.architecture_keys().items() if kind in about[1]}


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_is_read(kind):
    for key, (type_, *_) in keys_of(kind).items():
        config = {name: value for name, value in CONFIG.items() if name != key}
        if type_ is bool:  # false where it is absent
            assert CORE.parameters(config, kind) == CORE.parameters(config | {key: False}, kind)
            continue
        with pytest.raises(ecgfm.ConfigError, match=f"lacks {key}"):
            CORE.parameters(config, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_no_other_key_is_read(kind):
    assert CORE.parameters({key: CONFIG[key] for key in keys_of(kind)}, kind) == CORE.parameters(CONFIG, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_limits(kind):
    for key, (type_, _, least, most, whole) in keys_of(kind).items():
        if type_ is not int:
            continue
        top = CONFIG[whole] if whole else most
        for value in (least - 1, top + 1):
            with pytest.raises(ecgfm.ConfigError, match=f"{key} is {value}, it must lie in {least}..{top}"):
                CORE.parameters(CONFIG | {key: value}, kind)
        if whole:
            with pytest.raises(ecgfm.ConfigError, match=f"multiple of {key}"):
                CORE.parameters(CONFIG | {key: top - 1}, kind)
        for value in (True, 2.0, "2", None):
            with pytest.raises(ecgfm.ConfigError, match=f"{key} must be an integer"):
                CORE.parameters(CONFIG | {key: value}, kind)


def test_a_choice_is_one_of_its_words():
    for value in ("group_norm", "", 3, None):
        with pytest.raises(ecgfm.ConfigError, match="extractor_mode must be 'default' or 'layer_norm'"):
            CORE.parameters(CONFIG | {"extractor_mode": value}, "encoder")


def test_a_key_that_vanishes_while_it_is_read():
    config = dict(CONFIG)

    class Fleeting:
        def __index__(self):
            config.clear()
            return 2

    config["encoder_layers"] = Fleeting()
    with pytest.raises(ecgfm.ConfigError, match="lacks"):
        CORE.parameters(config, "encoder")

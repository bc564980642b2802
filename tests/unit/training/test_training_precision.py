"""Training in bfloat16: gradients and updates near those of float32, what is refused, what stays float32."""

import numpy as np
import pytest
import weights

import ecgfm
from ecgfm.kernels import core

pytestmark = pytest.mark.skipif("bfloat16" not in core().precisions(), reason="this processor has no bfloat16")

CONFIG = weights.SMALL | {"num_labels": 3}
DROPOUT = {"dropout": 0.1, "attention_dropout": 0.1, "activation_dropout": 0.1}
# Each factor of a product is off by 2^-9 of itself at most, so gradients of a few layers stay within a few per cent.
NEAR = 0.03


def distance(found, expected):
    """Of all tensors together, relative to the expected."""
    apart = sum(float(np.sum((found[name] - expected[name]) ** 2)) for name in expected)
    return np.sqrt(apart / sum(float(np.sum(values**2)) for values in expected.values()))


@pytest.fixture(scope="module")
def model():
    return ecgfm.Model.from_state_dict(CONFIG, weights.weights(weights.parameters(CONFIG)))


@pytest.fixture(scope="module")
def batch():
    x = weights.signal("precision", 5, 12, 400)
    return x, np.random.default_rng(3).integers(0, 2, (5, 3)).astype(np.float32)


@pytest.mark.parametrize("pre_norm", [False, True])
def test_gradients_are_near_those_of_float32(batch, pre_norm):
    config = CONFIG | {"layer_norm_first": pre_norm}
    model = ecgfm.Model.from_state_dict(config, weights.weights(weights.parameters(config)))
    found = {}
    for precision in ("float32", "bfloat16"):
        trainer = ecgfm.Trainer(model, precision=precision, **DROPOUT)
        assert trainer.precision == precision
        trainer.accumulate(*batch)
        found[precision] = {name: values.copy() for name, values in trainer.gradients().items()}
    assert 1e-5 < distance(found["bfloat16"], found["float32"]) < NEAR


def test_recomputing_gives_the_same_bits(model, batch):
    found = []
    for recompute in (False, True):
        trainer = ecgfm.Trainer(model, precision="bfloat16", recompute=recompute, **DROPOUT)
        trainer.step(*batch)
        found.append({name: values.tobytes() for name, values in trainer.state_dict().items()})
    assert found[0] == found[1]


def test_pretraining(batch):
    found = {}
    for precision in ("float32", "bfloat16"):
        small = {name: value for name, value in weights.SMALL.items() if name != "num_labels"}
        trainer = ecgfm.Trainer(small, loss="wav2vec2_with_cmsc", precision=precision, num_negatives=5)
        trainer.accumulate(batch[0][:4].reshape(2, 2, 12, 400), [1, 2])
        found[precision] = {name: values.copy() for name, values in trainer.gradients().items()}
    assert 1e-5 < distance(found["bfloat16"], found["float32"]) < NEAR


def test_what_comes_out_is_float32(tmp_path, model, batch):
    trainer = ecgfm.Trainer(model, precision="bfloat16")
    trainer.step(*batch)
    assert {values.dtype for values in trainer.state_dict().values()} == {np.dtype("float32")}
    trainer.save(tmp_path / "tuned")
    loaded = ecgfm.load(tmp_path / "tuned")
    assert loaded.precision == "float32"
    for name, values in loaded.state_dict().items():
        np.testing.assert_array_equal(values, trainer.state_dict()[name])


def test_a_resumed_training_goes_on_to_the_bit(tmp_path, model, batch):
    whole = ecgfm.Trainer(model, precision="bfloat16", **DROPOUT)
    for _ in range(3):
        whole.step(*batch)
    half = ecgfm.Trainer(model, precision="bfloat16", **DROPOUT)
    half.step(*batch)
    state = half.state()
    again = ecgfm.Trainer(model, precision="bfloat16", **DROPOUT)
    again.load_state(state)
    for _ in range(2):
        again.step(*batch)
    for name, values in whole.state_dict().items():
        np.testing.assert_array_equal(values, again.state_dict()[name])


@pytest.mark.parametrize("precision", ["int8", "auto", "float16", None, 3])
def test_what_is_refused(model, precision):
    with pytest.raises(ecgfm.ConfigError, match="precision: training computes in float32 and bfloat16, not in"):
        ecgfm.Trainer(model, precision=precision)


def test_finetune_takes_it(model, batch):
    first, second = (
        ecgfm.finetune(model, *batch, epochs=1, batch_size=5, precision=each, progress=False).history["train_loss"][0]
        for each in ("float32", "bfloat16")
    )
    assert first != second and first == pytest.approx(second, rel=0.01)


@pytest.mark.parametrize("trainable", ["head", 1])
def test_what_lies_below_is_kept_to_the_bit(tmp_path, model, batch, trainable):
    """Kept or computed again; what float32 kept is not taken for bfloat16."""
    found = {}
    for precision in ("float32", "bfloat16"):
        for cache in ("off", tmp_path):
            settings = {"precision": precision, "trainable": trainable, "cache": cache, "dropout": 0.1}
            tuned = ecgfm.finetune(model, *batch, epochs=2, batch_size=3, progress=False, **settings)
            found[precision, cache] = [values.tobytes() for values in tuned.model.state_dict().values()]
    assert found["bfloat16", "off"] == found["bfloat16", tmp_path]
    assert found["float32", "off"] == found["float32", tmp_path] != found["bfloat16", tmp_path]


def test_adapters(batch, model):
    found = {}
    for precision in ("float32", "bfloat16"):
        tuned = ecgfm.finetune(model, *batch, epochs=1, batch_size=5, adapters=2, precision=precision, progress=False)
        found[precision] = dict(tuned.model.state_dict())
    assert 0 < distance(found["bfloat16"], found["float32"]) < NEAR

"""The extension module by itself, with arguments that no function of the package gives."""

import subprocess
import sys
import threading

import numpy as np
import pytest
import weights
from bounded import PATIENCE_S

import ecgfm


def pretraining_trainer(**settings):
    config = weights.SMALL
    trainer = ecgfm._core.Trainer(config, settings, "pretraining")
    params = weights.weights(weights.parameters(config, "pretraining"))
    for name, values in trainer.arrays("parameters").items():
        values[...] = params[name]
    return config, trainer


def masked_steps(config, trainer, **settings):
    steps = np.zeros((2, 25), bool)
    steps[:, :3] = True
    codes = (config["latent_groups"], config["latent_vars"])
    return trainer.pretrain(
        weights.signal("core", 2, 12, 400),
        steps,
        np.zeros((6, 2), np.int32),
        settings,
        gumbel=np.zeros((6, *codes), np.float32),
    )


def test_masked_steps_without_a_trained_mask():
    config, trainer = pretraining_trainer(no_masks=True)
    with pytest.raises(ValueError, match="no_masks"):
        masked_steps(config, trainer)
    assert masked_steps(config, trainer, predicted_only=True)["rows"] == 6
    assert masked_steps(*pretraining_trainer())["rows"] == 6


def test_a_list_that_shrinks_while_it_is_read():
    convs = [(16, 2, 2)] * 4

    class Shrinking:
        def __index__(self):
            del convs[1:]
            return 16

    convs[0] = (Shrinking(), 2, 2)
    ecgfm._core.parameters(weights.SMALL | {"conv_feature_layers": convs}, "classifier")
    assert len(convs) == 1


@pytest.mark.parametrize("value", [None, 5, [5], [(1, 2)], [(1, 2, 3, 4)], [("a", 2, 2)], "abc", [(2**70, 2, 2)]])
def test_convs_of_other_kinds(value):
    with pytest.raises((ecgfm.Error, TypeError, OverflowError)):
        ecgfm._core.parameters(weights.SMALL | {"conv_feature_layers": value}, "classifier")


def test_noise_that_another_thread_empties():
    """The arrays of a dict are in use for as long as the step runs, whatever becomes of the dict."""
    config = weights.SMALL | {"num_labels": 3, "encoder_layers": 2}
    trainer = ecgfm._core.Trainer(config, {"activation_dropout": 0.1}, "classifier")
    for values in trainer.arrays("parameters").values():
        values[...] = 0.01
    x, y = weights.signal("noise", 4, 12, 2500), np.ones((4, 3), np.float32)
    tokens, ended = 156, threading.Event()
    shapes = {f"layer{i}.activation": (4, tokens, config["encoder_ffn_embed_dim"]) for i in range(2)}
    kept = {name: np.ones(shape, bool) for name, shape in shapes.items()}
    expected = trainer.accumulate(x, y, noise=kept)["logits"]
    noise = {}

    def empty():
        while not ended.is_set():
            noise.clear()
            noise["other"] = np.zeros((4, tokens, config["encoder_ffn_embed_dim"]), bool)

    other = threading.Thread(target=empty)
    other.start()
    try:
        for _ in range(20):
            noise.update({name: np.ones(shape, bool) for name, shape in shapes.items()})
            trainer.accumulate(x, y, noise=noise)  # reads what it was given, or nothing
            trainer.forget()
    finally:
        ended.set()
        other.join()
    assert np.array_equal(trainer.accumulate(x, y, noise=kept)["logits"], expected)


@pytest.mark.parametrize(
    "batch, samples", [(2**32, 4096), (2**62, 4096), (1, 2**62), (2**20, 2**12), (0, 2500), (-1, 9)]
)
def test_sizes_beyond_what_the_kernels_count(batch, samples):
    config = weights.SMALL
    model = ecgfm._core.Model(config, "classifier")
    for name, values in weights.weights(weights.parameters(config)).items():
        model.set(name, values)
    model.finish()
    with pytest.raises((ecgfm.Error, MemoryError)):
        model.describe(batch, samples)
    assert "conv" in model.describe(2, 2500)


THREADS = """
import resource
import numpy as np
import ecgfm
from importlib.resources import files

MODEL = str(files("ecgfm") / "assets" / "demo")

model = ecgfm.load(MODEL)
x = np.random.default_rng(0).standard_normal((3, 12, 2500)).astype(np.float32)
expected = model(x).logits
with open("/proc/self/status") as file:
    size = next(int(line.split()[1]) << 10 for line in file if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (size + (1 << 30),) * 2)  # the stacks of some hundred threads
before = ecgfm.get_num_threads()
try:
    ecgfm.set_num_threads(4096)
except ecgfm.ConfigError as error:
    print(error)
assert ecgfm.get_num_threads() == before
assert np.array_equal(model(x).logits, expected)
"""


def test_more_threads_than_can_be_started():
    ran = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, timeout=PATIENCE_S)
    assert ran.returncode == 0, ran.stderr
    assert "of 4096 threads can run" in ran.stdout

"""Drawn noise: the generator against published vectors, and what is drawn for each place of the network.

The kernels' masks are compared through gradients, which must be equal to the bit when the masks that the rules give
are handed in instead of drawn.
"""

import numpy as np
import pytest
import twin
import weights

import ecgfm

CONFIG = weights.SMALL | {"encoder_layers": 3}
N = 400
RATES = {
    "dropout": 0.1,
    "attention_dropout": 0.15,
    "activation_dropout": 0.2,
    "dropout_input": 0.25,
    "final_dropout": 0.3,
    "encoder_layerdrop": 0.4,
}
# The number of each purpose in the counter.
INPUT, ENCODER, ATTENTION, ATTENTION_OUT, ACTIVATION, RESIDUAL, FINAL, LAYER = range(8)


def philox(counter, key):
    """Philox 4x32 with ten rounds: counter (..., 4), key (2) -> (..., 4) uint32."""
    x = np.array(np.moveaxis(np.asarray(counter, dtype=np.uint64), -1, 0))
    low, k = np.uint64(0xFFFFFFFF), [int(value) for value in key]
    for _ in range(10):
        a, b = np.uint64(0xD2511F53) * x[0], np.uint64(0xCD9E8D57) * x[2]
        x = np.stack(
            [
                (b >> np.uint64(32)) ^ x[1] ^ np.uint64(k[0]),
                b & low,
                (a >> np.uint64(32)) ^ x[3] ^ np.uint64(k[1]),
                a & low,
            ]
        )
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return np.moveaxis(x, 0, -1).astype(np.uint32)


def keep(n, p, seed, update, purpose, layer, row):
    """Which of n entries of a row are kept: 16-bit numbers, eight from a block, against the rate."""
    blocks = (n + 7) // 8
    counter = np.zeros((blocks, 4), np.uint64)
    counter[:, 0] = np.arange(blocks)
    counter[:, 1:] = row, purpose | layer << 8, update
    words = philox(counter, (seed, 0))
    numbers = np.stack([words & 0xFFFF, words >> 16], axis=-1).reshape(-1)[:n]
    return numbers >= int(p * 65536 + 0.5)


def drawn_masks(seed, update, rows, config=CONFIG, samples=N):
    """All masks of one batch, by the rules."""
    tokens = int(twin.network.token_counts(samples, config["conv_feature_layers"]))
    width, hidden = config["encoder_embed_dim"], config["encoder_ffn_embed_dim"]
    stream, heads = (tokens, width), config["encoder_attention_heads"]

    def mask(shape, p, purpose, layer=0):
        return np.stack([keep(int(np.prod(shape)), p, seed, update, purpose, layer, r).reshape(shape) for r in rows])

    found = {
        "input": mask(stream, RATES["dropout_input"], INPUT),
        "encoder": mask(stream, RATES["dropout"], ENCODER),
        "final": mask(stream, RATES["final_dropout"], FINAL),
    }
    runs = []
    for i in range(config["encoder_layers"]):
        found[f"layer{i}.attention"] = mask((heads, tokens, tokens), RATES["attention_dropout"], ATTENTION, i)
        found[f"layer{i}.residual1"] = mask(stream, RATES["dropout"], ATTENTION_OUT, i)
        found[f"layer{i}.activation"] = mask((tokens, hidden), RATES["activation_dropout"], ACTIVATION, i)
        found[f"layer{i}.residual2"] = mask(stream, RATES["dropout"], RESIDUAL, i)
        words = philox([0, 0, LAYER | i << 8, update], (seed, 0))
        uniform = (int(words[0] >> 5) * 2**26 + int(words[1] >> 6)) / 2**53
        runs.append(uniform > RATES["encoder_layerdrop"])
    return found | {"layers": np.array(runs)}


@pytest.mark.parametrize(
    "counter, key, expected",
    [
        ([0] * 4, [0] * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_the_published_vectors(counter, key, expected):
    """Of the generator's authors, for ten rounds."""
    assert [f"{value:08x}" for value in philox(counter, key)] == expected.split()


# ---- what is drawn --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    return ecgfm.Model.from_state_dict(CONFIG, weights.weights(weights.parameters(CONFIG)))


@pytest.fixture(scope="module")
def data():
    x = weights.signal("noise", 6, 12, N)
    return x, np.random.default_rng(2).integers(0, 2, (6, 17)).astype(np.float32)


def trainer_for(model, seed=1, **settings):
    return ecgfm.Trainer(model, seed=seed, **(RATES | {"feature_grad_mult": 1.0} | settings))


def gradients(trainer):
    return {name: values.copy() for name, values in trainer.gradients().items()}


def assert_same_bits(got, expected):
    for name, want in expected.items():
        assert got[name].tobytes() == want.tobytes(), name


@pytest.mark.parametrize("seed", [1, 4294967295])
def test_drawn_masks_follow_the_rules(model, data, seed):
    """In two updates of two batches each: update and rows count on."""
    x, y = data
    drawn, given = trainer_for(model, seed), trainer_for(model, seed)
    for update in range(2):
        for rows in (range(4), range(4, 6)):
            masks = drawn_masks(seed, update, rows)
            drawn.accumulate(x[rows], y[rows])
            given.accumulate(x[rows], y[rows], noise=masks)
            assert_same_bits(gradients(drawn), gradients(given))
        assert drawn.update() == given.update()


def test_other_masks_are_noticed(model, data):
    """One entry that differs at any place changes the gradients: the comparison above can fail."""
    x, y = data
    masks = drawn_masks(1, 0, range(6)) | {"layers": np.ones(3, bool)}
    trainer = trainer_for(model)

    def found(masks):
        trainer.accumulate(x, y, noise=masks)
        values = gradients(trainer)["proj.weight"]
        trainer.engine.core.forget()
        return values.tobytes()

    same = found(masks)
    assert found(masks) == same
    for name in masks:
        changed = masks[name].copy()
        changed.reshape(-1)[-1] ^= True
        assert found(masks | {name: changed}) != same, name


def test_rates_and_independence():
    """Share of dropped entries, and of pairs of places that drop both, within five standard errors."""
    n, p = 200_000, 0.1
    assert abs((~keep(n, p, 7, 3, INPUT, 0, 5)).mean() - p) < 5 * np.sqrt(p * (1 - p) / n)
    p = 0.5
    base = dict(seed=7, update=3, purpose=ATTENTION, layer=1, row=5)
    first = ~keep(n, p, **base)
    for change in ({"seed": 8}, {"update": 4}, {"purpose": RESIDUAL}, {"layer": 2}, {"row": 6}):
        other = ~keep(n, p, **(base | change))
        both = (first & other).mean()
        assert abs(other.mean() - p) < 5 * np.sqrt(p * (1 - p) / n), change
        assert abs(both - p * p) < 5 * np.sqrt(p * p * (1 - p * p) / n), change
    assert abs((first[1:] & first[:-1]).mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / n)


def test_layers_are_dropped_at_their_rate(model, data):
    """Seen in which layers get gradients; over 150 updates of 3 layers."""
    x, y = data
    trainer = trainer_for(model, schedule=0.0)
    ran = []
    for update in range(150):
        trainer.accumulate(x[:1], y[:1])
        found = trainer.gradients()
        ran.append([found[f"encoder.encoder.layers.{i}.fc2.bias"].any() for i in range(3)])
        trainer.update()
    dropped, n = 1 - np.mean(ran), 450
    assert abs(dropped - 0.4) < 4 * np.sqrt(0.4 * 0.6 / n)


@pytest.mark.parametrize("change", ["seed", "update", "row"])
def test_another_key_is_other_noise(model, data, change):
    x, y = data
    first, second = trainer_for(model), trainer_for(model, seed=2 if change == "seed" else 1)
    if change == "update":
        second.num_updates = 1
    first.accumulate(x[:1], y[:1])
    expected = gradients(first)["proj.weight"]
    if change == "row":
        second.engine.core.accumulate(x[:1], y[:1], seed=1, first_row=1)
    else:
        second.accumulate(x[:1], y[:1])
    assert not np.array_equal(gradients(second)["proj.weight"], expected)


def test_no_noise_where_nothing_is_trained(model, data):
    """Logits are those of the model; asking for them changes no later draw."""
    x, y = data
    trainer, other = trainer_for(model), trainer_for(model)
    np.testing.assert_allclose(trainer.logits(x), model(x).logits, rtol=0, atol=3e-6)
    trainer.accumulate(x, y)
    trainer.logits(x[:2])
    other.accumulate(x, y)
    assert_same_bits(gradients(trainer), gradients(other))


# ---- how a batch is split and how many threads run ------------------------------------------------------------------


def assert_close(got, expected):
    """To rounding. One that is 0 in theory is a rounding error of the largest of all."""
    largest = max(np.abs(values).max() for values in expected.values())
    for name, want in expected.items():
        assert np.abs(got[name] - want).max() <= max(1e-5 * np.abs(want).max(), 1e-6 * largest), name


def test_one_and_two_threads(model, data):
    x, y = data
    before, found = ecgfm.get_num_threads(), []
    try:
        for threads in (1, 2):
            ecgfm.set_num_threads(threads)
            trainer = trainer_for(model)
            trainer.accumulate(x, y)
            found.append(gradients(trainer))
    finally:
        ecgfm.set_num_threads(before)
    assert_close(*found)


@pytest.mark.parametrize("parts", [[3, 3], [1, 2, 3], [1] * 6])
def test_parts_of_a_batch_are_the_batch(model, data, parts):
    x, y = data
    mask = weights.padding(6, 12, N, [N, 300, 200, N, 100, 350])
    whole, split = trainer_for(model), trainer_for(model)
    whole.accumulate(x, y, mask)
    expected, end = gradients(whole), 0
    for count in parts:
        rows = slice(end, end + count)
        split.accumulate(x[rows], y[rows], mask[rows])
        end += count
    assert_close(gradients(split), expected)
    first, second = whole.update(), split.update()
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert second[name] == pytest.approx(value, rel=1e-5, nan_ok=True), name


def test_passes_draw_as_one_batch(model):
    """A batch of more rows than are worked through at a time: row 12 has its own mask, not that of row 0."""
    samples, count = 2500, 13
    x = np.repeat(weights.signal("passes", 1, 12, samples), count, axis=0)
    y = np.zeros((count, 17), np.float32)
    drawn, given = trainer_for(model), trainer_for(model)
    drawn.accumulate(x, y)
    given.accumulate(x, y, noise=drawn_masks(1, 0, range(count), samples=samples))
    assert_same_bits(gradients(drawn), gradients(given))

"""A batch of pretraining in two calls, between which the rows of all ranks are gathered."""

import numpy as np
import pytest
import weights

import ecgfm

SETTINGS = {"cmsc": 1.0, "cmsc_temp": 0.1}
IDS, SECOND = np.array([5, 5, 9, 9]), np.array([False, True, False, True])


@pytest.fixture
def x():
    return weights.signal("halves", 4, 12, 400)


def trainer(**settings):
    made = ecgfm._core.Trainer(weights.SMALL, {"no_heads": True, "dropout": 0.1} | settings, "pretraining")
    params = weights.weights(weights.parameters(weights.SMALL, "pretraining"))
    for name, values in made.arrays("parameters").items():
        values[...] = params[name]
    return made


def first_half(made, x, **more):
    return made.pretrain(x, None, None, dict(SETTINGS), ids=IDS.copy(), second=SECOND.copy(), wait=True, **more)


@pytest.mark.parametrize("recompute", [False, True])
def test_two_halves_are_the_whole(x, recompute):
    whole, halves = trainer(recompute=recompute), trainer(recompute=recompute)
    expected = whole.pretrain(x, None, None, SETTINGS, ids=IDS, second=SECOND)
    features = first_half(halves, x.copy())  # whatever becomes of the arrays that were given
    assert features.shape == (4, weights.SMALL["encoder_embed_dim"]) and features.dtype == np.float32
    found = halves.finish(features, IDS, SECOND, 0, expected["rows"])
    assert found.pop("codes").size == expected.pop("codes").size == 0
    assert found.pop("logits").size == expected.pop("logits").size == 0
    assert found == expected
    for name, values in whole.arrays("gradients").items():
        assert np.array_equal(values, halves.arrays("gradients")[name]), name


def test_parts_of_a_batch_add_up_to_the_whole(x):
    whole = trainer(dropout=0.0)
    expected = whole.pretrain(x, None, None, SETTINGS, ids=IDS, second=SECOND)
    ranks, total = [trainer(dropout=0.0) for _ in range(2)], 0
    parts = [slice(0, 2), slice(2, 4)]
    how = [{"ids": IDS[part], "second": SECOND[part], "wait": True} for part in parts]
    features = [r.pretrain(x[part].copy(), None, None, SETTINGS, **h) for r, part, h in zip(ranks, parts, how)]
    for made, part in zip(ranks, parts):
        total += made.finish(np.concatenate(features), IDS, SECOND, part.start, expected["rows"])["cmsc"]
    assert total == pytest.approx(expected["cmsc"], rel=1e-6)
    for name, values in whole.arrays("gradients").items():
        summed = sum(made.arrays("gradients")[name] for made in ranks)
        assert np.allclose(summed, values, rtol=1e-3, atol=1e-5 * max(1, np.abs(values).max())), name


@pytest.mark.parametrize("between", ["forget", "pretrain", "flat_gradients", "update"])
def test_another_call_drops_the_first_half(x, between):
    made = trainer()
    features = first_half(made, x)
    if between == "pretrain":
        made.pretrain(x, None, None, SETTINGS, ids=IDS, second=SECOND)
    elif between == "update":
        with pytest.raises(ecgfm.Error, match="no gradients"):
            made.update(1e-3, 0.9, 0.98, 1e-8, 0.0, 1.0)
    else:
        getattr(made, between)()
    with pytest.raises(RuntimeError, match="no batch waits"):
        made.finish(features, IDS, SECOND, 0, 2)


def test_what_does_not_fit_is_refused_and_the_first_half_goes_on_waiting(x):
    made = trainer()
    with pytest.raises(RuntimeError, match="no batch waits"):
        made.finish(np.zeros((4, 32), np.float32), IDS, SECOND, 0, 2)
    features = first_half(made, x)
    for offset in (-1, 1, 5):
        with pytest.raises(ValueError, match="among those of all"):
            made.finish(features, IDS, SECOND, offset, 2)
    with pytest.raises(ValueError, match="features of all"):
        made.finish(features[:, 1:], IDS, SECOND, 0, 2)
    with pytest.raises(ValueError, match="second of all"):
        made.finish(features, IDS, SECOND[:2], 0, 2)
    assert made.finish(features, IDS, SECOND, 0, 2)["rows"] == 2
    assert made.update(1e-3, 0.9, 0.98, 1e-8, 0.0, 2.0)[1]
    first_half(made, x)  # a trainer that goes away while a batch waits


def test_only_pairs_wait(x):
    made = ecgfm._core.Trainer(weights.SMALL, {}, "pretraining")
    steps = np.zeros((4, 25), bool)
    steps[:, :3] = True
    gumbel = np.zeros((12, weights.SMALL["latent_groups"], weights.SMALL["latent_vars"]), np.float32)
    with pytest.raises(ValueError, match="only a batch of pairs waits"):
        made.pretrain(x, steps, np.zeros((12, 2), np.int32), {}, gumbel=gumbel, wait=True)


def test_a_trainer_takes_the_batches_of_its_head(x):
    made = trainer()
    with pytest.raises(ValueError, match="not that of a classifier"):
        made.accumulate(x, np.zeros((4, 0), np.float32))
    with pytest.raises(ValueError, match="not that of a classifier"):
        made.forward(x)

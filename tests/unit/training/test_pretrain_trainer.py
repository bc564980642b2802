"""The trainer of pretraining: pairs, noise given and drawn, accumulation, losses, what it refuses."""

import math

import numpy as np
import pytest
import weights

import ecgfm
from ecgfm.specs.architecture import architecture_keys
from ecgfm.training import noise as draws
from ecgfm.training.pretrain_trainer import PretrainingTrainer

CONFIG = {name: weights.SMALL[name] for name in architecture_keys("pretraining")}
LOSS = "wav2vec2_with_cmsc"
P, N, T = 3, 800, 50
NO_DROPOUT = {"dropout": 0.0, "attention_dropout": 0.0, "dropout_input": 0.0, "dropout_features": 0.0}


def trainer(loss=LOSS, config=CONFIG, **settings):
    return ecgfm.Trainer(config, loss=loss, **{"num_negatives": 5, "schedule": 1e-3} | settings)


def pairs(count=P, samples=N, name="pairs"):
    return weights.signal(name, 2 * count, 12, samples).reshape(count, 2, 12, samples)


def copy(arrays):
    return {name: values.copy() for name, values in arrays.items()}


def noise_of(count=P, seed=0, masked=20):
    """Everything that can be given, but for dropout."""
    rng, rows = np.random.default_rng(seed), 2 * count
    steps = np.zeros((rows, T), dtype=bool)
    for row in steps:
        row[rng.choice(T, masked, replace=False)] = True
    own = np.arange(rows * masked)[:, None] // masked * masked
    return {
        "lead_kept": rng.random((rows, 12)) < 0.5,
        "mask_indices": steps,
        "neg_idxs": own + rng.integers(0, masked, (rows * masked, 5)),
        "gumbel": rng.gumbel(size=(rows * masked, 16)),
    }


# ---- steps ----------------------------------------------------------------------------------------------------------


def test_which_trainer_is_made():
    """One class; the old name is another default of the loss, and whatever pretrains is an instance of it."""
    assert type(trainer()) is ecgfm.Trainer and isinstance(trainer("cmsc"), PretrainingTrainer)
    assert PretrainingTrainer(CONFIG).loss == LOSS
    model = ecgfm.Model.from_state_dict(weights.SMALL, weights.weights(weights.parameters(weights.SMALL)))
    assert not isinstance(ecgfm.Trainer(model), PretrainingTrainer)
    with pytest.raises(ecgfm.ConfigError, match="wav2vec2_with_cmsc"):
        ecgfm.Trainer(CONFIG, loss="cross_entropy")
    with pytest.raises(ecgfm.ConfigError, match="Model"):
        PretrainingTrainer(3)


def test_report_of_a_step():
    t = trainer()
    row = t.step(pairs(), ["a", "b", "c"])
    parts = [row[f"loss_{i}"] for i in range(4)]
    assert row["loss"] == pytest.approx(sum(parts), rel=1e-12)
    assert row["loss_sum"] == pytest.approx(row["loss"] * row["sample_size"] * math.log(2), rel=1e-12)
    assert row["nsignals"] == 2 * P and row["sample_size"] % (2 * P) == 0
    assert 0 <= row["accuracy"] <= 1 and 1 <= row["code_perplexity"] <= 16 and row["temp"] == 2.0
    assert row["applied"] and t.num_updates == 1
    row = trainer("wav2vec2").step(pairs())
    assert "loss_3" not in row and row["loss"] == pytest.approx(sum(row[f"loss_{i}"] for i in range(3)))
    row = trainer("cmsc").step(pairs())
    assert row["sample_size"] == P and "loss_0" not in row and "accuracy" not in row
    assert "accuracy" not in trainer(infonce=False).step(pairs())


def test_the_temperature_falls_with_the_updates():
    t = trainer(latent_temp=(2.0, 1.9, 0.97))
    temps = [t.step(pairs())["temp"] for _ in range(4)]
    assert temps == pytest.approx([2.0, 1.94, 1.9, 1.9])


def test_one_pair_trains_without_cmsc():
    row = trainer().step(pairs(1))
    assert row["loss_3"] == 0 and row["loss_0"] > 0 and row["applied"]


def test_segments_with_ids_are_pairs():
    """Rows of one id are paired in their order; who stands between them does not matter to the losses."""
    x, noise = pairs(), noise_of()
    order = [0, 2, 4, 1, 3, 5]  # the first segments, then the second ones
    flat = x.reshape(-1, 12, N)[order]
    moved = {name: noise[name][order] for name in ("lead_kept", "mask_indices")}
    masked = 20
    place = np.argsort(order)
    rows = (np.array(order)[:, None] * masked + np.arange(masked)).ravel()
    index = noise["neg_idxs"][rows]
    moved["neg_idxs"] = place[index // masked] * masked + index % masked
    moved["gumbel"] = noise["gumbel"][rows]
    one, other = trainer(**NO_DROPOUT), trainer(**NO_DROPOUT)
    a = one.step(x, [7, 8, 9], noise=noise)
    b = other.step(flat, [7, 8, 9, 7, 8, 9], noise=moved)
    for name in ("loss", "loss_0", "loss_1", "loss_2", "loss_3", "accuracy", "gnorm"):
        assert a[name] == pytest.approx(b[name], rel=1e-5), name


def test_inputs_are_not_changed():
    x, noise = pairs(), noise_of()
    kept = x.copy(), {name: values.copy() for name, values in noise.items()}
    t = trainer()
    t.step(x)
    t.step(x, noise=noise)
    np.testing.assert_array_equal(x, kept[0])
    for name, values in noise.items():
        np.testing.assert_array_equal(values, kept[1][name])


def test_padding():
    t = trainer()
    mask = np.zeros((P, 2, N), dtype=bool)
    mask[1, 1, 500:] = True
    x = pairs()
    row = t.evaluate(x, None, mask)
    assert np.isfinite(row["loss"])
    x[1, 1, :, 520:] = 7.0  # further away than a convolution reaches
    with pytest.warns(ecgfm.InputWarning, match="padding_mask"):
        assert t.evaluate(x, None, mask) == row  # it is taken as 0, or the group norm would see it


# ---- noise ----------------------------------------------------------------------------------------------------------


def test_given_noise_is_what_counts():
    x, noise = pairs(), noise_of()
    one, other = trainer(seed=1, **NO_DROPOUT), trainer(seed=2, **NO_DROPOUT)
    other.engine.core.arrays("parameters")
    for name, values in other.engine.core.arrays("parameters").items():
        values[...] = one.state_dict()[name]
    one.accumulate(x, noise=noise)
    other.accumulate(x, noise=noise)
    for name, values in one.gradients().items():
        np.testing.assert_array_equal(values, other.gradients()[name])


def test_drawn_noise_is_that_of_the_rules():
    """A step without noise is the step with the arrays that the rules give for (seed, update, rank, row)."""
    x, seed = pairs(), 9
    one, other = trainer(seed=seed, **NO_DROPOUT), trainer(seed=seed, **NO_DROPOUT)
    for update in range(2):
        source, rows = draws.Source(seed, update), range(2 * P)
        steps = draws.time_masks(source, rows, T)
        masked = int(steps[0].sum())
        kept = draws.perturb(source, rows, np.ones((2 * P, 12, 4), np.float32), one.objective.augment)[:, :, 0] > 0
        noise = {
            "lead_kept": kept,
            "mask_indices": steps,
            "neg_idxs": draws.negatives(source, rows, masked, num_negatives=5),
            "gumbel": draws.gumbel(source, rows, masked, 16),
        }
        a, b = one.step(x), other.step(x, noise=noise)
        assert a == b
    for name, values in one.state_dict().items():
        np.testing.assert_array_equal(values, other.state_dict()[name])


def test_the_same_noise_on_one_and_two_threads():
    before = ecgfm.get_num_threads()
    seen = []
    try:
        for threads in (1, 2):
            ecgfm.set_num_threads(threads)
            t = trainer(codebook_negatives=3, mask_channel_prob=0.3, dropout_features=0.2)
            given, run = {}, t.engine.core

            class Spy:
                def pretrain(self, x, steps, negatives, settings, **rest):
                    given.update(rest, x=x, steps=steps, negatives=negatives)
                    return run.pretrain(x, steps, negatives, settings, **rest)

                def __getattr__(self, name):
                    return getattr(run, name)

            t.engine.core = Spy()
            row = t.step(pairs())
            arrays = {name: values for name, values in given.items() if isinstance(values, np.ndarray)}
            seen.append((arrays, row, copy(t.state_dict())))
    finally:
        ecgfm.set_num_threads(before)
    (arrays, row, state), (others, other_row, other_state) = seen
    assert set(arrays) == {"x", "steps", "negatives", "codebook", "channels", "gumbel", "ids", "second"}
    for name, values in arrays.items():
        np.testing.assert_array_equal(values, others[name], err_msg=name)
    assert row["loss"] == pytest.approx(other_row["loss"], rel=1e-5)
    for name, values in state.items():  # so is the dropout: where it was not, entries would move apart by the step
        assert np.mean(np.abs(values - other_state[name]) > 1e-4) < 0.02, name


def test_rows_of_an_update_count_on():
    """The second batch of an update has noise of its own, that of the rows that follow."""
    x = pairs(1)
    t = trainer(**NO_DROPOUT)
    t.accumulate(x)
    first = copy(t.gradients())
    t.accumulate(x)
    second = {name: values - first[name] for name, values in t.gradients().items()}
    assert any(np.abs(second[name] - first[name]).max() > 1e-3 for name in first)


def test_validation_repeats_itself_and_trains_nothing():
    t, x = trainer(), pairs()
    before = copy(t.state_dict())
    first = t.evaluate(x)
    t.step(x)
    for name, values in t.engine.core.arrays("parameters").items():
        values[...] = before[name]
    again = t.evaluate(x)
    assert {**again, "temp": 0} == {**first, "temp": 0} and t.num_updates == 1
    whole = t.evaluate_all([(x[:2], None, None), (x[2:], None, None)])
    assert whole["nsignals"] == 2 * P and np.isfinite(whole["loss"])


# ---- accumulation and state -----------------------------------------------------------------------------------------


def test_two_halves_accumulated_are_the_sum_of_both_apart():
    x, halves = pairs(4), [noise_of(2, seed) for seed in (0, 1)]
    together, apart = trainer(**NO_DROPOUT), [trainer(**NO_DROPOUT) for _ in halves]
    for i, noise in enumerate(halves):
        together.accumulate(x[2 * i : 2 * i + 2], [1, 2], noise=noise)
        apart[i].accumulate(x[2 * i : 2 * i + 2], [1, 2], noise=noise)
    parts = [t.gradients() for t in apart]
    for name, values in together.gradients().items():
        expected = parts[0][name] + parts[1][name]
        atol = 1e-5 * max(np.abs(expected).max(), 1e-3)
        np.testing.assert_allclose(values, expected, rtol=0, atol=atol, err_msg=name)
    row, rows = together.update(), [t.update() for t in apart]
    assert row["sample_size"] == sum(part["sample_size"] for part in rows)
    assert row["loss_sum"] == pytest.approx(sum(part["loss_sum"] for part in rows), rel=1e-9)
    assert row["code_perplexity"] == pytest.approx(np.mean([part["code_perplexity"] for part in rows]), rel=1e-9)


def test_state_goes_on_as_if_nothing_had_happened():
    x, t = pairs(), trainer()
    t.step(x)
    state = t.state()
    state |= {name: copy(state[name]) for name in ("parameters", "exp_avg", "exp_avg_sq")}
    rows = [t.step(x) for _ in range(2)]
    other = trainer(seed=5)
    other.load_state(state)
    assert [other.step(x) for _ in range(2)] == rows
    for name, values in t.state_dict().items():
        np.testing.assert_array_equal(values, other.state_dict()[name])


def test_cmsc_alone_leaves_the_heads_as_they_are():
    t = trainer("cmsc", optimizer={"weight_decay": 0.5})
    before = copy(t.state_dict())
    t.step(pairs())
    heads = ("mask_emb", "quantizer.", "project_q.", "final_proj.")
    for name, values in t.state_dict().items():
        assert np.array_equal(values, before[name]) == name.startswith(heads), name


def test_start_from_a_classifier_and_from_a_checkpoint(tmp_path):
    config = weights.SMALL
    params = weights.weights(weights.parameters(config))
    classifier = ecgfm.Model.from_state_dict(config, params)
    found = trainer(config=classifier, seed=3).state_dict()
    for name, values in found.items():
        if "encoder." + name in params:
            np.testing.assert_array_equal(values, params["encoder." + name])
    assert {name for name in found if "encoder." + name not in params} >= {"mask_emb", "quantizer.vars"}
    t = trainer()
    t.step(pairs())
    t.save(tmp_path / "pretrained.pt")
    again = trainer(config=tmp_path / "pretrained.pt")
    assert again.config == t.config
    for name, values in t.state_dict().items():
        np.testing.assert_array_equal(values, again.state_dict()[name])


def test_new_weights_have_the_original_s_distributions():
    config = CONFIG | {"encoder_embed_dim": 192, "encoder_ffn_embed_dim": 256, "conv_pos": 64, "final_dim": 64}
    found = trainer(config=config).state_dict()
    for name, shape, (kind, scale) in ecgfm._core.initial_values(config, "pretraining"):
        values = found[name].astype(np.float64)
        assert values.shape == tuple(shape)
        error = 5 / math.sqrt(values.size)  # five standard errors of a mean of unit variance
        if kind in ("zeros", "ones"):
            assert (values == (kind == "ones")).all(), name
        elif kind == "normal":
            assert abs(values.mean()) <= error * scale and abs(values.std() / scale - 1) <= error, name
        elif kind in ("uniform", "unit"):
            unit = values if kind == "unit" else (values / scale + 1) / 2
            assert unit.min() >= 0 and unit.max() <= 1 and abs(unit.mean() - 0.5) <= error / math.sqrt(12), name
        else:
            direction = found[name.replace("original0", "original1")].astype(np.float64)
            np.testing.assert_allclose(values.ravel(), np.sqrt((direction**2).sum(axis=(0, 1))), rtol=1e-6)
    assert not np.array_equal(trainer(config=config, seed=2).state_dict()["mask_emb"], found["mask_emb"])


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"dropuot": 0.1}, "dropuot"),
        ({"dropout": 1.0}, "dropout"),
        ({"mask_prob": 1.5}, "mask_prob"),
        ({"mask_length": 0}, "mask_length"),
        ({"mask_selection": "zipf"}, "mask_selection"),
        ({"logit_temp": 0}, "logit_temp"),
        ({"latent_temp": (2, 1)}, "latent_temp"),
        ({"loss_weights": 0.1}, "loss_weights"),
        ({"num_negatives": 0}, "num_negatives"),
        ({"num_negatives": 0, "codebook_negatives": 5}, "num_negatives"),
        ({"quantize_targets": False}, "quantize_targets"),
        ({"negatives_from_everywhere": True}, "negatives_from_everywhere"),
        ({"perturbation_mode": ["salt"]}, "perturbation_mode"),
        ({"seed": -1}, "seed"),
        ({"on_nonfinite": "hope"}, "on_nonfinite"),
    ],
)
def test_refused_settings(settings, field):
    with pytest.raises(ecgfm.ConfigError) as error:
        trainer(**settings)
    assert error.value.field == field


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"final_dim": 0}, "final_dim"), ({"depth": 3}, "depth"), ({"latent_vars": "8"}, "latent_vars")],
)
def test_refused_architectures(changes, field):
    with pytest.raises(ecgfm.ConfigError) as error:
        trainer(config=CONFIG | changes)
    assert error.value.field == field


def signals_that_are_refused():
    x = pairs()
    bad = x.copy()
    bad[1, 0, 3, 77] = np.nan
    masked = noise_of()["mask_indices"]
    nothing, everything, uneven, one = masked.copy(), masked.copy(), masked.copy(), np.zeros_like(masked)
    nothing[2], everything[2], uneven[2, np.flatnonzero(masked[2])[0]], one[:, 4] = False, True, False, True
    return {
        "three segments": (x.repeat(2, axis=1)[:, :3], None, {}, "unpaired"),
        "no ids": (x.reshape(-1, 12, N), None, {}, "unpaired"),
        "an id alone": (x.reshape(-1, 12, N), [1, 1, 2, 2, 3, 4], {}, "unpaired"),
        "NaN": (bad, None, {}, r"x\[2, 3, 77\]"),
        "nothing masked": (x, None, {"mask_indices": nothing}, "nothing"),
        "everything masked": (x, None, {"mask_indices": everything}, "everything"),
        "not as many": (x, None, {"mask_indices": uneven}, "row 2"),
        "no other step": (x, None, {"mask_indices": one}, "negative"),
        "too short": (x[..., :32], None, {}, "mask"),
        "ids that don't fit": (x, [1, 2], {}, "integers or texts"),
    }


@pytest.mark.parametrize("case", signals_that_are_refused())
def test_refused_signals(case):
    x, ids, noise, text = signals_that_are_refused()[case]
    t = trainer()
    before = copy(t.state_dict())
    with pytest.raises(ecgfm.SignalError, match=text):
        t.step(x, ids, noise=noise)
    assert t.num_updates == 0
    for name, values in t.state_dict().items():
        np.testing.assert_array_equal(values, before[name])
    assert t.step(pairs())["applied"]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("gumbel", np.zeros((3, 16))),
        ("gumbel", np.full((120, 16), np.nan)),
        ("neg_idxs", np.full((120, 5), 120)),
        ("neg_idxs", np.zeros((120, 4), dtype=int)),
        ("lead_kept", np.ones((6, 11), dtype=bool)),
        ("mask_channel_indices", np.ones((6, 12), dtype=bool)),
        ("final", np.ones((6, T, 32), dtype=bool)),
        ("whatever", np.ones(3, dtype=bool)),
    ],
)
def test_refused_noise(name, values):
    with pytest.raises(ecgfm.ConfigError) as error:
        trainer().step(pairs(), noise=noise_of() | {name: values})
    assert error.value.field == f"noise.{name}"


def test_it_has_no_outputs():
    with pytest.raises(ecgfm.ConfigError, match="no outputs"):
        trainer().logits(pairs())

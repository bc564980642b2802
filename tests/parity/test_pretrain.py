"""Pretraining against the reference data: parts of the loss, codes, gradients, updates, options, validation."""

import math

import numpy as np
import pytest
import weights
from golden import arrays, checkpoint, load_json

import ecgfm
from ecgfm.specs.architecture import architecture_keys

ATOL_ZERO = 1e-5  # of gradients that are 0 in exact arithmetic
ATOL_PARAMETERS = 5e-5
LOSS = "wav2vec2_with_cmsc"
NO_DROPOUT = {"dropout": 0.0, "attention_dropout": 0.0, "dropout_input": 0.0, "dropout_features": 0.0}
OPTIONS = {  # changes of the architecture, of the settings
    "padded": ({}, {}),
    "target_glu": ({"target_glu": True}, {}),
    "cross_sample": ({}, {"cross_sample_negatives": 4}),
    "pre_ln": ({"layer_norm_first": True}, {}),
    "latent_dim_16": ({"latent_dim": 16}, {}),
    "mask_normal": ({}, {"mask_selection": "normal", "mask_other": 3.0}),
}


@pytest.fixture(scope="module")
def tiny(shared):
    return shared / "golden/tiny"


@pytest.fixture(scope="module")
def recorded(tiny):
    return load_json(tiny / "pretrain_step.json"), arrays(tiny / "pretrain_step.npz", "")


def trainer_of(tiny, feature_grad_mult, changes=(), changed=(), **settings):
    """A trainer with the weights of the tiny pretraining checkpoint, or of those of `changed`."""
    path = tiny / "pretrained.pt"
    settings = NO_DROPOUT | {"num_negatives": 10, "schedule": 1e-3, "feature_grad_mult": feature_grad_mult} | settings
    if not changes:
        return ecgfm.Trainer(path, loss=LOSS, **settings)
    config, params = checkpoint(path)
    config.pop("num_labels", None)
    trainer = ecgfm.Trainer(config | dict(changes), loss=LOSS, **settings)
    params |= dict(changed)
    for name, values in trainer.engine.core.arrays("parameters").items():
        values[...] = params[name]
    return trainer


def given(data, prefix, **more):
    """The recorded noise under the names of a step."""
    names = ("mask_indices", "neg_idxs", "gumbel", "lead_kept")
    return {name: data[prefix + name] for name in names if prefix + name in data} | more


def codes_and_logits(trainer, monkeypatch):
    """What the kernel gives besides, of the last batch."""
    seen, run = {}, trainer.engine.core.pretrain

    class Core:
        def pretrain(self, *args, **kwargs):
            seen.update(run(*args, **kwargs))
            return dict(seen)

        def __getattr__(self, name):
            return getattr(inner, name)

    inner = trainer.engine.core
    monkeypatch.setattr(trainer.engine, "core", Core())
    return seen


def compare_log(row, log, rel=2e-6):
    """Each part of the loss, in nats, and the counts; in bits for each masked step under the original's names."""
    size = log["sample_size"]
    assert row["sample_size"] == size == log["count"]
    assert row["loss_sum"] == pytest.approx(log["loss"], rel=rel)
    for name in ("loss", "loss_0", "loss_1", "loss_2", "loss_3"):
        assert row[name] == pytest.approx(log[name] / size / math.log(2), rel=rel), name
    assert round(row["accuracy"] * size) == log["correct"] and row["nsignals"] == log.get("nsignals", 4)
    for name in ("prob_perplexity", "code_perplexity"):
        assert row[name] == pytest.approx(log[name], rel=rel), name
    assert row["temp"] == pytest.approx(log["temp"], rel=1e-9)


def compare_gradients(found, stored):
    assert set(found) == set(stored)
    for name, expected in stored.items():
        if name.endswith("k_proj.bias"):
            assert np.abs(found[name]).max() <= ATOL_ZERO, name
            continue
        assert np.abs(found[name] - expected).max() <= 5e-5 * np.abs(expected).max(), name


def compare_logits(found, recorded):
    """Recorded as (1 + negatives, B, masked steps); -inf in the same places."""
    expected = recorded.reshape(len(recorded), -1).T
    np.testing.assert_array_equal(np.isinf(found), np.isinf(expected))
    finite = np.isfinite(expected)
    np.testing.assert_allclose(found[finite], expected[finite], rtol=0, atol=5e-5)


# ---- one step -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("multiplier", ["0", "0.1", "1"])
def test_losses_codes_and_gradients(tiny, recorded, monkeypatch, multiplier, recompute):
    figures, data = recorded
    figures = figures[f"grad_fgm{multiplier}"]
    trainer = trainer_of(tiny, float(multiplier), recompute=recompute)
    seen = codes_and_logits(trainer, monkeypatch)
    trainer.accumulate(data["batch0/source_unmasked"], data["batch0/patient_id"], noise=given(data, "u0/"))
    np.testing.assert_array_equal(seen["codes"].ravel(), data["u0/codes"])
    compare_logits(seen["logits"], data["u0/contrastive_logits_NxBxT"])
    prefix = f"grad_fgm{multiplier}/"
    compare_gradients(
        trainer.gradients(),
        {name.removeprefix(prefix): values for name, values in data.items() if name.startswith(prefix)},
    )
    row = trainer.update()
    compare_log(row, figures["log"])
    assert row["applied"] and row["gnorm"] == pytest.approx(figures["gnorm_of_mean_grads"], rel=1e-5)


def test_logged_values(tiny, recorded):
    """As the original's trainer rounds them."""
    figures, data = recorded
    x, ids = data["batch0/source_unmasked"], data["batch0/patient_id"]
    row = trainer_of(tiny, 0.1).step(x, ids, noise=given(data, "u0/"))
    logged = figures["trainer_reduced_logs"][0]
    for name, value in logged.items():
        assert round(row[name], 5 if name == "accuracy" else 3) == pytest.approx(value, abs=1e-9), name


def test_ten_updates(tiny, recorded):
    figures, data = recorded
    columns = figures["trajectory"]["columns"]
    trainer = trainer_of(tiny, 0.1)
    start = {name: values.copy() for name, values in trainer.state_dict().items()}
    for u, line in enumerate(data["trajectory"]):
        batch, log = f"batch{u % 2}/", dict(zip(columns, line))
        row = trainer.step(data[batch + "source_unmasked"], data[batch + "patient_id"], noise=given(data, f"u{u}/"))
        compare_log(row, log | {"loss": log["loss_sum"]})
        assert row["gnorm"] == pytest.approx(log["gnorm"], rel=2e-5)
        assert row["lr"] == log["lr_used"]
        if u in (0, 9):
            compare_parameters(trainer, start, data, f"params_after_{u + 1}/", u + 1)
    assert trainer.num_updates == 10


def compare_parameters(trainer, start, data, prefix, updates):
    found = trainer.state_dict()
    assert {name.removeprefix(prefix) for name in data if name.startswith(prefix)} == set(found)
    for name, got in found.items():
        if name.endswith("k_proj.bias"):  # rounding noise that Adam makes a step of
            assert np.abs(got - start[name]).max() <= 1.2e-3 * updates, name
        else:
            np.testing.assert_allclose(got, data[prefix + name], rtol=0, atol=ATOL_PARAMETERS, err_msg=name)


def test_validation(tiny, recorded):
    """No noise, but masked steps; nothing of the trainer changes."""
    figures, data = recorded
    trainer = trainer_of(tiny, 0.1)
    before = {name: values.copy() for name, values in trainer.state_dict().items()}
    np.testing.assert_array_equal(data["eval/source"], data["batch1/source_unmasked"] * data["u1/lead_kept"][..., None])
    row = trainer.evaluate(data["eval/source"], data["batch1/patient_id"], noise=given(data, "eval/"))
    compare_log(row, figures["eval_log"])
    assert all(not values.any() for values in trainer.gradients().values())
    for name, values in trainer.state_dict().items():
        np.testing.assert_array_equal(values, before[name])


@pytest.mark.parametrize("case", OPTIONS)
def test_options(tiny, recorded, monkeypatch, case):
    figures = load_json(tiny / "pretrain_options.json")
    assert set(figures) == set(OPTIONS)
    data = arrays(tiny / "pretrain_options.npz", case + "/")
    changed = {name.removeprefix("params/"): values for name, values in data.items() if name.startswith("params/")}
    architecture, settings = OPTIONS[case]
    trainer = trainer_of(tiny, 1.0, architecture, changed, perturbation_mode=None, **settings)
    seen = codes_and_logits(trainer, monkeypatch)
    ids = recorded[1]["batch0/patient_id"]
    trainer.accumulate(data["source"], ids, data.get("padding_mask"), noise=given(data, ""))
    np.testing.assert_array_equal(seen["codes"].ravel(), data["codes"])
    compare_logits(seen["logits"], data["contrastive_logits_NxBxT"])
    stored = {name.removeprefix("grad/"): values for name, values in data.items() if name.startswith("grad/")}
    compare_gradients(trainer.gradients(), stored)
    compare_log(trainer.update(), figures[case]["log"])


def test_every_option_of_the_original(tiny):
    """What trains there trains here; what ends in an error there is refused by name before anything is made."""
    outcome = load_json(tiny / "pretraining_options_that_work.json")
    options = {
        "default": {},
        "target_glu": {"target_glu": True},
        "negatives_from_everywhere": {"negatives_from_everywhere": True},
        "no_quantize_targets": {"quantize_targets": False},
        "no_quant_negatives_from_everywhere": {"quantize_targets": False, "negatives_from_everywhere": True},
        "cross_sample_negatives": {"cross_sample_negatives": 5},
        "only_cross_sample": {"num_negatives": 0, "cross_sample_negatives": 5},
        "codebook_negatives": {"codebook_negatives": 5},
        "quantize_input": {"quantize_input": True},
        "quantize_input_same": {"quantize_input": True, "same_quantizer": True},
        "mask_channel": {"mask_channel_prob": 0.5},
        "mask_prob_0": {"mask_prob": 0.0},
        "final_dim_0": {"final_dim": 0},
        "latent_dim_16": {"latent_dim": 16},
        "num_negatives_0": {"num_negatives": 0},
        "layerdrop": {"encoder_layerdrop": 0.5},
        "saliency": {},  # says what a forward gives back
        "mask_normal": {"mask_selection": "normal", "mask_other": 3.0},
    }
    assert set(options) == set(outcome)
    x = weights.signal("options", 4, 12, 1250).reshape(2, 2, 12, 1250)
    for name, changes in options.items():
        architecture = {key: weights.SMALL[key] for key in architecture_keys("pretraining")}
        architecture |= {key: changes.pop(key) for key in list(changes) if key in architecture_keys("pretraining")}
        if outcome[name] == "ok":
            row = ecgfm.Trainer(architecture, loss=LOSS, **{"num_negatives": 10} | changes).step(x)
            assert row["applied"] and np.isfinite(row["loss"]), name
        else:
            with pytest.raises(ecgfm.ConfigError) as error:
                ecgfm.Trainer(architecture, loss=LOSS, **changes)
            assert error.value.field in {**options[name], "final_dim": 0, "num_negatives": 0}, name

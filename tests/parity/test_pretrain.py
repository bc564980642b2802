"""Pretraining against the reference data: every part of the loss, codes, gradients, ten updates, options, validation."""

import numpy as np
import pytest
from golden import arrays, checkpoint, load_json

import ecgfm

ATOL_ZERO = 1e-5  # of gradients that are 0 in exact arithmetic
ATOL_PARAMETERS = 5e-5
PARTS = {"loss_0": "contrastive", "loss_1": "diversity", "loss_2": "penalty", "loss_3": "cmsc"}
OPTIONS = {
    "padded": {},
    "target_glu": {"target_glu": True},
    "cross_sample": {},
    "pre_ln": {"layer_norm_first": True},
    "latent_dim_16": {"latent_dim": 16},
    "mask_normal": {},
}


@pytest.fixture(scope="module")
def tiny(shared):
    return shared / "golden/tiny"


@pytest.fixture(scope="module")
def recorded(tiny):
    return load_json(tiny / "pretrain_step.json"), arrays(tiny / "pretrain_step.npz", "")


def core_trainer(tiny, feature_grad_mult, changes=(), changed=()):
    """The kernel's trainer with the weights of the tiny pretraining checkpoint, or of those of `changed`."""
    config, params = checkpoint(tiny / "pretrained.pt")
    config, params = config | dict(changes), params | dict(changed)
    trainer = ecgfm._core.Trainer(config, {"feature_grad_mult": feature_grad_mult}, "pretraining")
    for name, values in trainer.arrays("parameters").items():
        values[...] = params[name]
    return trainer


def run(trainer, data, prefix, x, patients, segments, *, updates=0, backward=True, mask=None):
    """One forward, and backward, of a recorded batch with its recorded noise."""
    steps = data[prefix + "mask_indices"]
    rows = int(steps.sum())
    gumbel = data.get(prefix + "gumbel")
    return trainer.pretrain(
        x,
        steps,
        np.ascontiguousarray(data[prefix + "neg_idxs"].reshape(rows, -1)),
        {"temp": max(2 * 0.999995**updates, 0.5)},
        gumbel=None if gumbel is None else gumbel.reshape(rows, -1),
        ids=patients.astype(np.int64),
        second=segments.astype(bool),
        valid=None if mask is None else (~mask[:, 0]).sum(axis=1),
        backward=backward,
    )


def compare_log(found, log, rel=2e-6):
    total = sum(found[name] for name in PARTS.values())
    assert total == pytest.approx(log["loss"], rel=rel)
    for key, name in PARTS.items():
        assert found[name] == pytest.approx(log[key], rel=rel), key
    assert found["rows"] == log["sample_size"] == log["count"]
    assert found["correct"] == log["correct"]
    for name in ("prob_perplexity", "code_perplexity"):
        assert found[name] == pytest.approx(log[name], rel=rel), name


def compare_gradients(found, stored):
    assert set(found) == set(stored)
    for name, expected in stored.items():
        if name.endswith("k_proj.bias"):
            assert np.abs(found[name]).max() <= ATOL_ZERO, name
            continue
        assert np.abs(found[name] - expected).max() <= 5e-5 * np.abs(expected).max(), name


def update(trainer, rows):
    return trainer.update(1e-3, 0.9, 0.98, 1e-6, 0.01, rows)


def compare_logits(found, recorded):
    """Recorded as (1 + negatives, B, masked steps); -inf in the same places."""
    expected = recorded.reshape(len(recorded), -1).T
    np.testing.assert_array_equal(np.isinf(found), np.isinf(expected))
    finite = np.isfinite(expected)
    np.testing.assert_allclose(found[finite], expected[finite], rtol=0, atol=5e-5)


# ---- one step -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("multiplier", ["0", "0.1", "1"])
def test_losses_codes_and_gradients(tiny, recorded, multiplier):
    figures, data = recorded
    figures = figures[f"grad_fgm{multiplier}"]
    trainer = core_trainer(tiny, float(multiplier))
    x = data["u0/source_after_lead_mask"]
    found = run(trainer, data, "u0/", x, data["batch0/patient_id"], data["batch0/segment"])
    compare_log(found, figures["log"])
    np.testing.assert_array_equal(found["codes"].ravel(), data["u0/codes"])
    compare_logits(found["logits"], data["u0/contrastive_logits_NxBxT"])
    prefix = f"grad_fgm{multiplier}/"
    compare_gradients(
        trainer.arrays("gradients"),
        {name.removeprefix(prefix): values for name, values in data.items() if name.startswith(prefix)},
    )
    gnorm, applied = update(trainer, found["rows"])
    assert applied and gnorm == pytest.approx(figures["gnorm_of_mean_grads"], rel=1e-5)


def test_ten_updates(tiny, recorded):
    figures, data = recorded
    columns = figures["trajectory"]["columns"]
    trainer = core_trainer(tiny, 0.1)
    start = {name: values.copy() for name, values in trainer.arrays("parameters").items()}
    for u, line in enumerate(data["trajectory"]):
        batch, log = f"batch{u % 2}/", dict(zip(columns, line))
        x = data[batch + "source_unmasked"] * data[f"u{u}/lead_kept"][..., None]
        found = run(trainer, data, f"u{u}/", x, data[batch + "patient_id"], data[batch + "segment"], updates=u)
        compare_log(found, log)
        assert log["temp"] == pytest.approx(max(2 * 0.999995**u, 0.5), rel=1e-9)
        np.testing.assert_array_equal(found["codes"].ravel(), data[f"u{u}/codes"])
        gnorm, _ = update(trainer, found["rows"])
        assert gnorm == pytest.approx(log["gnorm"], rel=2e-5)
        if u in (0, 9):
            compare_parameters(trainer, start, data, f"params_after_{u + 1}/", u + 1)


def compare_parameters(trainer, start, data, prefix, updates):
    found = trainer.arrays("parameters")
    assert {name.removeprefix(prefix) for name in data if name.startswith(prefix)} == set(found)
    for name, got in found.items():
        if name.endswith("k_proj.bias"):  # rounding noise that Adam makes a step of
            assert np.abs(got - start[name]).max() <= 1.2e-3 * updates, name
        else:
            np.testing.assert_allclose(got, data[prefix + name], rtol=0, atol=ATOL_PARAMETERS, err_msg=name)


def test_validation(tiny, recorded):
    """No noise, but masked steps; nothing of the trainer changes."""
    figures, data = recorded
    trainer = core_trainer(tiny, 0.1)
    ids = data["batch1/patient_id"], data["batch1/segment"]
    np.testing.assert_array_equal(data["eval/source"], data["batch1/source_unmasked"] * data["u1/lead_kept"][..., None])
    found = run(trainer, data, "eval/", data["eval/source"], *ids, backward=False)
    compare_log(found, figures["eval_log"])
    assert all(not values.any() for values in trainer.arrays("gradients").values())


@pytest.mark.parametrize("case", OPTIONS)
def test_options(tiny, recorded, case):
    figures = load_json(tiny / "pretrain_options.json")
    assert set(figures) == set(OPTIONS)
    data = arrays(tiny / "pretrain_options.npz", case + "/")
    changed = {name.removeprefix("params/"): values for name, values in data.items() if name.startswith("params/")}
    trainer = core_trainer(tiny, 1.0, OPTIONS[case], changed)
    ids = recorded[1]["batch0/patient_id"], recorded[1]["batch0/segment"]
    found = run(trainer, data, "", data["source"], *ids, mask=data.get("padding_mask"))
    compare_log(found, figures[case]["log"])
    np.testing.assert_array_equal(found["codes"].ravel(), data["codes"])
    compare_logits(found["logits"], data["contrastive_logits_NxBxT"])
    stored = {name.removeprefix("grad/"): values for name, values in data.items() if name.startswith("grad/")}
    compare_gradients(trainer.arrays("gradients"), stored)

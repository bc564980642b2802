"""Masks and perturbations against the reference data: every case, and the generator's next number."""

import numpy as np
import pytest
from golden import load_json

from ecgfm.ecg import augment
from ecgfm.training import compute_mask_indices

MASK_CASES = 17
SEEDS = (100, 101, 102)
PERTURBATIONS = {  # case -> function
    "random_leads_masking": augment.random_leads_masking,
    "random_leads_masking_p0.4": augment.random_leads_masking,
    "powerline_noise": augment.powerline_noise,
    "emg_noise": augment.emg_noise,
    "emg_noise_nodep": augment.emg_noise,
    "baseline_shift": augment.baseline_shift,
    "baseline_wander": augment.baseline_wander,
}


@pytest.fixture(scope="module")
def recorded(shared):
    with np.load(shared / "golden/masks.npz") as archive:
        return load_json(shared / "golden/masks.json"), dict(archive)


def test_all_cases_are_compared(recorded):
    figures, _ = recorded
    assert len(figures["mask_cases"]) == MASK_CASES
    assert {name for name, case in figures["aug"].items() if isinstance(case, dict)} == set(PERTURBATIONS)


@pytest.mark.parametrize("number", range(MASK_CASES))
@pytest.mark.parametrize("of_module", [False, True], ids=["RandomState", "numpy.random"])
def test_masks(recorded, number, of_module):
    """Two calls in a row, then the generator's next number; also with NumPy's global generator."""
    figures, data = recorded
    case = figures["mask_cases"][number]
    rows, steps = case["shape"]
    names = ("mask_prob", "mask_length", "mask_type", "mask_other", "min_masks", "no_overlap", "min_space")
    padding = None
    if case["pad"] is not None:
        padding = np.arange(steps) >= steps - np.array(case["pad"])[:, None]
    rng, before = np.random.RandomState(case["seed"]), np.random.get_state()
    try:
        if of_module:
            np.random.seed(case["seed"])
            rng = np.random
        for call in ("first", "second_call"):
            found = compute_mask_indices((rows, steps), padding, *(case[name] for name in names), rng=rng)
            np.testing.assert_array_equal(found, data[f"mask{number}/{call}"])
            if call == "first":
                assert found.sum(axis=1).tolist() == case["masked_per_row"]
        assert rng.rand() == case["np_random_after"]
    finally:
        np.random.set_state(before)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("case", PERTURBATIONS)
def test_perturbations(recorded, case, seed):
    figures, data = recorded
    rng = np.random.RandomState(seed)
    found = PERTURBATIONS[case](data["aug/input"], **figures["aug"][case], rng=rng)
    expected = data[f"aug/{case}/seed{seed}"]
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=0, atol=0 if "masking" in case else 1e-6)
    assert rng.rand() == data[f"aug/{case}/seed{seed}_next_rand"]

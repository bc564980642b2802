"""prepare and resample against what the reference's tutorial and pipeline computed."""

import numpy as np
import pytest

import ecgfm
from ecgfm import LEADS, prepare, read
from ecgfm.ecg import resample

pytest.importorskip("scipy", reason="the recordings are .mat files: extra [io]")

# The reference rounds to float32 at the end, as we do: half a unit in the last place at values up to 8 is 2.4e-7, and
# a value may fall to the other side.
ATOL = 1e-6
CASES = ("rate250", "rate400", "rate1000", "rate500", "rate360", "rate257", "constant", "perm")


def stems(shared):
    return sorted(path.stem for path in (shared / "code_15/org").glob("*.mat"))


def test_ten_recordings_give_fourteen_segments(shared):
    expected = np.load(shared / "golden/tutorial/prepared_code15.npz")
    assert sorted(expected.files) == stems(shared)
    found = {stem: prepare(read(shared / "code_15/org" / f"{stem}.mat")) for stem in stems(shared)}
    assert sum(map(len, found.values())) == 14
    for stem, segments in found.items():
        assert segments.x.shape == expected[stem].shape and segments.x.dtype == np.float32
        np.testing.assert_allclose(segments.x, expected[stem], atol=ATOL, rtol=0)
        assert segments.start_s.tolist() == [5.0 * i for i in range(len(segments))]
        assert segments.provenance["sampling_rate"] == 400 and segments.provenance["constant_leads"] == []


def test_all_three_stages_give_the_same_segments(shared):
    """The later stages are standardised without the tutorial's epsilon, which is worth 1.3e-6 on these."""
    expected = np.load(shared / "golden/tutorial/prepared_code15.npz")
    for stem in stems(shared):
        whole = prepare(read(shared / "code_15/preprocessed" / f"{stem}.mat"))
        np.testing.assert_allclose(whole.x, expected[stem], atol=2e-6, rtol=0)
        for i, segment in enumerate(whole.x):
            one = prepare(read(shared / "code_15/segmented" / f"{stem}_{i}.mat"))
            assert len(one) == 1 and one.start_s.tolist() == [5.0 * i]
            assert np.array_equal(one.x[0], segment)
            assert one.provenance["notes"] == ["standardised in the file"]
        assert not (shared / "code_15/segmented" / f"{stem}_{len(whole)}.mat").exists()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("make", ["array", "float64", "record"])
def test_other_rates_constant_leads_and_permuted_leads(shared, case, make):
    golden = np.load(shared / "golden/tutorial/prepared_synthetic.npz")
    x, rate, expected = golden[f"{case}_in"], int(golden[f"{case}_sr"]), golden[f"{case}_out"]
    leads = golden[f"{case}_leads"].tolist() if f"{case}_leads" in golden.files else list(LEADS)
    before = x.copy()
    if make == "record":
        found = prepare(ecgfm.Record(x, rate, leads))
    else:
        found = prepare(x.astype(np.float64) if make == "float64" else x, sampling_rate=rate, leads=leads)
    assert found.x.shape == expected.shape and np.array_equal(x, before)
    np.testing.assert_allclose(found.x, expected, atol=ATOL, rtol=0)
    constant = [name for name, lead in zip(LEADS, expected.transpose(1, 0, 2)) if not lead.any()]
    assert found.provenance["constant_leads"] == constant and bool(constant) == (case == "constant")


def test_every_case_is_run(shared):
    golden = np.load(shared / "golden/tutorial/prepared_synthetic.npz")
    assert {name.rsplit("_", 1)[0] for name in golden.files} == set(CASES)


@pytest.mark.parametrize("i", range(6))
def test_resampling(shared, i):
    golden = np.load(shared / "golden/data/preprocess_units.npz")
    x, expected = golden[f"resample{i}/in"], golden[f"resample{i}/out"]
    rate, new_rate = golden[f"resample{i}/rates"].tolist()
    found = resample(x, rate, new_rate)
    assert found.dtype == np.float64 and found.shape == expected.shape
    # The reference takes differences of float32 input in float32.
    np.testing.assert_allclose(found, expected, atol=1e-6 if x.dtype == np.float32 else 1e-11, rtol=0)


def test_reordering(shared):
    golden = np.load(shared / "golden/data/preprocess_units.npz")
    names, x, expected = golden["reorder/names"].tolist(), golden["reorder/in"], golden["reorder/out"]
    rows = [ecgfm.ecg.canonical_leads(names).index(name) for name in LEADS]
    assert np.array_equal(x[rows], expected)
    repeated = np.tile(x, 9)  # long enough for a segment; standardising takes the same mean and deviation
    found = prepare(repeated, sampling_rate=500, leads=names).x[0, :, : x.shape[1]]
    centred = expected - expected.mean(axis=1, keepdims=True)
    deviation = expected.std(axis=1, keepdims=True)
    varies = deviation[:, 0] > 0
    np.testing.assert_allclose(found[varies], (centred / np.where(deviation > 0, deviation, 1))[varies], atol=1e-6)
    assert varies.sum() >= 10 and not found[~varies].any()


def test_constant_leads(shared):
    """Against the pipeline's strategy "zero"; it adds no epsilon."""
    golden = np.load(shared / "golden/data/preprocess_units.npz")
    x, expected = golden["const/in"], golden["const/zero"]
    found = prepare(np.tile(x, 9), sampling_rate=500)
    np.testing.assert_allclose(found.x[0, :, : x.shape[1]], expected, atol=1e-6)
    constant = [name for name, deviation in zip(LEADS, golden["const/std"][:, 0]) if deviation == 0]
    assert found.provenance["constant_leads"] == constant

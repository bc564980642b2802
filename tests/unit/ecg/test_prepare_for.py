"""Recordings prepared for models that take something else than ECG-FM: against computations of their own."""

import numpy as np
import pytest
import weights

import ecgfm
from ecgfm import ConfigError, InputSpec, LeadError, SignalError

DEEPECG = InputSpec(sampling_rate=250, normalisation="none", resampling="decimate")
RNG = np.random.default_rng(31)
RAW = RNG.normal(0, 0.3, (12, 12_003)).cumsum(axis=1).astype(np.float32) / 50  # 24 s at 500 Hz


def record(signal=RAW, rate=500, **more):
    return ecgfm.Record(signal.copy(), rate, ecgfm.LEADS, **more)


def linear(lead, samples):
    """The samples placed evenly on the new ones, the first and the last kept."""
    return np.interp(np.linspace(0, len(lead) - 1, samples), np.arange(len(lead)), lead)


def blocks(x, samples):
    """(n, L, samples) of (L, N), the rest left out."""
    return np.stack([x[:, i : i + samples] for i in range(0, x.shape[1] - samples + 1, samples)]).astype(np.float32)


def test_the_default_is_the_same_to_the_bit_however_it_is_said():
    model = ecgfm.Model.from_state_dict(weights.SMALL, weights.weights(weights.parameters(weights.SMALL)))
    plain = ecgfm.prepare(record())
    for one in (model, InputSpec()):
        same = ecgfm.prepare(record(), one)
        assert same.x.tobytes() == plain.x.tobytes() and same.provenance == plain.provenance
    for one in (ecgfm.prepare(RAW, 500), ecgfm.prepare(RAW, sampling_rate=500), ecgfm.prepare(RAW, model=500)):
        assert one.x.tobytes() == plain.x.tobytes()
    assert ecgfm.prepare(RAW, model, sampling_rate=500).x.tobytes() == plain.x.tobytes()
    assert plain.input == InputSpec() and plain.profile == "tutorial"


def test_every_second_sample_in_millivolts():
    found = ecgfm.prepare(record(), DEEPECG)
    assert found.x.shape == (2, 12, 2500) and found.start_s.tolist() == [0, 10] and found.input == DEEPECG
    np.testing.assert_array_equal(found.x, blocks(RAW[:, ::2], 2500))
    assert found.provenance["resampled"] and found.provenance["unused_s"] == pytest.approx(4.008)


def test_linear_between_rates_of_which_none_is_a_multiple():
    found = ecgfm.prepare(record(rate=400), DEEPECG)
    x = np.stack([linear(lead.astype(float), int(12_003 * 250 / 400)) for lead in RAW])
    np.testing.assert_allclose(found.x, blocks(x, 2500), rtol=0, atol=2e-7)
    assert "400 Hz is no multiple of the model's 250 Hz: resampled linearly" in found.provenance["notes"]
    slower = ecgfm.prepare(record(rate=100), DEEPECG)
    assert len(slower.x) == 12 and any("100 Hz is no multiple" in note for note in slower.provenance["notes"])


def test_its_own_rate_is_taken_as_it_is():
    found = ecgfm.prepare(record(rate=250), DEEPECG)
    np.testing.assert_array_equal(found.x, blocks(RAW, 2500))
    assert not found.provenance["resampled"] and found.provenance["notes"] == []


@pytest.mark.parametrize("unit, factor", [("uV", 1000.0), ("V", 1e-3), ("mV", 1.0)])
def test_units(unit, factor):
    spec = DEEPECG.replaced(unit=unit)
    np.testing.assert_allclose(ecgfm.prepare(record(), spec).x, blocks(RAW[:, ::2] * factor, 2500), rtol=1e-6)
    given = ecgfm.prepare(RAW * 1000, spec, sampling_rate=500, unit="uV")
    np.testing.assert_allclose(given.x, blocks(RAW[:, ::2] * factor, 2500), rtol=1e-5, atol=1e-5 * factor)


def test_each_segment_standardised():
    flat = RAW.copy()
    flat[3, :2500] = 0.25
    found = ecgfm.prepare(record(flat), InputSpec(normalisation="segment"))
    parts = blocks(flat, 2500).astype(np.float64)
    wanted = (parts - parts.mean(axis=2, keepdims=True)) / (parts.std(axis=2, keepdims=True) + 1e-8)
    wanted[0, 3] = 0
    np.testing.assert_allclose(found.x, wanted, rtol=0, atol=1e-5)
    again = ecgfm.prepare(record(flat), InputSpec(normalisation="segment"), overlap_s=2.5)
    np.testing.assert_array_equal(again.x[::2], found.x)


def test_leads_in_another_order_and_fewer():
    spec = DEEPECG.replaced(leads=("V6", "aVF", "I"))
    lacking = ecgfm.Record(RAW[[0, 1, 11]], 500, ("I", "II", "V6"))
    found = ecgfm.prepare(lacking, spec)
    assert found.x.shape == (2, 3, 2500) and found.provenance["derived_leads"] == ["aVF"]
    np.testing.assert_array_equal(found.x[:, 0], blocks(RAW[[11], ::2], 2500)[:, 0])
    np.testing.assert_allclose(found.x[:, 1], blocks((RAW[[1]] - RAW[[0]] / 2)[:, ::2], 2500)[:, 0], atol=1e-6)
    assert not ecgfm.prepare(record(), spec, only_leads="I").x[:, :2].any()
    with pytest.raises(LeadError, match="Choose from V6, aVF, I"):
        ecgfm.prepare(record(), spec, only_leads="II")
    with pytest.raises(LeadError, match="leads missing: V6"):
        ecgfm.prepare(ecgfm.Record(RAW[:2], 500, ("I", "II")), spec)


def test_long_ones_are_cropped_and_short_ones_padded_if_it_says_so():
    spec = DEEPECG.replaced(long="crop", short="pad")
    assert ecgfm.prepare(record(), spec).x.shape == (1, 12, 2500)
    found = ecgfm.prepare(record(RAW[:, :3000]), spec)
    np.testing.assert_array_equal(found.x[0, :, :1500], RAW[:, :3000:2])
    assert not found.x[0, :, 1500:].any() and found.padding_mask.sum() == 1000 and found.provenance["padded_s"] == 4
    with pytest.raises(SignalError, match="the model needs 10 s"):
        ecgfm.prepare(record(RAW[:, :3000]), spec, short="error")
    with pytest.raises(SignalError, match="at least 1 s are padded to 10 s"):
        ecgfm.prepare(record(RAW[:, :400]), spec)


def test_the_pipelines_arithmetic():
    spec = InputSpec(profile="pipeline")
    for given in (record(), record(rate=333), ecgfm.Record(RAW[[0, 1, *range(6, 12)]], 400, _EIGHT)):
        options = ecgfm.data.Options()
        made = ecgfm.data.prepare_recording(given.signal, given.sampling_rate, given.leads, options)
        found = ecgfm.prepare(given, spec)
        np.testing.assert_array_equal(found.x, ecgfm.data.cut(made.x.T, 2500))
        assert found.profile == "pipeline" and found.x.tobytes() != ecgfm.prepare(given).x.tobytes()


_EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")


def test_overlap_goes_by_the_length_of_its_segments():
    assert ecgfm.prepare(record(), DEEPECG, overlap_s=5).start_s.tolist() == [0, 5, 10]
    assert len(ecgfm.prepare(record(), DEEPECG, overlap_s=9.9).x) == 141
    with pytest.raises(ConfigError, match=r"from 0 to 9\.9"):
        ecgfm.prepare(record(), DEEPECG, overlap_s=9.95)


def test_long_recordings_in_blocks_are_the_same():
    long = np.tile(RAW, (1, 40))  # 16 minutes: more than a block
    np.testing.assert_array_equal(ecgfm.prepare(record(long), DEEPECG).x, blocks(long[:, ::2], 2500))
    spec = DEEPECG.replaced(normalisation="segment", resampling="linear", samples=1000)
    parts = blocks(np.stack([linear(one.astype(float), long.shape[1] // 2) for one in long]), 1000).astype(float)
    wanted = (parts - parts.mean(axis=2, keepdims=True)) / (parts.std(axis=2, keepdims=True) + 1e-8)
    np.testing.assert_allclose(ecgfm.prepare(record(long), spec).x, wanted, atol=2e-4)


# ---- what contradicts it ---------------------------------------------------------------------------


def test_a_standardised_recording_is_no_recording_in_millivolts():
    with pytest.raises(SignalError, match="its leads are standardised, and the model takes mV"):
        ecgfm.prepare(record(standardised=True), DEEPECG)


def test_leads_that_nobody_named():
    with pytest.raises(ConfigError, match="nothing says which leads the model takes"):
        ecgfm.prepare(record(), InputSpec(leads=None))


def test_what_is_neither_model_nor_rate():
    for wrong in ("500 Hz", True, object(), {"sampling_rate": 500}):
        with pytest.raises(SignalError, match="is not a number from 50"):
            ecgfm.prepare(RAW, wrong)
    with pytest.raises(SignalError, match="given twice"):
        ecgfm.prepare(RAW, 500, sampling_rate=500)
    with pytest.raises(SignalError, match="a Record has its own"):
        ecgfm.prepare(record(), DEEPECG, sampling_rate=500)


def test_values_that_are_infinite_in_its_unit():
    huge = RAW.astype(np.float64)
    huge[4, 7] = 1e37
    with pytest.raises(SignalError, match="too large") as error:
        ecgfm.prepare(huge, DEEPECG.replaced(unit="uV"), sampling_rate=500)
    assert "aVL" in error.value.field

"""Segments against what a model takes: what is declared otherwise is refused, what evidently differs is said once."""

import os
import time
import warnings

import numpy as np
import pytest
import weights

import ecgfm
from ecgfm import InputSpec, InputWarning, SignalError
from ecgfm.ecg.expected import odd_about, unprepared

DEEPECG = InputSpec(sampling_rate=250, normalisation="none", resampling="decimate")


def raw(seed=0, seconds=10, rate=250):
    return ecgfm.ecg.SimulatedPatient(seed).record(seconds, rate).signal


def model_of(spec):
    return ecgfm.Model.from_state_dict(weights.SMALL, weights.weights(weights.parameters(weights.SMALL)), input=spec)


def said(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [one for one in caught if issubclass(one.category, InputWarning)]


# ---- what came -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_millivolts_are_right_where_they_are_wanted(seed):
    assert unprepared(raw(seed)[None], DEEPECG) is None
    assert (
        unprepared(np.asarray(ecgfm.prepare(ecgfm.ecg.SimulatedPatient(seed).record(10, 500), DEEPECG)), DEEPECG)
        is None
    )


@pytest.mark.parametrize("factor, what", [(1000, "range over"), (1e-3, "range over"), (200, "range over"), (5, None)])
def test_other_units_are_noticed_by_their_range(factor, what):
    found = unprepared(raw()[None] * factor, DEEPECG)
    assert found is None if what is None else what in found and found.endswith(" mV")
    micro = DEEPECG.replaced(unit="uV")
    assert unprepared(raw()[None] * 1000, micro) is None
    assert "uV" in unprepared(raw()[None], micro) and "uV" in unprepared(raw()[None] * 1e6, micro)


def test_standardised_leads_are_noticed_where_millivolts_are_wanted():
    x = np.asarray(
        ecgfm.prepare(ecgfm.ecg.SimulatedPatient(1).record(10, 250), DEEPECG.replaced(normalisation="recording"))
    )
    assert unprepared(x, DEEPECG) == "leads that are standardised"
    noise = np.random.default_rng(0).normal(0, 1, (5, 12, 2500)).astype(np.float32)
    assert unprepared(noise, DEEPECG) is None  # by chance not far from it, and in millivolts not impossible
    assert unprepared(x, DEEPECG.replaced(normalisation="recording")) is None


@pytest.mark.parametrize("normalisation", ["recording", "segment"])
def test_standard_deviation_and_mean(normalisation):
    spec = InputSpec(normalisation=normalisation)
    x = np.random.default_rng(0).normal(0, 1, (3, 12, 2500))
    assert unprepared(x, spec) is None
    assert set(odd_about(x * 3.1, spec)) == set(odd_about(x * 0.29, spec)) == {"scale"}
    assert odd_about(x * 2.9, spec) == odd_about(x * 0.31, spec) == {}
    assert set(odd_about(x + 1.1, spec)) == set(odd_about(x - 1.1, spec)) == {"mean"}
    assert set(odd_about(x[:, :, :2000] * 9 + 99, spec)) == {"length", "scale", "mean"}
    x[:, 1:] = 0  # leads that are zero don't count
    assert unprepared(x, spec) is None


def test_a_lead_order_of_its_own_is_not_judged_by_einthoven():
    x = raw(rate=500, seconds=5)[None] * 6  # millivolts made loud enough
    assert "one unit" in odd_about(x) or "scale" in odd_about(x)
    assert "one unit" not in odd_about(x, InputSpec(leads=ecgfm.LEADS[::-1]))


# ---- a model says it -------------------------------------------------------------------------------


def test_once_per_model_and_cause():
    model = model_of(DEEPECG)
    first = said(lambda: model(raw()[None] * 1000))
    assert len(first) == 1 and first[0].filename == __file__
    text = str(first[0].message)
    assert "2500 samples (10 s at 250 Hz), in mV, not standardised" in text
    assert text.endswith("x = ecgfm.prepare(record, model)")
    assert said(lambda: model(raw(3)[None] * 1000)) == []
    length = said(lambda: model(raw()[None, :, :2000] * 1000))
    assert len(length) == 1 and "2000 samples." in str(length[0].message) and "range" not in str(length[0].message)
    assert said(lambda: model(raw()[None, :, :1000])) == []
    assert len(said(lambda: model_of(DEEPECG)(raw()[None] * 1000))) == 1


def test_nothing_is_said_of_what_it_prepared_itself():
    model = model_of(DEEPECG)
    record = ecgfm.Record(raw(rate=500), 500, ecgfm.LEADS)
    quiet = ecgfm.Record(raw(rate=500) * 1e-3, 500, ecgfm.LEADS)  # doubtful, but what the recording says
    for call in (lambda: model(ecgfm.prepare(record, model)), lambda: ecgfm.predict(model, [record, quiet])):
        assert said(call) == []


@pytest.mark.parametrize("spec, wrong", [
    (InputSpec(), "500 Hz instead of 250 Hz; each lead standardised over its recording instead of not standardised"),
    (DEEPECG.replaced(unit="uV"), "in uV instead of mV"),
    (DEEPECG.replaced(sampling_rate=500), "500 Hz instead of 250 Hz"),
    (DEEPECG.replaced(leads=ecgfm.LEADS[::-1]), "leads V6, V5"),
])  # fmt: skip
def test_what_says_that_it_was_prepared_for_another_model_is_refused(spec, wrong):
    model, record = model_of(DEEPECG), ecgfm.Record(raw(rate=500, seconds=20), 500, ecgfm.LEADS)
    segments = ecgfm.prepare(record, spec)
    y = np.zeros((len(segments), 17))
    calls = {
        "model": lambda: model(segments),
        "predict": lambda: ecgfm.predict(model, [segments]),
        "embed": lambda: ecgfm.embed(model, segments),
        "finetune": lambda: ecgfm.finetune(model, [segments], y, epochs=1),
        "trainer": lambda: ecgfm.Trainer(model).step(segments, y),
        "report": lambda: ecgfm.quantization_report(model, segments),
    }
    for call in calls.values():
        with pytest.raises(SignalError) as error:
            call()
        assert wrong in str(error.value) and "ecgfm.prepare(record, model)" in str(error.value)


def test_what_differs_only_in_length_is_said():
    model = model_of(DEEPECG)
    segments = ecgfm.prepare(raw(rate=500), DEEPECG.replaced(samples=1250, short="pad"), sampling_rate=500)
    found = said(lambda: model(segments))
    assert len(found) == 1 and "what came has 1250 samples." in str(found[0].message)


def test_training_says_it_once():
    x, y = raw(seconds=10)[None].repeat(4, axis=0) * 1000, np.eye(4, 17)
    found = said(lambda: ecgfm.finetune(model_of(DEEPECG), x, y, epochs=2, groups=range(4)))
    texts = [str(one.message) for one in found if "expects prepared segments" in str(one.message)]
    assert len(texts) == 1 and texts[0].startswith("training expects") and "in mV, not standardised" in texts[0]


def test_looking_at_a_batch_takes_little():
    """Below a hundredth of a forward of ECG-FM's size, in processor time; ten times that is the bound."""
    x = np.random.default_rng(0).normal(0, 1, (64, 12, 2500)).astype(np.float32)
    odd_about(x)
    begin = time.process_time()
    for _ in range(5):
        odd_about(x)
    took = (time.process_time() - begin) / 5
    assert took < 0.25, took  # a forward of 64 segments of the base model takes 10 s of one processor


def test_real_recordings(shared):
    """Nothing is said of real recordings in millivolts, nor of them prepared; in microvolts they are noticed."""
    folder, count, noticed, clean = shared / "real" / "ptbxl" / "records100", 0, 0, 0
    for place, _, names in sorted(os.walk(folder)):
        for name in sorted(name for name in names if name.endswith(".hea"))[:10]:
            record = ecgfm.read(os.path.join(place, name))
            x = np.asarray(ecgfm.prepare(record, DEEPECG))
            clean += unprepared(x, DEEPECG) is None
            noticed += unprepared(x * 1000, DEEPECG) is not None
            count += 1
    assert count >= 10 and clean == noticed == count

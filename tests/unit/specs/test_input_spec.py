"""The input specification itself: its limits, its texts, and what is made of what a user gives."""

import dataclasses
import json

import numpy as np
import pytest

import ecgfm
from ecgfm.specs.inputs import ECG_FM, parsed


def test_the_default_is_what_ecg_fm_takes():
    spec = ecgfm.InputSpec()
    assert spec == ECG_FM == ecgfm.InputSpec(sampling_rate=500, samples=2500, leads=ecgfm.LEADS, unit="mV")
    assert (spec.normalisation, spec.resampling, spec.long) == ("recording", "linear", "segments")
    assert (spec.short, spec.profile, spec.duration_s) == ("error", "tutorial", 5.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.samples = 1


@pytest.mark.parametrize(
    "spec",
    [
        ecgfm.InputSpec(),
        ecgfm.InputSpec(sampling_rate=333.5, samples=1, leads="v6, ii", unit="uV", normalisation="none"),
        ecgfm.InputSpec(leads=None, resampling="decimate", long="crop", short="pad", profile="pipeline"),
    ],
)
def test_there_and_back(spec):
    said = json.loads(json.dumps(spec.to_dict()))
    assert ecgfm.InputSpec.from_dict(said) == spec
    assert all(getattr(spec, name) == value for name, value in said.items() if name != "leads")


def test_leads_are_spelt_as_usual_and_keep_their_order():
    assert ecgfm.InputSpec(leads=["v1", "AVR", " i "]).leads == ("V1", "aVR", "I")
    assert ecgfm.InputSpec(leads=np.array(["II", "V6"])).leads == ("II", "V6")


@pytest.mark.parametrize(
    "given, message, field",
    [
        ({"normalisation": "min-max"}, "min-max (each segment scaled to 0 ... 1", "normalisation"),
        ({"normalisation": "MinMax"}, "is known but not computed", "normalisation"),
        ({"normalisation": "recordin"}, "Did you mean recording?", "normalisation"),
        ({"normalization": "none"}, "Did you mean normalisation?", "normalization"),
        ({"leads": ["I", "i"]}, "each once", "leads"),
        ({"leads": ["I", "V7"]}, "each once", "leads"),
        ({"leads": []}, "each once", "leads"),
        ({"sampling_rate": 0}, "from 50 to 100000", "sampling_rate"),
        ({"sampling_rate": True}, "from 50 to 100000", "sampling_rate"),
        ({"samples": 0}, "from 1 to 1000000", "samples"),
        ({"samples": 2500.0}, "from 1 to 1000000", "samples"),
        ({"unit": "mm"}, "'mV', 'uV', 'V'", "unit"),
    ],
)
def test_what_is_not_allowed_is_refused_by_name(given, message, field):
    for call in (ecgfm.InputSpec.from_dict, lambda said: parsed(said)):
        with pytest.raises(ecgfm.ConfigError) as error:
            call(given)
        assert message in str(error.value) and error.value.field.endswith(field)


def test_a_text_of_fields():
    found = parsed(" sampling_rate=250, leads=I, II,v1,normalisation=none")
    spec = ecgfm.InputSpec(sampling_rate=250, leads=("I", "II", "V1"), normalisation="none")
    assert found == (spec, ["sampling_rate", "leads", "normalisation"])
    base = ecgfm.InputSpec(unit="V")
    assert parsed("samples=10", base) == (ecgfm.InputSpec(unit="V", samples=10), ["samples"])
    assert parsed({}, base) == (base, []) and parsed(ECG_FM, base) == (ECG_FM, None)
    assert parsed(base.to_dict()) == (base, None)


@pytest.mark.parametrize("given", ["", "x", ",samples=1", "samples=1,samples=2", "samples=1.5", "a=1", 3, None, ["x"]])
def test_texts_that_say_nothing(given):
    with pytest.raises(ecgfm.ConfigError) as error:
        parsed(given)
    assert error.value.field.startswith("input")


def test_the_words_for_it():
    assert str(ECG_FM) == "12 leads, 2500 samples at 500 Hz (5 s), each lead standardised over its recording"
    other = ecgfm.InputSpec(sampling_rate=250, leads="I,II", unit="uV", normalisation="none", long="crop")
    assert str(other) == "leads I, II, 2500 samples at 250 Hz (10 s), in uV, not standardised, long crop"
    assert ECG_FM.differences(other) == [
        "500 Hz instead of 250 Hz",
        "each lead standardised over its recording instead of not standardised",
        "in mV instead of uV",
        f"leads {', '.join(ecgfm.LEADS)} instead of I, II",
    ]
    assert ECG_FM.differences(ecgfm.InputSpec(unit="uV", samples=5, short="pad")) == []

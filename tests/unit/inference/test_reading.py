"""How recordings are read is one object, which the public functions make of their explicit keywords."""

import inspect
from dataclasses import fields

import numpy as np
import pytest
from fakes import FakeModel

import ecgfm
from ecgfm import ConfigError, LeadError, SignalError
from ecgfm.ecg.choices import Choices
from ecgfm.inference import outcomes, predict_to
from ecgfm.inference.stream import Reading

# What the model takes comes from the model, not from a keyword.
NAMES = [field.name for field in fields(Reading) if field.init and field.name != "input"]
FUNCTIONS = (ecgfm.predict, ecgfm.embed, ecgfm.saliency, ecgfm.evaluate)
WRONG = (
    ({"batch_size": 0}, ConfigError, "batch_size"),
    ({"batch_size": True}, ConfigError, "batch_size"),
    ({"readers": -1}, ConfigError, "readers"),
    ({"sampling_rate": 10}, SignalError, "sampling_rate"),
    ({"leads": 7}, LeadError, "leads"),
    ({"missing_leads": "nan"}, ConfigError, "missing_leads"),
    ({"short": "cut"}, ConfigError, "short"),
    ({"only_leads": "V7"}, LeadError, "only_leads"),
    ({"overlap_s": 5}, ConfigError, "overlap_s"),
    ({"unit": "kV"}, SignalError, "unit"),
)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_each_keyword_stands_in_the_signature_with_the_same_default(function):
    known = inspect.signature(function).parameters
    assert not any(one.kind is one.VAR_KEYWORD for one in known.values())
    defaults = {name: getattr(Reading(), name) for name in NAMES}
    assert {name: known[name].default for name in NAMES} == defaults
    assert all(known[name].kind is known[name].KEYWORD_ONLY for name in NAMES)


def test_prepare_has_the_same_defaults():
    known = inspect.signature(ecgfm.prepare).parameters
    names = [field.name for field in fields(Choices) if field.init and field.name != "input"]
    assert [*known][:3] == ["record", "model", "leads"] and {*known} == {"record", "model", *names}
    assert {name: known[name].default for name in names} == {name: getattr(Choices(), name) for name in names}


@pytest.mark.parametrize("given, error, field", WRONG, ids=lambda value: str(value)[:30])
def test_a_wrong_one_is_found_before_any_recording_is_read(given, error, field, tmp_path):
    for run in (
        lambda: ecgfm.predict(FakeModel(), [], **given),
        lambda: ecgfm.embed(FakeModel(), [], **given),
        lambda: outcomes(FakeModel(), [], **given),
        lambda: predict_to(FakeModel(), [], tmp_path / "p.csv", **given),
    ):
        with pytest.raises(error) as caught:
            run()
        assert caught.value.field == field
    assert not list(tmp_path.iterdir())


def test_what_is_no_keyword_is_a_type_error(tmp_path):
    for run in (ecgfm.predict, ecgfm.embed, outcomes, lambda *a, **k: predict_to(*a, tmp_path / "p.csv", **k)):
        with pytest.raises(TypeError, match="overlap"):
            run(FakeModel(), [], overlap=1)


def test_the_keywords_reach_the_recordings():
    x = np.random.default_rng(0).normal(0, 0.4, (8, 4000)).astype(np.float32)
    names = "V6,V5,V4,V3,V2,V1,II,I"
    given = {"sampling_rate": 400, "leads": names, "overlap_s": 2.5, "unit": "uV", "batch_size": 1, "readers": 0}
    found = ecgfm.predict(FakeModel(), x, only_leads="I,aVR,V1", **given)
    assert len(found.segments) == 3
    told = found.provenance[0]
    assert told["derived_leads"] == ["aVR"] and len(told["zero_leads"]) == 9 and told["overlap_s"] == 2.5
    assert "unit assumed: mV" not in told["notes"]
    short = ecgfm.predict(
        FakeModel(), x[:7, :1200], sampling_rate=400, leads=names[:-2], short="pad", missing_leads="zero"
    )
    assert short.provenance[0]["zero_leads"] == ["I", "III", "aVR", "aVL", "aVF"]

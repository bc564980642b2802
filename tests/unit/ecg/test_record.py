"""Records and the spelling of lead names."""

import numpy as np
import pytest

from ecgfm import LEADS, LeadError, Record, SignalError
from ecgfm.ecg import canonical_lead, canonical_leads
from ecgfm.signal.checks import checked_rate, checked_signal


@pytest.mark.parametrize(
    "given, expected",
    [
        ("I", "I"),
        ("i", "I"),
        (" AVR ", "aVR"),
        ("avl", "aVL"),
        ("v6", "V6"),
        ("V 1", "V1"),
        ("lead ii", "II"),
        ("Lead I (Einthoven)", "I"),
        ("MDC_ECG_LEAD_V1", "V1"),
        ("MDC_ECG_LEAD_aVF", "aVF"),
        ("ECG III", "III"),
        ("ekg: V3", "V3"),
        ("DIII", "III"),
        ("vx", "VX"),
        ("-aVR", "-aVR"),
        ("MLII", "MLII"),
        ("V7", "V7"),
        ("", ""),
        ("IV", "IV"),
    ],
)
def test_spellings(given, expected):
    assert canonical_lead(given) == expected


def test_every_lead_in_every_case_is_itself():
    for name in LEADS:
        for spelled in (name, name.lower(), name.upper(), f"Lead {name}", f"lead_{name}", f"MDC_ECG_LEAD_{name}"):
            assert canonical_lead(spelled) == name
    assert len(set(LEADS)) == 12


def test_lists_of_names():
    assert canonical_leads("i, avr ,V1") == ("I", "aVR", "V1")
    assert canonical_leads(["X", "x"]) == ("X", "X")  # only the 12 must be unique
    with pytest.raises(LeadError, match="named more than once: II, V1"):
        canonical_leads(["I", "II", "ii", "V1", "v1"])
    with pytest.raises(LeadError, match="not a list of names"):
        canonical_leads(5)


@pytest.mark.parametrize("value", [500, 500.0, np.int64(500), np.float32(500), "500"])
def test_rates(value):
    assert checked_rate(value) == 500.0
    assert type(checked_rate(value)) is float


@pytest.mark.parametrize("value", [0, -500, 49.9, 100_001, np.nan, np.inf, None, "fast", True, [1, 2]])
def test_wrong_rates(value):
    with pytest.raises(SignalError) as caught:
        checked_rate(value, path="a.npy")
    assert caught.value.field == "sampling_rate" and caught.value.path == "a.npy"


@pytest.mark.parametrize(
    "array, words",
    [
        (np.zeros(5), "1 dimensions"),
        (np.zeros((1, 2, 3)), "3 dimensions"),
        (np.zeros((0, 5)), "empty"),
        (np.zeros((12, 0)), "empty"),
        (np.zeros((2, 2), complex), "complex"),
        (np.zeros((2, 2), bool), "bool"),
        (np.zeros((2, 2), object), "object"),
        (np.array([["a", "b"]]), "not real numbers"),
        (np.array([["2001-01-01"]], "datetime64[D]"), "datetime64"),
        (np.ma.array(np.zeros((2, 2)), mask=[[0, 1], [0, 0]]), "masked"),
        ([[1, 2], [3]], "not an array"),
        (None, "not real numbers"),
    ],
)
def test_wrong_signals(array, words):
    with pytest.raises(SignalError, match=words):
        checked_signal(array)


def test_a_signal_is_not_copied():
    array = np.zeros((3, 9), ">i2")[:, ::2]
    assert checked_signal(array) is array


def test_a_record():
    record = Record(np.arange(24).reshape(2, 12), "250", ["avr", "x"], source="a.npy")
    assert record.signal.dtype == np.float32 and record.signal.flags.c_contiguous
    assert record.leads == ("aVR", "X") and record.sampling_rate == 250.0
    assert record.samples == 12 and record.duration_s == 12 / 250
    assert "2 leads, 12 samples, 250 Hz, 0.05 s, source='a.npy'" in repr(record)


def test_a_record_of_float32_is_a_view():
    signal = np.zeros((1, 5), np.float32)
    assert Record(signal, 500, ["I"]).signal is signal


@pytest.mark.parametrize(
    "make", [lambda a: a.astype(">f8"), lambda a: np.asfortranarray(a), lambda a: a[:, ::-1][:, ::-1], lambda a: a[::2]]
)
def test_layouts(make):
    array = make(np.arange(40.0).reshape(4, 10))
    before = array.copy()
    record = Record(array, 500, LEADS[: len(array)])
    assert np.array_equal(record.signal, array) and np.array_equal(array, before)


def test_parts_that_contradict():
    with pytest.raises(LeadError, match="2 lead names for 3 rows") as caught:
        Record(np.zeros((3, 5)), 500, ["I", "II"], source="b.csv")
    assert caught.value.path == "b.csv"
    with pytest.raises(LeadError, match="more than once"):
        Record(np.zeros((2, 5)), 500, ["I", "i"])
    with pytest.raises(SignalError, match="sampling rate"):
        Record(np.zeros((2, 5)), 0, ["I", "II"])

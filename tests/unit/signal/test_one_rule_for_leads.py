"""One rule for missing leads, in `prepare` (and so in predict) and in preprocessing."""

import numpy as np
import pytest

from ecgfm import LEADS, Error, LeadError, Record, prepare
from ecgfm.data import Files, Options, prepare_recording, preprocess, reorder_leads
from ecgfm.signal.leads import DERIVED, find_leads

LIMB = list(DERIVED)


def recording(names, empty=()):
    x = np.random.default_rng(2).normal(0, 0.4, (len(names), 2500)).astype(np.float32)
    x[[names.index(name) for name in empty]] = np.nan
    return x


def without(*gone):
    return [name for name in LEADS if name not in gone]


CASES = {
    "all": (LEADS, ()),
    "another order and more": ((*LEADS[::-1], "VX", "V7"), ()),
    "limb leads are not there": (without(*LIMB), ()),
    "a limb lead of NaN": (LEADS, ("III",)),
    "all limb leads of NaN": (LEADS, LIMB),
    "a chest lead of NaN": (LEADS, ("V2",)),
    "a chest lead is not there": (without("V2"), ()),
    "II of NaN, III not there": (without("III"), ("II",)),
    "III and V4 of NaN": (LEADS, ("III", "V4")),
    "nothing but NaN": (LEADS, LEADS),
    "nothing but others": (("VX", "VY"), ()),
}


def served(x, names, missing):
    found = prepare(Record(x, 500, names), missing_leads=missing)
    told = found.provenance
    return found.x[0], told["derived_leads"], told["zero_leads"]


def preprocessed(x, names, missing):
    made = prepare_recording(x, 500, names, Options(missing_leads=missing))
    return made.x.T, made.derived, [name for name in LEADS if name not in made.available]


def outcome(function, *args):
    try:
        return function(*args)
    except LeadError as error:
        return error


@pytest.mark.parametrize("missing", ["error", "zero"])
@pytest.mark.parametrize("case", CASES)
def test_prepare_and_preprocess_take_the_same_leads(case, missing):
    names, empty = CASES[case]
    x = recording(list(names), empty)
    one, other = outcome(served, x, names, missing), outcome(preprocessed, x, names, missing)
    if isinstance(one, LeadError) or isinstance(other, LeadError):
        assert str(one) == str(other) and one.field == other.field == "leads"
        return
    assert one[1:] == other[1:]
    np.testing.assert_allclose(one[0], other[0], atol=1e-5)


def test_what_is_refused_says_which_and_why():
    for names, empty, words in (
        (LEADS, ("V2",), "leads missing: V2 .holding nothing but NaN."),
        (without("V1"), ("V2",), "leads missing: V1, V2 .holding nothing but NaN: V2."),
        (without("V1"), (), "leads missing: V1 .the recording has I, II"),
    ):
        for function in (served, preprocessed):
            with pytest.raises(LeadError, match=words):
                function(recording(list(names), empty), names, "error")


def test_a_lead_of_nan_is_calculated_in_preprocessing_too():
    x = recording(list(LEADS), ["aVR"])
    made = prepare_recording(x, 500, LEADS, Options())
    assert made.derived == ["aVR"] and made.available == list(LEADS)
    np.testing.assert_allclose(made.org[:, 3], -(x[0] + x[1]) / 2, atol=1e-7)


def test_the_scripts_own_way_looks_at_no_value():
    """``nan``, as ECG-FM's scripts do: nothing is calculated, and what the file names counts as there."""
    x = recording(list(LEADS), ["aVR", "V2"])
    made = prepare_recording(x, 500, LEADS, Options(missing_leads="nan"))
    assert made.available == list(LEADS) and not made.derived and np.isnan(made.org[:, [3, 7]]).all()
    found, available, derived = reorder_leads(x[:11], LEADS[:11])
    assert np.isnan(found[11]).all() and available == list(LEADS[:11]) and not derived


def test_a_standardised_recording_has_nothing_to_calculate_from():
    with pytest.raises(LeadError, match="leads missing: III"):
        find_leads(without("III"), can_derive=False)


def test_nor_has_one_that_is_preprocessed(tmp_path):
    """A file of the stage `preprocessed` that lacks a lead, as a recording of its own."""
    names = without("aVL")
    x = recording(names)
    with pytest.raises(LeadError, match="leads missing: aVL"):
        prepare(Record(x, 500, names, standardised=True))
    with pytest.raises(LeadError, match="leads missing: aVL"):
        prepare_recording(x, 500, names, standardised=True)

    def reader(row):
        return Record(x, 500, names, standardised=True)

    (tmp_path / "a.npy").write_bytes(b"")
    table = tmp_path / "t.csv"
    table.write_text("path\na.npy\n")
    with pytest.raises(Error, match="leads missing: aVL"):
        preprocess(Files(table, reader), tmp_path / "out", tmp_path, workers=1)


def test_the_leads_of_a_part():
    found = find_leads(["V1", "II", "I"], ["V1", "aVL"])
    assert (found.available, found.derived, found.filled) == (["V1", "aVL"], ("aVL",), ())
    assert sorted(found.read) == ["I", "II", "V1"]
    x = np.arange(30.0).reshape(3, 10)
    taken = found.take(x, 4, 9, np.float32)
    assert taken.shape == (5, 2) and taken.flags.c_contiguous and taken.dtype == np.float32
    np.testing.assert_array_equal(taken[:, 1], x[2, 4:9] - x[1, 4:9] / 2)

"""One patient written in several ways is one patient; dates are dates, or refused; an empty split is said."""

import csv

import numpy as np
import pytest

import ecgfm
from ecgfm.data import assign_splits, make_splits

PAIRS = [
    ("15709", "15709.0"),
    ("P1", "P1 "),
    ("P1", "\u00a0P1"),
    ("p1", "P1"),
    ("12", "012"),
    ("Ａ7", "A7"),
    ("J\u00f6rg", "Jo\u0308rg"),
    ("a  b", "a b"),
    ("12345678901234567", "12345678901234567.0"),
    ("1.5709e+04", "15709"),
]


@pytest.mark.parametrize("one, other", PAIRS)
def test_one_patient_in_two_ways(one, other):
    groups = [f"x{i}" for i in range(40)]
    groups[3], groups[30] = one, other
    for seed in range(12):
        done = assign_splits(40, "grouped", groups=groups, fractions="0.5,0.5", split_labels="a,b", seed=seed)
        assert done.split[3] == done.split[30]
        assert done.merged == [tuple(sorted([one, other]))]
    dates = [str(i) for i in range(40)]
    done = assign_splits(40, "grouped_temporal", groups=groups, dates=dates, filter_strategy=False)
    assert done.group_split[3] == done.group_split[30]


@pytest.mark.parametrize(
    "one, other",
    [
        ("12345678901234567", "12345678901234568"),
        ("1_0", "10"),
        ("P1", "P-1"),
        ("5e3", "5000"),
        ("0x10", "16"),
        ("-1", "1"),
        ("1.5", "15"),
        ("9" * 5000, "9" * 5001),
    ],
)
def test_other_patients_stay_apart(one, other):
    done = assign_splits(2, "grouped", groups=[one, other], fractions="0.5,0.5", split_labels="a,b")
    assert done.merged == [] and set(done.split) == {"a", "b"}


def test_numbers_as_numbers_and_as_text():
    done = assign_splits(4, "grouped", groups=[15709, 15709.0, "15709", 8], fractions="0.5,0.5", split_labels="a,b")
    assert len({str(split) for split in done.split[:3]}) == 1 and done.split[3] != done.split[0]


def test_draws_of_plain_groups_are_what_they_were():
    """The seed's splits of groups that are written in one way each, as numbers with or without zeros, don't change."""
    for groups in ([f"{i}.0" for i in range(30)], [f"{i:03}" for i in range(30)], [f"P{i}" for i in range(30)]):
        known = sorted(groups)
        order = np.random.RandomState(7).permutation(30)
        expected = {known[i]: "a" for i in order[:15]} | {known[i]: "b" for i in order[15:]}
        done = assign_splits(30, "grouped", groups=groups, fractions="0.5,0.5", split_labels="a,b", seed=7)
        assert done.split.tolist() == [expected[group] for group in groups] and done.merged == []


@pytest.mark.parametrize(
    "dates",
    [
        ["2012-03-01", "2011-12-31", "2012-03-02"],
        ["2012-03-01 10:00:00", "2012-03-01 09:59:59.5", "2012-03-01 10:00:00.25"],
        ["2012-03-01T10:00:00", "2012-03-01 09:00", "2012-03-01T11:00"],
        ["2012-03-01T10:00:00+02:00", "2012-03-01T07:30:00Z", "2012-03-01T08:30:00+00:00"],
        ["1.12.2012", "2.1.2012", "13.12.2012"],
        ["12/1/2012", "1/13/2012", "12/2/2012"],
        ["2012/10/1", "2012/9/30", "2012/10/2"],
        ["2012-10", "2012-9", "2012-11"],
        ["05-MAR-2012", "28-Feb-2012", "06-MAR-2012"],
        ["1.12.2012 9:00", "1.12.2012 8:59", "13.12.2012 10:00"],
        ["12/31/2012 1:00 PM", "12/31/2012 11:59 AM", "12/31/2012 11:00 PM"],
        ["100", "20", "1000"],
        ["20120301", "20111231", "20120302"],
        [np.datetime64("2012-03-01T00:00:00.000000001"), np.datetime64("2011-03-01"), np.datetime64("2012-03-02")],
    ],
)
def test_dates_in_their_order(dates):
    done = assign_splits(3, "temporal", dates=dates, fractions=[1, 1, 1])
    assert done.rows.tolist() == [1, 0, 2]


@pytest.mark.parametrize(
    "dates, words",
    [
        (["1.12.2012", "2.1.2012", "3.4.2012"], "day"),
        (["2012-03-01", "01.03.2012", "2012-03-02"], "'01.03.2012'"),
        (["2012-03-01", "yesterday", "2012-03-02"], "'yesterday'"),
        (["2012-03-01", "2012-02-30", "2012-03-02"], "'2012-02-30'"),
        (["2012-03-01T10:00:00+02:00", "2012-03-01", "2012-03-02"], "time zone"),
        (["1.2.12", "2.3.12", "13.4.12"], "'1.2.12'"),
        (["1", "inf", "2"], "finite"),
        (["9" * 100_000, "2012-03-01", "x"], "date"),
        (["1999", "2012-03-01", "2012-03-02"], "'1999'"),
    ],
)
def test_dates_that_leave_a_doubt(dates, words):
    with pytest.raises(ecgfm.ConfigError) as caught:
        assign_splits(3, "temporal", dates=dates, fractions=[1, 1, 1])
    assert caught.value.field == "dates" and words in str(caught.value) and len(str(caught.value)) < 500


def test_an_empty_split_is_said():
    with pytest.warns(ecgfm.InputWarning, match="no record is in the split 'valid', 'test'"):
        assign_splits(1, "random")
    with pytest.warns(ecgfm.InputWarning, match="'b'"):
        assign_splits(5, "grouped", groups=["x"] * 5, fractions="0.5,0.5", split_labels="b,a")


def test_an_empty_split_that_is_wanted_is_not_said(recwarn):
    assign_splits(20, "random", fractions=[0.5, 0.5, 0])
    assert not recwarn.list


@pytest.fixture
def root(tmp_path):
    ids = ["15709", "15709.0", "P1", "P1 ", "x", "y"]
    rows = [f"{i},r{i}.mat,{patient},{i + 1}.1{i % 2}.20{12 + i}" for i, patient in enumerate(ids)]
    (tmp_path / "meta.csv").write_text("\n".join(["idx,save_file,patient,when", *rows]) + "\n")
    return tmp_path


def test_groups_of_a_table_keep_their_writing(root):
    done = make_splits(root, "grouped", group_col="patient", fractions="0.5,0.5", split_labels="a,b")
    with open(root / "meta_split.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["patient"] for row in rows] == ["15709", "15709.0", "P1", "P1 ", "x", "y"]
    assert rows[0]["split"] == rows[1]["split"] and rows[2]["split"] == rows[3]["split"]
    assert done["merged"] == [("15709", "15709.0"), ("P1", "P1 ")]


def test_dates_of_a_table_that_leave_a_doubt_are_refused(root):
    with pytest.raises(ecgfm.ConfigError, match="the day and which the month"):
        make_splits(root, "temporal", date_col="when")
    assert not (root / "meta_split.csv").exists()


@pytest.mark.parametrize("label", ["../x", "a\0b", "l" * 300, ".hidden", "a/b", "\ud800", "\x1b[31m"])
def test_labels_that_no_file_can_have(label):
    with pytest.raises(ecgfm.ConfigError) as caught:
        assign_splits(4, "random", fractions="0.5,0.5", split_labels=["train", label])
    assert caught.value.field == "split_labels" and str(caught.value).isprintable() and len(str(caught.value)) < 500

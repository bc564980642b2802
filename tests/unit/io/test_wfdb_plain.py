"""The narrow way of reading WFDB records, field by field against the library."""

import data_sets
import numpy as np
import pytest

import ecgfm
from ecgfm.io.wfdb import read_values
from ecgfm.storage.wfdb import read_plain

wfdb = pytest.importorskip("wfdb")


def assert_equal(path):
    found, expected = read_plain(str(path)), wfdb.rdrecord(str(path)[:-4])
    assert found is not None
    values = np.concatenate([values.copy() for _, _, values in found.blocks()])
    np.testing.assert_array_equal(values, expected.p_signal)
    assert (found.rate, type(found.rate)) == (expected.fs, type(expected.fs))
    for ours, theirs in (
        (found.names, expected.sig_name),
        (found.units, expected.units),
        (found.comments, expected.comments),
        (found.base_time, expected.base_time),
        (found.base_date, expected.base_date),
    ):
        assert ours == theirs


@pytest.fixture
def x():
    x = data_sets.signal(3, 500, seed=5)
    x[3, 100:105] = np.nan
    return x


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mat": True, "comments": ["Age: 74", "  Sex: Male", "# Dx : 1,2", ""]},
        {"rate": 257, "gain": 4880, "zero": -12},
        {"rate": 360.5, "time": "1:02:03"},
        {"rate": "500.000000001", "time": "10:46:00.25 01/08/2131"},
        {"gain": "1000.0"},
        {"gain": 0},
        {"lead_unit": "uV"},
        {"leads": [f"{name} x" for name in ecgfm.LEADS]},
    ],
    ids=str,
)
def test_usual_records(tmp_path, x, options):
    if options.get("gain") in (0, "1000.0"):
        data_sets.wfdb_record(tmp_path, "a", x)
        text = (tmp_path / "a.hea").read_text()
        (tmp_path / "a.hea").write_text(text.replace("16 1000/mV", f"16 {options['gain']}/mV"))
    else:
        data_sets.wfdb_record(tmp_path, "a", x, **options)
    assert_equal(tmp_path / "a.hea")


def test_as_the_library_writes_them(tmp_path, x):
    wfdb.wrsamp(
        "a",
        400,
        ["mV"] * 12,
        list(ecgfm.LEADS),
        p_signal=x.T.astype(np.float64),
        fmt=["16"] * 12,
        write_dir=str(tmp_path),
        comments=["one", "two"],
    )
    assert_equal(tmp_path / "a.hea")


def test_several_signal_files(tmp_path, x):
    for name, rows in (("a", slice(0, 9)), ("b", slice(9, 12))):
        data_sets.wfdb_record(tmp_path, name, x[rows], leads=ecgfm.LEADS[rows])
    head, *lines = (tmp_path / "a.hea").read_text().splitlines()
    lines += (tmp_path / "b.hea").read_text().splitlines()[1:]
    (tmp_path / "c.hea").write_text("\n".join([head.replace("a 9", "c 12"), *lines]))
    assert_equal(tmp_path / "c.hea")


def test_the_record_of_the_reference(shared):
    assert_equal(shared / "records/s0010_re.hea")


@pytest.mark.parametrize(
    "old, new",
    [
        ("a 12 500 1500", "a 12"),  # no rate
        ("a 12 500 1500", "a 12 500"),  # no length
        ("a 12 500 1500", "a 12 500/100(3) 1500"),
        ("a 12 500 1500", "a/2 12 500 1500"),
        ("a 12 500 1500", "a 12 500 1501"),
        ("a 12 500 1500", "a 11 500 1500"),
        ("a 12 500 1500", "a 13 500 1500"),
        ("a 12 500 1500", "a 12 500 1500 10:00:00 31/02/2020"),
        (" 16 1000", " 212 1000"),
        (" 16 1000", " 16x2 1000"),
        (" 16 1000", " 16:3 1000"),
        (" 16 1000", " 16 -1000"),
        ("/mV 16 0", "/mV 16"),
        (" 0 V6", ""),
        ("a.dat 16 1000/mV 16 0", "../a.dat 16 1000/mV 16 0"),
        ("a.dat 16 1000/mV 16 0", "b.dat 16 1000/mV 16 0"),
    ],
    ids=str,
)
def test_unusual_records_are_left_to_the_library(tmp_path, x, old, new):
    data_sets.wfdb_record(tmp_path, "a", x)
    text = (tmp_path / "a.hea").read_text()
    assert old in text
    (tmp_path / "a.hea").write_text(text.replace(old, new))
    assert read_plain(str(tmp_path / "a.hea")) is None


def test_damaged_headers_are_never_read_differently(tmp_path, x):
    """Where one character is another, the narrow way gives what the library gives, or leaves it to the library."""
    said = {"leads": ["I", "II"], "gain": 200, "zero": 3, "comments": ["Age: 7"], "time": "10:00:00"}
    data_sets.wfdb_record(tmp_path, "a", x[:2], **said)
    text = (tmp_path / "a.hea").read_text()
    generator, plain = np.random.RandomState(0), 0
    for _ in range(250):
        at = generator.randint(len(text))
        (tmp_path / "a.hea").write_text(text[:at] + generator.choice(list("0179 .-+:/()xmV#\t\n~a")) + text[at + 1 :])
        if read_plain(str(tmp_path / "a.hea")) is not None:
            assert_equal(tmp_path / "a.hea")
            plain += 1
    assert plain > 50


def test_other_units_and_other_signals(tmp_path, x):
    data_sets.wfdb_record(tmp_path, "a", x, gain=2, lead_unit="uV")
    values, found = read_values(str(tmp_path / "a.hea"))
    np.testing.assert_allclose(values, wfdb.rdrecord(str(tmp_path / "a")).p_signal * 1e-3, rtol=1e-15)
    data_sets.wfdb_record(tmp_path, "b", x, leads=[*ecgfm.LEADS[:11], "resp"])
    text = (tmp_path / "b.hea").read_text()
    (tmp_path / "b.hea").write_text(
        "\n".join(line.replace("/mV", "/pm") if line.endswith("resp") else line for line in text.splitlines())
    )
    values, found = read_values(str(tmp_path / "b.hea"))
    assert found.names == list(ecgfm.LEADS[:11]) and values.shape == (1500, 11)


def test_both_ways_give_the_same_recording(tmp_path, x):
    data_sets.wfdb_record(tmp_path, "a", x, gain=200, zero=7)
    plain = ecgfm.read(tmp_path / "a.hea"), *read_values(str(tmp_path / "a.hea"))
    text = (tmp_path / "a.hea").read_text()
    (tmp_path / "a.hea").write_text(text.replace(" 500 ", " 500/500 ", 1))
    assert read_plain(str(tmp_path / "a.hea")) is None
    library = ecgfm.read(tmp_path / "a.hea"), *read_values(str(tmp_path / "a.hea"))
    np.testing.assert_array_equal(plain[0].signal, library[0].signal)
    np.testing.assert_array_equal(plain[1], library[1])
    assert plain[2].names == library[2].names and plain[2].rate == library[2].rate

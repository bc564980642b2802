"""What people hold in memory: tables with times and units, dicts, records of wfdb, recordings of MNE."""

import datetime
import re
from importlib import resources
from types import SimpleNamespace

import numpy as np
import pytest

import ecgfm
from ecgfm import LEADS, LeadError, Record, SignalError, prepare, read
from ecgfm.ecg import simulate

RATE = 500


@pytest.fixture(scope="module")
def record():
    return simulate(10, RATE, seed=3)


@pytest.fixture
def pandas():
    return pytest.importorskip("pandas")


@pytest.fixture
def frame(pandas, record):
    return pandas.DataFrame(dict(zip(record.leads, record.signal.copy())))


def same(found, record):
    assert found.sampling_rate == record.sampling_rate
    for name in LEADS:
        assert np.array_equal(found.signal[found.leads.index(name)], record.signal[record.leads.index(name)]), name


def seconds(record):
    return np.arange(record.samples) / RATE


# ---- tables ---------------------------------------------------------------------------------------------------------


def times(pandas, record):
    n = record.samples
    zone = datetime.timezone(datetime.timedelta(hours=2))
    return {
        "time": seconds(record),
        "Time [ms]": np.arange(n) * 2,
        "time_ms": np.arange(n, dtype=np.float32) * 2,
        "time (us)": np.arange(n) * 2000,
        "t": seconds(record).astype(np.float32),
        "timestamp": pandas.date_range("2024-03-31 01:59:58", periods=n, freq="2ms"),
        "datetime": pandas.date_range("2024-03-31", periods=n, freq="2ms", tz="Europe/Berlin"),
        "Time": pandas.timedelta_range(0, periods=n, freq="2ms"),
        "date_time": [
            datetime.datetime(2024, 1, 1, tzinfo=zone) + datetime.timedelta(milliseconds=2 * i) for i in range(n)
        ],
        "TIMESTAMP": [f"2024-01-01 10:00:{i * 2 // 1000:02}.{i * 2 % 1000:03}" for i in range(n)],
    }


@pytest.mark.parametrize("place", ["column", "index"])
def test_times_give_the_rate(pandas, record, frame, place):
    for name, values in times(pandas, record).items():
        if place == "column":
            table = frame.assign(**{name: values})
        else:
            table = frame.set_index(pandas.Index(values, name=name))
            if (
                not isinstance(table.index, (pandas.DatetimeIndex, pandas.TimedeltaIndex))
                and table.index.dtype == object
            ):
                continue  # text is no index of times
        found = read(table)
        same(found, record)
        assert found.notes == ("unit assumed: mV",), name
        assert np.array_equal(prepare(table).x, prepare(record).x)
        same(read(table, sampling_rate=RATE), record)
        with pytest.raises(SignalError, match=r"the times say 500 Hz; given was 250 Hz"):
            read(table, sampling_rate=250)


def test_an_unnamed_index_of_dates(pandas, record, frame):
    same(read(frame.set_index(pandas.date_range("2024", periods=record.samples, freq="2ms"))), record)
    turned = frame.T
    turned.columns = pandas.timedelta_range(0, periods=record.samples, freq="2ms")
    same(read(turned), record)


def test_what_gives_no_rate_is_asked_for(pandas, record, frame):
    for table in (frame, frame.set_index(pandas.Index(seconds(record)))):
        with pytest.raises(
            SignalError, match=r"neither a column nor an index of times. Give it in Hz: sampling_rate=500"
        ):
            read(table)
        same(read(table, RATE), record)


@pytest.mark.parametrize("step", [2, 2000])
def test_times_of_no_stated_unit(frame, record, step):
    table = frame.assign(time=np.arange(record.samples) * step)
    with pytest.raises(
        SignalError, match=r"time: no unit is stated, and in seconds the times give .* time_s or time_ms"
    ):
        read(table)
    same(read(table, RATE), record)
    with pytest.raises(SignalError, match="no unit is stated"):
        read(table, 250)
    same(read(frame.assign(time=np.arange(record.samples)), RATE), record)


def broken(pandas, record):
    t = seconds(record)
    gap, back, missing = t.copy(), t.copy(), t.copy()
    gap[3000:] += 0.5
    back[100:] -= 0.1
    missing[7] = np.nan
    clocks = pandas.Series(pandas.date_range("2024", periods=len(t), freq="2ms"))
    clocks[9] = pandas.NaT
    return {
        "gap": (gap, r"don't rise evenly.*: a step of 0\.502 s after row 3000, 0\.00210002 s on average"),
        "back": (back, r"don't rise evenly.*: a step of -0\.098 s after row 100,"),
        "falling": (t[::-1], "don't rise evenly"),
        "still": (0 * t, "don't rise evenly"),
        "missing": (missing, "there is no time in row 8"),
        "missing clock": (clocks, "there is no time in row 10"),
    }


@pytest.mark.parametrize("kind", ["gap", "back", "falling", "still", "missing", "missing clock"])
def test_times_that_are_not_even(pandas, record, frame, kind):
    values, words = broken(pandas, record)[kind]
    table = frame.assign(time=values)
    for given in (None, RATE):
        with pytest.raises(SignalError, match=words):
            prepare(table, given)


def test_times_that_were_rounded(pandas, frame):
    table = frame.assign(time_ms=np.round(np.arange(5000) * 1000 / 360))
    assert read(table).sampling_rate == pytest.approx(360, rel=2e-4)
    coarse = frame.assign(time=pandas.date_range("2024", periods=5000, freq="2ms").floor("s"))
    with pytest.raises(SignalError, match="don't rise evenly"):
        read(coarse)
    assert "not read: time" in read(coarse, RATE).notes


def test_times_that_contradict_each_other(frame, record):
    table = frame.assign(time=seconds(record), time_ms=np.arange(record.samples) * 4)
    with pytest.raises(SignalError, match="contradict each other: time 500 Hz and time_ms 250 Hz"):
        read(table)


def test_times_that_are_no_times(frame):
    with pytest.raises(SignalError, match="; time holds neither numbers nor dates and times. Give it in Hz"):
        read(frame.assign(time="soon"))


def test_a_unit_of_time_that_is_none(frame, record):
    with pytest.raises(SignalError, match="'furlong' is no unit of time"):
        read(frame.assign(**{"time [furlong]": seconds(record)}))


def test_shuffled_columns_give_the_same_bits(frame, record):
    expected = prepare(record)
    order = np.random.default_rng(0).permutation(12)
    shuffled = frame.iloc[:, order].assign(time=seconds(record))
    found = prepare(shuffled)
    assert np.array_equal(found.x, expected.x)
    with resources.as_file(resources.files("ecgfm") / "assets" / "demo") as directory:
        model = ecgfm.load(directory)
    one, other = ecgfm.predict(model, record), ecgfm.predict(model, shuffled)
    for label in model.labels:
        assert one.records[label].tobytes() == other.records[label].tobytes()


@pytest.mark.parametrize("form", ["{} [uV]", "{}/uV", "{}_uV", "{} (µV)"])
def test_units_in_names(pandas, record, form):
    table = pandas.DataFrame({form.format(name.lower()): row * 1000.0 for name, row in zip(LEADS, record.signal)})
    found = read(table, RATE)
    assert found.leads == LEADS and found.notes == () and set(found.units) <= {"uV", "µV"}
    assert np.allclose(found.signal, record.signal, atol=1e-6)
    assert found.signal.dtype == np.float32
    same(read(table, RATE, unit="uV"), found)
    for take in (read, prepare):
        with pytest.raises(SignalError, match="unit of lead I: the column states '.V'; given was mV"):
            take(table, RATE, unit="mV")
        with pytest.raises(SignalError, match="the unit 'kg' is not known"):
            take(table, RATE, unit="kg")


def test_units_of_some_columns(record):
    table = dict(zip(LEADS, record.signal))
    table["V1 [uV]"] = table.pop("V1") * 1000
    found = read(table, RATE)
    assert found.units == (None,) * 11 + ("uV",) and found.notes == ("unit assumed: mV",)
    assert np.allclose(found.signal[-1], record.signal[6], atol=1e-6)
    with pytest.raises(SignalError, match="the unit 'mmHg' is no voltage"):
        read({"V1 [mmHg]": record.signal[6]}, RATE)


@pytest.mark.parametrize("unit, factor", [("V", 1e-3), ("mV", 1.0), ("uV", 1e3)])
def test_a_unit_that_is_given(record, unit, factor):
    found = read(record.signal * factor, RATE, unit=unit)
    assert np.allclose(found.signal, record.signal, rtol=1e-6) and set(found.units) == {unit}
    assert "unit assumed: mV" not in found.notes
    assert prepare(record.signal * factor, RATE, unit=unit).provenance["quality"] == {}


def test_nothing_held_is_changed(pandas, frame, record):
    arrays = [record.signal.copy(), np.asfortranarray(record.signal), record.signal.astype(np.float64)]
    for held in [*arrays, dict(zip(LEADS, record.signal.copy())), frame]:
        before = {key: np.array(held[key]) for key in held} if hasattr(held, "keys") else held.copy()
        found = read(held, RATE, unit="uV")
        found.signal[:] = 7
        found.set_unit(None)
        prepare(held, RATE, unit="V")
        after = {key: np.array(held[key]) for key in held} if hasattr(held, "keys") else held
        for key in before if isinstance(before, dict) else range(len(before)):
            assert np.array_equal(before[key], after[key])


def test_tables_that_are_no_recording(pandas, frame, record):
    broadcast = np.broadcast_to(np.float32(0), (12, 1 << 40))
    cases = {
        "duplicate": (frame.assign(avr=frame["aVR"]), LeadError, "named more than once: aVR"),
        "complex": (frame * 1j, SignalError, "lead I: the values are of type complex64"),
        "text": (frame.assign(V2="high"), SignalError, "lead V2: the values are not real numbers"),
        "empty": (frame.iloc[:0], SignalError, "the array is empty"),
        "no columns": (pandas.DataFrame(), SignalError, None),
        "foreign": (frame.rename(columns=lambda name: f"ch{name}!"), LeadError, "none is a lead. Say which leads"),
        "huge": (broadcast, SignalError, "takes 52,776,558,133,248 bytes in float32"),
        "ragged": ([[1.0, 2.0], [1.0]], SignalError, "not an array"),
        "object": (np.array([[1.0, "a"]], object), ecgfm.FormatError, "not a path but ndarray"),
        "ragged columns": ({"I": [1.0, 2.0], "II": [1.0]}, SignalError, "different lengths"),
        "masked": (np.ma.masked_array(record.signal, record.signal > 1), SignalError, "masked values"),
        "complex array": (record.signal * 1j, SignalError, "of type complex64"),
    }
    for name, (held, error, words) in cases.items():
        with pytest.raises(error, match=words and re.escape(words)):
            read(held, RATE)
            pytest.fail(name)


def test_leads_of_nothing_but_nan(frame, record):
    lost = frame.assign(aVL=np.nan)
    assert prepare(lost, RATE).provenance["derived_leads"] == ["aVL"]
    with pytest.raises(LeadError, match="leads missing: V3 .*nothing but NaN"):
        prepare(frame.assign(V3=np.nan), RATE)
    frame.loc[17, "V3"] = np.nan
    with pytest.raises(SignalError, match="lead V3: nan at sample 17"):
        prepare(frame, RATE)


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_tables_of_others(record, library):
    module = pytest.importorskip(library)
    columns = {"time": seconds(record)} | dict(zip(LEADS, record.signal.astype(float)))
    same(read(module.DataFrame(columns) if library == "polars" else module.table(columns)), record)


# ---- mappings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        {"fs": RATE, "leads": list(LEADS), "unit": "mV"},
        {"sampling_rate": np.array([[float(RATE)]]), "lead_names": np.array([[np.array([n])] for n in LEADS], object)},
        {"sample_rate": RATE, "leads": ",".join(LEADS), "units": "mV", "x": 3},
    ],
)
def test_mappings_that_hold_the_signal(record, more):
    for array in (record.signal, record.signal.T):
        found = read({"signal": array, **more})
        same(found, record)
        assert ("transposed from (samples, leads)" in found.notes) == (array is not record.signal)
    with pytest.raises(SignalError, match="the mapping says 500 Hz; given was 400 Hz"):
        read({"signal": record.signal, **more}, 400)


def test_what_numpy_loads(tmp_path, record):
    np.savez(tmp_path / "a.npz", signal=record.signal, fs=RATE, leads=LEADS)
    with np.load(tmp_path / "a.npz") as held:
        same(read(held), record)
        assert np.array_equal(prepare(held).x, prepare(record).x)


# ---- wfdb -----------------------------------------------------------------------------------------------------------


def wfdb_record(record, **more):
    """As wfdb's Record has it."""
    made = dict(
        record_name="a", fs=RATE, sig_name=[name.upper() for name in LEADS], units=["mV"] * 12,
        p_signal=record.signal.T.astype(np.float64), d_signal=None, e_p_signal=None,
    )  # fmt: skip
    return SimpleNamespace(**(made | more))


def test_a_record_of_wfdb(record):
    found = read(wfdb_record(record))
    same(found, record)
    assert found.notes == () and found.units == ("mV",) * 12 and found.source == "a"
    assert np.array_equal(prepare(wfdb_record(record)).x, prepare(record).x)
    assert read(wfdb_record(record, fs=None), 500).sampling_rate == 500
    with pytest.raises(SignalError, match="a: sampling_rate: the wfdb record has no sampling rate"):
        read(wfdb_record(record, fs=None))
    with pytest.raises(SignalError, match="states 'mV'; given was uV"):
        read(wfdb_record(record), unit="uV")


def test_units_of_each_signal(record):
    scaled = record.signal.T.astype(float) * ([1.0] * 6 + [1000.0] * 6)
    held = wfdb_record(record, p_signal=scaled, units=["mV"] * 6 + ["uV"] * 6)
    assert np.allclose(read(held).signal, record.signal, atol=1e-6)
    more = wfdb_record(
        record,
        p_signal=np.c_[record.signal.T, 80 + 0 * record.signal[0]],
        units=["mV"] * 12 + ["mmHg"],
        sig_name=[*LEADS, "ABP"],
    )
    found = read(more)
    same(found, record)
    assert found.notes == ("not read: ABP (mmHg)",)
    with pytest.raises(SignalError, match="lead I: the unit 'mmHg' is no voltage"):
        read(wfdb_record(record, units=["mmHg"] + ["mV"] * 11))


def test_the_numbers_of_a_file(record):
    stored = np.round(record.signal.T * 200).astype(np.int16)
    stored[5, 3] = -32768
    held = wfdb_record(
        record, p_signal=None, d_signal=stored, adc_gain=[200.0] * 12, baseline=[0] * 12, fmt=["16"] * 12
    )
    found = read(held)
    assert np.isnan(found.signal[3, 5]) and np.isnan(found.signal).sum() == 1
    assert np.array_equal(np.nan_to_num(found.signal[:3]), np.float32(stored.T[:3] / 200))
    assert held.d_signal[5, 3] == -32768
    del held.adc_gain
    with pytest.raises(SignalError, match=r"without the gain and baseline.*physical=True"):
        read(held)


def test_signals_in_frames(record):
    rows = [*record.signal.astype(float), record.signal[0, ::4]]
    held = wfdb_record(
        record, p_signal=None, e_p_signal=rows, fs=125, samps_per_frame=[4] * 12 + [1],
        sig_name=[*LEADS, "Resp"], units=["mV"] * 12 + ["Ohm"],
    )  # fmt: skip
    same(read(held), record)
    held.samps_per_frame[2] = 2
    with pytest.raises(SignalError, match="signals of 2 rates.*brings them to one rate"):
        read(held)


@pytest.mark.parametrize(
    "more, words",
    [
        (dict(sig_name=None, units=None), "0 names and 0 units for signals"),
        (dict(sig_name=["I"], units=["mV"]), "1 names and 1 units for signals"),
        (dict(fs="fast"), "sampling rate 'fast' is not"),
        (dict(p_signal=None), "a wfdb.Record without signals"),
        (dict(p_signal=None, e_p_signal=[[0.0, 1.0], [0.0]], samps_per_frame=[1, 1], sig_name=["I", "II"]), "lengths"),
        (dict(p_signal=None, d_signal=np.ones((9, 1)), adc_gain=[0], baseline=[0], sig_name=["I"]), "a gain of 0 and"),
        (dict(p_signal=None, d_signal=np.ones((9, 1)), adc_gain=[1], baseline=[None], sig_name=["I"]), "of None"),
    ],
)
def test_records_of_wfdb_that_are_wrong(record, more, words):
    with pytest.raises(SignalError, match=words):
        read(wfdb_record(record, **more))


def test_segments_that_are_apart():
    held = SimpleNamespace(record_name="m", fs=500, seg_name=["a", "b"], segments=[None, None])
    with pytest.raises(SignalError, match="m: a wfdb.MultiRecord, whose segments are apart"):
        prepare(held)


def test_what_rdsamp_returns(record):
    held = record.signal.T.astype(float), {"fs": RATE, "sig_name": list(LEADS), "units": ["mV"] * 12}
    same(read(held), record)
    [(_, one)] = ecgfm.io.inputs.expand(held)
    assert one is held


def test_wfdb_itself(tmp_path, record):
    wfdb = pytest.importorskip("wfdb")
    wfdb.wrsamp(
        "r", RATE, ["mV"] * 12, list(LEADS), record.signal.T.astype(float), fmt=["16"] * 12, write_dir=str(tmp_path)
    )
    file = read(tmp_path / "r")
    for held in (
        wfdb.rdrecord(str(tmp_path / "r")),
        wfdb.rdrecord(str(tmp_path / "r"), physical=False),
        wfdb.rdrecord(str(tmp_path / "r"), smooth_frames=False),
        wfdb.rdsamp(str(tmp_path / "r")),
    ):
        same(read(held), file)
        assert np.array_equal(prepare(held).x, prepare(file).x)


# ---- MNE ------------------------------------------------------------------------------------------------------------


class Raw:
    """As MNE's has it."""

    def __init__(self, data, names, rate=float(RATE), kinds=None, filenames=("a.edf",)):
        self.data, self.ch_names, self.filenames = data, list(names), filenames
        self.info = {"sfreq": rate, "ch_names": self.ch_names}
        self.kinds = kinds or ["ecg"] * len(self.ch_names)

    @property
    def n_times(self):
        return self.data.shape[-1]

    def get_channel_types(self):
        return self.kinds

    def get_data(self, picks=None):
        return self.data if picks is None else self.data[picks]

    def __len__(self):
        return self.n_times

    def __getitem__(self, item):
        return self.data[item], None


def test_a_recording_of_mne(record):
    volts = record.signal * 1e-3
    for held in (Raw(volts, LEADS), Raw(volts, [f"ECG {name}" for name in LEADS], kinds=["eeg"] * 12)):
        found = read(held)
        assert found.leads == LEADS and found.sampling_rate == RATE and found.units == ("V",) * 12
        assert np.allclose(found.signal, record.signal, rtol=1e-5) and found.notes == () and found.source == "a.edf"
        [(name, one)] = ecgfm.io.inputs.expand(held)
        assert one is held
        with pytest.raises(SignalError, match="the MNE recording states 'V'; given was uV"):
            read(held, unit="uV")
        assert read(held, unit="V").units == ("V",) * 12


def test_channels_that_are_no_leads(record):
    volts = np.r_[record.signal * 1e-3, record.signal[:2]]
    held = Raw(volts, [*LEADS, "Fp1", "STI 014"], kinds=["ecg"] * 12 + ["eeg", "stim"])
    found = read(held)
    assert found.leads == LEADS and found.notes == ("not read: Fp1, STI 014",)
    odd = Raw(record.signal[:2] * 1e-3, ["ch1", "ch2"])
    with pytest.raises(LeadError, match="none is a lead"):
        read(odd)
    assert read(odd, leads="I,II").leads == ("I", "II")
    with pytest.raises(SignalError, match="none of the channels is a voltage"):
        read(Raw(volts[:1], ["STI"], kinds=["stim"]))


def test_channels_of_unknown_unit(record):
    held = Raw(record.signal, LEADS, kinds=["misc"] * 12)
    with pytest.raises(
        SignalError, match="unit of lead I: the MNE recording doesn't say what its values are in. Say it"
    ):
        read(held)
    same(read(held, unit="mV"), record)


def test_epochs_are_no_recording(record):
    with pytest.raises(SignalError, match="MNE's Raw of 3 dimensions"):
        prepare(Raw(record.signal[None], LEADS))


def test_mne_itself(record):
    mne = pytest.importorskip("mne")
    info = mne.create_info(list(LEADS), RATE, "ecg")
    held = mne.io.RawArray(record.signal * 1e-3, info, verbose="error")
    assert np.allclose(read(held).signal, record.signal, rtol=1e-5)


# ---- what is a recording already ------------------------------------------------------------------------------------


def test_records_and_segments(record):
    with pytest.raises(ecgfm.FormatError, match="a recording already"):
        read(record)
    with pytest.raises(SignalError, match="a Record is in mV, not in uV"):
        prepare(record, unit="uV")
    assert isinstance(read(dict(zip(LEADS, record.signal)), RATE), Record)

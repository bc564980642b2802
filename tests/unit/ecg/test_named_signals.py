"""Signals that carry names: the names are used, whichever way round and in whatever order they are."""

import numpy as np
import pytest

import ecgfm
from ecgfm import LEADS, LeadError, Record, SignalError, prepare

X = np.random.default_rng(2).normal(0, 0.4, (12, 6000)).astype(np.float32)
ORDER = (5, 3, 11, 0, 8, 1, 2, 10, 4, 9, 7, 6)
NAMES = [LEADS[i] for i in ORDER]
EXPECTED = prepare(X, 1000, LEADS).x


def check(values, **given):
    found = prepare(values, 1000, **given)
    assert np.array_equal(found.x, EXPECTED)
    return found


@pytest.fixture
def pandas():
    return pytest.importorskip("pandas")


@pytest.fixture
def frame(pandas):
    return pandas.DataFrame(X[list(ORDER)].T, columns=NAMES)


def test_both_ways_round_and_any_order(frame):
    check(frame)
    check(frame.T)
    check(frame[list(LEADS)])
    check(frame.rename(columns=str.lower).T)
    check(frame, leads=NAMES)


def test_other_columns_and_kinds_of_numbers(pandas, frame):
    frame.insert(0, "time", pandas.date_range("2020", periods=6000, freq="ms"))
    frame["HR"] = "fast"
    found = check(frame)
    assert "not read: HR" in found.provenance["notes"]
    found = check(frame.T)
    assert "not read: time, HR" in found.provenance["notes"]
    check(frame[NAMES].astype("Float64"))
    check(frame[NAMES].astype(object))
    missing = frame[NAMES].astype("Float64")
    missing.iloc[3, 0] = pandas.NA
    with pytest.raises(SignalError, match="nan at sample 3"):
        prepare(missing, 1000)


def test_names_that_are_no_leads(frame):
    numbered = frame[list(LEADS)].set_axis([f"ch{i}" for i in range(12)], axis=1)
    for values in (numbered, numbered.T):
        with pytest.raises(LeadError, match=r"named ch0, ch1.*none is a lead.*leads=\['I', 'II'"):
            prepare(values, 1000)
        check(values, leads=LEADS)
    with pytest.raises(LeadError, match="the file says|given was"):
        prepare(frame, 1000, leads=LEADS)


def test_numbers_are_no_names(pandas):
    check(pandas.DataFrame(X), leads=LEADS)
    notes = prepare(pandas.DataFrame(X), 1000).provenance["notes"]
    assert "leads assumed in the order I II III aVR aVL aVF V1-V6" in notes
    with pytest.raises(SignalError, match="Transpose"):
        prepare(pandas.DataFrame(X.T), 1000)
    check(pandas.DataFrame(X[list(ORDER)], index=NAMES))
    check(pandas.DataFrame(X[list(ORDER)].T, columns=NAMES, index=pandas.date_range("2020", periods=6000, freq="ms")))


def test_leads_twice_missing_or_on_both_sides(pandas, frame):
    with pytest.raises(LeadError, match="more than once: I"):
        prepare(pandas.concat([frame, frame[["I"]]], axis=1), 1000)
    with pytest.raises(LeadError, match="leads missing: V6"):
        prepare(frame.drop(columns="V6"), 1000)
    with pytest.raises(LeadError, match="both the rows and the columns"):
        prepare(pandas.DataFrame(np.zeros((12, 12)), index=NAMES, columns=NAMES), 1000)
    with pytest.raises(SignalError, match="lead I: the values are not real numbers|lead I: the values are of type"):
        prepare(frame.assign(I="x"), 1000)


def test_other_tables():
    polars_like = dict(zip(NAMES, X[list(ORDER)]))
    check(polars_like)
    check(ecgfm.Table(polars_like))
    pyarrow = pytest.importorskip("pyarrow")
    check(pyarrow.table(polars_like))
    with pytest.raises(SignalError, match="different lengths"):
        prepare({**polars_like, "V6": X[0, :50]}, 1000)


def test_structured_arrays():
    values = np.zeros(6000, dtype=[(name, "f4") for name in NAMES])
    for name, row in zip(NAMES, X[list(ORDER)]):
        values[name] = row
    check(values)
    check(values.view(np.recarray))


class Labelled:
    """What is used of xarray's DataArray."""

    def __init__(self, values, dims, coords):
        self.values, self.dims, self.coords, self.ndim = values, dims, coords, values.ndim

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype=dtype)


def test_labelled_arrays():
    shuffled = X[list(ORDER)]
    check(Labelled(shuffled, ("lead", "time"), {"lead": np.array(NAMES)}))
    check(Labelled(shuffled.T, ("time", "lead"), {"lead": np.array(NAMES), "time": np.arange(6000)}))
    check(Labelled(X, ("lead", "time"), {}), leads=LEADS)
    with pytest.raises(LeadError, match="none is a lead"):
        prepare(Labelled(X, ("lead", "time"), {"lead": np.array([f"e{i}" for i in range(12)])}), 1000)


def test_records_of_what_carries_names(frame):
    record = Record(frame, 1000, NAMES)
    assert np.array_equal(record.signal, X[list(ORDER)])
    assert np.array_equal(Record(frame.T, 1000, NAMES).signal, record.signal)
    with pytest.raises(LeadError, match="the file says|given was"):
        Record(frame, 1000, LEADS)


def test_the_same_bits_in_predict(frame):
    from ecgfm.ecg.choices import Choices
    from ecgfm.io.inputs import expand, segments_of

    for given in (frame, frame.T, [frame], {name: frame[name] for name in frame}):
        [(name, one)] = expand(given)
        assert name == "record_0" and np.array_equal(segments_of(one, Choices(1000)).x, EXPECTED)


def test_names_of_several_levels_and_lists_of_columns(pandas, frame):
    check([pandas.Series(X[i], name=LEADS[i]) for i in ORDER])
    levels = frame.set_axis(pandas.MultiIndex.from_product([["ecg"], NAMES]), axis=1)
    check(levels)
    check(levels.T)
    rows = frame.T
    rows.loc[7] = 0.0  # one name is a number
    check(rows)


def test_where_order_is_taken_names_in_another_are_refused(frame):
    import weights

    model = ecgfm.Model.from_state_dict(weights.SMALL, weights.weights(weights.parameters(weights.SMALL)))
    segment = ecgfm.prepare(frame, 1000).x[0]
    ordered = frame.T.iloc[:, :2500].astype("float32")
    ordered.loc[:] = segment[list(ORDER)]
    with pytest.raises(LeadError, match=r"x: the rows are named aVF, aVR, V6.*ecgfm.prepare"):
        model([ordered])
    found = model([ordered.loc[list(LEADS)]])
    assert np.array_equal(found.embedding, model(segment[None]).embedding)


def test_a_picture_takes_names(frame):
    pytest.importorskip("matplotlib")
    for each in (frame, frame.T, {name: X[LEADS.index(name)] for name in NAMES}):
        figure = ecgfm.plot(each, sampling_rate=1000, leads=["aVF"])
        assert np.allclose(figure.axes[0].lines[0].get_ydata(), X[LEADS.index("aVF")][:6000])
    figure = ecgfm.plot(X * 1000, sampling_rate=1000, unit="uV", leads=["I"])
    assert np.allclose(figure.axes[0].lines[0].get_ydata(), X[0], rtol=1e-5)

"""Parquet files with a column per lead, as a DataFrame is saved."""

import numpy as np
import pytest
from made_files import LEADS, counts

from ecgfm import Error, FormatError, LeadError, SignalError, prepare, read
from ecgfm.io import find_format, is_recording, left_out
from ecgfm.io.inputs import expand

pyarrow = pytest.importorskip("pyarrow", reason="needs the extra [tables]")
parquet = pytest.importorskip("pyarrow.parquet")

X = counts() / np.float32(1024)
N = X.shape[1]


def columns(form="{}", x=X):
    return {form.format(name): row for name, row in zip(LEADS, x)}


def written(path, table, **options):
    parquet.write_table(pyarrow.table(table), path, **options)
    return path


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip"])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i2"])
def test_columns_of_leads(tmp_path, compression, dtype):
    x = (X * 1024).astype(dtype)
    table = {"time": np.arange(N) / 500, **columns(x=x), "note": ["x"] * N}
    path = written(tmp_path / "a.parquet", table, compression=compression, row_group_size=1000)
    found = read(path)
    assert found.sampling_rate == 500 and found.leads == LEADS and np.array_equal(found.signal, x.astype(np.float32))
    assert found.notes == ("unit assumed: mV", "columns not read: note") and found.source == str(path)
    assert found.signal.dtype == np.float32 and find_format(path).name == "Parquet" and is_recording(path)
    assert np.array_equal(prepare(path).x, prepare(x, 500).x)


@pytest.mark.parametrize("unit", ["uV", None])
def test_units(tmp_path, unit):
    path = written(tmp_path / "a.parquet", columns("{}" if unit is None else "{} [uV]"))
    found = read(path, 500, unit="uV")
    np.testing.assert_allclose(found.signal, X / 1000, rtol=1e-6)
    assert found.units == ("uV",) * 12 and found.notes == ()
    if unit:
        assert np.array_equal(read(path, 500).signal, found.signal)
        with pytest.raises(SignalError, match="a.parquet: unit of lead I: the column states 'uV'; given was mV"):
            read(path, 500, unit="mV")


def test_what_pandas_writes(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(columns())
    for index in (
        pandas.date_range("2024", periods=N, freq="2ms"),
        pandas.date_range("2024", periods=N, freq="2ms", tz="Asia/Tokyo", name="when"),
        pandas.timedelta_range(0, periods=N, freq="2ms"),
        pandas.Index(np.arange(N) * 2.0, name="time_ms"),
    ):
        frame.set_index(index).to_parquet(tmp_path / "a.parquet")
        if index.name == "when":
            with pytest.raises(SignalError, match="Give it in Hz"):
                read(tmp_path / "a.parquet")
            continue
        found = read(tmp_path / "a.parquet")
        assert found.sampling_rate == 500 and np.array_equal(found.signal, X)
    frame.to_parquet(tmp_path / "b.parquet")
    assert np.array_equal(read(tmp_path / "b.parquet", 500).signal, X)
    with pytest.raises(SignalError, match="b.parquet: sampling_rate: .*Give it in Hz"):
        read(tmp_path / "b.parquet")


def test_columns_without_names_of_leads(tmp_path):
    named = {"time": np.arange(N) / 500, **{f"ch{i}": row for i, row in enumerate(X)}}
    path = written(tmp_path / "a.parquet", named)
    with pytest.raises(FormatError, match="are named ch0, ch1.*none is a lead.*Name the columns"):
        read(path)
    found = read(path, leads=LEADS)
    assert found.leads == LEADS and np.array_equal(found.signal, X) and found.sampling_rate == 500
    with pytest.raises(LeadError):
        read(path, leads=LEADS[:5])


def test_frames_without_names_of_leads():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({f"ch{i}": row for i, row in enumerate(X)})
    frame.insert(0, "time", pandas.date_range("2024", periods=N, freq="2ms"))
    found = read(frame, leads=LEADS)
    assert found.sampling_rate == 500 and np.array_equal(found.signal, X)


def test_nulls_are_missing(tmp_path):
    values = [None, *map(float, X[0][1:])]
    found = read(written(tmp_path / "a.parquet", columns() | {"I": values}), 500)
    assert np.isnan(found.signal[0, 0]) and np.isnan(found.signal).sum() == 1


def test_a_folder_leaves_other_tables_out(tmp_path):
    written(tmp_path / "a.parquet", columns())
    written(tmp_path / "labels.parquet", {"file": ["a"], "AF": [1]})
    ignored = {}
    assert [name for name, _ in expand(tmp_path, ignored.__setitem__)] == [str(tmp_path / "a.parquet")]
    assert ignored == {str(tmp_path / "labels.parquet"): "its columns are no leads"}
    assert left_out(tmp_path / "a.parquet") is None


@pytest.mark.parametrize(
    "table, words",
    [
        ({"I": ["a"] * 9, "II": ["b"] * 9}, "I: the values are of type string, not numbers"),
        ({"I": [[1.0]] * 9, "II": [1.0] * 9}, "I: the values are of type list"),
        ({"I": [], "II": []}, "I: the values are of type null|0 rows"),
        ({"I": np.zeros(0), "II": np.zeros(0)}, "0 rows are announced"),
        ({"I": np.zeros(9), "lead i": np.zeros(9)}, "named more than once: I"),
    ],
)
def test_tables_that_are_no_recording(tmp_path, table, words):
    path = written(tmp_path / "a.parquet", table)
    with pytest.raises(Error, match=words) as caught:
        read(path, 500)
    assert caught.value.path == str(path)


def test_columns_that_occur_twice(tmp_path):
    table = pyarrow.Table.from_arrays([pyarrow.array([1.0])] * 2, names=["I", "I"])
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(FormatError, match="I: the column occurs twice"):
        read(tmp_path / "a.parquet", 500)


def test_a_small_file_of_many_rows(tmp_path):
    """One value, over and over, takes next to nothing in a file."""
    table = {name: np.zeros(8_000_000, np.float32) for name in LEADS}
    path = written(tmp_path / "a.parquet", table, compression="zstd")
    assert path.stat().st_size < 1 << 20
    with pytest.raises(FormatError, match="inflate to"):
        read(path, 500)


def test_cut_and_changed_files(tmp_path):
    whole = written(tmp_path / "a.parquet", columns(x=X[:, :200])).read_bytes()
    random = np.random.default_rng(0)
    for turn in range(200):
        content = bytearray(whole[: random.integers(8, len(whole))] if turn % 4 == 0 else whole)
        for _ in range(3):
            content[random.integers(4, len(content))] ^= 1 << random.integers(8)
        (tmp_path / "b.parquet").write_bytes(content)
        try:
            read(tmp_path / "b.parquet", 500)
        except Error as error:
            assert "defect" not in str(error), error

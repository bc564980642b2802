"""HDF5 files of any kind: the data set is named, or found where only one fits."""

import json

import numpy as np
import pytest
from made_files import LEADS, counts, write_code15

from ecgfm import FormatError, LeadError, SignalError, prepare, read
from ecgfm.io import members

h5py = pytest.importorskip("h5py", reason="needs the extra [io]")

X = counts().astype(np.float32) / 1024


def made(path, attributes=None, **data):
    with h5py.File(path, "w") as file:
        for name, values in data.items():
            file[name.replace("__", "/")] = values
        for where, value in (attributes or {}).items():
            name, _, key = where.rpartition("@")
            (file[name] if name else file).attrs[key] = value
    return path


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i2"])
@pytest.mark.parametrize("turned", [False, True])
def test_the_only_data_set_that_fits(tmp_path, dtype, turned):
    x = (X * 1024).astype(dtype)
    path = made(tmp_path / "a.h5", signals=x.T if turned else x, age=50, beats=np.arange(9))
    found = read(path, 500)
    assert np.array_equal(found.signal, x.astype(np.float32)) and found.signal.dtype == np.float32
    assert found.leads == LEADS and "unit assumed: mV" in found.notes and list(members(path)) == [str(path)]
    assert any("leads assumed in the order" in note for note in found.notes)
    with pytest.raises(SignalError, match="doesn't state the sampling rate"):
        read(path)


def test_what_sph_has(tmp_path):
    x = X.astype(np.float16)
    path = made(tmp_path / "SPH1.h5", ecg=x)
    found = read(path)
    assert found.sampling_rate == 500 and "sampling rate assumed: 500 Hz, as SPH has" in found.notes
    assert np.array_equal(found.signal, x.astype(np.float32)) and np.isfinite(prepare(path).x).all()
    assert read(path, 250).sampling_rate == 250
    for other in (made(tmp_path / "b.h5", ecg=X), made(tmp_path / "c.h5", ecg=x, age=1), made(tmp_path / "d.h5", x=x)):
        with pytest.raises(SignalError, match="doesn't state the sampling rate"):
            read(other)


def test_data_sets_by_name(tmp_path):
    path = made(tmp_path / "a.h5", patient__ecg=X, patient__filtered=X * 2, lead=X[0])
    with pytest.raises(SignalError, match=r"2 data sets may be the recording: patient/ecg, patient/filtered. Name one"):
        read(path, 500)
    found = read(f"{path}::patient/filtered", 500)
    assert np.array_equal(found.signal, X * 2) and found.source == f"{path}::patient/filtered"
    assert np.array_equal(prepare(f"{path}::/patient/ecg", 500).x, prepare(X, 500).x)
    with pytest.raises(FormatError, match=r"no data set 'patient/other'; there are lead \(float32, 3000\), patient"):
        read(f"{path}::patient/other", 500)
    with pytest.raises(FormatError, match="lead: float32 of shape .3000,., not an array of two dimensions"):
        read(f"{path}::lead", 500)


@pytest.mark.parametrize("where", ["ecg", "", "group"])
def test_what_attributes_say(tmp_path, where):
    name = "group/ecg" if where == "group" else "ecg"
    said = {f"{where}@sampling_rate": 500.0, f"{where}@leads": list(LEADS[::-1]), f"{where}@unit": "uV"}
    found = read(made(tmp_path / "a.h5", said, **{name.replace("/", "__"): X}))
    assert found.sampling_rate == 500 and found.leads == LEADS[::-1] and found.notes == ()
    np.testing.assert_allclose(found.signal, X / 1000, rtol=1e-6)
    with pytest.raises(SignalError, match="the file says uV; given was V"):
        read(tmp_path / "a.h5", unit="V")
    with pytest.raises(LeadError, match="the file says"):
        read(tmp_path / "a.h5", leads=LEADS)


def test_what_data_sets_beside_it_say(tmp_path):
    names = np.array([name.encode() for name in LEADS[::-1]])
    found = read(made(tmp_path / "a.h5", g__ecg=X, g__fs=np.array([[400]]), g__lead_names=names))
    assert found.sampling_rate == 400 and found.leads == LEADS[::-1]


@pytest.mark.parametrize(
    "said, words",
    [
        ({"ecg@fs": [1.0, 2.0]}, r"fs: not one value but an array of shape \(2,\)"),
        ({"ecg@fs": 5.0}, "sampling rate 5.0 is not"),
        ({"ecg@fs": "fast"}, "sampling rate 'fast' is not"),
        ({"ecg@fs": 500, "ecg@unit": "mmHg"}, "mmHg.* is no voltage"),
        ({"ecg@fs": 500, "ecg@leads": np.zeros(12)}, "leads: not a list of names"),
        ({"ecg@fs": 500, "ecg@leads": ["I"] * 12}, "named more than once: I"),
        ({"ecg@fs": 500, "ecg@leads": ["x" * 600] * 100}, "an attribute that is no name"),
    ],
)
def test_attributes_that_are_wrong(tmp_path, said, words):
    path = made(tmp_path / "a.h5", said, ecg=X)
    with pytest.raises((FormatError, SignalError), match=words) as caught:
        read(path)
    assert caught.value.path == str(path)


def test_links_are_not_followed(tmp_path):
    other = made(tmp_path / "other.h5", ecg=X, g__ecg=X)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["ecg"], file["g"] = h5py.ExternalLink(str(other), "/ecg"), h5py.ExternalLink(str(other), "/g")
        file.create_group("round")["again"] = file["/"]
    with pytest.raises(FormatError, match="no data set has 12 rows or columns; there are ecg, g, round"):
        read(tmp_path / "a.h5", 500)
    for name in ("ecg", "g/ecg", "round/again/ecg", "../ecg", ""):
        with pytest.raises(FormatError):
            read(f"{tmp_path / 'a.h5'}::{name}", 500)


def test_exams_stay_exams(tmp_path):
    path = write_code15(tmp_path / "a.hdf5", X.T[None], [7])
    assert read(path).sampling_rate == 400
    with pytest.raises(SignalError, match="0 recordings are called 'ecg'"):
        read(f"{path}::ecg")


def test_real_files(shared):
    folder = shared / "real/formats"
    if not folder.is_dir():
        pytest.skip("needs ../shared/real")
    expected = json.loads((folder / "expected.json").read_text())
    for name in ("sph/SPH00001.h5", "sph/SPH00005.h5"):
        about, found = expected[name], read(folder / name)
        assert found.sampling_rate == 500 and found.samples == about["samples"] and list(found.leads) == about["leads"]
        for lead, std in about["std_mV"].items():
            assert found.signal[found.leads.index(lead)].std(dtype=float) == pytest.approx(std, abs=2e-6)
        one, two, three = found.signal[:3]
        assert np.abs(three - two + one).max() <= about["lead_check_max_abs_mV"]["III"] + 1e-6

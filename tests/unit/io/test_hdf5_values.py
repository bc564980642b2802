"""HDF5 data sets in every way of storing that is read are what h5py makes of them; others are named."""

import numpy as np
import pytest
from made_files import LEADS, counts

from ecgfm import FormatError, read
from ecgfm.io import members

h5py = pytest.importorskip("h5py", reason="needs the extra [io]")

X = np.stack([counts(samples=700, seed=i).T for i in range(5)]).astype(np.float32) + 2000  # no zeros at the ends


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", "<i2", ">i4", "<f2"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunks": (1, 700, 12)},
        {"chunks": (2, 64, 5), "compression": "gzip", "shuffle": True},
        {"chunks": (3, 700, 12), "shuffle": True},
        {"chunks": (1, 99, 12), "compression": "gzip", "maxshape": (None, 700, 12)},
    ],
)
def test_ways_of_storing(tmp_path, options, kind, libver):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=libver) as file:
        file.create_dataset("tracings", data=X.astype(kind), **options)
        file.create_dataset("exam_id", data=np.arange(11, 16), **({"chunks": (2,)} if options else {}))
    assert list(members(path)) == [f"{path}::{i}" for i in range(11, 16)]
    for i in (0, 2, 4):
        np.testing.assert_array_equal(read(f"{path}::{11 + i}").signal, X[i].T.astype(kind).astype(np.float32))


def test_filters_left_out_for_a_chunk(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("tracings", (1, 700, 12), "<f4", chunks=(1, 700, 12), compression="gzip")
        data.id.write_direct_chunk((0, 0, 0), X[0].tobytes(), filter_mask=1)
    np.testing.assert_array_equal(read(path).signal, X[0].T)


def test_exam_that_was_not_written_leaves_the_others(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("tracings", (2, 700, 12), "<f4", chunks=(1, 700, 12))[0] = X[0]
        file["exam_id"] = [1, 2]
    assert read(f"{path}::1").samples == 700
    with pytest.raises(FormatError, match="never written"):
        read(f"{path}::2")


def test_half_precision(tmp_path):
    """SPH's files hold one data set of half precision."""
    half = (X[0].T * 1e-3).astype(np.float16)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["ecg"] = half
    record = read(tmp_path / "a.h5")
    np.testing.assert_array_equal(record.signal, half.astype(np.float32))
    assert record.leads == LEADS

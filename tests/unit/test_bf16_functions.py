"""float32 as bfloat16 and back, as ranks send it."""

import numpy as np
import pytest

from ecgfm.kernels import core


@pytest.mark.parametrize("n", [1, 33, 20000])
def test_there_and_back(n):
    values = np.random.default_rng(1).standard_normal(n).astype(np.float32)
    narrow, wide = np.empty(n, np.uint16), np.empty(n, np.float32)
    core().narrow(values, narrow)
    core().widen(narrow, wide)
    assert np.all(np.abs(wide - values) <= np.abs(values) / 256)
    again = np.empty_like(narrow)
    core().narrow(wide, again)
    assert again.tobytes() == narrow.tobytes()


def test_sums_of_rows():
    rows = np.random.default_rng(1).standard_normal((3, 20000)).astype(np.float32)
    narrow, total = np.empty(rows.shape, np.uint16), np.empty(20000, np.float32)
    core().narrow(rows, narrow)
    core().widen(narrow, rows)
    core().sum_narrow(narrow, total)
    np.testing.assert_array_equal(total, rows[0] + rows[1] + rows[2])


@pytest.mark.parametrize("name", ["narrow", "widen", "sum_narrow"])
def test_what_is_refused(name):
    run = getattr(core(), name)
    floats, halves = np.zeros(4, np.float32), np.zeros(4, np.uint16)
    short = (floats, halves[:3]) if name == "narrow" else (halves[:3], floats)
    for arguments in ((floats, floats), (floats[::2], halves[::2]), ([1.0], halves), (floats.astype(float), halves)):
        with pytest.raises(TypeError):
            run(*(arguments if name == "narrow" else arguments[::-1]))
    with pytest.raises(ValueError, match="the sizes do not fit"):
        run(*short)
    frozen = np.zeros(4, short[1].dtype)
    frozen.flags.writeable = False
    with pytest.raises(TypeError):
        run(np.zeros(4, short[0].dtype), frozen)

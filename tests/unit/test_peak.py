"""The measured peak of the processor, by precision: the glue of the extension module."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from bounded import PATIENCE_S

import ecgfm

core = ecgfm._core
PRECISIONS = ("float32", "bfloat16", "int8")
LEAST = 1e9  # no processor with vectors is slower


def measured(precision, threads=1):
    """The peak, or None where the processor has no instruction for it."""
    try:
        return core.peak_flops(threads, 0.02, precision)
    except ecgfm.Error as error:
        assert precision in str(error) and "no instruction" in str(error)
        return None


@pytest.mark.parametrize("precision", PRECISIONS)
def test_each_precision_is_measured_or_refused(precision):
    found = measured(precision)
    assert found is None and precision != "float32" or found > LEAST


def test_float32_is_the_default():
    assert core.peak_flops(1, 0.0) > LEAST


def test_wide_instructions_are_found():
    """What /proc/cpuinfo says that the processor has is measured."""
    flags = re.search("^flags.*", Path("/proc/cpuinfo").read_text(), re.M)[0].split()
    assert (measured("bfloat16") is not None) == ("avx512_bf16" in flags)
    assert (measured("int8") is not None) == bool({"avx512_vnni", "avx_vnni"} & set(flags))


def test_int8_does_more_than_float32():
    """Four products in place of one: the best of several tries, as others may use the machine."""
    if measured("int8") is None:
        pytest.skip("this processor has no instruction for products in int8")
    assert max(measured("int8") for _ in range(5)) > 1.5 * max(measured("float32") for _ in range(5))


def test_what_is_refused():
    with pytest.raises(ValueError, match="int4 is not known"):
        core.peak_flops(1, 0.01, "int4")
    with pytest.raises(TypeError):
        core.peak_flops(1, 0.01, 5)
    with pytest.raises(TypeError):
        core.peak_flops(1)


def test_numbers_that_make_no_sense():
    """At least one thread and one try; more threads than can be started are an error."""
    assert core.peak_flops(-3, -1.0) > 0
    with pytest.raises(TypeError):
        core.peak_flops(1, "long")


def test_after_a_fork():
    """One thread, and no wait for those of the parent."""
    code = """
import os, ecgfm
ecgfm._core.peak_flops(2, 0.01)
child = os.fork()
if child == 0:
    os._exit(0 if ecgfm._core.peak_flops(2, 0.01) > 0 else 1)
raise SystemExit(os.waitpid(child, 0)[1])
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], timeout=PATIENCE_S)
    assert done.returncode == 0

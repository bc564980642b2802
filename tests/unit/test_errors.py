"""The named errors: what they say, and that they survive the way between processes."""

import pickle

import pytest

import ecgfm
from ecgfm import errors

ALL = [getattr(errors, name) for name in errors.__all__ if name != "InputWarning"]


@pytest.mark.parametrize("kind", ALL)
def test_text_and_parts(kind):
    error = kind("it is broken", path="a.npy", field="lead I", remedy="Mend it")
    assert str(error) == "a.npy: lead I: it is broken. Mend it."
    assert (error.message, error.path, error.field, error.remedy) == ("it is broken", "a.npy", "lead I", "Mend it")
    assert isinstance(error, ecgfm.Error) and isinstance(error, ValueError)


@pytest.mark.parametrize(
    "parts, text",
    [
        ({}, "it is broken"),
        ({"path": "a"}, "a: it is broken"),
        ({"field": "b"}, "b: it is broken"),
        ({"remedy": "Mend it"}, "it is broken. Mend it."),
    ],
)
def test_parts_that_are_absent(parts, text):
    assert str(errors.Error("it is broken", **parts)) == text


@pytest.mark.parametrize("kind", ALL)
def test_pickling(kind):
    error = pickle.loads(pickle.dumps(kind("it is broken", path="a", field="b", remedy="c")))
    assert type(error) is kind and str(error) == "a: b: it is broken. c." and error.args == ("it is broken",)


def test_kinds():
    assert issubclass(errors.LeadError, errors.SignalError)
    assert issubclass(errors.MissingExtraError, ImportError)
    assert all(getattr(ecgfm, name) is getattr(errors, name) for name in errors.__all__)


def test_text_stays_short_and_on_one_line():
    error = ecgfm.Error("m" * 10**6, path="p" * 10**6 + "/end.npy", field="f" * 10**6, remedy="r" * 10**6)
    assert len(str(error)) < 2000
    assert "end.npy" in str(error) and len(error.path) > 10**6
    hostile = ecgfm.Error("a\x1b[2Jb\nc\u202ed\ud800", path="x\x07", field="\u2066")
    assert str(hostile) == "x\\x07: \\u2066: a\\x1b[2Jb\\nc\\u202ed\\ud800"
    str(hostile).encode("utf-8")


def test_warning_is_one():
    assert issubclass(ecgfm.InputWarning, UserWarning)

"""JSON is read strictly: what is not JSON, lies or is too much is refused by one function."""

import json

import pytest

from ecgfm.errors import CheckpointError, ConfigError, FormatError
from ecgfm.storage.json import json_bytes, parse_json, plain_json, write_json


@pytest.mark.parametrize(
    "raw, match",
    [
        (b"{", "not JSON"),
        (b"{} x", "not JSON"),
        (b"\xff", "not UTF-8"),
        (b"[NaN]", "NaN is not JSON"),
        (b"[-Infinity]", "-Infinity is not JSON"),
        (b'{"a": 1, "a": 2}', "'a' stands twice"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" + b"0," * 200_000 + b"0]", "more than 200,000 values"),
        (b"[" + b"9" * 5000 + b"]", "5,000 digits"),
    ],
)
@pytest.mark.parametrize("error", [FormatError, CheckpointError, ConfigError])
def test_what_is_refused(raw, match, error):
    with pytest.raises(error, match=match) as caught:
        parse_json(raw, path="a.json", error=error)
    assert type(caught.value) is error and caught.value.path == "a.json"
    with pytest.raises(error, match=match) as caught:
        parse_json(raw, path="a.json", field="header", error=error)
    assert caught.value.field == "header"


def test_what_is_written_is_read(tmp_path):
    value = {"a": [1, 2.5, None, True, "\u00e4\n"], "b": {}}
    write_json(tmp_path / "a.json", value)
    assert (tmp_path / "a.json").read_text() == json.dumps(value, indent=1) + "\n"
    assert parse_json((tmp_path / "a.json").read_bytes(), path="a.json") == value
    assert parse_json(memoryview(json_bytes(value)), path="a.json") == value


def test_what_json_can_hold():
    value = {"a": (1, object()), 3: 1, "b": float("nan"), "c": {"d": b"x", "e": "y"}}
    assert plain_json(value) == {"a": [1], "c": {"e": "y"}}

"""The pickle interpreter against Python's own pickle, on data without code."""

import argparse
import collections
import pickle
import struct

import checkpoint_files as files
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgfm.checkpoint.plain import Refused
from ecgfm.checkpoint.unpickle import loads
from ecgfm.checkpoint.walk import plain


def read(raw, refused=None):
    value, end = loads(raw, refused=refused)
    assert end == len(raw)
    return plain(value)


integers = st.integers(-(2**62), 2**62) | st.integers(-(2**200), 2**200)
keys = st.text(max_size=5) | st.integers(-(2**31), 2**31) | st.booleans() | st.none() | st.binary(max_size=3)
leaves = st.none() | st.booleans() | integers | st.floats() | st.text() | st.binary()
data = st.recursive(
    leaves | st.sets(keys, max_size=4) | st.frozensets(keys, max_size=4),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.tuples(inner)
        | st.tuples(inner, inner, inner, inner)
        | st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=20,
)


def same(a, b):
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        if a != a:  # protocol 0 writes a NaN as text, without its sign
            return b != b
        return struct.pack("d", a) == struct.pack("d", b)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    return a == b


@settings(max_examples=150, deadline=None)
@given(data, st.integers(0, 5))
def test_plain_data(value, protocol):
    assert same(read(pickle.dumps(value, protocol)), value)


@pytest.mark.parametrize("protocol", range(6))
def test_shared_and_large_parts(protocol):
    text = "x" * 300
    part = [text, {"k": text}]
    value = {"parts": [part] * 5, "many": list(range(3000)), "table": {str(i): i for i in range(2500)}, "again": part}
    assert read(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.float32).reshape(3, 4),
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.arange(5, dtype=">i4"),
        np.array(3.5),
        np.zeros((0, 4)),
        np.array([True, False]),
        np.array([1 + 2j]),
        np.array(["ab", "c"]),
        np.arange(256, dtype=np.uint8),
    ],
    ids=lambda array: f"{array.dtype.str}{array.shape}",
)
def test_arrays(array, protocol):
    refused = {}
    found = read(pickle.dumps({"a": array}, protocol), refused)["a"]
    assert refused == {} and found.dtype == array.dtype and found.shape == array.shape
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("protocol", range(6))
def test_numpy_numbers_become_pythons(protocol):
    value = [np.float32(1.5), np.float64(2.5), np.int64(-3), np.bool_(True)]
    found = read(pickle.dumps(value, protocol))
    assert found == [1.5, 2.5, -3, True] and [type(v) for v in found] == [float, float, int, bool]


@pytest.mark.parametrize("protocol", range(6))
def test_containers_of_the_standard_library(protocol):
    value = collections.OrderedDict([("b", 1), ("a", [2])])
    assert list(read(pickle.dumps(value, protocol)).items()) == [("b", 1), ("a", [2])]
    value = collections.defaultdict(list, {"a": [1]})
    assert read(pickle.dumps(value, protocol)) == {"a": [1]}
    value = argparse.Namespace(encoder_layers=3, nested=argparse.Namespace(a="b"))
    assert read(pickle.dumps(value, protocol)) == {"encoder_layers": 3, "nested": {"a": "b"}}


class Strange:
    def __init__(self, value):
        self.value = value


@pytest.mark.parametrize("protocol", range(6))
def test_other_objects_become_placeholders(protocol):
    refused = {}
    found = read(pickle.dumps({"a": Strange(1), "b": [len, Strange], "c": 7}, protocol), refused)
    assert isinstance(found["a"], Refused) and found["c"] == 7
    assert [item.name for item in found["b"]] == ["builtins.len", f"{__name__}.Strange"] or protocol < 3
    assert f"{__name__}.Strange" in refused and {"builtins.len", "__builtin__.len"} & set(refused)


def test_arrays_of_objects_become_placeholders():
    refused = {}
    found = read(pickle.dumps([np.array([1, "a"], dtype=object), 5], 4), refused)
    assert isinstance(found[0], Refused) and found[1] == 5 and any("numpy" in name for name in refused)


def test_omegaconf():
    """A DictConfig as its pickle has it: nodes with parents, types and flags; only the content is wanted."""

    def node(kind, **state):
        meta = files.Call(files.Global("omegaconf.base", "Metadata"), state={"ref_type": files.Global("typing", "Any")})
        module = {"DictConfig": "dictconfig", "ListConfig": "listconfig"}.get(kind, "nodes")
        return files.Call(files.Global(f"omegaconf.{module}", kind), state={"_metadata": meta, "_parent": None} | state)

    layers = node("ListConfig", _content=[node("IntegerNode", _val=3), node("AnyNode", _val="x")])
    value = node(
        "DictConfig", _content={"a": node("StringNode", _val="b"), "c": layers, "d": node("AnyNode", _val=None)}
    )
    refused = {}
    assert read(files.dumps({"cfg": value}), refused) == {"cfg": {"a": "b", "c": [3, "x"], "d": None}}
    assert refused == {}


def test_a_parent_that_is_its_own_child_is_left_out():
    """OmegaConf's nodes know their parents: a cycle, but not one of the content."""
    raw = (
        b"\x80\x02comegaconf.dictconfig\nDictConfig\n)\x81q\x00}(X\x08\x00\x00\x00_content}X\x01\x00\x00\x00a"
        b"comegaconf.nodes\nAnyNode\n)\x81}(X\x04\x00\x00\x00_valK\x05X\x07\x00\x00\x00_parenth\x00ubsub."
    )
    assert read(raw) == {"a": 5}


def test_old_ways_to_make_objects():
    assert read(b"(iargparse\nNamespace\n(dS'a'\nI1\nsb.") == {"a": 1}
    assert read(b"(cargparse\nNamespace\no(dS'a'\nI1\nsb.") == {"a": 1}
    assert read(b"ccopy_reg\n_reconstructor\n(cargparse\nNamespace\nc__builtin__\nobject\nNtR(dS'a'\nI1\nsb.") == {
        "a": 1
    }
    assert read(b"(I1\n(I2\nI3\n12t.") == (1, 1)  # POP_MARK drops 2 and 3, DUP repeats 1


def test_text_in_odd_spellings():
    assert read(b"S'a\\x41\\n'\n.") == "aA\n"
    assert read(b"V\\u00e9\n.") == "é"
    assert read(b"U\x02\xe9a.") == "éa"
    assert read(b"L12L\n.") == 12 and read(b"I01\n.") is True and read(b"F1.5e3\n.") == 1500.0

import math
import pickle
from dataclasses import FrozenInstanceError, dataclass

import numpy as np
import pytest

from ecgfm.errors import ConfigError, SignalError
from ecgfm.validation import (
    MISSING,
    Choice,
    Flag,
    Number,
    Numbers,
    Seed,
    Settings,
    Share,
    Whole,
    bool_array,
    check_known,
    checked,
    flag,
    is_finite,
    number,
    numbers,
    one_of,
    real_array,
    refuse_masked,
    seed,
    share,
    whole,
)

HUGE = 10**4000
NOT_NUMBERS = [True, np.True_, None, "1", b"1", [1.0], (1,), {}, object(), 1j, np.complex64(1), np.array(1.0)]
NOT_FINITE = [math.nan, math.inf, -math.inf, np.float32("nan"), np.longdouble("1e4000"), HUGE, -HUGE]


def message(value, rule):
    with pytest.raises(ConfigError) as found:
        checked(value, rule, "it")
    assert found.value.field == "it"
    return found.value.message


@pytest.mark.parametrize("rule", [Number(), Share(), Whole(), Whole(floats=True), Seed(), Number(at_most=3)])
@pytest.mark.parametrize("value", [*NOT_NUMBERS, *NOT_FINITE, np.ma.masked, np.datetime64("2020")])
def test_what_is_not_a_finite_number_is_refused(rule, value):
    assert len(message(value, rule)) < 300


@pytest.mark.parametrize("value", [1, 1.0, np.int8(1), np.uint64(1), np.float16(1), np.longdouble(1)])
def test_numbers_of_numpy_are_numbers(value):
    for rule, kind in ((Number(), float), (Share(), float), (Whole(floats=True), int)):
        found = checked(value, rule, "it")
        assert type(found) is kind and found == 1


@pytest.mark.parametrize(
    ("rule", "inside", "outside", "words"),
    [
        (Number(0), (0, 1e300), (-1e-300,), "a number from 0 up"),
        (Number(above=0), (5e-324,), (0, -1), "a number above 0"),
        (Number(0, at_most=2.5), (0, 2.5), (2.6,), "a number from 0 to 2.5"),
        (Number(0, below=1), (0, 0.999), (1,), "a number from 0 to below 1"),
        (Number(above=0, at_most=1), (1,), (0, 1.1), "a number above 0 and at most 1"),
        (Number(above=0, below=1), (0.5,), (0, 1), "a number above 0 and below 1"),
        (Number(at_most=1), (-9, 1), (2,), "a number at most 1"),
        (Number(), (-1e308,), ("x",), "a finite number"),
        (Share(), (0, 1), (-0.1, 1.1), "a number from 0 to 1"),
        (Whole(), (0, (1 << 62) - 1), (-1, 1 << 62), "an integer from 0 up"),
        (Whole(1, 5), (1, 5), (0, 6, 2.0), "an integer from 1 to 5"),
        (Whole(1, floats=True), (1, 2.0, np.float32(3)), (0.0, 1.5), "an integer from 1 up"),
        (Seed(), (0, (1 << 32) - 1, np.uint32(7)), (-1, 1 << 32, 1.0), "an integer from 0 to 4294967295"),
        (Seed(bits=63), ((1 << 63) - 1,), (1 << 63,), "an integer from 0 to 9223372036854775807"),
        (
            Choice(("a", False, 2)),
            ("a", False, 2, np.str_("a"), np.False_),
            ("b", 0, True, [1], np.array(["a"])),
            "one",
        ),
        (Flag(), (True, np.False_, 0, np.int64(1)), (2, 1.0, "true", None, np.array(True)), "True or False"),
        (
            Numbers(2),
            ([1, 2], np.ones(2), (1, 2.0)),
            ([1], [1, 2, 3], "12", 5, {1: 2, 3: 4}, {1, 2}, [1, True]),
            "2 nu",
        ),
        (Numbers(1, Number(0)), ([0],), ([-1], [HUGE], [None], np.ones((1, 1))), "1 numbers, each from 0 up"),
        (Numbers(), ([1], range(5)), ([], range(10_001), np.array(5)), "one or more numbers"),
    ],
)
def test_limits_are_held_and_named(rule, inside, outside, words):
    for value in inside:
        checked(value, rule, "it")
    for value in outside:
        assert f"is not {words}" in message(value, rule)


def test_none_is_taken_where_the_rule_says_so():
    assert checked(None, Whole(1, none=True), "it") is None
    assert message(0, Whole(1, none=True)) == "0 is not an integer from 1 up or None"


def test_a_choice_is_handed_on_as_it_was_declared():
    assert type(checked(np.str_("a"), Choice(("a",)), "it")) is str
    assert checked(np.False_, Choice(("a", False)), "it") is False


def test_the_nearest_choice_is_named():
    with pytest.raises(ConfigError, match="Did you mean uniform"):
        checked("unifrom", Choice(("static", "uniform")), "it")
    with pytest.raises(ConfigError) as found:
        checked("x" * 10**6, Choice(("static",)), "it")
    assert len(str(found.value)) < 300


def test_an_iterator_without_end_is_refused():
    from itertools import count

    message(count(), Numbers(3))
    message(count(), Numbers())


@dataclass(frozen=True, slots=True, kw_only=True)
class Example(Settings):
    rate: float = number(0.5, above=0)
    length: int = whole(10, at_least=1, floats=True)
    lengths: tuple = numbers(2, (1.0, 2.0), at_least=0)
    part: float = share(1)
    kind: str = one_of("static", "uniform", default="static")
    start: int = seed()
    most: int = whole(None)
    named: bool = flag(False)
    needed: int = whole()
    free: object = None

    def agree(self):
        if self.most is not None and self.most < self.length:
            raise ConfigError("it is below length", field="most")


def test_settings_are_checked_and_frozen():
    made = Example(needed=np.int64(3), length=4.0, lengths=[1, 2], free="x", named=1)
    assert (made.needed, made.length, made.lengths, made.named) == (3, 4, (1.0, 2.0), True)
    assert type(made.needed) is int and type(made.length) is int and made.most is None
    with pytest.raises(FrozenInstanceError):
        made.needed = 4
    assert pickle.loads(pickle.dumps(made)) == made == made.replaced()
    assert made.replaced(needed=5) == Example.of({"needed": 5, "length": 4, "free": "x", "named": True})


@pytest.mark.parametrize(
    ("given", "field", "text"),
    [
        ({"needed": -1}, "x.needed", "-1 is not an integer from 0 up"),
        ({}, "x.needed", "it must be given"),
        ({"needed": 1, "lenght": 3}, "x.lenght", "Did you mean length"),
        ({"needed": 1, "zzz": 3}, "x.zzz", "Known are rate, length"),
        ({"needed": 1, 3: 3}, "x.3", "no such setting"),
        ({"needed": 1, "most": 2}, "x.most", "below length"),
        ({"needed": 1, "kind": "static "}, "x.kind", "Did you mean static"),
        (3, "x", "not a dict"),
    ],
)
def test_errors_of_a_mapping_name_the_field(given, field, text):
    with pytest.raises(ConfigError, match=text) as found:
        Example.of(given, prefix="x.")
    assert found.value.field == field


def test_the_rules_of_a_class_can_be_listed():
    assert set(Example.rules()) == set(Example.__dataclass_fields__) - {"free"}
    assert Example.rules()["most"].none and not Example.rules()["needed"].none
    assert MISSING is not None


def test_unknown_keys_are_refused_before_anything_else():
    check_known({"a": 1}, ["a"])
    with pytest.raises(ConfigError, match="Known are a"):
        check_known({"q" * 10**6: 1}, ["a"])


def test_only_finite_numbers_are_finite():
    assert is_finite(1) and is_finite(np.float32(1))
    assert not any(map(is_finite, (HUGE, math.nan, "a", None, np.ones(2))))


def test_arrays_of_real_numbers():
    same = np.ones(3, np.float16)
    assert real_array(same, "x") is same
    assert real_array([True, False], "x", booleans=True).dtype == np.uint8
    for bad in ([True], ["a"], [1j], [object()], [[1], [1, 2]], np.ma.masked_array([1, 2], [0, 1]), None):
        with pytest.raises(SignalError) as found:
            real_array(bad, "x")
        assert found.value.field == "x"
    with pytest.raises(ConfigError):
        real_array("a", "x", ConfigError)


def test_arrays_of_bool():
    assert bool_array([True], "m").dtype == bool
    for bad in ([1], np.ma.masked_array([True, True], [0, 1])):
        with pytest.raises(SignalError):
            bool_array(bad, "m")


def test_masked_values_are_found_in_lists():
    masked = np.ma.masked_array([1.0, 2.0], [False, True])
    for bad in (masked, [masked], [[1, np.ma.masked]]):
        with pytest.raises(SignalError):
            refuse_masked(bad, "x")
    refuse_masked(np.ma.masked_array([1.0]), "x")

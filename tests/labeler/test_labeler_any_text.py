"""Any text is survivable: a row in the result, never an exception."""

import math
import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ecgfm import labeler
from ecgfm.labeler.labeler import Labeler
from ecgfm.labeler.matching import Automaton, tokenize
from ecgfm.labeler.normalizer import Normalizer, one_slip

OWN = labeler.load()
ANYTHING = st.text(st.characters(codec=None), max_size=80)
WORDS = [
    "sinus rhythm",
    "infarct",
    "possible",
    "no",
    "or",
    "and",
    ", old",
    "in v1",
    "lead(s)",
    "artifact in",
    "v1,v2",
    "?",
    "-?",
    "(",
    "_",
    "pvc's",
    "1°",
    "t wave",
    "\n",
    "wpw",
    ";",
    "  ",
    "Ⅱ",
    "é",
    "a-v block",
    "w/",
    "w/o",
    "st-t",
    ".",
    "inf.",
]
REPORTS = st.lists(st.sampled_from(WORDS) | ANYTHING, max_size=12).map(" ".join)
MODES = st.sampled_from(["documented", "reference"])


def check(result, n):
    assert len(result) == len(result.texts) == len(result.unmatched) == n
    labels = list(result.by_report())
    assert len(labels) == n
    for row in labels:
        assert list(row) == sorted(row)
        assert all(0 < prob <= 1 for prob in row.values())
    for name in ("matches", "entities_text", "descriptors_text", "entities", "descriptors", "labels", "labels_flat"):
        table = getattr(result, name)
        assert not len(table) or (table["sample"].min() >= 0 and table["sample"].max() < n)
    return labels


@settings(max_examples=150, deadline=None)
@given(st.lists(REPORTS, max_size=4), MODES, st.booleans())
def test_any_text(texts, mode, normalized):
    result = OWN.label(texts, mode, normalized)
    labels = check(result, len(texts))
    for text, row in zip(texts, labels):
        assert next(OWN.label([text], mode, normalized).by_report()) == row  # no report depends on its neighbours
        assert {label["name"] for label in OWN.explain(text, mode, normalized).labels} == set(row)


@settings(max_examples=100, deadline=None)
@given(REPORTS)
def test_matches_and_rest_make_up_the_text(text):
    places, rest = OWN.engine("documented").matcher.place(text)
    kept, last = [], 0
    for start, end, rank in places:
        assert last <= start < end and text[start:end] == OWN.engine("documented").matcher.patterns[rank].text
        kept.append(text[last:start])
        last = end
    assert "".join([*kept, text[last:]]) == rest


@pytest.mark.parametrize(
    "value",
    [
        None,
        float("nan"),
        np.nan,
        np.float64("nan"),
        b"Sinus rhythm",
        12,
        1.5,
        True,
        (),
        np.str_("Sinus rhythm"),
        bytearray(b"\xff\xfe"),
    ],
)
def test_values_that_are_no_text(value):
    result = OWN.label([value, "Sinus rhythm"])
    labels = check(result, 2)
    assert labels[1] == {"Sinus rhythm": 1.0}
    if value is None or value != value:
        assert result.texts["text"][0] == "" and labels[0] == {}


def test_columns_of_other_libraries():
    assert len(OWN.label(np.array(["Sinus rhythm", None], dtype=object))) == 2
    assert len(OWN.label(np.array(["Sinus rhythm", "x"]))) == 2
    pandas = pytest.importorskip("pandas")
    for series in (
        pandas.Series(["Sinus rhythm", None, float("nan")]),
        pandas.Series(["Sinus rhythm", pandas.NA, ""]),
        pandas.Series(["Sinus rhythm", None, "x"], dtype="string", index=[7, 8, 9]),
    ):
        labels = check(OWN.label(series), 3)
        assert labels == [{"Sinus rhythm": 1.0}, {}, {}]
    assert len(OWN.label(["Sinus rhythm", pandas.NaT])) == 2


LONG = {
    "one word": "a" * 1_000_000,
    "spaces": " " * 1_000_000,
    "stops": "." * 1_000_000,
    "questions": "?" * 300_000,
    "hyphens": "-?" * 100_000,
    "one finding": "infarct " * 125_000,
    "negations": "no " * 300_000 + "infarct",
    "descriptors": "old " * 200_000,
    "connectives": "or " * 300_000,
    "an open end": "infarct " + "or " * 300_000,
    "leads": "artifact in lead(s) " + "v1," * 100_000,
    "beginnings": "incomplete right bundle branch " * 30_000,
    "commas": "," * 500_000,
    "waves": "t - " * 200_000 + "wave",
    "slashes": "w/" * 200_000,
    "digits": "1:" * 200_000,
    "unicode": "\u0130\ud800\U0001f493" * 100_000,
    "lists of leads": "lead i, ii, iii and avr, " * 20_000 + "unsuitable",
}


@pytest.mark.parametrize("name", LONG)
def test_a_megabyte(name):
    for mode, normalized in (("documented", False), ("reference", True)):
        result = OWN.label([LONG[name], "sinus rhythm"], mode, normalized)
        assert list(result.by_report())[1] == {"Sinus rhythm": 1.0}


def test_a_long_report_in_full():
    check(OWN.label(["possible infarct, old; no pvcs or acute ischemia with rbbb " * 2000]), 1)


def test_only_descriptors_only_swallowed_text_no_pattern_at_all():
    for batch in (["possible"], ["old acute"], ["pattern"], ["xyz"], ["axis"], ["or and with"], [""], [], ["xyz", ""]):
        assert check(OWN.label(batch), len(batch)) == [{}] * len(batch)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.text("ab -_.1", min_size=1, max_size=6), min_size=1, max_size=8, unique=True),
    st.text("ab -_.1", max_size=40),
)
@example(["a b", "b", "b a", "a b a"], "a b a b a")
def test_the_automaton_finds_what_a_scan_finds(patterns, text):
    """All occurrences at borders of tokens; a pattern's own borders are tokens' borders."""
    found = sorted(Automaton(patterns).find(tokenize(text)))
    starts = [0]
    for token in tokenize(text):
        starts.append(starts[-1] + len(token))
    expected = sorted(
        (number, starts.index(at), starts.index(at + len(pattern)))
        for number, pattern in enumerate(patterns)
        for at in range(len(text) - len(pattern) + 1)
        if text.startswith(pattern, at) and at in starts and at + len(pattern) in starts
    )
    assert found == expected


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.text("ab -_.1", min_size=1, max_size=5), min_size=1, max_size=6, unique=True),
    st.text("ab -_.1", max_size=30),
)
def test_matching_equals_a_scan_per_pattern(patterns, text):
    """Against the definition of matching: one pattern after the other, each with a regular expression."""
    definitions = labeler.Definitions(
        {"entity_tem": [{"name": "E"}], "entity_pat": [{"pattern": p, "entities": ["E"]} for p in patterns]}
    )
    matcher = Labeler(definitions).engine("documented").matcher
    taken = "\x01"  # a place that was taken; the letter beside it keeps the next pattern away
    scanned, rest = [], text
    for pattern in sorted(patterns, key=lambda p: -len(p)):
        left = r"(?<![\w\x01])" if pattern[0].isalnum() else ""
        right = r"(?![\w\x01])" if pattern[-1].isalnum() else ""
        for found in list(re.finditer(left + re.escape(pattern) + right, rest)):
            scanned.append((found.start(), found.end(), pattern))
        rest = re.sub(left + re.escape(pattern) + right, lambda m: taken * len(m[0]), rest)
    places = [(start, end, matcher.patterns[rank].text) for start, end, rank in matcher.place(text)[0]]
    assert places == sorted(scanned)


@settings(max_examples=200, deadline=None)
@given(REPORTS)
def test_normalized_text_is_tidy(text):
    made = OWN.normalize([text])[0]
    assert made == made.strip() and "  " not in made and "\n" not in made


@given(st.sampled_from(["bradycardia", "fibrillation", "hypertrophy", "pacemaker"]), st.data())
def test_one_slip_in_a_long_word_is_mended(word, data):
    at = data.draw(st.integers(0, len(word) - 2))
    slips = [
        word[:at] + word[at + 1 :],
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        word[:at] + "z" + word[at:],
        word[:at] + "z" + word[at + 1 :],
    ]
    for slip in slips:
        if slip != word:
            assert one_slip(word, slip) and one_slip(slip, word)
            assert OWN.normalizer.text(slip) == word


def test_right_words_are_left_alone():
    words = [w for p in OWN.definitions.patterns for w in tokenize(p.text) if w.isalpha()]
    spelling = OWN.normalizer.rules["spelling"]
    changed = {w for w in words if w not in spelling and OWN.normalizer._spell([w]) != [w]}
    assert changed == set()


def test_normaliser_rules_that_contradict_are_refused():
    from ecgfm import ConfigError

    for rules, message in (
        ([], "object"),
        ({"cut": "x"}, "list"),
        ({"spelling": {"a": 1}}, "text to text"),
        ({"templates": [{"from": "{x} y", "to": "z"}]}, "no group"),
        ({"templates": ["x"]}, "from"),
        ({"templates": [{"from": "{x}", "to": "a"}, {"from": "b", "to": "c"}], "groups": {"x": {"b": "d"}}}, "both"),
    ):
        with pytest.raises(ConfigError, match=message):
            Normalizer(rules)


def test_a_probability_grows_with_each_step_upwards():
    row = next(OWN.label(["possible inferior infarct"]).by_report())
    assert math.isclose(row["Infarction"], 1 - 0.5 * 0.7)
    assert math.isclose(row["Coronary ischemic change"], 1 - 0.5 * 0.49)

"""The two modes against the original's complete output, from its own preprocessed text."""

import re
from collections import Counter

import pytest

from ecgfm.labeler.engine import Engine
from ecgfm.labeler.result import Result


def run(definitions, cases, mode):
    engine = Engine(definitions, mode)
    texts = [case["preprocessed"] for case in cases]
    return Result(engine, texts, *engine.flat(texts))


@pytest.fixture(scope="module")
def reference(published, cases):
    return run(published, cases, "reference")


@pytest.fixture(scope="module")
def documented(published, cases):
    return run(published, cases, "documented")


def grouped(table, n):
    """The rows of a table by sample."""
    rows = [[] for _ in range(n)]
    for row in table.rows():
        rows[row["sample"]].append(row)
    return rows


def source(text):
    """A source without the numbers in brackets: the original numbers super-entities by an unstable sort."""
    return re.sub(r" \[.*\]$", "", text)


def compare(result, expected, made, wanted):
    different = [(i, expected[i]["input"], made[i], w) for i, w in enumerate(map(wanted, expected)) if made[i] != w]
    assert not different, f"{len(different)} of {len(expected)}, first: {different[0]}"
    assert len(result) == len(expected)


def test_patterns_and_what_they_leave(reference, cases):
    made = [[[m["text"], m["kind"]] for m in rows] for rows in grouped(reference.matches, len(cases))]
    compare(reference, cases, made, lambda case: case["patterns"])
    table = reference.unmatched
    compare(reference, cases, table["unmatched"].tolist(), lambda case: case["unmatched"])
    compare(reference, cases, table["stripped"].tolist(), lambda case: case["stripped"])


@pytest.mark.parametrize("mode", ["reference", "documented"])
@pytest.mark.parametrize("name", ["entities_text", "descriptors_text"])
def test_what_the_patterns_say(request, cases, intended, mode, name):
    result = request.getfixturevalue(mode)
    expected = cases if mode == "reference" else intended
    made = [
        [[r["pattern"], r["entity"], r["name"]] for r in rows] for rows in grouped(getattr(result, name), len(cases))
    ]
    compare(result, expected, made, lambda case: case[name])


@pytest.mark.parametrize("mode", ["reference", "documented"])
def test_entities(request, cases, intended, mode):
    result = request.getfixturevalue(mode)
    expected = cases if mode == "reference" else intended
    made = [
        Counter((r["pattern"], r["name"], source(r["source"]), round(r["prob"], 9)) for r in rows)
        for rows in grouped(result.entities, len(cases))
    ]
    compare(
        result,
        expected,
        made,
        lambda case: Counter((p, name, source(s), round(prob, 9)) for p, _, name, s, prob in case["entities"]),
    )


@pytest.mark.parametrize("mode", ["reference", "documented"])
def test_descriptors(request, cases, intended, mode):
    result = request.getfixturevalue(mode)
    expected = cases if mode == "reference" else intended
    made = [
        Counter((r["pattern"], r["name"], source(r["source"])) for r in rows)
        for rows in grouped(result.descriptors, len(cases))
    ]
    compare(result, expected, made, lambda case: Counter((p, name, source(s)) for p, _, name, s in case["descriptors"]))


def test_labels(reference, cases):
    made = [
        Counter((r["pattern"], r["name"], r["label_type"], round(r["prob"], 9)) for r in rows)
        for rows in grouped(reference.labels, len(cases))
    ]
    compare(
        reference,
        cases,
        made,
        lambda case: Counter((p, name, kind, round(prob, 9)) for p, _, name, prob, kind in case["labels"]),
    )


@pytest.mark.parametrize("mode", ["reference", "documented"])
def test_labels_flat(request, cases, intended, mode):
    result = request.getfixturevalue(mode)
    expected = cases if mode == "reference" else intended
    made = [{name: round(prob, 9) for name, prob in labels.items()} for labels in result.by_report()]
    compare(result, expected, made, lambda case: {n: round(p, 9) for n, p in case["labels_flat"].items()})
    assert all(list(labels) == sorted(labels) for labels in made)


@pytest.mark.parametrize("mode", ["reference", "documented"])
def test_a_report_alone_gives_what_it_gives_in_the_batch(request, published, cases, mode):
    """Also the reports with which the original fails when they are alone."""
    whole = list(request.getfixturevalue(mode).by_report())
    assert sum(case["alone_error"] is not None for case in cases) == 32
    engine = Engine(published, mode)
    for case, expected in zip(cases, whole):
        result = Result(engine, [case["preprocessed"]], *engine.flat([case["preprocessed"]]))
        assert next(result.by_report()) == expected

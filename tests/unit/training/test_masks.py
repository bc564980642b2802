"""Span masks: against a twin in plain Python, and what they promise."""

import numpy as np
import pytest

import ecgfm
from ecgfm.training import compute_mask_indices
from ecgfm.training.noise.spans import equal_rows

SETTINGS = {"mask_prob": 0.65, "mask_length": 10}


def twin_mask(shape, lengths, p, span, kind, other, min_masks, no_overlap, min_space, rng):
    """The rules in sets of plain integers; `lengths` are the steps of each row, or None."""
    rows, steps = shape
    common = max(min_masks, int(p * steps / span + rng.rand()))
    sets = []
    for b in range(rows):
        size, count = steps, common
        if lengths is not None:
            size = lengths[b]
            count = max(min_masks, int(p * size / span + rng.rand()))
        if count == 0:
            sets.append([])
            continue
        if kind == "static":
            spans = [span] * count
        elif kind == "uniform":
            spans = [int(n) for n in rng.randint(other, 2 * span + 1, size=count)]
        elif kind == "normal":
            spans = [max(1, int(round(n))) for n in rng.normal(span, other, size=count)]
        else:
            spans = [int(n) for n in rng.poisson(span, size=count)]
        if sum(spans) == 0:
            spans[0] = min(span, size - 1)
        chosen = set()
        if no_overlap:
            free = [(0, size)]
            for length in sorted(spans, reverse=True):
                weights = [e - s if e - s >= length + min_space else 0 for s, e in free]
                if sum(weights) == 0:
                    break
                s, e = free.pop(rng.choice(len(free), p=[w / sum(weights) for w in weights]))
                a = rng.randint(s, e - length)
                chosen |= set(range(a, a + length))
                if a - s - min_space >= min(spans):
                    free.append((s, a - min_space + 1))
                if e - a - min(spans) - min_space > min(spans):
                    free.append((a + length + min_space, e))
        else:
            shortest = min(spans)
            if size - shortest <= count:
                shortest = size - count - 1
            for start, length in zip(rng.permutation(size - shortest)[:count], spans):
                chosen |= set(range(start, start + length))
        sets.append(sorted(i for i in chosen if i < size))
    least = min(map(len, sets))
    mask = np.zeros(shape, bool)
    for b, chosen in enumerate(sets):
        if len(chosen) > least:
            chosen = rng.choice(chosen, least, replace=False)
        mask[b, np.array(chosen, int)] = True
    return mask


@pytest.mark.parametrize("kind", ["static", "uniform", "normal", "poisson"])
@pytest.mark.parametrize("no_overlap", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_equals_the_twin(kind, no_overlap, padded):
    """150 drawn cases of each kind, down to rows of two steps and to spans of no step."""
    cases = np.random.RandomState(7)
    for case in range(150):
        rows, steps, span = cases.randint(1, 6), cases.randint(2, 90), cases.randint(1, 13)
        other = cases.randint(0, span + 1)
        lengths = [int(n) for n in cases.randint(2, steps + 1, size=rows)] if padded else None
        padding = None if lengths is None else np.arange(steps) >= np.array(lengths)[:, None]
        how = cases.rand(), int(span), kind, int(other), int(cases.randint(3)), no_overlap, int(cases.randint(1, 4))
        got, expected = np.random.RandomState(case), np.random.RandomState(case)
        found = compute_mask_indices((rows, steps), padding, *how, rng=got)
        np.testing.assert_array_equal(found, twin_mask((rows, steps), lengths, *how, expected), err_msg=str(how))
        assert got.rand() == expected.rand(), how


def test_as_many_steps_in_each_row_and_none_of_padding():
    padding = np.arange(156) >= np.array([156, 100, 60])[:, None]
    for seed in range(20):
        found = compute_mask_indices((3, 156), padding, **SETTINGS, min_masks=2, rng=np.random.RandomState(seed))
        assert len(set(found.sum(axis=1))) == 1 and found.any()
        assert not (found & padding).any()


def test_spans_apart():
    """One row, so that none is shortened: six spans of ten, at least one step between them."""
    for seed in range(20):
        rng = np.random.RandomState(seed)
        row = compute_mask_indices((1, 300), None, 0.2, 10, no_overlap=True, min_space=2, rng=rng)[0]
        edges = np.flatnonzero(np.diff(np.r_[0, row.astype(int), 0]))
        starts, ends = edges[::2], edges[1::2]
        assert (ends - starts == 10).all() and len(starts) == 6
        assert (starts[1:] - ends[:-1] >= 1).all()


def test_a_row_that_one_span_fills():
    """Without space between spans, which fairseq-signals can't do."""
    rng = np.random.RandomState(0)
    assert compute_mask_indices((1, 10), None, 1.0, 10, no_overlap=True, min_masks=1, rng=rng).all()


def test_no_span_at_all():
    found = compute_mask_indices((2, 30), None, 0.0, 10, rng=np.random.RandomState(0))
    assert found.shape == (2, 30) and not found.any()
    assert compute_mask_indices((0, 30), None, 0.5, 10, rng=np.random.RandomState(0)).shape == (0, 30)


def test_a_smaller_count_keeps_a_part():
    found = [np.arange(20), np.arange(5, 18)]
    masks = {n: equal_rows(found, 30, [np.random.RandomState(b) for b in range(2)], n) for n in (3, 8, 12)}
    for n, mask in masks.items():
        assert (mask.sum(axis=1) == n).all()
    assert (masks[3] <= masks[8]).all() and (masks[8] <= masks[12]).all()
    for count in (-1, 14):
        with pytest.raises(ecgfm.errors.ConfigError, match="count"):
            equal_rows(found, 30, [np.random.RandomState(b) for b in range(2)], count)


def test_inputs_stay():
    padding = np.arange(60) >= np.array([60, 40])[:, None]
    before = padding.copy()
    compute_mask_indices((2, 60), padding, **SETTINGS, rng=np.random.RandomState(0))
    np.testing.assert_array_equal(padding, before)


@pytest.mark.parametrize(
    "changes, field",
    [
        ({"mask_prob": 1.5}, "mask_prob"),
        ({"mask_prob": -0.1}, "mask_prob"),
        ({"mask_prob": np.nan}, "mask_prob"),
        ({"mask_prob": "much"}, "mask_prob"),
        ({"mask_length": 0}, "mask_length"),
        ({"mask_length": 2.5}, "mask_length"),
        ({"mask_type": "long"}, "mask_type"),
        ({"mask_type": "uniform", "mask_other": 21}, "mask_other"),
        ({"mask_type": "uniform", "mask_other": 1.5}, "mask_other"),
        ({"mask_type": "normal", "mask_other": -1}, "mask_other"),
        ({"mask_other": np.inf}, "mask_other"),
        ({"min_masks": -1}, "min_masks"),
        ({"min_space": True}, "min_space"),
        ({"shape": (2, -3)}, "shape"),
        ({"padding_mask": np.zeros((2, 59), bool)}, "padding_mask"),
        ({"padding_mask": np.zeros((2, 60))}, "padding_mask"),
        ({"rng": np.random.default_rng(0)}, "rng"),
    ],
)
def test_refused(changes, field):
    rng = np.random.RandomState(3)
    given = {"shape": (2, 60), "padding_mask": None, **SETTINGS, "rng": rng} | changes
    with pytest.raises(ecgfm.errors.Error) as info:
        compute_mask_indices(**given)
    assert info.value.field == field
    assert rng.rand() == np.random.RandomState(3).rand()  # nothing was drawn

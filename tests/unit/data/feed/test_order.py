"""Which items make a batch, and the order of batches."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ecgfm
from ecgfm.data.feed.order import batches, epoch_order


def lists(found):
    return [part.tolist() for part in found]


def plain(sizes, batch_size, max_tokens, multiple, seed, shuffle):
    """The rules, written as loops over items."""
    n = len(sizes)
    order = list(range(n))
    if shuffle:
        rank = np.random.RandomState(seed).permutation(n)
        order.sort(key=lambda i: (sizes[i], rank[i]), reverse=True)
    found = []
    while order:
        best = 0
        for count in range(1, len(order) + 1):
            fits = batch_size is None or count <= batch_size
            fits &= max_tokens is None or count * max(sizes[i] for i in order[:count]) <= max_tokens
            if fits and (count < multiple or count % multiple == 0):
                best = count
        found.append(order[:best])
        order = order[best:]
    return found


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(1, 50), max_size=40),
    st.none() | st.integers(1, 20),
    st.none() | st.integers(50, 300),
    st.integers(1, 9),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_the_rules(sizes, batch_size, max_tokens, multiple, seed, shuffle):
    if batch_size is None and max_tokens is None:
        batch_size = 7
    found = batches(
        sizes,
        batch_size=batch_size,
        max_tokens=max_tokens,
        required_batch_size_multiple=multiple,
        seed=seed,
        shuffle=shuffle,
    )
    assert lists(found) == plain(sizes, batch_size, max_tokens, multiple, seed, shuffle)


def test_multiples():
    def count(n, batch_size):
        found = batches(np.full(n, 10), batch_size=batch_size, required_batch_size_multiple=8, shuffle=False)
        return [len(part) for part in found]

    assert count(24, 10) == [8, 8, 8]
    assert count(20, 12) == [8, 8, 4]
    assert count(9, 4) == [4, 4, 1]


def test_longer_items_come_first():
    found = batches([5, 9, 5, 7], batch_size=2, seed=3)
    assert lists(found)[0] == [1, 3] and sorted(lists(found)[1]) == [0, 2]


def test_epochs_differ_and_repeat():
    found = batches(np.full(40, 10), batch_size=2, seed=5)
    first, second = (lists(epoch_order(found, seed=5, epoch=epoch)) for epoch in (1, 2))
    assert first != second and sorted(first) == sorted(second) == sorted(lists(found))
    assert first == lists(epoch_order(found, seed=5, epoch=1))
    assert first != lists(epoch_order(found, seed=6, epoch=1))
    assert lists(epoch_order(found, seed=5, epoch=1, shuffle=False)) == lists(found)
    assert len(epoch_order(found, seed=2**32 - 1, epoch=1)) == len(found)


def test_the_global_generator_is_left_alone():
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    epoch_order(batches(np.full(9, 10), batch_size=2), epoch=3)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_nothing_makes_no_batch():
    assert batches([], batch_size=4) == [] and epoch_order([]) == []


@pytest.mark.parametrize(
    "arguments, field",
    [
        ({}, "batch_size"),
        ({"batch_size": 0}, "batch_size"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 9}, "max_tokens"),
    ],
)
def test_refused(arguments, field):
    with pytest.raises(ecgfm.errors.ConfigError) as info:
        batches([5, 10, 5], **arguments, path="train.tsv")
    assert info.value.field == field
    assert info.value.path == (None if 0 in arguments.values() else "train.tsv")

"""The reference data of the labeler: reports with the original's complete output."""

import json

import pytest

from ecgfm.labeler.definitions import Definitions


def read_lines(file):
    with open(file, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="session")
def cases(shared):
    return read_lines(shared / "golden" / "labeler" / "cases.jsonl")


@pytest.fixture(scope="session")
def intended(shared):
    return read_lines(shared / "golden" / "labeler" / "intended.jsonl")


@pytest.fixture(scope="session")
def published(shared):
    """The definitions that ECG-FM publishes."""
    return Definitions.load(shared / "labeler")

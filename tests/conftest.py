"""Fixtures that every test may use."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared():
    """The folder of reference data beside the repository; tests that need it are skipped without it."""
    if not (SHARED / "golden").is_dir():
        pytest.skip("needs the reference data in ../shared, which is not part of the project")
    return SHARED

"""Walking over folders: through links to other folders, without going in circles."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

__all__ = ["identity", "walk"]


def walk(
    top: str,
    *,
    refused: Callable[[OSError], object] | None = None,
    passed: Callable[[str], object] | None = None,
) -> Iterator[tuple[str, list[str]]]:
    """Iterate over (folder, names of its files) below a folder, in the order of the names, without hidden ones.

    Links to folders are followed, but not upwards; a folder that is reached in several ways is listed once, under its
    own path if that is below `top`, too.

    Parameters
    ----------
    top : str
    refused : callable, optional
        Called with the OSError of each folder that can't be listed.
    passed : callable, optional
        Called with the path of each link that isn't followed, since its folder is listed elsewhere.
    """
    seen = {identity(one) for one in _upwards(top)}
    real: set[tuple[int, int] | None] | None = None
    for folder, subfolders, names in os.walk(top, onerror=refused, followlinks=True):
        kept = []
        for name in sorted(name for name in subfolders if not name.startswith(".")):
            path = os.path.join(folder, name)
            found = identity(path)
            if os.path.islink(path):
                if real is None:
                    real = {identity(one) for one, _, _ in os.walk(top)}
                if found in real or found in seen:
                    if passed is not None:
                        passed(path)
                    continue
            elif found in seen and found is not None:
                continue
            seen.add(found)
            kept.append(name)
        subfolders[:] = kept
        yield folder, sorted(name for name in names if not name.startswith("."))


def _upwards(path: str) -> Iterator[str]:
    """A folder and all that it lies in."""
    path = os.path.realpath(path)
    while True:
        yield path
        above = os.path.dirname(path)
        if above == path:
            return
        path = above


def identity(path: str) -> tuple[int, int] | None:
    """What tells a folder from others, however it is reached; None if it is gone."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino

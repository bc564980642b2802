"""PhysioNet/CinC Challenge 2021: ``training/<data set>/g1/<record>.hea`` and ``.mat``, ``RECORDS`` in the folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from ...errors import FormatError
from ...storage import folders
from ...storage.inputs import lines as text_lines
from ...storage.inputs import open_text
from .base import Located, Recording, Rows, Source, check_columns, save_name
from .wfdb_files import read_wfdb, wfdb_files

__all__ = ["Physionet2021"]

_COMMENTS = {"age": "age", "sex": "sex", "dx": "diagnosis", "rx": "Rx", "hx": "Hx", "sx": "Sx"}
_SEX = {"female": "1", "f": "1", "male": "0", "m": "0"}
_NOTHING = ("unknown", "nan", "")


class Physionet2021(Source):
    """PhysioNet/CinC Challenge 2021: the folder training."""

    name = "physionet2021"
    meta_columns = ("units", "base_date", "base_time", *_COMMENTS.values())
    relists = True

    def records(self, raw_root: Any, processed_root: Any, **own: Any) -> Rows:
        """A row per record that has a header or a signal file, or stands in ``RECORDS``: path, dataset."""
        self.ignored.clear()
        return ["path", "dataset"], _rows(_training(raw_root), self.ignore)

    def files(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        return wfdb_files(row["path"])

    def locate(self, raw_root: Any, columns: Collection[str], *, reading: bool = True) -> Located:
        check_columns(columns, ["path", "dataset"], raw_root)
        top = _training(raw_root) if raw_root is not None else ""

        def located(row: Mapping[str, Any]) -> dict[str, Any]:
            relative = row["path"].strip("/")
            return {
                "path": os.path.join(top, relative),
                "save_file": save_name(self.name, relative),
                "source": self.name,
                "dataset": row["dataset"],
            }

        return located

    def read(self, row: Mapping[str, Any]) -> Recording:
        found, about = read_wfdb(row["path"])
        found.meta |= {"base_date": about.base_date, "base_time": about.base_time, **comments(about.comments)}
        return found


def comments(lines: Iterable[str]) -> dict[str, str | None]:
    """age, sex (female 1, male 0), diagnosis (SNOMED CT codes with commas), Rx, Hx, Sx from a header's comments.

    What is unknown is None; a comment of another name is left out.
    """
    found: dict[str, str | None] = dict.fromkeys(_COMMENTS.values())
    for line in lines:
        called, _, value = line.partition(":")
        name, value = _COMMENTS.get(called.strip().lower()), value.strip()
        if name is None or value.lower() in _NOTHING:
            continue
        found[name] = _SEX.get(value.lower()) if name == "sex" else value
    return found


def _training(raw_root: Any) -> Any:
    inside = os.path.join(raw_root, "training")
    return inside if os.path.basename(os.path.normpath(raw_root)) != "training" and os.path.isdir(inside) else raw_root


def _rows(top: Any, ignore: Callable[..., None]) -> Iterator[dict[str, str]]:
    refused: list[OSError] = []
    name = os.path.basename(os.path.normpath(top))

    for folder, names in folders.walk(top, refused=refused.append, passed=ignore):
        relative = os.path.relpath(folder, top)
        prefix = "" if relative == "." else f"{relative}/"
        stems = {os.path.splitext(one)[0] for one in names if one.endswith((".hea", ".mat", ".dat"))}
        for other in names:
            if not other.endswith((".hea", ".mat", ".dat")) and other != "RECORDS":
                ignore(os.path.join(folder, other), "neither a header nor a signal file")
        if "RECORDS" in names:
            stems |= _listed(folder)
        if relative == "." and name == "training":
            stems |= {one for one in _listed(os.path.dirname(os.path.normpath(top))) if "/" in one}
        for path in sorted(prefix + stem for stem in stems):
            yield {"path": path, "dataset": path.split("/")[0] if "/" in path else name}
    if refused:
        raise FormatError(f"the directory can't be listed: {refused[0].strerror}", path=refused[0].filename)


def _listed(folder: str) -> set[str]:
    """The records that ``RECORDS`` names, and the subfolders (``data set/g1``) that it names and that are not there."""
    path = os.path.join(folder, "RECORDS")
    if not os.path.isfile(path):
        return set()
    try:
        with open_text(path) as file:
            lines = [line.strip() for line in text_lines(file, path)]
    except UnicodeDecodeError as error:
        raise FormatError(f"can't be read: {error}", path=path) from None
    found = set()
    for line in lines:
        if line.endswith("/"):
            below = line.removeprefix("training/").rstrip("/")
            if below and not any(os.path.isdir(os.path.join(folder, one)) for one in (below, line)):
                found.add(below)
        elif line:
            found.add(line.removesuffix(".hea"))
    return found

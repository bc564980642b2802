"""Segments of recordings in files of their own, as ECG-FM's preprocessing writes them: which belong to one recording.

A name does not say so: ``visit_1.mat`` and ``visit_2.mat`` may be two recordings. It is believed where the table
``segmented.csv`` beside the folder of segments says so, or where the files themselves do: with one number ``idx``,
and as
``segment_i`` the number in the name.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..ecg.choices import Choices
from ..ecg.prepare import Segments, prepare_lazily
from ..errors import Error
from ..storage.inputs import open_text
from ..storage.mat import MatFile
from ..storage.rows import csv_rows
from . import read

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["SegmentFiles", "grouped", "numbered_names", "recording_names"]

_NAME = re.compile(r"(.+)_(\d{1,9})(\.[^./]+)")
_TABLES = ("segmented.csv", "segmented_split.csv")
_MAX_TABLE = 1 << 30
_OWN = "taken as a recording of its own: nothing says that files named so are segments of one"

_Member: TypeAlias = "tuple[int, str]"  # the number in the name of a file, and the file


class SegmentFiles(str):
    """The files of one recording's segments, in order. As text, the first of them.

    Parameters
    ----------
    files : sequence of str
    numbers : sequence of int
        The number of each segment in the recording, from 0.
    name : str
        Of the recording.
    notes : tuple of str
        What is noted of the recording.

    Attributes
    ----------
    segment_files, numbers, name, notes
        The parameters.
    """

    segment_files: tuple[str, ...]
    numbers: tuple[int, ...]
    name: str
    notes: tuple[str, ...]

    def __new__(cls, files: Sequence[str], numbers: Iterable[int], name: str, notes: Iterable[str] = ()) -> Self:
        made = super().__new__(cls, files[0])
        made.segment_files, made.numbers, made.name, made.notes = tuple(files), tuple(numbers), name, tuple(notes)
        return made

    def segments(self, choices: Choices = Choices()) -> Segments:
        """All segments as those of one recording; `choices` are the options of `ecgfm.prepare`.

        Raises
        ------
        Error
            Of the first file that can't be read or prepared; it names it.
        """
        parts = []
        for path, number in zip(self.segment_files, self.numbers):
            try:
                record = read(path, sampling_rate=choices.sampling_rate, leads=choices.leads, unit=choices.unit)
                if len(self.segment_files) > 1 and record.start_s == 0:
                    record.start_s = number * record.duration_s
                parts.append(prepare_lazily(record, choices))
            except Error as error:
                error.path = error.path or path
                if len(self.segment_files) > 1:
                    error.field = ": ".join(filter(None, (os.path.basename(path), error.field)))
                raise
        if len(parts) == 1:
            parts[0].provenance["notes"] += self.notes
            return parts[0]
        masks = [
            np.zeros((len(part.x), part.x.shape[2]), bool) if part.padding_mask is None else part.padding_mask
            for part in parts
        ]
        return Segments(
            np.concatenate([np.asarray(part.x) for part in parts]),
            np.concatenate([part.start_s for part in parts]),
            None if all(part.padding_mask is None for part in parts) else np.concatenate(masks),
            _merged(parts, self),
            hashlib.blake2b("".join(str(part.checksum) for part in parts).encode(), digest_size=8).hexdigest(),
            parts[0].profile if len({part.profile for part in parts}) == 1 else None,
            choices.input,
        )


def grouped(manifest: str, files: Sequence[str], *, noted: bool = False) -> Iterator[tuple[str, str]]:
    """Iterate over (name, input) of the recordings that a manifest of segments, or another list of files, lists.

    Parameters
    ----------
    manifest : str
        The list; it may be the table of segments itself.
    files : sequence of str
        The paths of those that it lists.
    noted : bool
        Whether it is noted of those that look like segments of one recording and are not taken so.
    """
    for name, certain, members in _same_name(manifest, files):
        if len(members) == 1:
            yield members[0][1], members[0][1]
            continue
        together, own = _told_apart(certain, members)
        if together:
            yield name, SegmentFiles([file for _, file in together], [number for number, _ in together], name)
        for number, file in own:
            yield file, SegmentFiles([file], [number], file, (_OWN,)) if noted else file


def recording_names(manifest: str, files: Sequence[str]) -> list[str]:
    """The recording that each file of a manifest is of: by the same rule as `grouped`; its own where nothing says so.

    Parameters
    ----------
    manifest : str
    files : sequence of str

    Returns
    -------
    list of str
        Also of a recording that has one segment only: ``a.mat`` of ``a_0.mat``, if that says that it is a segment.
    """
    names: dict[str, str] = {}
    for name, certain, members in _same_name(manifest, files):
        if len(members) == 1:
            together = [each for each in members if certain or _origin(*each) is not None]
        else:
            together, _ = _told_apart(certain, members)
        names.update((file, name) for _, file in together)
    return [names.get(file, file) for file in files]


def numbered_names(files: Sequence[str]) -> list[str]:
    """Of each file what its name alone would say: ``a.mat`` of ``a_0.mat``, ``a_1.mat``, ... if the first is there."""
    matches = [_NAME.fullmatch(file) for file in files]
    first = {match[1] + match[3] for match in matches if match and match[2] == "0"}
    whole = [match[1] + match[3] if match else file for match, file in zip(matches, files)]
    return [name if name in first else file for name, file in zip(whole, files)]


def _same_name(manifest: str, files: Sequence[str]) -> Iterator[tuple[str, bool, list[_Member]]]:
    """Files that their names, or the table of segments, put together: (name, whether it is the table, members)."""
    if not files:
        return
    said = _said_by_table(manifest, os.path.dirname(os.path.abspath(files[0])))
    groups: dict[tuple[str, bool], list[_Member]] = {}  # in the order of their first
    for file in files:
        match = _NAME.fullmatch(file)
        origin = said.get(os.path.basename(file))
        if origin:
            key = os.path.join(os.path.dirname(file), os.path.basename(origin)), True
        else:
            key = match[1] + match[3] if match else file, False
        members = groups.setdefault(key, [])
        members.append((int(match[2]) if match else len(members), file))
    for (name, certain), members in groups.items():
        yield name, certain, members


def _told_apart(certain: bool, members: list[_Member]) -> tuple[list[_Member], list[_Member]]:
    """Those of several (number, file) that are segments of one recording, and those that are their own."""
    own = [] if certain else _without_evidence(members)
    together = sorted(member for member in members if member not in own)
    return ([], members) if len(together) == 1 else (together, own)


def _said_by_table(manifest: str, folder: str) -> dict[str, str]:
    """Name of a segment's file -> its recording's, as the table of segments says; empty if there is none."""
    folders = dict.fromkeys((os.path.dirname(folder), folder, os.path.dirname(os.path.abspath(manifest))))
    beside = [os.path.join(folder, table) for folder in folders for table in _TABLES]
    for path in filter(os.path.isfile, [manifest] * manifest.lower().endswith(".csv") + beside):
        try:
            with open_text(path, most=_MAX_TABLE) as file:
                rows = csv_rows(file, path)
                header = next(rows, [])
                places = [header.index(name) for name in ("path", "save_file")]
                pairs = {tuple(row[place] for place in places) for row in rows if len(row) == len(header)}
        except (Error, ValueError):  # another table of this name
            continue
        found = {(os.path.basename(segment), origin) for segment, origin in pairs if segment and origin}
        counts = Counter(segment for segment, _ in found)
        return {segment: origin for segment, origin in found if counts[segment] == 1}
    return {}


def _without_evidence(members: list[_Member]) -> list[_Member]:
    """Those of several files that do not say themselves that they are segments of one recording."""
    origins = [_origin(*each) for each in members]
    common = Counter(origin for origin in origins if origin is not None).most_common(1)
    if not common:
        return members
    numbers = Counter(number for number, _ in members)
    return [each for each, origin in zip(members, origins) if origin != common[0][0] or numbers[each[0]] > 1]


def _origin(number: int, file: str) -> Any:
    """The number ``idx`` of the recording, if the file says that it is the segment of this number."""
    if not file.lower().endswith(".mat"):
        return None
    names = "idx", "segment_i"
    try:
        with MatFile(file) as opened:
            found = opened.read([name for name in names if name in opened.variables])
    except (Error, OSError):  # reading it will say what is wrong
        return None
    if any(name not in found or found[name].size != 1 or found[name].dtype.kind not in "iuf" for name in names):
        return None
    idx, segment = (found[name].item() for name in names)
    return idx if segment == number and idx == idx else None


def _merged(parts: Sequence[Segments], group: SegmentFiles) -> dict[str, Any]:
    """What is known of a recording, from what is known of its segments."""
    known = [part.provenance for part in parts]
    about = dict(
        known[0], source=group.name, segment_files=list(group.segment_files), segment_numbers=list(group.numbers)
    )
    for key in ("samples", "unused_s", "padded_s"):
        about[key] = sum(each[key] for each in known)
    for key in ("derived_leads", "zero_leads", "notes"):
        about[key] = list(dict.fromkeys(one for each in known for one in each[key]))
    about["constant_leads"] = [
        lead for lead in about["constant_leads"] if all(lead in each["constant_leads"] for each in known)
    ]
    about["notes"] += [f"{len(parts)} files of segments are one recording", *group.notes]
    quality: dict[str, Any] = {}
    for each in known:
        for key, found in each["quality"].items():
            one = quality.get(key)
            if isinstance(one, dict):
                quality[key] = found | one
            elif isinstance(one, list):
                quality[key] = list(dict.fromkeys([*one, *found]))
            elif one is None:
                quality[key] = found
    about["quality"] = quality
    return about

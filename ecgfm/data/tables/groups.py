"""What tells groups (patients) and dates apart: the same one may be written in several ways."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from datetime import datetime, timezone
from decimal import Decimal
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..._text import shown
from ...errors import ConfigError

__all__ = ["by_date", "same_groups"]

_LONGEST = 60  # characters of a text that may be a number or a date
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?(e[+-]\d\d?)?")
_REMEDY = "Write dates as 2015-03-28 or 2015-03-28 10:20:30"

_TIME = r"(?:[ T]+(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,]\d*)?)?\s*(?P<half>[AaPp][Mm])?)?"
_FORMS = [  # besides ISO; of the two with figures alone in front only one may be possible
    re.compile(r"(?P<year>\d{4})([-/.])(?P<month>\d{1,2})(?:\2(?P<day>\d{1,2}))?" + _TIME),
    re.compile(r"(?P<day>\d{1,2})([-/.])(?P<month>\d{1,2})\2(?P<year>\d{4})" + _TIME),
    re.compile(r"(?P<month>\d{1,2})([-/.])(?P<day>\d{1,2})\2(?P<year>\d{4})" + _TIME),
    re.compile(r"(?P<day>\d{1,2})[-/. ](?P<name>[A-Za-z]{3})[a-z]*[-/. ](?P<year>\d{4})" + _TIME),
]
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()


def same_groups(values: Iterable[object]) -> tuple[list[str], list[tuple[str, ...]]]:
    """A name for each value's group: values that are one group written in several ways get one name.

    Spaces around and within, capitals, forms of Unicode, and of numbers zeros in front and a fraction of zero make no
    difference: ``15709`` and ``15709.0``, ``P1`` and ``p1 `` are one.

    Returns
    -------
    names : list of str
        The first one, by the order of texts, of all ways in which the group is written.
    merged : list of tuple
        The ways in which each group is written that is written in more than one.
    """
    texts = [str(value) for value in values]
    ways: dict[str | Decimal, list[str]] = {}
    keys = {text: _key(text) for text in dict.fromkeys(texts)}
    for text, key in keys.items():
        ways.setdefault(key, []).append(text)
    first = {key: min(written) for key, written in ways.items()}
    merged = [tuple(sorted(written)) for written in ways.values() if len(written) > 1]
    return [first[keys[text]] for text in texts], merged


def _key(text: str) -> str | Decimal:
    text = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    if len(text) > _LONGEST or not _NUMBER.fullmatch(text):
        return text
    return Decimal(text)  # equal numbers are equal keys, however they are written


def by_date(dates: Iterable[object]) -> NDArray[np.int64]:
    """The order of dates, the earliest first; equal ones stay in order.

    Parameters
    ----------
    dates : sequence
        All numbers, all in ISO's form, or all in one other form: day or month first, if it is clear which.

    Returns
    -------
    ndarray of int64

    Raises
    ------
    ConfigError
        If a text is no date, or day and month can't be told apart.
    """
    texts = [str(date).strip() for date in dates]
    numbers = _numbers(texts)
    if numbers is not None:
        return np.argsort(np.array(numbers), kind="stable")
    found = _iso(texts)
    return np.argsort(np.array(_other(texts) if found is None else found, dtype=object), kind="stable")


def _numbers(texts: list[str]) -> list[float] | None:
    try:
        keys = [float(text) for text in texts]
    except ValueError:
        return None
    if not np.isfinite(keys).all():
        raise ConfigError("a date is not finite", field="dates", remedy=_REMEDY)
    return keys


def _iso(texts: list[str]) -> list[datetime] | None:
    keys = _until_none(map(_of_iso, texts))
    if len(keys) < len(texts):
        return None
    aware = {key.tzinfo is not None for key in keys}
    if len(aware) > 1:
        raise ConfigError("some dates state a time zone and others don't", field="dates", remedy=_REMEDY)
    return [key.astimezone(timezone.utc) if key.tzinfo else key for key in keys]


def _until_none(keys: Iterable[datetime | None]) -> list[datetime]:
    return [key for key in takewhile(lambda key: key is not None, keys) if key is not None]


def _of_iso(text: str) -> datetime | None:
    if len(text) > _LONGEST or len(text) < 10:
        return None
    text = re.sub(r"([.,]\d{6})\d+", r"\1", text.replace("Z", "+00:00").replace("z", "+00:00"))
    text = re.sub(r"[.,](\d{1,5})(?=$|[+-])", lambda part: "." + part[1].ljust(6, "0"), text)
    try:
        return datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        return None


def _other(texts: list[str]) -> list[datetime]:
    """Keys by the one other form that fits all texts."""
    read = [_until_none(_in_form(form, text) for text in texts) for form in _FORMS]
    found = [keys for keys in read if len(keys) == len(texts)]
    if not found:
        strange = texts[max(map(len, read))]
        what = f"{shown(strange)} is not a date, or of another form than the others"
        raise ConfigError(what, field="dates", remedy=_REMEDY)
    if any(other != found[0] for other in found[1:]):
        raise ConfigError(
            f"which is the day and which the month can't be told from {shown(texts[0])} and the others",
            field="dates",
            remedy=_REMEDY,
        )
    return found[0]


def _in_form(form: re.Pattern[str], text: str) -> datetime | None:
    found = form.fullmatch(text) if len(text) <= _LONGEST else None
    if found is None:
        return None
    part: dict[str, Any] = found.groupdict()
    hour, half = int(part["hour"] or 0), (part["half"] or "").lower()
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + 12 * (half == "pm")
    try:
        month = _MONTHS.index(part["name"].lower()) + 1 if "name" in part else int(part["month"])
        return datetime(
            int(part["year"]), month, int(part["day"] or 1), hour, int(part["minute"] or 0), int(part["second"] or 0)
        )
    except ValueError:
        return None

"""Weighted means of what the updates report, and what is printed of them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

__all__ = ["Entry", "Meters", "MeterSet"]

#: A value to count: its name, itself, its weight, and to how many digits the mean is shown.
Entry = tuple[str, "float | None", float, "int | None"]


class Meters:
    """Named means, as fairseq-signals keeps and saves them.

    A mean's state is its last value, the sum of value times weight, the sum of weights, and to how many digits it is
    shown.
    """

    def __init__(self) -> None:
        self._entries: dict[str, dict[str, Any]] = {}

    def log(self, name: str, value: float | None, weight: float = 1, digits: int | None = None) -> None:
        """Count a value."""
        entry = self._entries.setdefault(name, {"val": None, "sum": 0, "count": 0, "round": digits})
        if value is not None:
            entry["val"] = value
            if weight > 0:
                entry["sum"] += value * weight
                entry["count"] += weight

    def mean(self, name: str) -> float | None:
        """The mean, rounded as it is shown; the last value where nothing has weight; None for an unknown name."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        value: float | None = entry["sum"] / entry["count"] if entry["count"] > 0 else entry["val"]
        return value if entry["round"] is None or value is None else round(value, entry["round"])

    def sum(self, name: str) -> Any:
        """The weighted sum; 0 for an unknown name."""
        entry = self._entries.get(name)
        return 0 if entry is None else entry["sum"]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def reset(self) -> None:
        """Forget the values, keep the names."""
        for entry in self._entries.values():
            entry.update(val=None, sum=0, count=0)

    def state(self) -> list[Any]:
        """What a checkpoint holds of them."""
        return [[10, name, "AverageMeter", dict(entry)] for name, entry in self._entries.items()]

    def load(self, state: Any) -> None:
        """Take what `state` gave; what is not of this kind is left out."""
        entries = {}
        for item in state if isinstance(state, (list, tuple)) else ():
            if not (isinstance(item, (list, tuple)) and len(item) == 4 and isinstance(item[3], dict)):
                continue
            name, entry = item[1], item[3]
            numbers = [entry.get("sum"), entry.get("count")]
            if item[2] == "AverageMeter" and isinstance(name, str) and all(map(_usable, numbers)):
                val, digits = entry.get("val"), entry.get("round")
                entries[name] = {
                    "val": val if _usable(val) else None,
                    "sum": numbers[0],
                    "count": numbers[1],
                    "round": digits if isinstance(digits, int) and 0 <= digits < 20 else None,
                }
        self._entries = entries


def _usable(value: Any) -> bool:
    """Whether it is a number that can be counted with."""
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 1 << 62)


class MeterSet:
    """The meters of a run: of all updates, of the epoch, and since the last line of the log; and its clocks."""

    NAMES = ("default", "train", "train_inner")

    def __init__(self) -> None:
        self.by_name = {name: Meters() for name in self.NAMES}
        self.previous_time = 0.0
        self._begun = time.perf_counter()
        self._epoch_begun = self._begun
        self._inner_begun: float | None = None
        self._updates = {"train": 0, "train_inner": 0}
        self._busy = 0.0

    def log(self, entries: Iterable[Entry]) -> None:
        """Count values everywhere."""
        for entry in entries:
            for meters in self.by_name.values():
                meters.log(*entry)

    def begin_epoch(self) -> None:
        self.by_name["train"].reset()
        self._epoch_begun, self._updates["train"], self._busy = time.perf_counter(), 0, 0.0

    def update_done(self, seconds: float) -> None:
        """An update took so long."""
        self._busy += seconds
        for name in self._updates:
            self._updates[name] += 1

    @property
    def since_inner(self) -> int:
        """int: updates since the last line of the log."""
        return self._updates["train_inner"]

    def begin_inner(self) -> None:
        """A line of the log was written."""
        self.by_name["train_inner"].reset()
        self._inner_begun, self._updates["train_inner"] = time.perf_counter(), 0

    def seconds(self) -> float:
        """Since the run began, with those of the run that it continues."""
        return self.previous_time + time.perf_counter() - self._begun

    def clocks(self, tag: str) -> dict[str, float]:
        """Updates per second, time in updates, time in all."""
        begun = self._epoch_begun if tag == "train" else self._inner_begun
        spent = 0.0 if begun is None else time.perf_counter() - begun
        rate = self._updates[tag] / spent if spent > 0 else 0.0
        return {"ups": round(rate, 2), "train_wall": round(self._busy), "wall": round(self.seconds())}

    def state(self) -> dict[str, Any]:
        return {name: meters.state() for name, meters in self.by_name.items()}

    def load(self, state: Any) -> None:
        for name, meters in self.by_name.items():
            if isinstance(state, dict) and name in state:
                meters.load(state[name])

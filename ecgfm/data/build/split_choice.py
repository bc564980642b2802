"""Which packed file a recording's segments go to: one for all, by a table, or drawn."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..._text import shown
from ..._types import StrPath
from ...errors import ConfigError, FormatError
from ...storage.columns import check_name, is_missing, split_list, whole_number
from ...storage.fingerprints import file_digest
from ...storage.json import write_json
from ...storage.rows import read_rows, write_rows
from ..tables.assigning import assign_splits, split_fractions
from ..tables.keys import Names, key_columns

__all__ = ["SplitChoice"]


class SplitChoice:
    """Gives the split of a recording; None if it is in none.

    Parameters
    ----------
    wanted : bool
        One file for all, called ``all``, if nothing else is given.
    table : path-like, optional
        With ``split`` and ``save_file``, or another of `ecgfm.data.tables.keys.KEYS`; ``idx`` is checked, too.
    fractions, split_labels, group_col, seed
        As for `assign_splits`.

    Attributes
    ----------
    names : tuple of str
        The splits; empty if nothing is to be packed.
    """

    def __init__(
        self,
        wanted: bool,
        table: StrPath | None = None,
        fractions: str | Sequence[float] | None = None,
        split_labels: str | Sequence[str] = (),
        group_col: str | None = None,
        seed: int = 1,
    ) -> None:
        self.path, self.fractions = None if table is None else os.fspath(table), fractions
        self.group_col, self.seed = group_col, seed
        self._key, self._names = "save_file", Names()
        self._numbers: dict[str, int] = {}
        self._of: dict[Any, str] | None = None  # the split of each key, once it is known
        if table is not None and fractions is not None:
            raise ConfigError("splits are drawn, or read from a table", field="fractions", remedy="Leave out one")
        if group_col is not None and fractions is None:
            raise ConfigError("groups are for splits that are drawn", field="group_col", remedy="Give fractions too")
        if fractions is not None:
            self.names = tuple(split_list(split_labels, "split_labels"))
            self._assign(0, None if group_col is None else [])  # whether the arguments can be
        elif table is not None:
            self.names = self._read()
        else:
            self.names = ("all",) if wanted else ()
        for name in self.names:
            check_name(name, "a split", path=self.path, field="split")

    def _read(self) -> tuple[str, ...]:
        """Note the table's splits; return their names."""
        assert self.path is not None
        header, rows = read_rows(self.path, ("split",))
        keys = key_columns(header, self.path)
        self._key = next((name for name in keys if name != "idx"), "idx")
        self._of = {}
        for line, row in enumerate(rows, 2):
            key: Any = row[self._key]
            split = row["split"]
            if is_missing(split):
                continue
            if self._key == "idx":
                key = whole_number(key, self.path, f"idx, line {line}")
            elif "idx" in keys and not is_missing(row["idx"]):
                self._numbers[key] = whole_number(row["idx"], self.path, f"idx, line {line}")
            if self._of.setdefault(key, split) != split:
                raise FormatError(
                    f"line {line}: {shown(key)} is in {shown(self._of[key])} and in {shown(split)}",
                    path=self.path,
                    field="split",
                )
            if self._key not in ("idx", "save_file"):
                self._names.add(key, key)
        return tuple(sorted(set(self._of.values())))

    def _look_up(self, of: Mapping[Any, str], row: Mapping[str, Any]) -> str | None:
        """The split of a row, by the table's key."""
        key: Any = int(row["idx"]) if self._key == "idx" else row["save_file"]
        if self._key not in ("idx", "save_file"):
            found = self._names.find(row.get("path") or row["save_file"])
            if len(found) > 1:
                raise FormatError(f"{shown(row['path'])} fits {len(found)} rows", path=self.path, field=self._key)
            key = next(iter(found), None)
        number = self._numbers.get(key)
        if number is not None and number != int(row["idx"]):
            raise FormatError(
                f"{shown(key)} has the number {number}, here {row['idx']}",
                path=self.path,
                field="idx",
                remedy="Labels go by the number: take the splits of this folder, or remove the column idx",
            )
        return of.get(key)

    def _assign(self, count: int, groups: Sequence[str] | None) -> Any:
        strategy = "random" if groups is None else "grouped"
        return assign_splits(
            count, strategy, fractions=self.fractions or "", split_labels=self.names, groups=groups, seed=self.seed
        )

    def draw(self, names: Sequence[str], groups: Sequence[str], folder: str) -> None:
        """Draw the splits of recordings, if that is wanted, and say in a folder what was drawn.

        Parameters
        ----------
        names, groups : list of str
            Of each recording; groups only if they are used.
        folder : str
        """
        if self.fractions is None:
            return
        drawn = self._assign(len(names), None if self.group_col is None else groups)
        self._of = {names[row]: str(split) for row, split in zip(drawn.rows.tolist(), drawn.split)}
        os.makedirs(folder, exist_ok=True)
        rows = ({"save_file": name, "split": self._of[name]} for name in names if name in self._of)
        write_rows(os.path.join(folder, "splits.csv"), ["save_file", "split"], rows)
        drawn_by = {
            "fractions": split_fractions(self.fractions).tolist(),
            "split_labels": list(self.names),
            "group_col": self.group_col,
            "seed": int(self.seed),
            "left_out": drawn.dropped,
        }
        write_json(os.path.join(folder, "splits_args.json"), drawn_by)

    def __call__(self, row: Mapping[str, Any]) -> str | None:
        """The split of a located row, a dict with ``idx``, ``save_file`` and ``path``."""
        return self._look_up(self._of, row) if self._of is not None else "all" if self.names == ("all",) else None

    def digest(self) -> Any:
        """What tells these splits from others."""
        if self.fractions is not None:
            return [split_fractions(self.fractions).tolist(), list(self.names), self.group_col, int(self.seed)]
        return file_digest(self.path) if self.path is not None else list(self.names)

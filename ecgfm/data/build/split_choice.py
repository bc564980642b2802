"""Which packed file a recording's segments go to: one for all, by a table, or drawn."""

import os

from ..._text import shown
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
        With ``split`` and ``save_file``, or another of `ecgfm.data.tables.keys.KEYS`; ``idx`` is checked if it is there.
    fractions, split_labels, group_col, seed
        As for `assign_splits`.

    Attributes
    ----------
    names : tuple of str
        The splits; empty if nothing is to be packed.
    """

    def __init__(self, wanted, table=None, fractions=None, split_labels=(), group_col=None, seed=1):
        self.path, self.fractions = None if table is None else os.fspath(table), fractions
        self.group_col, self.seed, self._of = group_col, seed, None
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

    def _read(self):
        """Note the table's splits; return their names."""
        header, rows = read_rows(self.path, ("split",))
        keys = key_columns(header, self.path)
        self._key = next((name for name in keys if name != "idx"), "idx")
        self._numbers, self._names, self._of = {}, Names(), {}
        for line, row in enumerate(rows, 2):
            split, key = row["split"], row[self._key]
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

    def _look_up(self, row):
        """The split of a row, by the table's key."""
        key = int(row["idx"]) if self._key == "idx" else row["save_file"]
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
        return self._of.get(key)

    def _assign(self, count, groups):
        strategy = "random" if groups is None else "grouped"
        return assign_splits(
            count, strategy, fractions=self.fractions, split_labels=self.names, groups=groups, seed=self.seed
        )

    def draw(self, names, groups, folder):
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
        self._key, self._numbers = "save_file", {}
        self._of = {names[row]: str(split) for row, split in zip(drawn.rows.tolist(), drawn.split)}
        os.makedirs(folder, exist_ok=True)
        rows = ({"save_file": name, "split": self._of[name]} for name in names if name in self._of)
        write_rows(os.path.join(folder, "splits.csv"), ["save_file", "split"], rows)
        told = {
            "fractions": split_fractions(self.fractions).tolist(),
            "split_labels": list(self.names),
            "group_col": self.group_col,
            "seed": int(self.seed),
            "left_out": drawn.dropped,
        }
        write_json(os.path.join(folder, "splits_args.json"), told)

    def __call__(self, row):
        """The split of a located row, a dict with ``idx``, ``save_file`` and ``path``."""
        return self._look_up(row) if self._of is not None else "all" if self.names == ("all",) else None

    def digest(self):
        """What tells these splits from others."""
        if self.fractions is not None:
            return [split_fractions(self.fractions).tolist(), list(self.names), self.group_col, int(self.seed)]
        return file_digest(self.path) if self.path is not None else list(self.names)

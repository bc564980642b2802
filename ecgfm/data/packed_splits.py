"""Which packed file a recording's segments go to: one for all, by a table, or drawn."""

import hashlib
import json
import os

from .._files import write_text
from ..errors import ConfigError, FormatError
from .columns import split_list
from .rows import read_rows, write_rows
from .splits import assign_splits, split_fractions

__all__ = ["PackedSplits", "digest"]


class PackedSplits:
    """Gives the split of a recording by its name; None if it is in none.

    Parameters
    ----------
    wanted : bool
        One file for all, called ``all``, if nothing else is given.
    table : path-like, optional
        With the columns ``save_file`` and ``split``.
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
            self._of = {row["save_file"]: row["split"] for row in read_rows(self.path, ("save_file", "split"))[1]}
            self.names = tuple(sorted(set(self._of.values())))
        else:
            self.names = ("all",) if wanted else ()
        for name in self.names:
            if name != os.path.basename(name) or not name.strip("."):
                raise FormatError(f"{name!r} is no name of a split", path=self.path, field="split")

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
        self._of = {names[row]: str(split) for row, split in zip(drawn.rows.tolist(), drawn.split)}
        os.makedirs(folder, exist_ok=True)
        rows = ({"save_file": name, "split": self._of[name]} for name in names if name in self._of)
        write_rows(os.path.join(folder, "splits.csv"), ["save_file", "split"], rows)
        told = {"fractions": split_fractions(self.fractions).tolist(), "split_labels": list(self.names),
                "group_col": self.group_col, "seed": int(self.seed), "left_out": drawn.dropped}
        write_text(os.path.join(folder, "splits_args.json"), json.dumps(told, indent=1) + "\n")

    def __call__(self, name):
        return self._of.get(name) if self._of is not None else "all" if self.names == ("all",) else None

    def digest(self):
        """What tells these splits from others."""
        if self.fractions is not None:
            return [split_fractions(self.fractions).tolist(), list(self.names), self.group_col, int(self.seed)]
        return digest(self.path) if self.path is not None else list(self.names)


def digest(path):
    """The SHA-256 of a file."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()

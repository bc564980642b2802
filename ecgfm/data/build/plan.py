"""What a run of the preprocessing is to do, and where its files lie."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import ConfigError
from ...storage.columns import check_name
from ...storage.fingerprints import file_digest
from ..recording import Options
from ..sources import Source
from .split_choice import SplitChoice
from .work import check_outputs

__all__ = ["Plan"]


@dataclass(eq=False)
class Plan:
    """What is asked of a run, as `preprocess` takes it.

    Attributes
    ----------
    source : Source
    folder, raw_root : str
        What is written to, and where the recordings lie.
    options : Options
    stages, skip : frozenset of str
        Stages whose files are written, and those that are not run.
    splits : SplitChoice
        Which packed file a recording's segments go to.
    subset : sequence of str or None
        Only rows of these data sets.
    manifest_file : str or None
        A manifest of several sources.
    suffix : str
        Of the names of the tables.
    reads : bool
        Whether the recordings themselves are read.
    written : frozenset of str
        The stages that are run and whose files are written.
    records, manifest : str
        The table of recordings, and that of what is written.
    packed, state, parts : str
        The folders of packed files, of the run's own state, and of files that are not whole yet.
    journal : str
        What is done of the run.
    """

    source: Source
    folder: str
    raw_root: str | None
    options: Options
    stages: frozenset[str]
    skip: frozenset[str]
    splits: SplitChoice
    subset: Sequence[str] | None = None
    manifest_file: str | None = None
    suffix: str = ""

    def __post_init__(self) -> None:
        self.reads = "org" not in self.skip
        self.written = self.stages - self.skip
        self.records, self.packed, self.state = (
            os.path.join(self.folder, name) for name in ("records.csv", "packed", ".ecgfm")
        )
        self.parts = os.path.join(self.state, "parts")
        self.journal = os.path.join(self.state, f"preprocess{self.suffix}.jsonl")
        self.manifest = self.table("manifest") if self.manifest_file is None else self.manifest_file

    def table(self, name: str) -> str:
        """The file of a table."""
        return os.path.join(self.folder, f"{name}{self.suffix}.csv")

    def packed_file(self, split: str) -> str:
        return os.path.join(self.packed, f"{split}{self.suffix}.npy")

    def head(self, offset: int) -> dict[str, Any]:
        """What makes it this run: the first line of the journal."""
        return {
            "source": {"name": self.source.name, **self.source.settings()},
            **self.options.settings(),
            "manifest_file": os.path.abspath(self.manifest),
            "offset": offset,
            "records": file_digest(self.records),
            "stages": sorted(self.stages),
            "skip": sorted(self.skip),
            "packed": self.splits.digest(),
        }

    def check(self) -> None:
        """Refuse whatever can be known before anything is written.

        Raises
        ------
        ConfigError
        """
        if os.path.exists(self.folder) and not os.path.isdir(self.folder):
            raise ConfigError("not a directory", path=self.folder, field="processed_root")
        if self.reads:
            self._check_raw_root()
        folder = os.path.dirname(os.path.abspath(self.manifest))
        if not os.path.isdir(folder) and folder != os.path.abspath(self.folder):
            raise ConfigError("there is no such directory", path=folder, field="manifest_file")
        if self.splits.names and "segmented" in self.skip:
            raise ConfigError("segments that are not made can't be packed", field="skip")
        if self.suffix != os.path.basename(self.suffix):
            raise ConfigError("a part of a file name is needed", field="results_suffix")
        if self.suffix:
            check_name(f"a{self.suffix}", "a table", field="results_suffix", error=ConfigError)
        names = ["records.csv", ".ecgfm/listed.csv", "packed/splits.csv", "packed/splits_args.json"]
        names += [f"packed/{one}{self.suffix}{end}" for one in self.splits.names for end in (".npy", ".index.csv")]
        tables = map(self.table, ("manifest", "meta", "segmented", "errors", "status"))
        check_outputs(self.folder, [*(os.path.join(self.folder, name) for name in names), *tables])

    def _check_raw_root(self) -> None:
        if self.raw_root is None:
            raise ConfigError("it is not given", field="raw_root", remedy="Give it, or skip org")
        if not os.path.isdir(self.raw_root):
            raise ConfigError("there is no such directory", path=self.raw_root, field="raw_root")
        if os.path.exists(self.folder) and os.path.samefile(self.folder, self.raw_root):
            raise ConfigError(
                "is where the recordings lie",
                path=self.folder,
                field="processed_root",
                remedy="Take another folder",
            )

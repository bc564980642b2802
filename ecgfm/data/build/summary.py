"""What a run of the preprocessing did."""

from dataclasses import dataclass, field

__all__ = ["Summary"]


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes
    ----------
    folder : str
        What was written to.
    records, segments : int
        How many there are now.
    resumed : int
        Recordings that an earlier run had done.
    skipped : int
        Recordings that could not be done; ``errors.csv`` names them.
    paths : dict
        Name of each table -> its file.
    added : int
        Recordings that are new since the last run.
    derived : int
        Recordings with leads that were calculated from I and II; ``derived_leads`` in ``meta.csv`` names them.
    renamed : int
        Recordings that got a name of their own since another has theirs; ``status.csv`` names them.
    ignored : dict
        Ending -> files in the folder that are no recordings; ``status.csv`` names them.
    """

    folder: str
    records: int
    segments: int
    resumed: int
    skipped: int
    paths: dict[str, str]
    added: int = 0
    derived: int = 0
    renamed: int = 0
    ignored: dict[str, int] = field(default_factory=dict)

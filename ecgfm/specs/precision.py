"""Precisions: the number types in which a model computes, and what a file says of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from .._text import shown
from .._types import StrPath
from ..errors import CheckpointError

__all__ = ["AUTO", "BFLOAT16", "FLOAT32", "INT8", "PRECISIONS", "TRAINED", "UNROUNDED", "Stated"]

FLOAT32: Final = "float32"
BFLOAT16: Final = "bfloat16"
INT8: Final = "int8"
#: From the most exact to the fastest.
PRECISIONS: Final = (FLOAT32, BFLOAT16, INT8)
#: Those of training.
TRAINED: Final = (FLOAT32, BFLOAT16)
#: The fastest that is exact enough by the report that is kept with a model.
AUTO: Final = "auto"


@dataclass(frozen=True)
class Stated:
    """What a checkpoint says of its precision.

    Attributes
    ----------
    name : str
        The precision that it is loaded in unless another is asked for.
    numbers : str
        The precision that its weights were rounded to; in a ``.pt`` they stand as float32 all the same.
    report : dict or None
        As of `ecgfm.QuantizationReport`.
    """

    name: str = FLOAT32
    numbers: str = FLOAT32
    report: Mapping[str, Any] | None = None

    @classmethod
    def read(cls, said: Any, path: StrPath | None = None) -> Stated:
        """What stands under ``precision`` in a file; `CheckpointError` if it is damaged."""
        if said is None:
            return cls()
        said = {"name": None, "report": None} | said if isinstance(said, dict) else {"name": said, "report": None}
        name, report = said["name"], said["report"]
        numbers = said.get("numbers", name)
        for value in (name, numbers):
            if not isinstance(value, str) or value not in PRECISIONS:
                known = ", ".join(PRECISIONS)
                raise CheckpointError(f"{shown(value)} is none of {known}", path=path, field="precision")
        if report is not None and not isinstance(report, dict):
            raise CheckpointError(f"{shown(report)} is no report", path=path, field="precision.report")
        return cls(name, numbers, report)

    def written(self, name: str | None = None) -> dict[str, Any]:
        """The same as it stands in a file that is loaded in `name`."""
        name = self.name if name is None else name
        numbers = {} if self.numbers == name else {"numbers": self.numbers}
        return {"name": name, **numbers, "report": None if self.report is None else dict(self.report)}


UNROUNDED: Final = Stated()

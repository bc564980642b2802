"""Types that annotations of many modules share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["AnyArray", "BoolArray", "Config", "FloatArray", "IntArray", "StrPath"]

StrPath: TypeAlias = "str | os.PathLike[str]"
AnyArray: TypeAlias = "NDArray[Any]"
FloatArray: TypeAlias = "NDArray[np.float32]"
IntArray: TypeAlias = "NDArray[np.int64]"
BoolArray: TypeAlias = "NDArray[np.bool_]"
Config: TypeAlias = "dict[str, Any]"  # keys of a configuration, as files and users give them

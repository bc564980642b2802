"""The sources of recordings that the preprocessing knows, a file each."""

from typing import Final

from ...validation import Choice, checked
from .base import Recording, Source
from .code_15 import Code15
from .files import Files
from .mimic_iv_ecg import MimicIvEcg
from .muse import Muse
from .physionet2021 import Physionet2021
from .ptb_xl import PtbXl

__all__ = ["SOURCES", "Files", "Recording", "Source", "find_source"]

#: Name -> class. A new source is added here and nowhere else.
SOURCES: Final[dict[str, type[Source]]] = {
    source.name: source for source in (Physionet2021, MimicIvEcg, Code15, PtbXl, Muse, Files)
}


def find_source(source: str | Source) -> Source:
    """A `Source` by its name, spelt with ``_`` or ``-``, or as it is given.

    Raises
    ------
    ConfigError
        If there is none of that name.
    """
    if isinstance(source, Source):
        return source
    name = source.replace("-", "_") if isinstance(source, str) else source
    return SOURCES[checked(name, Choice(tuple(SOURCES)), "source")]()

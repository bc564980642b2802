"""The earlier name of `ecgfm.io`."""

from ..io import *  # noqa: F403

"""Checkpoints: read without running code in them, and written."""

from .conversion import convert, save
from .description import describe, describe_text
from .directory import write_directory, write_safetensors
from .hub import fetch, hub_name
from .reader import Checkpoint, read
from .storage import Tensor
from .write import write_pt

__all__ = [
    "Checkpoint",
    "Tensor",
    "convert",
    "describe",
    "describe_text",
    "fetch",
    "hub_name",
    "read",
    "save",
    "write_directory",
    "write_pt",
    "write_safetensors",
]

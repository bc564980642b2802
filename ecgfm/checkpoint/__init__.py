"""Checkpoints: read without running code in them, and written."""

from .conversion import convert, is_pt, save
from .description import describe, describe_text
from .directory import keep_report, write_directory, write_safetensors
from .hub import fetch, hub_name
from .reader import Checkpoint, read
from .storage import Tensor, held_tensor
from .write import write_pt

__all__ = [
    "Checkpoint",
    "Tensor",
    "convert",
    "describe",
    "describe_text",
    "fetch",
    "held_tensor",
    "hub_name",
    "is_pt",
    "keep_report",
    "read",
    "save",
    "write_directory",
    "write_pt",
    "write_safetensors",
]

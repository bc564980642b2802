"""Data sets: from recordings to segments, their order and their batches."""

from .dataset import Batch, Dataset
from .loader import Loader
from .manifest_reading import Manifest, read_manifest
from .mat import read_mat
from .order import batches, epoch_order
from .packed import Packed, open_packed
from .pipeline import Summary, preprocess
from .preprocess import Options, condition, cut, describe, prepare_recording, reorder_leads
from .sources import SOURCES, Files, Recording, Source

__all__ = [
    "SOURCES",
    "Batch",
    "Dataset",
    "Files",
    "Loader",
    "Manifest",
    "Options",
    "Packed",
    "Recording",
    "Source",
    "Summary",
    "batches",
    "condition",
    "cut",
    "describe",
    "epoch_order",
    "open_packed",
    "prepare_recording",
    "preprocess",
    "read_manifest",
    "read_mat",
    "reorder_leads",
]

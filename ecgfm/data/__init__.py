"""Data sets: from recordings to segments, splits, labels and manifests, and their batches."""

from ..io.manifest import Manifest, read_manifest
from ..storage.mat import read_mat
from .build.pipeline import Summary, preprocess
from .build.repack import pack_manifest, pack_splits
from .feed.dataset import Batch, Dataset
from .feed.loader import Loader
from .feed.order import batches, epoch_order
from .recording import Options, condition, cut, describe, prepare_recording, reorder_leads
from .sources import SOURCES, Files, Recording, Source
from .stores.packed import Packed, open_packed, write_packed
from .tables.labels import Labels, code_15_labels, physionet2021_labels, read_labels
from .tables.manifests import cmsc_manifests, make_manifests
from .tables.prepared_labels import prepare_labels
from .tables.ptb_xl import PTB_XL_TASKS, ptb_xl_labels, read_ptb_xl
from .tables.splits import Splits, assign_splits, make_splits, split_fractions
from .tables.subset import subset_manifest

__all__ = [
    "PTB_XL_TASKS",
    "SOURCES",
    "Batch",
    "Dataset",
    "Files",
    "Labels",
    "Loader",
    "Manifest",
    "Options",
    "Packed",
    "Recording",
    "Source",
    "Splits",
    "Summary",
    "assign_splits",
    "batches",
    "cmsc_manifests",
    "code_15_labels",
    "condition",
    "cut",
    "describe",
    "epoch_order",
    "make_manifests",
    "make_splits",
    "open_packed",
    "pack_manifest",
    "pack_splits",
    "physionet2021_labels",
    "prepare_labels",
    "prepare_recording",
    "preprocess",
    "ptb_xl_labels",
    "read_labels",
    "read_manifest",
    "read_mat",
    "read_ptb_xl",
    "reorder_leads",
    "split_fractions",
    "subset_manifest",
    "write_packed",
]

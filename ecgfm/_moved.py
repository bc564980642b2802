"""Modules that have moved: an import of the old path gives the module of today."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType

__all__ = ["MOVED", "install"]

# (old package, new package) -> the modules that kept their names.
_TOGETHER = {
    ("data", "data.build"): "listing numbering pipeline stages summary work",
    ("data", "data.feed"): "conditioning dataset loader order",
    ("data", "data.stores"): "packed segments",
    ("data", "data.tables"): "assigning groups keys labels manifests splits subset",
    ("data", "storage"): "columns journal rows",
    ("ecg", "io"): "segment_files",
    ("ecg", "signal"): "leads",
    ("ecg.readers", "io"): "aecg common dicom dicom_elements edf hdf5 hdf5_tree hdf5_values kit mat muse npy npz scp"
    " table wfdb xml",
    ("inference", "io"): "ignored inputs lists",
    ("inference", "storage"): "fingerprints growing growing_files",
    ("labeler", "data.tables"): "label_files",
}
_RENAMED = {
    "checkpoint.files": "storage.atomic",
    "data.manifest_reading": "io.manifest",
    "data.mat": "storage.mat",
    "data.pack": "data.build.repack",
    "data.packed_splits": "data.build.split_choice",
    "data.pool": "workers",
    "ecg.readers": "io",
    "ecg.readers.times": "signal.times",
    "ecg.readers.wfdb_plain": "storage.wfdb",
    "ecg.readers.xml_others": "io.xml",
    "ecg.resampling": "signal.conditioning",
    "inference.evaluate_metrics": "metrics.intervals",
    "labeler.mimic_iv_ecg": "data.tables.mimic_labels",
    "training.config": "cli.fairseq.compose",
    "training.config_files": "cli.fairseq.files",
    "training.config_keys": "cli.fairseq.keys",
    "training.config_values": "cli.fairseq.values",
    "training.masks": "training.noise.spans",
    "training.parts": "training.feed",
    "training.pretrain_noise": "training.noise.draws",
    "training.pretrain_settings": "training.settings",
    "training.session": "training.run",
    "training.sums": "training.objectives.reports",
    "training.validation": "training.subsets",
}
#: Old path -> new path.
MOVED = {
    f"ecgfm.{old}.{name}": f"ecgfm.{new}.{name}" for (old, new), names in _TOGETHER.items() for name in names.split()
} | {f"ecgfm.{old}": f"ecgfm.{new}" for old, new in _RENAMED.items()}


class _Finder(MetaPathFinder, Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return spec_from_loader(fullname, self) if fullname in MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(MOVED[spec.name])
        spec.loader_state = module.__spec__  # an import sets `__spec__` even of a module that is there
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing runs again."""
        module.__spec__ = module.__spec__.loader_state if module.__spec__ else None


def install() -> None:
    """Let imports find the old paths: before the finder of files, which would load a module of `ecg.readers` again."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())

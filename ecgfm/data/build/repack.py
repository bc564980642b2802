"""Packed splits from segments that are there: those of a manifest, or rows of another packed file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..._text import shown
from ..._types import StrPath
from ...errors import ConfigError, FormatError
from ...io.manifest import read_manifest
from ...storage.inputs import unreadable
from ...storage.mat import number, read_mat
from ..stores.packed import Packed, index_path, open_packed, write_packed
from .split_choice import SplitChoice

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["pack_manifest", "pack_splits"]


def pack_manifest(path: StrPath, save_dir: StrPath | None = None) -> tuple[str, int]:
    """Pack the ``.mat`` files of a manifest: ``train.tsv`` to ``train.npy`` and ``train.index.csv``, in its order.

    Parameters
    ----------
    path : path-like
        A plain manifest.
    save_dir : path-like, optional
        By default the manifest's folder; there training takes the packed file in place of the manifest.

    Returns
    -------
    str
        The ``.npy`` file.
    int
        Its segments.

    Raises
    ------
    FormatError, SignalError
        At the first file that is missing or damaged or has another shape than the first; nothing is written.
    """
    path = os.fspath(path)
    manifest = read_manifest(path)
    if not manifest.names:
        raise FormatError("the manifest lists nothing", path=path)
    folder, name = os.path.split(path)
    out = _target(os.path.join(folder if save_dir is None else os.fspath(save_dir), f"{os.path.splitext(name)[0]}.npy"))
    files = [os.path.join(manifest.root, name) for name in manifest.names]
    return out, write_packed(out, map(_segment, files), _segment(files[0])[1].shape)


def _segment(path: str) -> tuple[dict[str, Any], NDArray[Any]]:
    try:
        fields = read_mat(path)
    except OSError as error:
        raise unreadable(path, error) from None
    if "feats" not in fields:
        raise FormatError("the file holds no such array", path=path, field="feats")
    if fields["feats"].dtype.kind not in "iuf":
        raise FormatError(f"the values are of type {fields['feats'].dtype}", path=path, field="feats")
    part = _whole(fields, "segment_i", path) if "segment_i" in fields else 0
    name = os.path.basename(path)
    about = {
        "idx": _whole(fields, "idx", path),
        "save_file": f"{name.removesuffix('.mat').removesuffix(f'_{part}')}.mat" if "segment_i" in fields else name,
        "segment_i": part,
        "sample_rate": _rate(fields, path),
    }
    return about, fields["feats"]


def _whole(fields: dict[str, Any], name: str, path: str) -> int:
    value = number(fields, name, path)
    if not isinstance(value, (int, float)) or not 0 <= value < 1 << 53 or value != int(value):
        raise FormatError(f"{shown(value)} is not a whole number from 0 up", path=path, field=name)
    return int(value)


def _rate(fields: dict[str, Any], path: str) -> float:
    value = number(fields, "curr_sample_rate", path)
    if not isinstance(value, (int, float)) or not 0 < value < 1e9:
        raise FormatError(f"{shown(value)} is not a rate in Hz", path=path, field="curr_sample_rate")
    return value


def pack_splits(packed: StrPath, splits: StrPath, save_dir: StrPath) -> dict[str, int]:
    """Cut a packed file into one for each split.

    Parameters
    ----------
    packed : path-like
        Such as ``packed/all.npy``.
    splits : path-like
        A table with ``split`` and ``save_file``, ``idx`` or another key, such as ``meta_split.csv``. Recordings that
        are not in it are left out.
    save_dir : path-like

    Returns
    -------
    dict
        ``.npy`` file of each split -> its segments.

    Raises
    ------
    FormatError
        If a file is damaged, or the table names none of the recordings.
    """
    found, of = open_packed(packed), SplitChoice(False, splits)
    split = [of({"save_file": name, "idx": idx}) for name, idx in zip(found.save_file.tolist(), found.idx.tolist())]
    if not any(split):
        raise FormatError("names none of the recordings", path=splits, field="save_file")
    targets = {name: _target(os.path.join(os.fspath(save_dir), f"{name}.npy")) for name in of.names}
    return {
        path: write_packed(path, (_row(found, i) for i, one in enumerate(split) if one == name), found.x.shape[1:])
        for name, path in targets.items()
    }


def _row(found: Packed, i: int) -> tuple[dict[str, Any], NDArray[Any]]:
    about = {"idx": found.idx[i], "save_file": found.save_file[i], "segment_i": found.segment_i[i]}
    return about | {"sample_rate": f"{found.sample_rate[i]:g}"}, found.x[i]


def _target(path: str) -> str:
    if not os.path.isdir(os.path.dirname(os.path.abspath(path))):
        raise ConfigError("there is no such directory", path=os.path.dirname(path), field="save_dir")
    if os.path.exists(path) or os.path.exists(index_path(path)):
        raise ConfigError("is there already", path=path, field="save_dir", remedy="Remove it, or name another folder")
    return path

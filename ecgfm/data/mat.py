"""The ``.mat`` stages of ECG-FM's preprocessing, under the name that users know; see `ecgfm.storage.mat`."""

from ..storage.mat import mat_bytes, read_mat

__all__ = ["mat_bytes", "read_mat"]

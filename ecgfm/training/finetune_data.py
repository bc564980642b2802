"""What `finetune` trains and validates on: segments, labels and groups, from whatever a user gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..data.feed.dataset import Dataset
from ..ecg import Segments
from ..ecg.expected import refuse_other_order
from ..errors import ConfigError, LabelError, SignalError
from ..inference.truth_table import label_file_beside
from ..model.segments import zeros_under_mask
from ..specs.inputs import ECG_FM, InputSpec
from ..validation import bool_array, real_array
from .feed import InMemory, Some, Streamed, is_source, open_source, streamed
from .grouping import group_numbers, held_out, recordings_of
from .labelling import Labels, chosen_names, read_labels
from .objectives.labelled import Labelled, row_weights
from .warned import level_of_user, warn

__all__ = ["Wanted", "labels_of"]

#: What to train on, what to validate on or None, the names of the outputs or None, and their number.
Parts = tuple[InMemory | Streamed, InMemory | Streamed | None, "tuple[str, ...] | None", int]


class Wanted:
    """Makes the parts of a training.

    Parameters
    ----------
    labels : sequence of str, path-like or None
        Names of the outputs, as of `finetune`.
    batch_size, seed, max_bad_segments
        As of `finetune`.
    spec : InputSpec
        What the model takes, as far as that is known before it is opened.
    """

    def __init__(
        self, labels: Any, batch_size: int, seed: int, max_bad_segments: float, spec: InputSpec = ECG_FM
    ) -> None:
        self.spec = spec
        self.labels, self.batch_size, self.seed, self.max_bad = labels, batch_size, seed, max_bad_segments

    def parts(
        self, x: Any, y: Any, padding_mask: ArrayLike | None, groups: Any, valid: Any, sample_weight: Any = None
    ) -> Parts:
        """What to train on, what to validate on or None, the names of the outputs or None, and their number."""
        make = self._streamed if is_source(x) else self._in_memory
        return make(x, y, padding_mask, groups, valid, sample_weight)

    def _chosen(self, found: Labels) -> tuple[tuple[str, ...] | None, NDArray[Any]]:
        """Names of the outputs, and the labels' values in their order."""
        names, self._columns = chosen_names(self.labels, found)
        return names, found.arranged(self._columns)

    # ---- arrays -----------------------------------------------------------------------------------

    def _in_memory(
        self, x: Any, y: Any, padding_mask: ArrayLike | None, groups: Any, valid: Any, sample_weight: Any
    ) -> Parts:
        if is_source(valid) or (isinstance(valid, tuple) and valid and is_source(valid[0])):
            raise ConfigError("is no array, the training data are", field="valid")
        x, found, padding_mask, own, counts = _arrays(x, y, padding_mask, "x", self.spec)
        names, y = self._chosen(found)
        if groups is None:
            groups = own
        elif counts is not None and np.shape(groups) == (len(counts),) != (len(x),):  # one of each recording
            groups = np.repeat(group_numbers(groups, len(counts), "groups"), counts)
        else:
            groups = group_numbers(groups, len(x), "groups")
        weights = _weights(sample_weight, len(x), counts)
        train: Any = (x, y, padding_mask) if weights is None else (x, y, padding_mask, weights)
        held: Any = None
        if isinstance(valid, (tuple, list)):
            if len(valid) not in (2, 3):
                raise ConfigError("give (x, y) or (x, y, padding_mask)", field="valid")
            vx, vy, mask, *_ = _arrays(valid[0], valid[1], valid[2] if len(valid) == 3 else None, "valid", self.spec)
            held = vx, self._fitting(vy, y.shape[1]), mask
        elif valid is not None:
            what = "segments" if groups is None else "groups"
            chosen = held_out(np.arange(len(x)) if groups is None else groups, valid, self.seed, what, y)
            if groups is None:
                _say_ungrouped(valid)
            train, held = (
                tuple(None if values is None else values[rows] for values in train) for rows in (~chosen, chosen)
            )
        feed = InMemory(train, self.batch_size, self.seed)
        other = None if held is None else InMemory(held[:3], self.batch_size, self.seed)
        return feed, other, names, y.shape[1]

    def _fitting(self, found: Labels, count: int) -> NDArray[Any]:
        """Labels of the validation, in the order of those of the training."""
        values = found.arranged(self._columns)
        if values.shape[1] != count:
            raise LabelError(f"{values.shape[1]} labels, the training data have {count}", field="valid")
        return values

    # ---- data sets --------------------------------------------------------------------------------

    def _streamed(
        self, x: Any, y: Any, padding_mask: ArrayLike | None, groups: Any, valid: Any, sample_weight: Any
    ) -> Parts:
        if padding_mask is not None:
            raise ConfigError("comes with the data set", field="padding_mask")
        found = _found(x, y)
        names, labels = self.labels, y
        self._columns = None
        if found is not None:
            names, values = self._chosen(found)
            labels = _for_data_set(x, found, values)
        train, count = _opened(x, labels, True, self.seed, "x")
        _check_rows(train, found)
        if groups is not None:
            groups = group_numbers(groups, len(train), "groups")
        take = Labelled.take if sample_weight is None else _weighed(row_weights(sample_weight, len(train)), train)
        held: Any = None
        if isinstance(valid, float) and not isinstance(x, Dataset):
            groups = recordings_of(train.segments) if groups is None else groups
            chosen = held_out(groups, valid, self.seed, "recordings", train.labels())
            held = Dataset(Some(train.segments, chosen), labels=labels, seed=self.seed)
            train = Dataset(Some(train.segments, ~chosen), training=True, labels=labels, seed=self.seed)
        elif valid is not None:
            held = self._validation(valid)
            if held.num_labels != count:
                raise LabelError(f"{held.num_labels} labels, the training data have {count}", field="valid")
        held = None if held is None else streamed(held, self.batch_size, Labelled.take)
        return streamed(train, self.batch_size, take, self.max_bad), held, names, count

    def _validation(self, valid: Any) -> Dataset:
        """The data set that is given for validation."""
        x, y = (valid, None) if isinstance(valid, Dataset) else valid if _is_pair(valid) else (None, None)
        if not is_source(x):
            raise ConfigError("give (manifest, labels), a data set or a share", field="valid")
        found, labels = _found(x, y), y
        if found is not None:
            labels = _for_data_set(x, found, found.arranged(self._columns))
        held, _ = _opened(x, labels, False, self.seed, "valid")
        _check_rows(held, found)
        return held


def labels_of(feed: InMemory | Streamed) -> NDArray[Any] | None:
    """The labels of the segments of a feed, (n, Y); None if they stand in the files of the segments."""
    if isinstance(feed, InMemory):
        return feed.arrays[1]
    return feed.loader.dataset.labels()


def _weights(given: Any, rows: int, counts: NDArray[np.int64] | None) -> NDArray[np.float32] | None:
    """A weight for each segment, of weights of segments or of recordings."""
    if given is not None and counts is not None and np.shape(given) == (len(counts),) != (rows,):
        return np.repeat(row_weights(given, len(counts)), counts)
    return None if given is None else row_weights(given, rows)


def _weighed(weights: NDArray[np.float32], data: Dataset) -> Callable[[Any], tuple[Any, ...]]:
    """What makes the batch of a trainer of that of a data set, whose items have these weights."""
    by_line = np.zeros(int(data.segments.lines.max()) + 1, np.float32)
    by_line[data.segments.lines] = weights
    return lambda batch: (*Labelled.take(batch), by_line[batch.id])


def _is_pair(valid: object) -> bool:
    return isinstance(valid, (tuple, list)) and len(valid) == 2


def _say_ungrouped(share: object) -> None:
    warn(
        f"valid={share} holds single segments back: those of one recording or patient may be on both sides, and then "
        "the validation looks better than it is. Give groups=, the patient of each segment"
    )


# ---- segments in memory -------------------------------------------------------------------------------


def _arrays(
    x: Any, y: Any, padding_mask: Any, name: str, spec: InputSpec
) -> tuple[NDArray[Any], Labels, Any, Any, Any]:
    """(x (n, L, N), Labels, padding mask or None, groups or None, segments of each part or None) of what is given."""
    parts = [x] if isinstance(x, Segments) else x
    groups = counts = None
    if isinstance(parts, (list, tuple)) and parts and all(isinstance(part, Segments) for part in parts):
        x, own, groups, counts = _joined(parts, name)
        padding_mask = own if padding_mask is None else padding_mask
    elif padding_mask is None:
        padding_mask = getattr(x, "padding_mask", None)
    refuse_other_order(x, name, spec)
    x = real_array(x, name)
    if x.ndim != 3 or len(x) == 0:
        raise SignalError(f"the shape {x.shape} is not (segments, leads, samples) with a segment", field=name)
    if y is None:
        raise LabelError("there are no labels", field="y", remedy="Give (segments, labels)")
    found = read_labels(y)
    rows = len(found.values)
    if counts is not None and rows == len(counts) and rows != len(x):  # a row per recording
        found = Labels(np.repeat(found.values, counts, axis=0), found.names, found.path)
    elif rows != len(x):
        raise LabelError(
            f"the shape {found.values.shape} does not fit {len(x)} segments: (segments, labels)",
            path=found.path,
            field="y",
        )
    mask = None if padding_mask is None else bool_array(padding_mask, "padding_mask")
    if mask is not None and (mask.ndim < 2 or len(mask) != len(x)):
        raise SignalError(f"the shape {mask.shape} does not fit {len(x)} segments", field="padding_mask")
    return zeros_under_mask(x, mask, stacklevel=level_of_user()), found, mask, groups, counts


def _joined(parts: Any, name: str) -> tuple[NDArray[Any], Any, NDArray[np.int64], NDArray[np.int64]]:
    """The segments of several recordings: x, padding mask or None, the recording of each, and how many each has."""
    arrays = [real_array(part, name) for part in parts]
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1:
        raise SignalError(f"segments of different shapes: {sorted(shapes)[:5]}", field=name)
    counts = np.array([len(array) for array in arrays])
    numbers: dict[Any, int] = {}
    keys = [(part.source,) if part.source is not None else i for i, part in enumerate(parts)]
    groups = np.repeat([numbers.setdefault(key, len(numbers)) for key in keys], counts).astype(np.int64)
    mask = None
    if any(part.padding_mask is not None for part in parts):
        samples = arrays[0].shape[2]
        own = [part.padding_mask for part in parts]
        masks = [np.zeros((n, samples), bool) if one is None else one for one, n in zip(own, counts)]
        mask = np.concatenate([bool_array(one, "padding_mask") for one in masks])
    return np.concatenate(arrays), mask, groups, counts


# ---- data sets ------------------------------------------------------------------------------------------


def _found(x: Any, y: Any) -> Labels | None:
    """The `Labels` of a data set; None if they stand in its files, or there are none."""
    if isinstance(x, Dataset):
        values, path = getattr(x, "_y", None), getattr(x, "_y_path", None)
        if y is not None or values is None or path is None:
            return None
        return Labels(values, label_file_beside(path, values.shape[1]), path, True)
    if y is None or (isinstance(y, str) and y == "file"):
        return None
    return read_labels(y, indexed=True)


def _for_data_set(x: Any, found: Labels, values: NDArray[Any]) -> Any:
    """What a data set gets as labels: the file where its columns are in order."""
    if not isinstance(x, Dataset):
        return found.path if found.path is not None and values is found.values else values
    if values is not found.values:
        raise LabelError(
            "the labels have another order in the data set",
            path=found.path,
            field="labels",
            remedy="Give the manifest and y.npy instead of a data set",
        )
    return None


def _opened(source: Any, labels: Any, training: bool, seed: int, field: str) -> tuple[Dataset, int]:
    """The data set, and its number of labels."""
    data = open_source(source, pairs=False, training=training, seed=seed, labels=labels, field=field)
    if data.num_labels is None:
        raise LabelError(
            "there are no labels", path=data.path, field="y", remedy="Give y.npy, whose rows are the records' indices"
        )
    return data, data.num_labels


def _check_rows(data: Dataset, found: Labels | None) -> None:
    """Refuse labels that evidently have a row per segment: they would be read by the index of the record."""
    if found is None or found.by_idx or len(found.values) != len(data.segments):
        return
    records = len(np.unique(recordings_of(data.segments)))
    if records < len(data.segments):
        raise LabelError(
            f"it has a row for each of the {len(data.segments)} segments, which are of {records} recordings; rows are "
            "taken by the number idx of a segment's recording",
            path=found.path,
            field="y",
            remedy="Give a row for each recording (row idx), or a table with a column idx; if these are such rows, "
            "give ecgfm.data.Dataset(manifest, labels=y, training=True)",
        )

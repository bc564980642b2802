"""scikit-learn estimators: embeddings of a model, and models that are finetuned. Needs the extra ``[train]``.

A row of X is a recording. X is an array (n, L, N) of segments as `ecgfm.prepare` gives them; the same flattened to
(n, L * N); with ``sampling_rate`` raw signals of either form in mV; or a list of files or `ecgfm.Record`, which are
read and prepared as by `ecgfm.predict`. A recording that can't be read is an error: no row is left out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._types import StrPath
from .ecg import Record, Segments, prepare
from .errors import ConfigError, MissingExtraError, SignalError
from .inference.batched import AT_ONCE, joined, means_of, probabilities_of
from .inference.embedding_cache import EmbeddingCache
from .inference.opening import input_of
from .inference.stream import Reading
from .io.inputs import segments_of
from .model import Model, load
from .training import finetune
from .training.recordings import is_recordings
from .validation import Choice, Whole, checked

try:
    from sklearn.base import (
        BaseEstimator,
        ClassifierMixin,
        ClassNamePrefixFeaturesOutMixin,
        RegressorMixin,
        TransformerMixin,
    )
    from sklearn.utils.class_weight import compute_sample_weight
    from sklearn.utils.multiclass import check_classification_targets, type_of_target
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d, validate_data
except ImportError:
    raise MissingExtraError(
        "scikit-learn isn't installed", field="ecgfm.sklearn", remedy="pip install 'ecgfm[train]'"
    ) from None

__all__ = ["ECGFMClassifier", "ECGFMEmbedder", "ECGFMRegressor"]

POOLINGS = ("mean", "max", "attention")


class _OfRecordings(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What the estimators have in common: the model, and rows that are recordings."""

    model: Any
    sampling_rate: float | None

    def _opened(self, precision: str | None = None) -> Model:
        """The model that the parameter names; a path is loaded, and another precision made."""
        model = self.model
        if isinstance(model, (str, os.PathLike)):
            return load(model, precision=precision)
        if not isinstance(model, Model):
            raise ConfigError(f"{type(model).__name__} is no model", field="model", remedy="Give a model, or its name")
        return model if precision is None else model.with_precision(precision)

    def _recordings(self, X: Any, model: Model, *, reset: bool) -> list[Segments]:
        """The segments of each row."""
        spec = input_of(model)
        if _are_recordings(X):
            reading = Reading(self.sampling_rate, input=spec)
            return [segments_of(one if isinstance(one, Record) else os.fspath(one), reading) for one in X]
        X = self._array(X, model, reset=reset)
        if self.sampling_rate is not None:
            return [prepare(row, model, spec.leads, sampling_rate=self.sampling_rate) for row in X]
        x = np.ascontiguousarray(X, np.float32)
        return [Segments(x[i : i + 1], np.zeros(1), input=spec) for i in range(len(x))]

    def _array(self, X: Any, model: Model, *, reset: bool) -> NDArray[Any]:
        """X, which are no files or Records, as (n, leads, samples)."""
        leads = len(input_of(model).leads or ())
        if getattr(X, "ndim", 2) == 3:
            if X.shape[1] != leads:
                raise SignalError(f"the shape {X.shape} is not (recordings, {leads}, samples)", field="X")
            X = np.reshape(X, (len(X), X.shape[1] * X.shape[2]))
        X = validate_data(self, X, reset=reset, dtype="numeric")
        if X.shape[1] % leads or X.shape[1] < leads * model.min_samples:
            raise SignalError(
                f"{X.shape[1]} columns are not {leads} leads of {model.min_samples} samples or more",
                field="X",
                remedy="Give (recordings, leads, samples), or the same flattened",
            )
        rows: NDArray[Any] = X.reshape(len(X), leads, -1)
        return rows

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.non_deterministic = False
        return tags


def _are_recordings(X: Any) -> bool:
    """Whether the rows are files or Records."""
    return (isinstance(X, (list, tuple)) or getattr(X, "ndim", None) == 1) and is_recordings(list(X))


class ECGFMEmbedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, _OfRecordings):  # type: ignore[misc]
    """Recordings into embeddings (n, C): means over a recording's segments.

    Parameters
    ----------
    model : Model or path-like
        Or the name of a known model; a name keeps clones and ``n_jobs`` cheap.
    layer : int, optional
        Of this transformer layer (0 = first) instead of the encoder's output.
    pooling : {"mean", "max", "attention"}
        Of a segment's tokens: their mean, the largest value of each feature, or a mean with the weights that the last
        layer's attention gives the tokens, on average over the tokens that look. None of them is learned.
    precision : str, optional
        As of `ecgfm.load`.
    batch_size : int
        Segments at a time.
    sampling_rate : float, optional
        In Hz: arrays are then raw signals in mV, which are prepared; for files that state no rate, theirs.
    cache : path-like, optional
        A folder that keeps the embeddings, by model, input specification and samples.

    Attributes
    ----------
    model_ : Model
    n_features_in_ : int
        Of arrays.
    """

    def __init__(
        self,
        model: Model | StrPath = "demo",
        *,
        layer: int | None = None,
        pooling: str = "mean",
        precision: str | None = None,
        batch_size: int = 8,
        sampling_rate: float | None = None,
        cache: StrPath | None = None,
    ) -> None:
        self.model = model
        self.layer = layer
        self.pooling = pooling
        self.precision = precision
        self.batch_size = batch_size
        self.sampling_rate = sampling_rate
        self.cache = cache

    def fit(self, X: Any, y: Any = None) -> ECGFMEmbedder:
        """Load the model and look at recordings X (see the module); nothing is learned, y is not looked at."""
        checked(self.pooling, Choice(POOLINGS), "pooling")
        checked(self.batch_size, Whole(1), "batch_size")
        model = self._opened(self.precision)
        if _are_recordings(X):
            self._recordings(X[:1], model, reset=True)
        else:
            self._array(X, model, reset=True)
        self.model_ = model
        self._n_features_out = int(model.config["encoder_embed_dim"])
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Embeddings (n, C) float32 of recordings; of X, see the module."""
        check_is_fitted(self)
        recordings = self._recordings(X, self.model_, reset=False)
        if self.cache is None:
            return self._computed(recordings)
        how = f"{self.layer} {self.pooling}"
        kept, width = EmbeddingCache(self.cache, self.model_, how), self._n_features_out
        paths = [kept.path(np.asarray(one.x), one.padding_mask) for one in recordings]
        found: list[Any] = [kept.get(path, width) for path in paths]
        lacking = [i for i, values in enumerate(found) if values is None]
        for first in range(0, len(lacking), AT_ONCE):
            some = lacking[first : first + AT_ONCE]
            for i, values in zip(some, self._computed([recordings[i] for i in some])):
                kept.put(paths[i], values)
                found[i] = values
        return np.stack(found)

    def _computed(self, recordings: list[Segments]) -> NDArray[np.float32]:
        return means_of(self._pooled, recordings, self.batch_size).astype(np.float32)

    def _pooled(self, x: NDArray[np.float32], mask: NDArray[np.bool_] | None) -> NDArray[np.float32]:
        """(segments, C) of some segments."""
        model = self.model_
        out = model(x, mask, layer=self.layer, attention=self.pooling == "attention")
        if self.pooling == "mean":
            return out.embedding
        counts = [out.tokens.shape[1]] * len(out.tokens)
        if mask is not None:
            counts = [model.tokens(int(n)) for n in (~mask).sum(axis=1)]
        if self.pooling == "max":
            return np.stack([tokens[:n].max(axis=0) for tokens, n in zip(out.tokens, counts)])
        maps: Any = out.attention
        weights = [each[-1, :n, :n].mean(axis=0) for each, n in zip(maps, counts)]
        return np.stack([w @ tokens[:n] / w.sum() for w, tokens, n in zip(weights, out.tokens, counts)])


class _Finetuned(_OfRecordings):
    """What the classifier and the regressor have in common."""

    def __init__(
        self,
        model: Model | StrPath = "demo",
        *,
        epochs: int = 10,
        batch_size: int = 16,
        lr: float = 5e-5,
        trainable: str | int = "all",
        valid: float | None = None,
        patience: int | None = None,
        precision: str = "float32",
        sampling_rate: float | None = None,
        random_state: int | None = 1,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.trainable = trainable
        self.valid = valid
        self.patience = patience
        self.precision = precision
        self.sampling_rate = sampling_rate
        self.random_state = random_state
        self.settings = settings

    def _fit(
        self, model: Model, recordings: list[Segments], y: NDArray[Any], sample_weight: Any, groups: Any, **more: Any
    ) -> None:
        counts = [len(one.x) for one in recordings]
        more["groups"] = np.repeat(np.arange(len(counts)) if groups is None else np.asarray(groups), counts)
        if sample_weight is not None:
            more["sample_weight"] = np.repeat(sample_weight, counts)
        if len({one.x.shape[1:] for one in recordings}) > 1:
            raise SignalError("recordings give segments of different lengths", field="X")
        whole = joined(recordings)
        tuned = finetune(
            model,
            whole.x,
            np.repeat(y, counts, axis=0),
            padding_mask=whole.padding_mask,
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            trainable=self.trainable,
            valid=self.valid,
            patience=self.patience,
            precision=self.precision,
            seed=1 if self.random_state is None else self.random_state,
            progress=False,
            **{**more, **dict(self.settings or {})},
        )
        self.model_, self.history_, self.n_iter_ = tuned.model, tuned.history, len(tuned.history)

    def _means(self, X: Any, ask: Callable[[Any], Any]) -> NDArray[np.float64]:
        """(n, Y) means over segments of what `ask` takes of the model's output."""
        check_is_fitted(self)
        recordings = self._recordings(X, self.model_, reset=False)
        return means_of(lambda x, mask: ask(self.model_(x, mask)), recordings, self.batch_size)


def _is_multilabel(y: NDArray[Any]) -> bool:
    """Whether it is (n, Y) zeros and ones, some of which may not be known."""
    if y.ndim == 2 and y.dtype.kind == "f" and np.isnan(y).any():
        return bool(np.isin(y[~np.isnan(y)], (0, 1)).all())
    return bool(type_of_target(y) == "multilabel-indicator")


def _refuse_none(y: Any, estimator: object) -> None:
    if y is None:
        raise ValueError(f"{type(estimator).__name__} requires y to be passed, but the target y is None")


class ECGFMClassifier(ClassifierMixin, _Finetuned):  # type: ignore[misc]
    """A classifier that is finetuned from a model.

    `y` of two classes has one output; of more, one each, of which the largest is predicted; of (n, Y) zeros and ones
    one for each label (multilabel). Segments of a recording count alike; its probability is the mean of theirs.

    Parameters
    ----------
    model, epochs, batch_size, lr, trainable, valid, patience, precision
        As of `ecgfm.finetune`. `model` may be a name, which keeps clones and ``n_jobs`` cheap.
    sampling_rate : float, optional
        As of `ECGFMEmbedder`.
    random_state : int or None
        The seed; None is 1, so that a fit can be repeated.
    class_weight : "balanced" or dict, optional
        Class -> weight, as of scikit-learn; of multilabel as of `ecgfm.finetune`.
    settings : dict, optional
        What else `ecgfm.finetune` takes, such as ``dropout``.

    Attributes
    ----------
    classes_ : ndarray
        The classes; of multilabel the numbers of the labels, or their names.
    model_ : Model
    history_ : Table
    """

    def __init__(
        self,
        model: Model | StrPath = "demo",
        *,
        epochs: int = 10,
        batch_size: int = 16,
        lr: float = 5e-5,
        trainable: str | int = "all",
        valid: float | None = None,
        patience: int | None = None,
        precision: str = "float32",
        sampling_rate: float | None = None,
        random_state: int | None = 1,
        class_weight: Any = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            model, epochs=epochs, batch_size=batch_size, lr=lr, trainable=trainable, valid=valid, patience=patience,
            precision=precision, sampling_rate=sampling_rate, random_state=random_state, settings=settings,
        )  # fmt: skip
        self.class_weight = class_weight

    def fit(
        self, X: Any, y: Any, sample_weight: ArrayLike | None = None, *, groups: ArrayLike | None = None
    ) -> ECGFMClassifier:
        """Finetune.

        Parameters
        ----------
        X
            Recordings; see the module.
        y : array_like
            (n,) classes, or (n, Y) zeros and ones, NaN where one is not known; a DataFrame names its labels.
        sample_weight : array_like, optional
            (n,)
        groups : array_like, optional
            (n,) the patient of each, where `valid` is a share.

        Returns
        -------
        ECGFMClassifier
        """
        _refuse_none(y, self)
        model = self._opened()
        recordings = self._recordings(X, model, reset=True)
        names = [str(name) for name in y.columns] if hasattr(y, "columns") else None
        y = np.asarray(y)
        self.multilabel_ = _is_multilabel(y)
        weight = None if sample_weight is None else _check_sample_weight(sample_weight, np.empty((len(y), 1)))
        if self.multilabel_:
            self.classes_ = np.arange(y.shape[1]) if names is None else np.array(names)
            targets = y.astype(np.float64)
        else:
            y, names = column_or_1d(y, warn=True), None
            check_classification_targets(y)
            self.classes_, of = np.unique(y, return_inverse=True)
            if len(self.classes_) < 2:
                raise ValueError(f"y has one class only: {self.classes_[0]!r}; a classifier needs two")
            targets = of[:, None] if len(self.classes_) == 2 else np.eye(len(self.classes_))[of]
            if self.class_weight is not None:
                weight = (1 if weight is None else weight) * compute_sample_weight(self.class_weight, y)
        if len(targets) != len(recordings):
            raise ValueError(f"Found input variables with inconsistent numbers of samples: {[len(recordings), len(y)]}")
        labels = [f"class {name}" for name in self.classes_[-targets.shape[1] :]] if names is None else names
        given = {"class_weight": self.class_weight} if self.multilabel_ else {}
        self._fit(model, recordings, targets, weight, groups, labels=labels, **given)
        return self

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Logits of the probabilities: (n,) of two classes, else (n, classes or labels)."""
        p = np.clip(self._means(X, probabilities_of), 1e-300, 1 - 1e-16)
        found = np.log(p) - np.log1p(-p)
        return found[:, 0] if self._is_binary else found

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """(n, classes), which sum to 1; of multilabel (n, Y) of each label."""
        p = self._means(X, probabilities_of)
        if self.multilabel_:
            return p
        return np.column_stack([1 - p, p]) if self._is_binary else p / p.sum(axis=1, keepdims=True)

    def predict(self, X: Any) -> NDArray[Any]:
        """(n,) classes; of multilabel (n, Y) zeros and ones, at a probability of 0.5."""
        p = self._means(X, probabilities_of)
        if self.multilabel_:
            return (p > 0.5).astype(np.int64)
        classes: NDArray[Any] = self.classes_
        found: NDArray[Any] = classes[(p[:, 0] > 0.5).astype(int) if self._is_binary else p.argmax(axis=1)]
        return found

    @property
    def _is_binary(self) -> bool:
        return not self.multilabel_ and len(self.classes_) == 2

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class ECGFMRegressor(RegressorMixin, _Finetuned):  # type: ignore[misc]
    """A regressor that is finetuned from a model, by the squared error.

    Parameters
    ----------
    model, epochs, batch_size, lr, trainable, valid, patience, precision, sampling_rate, random_state, settings
        As of `ECGFMClassifier`.

    Attributes
    ----------
    model_ : Model
        Its ``target`` has mean and deviation of `y`.
    history_ : Table
    """

    def fit(
        self, X: Any, y: Any, sample_weight: ArrayLike | None = None, *, groups: ArrayLike | None = None
    ) -> ECGFMRegressor:
        """Finetune on (n,) or (n, Y) numbers; else as of `ECGFMClassifier.fit`."""
        _refuse_none(y, self)
        model = self._opened()
        recordings = self._recordings(X, model, reset=True)
        y = np.asarray(y, np.float64)
        if len(y) != len(recordings) or y.ndim not in (1, 2):
            raise ValueError(f"Found input variables with inconsistent numbers of samples: {[len(recordings), len(y)]}")
        if not np.isfinite(y).all():
            raise ValueError("Input y contains NaN or infinity.")
        self._flat = y.ndim == 1
        y = y.reshape(len(y), -1)
        weight = None if sample_weight is None else _check_sample_weight(sample_weight, np.empty((len(y), 1)))
        self._fit(model, recordings, y, weight, groups, loss="mse", labels=[f"output {i}" for i in range(y.shape[1])])
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """(n,) or (n, Y) numbers, in the unit of `y`."""
        values = self._means(X, lambda output: output.values)
        found: NDArray[np.float64] = values[:, 0] if self._flat else values
        return found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

"""Embeddings in two dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._types import StrPath
from ..errors import MissingExtraError, SignalError
from ..validation import Choice, checked
from .figures import file_label, new_figure, save, text_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_embeddings", "project"]

# As the tutorial sets them: few points, and many.
_FEW = {"n_neighbors": 3, "min_dist": 0.1}
_MANY = {"n_neighbors": 15, "min_dist": 0.1}
_FEW_POINTS = 100
_LEGEND = 20  # groups that get a name in the picture


def project(embeddings: ArrayLike, method: str = "pca", *, seed: int = 42) -> NDArray[np.float64]:
    """Embeddings (n, C) in two dimensions.

    Parameters
    ----------
    embeddings : Embeddings or array_like
        (n, C), at least 3 rows.
    method : {"pca", "umap"}
        The two principal components (exact, the sign such that the largest weight is positive); or UMAP with the
        tutorial's settings, if ``umap-learn`` is installed.
    seed : int
        Of UMAP.

    Returns
    -------
    ndarray
        (n, 2) float64.

    Raises
    ------
    SignalError
        If the array is not (n, C), has less than 3 rows, or is not finite.
    ConfigError
        If there is no such method.
    MissingExtraError
        If UMAP is asked for and not installed.
    """
    x = np.asarray(embeddings, dtype=np.float64)
    if x.ndim != 2 or len(x) < 3 or not np.isfinite(x).all():
        raise SignalError(
            f"an array of shape {x.shape} can't be projected",
            field="embeddings",
            remedy="Give (n, C), n from 3, finite",
        )
    if checked(method, Choice(("pca", "umap")), "method") == "umap":
        return _umap(x, seed)
    x = x - x.mean(axis=0)
    axes = np.linalg.svd(x, full_matrices=False)[2][:2]
    axes = axes * np.sign(np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1))
    flat = x @ axes.T
    return np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))


def plot_embeddings(
    embeddings: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    method: str = "pca",
    seed: int = 42,
    title: str | None = None,
    path: StrPath | None = None,
) -> Figure:
    """Draw embeddings in two dimensions, a colour per group.

    Parameters
    ----------
    embeddings : Embeddings or array_like
        (n, C); or (n, 2), which is drawn as it is.
    groups : sequence, optional
        (n,) what each row belongs to; by default the files, if `embeddings` are those of `ecgfm.embed`.
    method, seed
        As for `project`.
    title, path
        As for `ecgfm.plot`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    MissingExtraError
        If matplotlib isn't installed.
    SignalError
        If the shapes don't fit.
    """
    if groups is None and hasattr(embeddings, "segments"):
        groups = embeddings.segments["file"]
    values = np.asarray(embeddings, dtype=np.float64)
    flat = values if values.ndim == 2 and values.shape[1] == 2 else project(values, method, seed=seed)
    groups = np.zeros(len(flat)) if groups is None else np.asarray(groups)
    if groups.shape != (len(flat),):
        raise SignalError(f"{groups.shape} groups for {len(flat)} rows", field="groups")
    figure = new_figure(8.5 if len(set(groups.tolist())) > 1 else 6.5, 5.5)
    from matplotlib import colormaps

    axis = figure.subplots()
    names = list(dict.fromkeys(groups.tolist()))
    colours = colormaps["tab20"](np.arange(20))
    size = 45 if len(flat) <= _FEW_POINTS else 6
    for i, name in enumerate(names):
        points = flat[groups == name]
        label = _label(name) if i < _LEGEND else None
        axis.scatter(
            points[:, 0], points[:, 1], s=size, alpha=0.9, color=colours[i % len(colours)], linewidths=0, label=label
        )
    if 1 < len(names):
        title_of_legend = None if len(names) <= _LEGEND else f"the first {_LEGEND} of {len(names)}"
        axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, frameon=False, title=title_of_legend)
    axis.set(xticks=[], yticks=[])
    axis.set_aspect("equal", adjustable="datalim")
    name = "principal component" if method == "pca" else "UMAP"
    axis.set_xlabel(f"{name} 1", fontsize=9)
    axis.set_ylabel(f"{name} 2", fontsize=9)
    axis.spines[:].set_color("#CCCCCC")
    if title:
        axis.set_title(text_label(title), fontsize=11)
    if path is not None:
        save(figure, path)
    return figure


def _label(name: object) -> str:
    return file_label(name).lstrip("_") or "-"


def _umap(x: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    try:
        from umap import UMAP
    except ImportError:
        raise MissingExtraError(
            "umap-learn is not installed", field="method", remedy="Install it, or take method='pca'"
        ) from None
    settings = _FEW if len(x) <= _FEW_POINTS else _MANY
    return np.asarray(UMAP(n_components=2, random_state=seed, **settings).fit_transform(x), dtype=np.float64)

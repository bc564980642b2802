"""Linear classifiers of embeddings: logistic regressions to convergence, their regularisation chosen by validation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, MissingExtraError
from ..metrics.intervals import weighted_ranking
from ..metrics.ranking import mean_of_known

__all__ = ["STRENGTHS", "Linear", "chosen_linear", "fit_linear"]

#: Values of C that are tried: the weight of the data against that of small weights.
STRENGTHS: Final = (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0)
_MOST_STEPS = 5000
_TOLERANCE = 1e-5  # of the gradient of the mean loss, where it curves alike: the loss is within 1e-10


@dataclass(eq=False)
class Linear:
    """A logistic regression of each label on standardised embeddings.

    Attributes
    ----------
    mean, scale : ndarray
        (C,) of the training embeddings.
    weight, bias : ndarray
        (Y, C), (Y,) of the standardised ones. Of a label with one class in training the weights are 0.
    strength : float
        C.
    converged : bool
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    strength: float
    converged: bool

    def logits(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """(n, Y) of embeddings (n, C)."""
        logits: NDArray[np.float64] = (x - self.mean) / self.scale @ self.weight.T + self.bias
        return logits


def fit_linear(x: NDArray[Any], y: NDArray[np.bool_], strength: float, start: Linear | None = None) -> Linear:
    """Fit a logistic regression of each label, by L-BFGS until the gradient is gone.

    Per label, C times the sum of the losses plus half of the squared weights is smallest, as scikit-learn's
    ``LogisticRegression(C=strength)`` has it; the bias is free.

    Parameters
    ----------
    x : ndarray
        (n, C) embeddings; standardised here.
    y : ndarray of bool
        (n, Y)
    strength : float
        C.
    start : Linear, optional
        Where to begin, of the same data.

    Raises
    ------
    MissingExtraError
        If scipy isn't installed.
    ConfigError
        If there are no rows.
    """
    try:
        from scipy.optimize import minimize
    except ImportError:
        raise MissingExtraError(
            "scipy is not installed", field="linear", remedy="Install it with: pip install 'ecgfm[train]'"
        ) from None
    count, width = x.shape
    if not count:
        raise ConfigError("there are no recordings to fit", field="linear")
    mean, scale = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    scale[scale < 1e-12] = 1
    scaled = (x - mean) / scale
    fitted = np.flatnonzero(y.any(axis=0) & ~y.all(axis=0))
    share = np.clip(y.mean(axis=0), 0.5 / count, 1 - 0.5 / count)
    weight, bias = np.zeros((y.shape[1], width)), np.log(share / (1 - share))
    if not len(fitted):
        return Linear(mean, scale, weight, bias, strength, True)
    rotation, steps = _preconditioned(scaled, share[fitted], 1 / (strength * count))
    rotated = scaled @ rotation
    truth, small = y[:, fitted].astype(np.float64), 1 / (strength * count)

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        theta = flat.reshape(steps.shape) * steps
        logits = rotated @ theta[:, :-1].T + theta[:, -1]
        tail = np.log1p(np.exp(-np.abs(logits)))
        value = (tail + np.maximum(logits, 0) - truth * logits).sum() / count + small / 2 * (theta[:, :-1] ** 2).sum()
        error = (np.exp(-np.logaddexp(0, -logits)) - truth) / count
        gradient = np.column_stack([error.T @ rotated + small * theta[:, :-1], error.sum(axis=0)])
        return float(value), (gradient * steps).ravel()

    first = np.column_stack([weight[fitted], bias[fitted]])
    if start is not None:
        first = np.column_stack([start.weight[fitted] @ rotation, start.bias[fitted]])
    options = {"maxiter": _MOST_STEPS, "maxfun": 2 * _MOST_STEPS, "gtol": _TOLERANCE, "ftol": 0, "maxcor": 20}
    found = minimize(loss, (first / steps).ravel(), jac=True, method="L-BFGS-B", options=options)
    theta = found.x.reshape(steps.shape) * steps
    weight[fitted], bias[fitted] = theta[:, :-1] @ rotation.T, theta[:, -1]
    converged = bool(np.abs(loss(found.x)[1]).max() < 10 * _TOLERANCE)
    return Linear(mean, scale, weight, bias, strength, converged)


def _preconditioned(
    scaled: NDArray[np.float64], share: NDArray[np.float64], small: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coordinates in which the loss curves about alike in all directions, so that few steps are needed.

    Returns
    -------
    rotation : ndarray
        (C, C) to the principal axes; the squared weights stay what they are.
    steps : ndarray
        (Y, C + 1) one over the root of the curvature where all probabilities are a label's share; the bias is last.
    """
    variance, rotation = np.linalg.eigh(scaled.T @ scaled / len(scaled))
    spread = (share * (1 - share))[:, None]
    curvature = np.column_stack([spread * np.maximum(variance, 0) + small, spread])
    return rotation, 1 / np.sqrt(curvature)


def chosen_linear(
    x: NDArray[Any],
    y: NDArray[np.bool_],
    x_valid: NDArray[Any],
    y_valid: NDArray[np.bool_],
    strengths: Sequence[float] = STRENGTHS,
) -> tuple[Linear, float]:
    """The regression whose regularisation is best on validation data: the highest macro AUROC, of equal ones the
    strongest.

    Parameters
    ----------
    x, y, x_valid, y_valid : ndarray
        (n, C) and (n, Y), of training and of validation.
    strengths : sequence of float
        Values of C to try.

    Returns
    -------
    Linear
    auroc : float
        Its macro AUROC on the validation data; NaN where no label has both classes there (then C is the largest).
    """
    best, best_auroc, fit = None, -math.inf, None
    for strength in sorted(strengths):
        fit = fit_linear(x, y, strength, fit)
        auroc = _macro_auroc(y_valid, fit.logits(x_valid))
        if best is None or math.isnan(auroc) or auroc > best_auroc:
            best, best_auroc = fit, auroc
    if best is None:
        raise ConfigError("none is given", field="strengths")
    return best, best_auroc


def _macro_auroc(truth: NDArray[np.bool_], scores: NDArray[Any]) -> float:
    once = np.ones((1, len(truth)))
    each = [weighted_ranking(scores[:, i], truth[:, i], once)[0, 0] for i in range(truth.shape[1])]
    return float(mean_of_known(np.array(each)))

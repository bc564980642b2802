"""The evaluation of a regression model: errors of its values, in the unit of its target."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError
from ..metrics.regression import regression_table
from .evaluation import Evaluation
from .judged import Judged
from .opening import target_of
from .result import about, errors_table

__all__ = ["evaluation_of_numbers", "refuse_of_labels"]


def refuse_of_labels(**given: object) -> None:
    """Raise ConfigError for arguments of an evaluation that numbers know nothing of."""
    for name, value in given.items():
        if value is not None:
            raise ConfigError("it is of labels; this model says numbers", field=name, remedy="Leave it out")


def evaluation_of_numbers(found: Judged, resampling: dict[str, Any], method: str) -> Evaluation:
    """How good the values of recordings and of their segments are.

    Parameters
    ----------
    found : Judged
    resampling : dict
        ``bootstrap``, ``confidence``, ``seed``.
    method : str
        How segments make a recording's value, as it was asked for.
    """
    target, labels, patients = target_of(found.model), found.labels, found.patient_of
    how: dict[str, Any] = resampling | {"units": ["" if target is None else target.unit(i) for i in range(len(labels))]}
    truth = found.plan.truth
    return Evaluation(
        regression_table(found.scores, found.truth, patients, labels, **how),
        regression_table(found.segment_scores, found.truth[found.record_of], patients[found.record_of], labels, **how),
        (),
        found.predictions(),
        tuple(found.plan.unlabelled),
        errors_table(found.failed),
        about(found.model),
        {"aggregate": "mean" if method == "tutorial" else method, **resampling, **found.counts()},
        truth.unused,
        truth.lacking,
        truth.renamed,
    )

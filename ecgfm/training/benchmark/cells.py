"""The cells of a benchmark: one model, way, share and task, fitted, and then scored on the test fold."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.tables.ptb_xl import PtbXlTables, Task
from ...errors import ConfigError
from ..linear import chosen_linear
from .conventions import Convention, Score, classes_text, macro_auroc

__all__ = ["Cell", "Fit", "Part", "Plan", "linear_fit", "part_of", "row_of", "score_of"]


@dataclass(eq=False)
class Plan:
    """The data, their splits, and how scores are made.

    Attributes
    ----------
    tables : PtbXlTables
    convention : Convention
    seed : int
    splits : ndarray of str
        (n,) of each recording.
    patients : ndarray of int
        (n,) 0 to their number - 1.
    """

    tables: PtbXlTables
    convention: Convention
    seed: int
    splits: NDArray[np.str_] = field(init=False)
    patients: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.splits = self.tables.splits()
        self.patients = np.unique(self.tables.records["patient_id"], return_inverse=True)[1]
        for split in ("train", "valid", "test"):
            if not (self.splits == split).any():
                raise ConfigError(f"no recording is in the split {split}", path=self.tables.folder, field="strat_fold")

    def share_of(self, share: float) -> NDArray[np.bool_]:
        """The recordings of the patients that a share of training has; those of a smaller share are among them."""
        train = self.splits == "train"
        if share >= 100:
            return np.array(train)
        order = np.random.default_rng(self.seed).permutation(int(self.patients.max()) + 1)
        counts = np.bincount(self.patients[train], minlength=len(order))[order]
        chosen = order[np.cumsum(counts) - counts < share / 100 * train.sum()]
        found: NDArray[np.bool_] = train & np.isin(self.patients, chosen)
        return found


@dataclass(eq=False)
class Part:
    """The recordings of a share and a task.

    Attributes
    ----------
    share : float
        Per cent of training.
    name : str
        The task that is asked for.
    task : Task
        That which is fitted: the same, or ``all``, of which it is columns.
    train, valid, test : ndarray of bool
        (n,)
    """

    share: float
    name: str
    task: Task
    train: NDArray[np.bool_]
    valid: NDArray[np.bool_]
    test: NDArray[np.bool_]


@dataclass(eq=False)
class Fit:
    """What was fitted to a part, before the labels of the test fold are looked at.

    Attributes
    ----------
    scores : ndarray
        (test recordings, Y)
    valid_auroc : float
        Macro AUROC of the validation fold, by which it was chosen.
    chosen : str
        What was chosen by it.
    converged : bool
    parameters : int
        That were trained.
    seconds : float
    """

    scores: NDArray[np.float64]
    valid_auroc: float
    chosen: str
    converged: bool
    parameters: int
    seconds: float


@dataclass(eq=False)
class Cell:
    """One cell: a model's name, the way it was put to use, the part, and the fit."""

    model: str
    way: str
    part: Part
    fit: Fit
    embedding_seconds: float


def part_of(plan: Plan, known: NDArray[np.bool_], name: str, share: float) -> Part:
    """The recordings of a share and a task, of those that are `known`.

    Raises
    ------
    ConfigError
        If none is left for training or for validation.
    """
    task = plan.tables.task("all" if name in plan.convention.columns_of_all else name)
    used = known if plan.convention.all_records else known & task.labelled
    train, valid = used & plan.share_of(share), used & (plan.splits == "valid")
    for rows, what in ((train, "training"), (valid, "validation")):
        if not rows.any():
            raise ConfigError(f"no recording of the task {name} is left for {what}", field="shares")
    return Part(share, name, task, train, valid, used & (plan.splits == "test"))


def linear_fit(part: Part, values: NDArray[np.float32]) -> Fit:
    """Logistic regressions of the embeddings (n, C) of all recordings."""
    begin, y = time.perf_counter(), part.task.y
    fit, auroc = chosen_linear(values[part.train], y[part.train], values[part.valid], y[part.valid])
    size = fit.weight.size + fit.bias.size
    seconds = time.perf_counter() - begin
    return Fit(fit.logits(values[part.test]), auroc, f"C {fit.strength:g}", fit.converged, size, seconds)


def score_of(plan: Plan, cell: Cell) -> Score:
    """What a cell reaches: the test fold is looked at."""
    part, scores = cell.part, cell.fit.scores
    task = plan.tables.task(part.name)
    if part.name != part.task.name:
        scores = scores[:, [part.task.names.index(name) for name in task.names]]
    if not part.test.any():
        nothing = np.full(len(task.names), np.nan)
        return Score(np.nan, np.nan, np.nan, nothing, tuple(range(len(task.names))), np.zeros(0))
    patients = np.unique(plan.patients[part.test], return_inverse=True)[1]
    return macro_auroc(scores, task.y[part.test], patients, plan.convention, plan.seed)


def row_of(plan: Plan, cell: Cell, score: Score, random: Score | None) -> dict[str, Any]:
    """A row of the table; `random` is the score of random weights in its place."""
    part, fit = cell.part, cell.fit
    task = plan.tables.task(part.name)
    without = np.flatnonzero(~task.y[part.train].any(axis=0)).tolist()
    over = (np.nan,) * 4 if random is None else score.over(random, plan.convention)
    return {
        "model": cell.model,
        "way": cell.way,
        "share": part.share,
        "task": part.name,
        "auroc": score.auroc,
        "auroc_low": score.low,
        "auroc_high": score.high,
        "printed": score.printed(),
        **dict(zip(("over_random", "over_random_low", "over_random_high", "over_random_p"), over)),
        "classes": len(task.names),
        "undefined": classes_text(task.names, score.undefined),
        "without_training_positives": classes_text(task.names, without),
        "train": int(part.train.sum()),
        "valid": int(part.valid.sum()),
        "test": int(part.test.sum()),
        "resamples": score.resamples,
        "chosen": fit.chosen,
        "converged": fit.converged,
        "valid_auroc": fit.valid_auroc,
        "trained_parameters": fit.parameters,
        "seconds": round(fit.seconds, 3),
        "embedding_seconds": round(cell.embedding_seconds, 3),
    }

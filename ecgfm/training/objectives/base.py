"""What a training is for: what its batches hold, what the kernels compute of them, and which numbers come out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...ecg import Segments
from ...ecg.expected import refuse_other_input, refuse_other_order, warn_unprepared
from ...errors import SignalError
from ...metrics.challenge import ChallengeScore
from ...model.segments import checked_segments
from ...ranks import Alone, Ranks
from ...specs.architecture import Architecture
from ...specs.inputs import ECG_FM, InputSpec
from ...validation import Settings
from ..engine import Engine, Key
from ..start import Start
from ..warned import level_of_user
from .reports import LOG_KEYS, Losses, Report

__all__ = ["Objective", "Rows", "Sums"]

Sums = dict[str, Any]
Weights = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Rows:
    """A batch that was checked.

    Attributes
    ----------
    x : ndarray
        (B, L, N) float32.
    valid : ndarray or None
        (B,) samples of each row that are not padding.
    more : dict
        What the objective needs of each row beside its signal.
    """

    x: NDArray[np.float32]
    valid: NDArray[np.int64] | None
    more: dict[str, Any] = field(default_factory=dict)


class Objective(ABC):
    """A loss, with all that depends on it.

    A new one is a subclass in a file of this folder and an entry in `OBJECTIVES`; its head is the kernels'.

    Attributes
    ----------
    loss : str
        Its name, which `Trainer` takes.
    kind : {"classifier", "pretraining"}
        Of the network: which heads it has.
    head : str
        The method of the kernels' trainer.
    criterion : str
        The class of the original, which is named in checkpoints.
    columns : tuple of str
        What is reported of an epoch and of a validation; losses are better when they are smaller, all else when larger.
    averaged : tuple of str
        What is reported of an epoch beside them.
    ranked : tuple of str
        What a validation can give beside the columns, see `ranking`; `ranks_always`: unasked.
    perturbs : bool
        Whether it needs the perturbation of segments for itself; else a data set can perturb them as well.
    settings_type : type
        Of `settings`; fields that are not the model's are keys of the criterion in YAML files.
    pairs : bool
        Whether segments come in pairs.
    optimizer : mapping
        Where the defaults of Adam differ from those of finetuning.
    settings : Settings
    config : dict
        The architecture, known once the objective was `begun`.
    labels, labels_source, num_labels
        Of the outputs; an objective without outputs has 0.
    frozen_updates : int
        How many updates train the output layer alone.
    input : InputSpec
        What the network takes.
    looked : bool
        Whether a batch was compared with that; only the first is.
    below : list of str or None
        The tensors that lie below all that is trained.
    """

    loss: ClassVar[str]
    kind: ClassVar[str]
    head: ClassVar[str]
    criterion: ClassVar[str]
    perturbs: ClassVar[bool] = False
    settings_type: ClassVar[type[Settings]]
    pairs: ClassVar[bool] = False
    optimizer: ClassVar[Mapping[str, Any]] = {}
    columns: tuple[str, ...] = ("loss",)
    averaged: tuple[str, ...] = ()
    ranked: ClassVar[tuple[str, ...]] = ()
    ranks_always: ClassVar[bool] = False
    settings: Settings
    architecture: Architecture

    labels: tuple[str, ...] | None = None
    labels_source: str | None = None
    num_labels = 0
    frozen_updates = 0
    input: InputSpec = ECG_FM
    looked = False
    below: list[str] | None = None

    def __init__(self, given: Mapping[str, Any], seed: int, ranks: Alone | Ranks) -> None:
        self.seed, self.ranks = seed, ranks

    # ---- what is trained ----------------------------------------------------------------------------

    @abstractmethod
    def begin(self, start: Start) -> Mapping[str, Any]:
        """Take what there is to start from; the configuration of the network."""

    def options(self) -> dict[str, Any]:
        """What the kernels are told when the network is made: rates of dropout, and what is trained."""
        return {name: value for name, value in asdict(self.settings).items() if isinstance(value, float)}

    @abstractmethod
    def fill(self, values: Weights, start: Start) -> None:
        """Fill the weights."""

    # ---- a batch ------------------------------------------------------------------------------------

    @classmethod
    def take(cls, batch: Any) -> tuple[Any, Any, Any]:
        """What `Trainer.accumulate` takes of a `ecgfm.data.Batch`: segments, labels or ids, padding mask."""
        ids = None if batch.segment is None else batch.idx
        return batch.x, batch.y if cls.kind == "classifier" else ids, batch.padding_mask

    @abstractmethod
    def rows(self, x: Any, y: Any = None, padding_mask: ArrayLike | None = None, *, together: bool = False) -> Rows:
        """A batch as a user gives it, checked; `together`: all ranks give one, to be accumulated together.

        Raises
        ------
        SignalError, LabelError
        """

    def checked_input(
        self, x: Any, padding_mask: ArrayLike | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
        """Segments and their valid samples as the kernels take them.

        An `InputWarning` says once that they are evidently not prepared, as millivolts aren't, and where x isn't 0
        under `padding_mask`, which is taken as 0.
        """
        refuse_other_order(x, "x", self.input)
        refuse_other_input(x, self.input)
        ready, valid = checked_segments(x, padding_mask, self.architecture)
        if not self.looked:
            given, level = x if isinstance(x, Segments) else ready, level_of_user() + 1
            warn_unprepared(given, self.input, what="training", stacklevel=level)
            self.looked = True
        return ready, valid

    def where(self, row: int, lead: int, sample: int) -> str:
        """What to call a value of the rows that a user gave."""
        return f"x[{row}, {lead}, {sample}] (segment, lead, sample)"

    def nothing(self) -> None:
        """What a rank without a batch does while the others accumulate one."""
        return

    @abstractmethod
    def sums(self, engine: Engine, rows: Rows, key: Key, noise: object = None) -> Sums:
        """The sums of a batch; in training its gradients are added.

        Parameters
        ----------
        engine : Engine
        rows : Rows
        key : Key
            Where in the training.
        noise : dict, optional
            Arrays instead of drawn ones.
        """

    def summed(self, engine: Engine, batches: Iterable[Rows], key: Callable[[int], Key]) -> Sums:
        """The sums of a whole validation; `key` is a function of the number of a batch's first row."""
        total: Sums = {}
        done = 0
        for rows in batches:
            found = self.sums(engine, rows, key(done))
            total = {name: value + total.get(name, 0) for name, value in found.items()}
            done += len(rows.x)
        return total

    def size(self, sums: Sums) -> float:
        """What the gradients of an update are divided by; 0 where there was nothing to learn from."""
        return float(sums["count"])

    @abstractmethod
    def report(self, sums: Sums) -> dict[str, Any]:
        """What is said of the sums of an update or a validation."""

    def ranking(self, sums: Sums) -> dict[str, float]:
        """What is said beside it of the order in which outputs put segments, for objectives with outputs."""
        return {}

    @classmethod
    def reporting(
        cls,
        *,
        threshold: float = 0.5,
        report_auc: bool = True,
        challenge: ChallengeScore | None = None,
        log_keys: Sequence[str] = tuple(LOG_KEYS),
    ) -> Report:
        """What a run reports of it.

        Parameters
        ----------
        threshold, report_auc, challenge
            Of outputs.
        log_keys : sequence of str
            Of pretraining: means to report beside the losses.
        """
        return Losses(cls.criterion)

    # ---- what is kept -------------------------------------------------------------------------------

    @abstractmethod
    def saved(self) -> dict[str, Any]:
        """What `ecgfm.checkpoint.save` is told beside the weights."""

    def said(self) -> dict[str, Any]:
        """What is said of a model that comes of it, in `Model.info`."""
        return {}


def check_finite(x: NDArray[np.float32]) -> None:
    """Raise SignalError if a value is not finite."""
    place = not_finite(x)
    if place is not None:
        raise SignalError(f"x[{', '.join(map(str, place))}] (segment, lead, sample) is {x[place]}", field="x")


def not_finite(x: NDArray[np.float32]) -> tuple[int, int, int] | None:
    """Row, lead and sample of the first value that is not finite, or None."""
    if np.isfinite(x).all():
        return None
    row, lead, sample = map(int, np.argwhere(~np.isfinite(x))[0])
    return row, lead, sample

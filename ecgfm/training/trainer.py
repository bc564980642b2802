"""One step of training at a time."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import checkpoint
from .._text import shown
from ..errors import ConfigError, Error
from ..model.model import Model
from ..ranks import Alone, Ranks
from ..specs.inputs import InputSpec
from ..specs.precision import FLOAT32
from ..validation import Choice, Seed, Whole, checked
from .arguments import check_loss, checked_optimizer, checked_seed, training_precision
from .engine import Engine, Key
from .giving import GivesBelow
from .judging import Judges
from .objectives import OBJECTIVES, Objective
from .objectives.labelled import Labelled
from .schedules import learning_rate, make_schedule
from .start import opened
from .taking import TakesInput

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .keywords import Schedule, SettingKeywords

__all__ = ["Trainer"]

COUNTS = ("num_updates", "skipped", "epoch", "seed")


class Trainer(TakesInput, GivesBelow, Judges):
    """Trains a network, a batch at a time: forward, backward and Adam in one call. Calls of several threads queue.

    Parameters
    ----------
    model : Model, path-like or dict
        Where the weights come from; they are copied, the model is not changed. Given a path, or a name that
        `ecgfm.load` takes, the weights are read once and no model is made. For finetuning a classifier, or a model that
        was pretrained, which gets a new output layer. For pretraining any model or checkpoint, whose encoder is taken;
        what is not there starts anew; or a dict of the original's keys of the architecture: a new model, ECG-FM's base
        where nothing is said.
    loss : str
        ``binary_cross_entropy_with_logits``, ``focal`` and ``asymmetric`` finetune a classifier, ``mse`` finetunes for
        numbers (``docs/losses.md`` has the formulas): summed over all cells whose label is known; gradients are divided
        by the number of these cells of all batches of an update. ``wav2vec2_with_cmsc`` (W2V, CMSC and masked leads),
        ``wav2vec2``, ``cmsc`` and ``simclr`` pretrain an encoder: gradients are divided by the masked steps of all
        batches of an update; of ``cmsc`` and ``simclr``, which mask no steps, by the pairs and the segments.
    schedule : float, list of float, dict or callable
        The learning rate: a number; a list with one for each epoch; ``{"_name": "tri_stage", ...}`` with the keys of
        `TriStage`, `Fixed` or `Step`; or a function of (updates finished, epoch).
    optimizer : dict, optional
        ``adam_betas``, ``adam_eps``, ``weight_decay``, ``clip_norm`` (0: no clipping). By default as ECG-FM's: in
        pretraining ``adam_eps`` 1e-6 and ``weight_decay`` 0.01, in finetuning 1e-8 and 0.
    seed : int
        From 0 to 4294967295: of new weights and of all noise. What is drawn for a row depends on the seed, the update,
        the rank, the row and its place alone, not on the number of threads or on how a batch is split.
    on_nonfinite : {"error", "skip"}
        What to do when the norm of the gradients is not finite; the weights stay as they are in both cases.
    recompute : bool
        Keep only the inputs of the encoder layers and compute their inside again for the backward: less memory, more
        time, the same numbers.
    precision : {"float32", "bfloat16"}
        Of the factors of the encoder layers' matrix products, forward and backward, and of what is kept between the
        two. Weights, moments, sums, norms, softmax, the residual stream, losses and checkpoints are float32 in both.
    communicator : Alone or Ranks, optional
        The ranks that train together (`ecgfm.ranks`): each takes a part of a batch, gradients and sample sizes are
        summed over them, and what `update` returns is that of all. All ranks must call `update` together; a rank
        without a batch calls it without `accumulate`. By default this process trains alone.
    input : InputSpec, dict or str, optional
        What the network takes, as of `ecgfm.load`. By default what `model` says; of a new one ECG-FM's, as assumed.
    **settings
        Of finetuning: ``num_labels``, needed for a pretrained model; for a classifier with another number the output
        layer is made anew. ``labels``: names of the outputs, or a ``label_def.csv``. The rows of a classifier's output
        layer go with their names; those of names that it doesn't have are made anew, which a warning says. By default
        the model's names if their number fits. ``pos_weight``: (Y,) weights of the positive cells; ``label_weight``:
        (Y,) of all cells of a label. Of ``focal``: ``gamma``, ``alpha``; of ``asymmetric``: ``gamma_pos``,
        ``gamma_neg``, ``clip``. Of ``mse``: ``target``, ``{"mean": [...], "std": [...], "units": [...]}``, in whose
        deviations the outputs are (default: the model's, else mean 0, deviation 1), and ``units`` alone. ``dropout``,
        ``attention_dropout``, ``activation_dropout``, ``dropout_input``, ``final_dropout``, ``encoder_layerdrop``:
        probabilities. ``feature_grad_mult``: what the gradient of the conv blocks is multiplied by; 0 freezes them.
        ``freeze_finetune_updates``: as many updates train the output layer alone. ``trainable``: what is trained,
        ``"all"``, ``"head"`` (the output layer), an integer (so many last layers of the encoder, and the output layer),
        or a list of patterns of checkpoint names; what is frozen runs as in inference, without dropout. ``lr_decay``:
        the learning rate of a layer of the encoder is so many times that of the next one. ``adapters``: the rank of
        low-rank adapters (LoRA) of the queries and values of all layers, or as many last ones as ``trainable`` says;
        they and the output layer are trained, and models that come back have them in their weights. The defaults are
        those of ECG-FM's finetuning (``activation_dropout`` 0.1, all else 0).

        Of pretraining, with ECG-FM's defaults: ``dropout``, ``attention_dropout``, ``activation_dropout``,
        ``dropout_input``, ``dropout_features``, ``encoder_layerdrop``, ``feature_grad_mult``; ``mask_prob``,
        ``mask_length``, ``mask_selection``, ``mask_other``, ``no_mask_overlap``, ``mask_min_space`` and the same with
        ``mask_channel_``; ``num_negatives``, ``cross_sample_negatives``, ``codebook_negatives``, ``logit_temp``,
        ``latent_temp`` (start, end, decay); ``loss_weights`` (diversity, feature penalty), ``infonce``, ``temp`` and
        ``cmsc_weights`` of CMSC; ``perturbation_mode`` (names of `ecgfm.ecg.augment`), ``p`` and their options. With
        ``mask_prob`` 0 all steps are predicted and none is masked. ``cmsc_all_ranks``: CMSC compares the pairs of all
        ranks' batches, and not, as in the original, those of each rank alone. All ranks must then call `accumulate`
        equally often; one without a batch calls `accumulate_nothing`.

    Attributes
    ----------
    loss, precision : str
    num_labels : int
        Of outputs Y; 0 of a pretraining model, which has no outputs yet.
    labels, labels_source, input, input_source
        As of `Model`.
    num_updates : int
        Updates that were applied.
    skipped : int
        Updates that were not, because of gradients that were not finite.
    epoch : int
        For schedules that look at it; the caller counts it up.
    last_logits : ndarray or None
        (B, Y) float32, of the last batch that was accumulated, with the dropout of training; None of pretraining.
    last_sums : dict
        Of the last update.

    Raises
    ------
    ConfigError, LabelError
        If a setting is unknown or out of range or one that the original cannot train with, or labels don't fit.
    """

    def __init__(
        self,
        model: Any,
        *,
        loss: str = "binary_cross_entropy_with_logits",
        schedule: Schedule = 5e-5,
        optimizer: Mapping[str, Any] | None = None,
        seed: int = 1,
        on_nonfinite: str = "error",
        recompute: bool = False,
        precision: str = FLOAT32,
        communicator: Alone | Ranks | None = None,
        input: InputSpec | Mapping[str, Any] | str | None = None,
        **settings: Unpack[SettingKeywords],
    ) -> None:
        check_loss(loss)
        checked(on_nonfinite, Choice(("error", "skip")), "on_nonfinite")
        self._lock = threading.RLock()  # calls from several threads come one after the other
        self.communicator: Alone | Ranks = Alone() if communicator is None else communicator
        self.seed, self.loss, self.on_nonfinite = checked_seed(seed), loss, on_nonfinite
        self.precision = training_precision(precision)
        self.objective: Objective = OBJECTIVES[loss](settings, self.seed, self.communicator)
        self.settings = self.objective.settings
        self.optimizer = checked_optimizer(optimizer, self.objective.optimizer)
        self.schedule = make_schedule(schedule)
        self.num_updates = self.skipped = 0
        self.epoch = 1
        self.last_logits: NDArray[np.float32] | None = None
        self.last_sums: dict[str, Any] = {}
        with opened(model) as start:
            self.config = dict(self.objective.begin(start))
            options = self.objective.options() | {"recompute": bool(recompute), "precision": self.precision}
            self.engine, self.below_token = Engine(self.config, self.objective.kind, options), object()
            self.objective.fill(self.engine.arrays("parameters"), start)
            self.engine.core.take_bases()
            self._info, self._new = start.info, start.kind is None
            self._take_input(input, start.input)
        self.num_labels, self.labels = self.objective.num_labels, self.objective.labels
        self.labels_source = self.objective.labels_source
        self._drop()
        self.engine.check_same(self.communicator)

    @property
    def labels_assumed(self) -> bool:
        """bool: as of `Model`."""
        return "assumed" in (self.labels_source or "")

    # ---- a step -------------------------------------------------------------------------------------

    def _drop(self) -> None:
        self._sums: dict[str, Any] = {}
        self._rows = 0

    def forget(self) -> None:
        """Drop the gradients of all batches since the last update."""
        with self._lock:
            self.engine.forget()
            self._drop()

    def accumulate(
        self,
        x: Any = None,
        y: Any = None,
        padding_mask: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        pairs: Any = None,
        ids: Any = None,
        noise: Mapping[str, Any] | None = None,
    ) -> None:
        """Forward and backward of one batch; the weights stay as they are.

        Parameters
        ----------
        x, pairs : Segments or array_like
            Two names for one thing: (B, L, N) segments, as for calling a model, or what `below` made of them. In
            pretraining (P, 2, L, N), two segments of each of P patients; or (B, L, N) segments, whose ids say which
            belong together: the first of an id with its second, the third with its fourth and so on.
        y, ids : array_like
            Two names for one thing. In finetuning the labels, (B, Y) in [0, 1], of ``mse`` numbers in the target's
            unit; NaN where one is not known. In pretraining, (P,) or (B,) integers or text: whose segments they are.
            Pairs of the same id belong together. By default each pair is a patient's own. ``wav2vec2`` takes segments
            without.
        padding_mask : array_like of bool, optional
            As for calling a model, or (P, 2, N) or (P, 2, L, N): True = padding at the end of a segment.
        sample_weight : array_like, optional
            In finetuning, (B,) what each segment counts for; without, 1.
        noise : dict of str to array_like, optional
            Arrays instead of drawn ones, as `ecgfm.training.noise` names them.

        What doesn't fit is refused before anything changes.
        """
        batch = x if pairs is None else pairs, y if ids is None else ids, padding_mask
        self._check_below(x)
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        if weights and not isinstance(self.objective, Labelled):
            raise ConfigError("pretraining weighs no segments", field="sample_weight", remedy="Leave it out")
        rows = self.objective.rows(*batch, **weights, together=True)
        with self._lock:
            try:
                sums = self.objective.sums(self.engine, rows, self._key(self._rows), noise)
                self.last_logits = sums.pop("logits", None)
                self._rows += len(rows.x)
                self._sums = {name: value + self._sums.get(name, 0) for name, value in sums.items()}
            except Error:  # refused: nothing was computed
                raise
            except BaseException:  # no memory, a signal: the gradients are lost
                self.engine.forget()
                self._drop()
                raise

    def accumulate_nothing(self) -> None:
        """What a rank without a batch does while the others accumulate one."""
        self.objective.nothing()

    def _key(self, first_row: int, validation: bool = False) -> Key:
        tried = self.num_updates + self.skipped
        return Key(self.seed, self.communicator.rank, tried, first_row, self.num_updates, validation)

    def update(self) -> dict[str, Any]:
        """Apply the gradients of all batches since the last update; returns what `step` does.

        An `Error` says that nothing was accumulated, or, with ``on_nonfinite`` "error", that the norm of the gradients
        is not finite: the weights are as before then, and the gradients are dropped. Without a known label nothing is
        applied.
        """
        with self._lock:
            parts = [part for part in self.communicator.gather(self._sums) if part]
            if not parts:
                raise Error("no batch was accumulated since the last update", field="update")
            sums = {name: sum(part[name] for part in parts) for name in parts[0]}
            lr = learning_rate(self.schedule, self.num_updates, self.epoch)
            head_only = self.num_updates < self.objective.frozen_updates
            size = self.objective.size(sums)
            gnorm, applied = self.engine.update(self.communicator, self.optimizer, lr, size, head_only=head_only)
            self._drop()
            self.last_sums = sums
            self.num_updates += applied
            self.skipped += not applied
            done = self.num_updates
        if size and not applied and self.on_nonfinite == "error":
            raise Error(
                f"the norm of the gradients is {gnorm} in update {done + 1}; the weights were not changed",
                field="gradients",
                remedy="Lower the learning rate, or give on_nonfinite='skip'",
            )
        found = self.objective.report(sums)
        return found | {"gnorm": gnorm, "lr": lr, "applied": applied, "num_updates": done}

    def step(
        self,
        x: Any = None,
        y: Any = None,
        padding_mask: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        pairs: Any = None,
        ids: Any = None,
        noise: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """`accumulate` and `update`.

        Returns
        -------
        dict
            ``loss`` in bits, a mean over cells in finetuning, over masked steps in pretraining; ``loss_sum`` (in nats);
            ``sample_size`` (cells or masked steps), ``nsignals`` (segments); ``gnorm`` (of the mean gradient, before
            clipping), ``lr``, ``applied``, ``num_updates``. In finetuning ``accuracy`` (of cells), ``em_accuracy`` (of
            whole rows), ``precision`` and ``recall`` (over all cells, NaN where undefined). Of ``mse`` the ``loss`` is
            the mean squared error in deviations of the target, and there is ``mae``, the mean absolute error in
            deviations, instead of the shares. In pretraining the parts of
            the loss, ``loss_0`` (contrastive), ``loss_1`` (diversity), ``loss_2`` (feature penalty), ``loss_3`` (CMSC);
            ``accuracy`` of the contrastive choice (without ``infonce`` there is none); ``prob_perplexity``,
            ``code_perplexity`` and ``temp`` of the quantizer, means over batches. ``wav2vec2`` has no ``loss_3``,
            ``cmsc`` no parts.
        """
        with self._lock:
            self.accumulate(x, y, padding_mask, sample_weight, pairs=pairs, ids=ids, noise=noise)
            return self.update()

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        padding_mask: ArrayLike | None = None,
        *,
        pairs: Any = None,
        ids: Any = None,
        noise: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """What `step` reports of a loss, of a batch as of `accumulate` that is not trained on.

        There is no dropout; what pretraining masks and tells apart depends on the seed and the row of the batch alone.
        """
        self._check_below(x)
        rows = self.objective.rows(x if pairs is None else pairs, y if ids is None else ids, padding_mask)
        with self._lock:
            found = self.objective.sums(self.engine, rows, self._key(0, validation=True), noise)
        return self.objective.report(found)

    # ---- what it holds ------------------------------------------------------------------------------

    def gradients(self) -> dict[str, NDArray[np.float32]]:
        """Gradients of the summed loss since the last update, by checkpoint name; of what is frozen none."""
        return self.engine.views("gradients")

    def state(self) -> dict[str, Any]:
        """All that a trainer needs to go on as if it had not stopped; the arrays are read-only views, no copies.

        Returns
        -------
        dict
            ``parameters``, ``exp_avg``, ``exp_avg_sq``: dicts of arrays by checkpoint name; ``steps``: updates that
            each tensor has seen; ``num_updates``, ``skipped``, ``epoch``, ``seed``.
        """
        return self.engine.state() | {name: getattr(self, name) for name in COUNTS}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take what `state` gave, from this trainer or another of the same shape; gradients are dropped.

        Nothing changes where a `ConfigError` says that a part is missing or unknown, or of another shape.
        """
        if not isinstance(state, dict):
            raise ConfigError(f"{shown(state)} is not a dict", field="state")
        missing = [name for name in COUNTS if name not in state]
        if missing:
            raise ConfigError("the state lacks this entry", field=missing[0])
        counts = {name: checked(state[name], Seed() if name == "seed" else Whole(), name) for name in COUNTS}
        with self._lock:
            self.engine.load_state(state)
            self.below_token = object()
            for name, value in counts.items():
                setattr(self, name, value)
            self._drop()

    def state_dict(self) -> dict[str, NDArray[np.float32]]:
        """The weights by checkpoint name, read-only; what adapters add is in them."""
        return self.engine.weights()

    def model(self) -> Model:
        """A `Model` with a copy of the weights as they are; of pretraining, the encoder."""
        return self.model_of(self.state_dict())

    def model_of(self, weights: Mapping[str, NDArray[np.float32]]) -> Model:
        """A `Model` of weights by checkpoint name, with the names of the outputs and where they come from.

        What there was to be said of the model that the training started from is said of this one.
        """
        info = self._info | self.objective.said()
        model = Model.from_state_dict(self.config, weights, kind=self.objective.kind, labels=self.labels, info=info)
        model.labels_source = self.labels_source
        model.input, model.input_source = self.input, self.input_source
        return model

    def note(self, **said: Any) -> None:
        """Say this of the models and files that come from here; what is None is left out."""
        self._info = self._info | {name: value for name, value in said.items() if value is not None}

    def save(
        self, path: Any, *, force: bool = False, weights: Mapping[str, NDArray[np.float32]] | None = None
    ) -> list[Path]:
        """Write a checkpoint: ``NAME.pt``, ``NAME.safetensors`` or a model directory.

        `ecgfm.load`, `ecgfm.finetune` and trainers start from it, and fairseq-signals from a ``.pt``.

        Parameters
        ----------
        path : path-like
        force : bool
            Replace files that are there.
        weights : dict of str to ndarray, optional
            By checkpoint name, instead of the weights as they are.

        Returns
        -------
        list of pathlib.Path
            The files written. A `CheckpointError` says that one exists and ``force`` is false, or can't be written.
        """
        found: list[Path] = checkpoint.save(
            path,
            kind=self.objective.kind,
            config=self.config,
            tensors=self.state_dict() if weights is None else weights,
            info={"num_updates": self.num_updates} | self._info | self.objective.said(),
            input=(self.input, self.input_source),
            force=force,
            **self.objective.saved(),
        )
        return found

    def __repr__(self) -> str:
        what = f"{self.num_labels} labels" if self.num_labels else self.loss
        return f"{type(self).__name__}({what}, {self.num_updates} updates, seed {self.seed})"

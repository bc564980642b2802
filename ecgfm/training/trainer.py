"""One step of training at a time."""

import math
import os
import threading
import warnings
import zlib

import numpy as np

from .. import checkpoint
from .._text import shown
from ..checkpoint.labels import check_labels, read_label_file
from ..ecg import Segments
from ..ecg.expected import ECG_FM, refuse_other_order, warn_unprepared
from ..errors import ConfigError, Error, InputWarning, LabelError
from ..kernels import core
from ..metrics.counts import bce_sums, loss_and_shares
from ..model.model import Model
from ..model.segments import checked_segments
from ..ranks import Alone
from ..specs.architecture import Architecture
from ..validation import bool_array, is_one_of, real_array
from . import head
from .arguments import checked_count, checked_optimizer, checked_seed, checked_settings
from .labelling import read_labels
from .pretrain_settings import LOSSES as PRETRAINING_LOSSES
from .schedules import make_schedule

__all__ = ["Trainer"]

# The settings of ECG-FM's finetuning, under the original's names.
SETTINGS = {
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.1,
    "dropout_input": 0.0,
    "final_dropout": 0.0,
    "encoder_layerdrop": 0.0,
    "feature_grad_mult": 0.0,
    "freeze_finetune_updates": 0,
}
LOSS = "binary_cross_entropy_with_logits"
BLOCKS = ("parameters", "exp_avg", "exp_avg_sq")
COUNTS = ("num_updates", "skipped", "epoch", "seed")


class Trainer:
    """Finetunes a classifier, a batch at a time: forward, backward and Adam in one call.

    Parameters
    ----------
    model : Model or path-like
        Where the weights come from: a classifier, or a model that was pretrained, which gets a new output layer. They
        are copied; the model is not changed. Given a path, the weights are read once and no model is made.
    num_labels : int, optional
        Number of outputs. Needed for a pretrained model; for a classifier with another number the output layer is made
        anew.
    labels : sequence of str or path-like, optional
        Names of the outputs, or a ``label_def.csv``. The rows of a classifier's output layer go with their names; those
        of names that it doesn't have are made anew, which a warning says. By default the model's names if their number
        fits.
    loss : {"binary_cross_entropy_with_logits"}
        Summed over all cells; gradients are divided by the number of cells of all batches of an update. With a loss of
        pretraining a `PretrainingTrainer` is made, which takes other arguments.
    pos_weight : array_like, optional
        (Y,) weights of the positive cells.
    schedule : float, list of float, dict or callable
        The learning rate: a number; a list with one for each epoch; ``{"_name": "tri_stage", ...}`` with the keys of
        `TriStage`, `Fixed` or `Step`; or a function of (updates finished, epoch).
    optimizer : dict, optional
        ``adam_betas``, ``adam_eps``, ``weight_decay``, ``clip_norm`` (0: no clipping).
    seed : int
        From 0 to 4294967295: of the new output layer and of all dropout. A mask depends on the seed, the update, the
        row and its place alone, not on the number of threads or on how a batch is split.
    on_nonfinite : {"error", "skip"}
        What to do when the norm of the gradients is not finite; the weights stay as they are in both cases.
    communicator : Alone or Ranks, optional
        The ranks that train together (`ecgfm.ranks`): each takes a part of a batch, gradients and sample
        sizes are summed over them, and what `update` returns is that of all. All ranks must call `update` together; a rank
        without a batch calls it without `accumulate`. By default this process trains alone.
    recompute : bool
        Keep only the inputs of the encoder layers and compute their inside again for the backward: less memory, more
        time, the same numbers.
    **settings
        ``dropout``, ``attention_dropout``, ``activation_dropout``, ``dropout_input``, ``final_dropout``,
        ``encoder_layerdrop``: probabilities. ``feature_grad_mult``: what the gradient of the conv blocks is multiplied
        by; 0 freezes them. ``freeze_finetune_updates``: so many updates train the output layer alone. The defaults are
        those of ECG-FM's finetuning (``activation_dropout`` 0.1, all else 0).

    Attributes
    ----------
    num_updates : int
        Updates that were applied.
    skipped : int
        Updates that were not, because of gradients that were not finite.
    epoch : int
        For schedules that look at it; the caller counts it up.
    last_logits : ndarray
        (B, Y) float32, of the last batch that was accumulated, with the dropout of training.
    last_sums : dict
        The sums over cells and rows behind what the last update reported.

    Notes
    -----
    Calls from several threads wait for each other.

    Raises
    ------
    ConfigError
        If a setting is unknown or out of range.
    LabelError
        If ``pos_weight`` or the labels don't fit.
    MemoryError
        If the four copies of the weights do not fit in memory.
    """

    def __new__(cls, model=None, *, loss=LOSS, **settings):
        if cls is Trainer and is_one_of(loss, PRETRAINING_LOSSES):
            from .pretrain_trainer import PretrainingTrainer

            cls = PretrainingTrainer
        return super().__new__(cls)

    def __init__(
        self,
        model,
        *,
        num_labels=None,
        labels=None,
        loss=LOSS,
        pos_weight=None,
        schedule=5e-5,
        optimizer=None,
        seed=1,
        on_nonfinite="error",
        recompute=False,
        communicator=None,
        **settings,
    ):
        if not is_one_of(loss, (LOSS,)):
            known = ", ".join(map(repr, (LOSS, *PRETRAINING_LOSSES)))
            raise ConfigError(f"the loss {shown(loss)} is not known", field="loss", remedy=f"Known are {known}")
        if not is_one_of(on_nonfinite, ("error", "skip")):
            raise ConfigError(f"{shown(on_nonfinite)} is neither 'error' nor 'skip'", field="on_nonfinite")
        self._lock = threading.RLock()  # calls from several threads come one after the other
        self.settings = checked_settings(SETTINGS, settings, "settings")
        self.optimizer = checked_optimizer(optimizer)
        self.schedule = make_schedule(schedule)
        self.seed = checked_seed(seed)
        self.on_nonfinite = on_nonfinite
        self.communicator = Alone() if communicator is None else communicator
        self.num_updates = self.skipped = 0
        self.epoch = 1
        self.expected = ECG_FM  # what the first batch is compared with; None: nothing any more
        self._create(model, num_labels, labels, bool(recompute))
        self._pos_weight = None if pos_weight is None else self._checked_pos_weight(pos_weight)
        self._forget()
        self._compare_ranks()

    # ---- what it is made of -------------------------------------------------------------------------

    def _create(self, model, num_labels, labels, recompute):
        if isinstance(model, (str, os.PathLike)):
            with checkpoint.read(model) as found:
                kind = "classifier" if found.kind == "classifier" else "encoder"
                names = found.labels, found.labels_source
                self._fill(found.config, kind, names, found.tensors, num_labels, labels, recompute)
            return
        if not isinstance(model, Model):
            raise ConfigError(f"a {type(model).__name__} is neither a Model nor a path", field="model")
        names = model.labels, model.labels_source
        self._fill(model.config, model.kind, names, _Weights(model), num_labels, labels, recompute)

    def _fill(self, config, kind, named, tensors, num_labels, labels, recompute):
        found = int(config["num_labels"]) if kind == "classifier" else None
        if isinstance(labels, (str, os.PathLike)):
            labels = read_label_file(labels)
        if labels is not None and num_labels is None:
            num_labels = len(check_labels(labels, len(labels) if hasattr(labels, "__len__") else 0))
        if num_labels is None and found is None:
            raise ConfigError(
                "a pretrained model has no outputs yet", field="num_labels", remedy="Give the number of labels"
            )
        count = found if num_labels is None else checked_count(num_labels, "num_labels")
        self.config = dict(config) | {"num_labels": count}
        names, source = named
        if labels is not None:
            self.labels, self.labels_source = check_labels(labels, count), "the caller"
        else:
            self.labels, self.labels_source = (names, source) if names and count == found else (None, None)
        self.kept_rows = kept = head.kept_rows(names, self.labels, count, found, labels is not None)
        self._core = core().Trainer(self.config, self.settings | {"recompute": recompute})
        if found is not None and None in kept and self.communicator.rank == 0:
            warnings.warn(head.about(kept, self.labels, found, names), InputWarning, stacklevel=5)
        prefix = "" if kind == "classifier" else "encoder."
        for name, values in self._core.arrays("parameters").items():
            if name.startswith("proj."):
                head.fill(values, name, self.seed, kept, tensors)
                continue
            tensor = tensors[name.removeprefix(prefix)]
            values[...] = np.asarray(tensor)
            if hasattr(tensor, "release"):
                tensor.release()

    @property
    def labels_assumed(self):
        """bool: whether the names are those of the published model, taken because the checkpoint names none."""
        return "assumed" in (self.labels_source or "")

    @property
    def num_labels(self):
        """int: number of outputs Y."""
        return int(self.config["num_labels"])

    def _label(self, index):
        return self.labels[index] if self.labels else f"label {index}"

    def _checked_pos_weight(self, pos_weight):
        weights = real_array(pos_weight, "pos_weight", LabelError)
        if weights.shape != (self.num_labels,):
            raise LabelError(f"the shape {weights.shape} is not ({self.num_labels},)", field="pos_weight")
        with np.errstate(over="ignore"):
            weights = np.require(weights, np.float32, ["C", "ALIGNED"])
        bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
        if bad.size:
            label = self._label(int(bad[0]))
            raise LabelError(f"the weight of {label} is {weights[bad[0]]}", field="pos_weight")
        return weights

    def checked_labels(self, y, rows):
        """Labels (rows, Y) as contiguous float32.

        Raises
        ------
        LabelError
            If the shape differs, or a value does not lie from 0 to 1.
        """
        if hasattr(y, "columns"):
            y = self._in_order(y)
        y = real_array(y, "y", LabelError, booleans=True)
        if y.shape != (rows, self.num_labels):
            raise LabelError(f"the shape {y.shape} is not {(rows, self.num_labels)}: (segments, labels)", field="y")
        with np.errstate(over="ignore"):
            y = np.require(y, np.float32, ["C", "ALIGNED"])
        bad = np.argwhere(~((y >= 0) & (y <= 1)))
        if bad.size:
            row, column = map(int, bad[0])
            raise LabelError(f"row {row}, {self._label(column)}: {y[row, column]} is not from 0 to 1", field="y")
        return y

    def _in_order(self, y):
        """The values of a table with a column per label, in the order of the outputs."""
        found = read_labels(y)
        if self.labels and found.names and set(found.names) != set(self.labels):
            odd = next(iter(set(found.names) ^ set(self.labels)))
            raise LabelError(f"the columns are not the labels of the outputs: {odd} is one of theirs only", field="y")
        return found.arranged(self.labels)

    # ---- a step -------------------------------------------------------------------------------------

    def _forget(self):
        self._sums, self._rows = None, 0

    def forget(self):
        """Drop the gradients of all batches since the last update."""
        with self._lock:
            self._core.forget()
            self._forget()

    @property
    def _head_only(self):
        return self.num_updates < self.settings["freeze_finetune_updates"]

    def accumulate(self, x, y, padding_mask=None, *, noise=None):
        """Forward and backward of one batch; the weights stay as they are.

        Parameters
        ----------
        x : Segments or array_like
            (B, L, N), as for calling a model.
        y : array_like
            (B, Y) in [0, 1].
        padding_mask : array_like of bool, optional
            As for calling a model.
        noise : dict of str to array_like of bool, optional
            Dropout masks instead of drawn ones, True = kept: ``input``, ``encoder``, ``final`` (B, T, C);
            ``layer{i}.attention`` (B, H, T, T), ``layer{i}.activation`` (B, T, F), ``layer{i}.residual1`` and
            ``layer{i}.residual2`` (B, T, C); ``layers`` (layers,), False for a layer that is left out. Those whose
            probability is 0 are not looked at.

        Raises
        ------
        SignalError, LabelError, ConfigError
            Before anything changes.
        """
        x, valid = self.checked_input(x, padding_mask)
        y = self.checked_labels(y, len(x))
        given = None if noise is None else self._checked_noise(noise, len(x), x.shape[2])
        with self._lock:
            try:
                sums = self._core.accumulate(
                    x,
                    y,
                    valid,
                    self._pos_weight,
                    seed=self.seed,
                    rank=self.communicator.rank,
                    update=self.num_updates + self.skipped,
                    first_row=self._rows,
                    head_only=self._head_only,
                    noise=given,
                )
                self.last_logits = sums.pop("logits")
                self._rows += len(x)
                self._sums = {name: value + (self._sums or {}).get(name, 0) for name, value in sums.items()}
            except Error:  # refused: nothing was computed
                raise
            except BaseException:  # no memory, a signal: the gradients are lost
                self._core.forget()
                self._forget()
                raise

    def accumulate_nothing(self):
        """What a rank without a batch does while the others accumulate one."""

    def _checked_noise(self, noise, batch, samples):
        """Dropout masks as the kernel takes them."""
        if not isinstance(noise, dict):
            raise ConfigError(f"{shown(noise)} is not a dict of arrays", field="noise")
        known, given = self._noise_shapes(batch, Architecture.of_config(self.config).tokens(samples)), {}
        for name, mask in noise.items():
            field = f"noise.{name}"
            if name not in known:
                raise ConfigError("there is no such mask", field=field, remedy=f"Known are {', '.join(known)}")
            mask = bool_array(mask, field, ConfigError)
            if mask.shape != known[name]:
                raise ConfigError(f"{mask.dtype} of shape {mask.shape} is not bool of {known[name]}", field=field)
            given[name] = np.require(mask, requirements=["C", "ALIGNED"])
        return given

    def _noise_shapes(self, batch, tokens):
        config = self.config
        layers, heads = int(config["encoder_layers"]), int(config["encoder_attention_heads"])
        stream = (batch, tokens, int(config["encoder_embed_dim"]))
        shapes = {"input": stream, "encoder": stream, "final": stream, "layers": (layers,)}
        for i in range(layers):
            shapes[f"layer{i}.attention"] = (batch, heads, tokens, tokens)
            shapes[f"layer{i}.activation"] = (batch, tokens, int(config["encoder_ffn_embed_dim"]))
            shapes[f"layer{i}.residual1"] = shapes[f"layer{i}.residual2"] = stream
        return shapes

    def update(self):
        """Apply the gradients of all batches since the last update.

        Returns
        -------
        dict
            As of `step`.

        Raises
        ------
        Error
            If nothing was accumulated, or the norm of the gradients is not finite and ``on_nonfinite`` is "error"; the
            weights are then as before, the gradients are dropped.
        """
        with self._lock:
            sums, opt = self._summed(), self.optimizer
            lr = self._learning_rate()
            beta1, beta2 = opt["adam_betas"]
            gnorm, applied = self._core.update(
                lr,
                beta1,
                beta2,
                opt["adam_eps"],
                opt["weight_decay"],
                sums["count"],
                clip_norm=opt["clip_norm"],
                head_only=self._head_only,
            )
            self._forget()
            self.last_sums = sums
            self.num_updates += applied
            self.skipped += not applied
            done = self.num_updates
        if not applied and self.on_nonfinite == "error":
            raise Error(
                f"the norm of the gradients is {gnorm} in update {done + 1}; the weights were not changed",
                field="gradients",
                remedy="Lower the learning rate, or give on_nonfinite='skip'",
            )
        return self._report(sums) | {"gnorm": gnorm, "lr": lr, "applied": applied, "num_updates": done}

    def _report(self, sums):
        return loss_and_shares(sums)

    def _summed(self):
        """The sums of all batches of all ranks; the gradients are summed in place."""
        ranks = self.communicator
        parts = [part for part in ranks.gather(self._sums) if part is not None]
        if not parts:
            raise Error("no batch was accumulated since the last update", field="update")
        if ranks.size > 1:
            ranks.sum(self._core.flat_gradients())
        return {name: sum(part[name] for part in parts) for name in parts[0]}

    def _compare_ranks(self):
        """All ranks must start from the same weights: each applies the same updates to its own."""
        ranks = self.communicator
        if ranks.size > 1:
            sums = ranks.gather([zlib.crc32(values) for values in self._core.arrays("parameters").values()])
            if any(other != sums[0] for other in sums):
                raise ConfigError("the ranks do not start from the same weights", field="model")

    def _learning_rate(self):
        try:
            lr = float(self.schedule(self.num_updates, self.epoch))
        except OverflowError:
            lr = math.inf
        if not (math.isfinite(lr) and lr >= 0):
            raise ConfigError(f"it gives the learning rate {lr} after {self.num_updates} updates", field="schedule")
        return lr

    def step(self, x, y, padding_mask=None, *, noise=None):
        """One update from one batch: `accumulate` and `update`.

        Returns
        -------
        dict
            ``loss`` (mean over cells, in bits), ``loss_sum`` (in nats), ``sample_size`` (cells), ``nsignals`` (rows),
            ``accuracy`` (of cells), ``em_accuracy`` (of whole rows), ``precision`` and ``recall`` (over all cells, NaN
            where undefined), ``gnorm`` (of the mean gradient, before clipping), ``lr``, ``applied``, ``num_updates``.
        """
        with self._lock:
            self.accumulate(x, y, padding_mask, noise=noise)
            return self.update()

    def logits(self, x, padding_mask=None):
        """The logits (B, Y) float32 of the weights as they are, without dropout."""
        x, valid = self.checked_input(x, padding_mask)
        with self._lock:
            return self._core.forward(x, valid)

    def checked_input(self, x, padding_mask=None):
        """Segments and their valid samples as the kernels take them; the first ones are looked at.

        Warns
        -----
        InputWarning
            Once, if they are evidently not prepared, as millivolts aren't; and where x isn't 0 under `padding_mask`,
            which is taken as 0.
        """
        refuse_other_order(x, "x")
        ready, valid = checked_segments(x, padding_mask, Architecture.of_config(self.config))
        if self.expected is not None:
            given = x if isinstance(x, Segments) else ready
            warn_unprepared(given, expected=self.expected, what="training", stacklevel=4)
            self.expected = None
        return ready, valid

    def losses(self, logits, y):
        """What `step` reports of a loss, of logits (B, Y) and labels (B, Y); nothing is trained."""
        logits = real_array(logits, "logits")
        return loss_and_shares(bce_sums(logits, self.checked_labels(y, len(logits)), self._pos_weight))

    # ---- what it holds ------------------------------------------------------------------------------

    def gradients(self):
        """Gradients of the summed loss since the last update, by checkpoint name: read-only views, no copies.

        They are not divided by the sample size. What is frozen has none.
        """
        return _read_only(self._core.arrays("gradients"))

    def state(self):
        """All that a trainer needs to go on as if it had not stopped; the arrays are read-only views, no copies.

        Returns
        -------
        dict
            ``parameters``, ``exp_avg``, ``exp_avg_sq``: dicts of arrays by checkpoint name; ``steps``: updates that each
            tensor has seen; ``num_updates``, ``skipped``, ``epoch``, ``seed``.
        """
        counts = {name: getattr(self, name) for name in COUNTS}
        return (
            {block: _read_only(self._core.arrays(block)) for block in BLOCKS} | {"steps": self._core.steps()} | counts
        )

    def load_state(self, state):
        """Take what `state` gave, from this trainer or another of the same shape; gradients are dropped.

        Raises
        ------
        ConfigError
            If a part is missing or unknown, or an array has another shape; nothing has changed then.
        """
        if not isinstance(state, dict):
            raise ConfigError(f"{shown(state)} is not a dict", field="state")
        pairs = []
        for block in BLOCKS:
            own = self._core.arrays(block)
            for name, given in _same_names(state, block, own).items():
                given = real_array(given, f"{block}.{name}", ConfigError)
                if given.shape != own[name].shape:
                    raise ConfigError(f"the shape is {given.shape}, not {own[name].shape}", field=f"{block}.{name}")
                pairs.append((own[name], given))
        steps = {
            name: checked_count(value, f"steps.{name}")
            for name, value in _same_names(state, "steps", self._core.steps()).items()
        }
        missing = [name for name in COUNTS if name not in state]
        if missing:
            raise ConfigError("the state lacks this entry", field=missing[0])
        counts = {name: checked_count(state[name], name) for name in COUNTS}
        checked_seed(counts["seed"])
        with self._lock:
            self._core.set_steps(steps)
            for values, given in pairs:
                values[...] = given
            for name, value in counts.items():
                setattr(self, name, value)
            self._core.forget()
            self._forget()

    def state_dict(self):
        """The weights by checkpoint name: read-only views, no copies."""
        return _read_only(self._core.arrays("parameters"))

    def model(self):
        """A `Model` with a copy of the weights as they are."""
        return self.model_of(self.state_dict())

    def model_of(self, weights):
        """A `Model` of weights by checkpoint name, with the names of the outputs and where they come from."""
        model = Model.from_state_dict(self.config, weights, labels=self.labels)
        model.labels_source = self.labels_source
        return model

    def __repr__(self):
        return f"Trainer({self.num_labels} labels, {self.num_updates} updates, seed {self.seed})"


class _Weights:
    """A model's tensors, each unpacked when it is asked for."""

    def __init__(self, model):
        self._model = model

    def __getitem__(self, name):
        return self._model._core.get(name)


def _same_names(state, part, own):
    """The dict of that name in a state, if it has the names of ours."""
    given = state.get(part)
    if not isinstance(given, dict):
        raise ConfigError("the state lacks this entry", field=part)
    for name in own:
        if name not in given:
            raise ConfigError("the state lacks this entry", field=f"{part}.{name}")
    for name in given:
        if name not in own:
            raise ConfigError("the network has no such tensor to train", field=f"{part}.{name}")
    return given


def _read_only(arrays):
    for values in arrays.values():
        values.flags.writeable = False
    return arrays

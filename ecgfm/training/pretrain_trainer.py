"""One step of pretraining at a time."""

import math
import os
import threading
import zlib
from contextlib import ExitStack

import numpy as np

from .. import checkpoint
from .._text import shown
from ..ecg.augment import PERTURBATIONS, augmentation
from ..ecg.expected import ECG_FM
from ..errors import ConfigError, Error, SignalError
from ..kernels import core
from ..model.model import Model
from ..ranks import Alone
from ..specs.architecture import Architecture, architecture_keys
from ..validation import bool_array, is_one_of, real_array, refuse_masked
from . import noise as draws
from .arguments import checked_optimizer, checked_seed
from .grouping import group_numbers
from .pretrain_noise import GIVEN, masked_leads, settle
from .pretrain_settings import LOSSES, PERTURBATION, checked_settings
from .schedules import make_schedule
from .trainer import Trainer, _Weights

__all__ = ["PretrainingTrainer", "numbered", "paired"]

OPTIMIZER = {"adam_eps": 1e-6, "weight_decay": 0.01}  # otherwise as in finetuning
PARTS = ("contrastive", "diversity", "penalty", "cmsc")  # loss_0 to loss_3
_CRITERION = ("temp", "loss_weights", "cmsc_weights", "infonce")  # settings that are not the model's


class PretrainingTrainer(Trainer):
    """Pretrains an encoder, a batch of pairs at a time: W2V, CMSC and masked leads.

    ``ecgfm.Trainer(..., loss="wav2vec2_with_cmsc")`` makes one.

    Parameters
    ----------
    model : dict, path-like or Model
        A dict of the original's keys of the architecture: a new model, ECG-FM's base where nothing is said. A path:
        a pretraining checkpoint to go on with, or another one whose encoder is taken. A `Model`: its encoder. What is
        not there starts anew. A model that is given is not changed.
    loss : {"wav2vec2_with_cmsc", "wav2vec2", "cmsc"}
        Gradients are divided by the sample size of all batches of an update: the masked steps; for ``cmsc`` alone,
        which masks no steps, the pairs.
    schedule : float, list of float, dict or callable
        As of `Trainer`.
    optimizer : dict, optional
        As of `Trainer`; by default ``adam_eps`` 1e-6 and ``weight_decay`` 0.01, as ECG-FM's pretraining.
    seed : int
        From 0 to 4294967295: of new weights and of all noise. What is drawn for a row depends on the seed, the update,
        the rank and the row, not on the number of threads.
    on_nonfinite, communicator, recompute
        As of `Trainer`.
    cmsc_all_ranks : bool
        CMSC compares the pairs of all ranks' batches, and not, as in the original, those of each rank alone. All ranks
        must then call `accumulate` equally often; one without a batch calls `accumulate_nothing`.
    **settings
        Under the original's names and with ECG-FM's defaults: ``dropout``, ``attention_dropout``,
        ``activation_dropout``, ``dropout_input``, ``dropout_features``, ``encoder_layerdrop``, ``feature_grad_mult``;
        ``mask_prob``, ``mask_length``, ``mask_selection``, ``mask_other``, ``no_mask_overlap``, ``mask_min_space`` and
        the same with ``mask_channel_``; ``num_negatives``, ``cross_sample_negatives``, ``codebook_negatives``,
        ``logit_temp``, ``latent_temp`` (start, end, decay); ``loss_weights`` (diversity, feature penalty), ``infonce``,
        ``temp`` and ``cmsc_weights`` of CMSC; ``perturbation_mode`` (names of `ecgfm.ecg.augment`), ``p`` and their
        options. With ``mask_prob`` 0 all steps are predicted and none is masked.

    Raises
    ------
    ConfigError
        If a setting is unknown or out of range, or is one that the original cannot train with.
    """

    def __init__(
        self,
        model,
        *,
        loss="wav2vec2_with_cmsc",
        schedule=5e-5,
        optimizer=None,
        seed=1,
        on_nonfinite="error",
        communicator=None,
        cmsc_all_ranks=False,
        recompute=False,
        **settings,
    ):
        if not is_one_of(loss, LOSSES):
            raise ConfigError(f"{shown(loss)} is not one of {', '.join(LOSSES)}", field="loss")
        if not is_one_of(on_nonfinite, ("error", "skip")):
            raise ConfigError(f"{shown(on_nonfinite)} is neither 'error' nor 'skip'", field="on_nonfinite")
        self._lock = threading.RLock()
        self.loss = loss
        self._perturb = _perturbation(settings)
        self.settings = checked_settings(settings, loss) | {"freeze_finetune_updates": 0}
        self.optimizer = checked_optimizer(OPTIMIZER | dict(optimizer or {}))
        self.schedule = make_schedule(schedule)
        self.seed = checked_seed(seed)
        self.on_nonfinite = on_nonfinite
        self.communicator = Alone() if communicator is None else communicator
        self.cmsc_all_ranks = bool(cmsc_all_ranks) and self.communicator.size > 1 and loss != "wav2vec2"
        self.num_updates = self.skipped = 0
        self.epoch = 1
        self.expected = ECG_FM
        self.labels = self.labels_source = None
        self._start(model, bool(recompute))
        self._forget()
        self._compare_ranks()

    # ---- what it is made of -------------------------------------------------------------------------

    def _start(self, model, recompute):
        with ExitStack() as stack:
            tensors, has = {}, ()
            if isinstance(model, (str, os.PathLike)):
                found = stack.enter_context(checkpoint.read(model))
                tensors, config = found.tensors, found.config
                prefix, has = "encoder." if found.kind == "classifier" else "", set(found.tensors)
            elif isinstance(model, Model):
                prefix = "encoder." if model.kind == "classifier" else ""
                tensors, config = _Weights(model), model.config
                has = {name for name, _ in core().parameters(config, model.kind)}
            elif isinstance(model, dict):
                prefix, config = "", model
            else:
                raise ConfigError(f"a {type(model).__name__} is neither settings nor a Model nor a path", field="model")
            if not isinstance(model, dict):
                config = {name: config[name] for name in architecture_keys("pretraining") if name in config}
            self.config = Architecture.of_kind("pretraining", config).config()
            options = {"recompute": recompute, "no_heads": self.loss == "cmsc"}
            options["no_masks"] = self.settings["mask_prob"] == 0
            rates = {name: value for name, value in self.settings.items() if isinstance(value, float)}
            self._core = core().Trainer(self.config, rates | options, "pretraining")
            values = self._core.arrays("parameters")
            initial = {name: how for name, _, how in core().initial_values(self.config, "pretraining")}
            for name in sorted(values, key=lambda name: initial[name][0] == "tap_norm"):  # it is that of another tensor
                if prefix + name in has:
                    tensor = tensors[prefix + name]
                    values[name][...] = np.asarray(tensor)
                    if hasattr(tensor, "release"):
                        tensor.release()
                else:
                    values[name][...] = self._new(name, values, *initial[name])

    def _new(self, name, values, distribution, scale):
        """The values of a tensor that starts anew; they depend on the seed and its name."""
        shape = values[name].shape
        if distribution == "tap_norm":
            direction = values[name.replace("original0", "original1")].astype(np.float64)
            return np.sqrt((direction**2).sum(axis=(0, 1))).reshape(shape)
        if distribution in ("zeros", "ones"):
            return np.full(shape, distribution == "ones", dtype=np.float32)
        rng = np.random.Generator(np.random.PCG64([self.seed, zlib.crc32(name.encode())]))
        if distribution == "normal":
            return scale * rng.standard_normal(shape, dtype=np.float32)
        drawn = rng.random(shape, dtype=np.float32)
        return drawn if distribution == "unit" else scale * (2 * drawn - 1)

    @property
    def temperature(self):
        """float: of the quantizer in the next update, ``max(start * decay**updates, end)``."""
        start, end, decay = self.settings["latent_temp"]
        return max(start * decay**self.num_updates, end)

    # ---- a step -------------------------------------------------------------------------------------

    def accumulate(self, pairs, ids=None, padding_mask=None, *, noise=None):
        """Forward and backward of one batch; the weights stay as they are.

        Parameters
        ----------
        pairs : array_like
            (P, 2, L, N): two segments of each of P patients; or (B, L, N) segments, whose ``ids`` say which belong
            together: the first of an id with its second, the third with its fourth and so on.
        ids : array_like, optional
            (P,) or (B,) integers or text: whose they are. Pairs of the same id belong together. By default each
            pair is a patient's own. ``wav2vec2`` takes segments without.
        padding_mask : array_like of bool, optional
            (P, 2, N) or (P, 2, L, N), or with B instead of P, 2: True = padding at the end of a segment.
        noise : dict of str to array_like, optional
            Arrays instead of drawn ones, under the original's names, B = 2 P rows in the order of the pairs:
            ``lead_kept`` (B, L) bool, which replaces all perturbations; ``mask_indices`` (B, T) bool, M steps in each
            row; ``mask_channel_indices`` (B, C) bool; ``neg_idxs`` (B, M n) or (B M, n) rows of the B M masked steps;
            ``codebook_idxs`` (m, B M); ``gumbel`` (B M, G V) or (B M G, V). And masks of dropout as of
            `Trainer.accumulate`, ``features`` (B M, K) among them.

        Raises
        ------
        SignalError, ConfigError
            Before anything changes.
        """
        if self.cmsc_all_ranks:
            common = self._common_ids(ids, pairs)
            x, valid, ids, second = self._checked_batch(pairs, common, padding_mask)
            batch = x, valid, np.unique(common)[ids], second
        else:
            batch = self._checked_batch(pairs, ids, padding_mask)
        with self._lock:
            try:
                self._add(self._run(batch, noise, draws.Source(self.seed, self.num_updates + self.skipped, self.rank)))
                self._rows += len(batch[0])
            except Error:  # refused: nothing was computed
                raise
            except BaseException:  # no memory, a signal: the gradients are lost
                self._core.forget()
                self._forget()
                raise

    def accumulate_nothing(self):
        """What a rank without a batch does while the others accumulate one."""
        if self.cmsc_all_ranks:
            self.communicator.gather([])
            self.communicator.gather(None)
            self.communicator.gather(np.zeros((0, int(self.config["encoder_embed_dim"])), np.float32))

    def _common_ids(self, ids, pairs):
        """Numbers of ids that are the same on all ranks; a pair without an id has one of its own."""
        count = len(pairs)
        refuse_masked(ids, "ids")
        own = [(self.rank, i) for i in range(count)] if ids is None else np.asarray(ids).tolist()
        numbers = {}
        for part in self.communicator.gather(own):
            for each in part:
                numbers.setdefault(each, len(numbers))
        return np.array([numbers[each] for each in own], dtype=np.int64)

    def _company(self, ids, second, steps):
        """What the kernel needs to compare the rows of all ranks."""
        ranks = self.communicator
        size = int(np.count_nonzero(steps)) if steps is not None else _places(ids, second)
        parts = ranks.gather((ids, second, size))
        there = [part for part in parts if part is not None]

        def gather(features):
            return np.concatenate(ranks.gather(features))

        return {
            "ids": np.concatenate([part[0] for part in there]),
            "second": np.concatenate([part[1] for part in there]),
            "offset": sum(len(part[0]) for part in parts[: ranks.rank] if part is not None),
            "size": sum(part[2] for part in there),
            "gather": gather,
        }

    def step(self, pairs, ids=None, padding_mask=None, *, noise=None):
        """One update from one batch: `accumulate` and `update`.

        Returns
        -------
        dict
            In bits for each masked step: ``loss`` and its parts ``loss_0`` (contrastive), ``loss_1`` (diversity),
            ``loss_2`` (feature penalty), ``loss_3`` (CMSC); ``loss_sum`` in nats; ``sample_size``; ``nsignals``
            (segments); ``accuracy`` of the contrastive choice (without ``infonce`` there is none); ``prob_perplexity``,
            ``code_perplexity`` and ``temp`` of the quantizer, means over batches; ``gnorm``, ``lr``, ``applied``,
            ``num_updates`` as of `Trainer`. ``wav2vec2`` has no ``loss_3``, ``cmsc`` no parts.
        """
        with self._lock:
            self.accumulate(pairs, ids, padding_mask, noise=noise)
            return self.update()

    def evaluate(self, pairs, ids=None, padding_mask=None, *, noise=None):
        """What `step` reports of a batch that is not trained on: masked steps and negatives, but no other noise.

        Those depend on the seed and the row of the batch, so that they are the same each time.

        Parameters
        ----------
        pairs, ids, padding_mask, noise
            As of `accumulate`.
        """
        batch = self._checked_batch(pairs, ids, padding_mask)
        with self._lock:
            return self._report(self._run(batch, noise, self._validation_source(), first_row=0))

    def evaluate_all(self, parts):
        """The same of several batches together, an iterable of (pairs, ids, padding_mask)."""
        total, rows = {}, 0
        for part in parts:
            batch = self._checked_batch(*part)
            with self._lock:
                sums = self._run(batch, None, self._validation_source(), first_row=rows)
            total = {name: value + total.get(name, 0) for name, value in sums.items()}
            rows += len(batch[0])
        return self._report(total)

    def _validation_source(self):
        return draws.Source(self.seed, 0, self.rank, validation=True)

    @property
    def rank(self):
        """int: of this process among those that train together."""
        return self.communicator.rank

    def _add(self, sums):
        self._sums = {name: value + (self._sums or {}).get(name, 0) for name, value in sums.items()}

    def _checked_batch(self, pairs, ids, padding_mask):
        """x (B, L, N), samples that are not padding (B) or None, ids (B) int64 and second (B) bool or None."""
        if padding_mask is None:
            padding_mask = getattr(pairs, "padding_mask", None)
        x, ids, second, padding_mask = paired(pairs, ids, padding_mask, needed=self.loss != "wav2vec2")
        x, valid = self.checked_input(x, padding_mask)
        if not np.isfinite(x).all():
            row, lead, sample = map(int, np.argwhere(~np.isfinite(x))[0])
            where = f"x[{row}, {lead}, {sample}] (segment, lead, sample)"
            raise SignalError(f"{where} is {x[row, lead, sample]}", field="x")
        return x, valid, ids, second

    def _run(self, batch, noise, source, first_row=None):
        """The sums of a batch; in training its gradients are added."""
        x, valid, ids, second = batch
        if noise is not None and not isinstance(noise, dict):
            raise ConfigError(f"{shown(noise)} is not a dict of arrays", field="noise")
        given = dict(noise or {})
        first = self._rows if first_row is None else first_row
        rows = range(first, first + len(x))
        own = {name: given.pop(name) for name in GIVEN if name in given}
        if "lead_kept" in own:
            x = masked_leads(x, own["lead_kept"])
        elif not source.validation and self._perturb is not None:
            x = draws.perturb(source, rows, x, self._perturb, valid)
        steps = negatives = None
        settings, arrays = self._weights_of_loss(), {}
        if self.loss != "cmsc":
            architecture = Architecture.of_config(self.config)
            tokens = architecture.tokens(x.shape[2])
            lengths = None if valid is None else np.array([architecture.tokens(n) for n in valid])
            made = settle(own, source, rows, tokens, lengths, self.config, self.settings)
            steps, negatives = made.steps, made.negatives
            arrays = {"codebook": made.codebook, "channels": made.channels, "gumbel": made.gumbel}
        masks = self._checked_noise(given, len(x), x.shape[2]) if given else None
        if self.loss != "wav2vec2":
            arrays |= {"ids": ids, "second": second}
            if self.cmsc_all_ranks and not source.validation:
                arrays["company"] = self._company(ids, second, steps)
        sums = self._core.pretrain(
            x,
            steps,
            negatives,
            settings,
            valid=valid,
            seed=self.seed,
            rank=self.rank,
            update=self.num_updates + self.skipped,
            first_row=first,
            backward=not source.validation,
            noise=masks,
            **arrays,
        )
        sums = {name: value for name, value in sums.items() if name not in ("codes", "logits")}
        return sums | {"count": sums.pop("rows"), "nsignals": len(x), "batches": 1, "temp": settings["temp"]}

    def _noise_shapes(self, batch, tokens):
        shapes = super()._noise_shapes(batch, tokens)
        del shapes["final"]
        return shapes

    def _weights_of_loss(self):
        """What the kernel calls them."""
        settings = self.settings
        diversity, penalty = settings["loss_weights"]
        return {
            "logit_temp": settings["logit_temp"],
            "temp": self.temperature,
            "diversity": diversity,
            "penalty": penalty,
            "cmsc": 1.0 if settings["cmsc_weights"] is None else settings["cmsc_weights"],
            "cmsc_temp": settings["temp"],
            "dropout_features": settings["dropout_features"],
            "binary": not settings["infonce"],
            "predicted_only": settings["mask_prob"] == 0,
        }

    def _report(self, sums):
        bits, count = sums["count"] * math.log(2), sums["count"]
        total = sum(sums[name] for name in PARTS)
        found = {"loss": total / bits}
        parts = {"wav2vec2_with_cmsc": PARTS, "wav2vec2": PARTS[:3], "cmsc": ()}[self.loss]
        found |= {f"loss_{i}": sums[name] / bits for i, name in enumerate(parts)}
        found |= {"loss_sum": total, "sample_size": count, "nsignals": sums["nsignals"]}
        if self.loss == "cmsc":
            return found
        if self.settings["infonce"]:
            found["accuracy"] = sums["correct"] / count
        return found | {name: sums[name] / sums["batches"] for name in ("prob_perplexity", "code_perplexity", "temp")}

    # ---- what it holds ------------------------------------------------------------------------------

    def model(self):
        """The encoder as a `Model`, with a copy of the weights as they are."""
        return Model.from_state_dict(self.config, self.state_dict(), kind="pretraining")

    def save(self, path, *, force=False, weights=None):
        """Write a pretraining checkpoint: ``NAME.pt``, ``NAME.safetensors`` or a model directory.

        `ecgfm.finetune`, `ecgfm.load` and this trainer start from it, and fairseq-signals from a ``.pt``.

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
            The files written.

        Raises
        ------
        CheckpointError
            If a file exists and ``force`` is false, or it can't be written.
        """
        settings = {name: value for name, value in self.settings.items() if name not in _CRITERION}
        settings.pop("freeze_finetune_updates")
        criterion = {"_name": self.loss} | {name: self.settings[name] for name in _CRITERION if name in self.settings}
        return checkpoint.save(
            path,
            kind="pretraining",
            config=self.config,
            tensors=self.state_dict() if weights is None else weights,
            settings=settings,
            info={"num_updates": self.num_updates},
            cfg={"criterion": criterion},
            force=force,
        )

    def logits(self, x, padding_mask=None):
        """Not of a pretraining model: it has none."""
        raise ConfigError("a pretraining model has no outputs yet", field="loss", remedy="Finetune it")

    losses = checked_labels = logits

    @property
    def num_labels(self):
        """int: 0, a pretraining model has no outputs yet."""
        return 0

    def __repr__(self):
        return f"PretrainingTrainer({self.loss}, {self.num_updates} updates, seed {self.seed})"


def _perturbation(settings):
    """Takes the settings of perturbations out of a dict: a function of a segment and a generator, or None."""
    known = {name for _, names in PERTURBATIONS.values() for name in names}
    options = {name: settings.pop(name) for name in list(settings) if name in known}
    main = {name: settings.pop(name, default) for name, default in PERTURBATION.items()}
    return augmentation(**main, **options)


def _places(ids, second):
    """Pairs of a first and a second segment with the same id."""
    count = int(ids.max()) + 1
    return int(np.bincount(ids[~second], minlength=count) @ np.bincount(ids[second], minlength=count))


def paired(pairs, ids, padding_mask, *, needed=True):
    """Pairs as rows.

    Parameters
    ----------
    pairs, ids, padding_mask
        As of `PretrainingTrainer.accumulate`.
    needed : bool
        Whether segments that are not paired are an error.

    Returns
    -------
    x : (B, L, N).  ids : (B,) int64 or None.  second : (B,) bool or None.  padding_mask

    Raises
    ------
    SignalError
        If segments are not paired, or shapes don't fit.
    """
    pairs = real_array(pairs, "x")
    shape = pairs.shape
    if len(shape) == 4:
        if shape[1] != 2:
            raise SignalError(f"the shape {shape} is not (pairs, 2, leads, samples): unpaired segments", field="x")
        ids = np.arange(shape[0]) if ids is None else numbered(ids, shape[0])
        x = pairs.reshape(2 * shape[0], *shape[2:])
        if padding_mask is not None:
            mask = bool_array(padding_mask, "padding_mask")
            padding_mask = mask.reshape(-1, *mask.shape[2:]) if mask.ndim > 2 else mask
        return x, np.repeat(ids, 2), np.arange(len(x)) % 2 == 1, padding_mask
    if len(shape) != 3:
        known = "(pairs, 2, leads, samples) or (segments, leads, samples)"
        raise SignalError(f"the shape {shape} is not {known}", field="x")
    if ids is None:
        if needed:
            raise SignalError("unpaired segments", field="x", remedy="Give (pairs, 2, leads, samples), or ids")
        return pairs, None, None, padding_mask
    ids = numbered(ids, shape[0])
    order = np.argsort(ids, kind="stable")
    place = np.empty(len(ids), dtype=np.int64)  # of a segment among those of its id
    counts = np.bincount(ids)
    place[order] = np.arange(len(ids)) - np.repeat(np.cumsum(counts) - counts, counts)
    if needed and (counts % 2).any():
        row = int(np.flatnonzero(counts[ids] % 2)[0])
        raise SignalError(f"unpaired segments: the id of row {row} stands at {counts[ids[row]]} rows", field="ids")
    return pairs, ids, place % 2 == 1, padding_mask


def numbered(ids, count):
    """Integers or text as int64, equal where they are equal."""
    return group_numbers(ids, count, "ids")

"""Pretraining an encoder: masked steps told apart (W2V), segments of a patient found again (CMSC), or both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...ecg.augment import PERTURBATIONS
from ...kernels import core
from ...metrics.challenge import ChallengeScore
from ...model.untrained import initial_tensor
from ...ranks import Alone, Ranks
from ...specs.architecture import Architecture, architecture_keys
from ..engine import Compare, Engine, Key
from ..noise.batch import batch_noise, dropout_masks, masked_leads, taken_apart
from ..noise.draws import Source, perturb
from ..settings import CMSCAlone, Perturbation, Pretraining
from ..start import Start
from .base import Objective, Rows, Sums, Weights, check_finite
from .pairs import common_ids, company, paired
from .reports import LOG_KEYS, Losses

__all__ = ["CMSC", "WCR", "Contrastive", "Wav2Vec2"]

PARTS = ("contrastive", "diversity", "penalty", "cmsc")  # loss_0 to loss_3
MEANS = ("prob_perplexity", "code_perplexity")
_CRITERION = ("temp", "loss_weights", "cmsc_weights", "infonce")  # settings that are not the model's


class Contrastive(Objective):
    """Gradients are divided by the sample size of all batches of an update: the masked steps; of CMSC alone the pairs.

    Attributes
    ----------
    parts : int
        How many of the `PARTS` the loss reports.
    masks : bool
        Whether steps are masked and told apart.
    """

    kind = "pretraining"
    head = "pretrain"
    optimizer = {"adam_eps": 1e-6, "weight_decay": 0.01}
    averaged = ("temp",)
    parts: ClassVar[int]
    masks: ClassVar[bool] = True
    pairs: ClassVar[bool] = True
    settings_type = Pretraining
    settings: Pretraining

    def __init__(self, given: Mapping[str, Any], seed: int, ranks: Alone | Ranks) -> None:
        super().__init__(given, seed, ranks)
        rest = dict(given)
        self.all_ranks = bool(rest.pop("cmsc_all_ranks", False)) and ranks.size > 1 and self.pairs
        self.augment = _perturbation(rest)
        self.settings = self.settings_type.of(rest)
        names = [f"loss_{i}" for i in range(self.parts)]
        shown = ("accuracy",) * self.settings.infonce + MEANS if self.masks else ()
        self.columns = ("loss", *names, *shown)

    # ---- what is trained ----------------------------------------------------------------------------

    def begin(self, start: Start) -> Mapping[str, Any]:
        config = start.config
        if start.kind is not None:
            config = {name: config[name] for name in architecture_keys("pretraining") if name in config}
        self.architecture = Architecture.of_kind("pretraining", config)
        return self.architecture.config()

    def options(self) -> dict[str, Any]:
        return super().options() | {"no_heads": not self.masks, "no_masks": self.settings.mask_prob == 0}

    def fill(self, values: Weights, start: Start) -> None:
        config = self.architecture.config()
        initial = {name: how for name, _, how in core().initial_values(config, "pretraining")}
        for name in sorted(values, key=lambda name: initial[name][0] == "tap_norm"):  # it is that of another tensor
            if start.has(name):
                start.copy(values[name], name)
            else:
                distribution, scale = initial[name]
                values[name][...] = initial_tensor(name, values[name].shape, distribution, scale, self.seed, values)

    def temperature(self, updates: int) -> float:
        """Of the quantizer in the next update, ``max(start * decay**updates, end)``."""
        start, end, decay = self.settings.latent_temp
        return max(start * decay**updates, end)

    # ---- a batch ------------------------------------------------------------------------------------

    def rows(self, x: Any, y: Any = None, padding_mask: ArrayLike | None = None, *, together: bool = False) -> Rows:
        common = common_ids(y, len(x), self.ranks) if together and self.all_ranks else None
        if padding_mask is None:
            padding_mask = getattr(x, "padding_mask", None)
        x, ids, second, padding_mask = paired(x, y if common is None else common, padding_mask, needed=self.pairs)
        x, valid = self.checked_input(x, padding_mask)
        if common is not None:
            ids = np.unique(common)[ids]
        return Rows(x, valid, {"ids": ids, "second": second} if self.pairs else {})

    def where(self, row: int, lead: int, sample: int) -> str:
        return f"pairs[{row // 2}, {row % 2}, {lead}, {sample}] (pair, segment, lead, sample)"

    def nothing(self) -> None:
        if self.all_ranks:
            self.ranks.gather([])
            self.ranks.gather(None)
            self.ranks.gather(np.zeros((0, self.architecture.encoder_embed_dim), np.float32))

    def sums(self, engine: Engine, rows: Rows, key: Key, noise: object = None) -> Sums:
        check_finite(rows.x)
        own, given = taken_apart(noise)
        numbers = range(key.first_row, key.first_row + len(rows.x))
        source = Source(key.seed, 0 if key.validation else key.update, key.rank, key.validation)
        arrays = self._drawn(rows, numbers, source, own)
        batch, _, samples = rows.x.shape
        masks = dropout_masks(given, self.architecture, batch, samples, final=False) if given else None
        steps = arrays["steps"]
        arrays |= rows.more
        compare = self._compare_with_all(rows, steps) if self.all_ranks and not key.validation else None
        settings = self._weights(key.applied)
        arrays |= {"valid": rows.valid, "settings": settings, "backward": not key.validation, "noise": masks}
        found = engine.forward_backward(self.head, arrays, key, compare)
        sums = {name: value for name, value in found.items() if name not in ("codes", "logits")}
        return sums | {"count": sums.pop("rows"), "nsignals": len(rows.x), "batches": 1, "temp": settings["temp"]}

    def _compare_with_all(self, rows: Rows, steps: NDArray[np.bool_] | None) -> Compare:
        """Between forward and backward: the rows of all ranks."""
        everybody = company(rows.more["ids"], rows.more["second"], steps, self.ranks)
        return lambda features: everybody | {"features": np.concatenate(self.ranks.gather(features))}

    def _drawn(self, rows: Rows, numbers: range, source: Source, own: Mapping[str, Any]) -> dict[str, Any]:
        """The signals as the network sees them, and the noise of the masked steps."""
        x, valid = rows.x, rows.valid
        if "lead_kept" in own:
            x = masked_leads(x, own["lead_kept"])
        elif (self.perturbs or not source.validation) and self.augment is not None:
            x = perturb(source, numbers, x, self.augment, valid)
        if not self.masks:
            return {"x": x, "steps": None, "negatives": None}
        tokens = self.architecture.tokens(x.shape[2])
        lengths = None if valid is None else np.array([self.architecture.tokens(n) for n in valid])
        return {"x": x} | batch_noise(own, source, numbers, tokens, lengths, self.architecture, self.settings)

    def _weights(self, updates: int) -> dict[str, Any]:
        """Weights and temperatures, as the kernel calls them."""
        settings = self.settings
        diversity, penalty = settings.loss_weights
        return {
            "logit_temp": settings.logit_temp,
            "temp": self.temperature(updates),
            "diversity": diversity,
            "penalty": penalty,
            "cmsc": 1.0 if settings.cmsc_weights is None else settings.cmsc_weights,
            "cmsc_temp": settings.temp,
            "dropout_features": settings.dropout_features,
            "binary": not settings.infonce,
            "predicted_only": settings.mask_prob == 0,
        }

    def report(self, sums: Sums) -> dict[str, Any]:
        bits, count = sums["count"] * math.log(2), sums["count"]
        total = sum(sums[name] for name in PARTS)
        found = {"loss": total / bits}
        found |= {f"loss_{i}": sums[name] / bits for i, name in enumerate(PARTS[: self.parts])}
        found |= {"loss_sum": total, "sample_size": count, "nsignals": sums["nsignals"]}
        if not self.masks:
            return found
        if self.settings.infonce:
            found["accuracy"] = sums["correct"] / count
        return found | {name: sums[name] / sums["batches"] for name in (*MEANS, "temp")}

    @classmethod
    def reporting(
        cls,
        *,
        threshold: float = 0.5,
        report_auc: bool = True,
        challenge: ChallengeScore | None = None,
        log_keys: Sequence[str] = tuple(LOG_KEYS),
    ) -> Losses:
        return Losses(cls.criterion, cls.parts, cls.masks, log_keys if cls.masks else ())

    # ---- what is kept -------------------------------------------------------------------------------

    def saved(self) -> dict[str, Any]:
        settings = asdict(self.settings)
        criterion = {"_name": self.loss} | {name: settings.pop(name) for name in _CRITERION if name in settings}
        return {"settings": settings, "cfg": {"criterion": criterion}}


class WCR(Contrastive):
    """W2V and CMSC."""

    loss = "wav2vec2_with_cmsc"
    criterion = "Wav2Vec2WithCMSCCriterion"
    parts = 4


class Wav2Vec2(Contrastive):
    """W2V alone, of segments without pairs."""

    loss = "wav2vec2"
    criterion = "Wav2Vec2Criterion"
    parts = 3
    pairs = False


class CMSC(Contrastive):
    """CMSC alone, which masks no steps."""

    loss = "cmsc"
    criterion = "CMSCCriterion"
    parts = 0
    masks = False
    settings_type = CMSCAlone


def _perturbation(settings: dict[str, Any]) -> Any:
    """Takes the settings of perturbations out of a dict: a function of a segment and a generator, or None."""
    known = {name for _, names in PERTURBATIONS.values() for name in names}
    main = {name: settings.pop(name) for name in ("perturbation_mode", "p") if name in settings}
    return Perturbation(**main, options={name: settings.pop(name) for name in list(settings) if name in known}).made()

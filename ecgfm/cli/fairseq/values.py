"""What the value of a configuration key may be: each kind is a function that gives the value to use, or refuses it."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..._text import shown
from ...errors import ConfigError
from ...ranks import SUMS
from ...specs.blocks import conv_feature_layers
from ...specs.precision import AUTO, PRECISIONS
from ...training.below import TYPES, CachePlace
from ...training.trainable import Trainable
from ...validation import Choice, Number, Rule, Share, Whole
from .keys import MISSING

__all__ = ["checked", "is_placeholder", "numbers", "settings_of_text"]

#: Gives the value to use of (value, field), or refuses it.
Kind = Callable[[Any, str], Any]

MAX_TEXT = 20_000  # characters of a value
_LARGEST = 1 << 53
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


# ---- kinds ----------------------------------------------------------------------------------------------------------


def _held(rule: Rule) -> Kind:
    """What a rule allows, also as text."""
    return lambda value, field: rule.check(_plain(value), field)


def _plain(value: Any) -> Any:
    """The number that a text is of; all else as it is."""
    if isinstance(value, str) and len(value) <= 100:
        for number in (int, float):
            try:
                return number(value)
            except ValueError:
                pass
    return value


def _where(words: str, right: Callable[[Any], bool]) -> Kind:
    """What a function says is right; it stays as it is written."""

    def kind(value: Any, field: str) -> Any:
        if not right(value):
            raise ConfigError(f"{shown(value)} is not {words}", field=field)
        return value

    return kind


def _flag(value: Any, field: str) -> bool:
    return bool(Choice((True, False)).check(_WORDS.get(value.lower()) if isinstance(value, str) else value, field))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT and "\0" not in value


def _each(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _is_lead(value: Any) -> bool:
    number = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 12
    return number or (isinstance(value, str) and len(value) <= 900)


def _read(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function makes of a value; None if it refuses it."""
    try:
        return function(*arguments)
    except ConfigError:
        return None


def _listed(count: int | None = None, least: float = -math.inf) -> Kind:
    """Numbers as `numbers` takes them."""

    def right(value: Any) -> bool:
        found = _read(numbers, value, "")
        return bool(found) and count in (None, len(found)) and all(least <= one <= math.inf for one in found)

    words = "a list of numbers" if count is None else f"a list of {count} numbers"
    return _where(words if least < 0 else f"{words} from {least} up", right)


_TEXT = _where("text (a number that is meant as text needs quotes) of a usable length", _is_text)
_NAME = _where("a name without slashes", lambda value: _is_text(value) and "/" not in value)
_TEXTS = _where("text or a list of texts", lambda value: all(map(_is_text, _each(value))))
_LEADS = _where("a list of names or numbers of leads", lambda value: all(map(_is_lead, _each(value))))
_LAYERS = _where(
    'a list of (width, kernel, stride), such as "[(256, 2, 2)] * 4"',
    lambda value: _read(conv_feature_layers, value) is not None,
)
_SETTINGS = _where("a group of settings or the text of one", lambda value: isinstance(value, dict) or _is_text(value))
_ANY = _where("anything", lambda value: True)
_RATES = _where(
    "a list of numbers from 0 up",
    lambda value: all(0 <= one < math.inf for one in _read(numbers, value, "") or [-1]),
)


@dataclass(frozen=True)
class _Integer(Whole):
    """An integer, also as 2.0; limits that are not the user's concern are not named."""

    def allowed(self) -> str:
        if self.at_least == -_LARGEST:
            return "an integer"
        return f"an integer from {self.at_least} " + ("up" if self.at_most == _LARGEST else f"to {self.at_most}")


def _whole(low: int = -_LARGEST, high: int = _LARGEST) -> Kind:
    return _held(_Integer(low, high, floats=True))


_COUNT, _SIZE, _SHARE, _POSITIVE = _whole(0), _whole(1), _held(Share()), _held(Number(at_least=0))
#: ``group.key``, ``_name.key`` or key -> kind, where the type of the default does not say it.
_KINDS: dict[str, Kind] = {
    "common.seed": _whole(0, (1 << 32) - 1),
    "common.log_interval": _COUNT,
    "common.fp16_scale_window": _SIZE,
    "common.threshold_loss_scale": _held(Number()),
    "common_eval.model_overrides": _SETTINGS,
    "common_eval.extract": _TEXTS,
    "dataset.num_workers": _COUNT,
    "dataset.max_tokens": _SIZE,
    "dataset.batch_size": _SIZE,
    "dataset.max_tokens_valid": _SIZE,
    "dataset.batch_size_valid": _SIZE,
    "dataset.required_batch_size_multiple": _SIZE,
    "dataset.data_buffer_size": _COUNT,
    "dataset.combine_valid_subsets": _ANY,
    "dataset.fixed_validation_seed": _whole(),
    "dataset.max_valid_steps": _COUNT,
    "dataset.curriculum": _COUNT,
    "dataset.valid_subset": _NAME,
    "optimization.lr": _RATES,
    "optimizer.lr": _RATES,
    "lr_scheduler.lr": _RATES,
    "checkpoint.checkpoint_suffix": _NAME,
    "checkpoint.optimizer_overrides": _SETTINGS,
    "task.leads_to_load": _LEADS,
    "task.leads_bucket": _LEADS,
    "task.sample_rate": _SIZE,
    "task.max_sample_size": _SIZE,
    "task.min_sample_size": _COUNT,
    "task.perturbation_mode": _TEXTS,
    "task.mask_leads_condition": _listed(2),
    "task.mask_leads_prob": _SHARE,
    "task.inferred_w2v_config": _ANY,
    "task.inferred_3kg_config": _ANY,
    "model.args": _ANY,
    "model.conv_feature_layers": _LAYERS,
    "model.num_labels": _whole(1, 1 << 20),
    "model.latent_temp": _listed(3),
    "model.num_negatives": _whole(0, 1 << 16),
    "model.cross_sample_negatives": _whole(0, 1 << 16),
    "model.codebook_negatives": _whole(0, 1 << 16),
    "model.freeze_finetune_updates": _COUNT,
    "criterion.weight": _listed(),
    "criterion.loss_weights": _listed(2),
    "criterion.log_keys": _TEXTS,
    "criterion.cmsc_weights": _POSITIVE,
    "criterion.threshold": _SHARE,
    "criterion.pos_weight": _listed(),
    "criterion.per_log_keys": _TEXTS,
    "optimizer.adam_betas": _listed(2),
    "lr_scheduler.phase_ratio": _listed(3),
    "lr_scheduler.force_anneal": _whole(),
    "ecgfm.max_bad_segments": _SHARE,
    "ecgfm.threads": _whole(1, 4096),
    "ecgfm.trainable": _held(Trainable()),
    "ecgfm.cache": _held(CachePlace()),
    "ecgfm.cache_dtype": _held(Choice(tuple(TYPES))),
    "ecgfm.adapters": _whole(0, 1 << 16),
    "ecgfm.lr_decay": _held(Number(above=0, at_most=1)),
    "ecgfm.precision": _held(Choice((*PRECISIONS, AUTO))),
    "ecgfm.sums": _held(Choice(SUMS)),
}
_KINDS |= {
    f"model.{name}": _SHARE
    for name in (
        *("dropout", "attention_dropout", "activation_dropout", "encoder_layerdrop", "dropout_input"),
        *("dropout_features", "final_dropout", "mask_prob", "mask_channel_prob"),
    )
}
_KINDS |= {
    f"model.{name}": _whole(1, 1 << 24)
    for name in (
        *("encoder_layers", "encoder_embed_dim", "encoder_ffn_embed_dim", "encoder_attention_heads", "in_d"),
        *("conv_pos", "conv_pos_groups", "latent_vars", "latent_groups", "mask_length", "mask_channel_length"),
    )
}
#: Keys that may be null though their default is not.
_NULLABLE = {
    "common.log_format",
    "common_eval.model_overrides",
    "dataset.valid_subset",
    "checkpoint.checkpoint_suffix",
    "checkpoint.optimizer_overrides",
    "criterion.log_keys",
    "criterion.loss_weights",
    "criterion.per_log_keys",
    "task.p",
}


#: Type of the default -> kind, of all other keys; of paths and names it is text.
_OF_TYPES: dict[type, Kind] = {bool: _flag, int: _whole(), float: _held(Number()), list: _listed()}


def checked(field: str, value: Any, default: object) -> Any:
    """The value of a key as the run uses it.

    Parameters
    ----------
    field : str
        ``group.key``.
    value : object
        As a file or an override gives it.
    default : object
        Its type says what the value must be, where nothing else does.

    Raises
    ------
    ConfigError
        If it is of another type, or out of range.
    """
    kind = _KINDS.get(field) or _OF_TYPES.get(type(default), _TEXT)
    if value is None and (default is None or default == MISSING or field in _NULLABLE):
        return None
    if isinstance(value, str) and value == MISSING:
        if kind in (_TEXT, _ANY) or default == MISSING or field in _NULLABLE:
            return MISSING  # an error where the run needs it
        raise ConfigError("it is not given", field=field, remedy=f"Say {field}=...")
    return kind(value, field)


def is_placeholder(value: object) -> bool:
    """Whether a text stands where somebody took a path or a name out of a file: ``<REDACTED>``."""
    return (
        isinstance(value, str)
        and re.fullmatch(r"\s*<[A-Za-z _-]{1,40}>\s*", value[:60]) is not None
        and len(value) < 60
    )


def settings_of_text(value: Any, field: str) -> dict[Any, Any]:
    """A dict, or the text of one: ``"{'label_file': 'y.npy'}"``; none for null and an empty text.

    Raises
    ------
    ConfigError
        If it is something else.
    """
    if value in (None, "", "{}"):
        return {}
    try:
        found = ast.literal_eval(value.strip()) if isinstance(value, str) and len(value) <= MAX_TEXT else value
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ConfigError(f"{shown(value)} is not a group of settings, such as {{'label_file': 'y.npy'}}", field=field)
    return found


def numbers(value: Any, field: str) -> list[float]:
    """A list of numbers from a list, a tuple, one number, or the text of one of these.

    Raises
    ------
    ConfigError
        If it is something else.
    """
    wrong = ConfigError(f"{shown(value)} is not a list of numbers", field=field)
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise wrong
        try:
            value = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            raise wrong from None
    found = []
    for one in list(value) if isinstance(value, (list, tuple)) else [value]:
        try:
            one = float(one) if isinstance(one, str) and len(one) <= 100 else one
            if isinstance(one, bool) or not isinstance(one, (int, float)):
                raise wrong
            float(one)
        except (ValueError, OverflowError):
            raise wrong from None
        found.append(one)
    return found

"""What the value of a configuration key may be: each kind is a function that gives the value to use, or refuses it."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable
from typing import Any

from ..._text import shown
from ...errors import ConfigError
from ...specs.blocks import conv_feature_layers
from .keys import MISSING

__all__ = ["checked", "is_placeholder", "numbers", "settings_of_text"]

Kind = Callable[[Any], Any]

MAX_TEXT = 20_000  # characters of a value
_LARGEST = 1 << 53
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


class _Wrong(Exception):
    """Says what a value should be."""


# ---- kinds ----------------------------------------------------------------------------------------------------------


def _flag(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _WORDS:
        return _WORDS[value.lower()]
    raise _Wrong("true or false")


def _real(value: Any) -> Any:
    """A finite float of a number, or of the text of one."""
    if isinstance(value, str) and len(value) <= 100:
        try:
            value = int(value)
        except ValueError:
            try:
                value = float(value)
            except ValueError:
                pass
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1e300 < value < 1e300:
        raise _Wrong("a number")
    return value


def _whole(low: int = -_LARGEST, high: int = _LARGEST) -> Kind:
    def kind(value: Any) -> int:
        wanted = "a whole number" if low == -_LARGEST else f"a whole number from {low} up"
        wanted = wanted if high == _LARGEST else f"a whole number from {low} to {high}"
        try:
            value = _real(value)
        except _Wrong:
            raise _Wrong(wanted) from None
        if value != int(value) or not low <= value <= high:
            raise _Wrong(wanted)
        return int(value)

    return kind


def _number(low: float = -math.inf, high: float = math.inf) -> Kind:
    def kind(value: Any) -> float:
        wanted = "a number" if low == -math.inf else f"a number from {low} up"
        wanted = wanted if high == math.inf else f"a number from {low} to {high}"
        try:
            found = float(_real(value))
        except _Wrong:
            raise _Wrong(wanted) from None
        if not low <= found <= high:
            raise _Wrong(wanted)
        return found

    return kind


def _text(value: Any) -> Any:
    if not isinstance(value, str):
        raise _Wrong("text (a number that is meant as text needs quotes)")
    if len(value) > MAX_TEXT or "\0" in value:
        raise _Wrong("text of a usable length without NUL characters")
    return value


def _name(value: Any) -> Any:
    """Text that becomes part of a file name."""
    if "/" in _text(value):
        raise _Wrong("a name without slashes")
    return value


def _texts(value: Any) -> Any:
    """Text, or a list of texts."""
    for one in value if isinstance(value, list) else [value]:
        _text(one)
    return value


def _leads(value: Any) -> Any:
    for one in value if isinstance(value, list) else [value]:
        number = isinstance(one, int) and not isinstance(one, bool) and 0 <= one < 12
        if not number and not (isinstance(one, str) and len(one) <= 900):
            raise _Wrong("a list of names or numbers of leads")
    return value


def _numbers(count: int | None = None) -> Kind:
    """Numbers as `numbers` takes them; the value stays as it is written."""

    def kind(value: Any) -> Any:
        wanted = "a list of numbers" if count is None else f"a list of {count} numbers"
        try:
            found = numbers(value, "")
        except ConfigError:
            raise _Wrong(wanted) from None
        if not found or count not in (None, len(found)) or any(one != one for one in found):
            raise _Wrong(wanted)
        return value

    return kind


def _rates(value: Any) -> Any:
    """Learning rates."""
    for one in numbers(_numbers()(value), ""):
        if not 0 <= one < math.inf:
            raise _Wrong("a list of numbers from 0 up")
    return value


def _layers(value: Any) -> Any:
    try:
        conv_feature_layers(value)
    except ConfigError:
        raise _Wrong('a list of (width, kernel, stride), such as "[(256, 2, 2)] * 4"') from None
    return value


def _settings(value: Any) -> Any:
    """A group of settings, or the text of one."""
    if not isinstance(value, dict):
        _text(value)
    return value


def _any(value: Any) -> Any:
    return value


_COUNT, _SIZE, _SHARE, _POSITIVE = _whole(0), _whole(1), _number(0, 1), _number(0)
#: ``group.key``, ``_name.key`` or key -> kind, where the type of the default does not say it.
_KINDS: dict[str, Kind] = {
    "common.seed": _whole(0, (1 << 32) - 1),
    "common.log_interval": _COUNT,
    "common.fp16_scale_window": _SIZE,
    "common.threshold_loss_scale": _number(),
    "common_eval.model_overrides": _settings,
    "common_eval.extract": _texts,
    "dataset.num_workers": _COUNT,
    "dataset.max_tokens": _SIZE,
    "dataset.batch_size": _SIZE,
    "dataset.max_tokens_valid": _SIZE,
    "dataset.batch_size_valid": _SIZE,
    "dataset.required_batch_size_multiple": _SIZE,
    "dataset.data_buffer_size": _COUNT,
    "dataset.combine_valid_subsets": _any,
    "dataset.fixed_validation_seed": _whole(),
    "dataset.max_valid_steps": _COUNT,
    "dataset.curriculum": _COUNT,
    "dataset.valid_subset": _name,
    "optimization.lr": _rates,
    "optimizer.lr": _rates,
    "lr_scheduler.lr": _rates,
    "checkpoint.checkpoint_suffix": _name,
    "checkpoint.optimizer_overrides": _settings,
    "task.leads_to_load": _leads,
    "task.leads_bucket": _leads,
    "task.sample_rate": _SIZE,
    "task.max_sample_size": _SIZE,
    "task.min_sample_size": _COUNT,
    "task.perturbation_mode": _texts,
    "task.mask_leads_condition": _numbers(2),
    "task.mask_leads_prob": _SHARE,
    "task.inferred_w2v_config": _any,
    "task.inferred_3kg_config": _any,
    "model.args": _any,
    "model.conv_feature_layers": _layers,
    "model.num_labels": _whole(1, 1 << 20),
    "model.latent_temp": _numbers(3),
    "model.num_negatives": _whole(0, 1 << 16),
    "model.cross_sample_negatives": _whole(0, 1 << 16),
    "model.codebook_negatives": _whole(0, 1 << 16),
    "model.freeze_finetune_updates": _COUNT,
    "criterion.weight": _any,
    "criterion.loss_weights": _numbers(2),
    "criterion.log_keys": _texts,
    "criterion.cmsc_weights": _POSITIVE,
    "criterion.threshold": _SHARE,
    "criterion.pos_weight": _numbers(),
    "criterion.per_log_keys": _texts,
    "optimizer.adam_betas": _numbers(2),
    "lr_scheduler.phase_ratio": _numbers(3),
    "lr_scheduler.force_anneal": _whole(),
    "ecgfm.max_bad_segments": _SHARE,
    "ecgfm.threads": _whole(1, 4096),
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


def _kind(field: str, default: object) -> Kind:
    if field in _KINDS:
        return _KINDS[field]
    if isinstance(default, bool):
        return _flag
    if isinstance(default, int):
        return _whole()
    if isinstance(default, float):
        return _number()
    if isinstance(default, list):
        return _numbers()
    return _text  # paths and names


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
    kind = _kind(field, default)
    if value is None and (default is None or default == MISSING or field in _NULLABLE):
        return None
    if isinstance(value, str) and value == MISSING:
        if kind in (_text, _any) or default == MISSING or field in _NULLABLE:
            return MISSING  # an error where the run needs it
        raise ConfigError("it is not given", field=field, remedy=f"Say {field}=...")
    try:
        return kind(value)
    except _Wrong as wanted:
        raise ConfigError(f"{shown(value)} is not {wanted}", field=field) from None


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

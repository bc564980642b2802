"""The settings of pretraining, under the original's names: defaults, checks, and what the original cannot do either."""

import numpy as np

from .._text import shown
from ..errors import ConfigError
from ..validation import is_finite

__all__ = [
    "LOSSES",
    "PERTURBATION",
    "SETTINGS",
    "checked_settings",
]

LOSSES = ("wav2vec2_with_cmsc", "wav2vec2", "cmsc")

NUMBERS = {  # from 0 up; what is an int here is an integer
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "activation_dropout": 0.0,
    "dropout_input": 0.1,
    "dropout_features": 0.1,
    "encoder_layerdrop": 0.0,
    "feature_grad_mult": 0.1,
    "mask_prob": 0.65,
    "mask_length": 10,
    "mask_other": 0.0,
    "mask_min_space": 1,
    "mask_channel_prob": 0.0,
    "mask_channel_length": 10,
    "mask_channel_other": 0.0,
    "mask_channel_min_space": 1,
    "logit_temp": 0.1,
    "num_negatives": 100,
    "cross_sample_negatives": 0,
    "codebook_negatives": 0,
    "temp": 0.1,
}
SELECTIONS = ("static", "uniform", "normal", "poisson")
CHOICES = {
    "mask_selection": ("static", SELECTIONS),
    "mask_channel_selection": ("static", SELECTIONS),
    "no_mask_overlap": (False, (False, True)),
    "no_mask_channel_overlap": (False, (False, True)),
    "infonce": (True, (False, True)),
}
OTHERS = {
    "latent_temp": (2.0, 0.5, 0.999995),
    "loss_weights": (0.1, 10.0),
    "cmsc_weights": None,
}
# Perturbations of the signals; their further settings are those of `ecgfm.ecg.augment`.
PERTURBATION = {"perturbation_mode": ("random_leads_masking",), "p": 1.0}
SETTINGS = NUMBERS | {name: default for name, (default, _) in CHOICES.items()} | OTHERS
# What ends a run of the original in an error, and the one value that doesn't.
UNABLE = {
    "quantize_targets": True,
    "quantize_input": False,
    "same_quantizer": False,
    "negatives_from_everywhere": False,
    "apply_mask": True,
}
_PROBABILITIES = ("dropout", "attention_dropout", "activation_dropout", "dropout_input", "dropout_features")
_ABOVE_ZERO = ("mask_length", "mask_channel_length", "logit_temp", "temp")


def _is(value, choice):
    """Whether they are equal; arrays and the like are equal to none."""
    return isinstance(value, (str, bool, int, np.bool_, np.integer)) and bool(value == choice)


def _number(name, value, integer):
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise ConfigError(f"{shown(value)} is not a number", field=name)
    if not (is_finite(value) and value >= 0):
        raise ConfigError(f"{shown(value)} is not a number from 0 up", field=name)
    if integer and value != int(value):
        raise ConfigError(f"{shown(value)} is not an integer", field=name)
    return int(value) if integer else float(value)


def _numbers(name, values, count):
    try:
        found = tuple(values)
    except TypeError:
        found = ()
    if len(found) != count:
        raise ConfigError(f"{shown(values)} are not {count} numbers", field=name)
    return tuple(_number(name, value, False) for value in found)


def checked_settings(given, loss):
    """All settings, the defaults of ECG-FM's pretraining where they are not given.

    Raises
    ------
    ConfigError
        If one is unknown or out of range, or a combination cannot work.
    """
    for name, value in UNABLE.items():
        if name in given and not _is(given[name], value):
            raise ConfigError(
                f"{shown(given[name])} is refused: the original cannot train with it",
                field=name,
                remedy=f"Give {shown(value)}",
            )
    given = {name: value for name, value in given.items() if name not in UNABLE}
    unknown = sorted(map(str, set(given) - set(SETTINGS)))
    if unknown:
        raise ConfigError("there is no such setting", field=unknown[0], remedy=f"Known are {', '.join(SETTINGS)}")
    values = SETTINGS | given
    for name, default in NUMBERS.items():
        values[name] = _number(name, values[name], isinstance(default, int))
    for name, (_, choices) in CHOICES.items():
        if not any(_is(values[name], choice) for choice in choices):
            raise ConfigError(f"{shown(values[name])} is not one of {', '.join(map(repr, choices))}", field=name)
    for name in _PROBABILITIES:
        if values[name] >= 1:
            raise ConfigError(f"{values[name]} is not below 1", field=name)
    for name in ("mask_prob", "mask_channel_prob"):
        if values[name] > 1:
            raise ConfigError(f"{values[name]} is not a probability", field=name)
    for name in _ABOVE_ZERO:
        if values[name] == 0:
            raise ConfigError("it must be above 0", field=name)
    values["latent_temp"] = _numbers("latent_temp", values["latent_temp"], 3)
    if min(values["latent_temp"]) == 0:
        raise ConfigError("start, end and decay must be above 0", field="latent_temp")
    values["loss_weights"] = _numbers("loss_weights", values["loss_weights"], 2)
    if values["cmsc_weights"] is not None:
        values["cmsc_weights"] = _number("cmsc_weights", values["cmsc_weights"], False)
    if loss != "cmsc" and values["num_negatives"] + values["cross_sample_negatives"] == 0:
        raise ConfigError(
            "without negatives of its own or of other segments the original cannot train, with those of the codebook "
            "neither",
            field="num_negatives",
            remedy="Give num_negatives or cross_sample_negatives",
        )
    return values

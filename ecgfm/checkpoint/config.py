"""The architecture of a checkpoint: from its own configuration, checked against the shapes of its tensors."""

import re

from .._text import shown
from ..errors import CheckpointError, ConfigError
from ..kernels import core
from .plain import Refused

__all__ = ["KEYS", "architecture", "check_tensors", "conv_feature_layers", "kind_of", "settings_of", "text_of_layers"]

# Key -> (type, default). What has no default must be there: tensor shapes can't tell all of it.
_ENCODER = {
    "encoder_layers": (int, None),
    "encoder_embed_dim": (int, None),
    "encoder_ffn_embed_dim": (int, None),
    "encoder_attention_heads": (int, None),
    "layer_norm_first": (bool, False),
    "extractor_mode": (str, "default"),
    "conv_feature_layers": (list, None),
    "conv_bias": (bool, False),
    "conv_pos": (int, None),
    "conv_pos_groups": (int, None),
    "in_d": (int, 12),
}
_CLASSIFIER = {"num_labels": (int, None)}
_PRETRAINING = {
    "latent_vars": (int, None),
    "latent_groups": (int, None),
    "latent_dim": (int, 0),
    "final_dim": (int, None),
    "target_glu": (bool, False),
}
KEYS = {
    "encoder": _ENCODER,
    "classifier": _ENCODER | _CLASSIFIER,
    "pretraining": _ENCODER | _PRETRAINING,
}

# fairseq-signals saves the finetuning configuration, whose encoder sizes nothing had to agree with.
_REMEDY = (
    "If the file states other settings than those the model was trained with, put them right with "
    "ecgfm convert --set KEY=VALUE"
)
MAX_CONVS = 64
MAX_TEXT = 100
# Samples that the shortest segment may need, and bytes that the largest intermediate results of one segment of
# `SAMPLES` may take: beyond them a small file takes any amount of memory. ECG-FM's large model takes 4 MB.
MAX_SAMPLES = 1_000_000
MAX_WORK = 200 << 20
SAMPLES = 2500
MAX_PARAMETERS = 1 << 31
# What the names of the tensors of the network begin with, and those of the heads of pretraining.
_NETWORK = ("encoder.", "feature_extractor.", "post_extract_proj.", "conv_pos.", "layer_norm.")
_HEADS = ("quantizer.", "project_q.", "target_glu.", "final_proj.")
# Where a finetuning configuration keeps that of the pretraining run whose encoder it took.
_NESTED = ("args", "w2v_args")


# ---- conv_feature_layers ------------------------------------------------------------------------------------------

_TOKENS = re.compile(r"\s*(?:(\d{1,9})|([\[\]()+*,]))\s*")


def conv_feature_layers(value):
    """The conv layers behind a text such as ``"[(256, 2, 2)] * 4"``, or behind a list of them.

    Parameters
    ----------
    value : str, or sequence of sequences of int
        Lists of (width, kernel, stride), which a text may add with ``+`` and repeat with ``*``. Nothing is evaluated.

    Returns
    -------
    list of tuple of int
        (width, kernel, stride) of each layer.

    Raises
    ------
    ConfigError
        If it is anything else.
    """
    if isinstance(value, str):
        return _Layers(value).parse()
    if isinstance(value, (list, tuple)) and len(value) <= MAX_CONVS:
        layers = [tuple(layer) if isinstance(layer, (list, tuple)) else () for layer in value]
        if layers and all(len(layer) == 3 and all(type(n) is int for n in layer) for layer in layers):
            return layers
    raise _bad_layers(value)


def text_of_layers(layers):
    """The text of conv layers, as fairseq-signals writes it."""
    runs = []
    for layer in layers:
        if runs and runs[-1][0] == tuple(layer):
            runs[-1][1] += 1
        else:
            runs.append([tuple(layer), 1])
    return " + ".join(f"[{layer}]" + (f" * {times}" if times > 1 else "") for layer, times in runs)


def _bad_layers(value):
    return ConfigError(
        f"{shown(value)} is not a list of (width, kernel, stride)",
        field="conv_feature_layers",
        remedy='Write it like "[(256, 2, 2)] * 4"',
    )


class _Layers:
    """A parser of sums and products of lists."""

    def __init__(self, text):
        self.text, self.tokens, self.at = text, [], 0
        place = 0
        while place < len(text) and len(text) <= 10_000:
            match = _TOKENS.match(text, place)
            if match is None:
                raise _bad_layers(text)
            self.tokens.append(int(match[1]) if match[1] else match[2])
            place = match.end()

    def parse(self):
        found = self.sum(0)
        if self.at != len(self.tokens) or not isinstance(found, list) or not found:
            raise _bad_layers(self.text)
        return found

    def next(self, *wanted):
        """The next token if it is one of those, else an error."""
        token = self.tokens[self.at] if self.at < len(self.tokens) else None
        if token not in wanted:
            raise _bad_layers(self.text)
        self.at += 1
        return token

    def peek(self):
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def sum(self, depth):
        found = self.product(depth)
        while self.peek() == "+":
            self.at += 1
            more = self.product(depth)
            if not isinstance(found, list) or not isinstance(more, list) or len(found) + len(more) > MAX_CONVS:
                raise _bad_layers(self.text)
            found = found + more
        return found

    def product(self, depth):
        found = self.factor(depth)
        while self.peek() == "*":
            self.at += 1
            more = self.factor(depth)
            layers, times = (found, more) if isinstance(found, list) else (more, found)
            if not isinstance(layers, list) or not isinstance(times, int) or len(layers) * times > MAX_CONVS:
                raise _bad_layers(self.text)
            found = layers * times
        return found

    def factor(self, depth):
        token = self.peek()
        if isinstance(token, int):
            self.at += 1
            return token
        if token == "(" and depth < 20:
            self.at += 1
            found = self.sum(depth + 1)
            self.next(")")
            return found
        self.next("[")
        found = []
        while self.peek() in ("(", "["):
            found.append(self.layer())
            if self.peek() != ",":
                break
            self.at += 1
        self.next("]")
        return found

    def layer(self):
        close = {"(": ")", "[": "]"}[self.next("(", "[")]
        numbers = []
        for separator in (",", ",", close):
            token = self.peek()
            if not isinstance(token, int):
                raise _bad_layers(self.text)
            numbers.append(token)
            self.at += 1
            if separator == close and self.peek() == ",":
                self.at += 1
            self.next(separator)
        return tuple(numbers)


# ---- which configuration ------------------------------------------------------------------------------------------


def kind_of(names):
    """The kind of model that tensors of these names are: classifier, pretraining or encoder; None for none of them."""
    names = set(names)
    if "proj.weight" in names and any(name.startswith("encoder.encoder.layers.") for name in names):
        return "classifier"
    if not any(name.startswith("encoder.layers.") for name in names):
        return None
    return "pretraining" if any(name.startswith(_HEADS) for name in names) else "encoder"


def settings_of(content):
    """The model's settings in a checkpoint: ``cfg["model"]``, or the flat ``args`` of old ones; None if absent."""
    cfg = content.get("cfg")
    if isinstance(cfg, dict) and isinstance(cfg.get("model"), dict):
        return cfg["model"]
    args = content.get("args")
    if isinstance(args, dict):
        return args["model"] if isinstance(args.get("model"), dict) else args
    return None


def architecture(settings, kind, shapes, *, changes=None, path=None):
    """The architecture under the keys of fairseq-signals, complete for `kind`, which gives just these tensors.

    A finetuned model took its encoder from a pretraining checkpoint. Where the file holds that checkpoint's own
    configuration, it is the one that describes the encoder; the finetuning configuration may state other sizes.

    Parameters
    ----------
    settings : dict
        The model's settings in the file.
    kind : {"classifier", "pretraining", "encoder"}
    shapes : mapping of str to tuple of int
        The tensors of the file.
    changes : dict, optional
        Settings that the caller knows better.
    path : path-like, optional
        For messages.

    Returns
    -------
    dict

    Raises
    ------
    CheckpointError
        If a key is missing or out of range, or the tensors are not those that the configuration describes.
    ConfigError
        If `changes` has a key that is none.
    """
    for key in changes or ():
        if key not in KEYS[kind]:
            raise ConfigError(
                f"not a setting of the architecture of a model of kind {kind}",
                field=key,
                remedy=f"The settings are {', '.join(KEYS[kind])}",
            )
    candidates = [{"num_labels": settings.get("num_labels"), **nested} for nested in _nested(settings)] + [settings]
    errors = []
    for candidate in candidates:
        try:
            config = _normal(candidate | (changes or {}), kind, shapes, path)
            check_tensors(config, kind, shapes, path=path)
            return config
        except CheckpointError as error:
            errors.append(error)
    raise errors[-1]


def _nested(settings):
    for key in _NESTED:
        nested = settings.get(key)
        if isinstance(nested, dict):
            model = nested.get("model", nested)
            if isinstance(model, dict) and "encoder_layers" in model:
                yield {key: model[key] for key in _ENCODER if key in model}


def _normal(settings, kind, shapes, path):
    config = {}
    for key, (wanted, default) in KEYS[kind].items():
        value = settings.get(key)
        if value is None:
            value = default
        if value is None and key == "num_labels" and len(shapes.get("proj.weight", ())) == 2:
            value = shapes["proj.weight"][0]
        config[key] = _value(key, wanted, value, path)
    return config


def _value(key, wanted, value, path):
    field = f"cfg.model.{key}"
    if value is None or isinstance(value, Refused):
        raise CheckpointError("the configuration lacks this key", path=path, field=field)
    if wanted is list:
        try:
            return conv_feature_layers(value)
        except ConfigError as error:
            raise CheckpointError(error.message, path=path, field=field) from None
    if wanted is bool and type(value) is int and value in (0, 1):
        value = bool(value)
    if type(value) is not wanted:
        kind = {int: "a whole number", bool: "true or false", str: "text"}[wanted]
        raise CheckpointError(f"{shown(value)} is not {kind}", path=path, field=field)
    if wanted is str and not (value.isprintable() and len(value) <= MAX_TEXT):
        raise CheckpointError(f"{shown(value)} is not known", path=path, field=field)
    return value


def check_tensors(config, kind, shapes, *, path=None):
    """Raise CheckpointError unless the shapes are those that the configuration describes.

    Tensors beyond those are an error where they would be part of the network that runs (a further layer, a bias), not
    where they are something else, such as the mask embedding or the quantizer in a finetuned model.
    """
    module = core()  # a ConfigError of its own speaks of the environment and not of the file
    try:
        table = module.parameters(config, kind)
    except ConfigError as error:
        raise CheckpointError(error.message, path=path, field="cfg.model", remedy=_REMEDY) from None
    for name, shape in table:
        if name not in shapes:
            raise CheckpointError(
                f"the tensor is missing, the configuration gives it the shape {tuple(shape)}",
                path=path,
                field=name,
                remedy=_REMEDY,
            )
        if tuple(shapes[name]) != tuple(shape):
            raise CheckpointError(
                f"the tensor has the shape {tuple(shapes[name])}, the configuration gives it {tuple(shape)}",
                path=path,
                field=name,
                remedy=_REMEDY,
            )
    known = {name for name, _ in table}
    prefix = "encoder." if kind == "classifier" else ""
    parts = tuple(prefix + part for part in _NETWORK)
    parts += {"classifier": ("proj.",), "pretraining": _HEADS, "encoder": ()}[kind]
    for name in shapes:
        if name not in known and name.startswith(parts):
            raise CheckpointError("the configuration has no such tensor", path=path, field=name[:200], remedy=_REMEDY)

"""The whole network: samples to logits, and back."""

import numpy as np

from .attention import transformer_layer, transformer_layer_backward
from .layers import (
    conv1d,
    conv1d_backward,
    conv_pos,
    conv_pos_backward,
    f64,
    gelu,
    gelu_backward,
    group_norm,
    group_norm_backward,
    layer_norm,
    layer_norm_backward,
    linear,
    linear_backward,
    pool,
    pool_backward,
)
from .losses import sigmoid

_POS = "conv_pos.pos_conv.0."
_G, _V = _POS + "parametrizations.weight.original0", _POS + "parametrizations.weight.original1"


def token_counts(samples, conv_layers):
    """Tokens that so many samples yield: n = floor((n - k) / stride) + 1 for each convolution, never below 0."""
    n = np.asarray(samples)
    for _, kernel, stride in conv_layers:
        n = np.maximum((n - kernel) // stride + 1, 0)
    return n


def token_padding(padding_mask, conv_layers):
    """Which tokens are padding: (B, L, N) bool, True = padding and equal on all leads -> (B, T) bool, or None."""
    if padding_mask is None or not np.any(padding_mask):
        return None
    valid = token_counts((~padding_mask[:, 0]).sum(axis=-1), conv_layers)
    if not valid.all():
        raise ValueError("a row of the batch has no token that is not padding")
    total = int(token_counts(padding_mask.shape[-1], conv_layers))
    padding = np.arange(total) >= valid[:, None]
    return padding if padding.any() else None


class _Encoder:
    """The parameters of the encoder under their bare names, whatever prefix the checkpoint gives them."""

    def __init__(self, params):
        self.prefix = "encoder." if "proj.weight" in params else ""
        self.params = params

    def __getitem__(self, name):
        return self.params[self.prefix + name]

    def get(self, name):
        return self.params.get(self.prefix + name)

    def layer(self, index):
        prefix = f"{self.prefix}encoder.layers.{index}."
        return {name[len(prefix) :]: self.params[name] for name in self.params if name.startswith(prefix)}


def _conv_norm(config, index):
    """Name of the norm of a conv block and its two functions, or None where the block has none."""
    if config["extractor_mode"] == "layer_norm":
        return f"feature_extractor.conv_layers.{index}.2.1", _channel_norm, _channel_norm_backward
    if index == 0:
        return f"feature_extractor.conv_layers.{index}.2", group_norm, group_norm_backward
    return None


def _channel_norm(src, weight, bias):
    """LayerNorm over the channels of (B, C, T)."""
    return layer_norm(src.swapaxes(1, 2), weight, bias).swapaxes(1, 2)


def _channel_norm_backward(diff_dst, src, weight):
    diff_src, diff_weight, diff_bias = layer_norm_backward(diff_dst.swapaxes(1, 2), src.swapaxes(1, 2), weight)
    return diff_src.swapaxes(1, 2), diff_weight, diff_bias


def forward(config, params, source, padding_mask=None, keep=None):
    """Every intermediate of the network, by name.

    Parameters
    ----------
    config : dict with the checkpoint's keys; conv_feature_layers is a list of (width, kernel, stride).
    params : {checkpoint name: array} of a classifier (names begin with "encoder.", and "proj") or of a pretraining
        model (bare names, no head).
    source : (B, L, N).  padding_mask : (B, L, N) bool, True = padding, or None.
    keep : factors of dropout by place: "input" and "encoder" and "final" (B, T, C), "layerI.<place>" as in
        `transformer_layer`; "layerI" = 0 leaves the layer out.  A place that is not named has factor 1.

    Returns
    -------
    dict of float64 arrays: convI_raw and convI (B, width, T_I), layer_norm (B, T, K), post_extract_proj (B, T, C) if
    the model has it, conv_pos (B, T, C), encoder_layer_norm (B, T, C: input of the layers in post-norm order, output
    of the last in pre-norm order), layerI and layerI_attn_out (B, T, C), encoder_out (B, T, C; 0 at padding),
    saliency (B, layers, T, T), padding_mask_out (B, T) bool if there is padding; of a classifier also pooled (B, C),
    logits and probs (B, Y).  "encoder_in" (B, T, C) is what the first layer sees.
    """
    p, keep, out = _Encoder(params), keep or {}, {}
    x = f64(source)
    for i, (_, _, stride) in enumerate(config["conv_feature_layers"]):
        name = f"feature_extractor.conv_layers.{i}.0"
        x = out[f"conv{i}_raw"] = conv1d(x, p[name + ".weight"], p.get(name + ".bias"), stride)
        if norm := _conv_norm(config, i):
            x = norm[1](x, p[norm[0] + ".weight"], p[norm[0] + ".bias"])
        x = out[f"conv{i}"] = gelu(x)
    x = out["layer_norm"] = layer_norm(x.swapaxes(1, 2), p["layer_norm.weight"], p["layer_norm.bias"])
    if p.get("post_extract_proj.weight") is not None:
        x = out["post_extract_proj"] = linear(x, p["post_extract_proj.weight"], p["post_extract_proj.bias"])
    x = x * keep.get("input", 1.0)
    padding = token_padding(padding_mask, config["conv_feature_layers"])
    x = _encoder(config, p, x, padding, keep, out)
    if padding is not None:
        out["padding_mask_out"] = padding
        x = np.where(padding[..., None], 0.0, x)
    out["encoder_out"] = x
    if p.prefix:
        out["pooled"] = pool(x * keep.get("final", 1.0))
        out["logits"] = linear(out["pooled"], params["proj.weight"], params["proj.bias"])
        out["probs"] = sigmoid(out["logits"])
    return out


def _places(keep, index):
    prefix = f"layer{index}."
    return {name[len(prefix) :]: value for name, value in keep.items() if name.startswith(prefix)}


def _encoder(config, p, x, padding, keep, out):
    heads, norm_first = config["encoder_attention_heads"], config["layer_norm_first"]
    out["conv_pos"] = conv_pos(x, p[_G], p[_V], p[_POS + "bias"], config["conv_pos_groups"])
    x = x + out["conv_pos"]
    if padding is not None:
        x = np.where(padding[..., None], 0.0, x)
    if not norm_first:
        x = out["encoder_layer_norm"] = layer_norm(x, p["encoder.layer_norm.weight"], p["encoder.layer_norm.bias"])
    x = out["encoder_in"] = x * keep.get("encoder", 1.0)
    saliency = []
    for i in range(config["encoder_layers"]):
        if keep.get(f"layer{i}", 1):
            y = transformer_layer(x, p.layer(i), heads, norm_first, padding, _places(keep, i))
            x, out[f"layer{i}_attn_out"], weights = y
            saliency.append(weights)
        out[f"layer{i}"] = x
    if saliency:
        out["saliency"] = np.stack(saliency, axis=1)
    if norm_first:
        x = out["encoder_layer_norm"] = layer_norm(x, p["encoder.layer_norm.weight"], p["encoder.layer_norm.bias"])
    return x


def backward(config, params, source, diff_logits, padding_mask=None, keep=None, feature_grad_mult=1.0, trace=None):
    """Gradients of a classifier's parameters for the gradient of its logits.

    feature_grad_mult scales the gradient that enters the convolutions; 0 leaves their parameters out of the result.
    trace is the result of `forward` for the same arguments, if at hand.  Returns {checkpoint name: array}.
    """
    trace, keep = trace or forward(config, params, source, padding_mask, keep), keep or {}
    p, diff = _Encoder(params), {}
    dropped = trace["encoder_out"] * keep.get("final", 1.0)
    diff_pooled, diff["proj.weight"], diff["proj.bias"] = linear_backward(
        diff_logits, trace["pooled"], params["proj.weight"]
    )
    d = pool_backward(diff_pooled, dropped) * keep.get("final", 1.0)
    own = {}
    d = _encoder_backward(config, p, d, trace, keep, own)
    d = d * keep.get("input", 1.0)
    features = trace["layer_norm"]
    if p.get("post_extract_proj.weight") is not None:
        d, own["post_extract_proj.weight"], own["post_extract_proj.bias"] = linear_backward(
            d, features, p["post_extract_proj.weight"]
        )
    last = trace[f"conv{len(config['conv_feature_layers']) - 1}"].swapaxes(1, 2)
    d, own["layer_norm.weight"], own["layer_norm.bias"] = layer_norm_backward(d, last, p["layer_norm.weight"])
    if feature_grad_mult:
        _extractor_backward(config, p, source, d.swapaxes(1, 2) * feature_grad_mult, trace, own)
    diff.update({p.prefix + name: value for name, value in own.items()})
    return diff


def _encoder_backward(config, p, d, trace, keep, diff):
    heads, norm_first = config["encoder_attention_heads"], config["layer_norm_first"]
    padding = trace.get("padding_mask_out")
    layers = config["encoder_layers"]
    embedded = trace.get("post_extract_proj", trace["layer_norm"]) * keep.get("input", 1.0)
    summed = embedded + trace["conv_pos"]
    if padding is not None:
        d = np.where(padding[..., None], 0.0, d)
        summed = np.where(padding[..., None], 0.0, summed)

    def norm_back(d, x):
        d, diff["encoder.layer_norm.weight"], diff["encoder.layer_norm.bias"] = layer_norm_backward(
            d, x, p["encoder.layer_norm.weight"]
        )
        return d

    inputs = [trace["encoder_in"]] + [trace[f"layer{i}"] for i in range(layers)]
    if norm_first:
        d = norm_back(d, inputs[-1])
    for i in reversed(range(layers)):
        if keep.get(f"layer{i}", 1):
            args = inputs[i], p.layer(i), heads, norm_first, padding, _places(keep, i)
            d, own = transformer_layer_backward(d, *args)
            diff.update({f"encoder.layers.{i}.{name}": value for name, value in own.items()})
    d = d * keep.get("encoder", 1.0)
    if not norm_first:
        d = norm_back(d, summed)
    if padding is not None:
        d = np.where(padding[..., None], 0.0, d)
    args = embedded, p[_G], p[_V], p[_POS + "bias"], config["conv_pos_groups"]
    diff_embedded, diff[_G], diff[_V], diff[_POS + "bias"] = conv_pos_backward(d, *args)
    return d + diff_embedded


def _extractor_backward(config, p, source, d, trace, diff):
    for i in reversed(range(len(config["conv_feature_layers"]))):
        name, stride = f"feature_extractor.conv_layers.{i}.0", config["conv_feature_layers"][i][2]
        raw = trace[f"conv{i}_raw"]
        if norm := _conv_norm(config, i):
            key, norm_forward, norm_backward = norm
            d = gelu_backward(d, norm_forward(raw, p[key + ".weight"], p[key + ".bias"]))
            d, diff[key + ".weight"], diff[key + ".bias"] = norm_backward(d, raw, p[key + ".weight"])
        else:
            d = gelu_backward(d, raw)
        src = trace[f"conv{i - 1}"] if i else source
        d, diff[name + ".weight"], diff_bias = conv1d_backward(d, src, p[name + ".weight"], stride)
        if p.get(name + ".bias") is not None:
            diff[name + ".bias"] = diff_bias

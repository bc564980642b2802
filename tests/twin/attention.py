"""Self-attention and the transformer layer, in post-norm and pre-norm order."""

import numpy as np

from .layers import f64, gelu, gelu_backward, layer_norm, layer_norm_backward, linear, linear_backward


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _heads(x, heads):
    """(B, T, C) -> (B, H, T, D)."""
    batch, steps, width = x.shape
    return x.reshape(batch, steps, heads, width // heads).transpose(0, 2, 1, 3)


def _merge(x):
    """(B, H, T, D) -> (B, T, C)."""
    batch, heads, steps, size = x.shape
    return x.transpose(0, 2, 1, 3).reshape(batch, steps, heads * size)


def _project(src, p, name):
    return linear(src, p[name + ".weight"], p[name + ".bias"])


def _attention_parts(src, p, heads, padding):
    q, k, v = (_heads(_project(src, p, name), heads) for name in ("q_proj", "k_proj", "v_proj"))
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    if padding is not None:
        scores = np.where(padding[:, None, None, :], -np.inf, scores)
    return q, k, v, softmax(scores)


def self_attention(src, p, heads, padding=None, keep=1.0):
    """Multi-head attention of a sequence to itself.

    src (B, T, C); p holds {q,k,v,out}_proj.{weight,bias}; padding (B, T) bool or None: those keys are not seen.
    keep multiplies the weights, as dropout does: 1 or an array (B, H, T, T).
    Returns the output (B, T, C) and the weights before dropout, averaged over the heads (B, T, T).
    """
    _, _, v, weights = _attention_parts(src, p, heads, padding)
    return _project(_merge(weights * keep @ v), p, "out_proj"), weights.mean(axis=1)


def self_attention_backward(diff_dst, src, p, heads, padding=None, keep=1.0):
    """Gradient of src, and a dictionary with those of the parameters."""
    q, k, v, weights = _attention_parts(src, p, heads, padding)
    kept = weights * keep
    diff = {}

    def back(diff_out, x, name):
        diff_x, diff[name + ".weight"], diff[name + ".bias"] = linear_backward(diff_out, x, p[name + ".weight"])
        return diff_x

    diff_mixed = _heads(back(diff_dst, _merge(kept @ v), "out_proj"), heads)
    diff_weights = diff_mixed @ v.swapaxes(-1, -2) * keep
    diff_scores = weights * (diff_weights - (diff_weights * weights).sum(axis=-1, keepdims=True))
    diff_scores /= np.sqrt(q.shape[-1])
    diff_src = back(_merge(diff_scores @ k), src, "q_proj")
    diff_src = diff_src + back(_merge(diff_scores.swapaxes(-1, -2) @ q), src, "k_proj")
    diff_src = diff_src + back(_merge(kept.swapaxes(-1, -2) @ diff_mixed), src, "v_proj")
    return diff_src, diff


def _sub(p, prefix):
    return {name[len(prefix) :]: value for name, value in p.items() if name.startswith(prefix)}


def _norm(x, p, name):
    return layer_norm(x, p[name + ".weight"], p[name + ".bias"])


def _feed_forward(x, p, keep):
    return _project(gelu(_project(x, p, "fc1")) * keep.get("activation", 1.0), p, "fc2")


def transformer_layer(src, p, heads, norm_first=False, padding=None, keep=None):
    """One encoder layer.

    src (B, T, C); p holds self_attn.*, self_attn_layer_norm.*, fc1.*, fc2.*, final_layer_norm.*.
    Post-norm: y = LN1(x + attn(x)), out = LN2(y + ffn(y)).  Pre-norm: y = x + attn(LN1 x), out = y + ffn(LN2 y).
    keep: factors of dropout by place, "attention" (B, H, T, T), "residual1", "residual2" (B, T, C) and
    "activation" (B, T, F); a place that is not named has factor 1.
    Returns the output, the attention output before the residual, and the head-averaged weights.
    """
    src, keep, own = f64(src), keep or {}, _sub(p, "self_attn.")
    attended = _norm(src, p, "self_attn_layer_norm") if norm_first else src
    out, weights = self_attention(attended, own, heads, padding, keep.get("attention", 1.0))
    y = src + out * keep.get("residual1", 1.0)
    if norm_first:
        return y + _feed_forward(_norm(y, p, "final_layer_norm"), p, keep) * keep.get("residual2", 1.0), out, weights
    y = _norm(y, p, "self_attn_layer_norm")
    y = y + _feed_forward(y, p, keep) * keep.get("residual2", 1.0)
    return _norm(y, p, "final_layer_norm"), out, weights


def transformer_layer_backward(diff_dst, src, p, heads, norm_first=False, padding=None, keep=None):
    """Gradient of src, and a dictionary with those of the parameters."""
    src, keep, own, diff = f64(src), keep or {}, _sub(p, "self_attn."), {}

    def norm_back(diff_out, x, name):
        diff_x, diff[name + ".weight"], diff[name + ".bias"] = layer_norm_backward(diff_out, x, p[name + ".weight"])
        return diff_x

    def ffn_back(diff_out, x):
        hidden = _project(x, p, "fc1")
        active = gelu(hidden) * keep.get("activation", 1.0)
        diff_active, diff["fc2.weight"], diff["fc2.bias"] = linear_backward(diff_out, active, p["fc2.weight"])
        diff_hidden = gelu_backward(diff_active * keep.get("activation", 1.0), hidden)
        diff_x, diff["fc1.weight"], diff["fc1.bias"] = linear_backward(diff_hidden, x, p["fc1.weight"])
        return diff_x

    def attention_back(diff_out, x):
        diff_x, of_attention = self_attention_backward(diff_out, x, own, heads, padding, keep.get("attention", 1.0))
        diff.update({"self_attn." + name: value for name, value in of_attention.items()})
        return diff_x

    attended = _norm(src, p, "self_attn_layer_norm") if norm_first else src
    y = src + self_attention(attended, own, heads, padding, keep.get("attention", 1.0))[0] * keep.get("residual1", 1.0)
    if norm_first:
        diff_ffn = ffn_back(diff_dst * keep.get("residual2", 1.0), _norm(y, p, "final_layer_norm"))
        diff_y = diff_dst + norm_back(diff_ffn, y, "final_layer_norm")
        diff_attended = attention_back(diff_y * keep.get("residual1", 1.0), attended)
        return diff_y + norm_back(diff_attended, src, "self_attn_layer_norm"), diff
    z = _norm(y, p, "self_attn_layer_norm")
    w = z + _feed_forward(z, p, keep) * keep.get("residual2", 1.0)
    diff_w = norm_back(diff_dst, w, "final_layer_norm")
    diff_z = diff_w + ffn_back(diff_w * keep.get("residual2", 1.0), z)
    diff_y = norm_back(diff_z, y, "self_attn_layer_norm")
    return diff_y + attention_back(diff_y * keep.get("residual1", 1.0), src), diff

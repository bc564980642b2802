"""Layers without attention: forward and backward side by side."""

import math

import numpy as np

EPS = 1e-5  # of every LayerNorm and GroupNorm


def f64(x):
    return np.asarray(x, dtype=np.float64)


# ---- GELU -----------------------------------------------------------------------------------------------------------
#
# NumPy has no erf, and math.erf on every element is too slow for the full-size models.  The normal distribution
# function is therefore expanded around the nearest node of a grid, where math.erfc gives its value and Hermite
# polynomials its derivatives.  Ten terms on a grid of 1/64 leave less than 1e-18 of truncation near 0.

_STEP = 1 / 64
_REACH = 38.5  # below -38.5 the distribution function underflows
_DEGREE = 9


def _taylor_table():
    nodes = np.arange(-_REACH / _STEP, _REACH / _STEP + 1) * _STEP
    table = np.empty((_DEGREE + 1, nodes.size))
    table[0] = [0.5 * math.erfc(-a / math.sqrt(2)) for a in nodes]
    hermite, before = np.ones_like(nodes), np.zeros_like(nodes)
    for n in range(1, _DEGREE + 1):
        table[n] = normal_density(nodes) * hermite * (-1) ** (n - 1) / math.factorial(n)
        hermite, before = nodes * hermite - (n - 1) * before, hermite
    return table


def normal_density(x):
    return np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


_TABLE = _taylor_table()


def normal_cdf(x):
    """Phi(x) = (1 + erf(x / sqrt 2)) / 2; absolute error below 2e-16, relative below 5e-15 for x > -6."""
    x = f64(x)
    flat = np.clip(x.ravel(), -_REACH, _REACH)
    out = np.empty_like(flat)
    for start in range(0, flat.size, 1 << 15):  # pieces that stay in the cache
        piece = slice(start, start + (1 << 15))
        node = np.rint(np.nan_to_num(flat[piece]) / _STEP)
        distance = flat[piece] - node * _STEP
        index = (node + _REACH / _STEP).astype(np.intp)
        value = _TABLE[_DEGREE].take(index)
        for n in range(_DEGREE - 1, -1, -1):
            value *= distance
            value += _TABLE[n].take(index)
        out[piece] = value
    return out.reshape(x.shape)


def gelu(x):
    x = f64(x)
    return x * normal_cdf(x)


def gelu_backward(diff_dst, x):
    x = f64(x)
    return diff_dst * (normal_cdf(x) + x * normal_density(x))


# ---- linear ---------------------------------------------------------------------------------------------------------


def linear(src, weight, bias):
    """src (..., I), weight (O, I), bias (O) -> (..., O)."""
    return f64(src) @ f64(weight).T + f64(bias)


def linear_backward(diff_dst, src, weight):
    """Gradients of src, weight and bias."""
    rows, diff_rows = f64(src).reshape(-1, np.shape(src)[-1]), diff_dst.reshape(-1, diff_dst.shape[-1])
    return diff_dst @ f64(weight), diff_rows.T @ rows, diff_rows.sum(axis=0)


# ---- norms ----------------------------------------------------------------------------------------------------------


def _standardise(x, axis):
    centred = x - x.mean(axis=axis, keepdims=True)
    scale = 1 / np.sqrt((centred * centred).mean(axis=axis, keepdims=True) + EPS)
    return centred * scale, scale


def _standardise_backward(diff, standard, scale, axis):
    mean = diff.mean(axis=axis, keepdims=True)
    along = (diff * standard).mean(axis=axis, keepdims=True)
    return scale * (diff - mean - standard * along)


def layer_norm(src, weight, bias):
    """Over the last axis: src (..., C), weight and bias (C)."""
    return _standardise(f64(src), -1)[0] * f64(weight) + f64(bias)


def layer_norm_backward(diff_dst, src, weight):
    """Gradients of src, weight and bias."""
    standard, scale = _standardise(f64(src), -1)
    rows = tuple(range(diff_dst.ndim - 1))
    diff_src = _standardise_backward(diff_dst * f64(weight), standard, scale, -1)
    return diff_src, (diff_dst * standard).sum(axis=rows), diff_dst.sum(axis=rows)


def group_norm(src, weight, bias):
    """As many groups as channels: each channel of each segment over the whole time axis.  src (B, C, T)."""
    return _standardise(f64(src), -1)[0] * f64(weight)[:, None] + f64(bias)[:, None]


def group_norm_backward(diff_dst, src, weight):
    """Gradients of src, weight and bias."""
    standard, scale = _standardise(f64(src), -1)
    diff_src = _standardise_backward(diff_dst * f64(weight)[:, None], standard, scale, -1)
    return diff_src, (diff_dst * standard).sum(axis=(0, 2)), diff_dst.sum(axis=(0, 2))


# ---- convolutions ---------------------------------------------------------------------------------------------------


def _windows(src, kernel, stride):
    """src (B, I, N) -> (B, T, I * kernel): what each output position sees."""
    view = np.lib.stride_tricks.sliding_window_view(src, kernel, axis=-1)[:, :, ::stride]  # (B, I, T, kernel)
    batch, channels, steps, _ = view.shape
    return view.transpose(0, 2, 1, 3).reshape(batch, steps, channels * kernel)


def conv1d(src, weight, bias=None, stride=1):
    """No padding, no dilation.  src (B, I, N), weight (O, I, k), bias (O) or None -> (B, O, (N - k) // stride + 1)."""
    src, weight = f64(src), f64(weight)
    dst = (_windows(src, weight.shape[2], stride) @ weight.reshape(len(weight), -1).T).transpose(0, 2, 1)
    return dst if bias is None else dst + f64(bias)[:, None]


def conv1d_backward(diff_dst, src, weight, stride=1):
    """Gradients of src, weight and bias (to be ignored where the layer has none)."""
    src, weight = f64(src), f64(weight)
    out, channels, kernel = weight.shape
    rows = diff_dst.transpose(0, 2, 1)  # (B, T, O)
    batch, steps, _ = rows.shape
    seen = _windows(src, kernel, stride).reshape(batch * steps, -1)
    diff_weight = (rows.reshape(-1, out).T @ seen).reshape(weight.shape)
    diff_seen = (rows @ weight.reshape(out, -1)).reshape(batch, steps, channels, kernel)
    diff_src = np.zeros_like(src)
    for tap in range(kernel):
        diff_src[:, :, tap : tap + stride * (steps - 1) + 1 : stride] += diff_seen[..., tap].transpose(0, 2, 1)
    return diff_src, diff_weight, diff_dst.sum(axis=(0, 2))


def weight_norm(g, v):
    """g (1, 1, k), v (C, C / groups, k): each tap has norm g over the first two axes."""
    g, v = f64(g), f64(v)
    return g * v / np.sqrt((v * v).sum(axis=(0, 1), keepdims=True))


def weight_norm_backward(diff_weight, g, v):
    """Gradients of g and v."""
    g, v = f64(g), f64(v)
    norm = np.sqrt((v * v).sum(axis=(0, 1), keepdims=True))
    along = (diff_weight * v).sum(axis=(0, 1), keepdims=True) / norm
    return along, g / norm * (diff_weight - along * v / norm)


def _grouped(src, weight, groups):
    """Zero padding of kernel // 2 on both sides, an even kernel loses its last output; channels in groups."""
    batch, steps, width = src.shape
    kernel = weight.shape[2]
    right = kernel // 2 - (1 - kernel % 2)
    padded = np.pad(src.transpose(0, 2, 1), ((0, 0), (0, 0), (kernel // 2, right)))
    size = width // groups
    return [(slice(i * size, (i + 1) * size), padded[:, i * size : (i + 1) * size]) for i in range(groups)]


def conv_pos(src, g, v, bias, groups):
    """The positional branch: GELU(conv(src)).  src (B, T, C), g (1, 1, k), v (C, C / groups, k), bias (C)."""
    return gelu(_conv_pos_linear(f64(src), weight_norm(g, v), f64(bias), groups))


def _conv_pos_linear(src, weight, bias, groups):
    parts = [conv1d(part, weight[own], bias[own]) for own, part in _grouped(src, weight, groups)]
    return np.concatenate(parts, axis=1).transpose(0, 2, 1)


def conv_pos_backward(diff_dst, src, g, v, bias, groups):
    """Gradients of src, g, v and bias."""
    src, weight, bias = f64(src), weight_norm(g, v), f64(bias)
    diff = gelu_backward(diff_dst, _conv_pos_linear(src, weight, bias, groups)).transpose(0, 2, 1)
    diff_src, diff_weight = np.empty_like(src), np.empty_like(weight)
    left, steps = weight.shape[2] // 2, src.shape[1]
    for own, part in _grouped(src, weight, groups):
        diff_part, diff_weight[own], _ = conv1d_backward(diff[:, own], part, weight[own])
        diff_src[:, :, own] = diff_part[:, :, left : left + steps].transpose(0, 2, 1)
    return diff_src, *weight_norm_backward(diff_weight, g, v), diff.sum(axis=(0, 2))


# ---- pooling --------------------------------------------------------------------------------------------------------


def pool(x):
    """Sum over time divided by the number of non-zero entries, for each channel.  x (B, T, C) -> (B, C)."""
    x = f64(x)
    return x.sum(axis=1) / np.count_nonzero(x, axis=1)


def pool_backward(diff_dst, x):
    """Gradient of x; the count is a constant.  Steps whose gradient must stay 0 are masked by the caller."""
    return np.broadcast_to((diff_dst / np.count_nonzero(x, axis=1))[:, None], np.shape(x)).copy()

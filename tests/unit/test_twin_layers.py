"""The layers of the float64 twin: forwards against plain loops, backwards against finite differences."""

import math

import numpy as np
import pytest
import twin
from twin import differences

RNG_SEED = 20240917


@pytest.fixture
def rng():
    return np.random.default_rng(RNG_SEED)


def check_backward(forward, inputs, diff_dst, diffs):
    """diffs are the gradients of sum(forward(inputs) * diff_dst); every entry of each must match."""
    for i, (value, diff) in enumerate(zip(inputs, diffs, strict=True)):

        def loss(x, i=i):
            return np.sum(forward(*inputs[:i], x, *inputs[i + 1 :]) * diff_dst)

        expected = differences.gradient(loss, value)
        assert diff.shape == expected.shape
        # 1e-7 of the largest entry: a hundred times the error of the differences, far below any wrong term.
        np.testing.assert_allclose(diff, expected, rtol=0, atol=1e-7 * max(1.0, np.abs(expected).max()))


# ---- GELU -----------------------------------------------------------------------------------------------------------


def test_normal_cdf_agrees_with_the_standard_library():
    x = np.concatenate([np.linspace(-6, 6, 20001), np.linspace(-38, 38, 3001), [0.0, -0.0, 1 / 128, -1 / 128]])
    expected = np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in x])
    got = twin.normal_cdf(x)
    assert np.abs(got - expected).max() <= 2.3e-16  # one unit in the last place of 1
    near = x > -6
    assert (np.abs(got - expected)[near] / expected[near]).max() < 1e-14  # erfc itself is 5e-15 off at -6


def test_normal_cdf_at_the_ends():
    np.testing.assert_array_equal(twin.normal_cdf([-np.inf, -50, 0, 50, np.inf]), [0, 0, 0.5, 1, 1])
    assert np.isnan(twin.normal_cdf([1.0, np.nan])).tolist() == [False, True]
    assert twin.normal_cdf(np.zeros((2, 0, 3))).shape == (2, 0, 3)


def test_gelu_backward(rng):
    x, d = rng.normal(size=(40,)) * 3, rng.normal(size=(40,))
    check_backward(twin.gelu, (x,), d, (twin.gelu_backward(d, x),))


# ---- linear and norms -----------------------------------------------------------------------------------------------


def test_linear(rng):
    x, w, b, d = (rng.normal(size=s) for s in ((2, 3, 4), (5, 4), (5,), (2, 3, 5)))
    expected = [
        [[sum(x[i, j, c] * w[o, c] for c in range(4)) + b[o] for o in range(5)] for j in range(3)] for i in (0, 1)
    ]
    np.testing.assert_allclose(twin.linear(x, w, b), expected, rtol=0, atol=1e-14)
    check_backward(twin.linear, (x, w, b), d, twin.linear_backward(d, x, w))


def test_layer_norm(rng):
    x, w, b, d = (rng.normal(size=s) for s in ((2, 3, 7), (7,), (7,), (2, 3, 7)))
    row = x[1, 2]
    expected = (row - row.mean()) / math.sqrt(row.var() + 1e-5) * w + b
    np.testing.assert_allclose(twin.layer_norm(x, w, b)[1, 2], expected, rtol=0, atol=1e-14)
    check_backward(twin.layer_norm, (x, w, b), d, twin.layer_norm_backward(d, x, w))


def test_group_norm_takes_each_channel_over_all_of_time(rng):
    x, w, b, d = (rng.normal(size=s) for s in ((2, 3, 9), (3,), (3,), (2, 3, 9)))
    row = x[1, 2]
    expected = (row - row.mean()) / math.sqrt(row.var() + 1e-5) * w[2] + b[2]
    np.testing.assert_allclose(twin.group_norm(x, w, b)[1, 2], expected, rtol=0, atol=1e-14)
    check_backward(twin.group_norm, (x, w, b), d, twin.group_norm_backward(d, x, w))


def test_norms_of_one_value_are_the_bias(rng):
    w, b = rng.normal(size=3), rng.normal(size=3)
    np.testing.assert_array_equal(twin.group_norm(np.full((2, 3, 1), 7.0), w, b), np.tile(b[:, None], (2, 1, 1)))


# ---- convolutions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (2, 2), (3, 1), (5, 3), (2, 3), (9, 4)])
@pytest.mark.parametrize("samples", [9, 11])
def test_conv1d(rng, kernel, stride, samples):
    x, w, b = (rng.normal(size=s) for s in ((2, 3, samples), (4, 3, kernel), (4,)))
    steps = (samples - kernel) // stride + 1
    expected = np.array(
        [
            [[np.sum(w[o] * x[i, :, t * stride : t * stride + kernel]) + b[o] for t in range(steps)] for o in range(4)]
            for i in range(2)
        ]
    )
    np.testing.assert_allclose(twin.conv1d(x, w, b, stride), expected, rtol=0, atol=1e-13)
    np.testing.assert_allclose(twin.conv1d(x, w, None, stride), expected - b[:, None], rtol=0, atol=1e-13)
    d = rng.normal(size=expected.shape)

    def forward(*args):
        return twin.conv1d(*args, stride)

    check_backward(forward, (x, w, b), d, twin.conv1d_backward(d, x, w, stride))


def test_weight_norm_gives_each_tap_its_norm(rng):
    g, v, d = (rng.normal(size=s) for s in ((1, 1, 5), (4, 2, 5), (4, 2, 5)))
    w = twin.weight_norm(g, v)
    np.testing.assert_allclose(np.sqrt((w**2).sum(axis=(0, 1))), np.abs(g[0, 0]), rtol=1e-14)
    np.testing.assert_allclose(w[..., 3] / v[..., 3], np.full((4, 2), g[0, 0, 3] / np.linalg.norm(v[..., 3])))
    check_backward(twin.weight_norm, (g, v), d, twin.weight_norm_backward(d, g, v))


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 7, 8, 12])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_conv_pos(rng, kernel, groups):
    width, steps, size = 4, 5, 4 // groups
    x, g, v, b = (rng.normal(size=s) for s in ((2, steps, width), (1, 1, kernel), (width, size, kernel), (width,)))
    w, expected = twin.weight_norm(g, v), np.empty((2, steps, width))
    for i, t, o in np.ndindex(2, steps, width):
        total = b[o]
        for c, tap in np.ndindex(size, kernel):
            source = t + tap - kernel // 2
            if 0 <= source < steps:
                total += w[o, c, tap] * x[i, source, o // size * size + c]
        expected[i, t, o] = 0.5 * total * math.erfc(-total / math.sqrt(2))
    np.testing.assert_allclose(twin.conv_pos(x, g, v, b, groups), expected, rtol=0, atol=1e-14)
    d = rng.normal(size=expected.shape)

    def forward(*args):
        return twin.conv_pos(*args, groups)

    check_backward(forward, (x, g, v, b), d, twin.conv_pos_backward(d, x, g, v, b, groups))


# ---- attention ------------------------------------------------------------------------------------------------------

PADDING = np.array([[False] * 5, [False, False, False, True, True]])


def attention_parameters(rng, width):
    names = [f"{x}_proj.{kind}" for x in "qkv" for kind in ("weight", "bias")] + ["out_proj.weight", "out_proj.bias"]
    return {name: rng.normal(size=(width, width) if name.endswith("weight") else width) for name in names}


def layer_parameters(rng, width, hidden):
    p = {f"self_attn.{name}": value for name, value in attention_parameters(rng, width).items()}
    for norm in ("self_attn_layer_norm", "final_layer_norm"):
        p |= {f"{norm}.weight": rng.normal(size=width), f"{norm}.bias": rng.normal(size=width)}
    p |= {"fc1.weight": rng.normal(size=(hidden, width)), "fc1.bias": rng.normal(size=hidden)}
    return p | {"fc2.weight": rng.normal(size=(width, hidden)), "fc2.bias": rng.normal(size=width)}


def loop_attention(x, p, heads, padding, keep):
    """One segment, one head, one query at a time."""
    size = x.shape[-1] // heads
    q, k, v = (x @ p[f"{n}_proj.weight"].T + p[f"{n}_proj.bias"] for n in "qkv")
    mixed, maps = np.zeros_like(x), np.zeros((len(x), x.shape[1], x.shape[1]))
    for i, h, t in np.ndindex(len(x), heads, x.shape[1]):
        own = slice(h * size, (h + 1) * size)
        seen = [s for s in range(x.shape[1]) if padding is None or not padding[i, s]]
        scores = np.array([q[i, t, own] @ k[i, s, own] / math.sqrt(size) for s in seen])
        weights = np.exp(scores) / np.exp(scores).sum()
        for s, weight in zip(seen, weights, strict=True):
            maps[i, t, s] += weight / heads
            mixed[i, t, own] += weight * keep[i, h, t, s] * v[i, s, own]
    return mixed @ p["out_proj.weight"].T + p["out_proj.bias"], maps


@pytest.mark.parametrize("padding", [None, PADDING], ids=["plain", "padded"])
@pytest.mark.parametrize("heads", [1, 2, 6])
@pytest.mark.parametrize("dropped", [False, True])
def test_self_attention(rng, heads, padding, dropped):
    x, d, p = rng.normal(size=(2, 5, 6)), rng.normal(size=(2, 5, 6)), attention_parameters(rng, 6)
    keep = rng.choice([0, 2.0], size=(2, heads, 5, 5)) if dropped else np.ones((2, heads, 5, 5))
    out, maps = twin.self_attention(x, p, heads, padding, keep)
    expected, expected_maps = loop_attention(x, p, heads, padding, keep)
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-13)
    np.testing.assert_allclose(maps, expected_maps, rtol=0, atol=1e-15)
    names = list(p)

    def forward(x, *values):
        return twin.self_attention(x, dict(zip(names, values, strict=True)), heads, padding, keep)[0]

    diff_src, diff = twin.self_attention_backward(d, x, p, heads, padding, keep)
    assert set(diff) == set(p)
    check_backward(forward, (x, *p.values()), d, (diff_src, *(diff[name] for name in names)))


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize(("padding", "dropped"), [(None, False), (PADDING, False), (PADDING, True)])
def test_transformer_layer_backward(rng, norm_first, padding, dropped):
    x, d, p = rng.normal(size=(2, 5, 4)), rng.normal(size=(2, 5, 4)), layer_parameters(rng, 4, 3)
    keep = {}
    if dropped:
        shapes = {"attention": (2, 2, 5, 5), "residual1": (2, 5, 4), "activation": (2, 5, 3), "residual2": (2, 5, 4)}
        keep = {place: rng.choice([0, 1.25], p=[0.2, 0.8], size=shape) for place, shape in shapes.items()}
    names = list(p)

    def forward(x, *values):
        return twin.transformer_layer(x, dict(zip(names, values, strict=True)), 2, norm_first, padding, keep)[0]

    diff_src, diff = twin.transformer_layer_backward(d, x, p, 2, norm_first, padding, keep)
    assert set(diff) == set(p)
    check_backward(forward, (x, *p.values()), d, (diff_src, *(diff[name] for name in names)))


@pytest.mark.parametrize("norm_first", [False, True])
def test_transformer_layer_is_its_equations(rng, norm_first):
    x, p = rng.normal(size=(2, 5, 4)), layer_parameters(rng, 4, 3)

    def ln(x, name):
        return twin.layer_norm(x, p[name + ".weight"], p[name + ".bias"])

    def attention(x):
        return twin.self_attention(x, {k[len("self_attn.") :]: v for k, v in p.items() if "self_attn." in k}, 2)[0]

    def ffn(x):
        return twin.gelu(x @ p["fc1.weight"].T + p["fc1.bias"]) @ p["fc2.weight"].T + p["fc2.bias"]

    if norm_first:
        y = x + attention(ln(x, "self_attn_layer_norm"))
        expected = y + ffn(ln(y, "final_layer_norm"))
    else:
        y = ln(x + attention(x), "self_attn_layer_norm")
        expected = ln(y + ffn(y), "final_layer_norm")
    np.testing.assert_allclose(twin.transformer_layer(x, p, 2, norm_first)[0], expected, rtol=0, atol=1e-13)


# ---- pooling and loss -----------------------------------------------------------------------------------------------


def test_pool_divides_by_the_count_of_entries_that_are_not_zero():
    x = np.array([[[1.0, 0.0], [2.0, 4.0], [0.0, 0.0]]])
    np.testing.assert_array_equal(twin.pool(x), [[1.5, 4.0]])


def test_pool_backward(rng):
    x, d = rng.normal(size=(2, 6, 3)), rng.normal(size=(2, 3))
    x[1, 4:] = 0
    got = twin.pool_backward(d, x)
    np.testing.assert_array_equal(got[1, 0], d[1] / 4)  # the count is a constant
    # Away from 0 the count does not change, so the differences see the same function.
    expected = differences.gradient(lambda v: np.sum(twin.pool(np.where(x == 0, 0, v)) * d), x)
    np.testing.assert_allclose(np.where(x == 0, 0, got), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_bce_with_logits(rng, weighted):
    x, t = rng.normal(size=(3, 5)) * 3, rng.integers(0, 2, size=(3, 5)).astype(float)
    t[0] = rng.uniform(size=5)
    w = rng.uniform(0.5, 9, size=5) if weighted else None
    p = 1 / (1 + np.exp(-x))
    expected = -np.sum((1 if w is None else w) * t * np.log(p) + (1 - t) * np.log(1 - p))
    assert twin.bce_with_logits(x, t, w) == pytest.approx(expected, rel=1e-13)
    got = twin.bce_with_logits_backward(x, t, w)
    np.testing.assert_allclose(got, differences.gradient(lambda v: twin.bce_with_logits(v, t, w), x), atol=1e-7)


def test_bce_with_logits_of_huge_logits():
    assert twin.bce_with_logits([[800.0, -800.0]], [[0.0, 1.0]], [1.0, 3.0]) == 800 + 3 * 800
    np.testing.assert_array_equal(twin.bce_with_logits_backward([[800.0, -800.0]], [[0.0, 1.0]], [1.0, 3.0]), [[1, -3]])

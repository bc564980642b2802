"""The whole network of the float64 twin: padding rules, and gradients against finite differences."""

import numpy as np
import pytest
import twin
import weights
from twin import differences

TINY = weights.SMALL | {
    "encoder_embed_dim": 6,
    "encoder_ffn_embed_dim": 5,
    "encoder_attention_heads": 2,
    "conv_feature_layers": [(4, 3, 2), (4, 2, 2)],
    "conv_pos": 4,
    "conv_pos_groups": 2,
    "in_d": 2,
    "num_labels": 3,
}


def network(**changes):
    config = TINY | changes
    return config, {name: w.astype(np.float64) for name, w in weights.weights(weights.parameters(config)).items()}


@pytest.mark.parametrize(("samples", "tokens"), [(2500, 156), (3667, 229), (1001, 62), (16, 1), (15, 0), (31, 1)])
def test_token_counts_of_the_published_extractor(samples, tokens):
    assert twin.token_counts(samples, weights.BASE["conv_feature_layers"]) == tokens


def test_token_padding():
    convs = [(1, 2, 2)] * 4
    mask = weights.padding(3, 12, 2500, [2500, 1000, 17])
    expected = np.arange(156) >= np.array([156, 62, 1])[:, None]
    np.testing.assert_array_equal(twin.token_padding(mask, convs), expected)
    assert twin.token_padding(None, convs) is None
    assert twin.token_padding(np.zeros((3, 12, 2500), bool), convs) is None
    assert twin.token_padding(weights.padding(2, 12, 2500, [2500, 2496]), convs) is None  # only the unused tail
    with pytest.raises(ValueError, match="no token"):
        twin.token_padding(weights.padding(2, 12, 2500, [2500, 15]), convs)


def test_padded_tokens_reach_no_output_but_through_the_convolutions():
    config, p = network()
    x = weights.signal("twin.pad", 2, 2, 60)
    mask = weights.padding(2, 2, 60, [60, 37])
    out = twin.forward(config, p, x, mask)
    padded = out["padding_mask_out"]
    assert padded.sum() == 5 and not padded[0].any()
    assert not out["encoder_out"][padded].any()
    assert not out["saliency"][1][:, :, padded[1]].any()
    np.testing.assert_allclose(out["saliency"].sum(axis=-1), 1, rtol=1e-14)
    np.testing.assert_allclose(out["pooled"][1], out["encoder_out"][1, :9].mean(axis=0), rtol=1e-13)


def test_rows_do_not_see_each_other():
    config, p = network()
    x = weights.signal("twin.rows", 3, 2, 50)
    whole = twin.forward(config, p, x)
    for i in range(3):
        np.testing.assert_allclose(
            twin.forward(config, p, x[i : i + 1])["logits"], whole["logits"][i : i + 1], rtol=1e-12
        )


def test_pretraining_names_give_the_same_encoder():
    config, p = network()
    bare = {name.removeprefix("encoder."): value for name, value in p.items() if not name.startswith("proj.")}
    x = weights.signal("twin.bare", 2, 2, 50)
    out, bare_out = twin.forward(config, p, x), twin.forward(config, bare, x)
    np.testing.assert_array_equal(out["encoder_out"], bare_out["encoder_out"])
    assert set(out) - set(bare_out) == {"pooled", "logits", "probs"}


CASES = {
    "post_norm": ({}, None, False),
    "post_norm_padded": ({"conv_bias": True}, [40, 23], False),
    "pre_norm_padded": ({"layer_norm_first": True}, [40, 23], False),
    "extractor_layer_norm": (
        {"extractor_mode": "layer_norm", "conv_bias": True, "layer_norm_first": True},
        None,
        False,
    ),
    "no_projection_odd_kernel": ({"encoder_embed_dim": 4, "conv_pos": 3}, [23, 40], False),
    "post_norm_dropout": ({}, [40, 23], True),
    "pre_norm_dropout": ({"layer_norm_first": True}, [40, 23], True),
}


def dropout_factors(config, batch, tokens):
    rng = np.random.default_rng(7)
    width, hidden, heads = (config[f"encoder_{k}"] for k in ("embed_dim", "ffn_embed_dim", "attention_heads"))
    shapes = dict.fromkeys(("input", "encoder", "final", "layer0.residual1"), (batch, tokens, width))
    shapes |= {"layer0.residual2": (batch, tokens, width), "layer1.attention": (batch, heads, tokens, tokens)}
    shapes |= {"layer0.attention": (batch, heads, tokens, tokens), "layer0.activation": (batch, tokens, hidden)}
    return {place: rng.choice([0, 1 / 0.9], p=[0.1, 0.9], size=shape) for place, shape in shapes.items()}


@pytest.mark.parametrize("case", CASES)
def test_backward(case):
    changes, lengths, dropped = CASES[case]
    config, p = network(**changes)
    x = weights.signal("twin.backward", 2, 2, 40)
    mask = None if lengths is None else weights.padding(2, 2, 40, lengths)
    tokens = int(twin.token_counts(40, config["conv_feature_layers"]))
    keep = dropout_factors(config, 2, tokens) if dropped else None
    targets, pos_weight = np.array([[1, 0, 1], [0, 0, 1.0]]), np.array([0.7, 2, 5.0])

    def loss(params):
        return twin.bce_with_logits(twin.forward(config, params, x, mask, keep)["logits"], targets, pos_weight)

    trace = twin.forward(config, p, x, mask, keep)
    diff_logits = twin.bce_with_logits_backward(trace["logits"], targets, pos_weight)
    diff = twin.backward(config, p, x, diff_logits, mask, keep)
    assert {name: d.shape for name, d in diff.items()} == dict(weights.parameters(config))
    rng = np.random.default_rng(3)
    for name, value in p.items():
        direction = rng.choice([-1.0, 1.0], size=value.shape)
        expected = differences.slope(lambda v, name=name: loss(p | {name: v}), value, direction)
        # A sum over the tensor of entries of either sign: 1e-7 of the sum of their sizes.
        assert abs(np.sum(diff[name] * direction) - expected) <= 1e-7 * max(0.1, np.abs(diff[name]).sum()), name


def test_gradients_that_are_zero_in_theory():
    config, p = network(conv_bias=True)
    x = weights.signal("twin.zero", 2, 2, 40)
    diff = twin.backward(config, p, x, np.ones((2, 3)))
    assert np.abs(diff["encoder.feature_extractor.conv_layers.0.0.bias"]).max() < 1e-13  # the group norm removes it
    assert np.abs(diff["encoder.encoder.layers.1.self_attn.k_proj.bias"]).max() < 1e-13  # the softmax removes it


def test_feature_grad_mult_scales_the_convolutions_only():
    config, p = network()
    x, d = weights.signal("twin.scale", 2, 2, 40), np.ones((2, 3))
    whole, tenth, none = (twin.backward(config, p, x, d, feature_grad_mult=m) for m in (1, 0.1, 0))
    convs = {name for name in whole if "feature_extractor" in name}
    assert set(whole) - set(none) == convs
    for name, value in whole.items():
        np.testing.assert_allclose(tenth[name], value * (0.1 if name in convs else 1), rtol=1e-12, atol=1e-16)


def test_a_layer_that_is_left_out():
    config, p = network()
    x = weights.signal("twin.drop", 1, 2, 40)
    out = twin.forward(config, p, x, keep={"layer0": 0})
    np.testing.assert_array_equal(out["layer0"], out["encoder_in"])
    diff = twin.backward(config, p, x, np.ones((1, 3)), keep={"layer0": 0})
    assert not any(".layers.0." in name for name in diff if name.startswith("encoder.encoder."))
    assert any(".layers.1." in name for name in diff)

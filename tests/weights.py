"""Configurations, parameter lists, weights and signals from formulas, for tests that have no file at hand."""

import ast
import math
import zlib

import numpy as np

# ---- configurations -------------------------------------------------------------------------------------------------

BASE = {
    "encoder_layers": 12,
    "encoder_embed_dim": 768,
    "encoder_ffn_embed_dim": 3072,
    "encoder_attention_heads": 12,
    "layer_norm_first": False,
    "extractor_mode": "default",
    "conv_feature_layers": [(256, 2, 2)] * 4,
    "conv_bias": False,
    "conv_pos": 128,
    "conv_pos_groups": 16,
    "in_d": 12,
    "num_labels": 17,
    "latent_vars": 320,
    "latent_groups": 2,
    "latent_dim": 0,
    "final_dim": 256,
    "target_glu": False,
}
LARGE = BASE | {
    "encoder_layers": 24,
    "encoder_embed_dim": 1024,
    "encoder_ffn_embed_dim": 4096,
    "encoder_attention_heads": 16,
}
SMALL = BASE | {
    "encoder_layers": 2,
    "encoder_embed_dim": 32,
    "encoder_ffn_embed_dim": 48,
    "encoder_attention_heads": 4,
    "conv_feature_layers": [(16, 2, 2)] * 4,
    "conv_pos": 16,
    "conv_pos_groups": 4,
    "latent_vars": 8,
    "final_dim": 24,
}
VARIANTS = {
    tag: SMALL | changes
    for tag, changes in {
        "default": {},
        "pre_norm": {"layer_norm_first": True},
        "conv_bias": {"conv_bias": True},
        "extractor_layer_norm": {"extractor_mode": "layer_norm"},
        "extractor_layer_norm_bias_pre_norm": {
            "extractor_mode": "layer_norm",
            "conv_bias": True,
            "layer_norm_first": True,
        },
        "extractor_layer_norm_mixed_convs": {
            "extractor_mode": "layer_norm",
            "conv_feature_layers": [(9, 5, 3), (24, 3, 2), (14, 2, 1)],
        },
        "no_projection": {"conv_feature_layers": [(32, 2, 2)] * 4},
        "no_projection_pre_norm": {"conv_feature_layers": [(16, 3, 2), (32, 2, 2)], "layer_norm_first": True},
        "mixed_convs": {"conv_feature_layers": [(24, 5, 3), (16, 3, 2), (16, 3, 2), (16, 2, 2)]},
        "one_conv": {"conv_feature_layers": [(16, 10, 8)]},
        "stride_above_kernel": {"conv_feature_layers": [(16, 2, 3), (16, 2, 4)]},
        "stride_1": {"conv_feature_layers": [(16, 8, 8), (16, 3, 1)], "conv_bias": True},
        "pos_odd": {"conv_pos": 15},
        "pos_1": {"conv_pos": 1},
        "pos_2": {"conv_pos": 2},
        "pos_longer_than_sequence": {"conv_pos": 128, "conv_feature_layers": [(16, 16, 32)]},
        "pos_groups_1": {"conv_pos_groups": 1},
        "pos_groups_all": {"conv_pos_groups": 32},
        "layers_1": {"encoder_layers": 1},
        "layers_3_heads_2": {"encoder_layers": 3, "encoder_attention_heads": 2},
        "heads_1": {"encoder_attention_heads": 1},
        "heads_8_of_5": {"encoder_embed_dim": 40, "encoder_attention_heads": 8},
        "odd_widths": {
            "encoder_embed_dim": 33,
            "encoder_ffn_embed_dim": 37,
            "encoder_attention_heads": 3,
            "conv_feature_layers": [(7, 2, 2), (13, 3, 2)],
            "conv_pos_groups": 3,
        },
        "odd_widths_pre_norm": {
            "encoder_embed_dim": 30,
            "encoder_ffn_embed_dim": 45,
            "encoder_attention_heads": 3,
            "conv_feature_layers": [(11, 2, 2)] * 3,
            "conv_pos": 9,
            "conv_pos_groups": 5,
            "layer_norm_first": True,
            "extractor_mode": "layer_norm",
        },
        "leads_1": {"in_d": 1},
        "leads_3": {"in_d": 3},
        "labels_1": {"num_labels": 1},
        "labels_26": {"num_labels": 26},
        "wide_feed_forward": {"encoder_ffn_embed_dim": 200},
    }.items()
}


def conv_layers(spec):
    """The list of (width, kernel, stride) behind a text like "[(24,5,3)] + [(16,3,2)] * 2", or the list itself."""

    def value(node):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return value(node.left) + value(node.right)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            return value(node.left) * value(node.right)
        return ast.literal_eval(node)

    layers = value(ast.parse(spec, mode="eval").body) if isinstance(spec, str) else spec
    return [tuple(layer) for layer in layers]


def config_from(settings):
    """Our configuration out of a checkpoint's or a JSON's settings: the known keys, conv layers as a list."""
    config = BASE | {key: settings[key] for key in BASE if key in settings}
    config["conv_feature_layers"] = conv_layers(config["conv_feature_layers"])
    return config


# ---- the list of parameters -----------------------------------------------------------------------------------------


def _linear(name, outputs, inputs):
    return [(name + ".weight", (outputs, inputs)), (name + ".bias", (outputs,))]


def _norm(name, width):
    return [(name + ".weight", (width,)), (name + ".bias", (width,))]


def _encoder_layer(name, width, hidden):
    attention = [_linear(f"{name}.self_attn.{x}_proj", width, width) for x in ("k", "v", "q", "out")]
    return sum(attention, []) + [
        *_norm(f"{name}.self_attn_layer_norm", width),
        *_linear(f"{name}.fc1", hidden, width),
        *_linear(f"{name}.fc2", width, hidden),
        *_norm(f"{name}.final_layer_norm", width),
    ]


def _extractor(config):
    found, channels = [], config["in_d"]
    for i, (width, kernel, _) in enumerate(config["conv_feature_layers"]):
        name = f"feature_extractor.conv_layers.{i}"
        found.append((name + ".0.weight", (width, channels, kernel)))
        if config["conv_bias"]:
            found.append((name + ".0.bias", (width,)))
        if config["extractor_mode"] == "layer_norm":
            found += _norm(name + ".2.1", width)
        elif i == 0:
            found += _norm(name + ".2", width)
        channels = width
    return found


def _encoder(config):
    width, features = config["encoder_embed_dim"], config["conv_feature_layers"][-1][0]
    found = []
    for i in range(config["encoder_layers"]):
        found += _encoder_layer(f"encoder.layers.{i}", width, config["encoder_ffn_embed_dim"])
    found += _norm("encoder.layer_norm", width) + _extractor(config)
    if features != width:
        found += _linear("post_extract_proj", width, features)
    kernel, pos = config["conv_pos"], "conv_pos.pos_conv.0."
    found += [
        (pos + "bias", (width,)),
        (pos + "parametrizations.weight.original0", (1, 1, kernel)),
        (pos + "parametrizations.weight.original1", (width, width // config["conv_pos_groups"], kernel)),
    ]
    return found + _norm("layer_norm", features)


def parameters(config, kind="classifier"):
    """(name, shape) of every tensor, in the order of the checkpoint, of a "classifier" or a "pretraining" model."""
    encoder, width = _encoder(config), config["encoder_embed_dim"]
    if kind == "classifier":
        return [("encoder." + name, shape) for name, shape in encoder] + _linear("proj", config["num_labels"], width)
    features, final = config["conv_feature_layers"][-1][0], config["final_dim"]
    codes, groups = config["latent_groups"] * config["latent_vars"], config["latent_groups"]
    latent = config["latent_dim"] or final
    return [
        ("mask_emb", (width,)),
        *encoder,
        ("quantizer.vars", (1, codes, latent // groups)),
        *_linear("quantizer.weight_proj", codes, features),
        *_linear("project_q", final, latent),
        *(_linear("target_glu.0", 2 * final, final) if config["target_glu"] else []),
        *_linear("final_proj", final, width),
    ]


def count(table):
    return sum(math.prod(shape) for _, shape in table)


# ---- weights and signals --------------------------------------------------------------------------------------------

_SCALES = {".q_proj.": 2.0, ".k_proj.": 2.0, ".v_proj.": 0.5, ".out_proj.": 0.5, ".fc2.": 0.35}


def _generator(name):
    return np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))


def weight(name, shape):
    """The tensor of that name: noise whose seed is the name and whose scale keeps the features near 1."""
    z = _generator(name).standard_normal(shape, dtype=np.float32)
    if name.endswith("parametrizations.weight.original0"):
        return np.float32(2.5) * (1 + np.float32(0.1) * z)
    if name.endswith("parametrizations.weight.original1"):
        return z
    if len(shape) == 1:
        is_norm = "layer_norm" in name or ".conv_layers.0.2." in name or ".2.1." in name
        return 1 + np.float32(0.1) * z if is_norm and name.endswith("weight") else np.float32(0.02) * z
    scale = next((value for part, value in _SCALES.items() if part in name), 1.0)
    return z * np.float32(scale / math.sqrt(math.prod(shape[1:])))


def weights(table):
    """{name: float32 array} for a list of (name, shape)."""
    return {name: weight(name, tuple(shape)) for name, shape in table}


def signal(name, batch, leads, samples):
    """(batch, leads, samples) float32: waves of a few frequencies and noise, each lead with mean 0 and deviation 1."""
    rng, t = _generator(name), np.arange(samples) / 500
    rate, phase = rng.uniform(0.7, 25, (2, batch, leads, 3, 1)) * [[[[[1]]]], [[[[7]]]]]
    x = np.sin(2 * np.pi * rate * t + phase).sum(axis=2) + 0.5 * rng.standard_normal((batch, leads, samples))
    x -= x.mean(axis=-1, keepdims=True)
    return (x / np.maximum(x.std(axis=-1, keepdims=True), 1e-3)).astype(np.float32)


def padding(batch, leads, samples, lengths):
    """(batch, leads, samples) bool, True where a row is past its length."""
    mask = np.arange(samples) >= np.asarray(lengths)[:, None]
    return np.broadcast_to(mask[:, None], (batch, leads, samples)).copy()

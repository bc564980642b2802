"""What every contestant must share: the network's sizes, its weights, its input and its count of operations."""

import hashlib
import json
import math
import os
import platform
import zlib

import numpy as np

LEADS, SAMPLES, LABELS = 12, 2500, 17
_SIZES = {  # layers, width, feed-forward width, heads
    "base": (12, 768, 3072, 12),
    "large": (24, 1024, 4096, 16),
    "tiny": (2, 64, 128, 4),
}


def model_config(size):
    """The model part of a checkpoint's config for a 17-label classifier.

    Parameters
    ----------
    size : {"base", "large", "tiny"}
        The two published sizes, and a small one for tests of the benchmark itself.

    Returns
    -------
    dict
        The checkpoint's own keys; conv_feature_layers is text, as in the files.
    """
    layers, width, hidden, heads = _SIZES[size]
    tiny = size == "tiny"
    return {
        "_name": "ecg_transformer_classifier",
        "encoder_layers": layers,
        "encoder_embed_dim": width,
        "encoder_ffn_embed_dim": hidden,
        "encoder_attention_heads": heads,
        "layer_norm_first": False,
        "extractor_mode": "default",
        "conv_feature_layers": f"[({32 if tiny else 256}, 2, 2)] * 4",
        "in_d": LEADS,
        "conv_bias": False,
        "conv_pos": 16 if tiny else 128,
        "conv_pos_groups": 4 if tiny else 16,
        "num_labels": LABELS,
    }


def conv_layers(config):
    """conv_feature_layers, "[(width, kernel, stride)] * n", as a list of tuples."""
    inner, _, times = config["conv_feature_layers"].partition("*")
    return [tuple(block) for block in json.loads(inner.replace("(", "[").replace(")", "]"))] * int(times or 1)


def token_counts(config, samples=SAMPLES):
    """Length of the time axis after each convolution block, the last being the tokens T."""
    counts = []
    for _, kernel, stride in conv_layers(config):
        samples = (samples - kernel) // stride + 1
        counts.append(samples)
    return counts


def parameter_shapes(config):
    """{checkpoint name: shape} of every parameter of the classifier."""
    width, hidden = config["encoder_embed_dim"], config["encoder_ffn_embed_dim"]
    shapes = {}

    def affine(name, out, *inner):
        shapes[f"{name}.weight"] = (out, *inner)
        shapes[f"{name}.bias"] = (out,)

    for i in range(config["encoder_layers"]):
        layer = f"encoder.encoder.layers.{i}."
        for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
            affine(f"{layer}self_attn.{name}", width, width)
        affine(f"{layer}self_attn_layer_norm", width)
        affine(f"{layer}fc1", hidden, width)
        affine(f"{layer}fc2", width, hidden)
        affine(f"{layer}final_layer_norm", width)
    affine("encoder.encoder.layer_norm", width)
    channels = config["in_d"]
    for i, (out, kernel, _) in enumerate(conv_layers(config)):
        shapes[f"encoder.feature_extractor.conv_layers.{i}.0.weight"] = (out, channels, kernel)
        if i == 0:
            affine("encoder.feature_extractor.conv_layers.0.2", out)
        channels = out
    if channels != width:
        affine("encoder.post_extract_proj", width, channels)
    taps, groups = config["conv_pos"], config["conv_pos_groups"]
    shapes["encoder.conv_pos.pos_conv.0.bias"] = (width,)
    shapes["encoder.conv_pos.pos_conv.0.parametrizations.weight.original0"] = (1, 1, taps)
    shapes["encoder.conv_pos.pos_conv.0.parametrizations.weight.original1"] = (width, width // groups, taps)
    affine("encoder.layer_norm", channels)
    affine("proj", config["num_labels"], width)
    return shapes


def _gain(name):
    """Standard deviation of a matrix's output for inputs of unit variance: keeps activations near 1 at any depth."""
    if ".q_proj." in name or ".k_proj." in name:
        return 2.0
    if ".v_proj." in name or ".out_proj." in name:
        return 0.5
    return 0.35 if ".fc2." in name else 1.0


def parameter(name, shape):
    """One tensor from its name alone, the same on every machine: float32 normals seeded with the name's CRC-32."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    z = rng.standard_normal(shape, dtype=np.float32)
    if name.endswith("original0"):
        return np.float32(2.5) * (1 + np.float32(0.1) * z)
    if name.endswith("original1"):
        return z
    if len(shape) == 1:
        is_gain = name.endswith("weight") and ("layer_norm" in name or ".conv_layers.0.2." in name)
        return 1 + np.float32(0.1) * z if is_gain else np.float32(0.02) * z
    return z * np.float32(_gain(name) / math.sqrt(math.prod(shape[1:])))


def state_dict(config):
    """{checkpoint name: float32 array} of the whole classifier."""
    return {name: parameter(name, shape) for name, shape in parameter_shapes(config).items()}


def segments(batch, seed=2500):
    """(batch, 12, 2500) float32: smoothed noise, each lead at mean 0 and deviation 1 as after preparation."""
    noise = np.random.Generator(np.random.PCG64(seed)).standard_normal((batch, LEADS, SAMPLES + 24))
    x = np.lib.stride_tricks.sliding_window_view(noise, 25, axis=-1).mean(axis=-1)
    x -= x.mean(axis=-1, keepdims=True)
    return np.ascontiguousarray(x / x.std(axis=-1, keepdims=True), dtype=np.float32)


def targets(batch):
    """(batch, 17) float32 labels, 0 or 1; every batch is the beginning of a longer one."""
    return (np.random.Generator(np.random.PCG64(17)).random((batch, LABELS)) < 0.3).astype(np.float32)


def pos_weight():
    """(17,) float32: how much a positive label weighs against a negative one."""
    return np.linspace(0.5, 8, LABELS, dtype=np.float32)


def operations(config, samples=SAMPLES):
    """Floating-point operations of one segment: a multiply and an add for each weight that meets a value.

    Counts convolutions, linear layers and the two products of attention.  Norms, GELU, softmax and sums are left out
    (below 1 %), and so are the products with the zeros that pad the positional convolution's input; it is
    counted with all its taps, since every implementation here computes them.
    """
    width, hidden = config["encoder_embed_dim"], config["encoder_ffn_embed_dim"]
    total, channels = _extractor_products(config, samples)
    tokens = token_counts(config, samples)[-1]
    if channels != width:
        total += tokens * channels * width
    total += tokens * width * (width // config["conv_pos_groups"]) * config["conv_pos"]
    layer = tokens * (4 * width * width + 2 * width * hidden) + 2 * tokens * tokens * width
    total += config["encoder_layers"] * layer + width * config["num_labels"]
    return 2 * total


def linear_operations(config, samples=SAMPLES):
    """Those of `operations` that are in linear layers, which are what int8 is used for."""
    width, hidden = config["encoder_embed_dim"], config["encoder_ffn_embed_dim"]
    tokens, channels = token_counts(config, samples)[-1], conv_layers(config)[-1][0]
    products = config["encoder_layers"] * tokens * (4 * width * width + 2 * width * hidden)
    products += tokens * channels * width if channels != width else 0
    return 2 * (products + width * config["num_labels"])


def _extractor_products(config, samples):
    """(products of the conv extractor, channels of its output)."""
    total, channels = 0, config["in_d"]
    for (out, kernel, _), tokens in zip(conv_layers(config), token_counts(config, samples), strict=True):
        total += tokens * out * channels * kernel
        channels = out
    return total, channels


def training_operations(config, samples=SAMPLES):
    """Floating-point operations of one segment in a step that trains all but the conv extractor.

    Each product of the forward has two more of its size in the backward; the frozen extractor has none.
    """
    return 3 * operations(config, samples) - 4 * _extractor_products(config, samples)[0]


def pretraining_config(size):
    """The architecture of a pretraining model of that size, under the checkpoint's keys."""
    config = {key: value for key, value in model_config(size).items() if key not in ("_name", "num_labels")}
    tiny = size == "tiny"
    return config | {"latent_vars": 8 if tiny else 320, "latent_groups": 2, "final_dim": 32 if tiny else 256}


def pretraining_shapes(config):
    """{checkpoint name: shape} of every parameter of a pretraining model."""
    classifier = parameter_shapes(config | {"num_labels": 1})
    shapes = {
        name.removeprefix("encoder."): shape for name, shape in classifier.items() if not name.startswith("proj.")
    }
    width, final, channels = config["encoder_embed_dim"], config["final_dim"], conv_layers(config)[-1][0]
    codes = config["latent_groups"] * config["latent_vars"]
    shapes["mask_emb"] = (width,)
    shapes["quantizer.vars"] = (1, codes, final // config["latent_groups"])
    for name, shape in (
        ("quantizer.weight_proj", (codes, channels)),
        ("project_q", (final, final)),
        ("final_proj", (final, width)),
    ):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, shape[:1]
    return shapes


def pretraining_noise(config, pairs):
    """What chance decides in a step on `pairs` pairs, but for dropout: masked steps, negatives, Gumbel noise.

    About half of the steps are masked, as by spans of 10 with probability 0.65.
    """
    rng, rows, tokens = np.random.Generator(np.random.PCG64(7)), 2 * pairs, token_counts(config)[-1]
    masked = tokens * 48 // 100
    steps = np.zeros((rows, tokens), dtype=bool)
    for row in steps:
        row[rng.choice(tokens, masked, replace=False)] = True
    own = np.arange(rows * masked)
    drawn = rng.integers(0, masked - 1, (rows * masked, 100))
    negatives = drawn + (drawn >= own[:, None] % masked) + own[:, None] // masked * masked
    codes = config["latent_groups"] * config["latent_vars"]
    gumbel = rng.gumbel(size=(rows * masked, codes))
    return {"steps": steps, "negatives": negatives.astype(np.int32), "gumbel": gumbel.astype(np.float32)}


def pretraining_operations(config, pairs):
    """Floating-point operations of a step on `pairs` pairs: each product of the forward and two of its size backward.

    The heads' linear layers are counted with the encoder; the first convolution needs no gradient of its input.
    """
    encoder = operations(config | {"num_labels": 0})
    out, kernel, _ = conv_layers(config)[0]
    first = 2 * token_counts(config)[0] * out * LEADS * kernel
    heads = sum(math.prod(shape) for name, shape in pretraining_shapes(config).items() if name in _HEADS)
    masked = int(pretraining_noise(config, 1)["steps"][0].sum())
    return 2 * pairs * (3 * encoder - first + 3 * 2 * masked * heads)


_HEADS = ("quantizer.weight_proj.weight", "project_q.weight", "final_proj.weight")


def fingerprint(config):
    """Short text that changes when the network changes: names the folder of prepared files."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]


def processors():
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0))


def busy_seconds():
    """Time that all processors together were at work, or taken away by a hypervisor, since the machine started."""
    with open("/proc/stat") as lines:
        user, nice, system, _idle, _wait, irq, softirq, steal = map(int, lines.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def machine():
    """What the figures were measured on: processor, its vector extensions, processors available, kernel."""
    name, flags = platform.processor() or platform.machine(), set()
    with open("/proc/cpuinfo") as lines:
        for line in lines:
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            elif key.strip() == "flags":
                flags = set(value.split())
                break
    known = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile")
    return {
        "processor": name,
        "extensions": [flag for flag in known if flag in flags],
        "processors": processors(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }

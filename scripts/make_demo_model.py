"""Makes the small model that ships in the package, ecgfm/assets/demo: initial values, untrained.

The same seed gives the same file, to the byte. Run from the root of the repository:
python scripts/make_demo_model.py
"""

import zlib
from pathlib import Path

import numpy as np

from ecgfm._threads import core
from ecgfm.checkpoint import write_directory
from ecgfm.checkpoint.labels import MIMIC_IV_ECG

FOLDER = Path(__file__).resolve().parents[1] / "ecgfm" / "assets" / "demo"
CONFIG = {
    "encoder_layers": 3,
    "encoder_embed_dim": 96,
    "encoder_ffn_embed_dim": 192,
    "encoder_attention_heads": 4,
    "layer_norm_first": False,
    "extractor_mode": "default",
    "conv_feature_layers": [(64, 2, 2)] * 4,
    "conv_bias": False,
    "conv_pos": 32,
    "conv_pos_groups": 8,
    "in_d": 12,
    "num_labels": 17,
}


def draw(rng, shape, distribution, scale):
    """A tensor of initial values, as the parameter table describes them."""
    if distribution in ("zeros", "ones"):
        return np.full(shape, float(distribution == "ones"), np.float32)
    if distribution == "normal":
        return (scale * rng.standard_normal(shape)).astype(np.float32)
    low, high = (0, 1) if distribution == "unit" else (-scale, scale)
    return rng.uniform(low, high, shape).astype(np.float32)


def initial_values(config, seed):
    """{name: array}; each tensor is drawn from the seed and its own name."""
    tensors, norms = {}, []
    for name, shape, (distribution, scale) in core().initial_values(config, "classifier"):
        rng = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))
        tensors[name] = draw(rng, shape, distribution, scale)
        if distribution == "tap_norm":
            norms.append(name)
    for name in norms:  # the gain of a tap starts as the norm of its direction
        direction = tensors[name.removesuffix("0") + "1"]
        tensors[name] = np.sqrt((direction.astype(np.float64) ** 2).sum(axis=(0, 1), keepdims=True)).astype(np.float32)
    return tensors


if __name__ == "__main__":
    write_directory(
        FOLDER,
        kind="classifier",
        config=CONFIG,
        tensors=initial_values(CONFIG, seed=1),
        labels=MIMIC_IV_ECG,
        info={"training": "none"},
    )
    print(f"{FOLDER}: {sum(path.stat().st_size for path in FOLDER.iterdir()):,} bytes")

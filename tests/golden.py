"""Reading the reference data: checkpoints, arrays, and the tolerances that its README states."""

import json

import numpy as np
import weights

# Float32 against float64 is off by up to 4.5e-6 in features and 7e-7 in logits of the tiny models, 4e-5 and 5e-6 in
# those of the full-size ones; two float32 programs differ by twice that, and a factor of two is kept in hand.
TINY_ATOL = {"features": 2e-5, "outputs": 3e-6}
FULL_ATOL = {"features": 1e-4, "outputs": 3e-5}
RTOL = 1e-5
OUTPUTS = {"pooled", "logits", "probs", "saliency", "saliency_first_layer", "saliency_last_layer"}

VARIANT_TAGS = [
    "default",
    "ext_layer_norm",
    "pre_ln",
    "conv_bias",
    "ext_ln_bias_preln",
    "no_post_proj",
    "odd_conv_pos",
    "mixed_convs",
    "three_layers_2heads",
    "pos_groups_1",
    "embed_40_heads_8",
]


def load_json(path):
    return json.loads(path.read_text())


def checkpoint(path):
    """(config, {name: array}) of a .pt file."""
    import ecgfm.checkpoint

    found = ecgfm.checkpoint.read(path)
    return weights.config_from(found.config), {name: np.asarray(value) for name, value in found.tensors.items()}


def arrays(path, prefix):
    """The arrays of an archive whose names begin with the prefix, without it."""
    with np.load(path) as archive:
        return {name[len(prefix) :]: archive[name] for name in archive.files if name.startswith(prefix)}


def assert_close(got, expected, name, atol):
    """Compares one array with the golden one; atol has "features" and "outputs"."""
    assert got.shape == expected.shape, name
    if expected.dtype == bool:
        np.testing.assert_array_equal(got, expected, err_msg=name)
        return
    limit = atol["outputs" if name in OUTPUTS else "features"]
    np.testing.assert_allclose(got, expected, rtol=RTOL, atol=limit, err_msg=name)

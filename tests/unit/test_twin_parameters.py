"""The list of parameters and the formulas for weights and signals."""

import numpy as np
import pytest
import weights


@pytest.mark.parametrize(
    ("config", "kind", "total"),
    [
        (weights.BASE, "pretraining", 90_883_072),
        (weights.LARGE, "pretraining", 311_940_352),
        (weights.BASE, "classifier", 90_386_321),
    ],
)
def test_totals_of_the_published_sizes(config, kind, total):
    assert weights.count(weights.parameters(config, kind)) == total


@pytest.mark.parametrize("tag", weights.VARIANTS)
@pytest.mark.parametrize("kind", ["classifier", "pretraining"])
def test_names_are_unique_and_widths_divide(tag, kind):
    config = weights.VARIANTS[tag]
    table = weights.parameters(config, kind)
    assert len(dict(table)) == len(table)
    assert config["encoder_embed_dim"] % config["encoder_attention_heads"] == 0
    assert config["encoder_embed_dim"] % config["conv_pos_groups"] == 0


def test_conv_layers_are_read_from_text():
    expected = [(24, 5, 3), (16, 3, 2), (16, 3, 2), (16, 2, 2)]
    assert weights.conv_layers("[(24,5,3)] + [(16,3,2)] * 2 + [(16,2,2)]") == expected
    assert weights.conv_layers([[8, 2, 2]]) == [(8, 2, 2)]
    with pytest.raises(ValueError):
        weights.conv_layers("__import__('os').getcwd()")


def test_weights_come_from_their_name_alone():
    table = weights.parameters(weights.SMALL)
    first, again = weights.weights(table), weights.weights(reversed(table))
    for name, shape in table:
        assert first[name].shape == shape and first[name].dtype == np.float32
        np.testing.assert_array_equal(first[name], again[name])
    # PCG64 is part of NumPy's promise of stable streams; these values pin the recipe.
    proj = weights.weight("proj.weight", (17, 768))
    np.testing.assert_allclose(proj[0, :3], [0.005737251, -0.01707952, 0.029595273], rtol=1e-6)


def test_signals_are_standardised():
    x = weights.signal("parameters.signal", 2, 12, 2500)
    assert x.shape == (2, 12, 2500) and x.dtype == np.float32
    np.testing.assert_allclose(x.mean(axis=-1), 0, atol=1e-6)
    np.testing.assert_allclose(x.std(axis=-1), 1, atol=1e-6)
    assert np.abs(np.corrcoef(x[0])[np.triu_indices(12, 1)]).max() < 0.5  # leads differ

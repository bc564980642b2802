"""embed and saliency against what the reference's scripts wrote for the same segments."""

import numpy as np
import pytest

import ecgfm

pytest.importorskip("scipy", reason="the recordings are .mat files: extra [io]")

ATOL = 3e-6  # the README of the reference data: pooled outputs and saliency of the tiny model; features 2e-5


@pytest.fixture(scope="module")
def results(shared):
    return shared / "golden/cli/results_val"


@pytest.fixture(scope="module")
def model(shared):
    return ecgfm.load(shared / "golden/tiny/finetuned.pt")


@pytest.fixture(scope="module")
def files(shared):
    lines = (shared / "golden/cli/manifests/clf/test.tsv").read_text().splitlines()[1:]
    return [shared / "code_15/segmented" / line.split("\t")[0] for line in lines]


def test_pooled_embeddings(model, files, results):
    found = ecgfm.embed(model, files)
    np.testing.assert_allclose(found.embeddings, np.load(results / "emb_test.npy"), atol=ATOL, rtol=1e-5)


def test_tokens(model, files, results):
    found = ecgfm.embed(model, files, tokens=True, batch_size=5)
    expected = np.fromfile(results / "encoder_out_test.npy", np.float32).reshape(14, 156, 64)
    np.testing.assert_allclose(found.tokens, expected, atol=2e-5, rtol=1e-5)


def test_layers(shared, model):
    golden = np.load(shared / "golden/tiny/forward.npz")
    x = ecgfm.Segments(golden["A.source"], np.zeros(3), None, {})
    for layer in (0, 1):
        found = ecgfm.embed(model, x, layer=layer, tokens=True)
        np.testing.assert_allclose(found.tokens, golden[f"A.layer{layer}"], atol=2e-5, rtol=1e-5)
        np.testing.assert_allclose(found.embeddings, golden[f"A.layer{layer}"].mean(axis=1), atol=ATOL, rtol=1e-5)


def test_attention_of_the_last_layer(model, files, results):
    found = ecgfm.saliency(model, files)
    assert found.layer == 1 and found.samples.shape == (14, 2500)
    np.testing.assert_allclose(found.tokens, np.load(results / "attn_max_test.npy"), atol=ATOL, rtol=1e-5)


def test_one_segment_keeps_its_axis(model, files, results):
    found = ecgfm.saliency(model, files[3])
    np.testing.assert_allclose(found.tokens, np.load(results / "attn_max_test.npy")[3:4], atol=ATOL, rtol=1e-5)


@pytest.mark.parametrize("layer", [0, 1])
def test_reductions_of_each_layer(model, files, results, layer):
    attention = np.fromfile(results / "saliency_test.npy", np.float32).reshape(14, 2, 156, 156)[:, layer]
    expected = {
        "max": attention.max(axis=2),
        "received": attention.mean(axis=1, dtype=np.float64),
        "received_max": attention.max(axis=1),
    }
    for reduction, values in expected.items():
        found = ecgfm.saliency(model, files, layer=layer, reduction=reduction)
        np.testing.assert_allclose(found.tokens, values, atol=ATOL, rtol=1e-5)


def test_resampling_as_in_the_tutorial_with_its_target_mended(model, files, results):
    ndimage = pytest.importorskip("scipy.ndimage")
    found = ecgfm.saliency(model, files)
    for tokens, samples in zip(found.tokens, found.samples):
        dense = ndimage.map_coordinates(tokens.astype(np.float64), [np.linspace(0, 155, 2500)])
        dense -= dense.min()
        np.testing.assert_allclose(samples, dense / dense.max(), atol=1e-6)


def test_padded_segments_are_as_the_segments_alone(shared, model):
    golden = np.load(shared / "golden/tiny/forward.npz")
    source, mask, lengths = golden["B.source"], golden["B.padding_mask"][:, 0], golden["B.lengths"]
    together = ecgfm.saliency(model, ecgfm.Segments(source, np.zeros(len(source)), mask, {}))
    np.testing.assert_allclose(together.tokens[0].max(), golden["B.saliency"][0, -1].max(), atol=ATOL, rtol=1e-5)
    for i, length in enumerate(lengths):
        steps = model.tokens(length)
        np.testing.assert_allclose(
            together.tokens[i, :steps], golden["B.saliency"][i, -1, :steps, :steps].max(axis=1), atol=ATOL, rtol=1e-5
        )
        assert not together.tokens[i, steps:].any() and not together.samples[i, length:].any()
        assert together.samples[i, :length].max() == 1 and together.samples[i, :length].min() == 0

"""The model in C against the arrays that the reference computed, and the table of parameters against its list."""

import numpy as np
import pytest
import weights
from golden import TINY_ATOL, VARIANT_TAGS, arrays, assert_close, load_json

import ecgfm
from ecgfm.kernels import core


def trace(model, x, padding_mask=None):
    return model.forward_trace(x, padding_mask)


def assert_output(out, expected, atol):
    """The public output of a call, for the arrays that the golden data have."""
    names = {"logits": "logits", "probs": "probabilities", "pooled": "embedding", "encoder_out": "tokens"}
    names["saliency"] = "attention"
    for name, ours in names.items():
        if name in expected:
            assert_close(getattr(out, ours), expected[name], name, atol)
            assert getattr(out, ours).dtype == np.float32


# ---- tiny -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finetuned(shared):
    return ecgfm.load(shared / "golden/tiny/finetuned.pt")


@pytest.mark.parametrize("case", "ABCD")
def test_every_array(shared, finetuned, case):
    expected = arrays(shared / "golden/tiny/forward.npz", case + ".")
    source, mask = expected.pop("source"), expected.pop("padding_mask", None)
    for name in ("lengths", "logits64", "pooled64"):
        expected.pop(name, None)
    found = trace(finetuned, source, mask)
    for name, array in expected.items():
        assert_close(found[name], array, name, TINY_ATOL)
    assert_output(finetuned(source, padding_mask=mask, attention=True), expected, TINY_ATOL)


def test_logits_against_float64(shared, finetuned):
    expected = arrays(shared / "golden/tiny/forward.npz", "A.")
    out = finetuned(expected["source"])
    # The reference's own float32 is off by 6.7e-7 and 3.6e-7.
    assert np.abs(out.logits - expected["logits64"]).max() < 2e-6
    assert np.abs(out.embedding - expected["pooled64"]).max() < 2e-6


def test_pretrained_encoder(shared):
    tiny = shared / "golden/tiny"
    expected = arrays(tiny / "forward_pretrained.npz", "")
    model = ecgfm.load(tiny / "pretrained.pt")
    out = model(expected["source"])
    assert_close(out.tokens, expected["x"], "x", TINY_ATOL)
    assert_close(out.embedding, expected["x"].mean(axis=1), "pooled", TINY_ATOL)
    assert_close(trace(model, expected["source"])["layer_norm"], expected["features"], "features", TINY_ATOL)
    assert out.logits is None and out.probabilities is None


@pytest.mark.parametrize("tag", VARIANT_TAGS)
def test_variants(shared, tag):
    folder = shared / "golden/tiny/variants"
    model = ecgfm.load(folder / f"{tag}.pt")
    inputs, expected = arrays(folder / "variants.npz", ""), arrays(folder / "variants.npz", tag + "/")
    padded = {name.removeprefix("padded/"): expected.pop(name) for name in list(expected) if name.startswith("padded/")}
    for x, mask, golden in (
        (inputs["source"], None, expected),
        (inputs["source_padded"], inputs["padding_mask"], padded),
    ):
        found = trace(model, x, mask)
        for name, array in golden.items():
            assert_close(found[name], array, name, TINY_ATOL)
        assert_output(model(x, padding_mask=mask, attention=True), golden, TINY_ATOL)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("variants/finetuned_weight_g_v.pt", "finetuned.pt"),
        ("variants/finetuned_weight_g_v_legacy_nonzip.pt", "finetuned.pt"),
        ("variants/pretrained_weight_g_v.pt", "pretrained.pt"),
    ],
)
def test_old_names_and_the_old_container(shared, old, new):
    tiny = shared / "golden/tiny"
    ours, expected = ecgfm.load(tiny / old), ecgfm.load(tiny / new)
    assert list(ours.state_dict()) == list(expected.state_dict())
    for name, value in expected.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[name], value, err_msg=name)
    x = arrays(tiny / "forward_pretrained.npz", "")["source"]
    np.testing.assert_array_equal(ours(x).tokens, expected(x).tokens)


# ---- the table of parameters ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["base", "large"])
@pytest.mark.parametrize("kind", ["pretraining", "finetuned"])
def test_parameter_table_has_every_tensor_of_the_reference(shared, size, kind):
    recorded = load_json(shared / f"golden/params_{size}.json")
    config = weights.config_from(recorded[f"hyperparameters_{kind}"])
    table = core().parameters(config, "classifier" if kind == "finetuned" else kind)
    found = {entry[0]: tuple(entry[1]) for entry in table}
    assert found == {entry["name"]: tuple(entry["shape"]) for entry in recorded[kind]["state_dict"]}
    assert weights.count(found.items()) == recorded[kind]["total"]

"""Base and large at full size, with the weights of the recipe: the float64 twin and the model against the reference.

One module, because the weights of a size take seconds and a gigabyte to make: they are made once and let go.
"""

import numpy as np
import pytest
import twin
import weights
from golden import FULL_ATOL, arrays, assert_close, load_json

CONFIGS = {"base": weights.BASE, "large": weights.LARGE}


class Full:
    """A size: its configuration, weights, recorded facts and golden arrays."""

    def __init__(self, shared, size):
        self.config = CONFIGS[size]
        self.recorded = load_json(shared / f"golden/full/{size}.json")
        self.golden = arrays(shared / f"golden/full/{size}.npz", "")
        self.source = self.golden.pop("source")
        self.weights = weights.weights(weights.parameters(self.config))


@pytest.fixture(scope="module", params=CONFIGS)
def full(request, shared):
    return Full(shared, request.param)


def stored_arrays(trace, config):
    """The trace under the names of the golden file."""
    renamed = {"layer_last": trace[f"layer{config['encoder_layers'] - 1}"]}
    renamed |= {"saliency_first_layer": trace["saliency"][:, 0], "saliency_last_layer": trace["saliency"][:, -1]}
    return trace | renamed


def test_weights_are_those_of_the_recipe(full):
    assert [entry["name"] for entry in full.recorded["weights"]] == list(full.weights)
    for entry in full.recorded["weights"]:
        value = full.weights[entry["name"]]
        assert list(value.shape) == entry["shape"]
        np.testing.assert_array_equal(value.ravel()[:3], np.float32(entry["first"]), err_msg=entry["name"])
        assert value.sum(dtype=np.float64) == pytest.approx(entry["sum"], rel=1e-9, abs=1e-6), entry["name"]


def test_twin(full):
    rows = slice(0, 1)  # the second segment would double the time and say the same
    trace = stored_arrays(twin.forward(full.config, full.weights, full.source[rows]), full.config)
    for name, expected in full.golden.items():
        error = np.abs(trace[name.removesuffix("_float64")] - expected[rows]).max()
        # Float64 leaves 1e-14 (logits near 1); a float32 array is off by no more than was recorded.
        limit = (
            1e-13 if name.endswith("_float64") else full.recorded["tolerance"].get(name, {"max_abs": 1e-6})["max_abs"]
        )
        assert error <= limit * (1 + 1e-6), name
    assert np.abs(trace["logits"] - full.golden["logits_float64"][rows]).max() < 2e-14


@pytest.mark.parametrize("precision, largest, mean", [("bfloat16", 0.003, 0.001), ("int8", 0.010, 0.002)])
def test_lower_precisions(full, shared, precision, largest, mean):
    """The change of a probability on real segments, and that no batch and no number of threads changes a bit."""
    import ecgfm

    if full.config is not weights.BASE or precision not in ecgfm._core.precisions():
        pytest.skip("the limits are those of base, on a processor with the instructions")
    segments = np.concatenate(list(arrays(shared / "golden/tutorial/prepared_code15.npz", "").values()))
    exact = ecgfm.Model.from_state_dict(full.config, full.weights, kind="classifier")
    change = ecgfm.quantization_report(exact, segments, precisions=[precision]).of(precision).all
    assert change.largest <= largest and change.mean <= mean, change
    model = exact.with_precision(precision)
    whole = model(segments[:3])
    threads = ecgfm.get_num_threads()
    try:
        ecgfm.set_num_threads(1)
        assert np.array_equal(model(segments[1:2]).tokens, whole.tokens[1:2])
    finally:
        ecgfm.set_num_threads(threads)


def test_model(full):
    import ecgfm

    model = ecgfm.Model.from_state_dict(full.config, full.weights, kind="classifier")
    assert model.num_parameters == full.recorded["n_params"]
    found = stored_arrays(model.forward_trace(full.source, None), full.config)
    for name, expected in full.golden.items():
        assert_close(
            found[name.removesuffix("_float64")], np.float32(expected), name.removesuffix("_float64"), FULL_ATOL
        )
    out = model(full.source, attention=True)
    for name, array in {"logits": out.logits, "probs": out.probabilities, "pooled": out.embedding}.items():
        assert_close(array, full.golden[name], name, FULL_ATOL)
    assert_close(out.attention[:, -1], full.golden["saliency_last_layer"], "saliency_last_layer", FULL_ATOL)
    # The float32 reference is off by 5.2e-6 (large).
    assert np.abs(out.logits - full.golden["logits_float64"]).max() < 2e-5

"""saliency: reductions, the way to samples, padding, files."""

import numpy as np
import pytest
from fakes import FakeModel

from ecgfm import ConfigError, Segments, SignalError, prepare, saliency
from ecgfm.ecg import simulate
from ecgfm.inference import saliency_to
from ecgfm.inference.saliency import along_samples, reduce_attention

T = 10  # tokens of a segment


class Attentive(FakeModel):
    """A fake model of three layers whose attention follows from the segment."""

    def tokens(self, samples):
        return samples // 250

    def __call__(self, x, padding_mask=None, attention=False, layer=None):
        out = super().__call__(x)
        out.attention = None
        if attention:
            steps = self.tokens(x.shape[2])
            level = x[:, 0, : steps * 250].reshape(len(x), steps, 250).std(axis=2)  # (B, T)
            valid = np.ones((len(x), steps), bool)
            if padding_mask is not None:
                valid = ~padding_mask[:, : steps * 250 : 250]
            each = []
            for i in range(3):
                weights = np.exp((i + 1) * level[:, :, None] * level[:, None, :]) * valid[:, None, :]
                each.append(weights / weights.sum(axis=2, keepdims=True))
            out.attention = np.stack(each, axis=1).astype(np.float32)
        return out


def records(count=4):
    made = []
    for i in range(count):
        record = simulate(5.5 + 5 * (i % 2), 500, seed=i)
        record.source = f"r{i}"
        made.append(record)
    return made


def attention():
    return Attentive()(np.concatenate([prepare(record).x for record in records()]), attention=True).attention


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_the_last_layer_and_the_largest_weight_by_default(batch_size):
    found = saliency(Attentive(), records(), batch_size=batch_size)
    assert found.layer == 2 and found.reduction == "max" and found.tokens.shape == (6, T)
    np.testing.assert_allclose(found.tokens, attention()[:, 2].max(axis=2), rtol=1e-5)
    assert found.samples.shape == (6, 2500) and np.array_equal(np.asarray(found), found.samples)
    assert (found.samples.min(axis=1) == 0).all() and (found.samples.max(axis=1) == 1).all()
    assert found.segments["file"].tolist() == ["r0", "r1", "r1", "r2", "r3", "r3"] and "layer 2" in repr(found)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_layers_and_reductions(layer):
    weights = attention()[:, layer].astype(np.float64)
    expected = {"max": weights.max(axis=2), "received": weights.mean(axis=1), "received_max": weights.max(axis=1)}
    for reduction, values in expected.items():
        found = saliency(Attentive(), records(), layer=layer, reduction=reduction)
        np.testing.assert_allclose(found.tokens, values, rtol=1e-5)


def test_one_segment_keeps_its_axis():
    found = saliency(Attentive(), records()[0])
    assert found.tokens.shape == (1, T) and found.samples.shape == (1, 2500)


def test_padding_is_zero_and_the_rest_as_without_it():
    x = prepare(records()[0]).x
    mask = np.zeros((2, 2500), bool)
    mask[1, 1500:] = True
    padded = x.copy()
    padded[:, :, 1500:] = 0
    both = Segments(np.concatenate([x, padded]), np.zeros(2), mask, {})
    found = saliency(Attentive(), both)
    alone = saliency(Attentive(), Segments(x[:, :, :1500], np.zeros(1), None, {}))
    np.testing.assert_allclose(found.tokens[1, :6], alone.tokens[0], rtol=1e-5)
    np.testing.assert_allclose(found.samples[1, :1500], alone.samples[0], atol=1e-5)
    assert not found.tokens[1, 6:].any() and not found.samples[1, 1500:].any()
    np.testing.assert_allclose(found.samples[0], saliency(Attentive(), records()[0]).samples[0], atol=1e-6)


@pytest.mark.parametrize("wrong", [{"layer": 3}, {"layer": -1}, {"layer": 1.0}, {"layer": True}, {"reduction": "mean"}])
def test_wrong_arguments(wrong):
    with pytest.raises(ConfigError) as caught:
        saliency(Attentive(), records(), **wrong)
    assert caught.value.field == next(iter(wrong))


def test_segments_of_different_lengths():
    short = Segments(np.ones((1, 12, 1000), np.float32), np.zeros(1), None, {})
    with pytest.raises(SignalError, match="different lengths"):
        saliency(Attentive(), [short, *records()])


def test_into_files(tmp_path):
    found = saliency(Attentive(), records())
    saliency_to(Attentive(), records(), tmp_path / "s.npy")
    saliency_to(Attentive(), records(), tmp_path / "t.npy", tokens=True)
    np.testing.assert_allclose(np.load(tmp_path / "s.npy"), found.samples, atol=1e-6)
    np.testing.assert_allclose(np.load(tmp_path / "t.npy"), found.tokens, rtol=1e-6)
    found.to_npy(tmp_path / "u.npy")
    found.to_npy(tmp_path / "v.npy", tokens=True)
    assert np.array_equal(np.load(tmp_path / "u.npy"), found.samples)
    assert np.array_equal(np.load(tmp_path / "v.npy"), found.tokens)
    assert (tmp_path / "u.csv").read_text() == (tmp_path / "s.csv").read_text() == found.segments.to_csv()


# ---- from tokens to samples -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokens, count", [(156, 2500), (156, 2499), (2, 9), (3, 50), (7, 3), (40, 1), (1, 6)])
def test_the_spline_against_scipy(tokens, count):
    ndimage = pytest.importorskip("scipy.ndimage")
    values = np.random.default_rng(tokens).random((3, tokens))
    dense = np.stack([ndimage.map_coordinates(row, [np.linspace(0, tokens - 1, count)]) for row in values])
    low, high = dense.min(axis=1, keepdims=True), dense.max(axis=1, keepdims=True)
    expected = np.divide(dense - low, high - low, out=np.zeros_like(dense), where=(high > low) & (tokens > 1))
    np.testing.assert_allclose(along_samples(values, count), expected, atol=2e-7)


def test_the_spline_goes_through_the_tokens():
    values = np.random.default_rng(0).random(26)
    found = along_samples(values, 251)[::10].astype(float)  # every tenth point lies on a token
    np.testing.assert_allclose(np.polyfit(values, found, 1, full=True)[1], 0, atol=1e-12)


def test_a_constant_gives_zeros_and_not_nan():
    values = np.full((2, 156), 1 / 3, np.float32)
    values[1, 7] = 0.5
    found = along_samples(values, 2500)
    assert not found[0].any() and found[1].max() == 1 and np.isfinite(found).all()


def test_inputs_are_not_changed():
    values = np.random.default_rng(0).random((2, 9)).astype(np.float32)
    weights = np.random.default_rng(1).random((2, 9, 9)).astype(np.float32)
    copies = values.copy(), weights.copy()
    along_samples(values, 100)
    for reduction in ("max", "received", "received_max"):
        assert reduce_attention(weights, reduction).shape == (2, 9)
    assert np.array_equal(values, copies[0]) and np.array_equal(weights, copies[1])

"""embed: rows, layers, tokens, recordings, files that grow."""

import os

import numpy as np
import pytest
from fakes import FakeModel

from ecgfm import ConfigError, Segments, SignalError, embed, prepare
from ecgfm.ecg import simulate
from ecgfm.inference import embed_to


class Layered(FakeModel):
    """A fake model with tokens and layers: layer i has i + 1 times the embeddings."""

    def __call__(self, x, padding_mask=None, layer=None, attention=False):
        out = super().__call__(x)
        if layer is not None:
            if layer >= 3:
                raise ConfigError(f"there is no layer {layer}", field="layer")
            out.embedding = (layer + 1) * out.embedding
        steps = x.shape[2] // 500
        out.tokens = np.stack([out.embedding * (i + 1) for i in range(steps)], axis=1)
        return out


def records(count=5):
    made = []
    for i in range(count):
        record = simulate(5.5 + 5 * (i % 3), 500, seed=i)
        record.source = f"r{i}"
        made.append(record)
    return made


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_rows(batch_size):
    found = embed(Layered(), records(), batch_size=batch_size)
    expected = Layered()(np.concatenate([prepare(record).x for record in records()])).embedding
    np.testing.assert_allclose(found.embeddings, expected, atol=1e-5)
    assert np.array_equal(np.asarray(found), found.embeddings) and len(found) == 9 and found.tokens is None
    assert found.segments.columns == ["file", "segment", "start_s", "end_s", *found.records.columns[2:]]
    assert found.segments["duration_s"].tolist() == np.repeat(found.records["duration_s"], [1, 2, 3, 1, 2]).tolist()
    assert found.segments["file"].tolist() == ["r0", "r1", "r1", "r2", "r2", "r2", "r3", "r4", "r4"]
    assert found.segments["segment"].tolist() == [0, 0, 1, 0, 1, 2, 0, 0, 1]
    assert found.segments["start_s"].tolist() == [0, 0, 5, 0, 5, 10, 0, 0, 5]
    assert found.records["segments"].tolist() == [1, 2, 3, 1, 2] and "sampling_rate" in found.records
    assert "5 records, 9 segments" in repr(found)


def test_layers_and_tokens():
    plain = embed(Layered(), records())
    deeper = embed(Layered(), records(), layer=1, tokens=True, batch_size=2)
    np.testing.assert_allclose(deeper.embeddings, 2 * plain.embeddings, rtol=1e-6)
    assert deeper.tokens.shape == (9, 5, 12) and deeper.layer == 1
    np.testing.assert_allclose(deeper.tokens[:, 2], 3 * deeper.embeddings, rtol=1e-6)
    with pytest.raises(ConfigError, match="no layer 3"):
        embed(Layered(), records(), layer=3)


def test_per_record_is_the_mean_of_segments():
    found = embed(Layered(), records())
    mean = [found.embeddings[found.segments["file"] == f"r{i}"].astype(float).mean(axis=0) for i in range(5)]
    np.testing.assert_allclose(found.per_record(), mean, rtol=1e-6)
    assert found.per_record().dtype == np.float32


def test_a_model_without_labels_is_enough():
    class Encoder(Layered):
        def __call__(self, *args, **kwargs):
            out = super().__call__(*args, **kwargs)
            out.logits = out.probabilities = None
            return out

    assert embed(Encoder(labels=None), records()).embeddings.shape == (9, 12)


def test_errors_and_progress():
    calls = []
    with pytest.warns(UserWarning, match="1 of 6 recordings were skipped"):
        found = embed(Layered(), [*records(), "absent.npy"], progress=lambda *call: calls.append(call))
    assert found.errors["file"].tolist() == ["absent.npy"] and calls[-1] == (6, "absent.npy")


def test_tokens_of_different_lengths():
    short = Segments(np.ones((1, 12, 1000), np.float32), np.zeros(1), None, {})
    assert len(embed(Layered(), [short, *records()])) == 10
    with pytest.raises(SignalError, match="different lengths"):
        embed(Layered(), [short, *records()], tokens=True)


def test_to_npy_and_table(tmp_path):
    found = embed(Layered(), records(), tokens=True)
    assert found.to_npy(tmp_path / "e.npy") == (str(tmp_path / "e.npy"), str(tmp_path / "e.csv"))
    assert np.array_equal(np.load(tmp_path / "e.npy"), found.tokens)
    assert (tmp_path / "e.csv").read_text() == found.segments.to_csv()
    assert sorted(os.listdir(tmp_path)) == ["e.csv", "e.npy"]
    table = found.to_table()
    assert table.columns[-12:] == [f"e{i}" for i in range(12)] and np.array_equal(table["e3"], found.embeddings[:, 3])
    with pytest.raises(ValueError, match="must be copied"):
        np.asarray(found, dtype=np.float64, copy=False) if np.__version__ >= "2" else found.__array__(
            np.float64, copy=False
        )


@pytest.mark.parametrize("options", [{}, {"tokens": True}, {"per_record": True}, {"layer": 2}])
def test_into_a_file(tmp_path, options):
    path = tmp_path / "e.npy"
    written = embed_to(Layered(), records(), path, **options)
    per_record = options.pop("per_record", False)
    found = embed(Layered(), records(), **options)
    expected = found.per_record() if per_record else found.embeddings if found.tokens is None else found.tokens
    np.testing.assert_allclose(np.load(path), expected, rtol=1e-6)
    assert np.load(path, mmap_mode="r").shape == expected.shape
    table = found.records if per_record else found.segments
    assert (tmp_path / "e.csv").read_text() == table.to_csv()
    assert (written.records, written.segments, written.resumed, written.skipped) == (5, 9, 0, 0)
    assert sorted(os.listdir(tmp_path)) == ["e.csv", "e.npy", "e.run.json", "e.status.csv"]


def test_wrong_arguments(tmp_path):
    with pytest.raises(ConfigError, match="the name must end in .npy"):
        embed_to(Layered(), records(), tmp_path / "e.csv")
    with pytest.raises(ConfigError) as caught:
        embed_to(Layered(), records(), tmp_path / "e.npy", tokens=True, per_record=True)
    assert caught.value.field == "per_record" and os.listdir(tmp_path) == []

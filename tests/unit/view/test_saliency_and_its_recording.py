"""A saliency is drawn on its own recording and on no other; names from files can't spoil a picture."""

import os
import re
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="needs the extra [plot]")

import ecgfm
from ecgfm import LEADS, ConfigError, Record, Segments, SignalError, plot, prepare
from ecgfm.ecg import simulate
from ecgfm.inference import saliency_to
from ecgfm.view import plot_embeddings
from ecgfm.view.plot import SaliencyPlots


class Attentive:
    labels, labels_assumed, source, info = None, False, "m.pt", {}

    def __call__(self, x, padding_mask=None, attention=False):
        level = np.abs(np.asarray(x)[:, 0, :2496].reshape(len(x), 156, 16)).mean(axis=2)
        weights = np.exp(level[:, None, :] * level[:, :, None])
        weights /= weights.sum(axis=2, keepdims=True)
        return type("Output", (), {"attention": weights[:, None].astype(np.float32)})

    def tokens(self, samples):
        return samples // 16


def record(seed, seconds=11.0, rate=400.0, source="r"):
    made = simulate(seconds, rate, seed=seed)
    return Record(made.signal, rate, made.leads, source=source)


def forms(one, folder):
    """A recording in every form that may be drawn."""
    path = os.path.join(folder, f"{abs(hash(one.signal.tobytes()))}.npz")
    np.savez(path, signal=one.signal, sampling_rate=one.sampling_rate, leads=one.leads)
    return {"record": one, "segments": prepare(one), "path": path, "array": one.signal}


def options(name):
    return {"sampling_rate": 400.0} if name == "array" else {}


NAMES = ("record", "segments", "path", "array")


@pytest.mark.parametrize("drawn", NAMES)
@pytest.mark.parametrize("seen", NAMES)
def test_its_own_and_no_other(tmp_path, seen, drawn):
    one, other = forms(record(1), tmp_path), forms(record(2), tmp_path)
    found = ecgfm.saliency(Attentive(), one[seen], **options(seen))
    plot(one[drawn], saliency=found, **options(drawn))
    with pytest.raises(SignalError, match="the saliency is of other recordings") as caught:
        plot(other[drawn], saliency=found, **options(drawn))
    assert caught.value.remedy
    both = ecgfm.saliency(Attentive(), [other[seen], one[seen]], **options(seen))
    alone = plot(one[drawn], saliency=found, leads=["I"], **options(drawn)).axes[0].collections[0].get_array()
    among = plot(one[drawn], saliency=both, leads=["I"], **options(drawn)).axes[0].collections[0].get_array()
    np.testing.assert_allclose(np.asarray(alone), np.asarray(among), atol=0.04)


def changed(one):
    yield "length", Record(one.signal[:, :-1], one.sampling_rate, one.leads, source=one.source)
    yield "rate", Record(one.signal, 401, one.leads, source=one.source)
    yield "start", Record(one.signal, one.sampling_rate, one.leads, source=one.source, start_s=5.0)
    yield "leads", Record(one.signal, one.sampling_rate, [*one.leads[1::-1], *one.leads[2:]], source=one.source)
    signal = one.signal.copy()
    signal[5, 1000] += 1e-3
    yield "one value", Record(signal, one.sampling_rate, one.leads, source=one.source)


def test_the_same_name_is_not_enough():
    one = record(1)
    found = ecgfm.saliency(Attentive(), one)
    for what, other in changed(one):
        with pytest.raises(SignalError, match="other recordings"):
            plot(other, saliency=found)
            pytest.fail(what)
    plot(Record(one.signal, 400, one.leads, source="copy"), saliency=found)  # the same recording from elsewhere


def test_long_recordings_are_told_apart():
    one = np.random.default_rng(0).normal(size=(12, 500_000)).astype(np.float32)
    other = one + np.float32(0.01)
    about = [prepare(Record(x, 500, LEADS)).checksum for x in (one, other, one[:, :-1], one)]
    assert len(set(about)) == 3 and about[0] == about[3]


def test_segments_without_a_past():
    x = np.random.default_rng(0).normal(size=(3, 12, 2500)).astype(np.float32)
    one, other = Segments(x[:2], np.array([0.0, 5.0])), Segments(x[1:], np.array([0.0, 5.0]))
    found = ecgfm.saliency(Attentive(), one)
    plot(one, saliency=found)
    plot(Segments(x[:1], np.array([0.0])), saliency=found)
    with pytest.raises(SignalError, match="other recordings"):
        plot(other, saliency=found)
    with pytest.raises(SignalError, match="more than what is drawn has"):
        plot(one, saliency=np.zeros((9, 2500)))


def test_a_file_that_changes_before_it_is_drawn(tmp_path):
    path = forms(record(1), tmp_path)["path"]
    draw = SaliencyPlots(tmp_path)

    def exchanged(done):
        np.savez(path, signal=record(2).signal, sampling_rate=400, leads=LEADS)
        draw(done)

    with pytest.raises(SignalError, match="other recordings"):
        saliency_to(Attentive(), [path], tmp_path / "s.npy", on_done=exchanged)


HOSTILE = "a\x1b[2J\u202e\udcff$\\frac{$\x00\x07.npz"


def test_names_from_files_in_pictures(tmp_path):
    one = record(1)
    one.source = HOSTILE
    one.leads = (*LEADS[:11], "V6\x1b\u202e$x_")
    for suffix in ("svg", "png", "pdf"):
        figure = plot(one, path=tmp_path / f"p.{suffix}")
        assert all(text.isprintable() for text in (figure.get_suptitle(), *(axis.get_ylabel() for axis in figure.axes)))
    text = "".join(ElementTree.parse(tmp_path / "p.svg").getroot().itertext())
    assert not re.search("[\x00-\x08\x1b\u202e]", text)
    plot(record(1), title=f"two\nlines {'x' * 5000}\x1b", path=tmp_path / "t.svg")
    ElementTree.parse(tmp_path / "t.svg")
    x = np.random.default_rng(1).normal(size=(6, 8))
    plot_embeddings(x, [HOSTILE, "b", "$\\x$"] * 2, title="\x1b\udcff", path=tmp_path / "e.svg")
    ElementTree.parse(tmp_path / "e.svg")


def test_the_ending_decides_or_is_refused(tmp_path):
    for name in ("p.csv", "p", "p.parquet"):
        with pytest.raises(ConfigError, match="the ending of the name is that of no picture"):
            plot(record(1), path=tmp_path / name)
    assert os.listdir(tmp_path) == []

"""plot and plot_embeddings: what is drawn where and in which colour, and what is refused."""

import os
import sys

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="needs the extra [plot]")

from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgb, to_rgba

import ecgfm
from ecgfm import LEADS, ConfigError, LeadError, MissingExtraError, Record, SignalError, plot, prepare
from ecgfm.ecg import simulate
from ecgfm.view import interval_values, plot_embeddings, project
from ecgfm.view.figures import GREY, HIGH, LOW
from ecgfm.view.plot import SaliencyPlots


def record(seconds=7.0, rate=400.0, **options):
    made = simulate(seconds, rate, seed=3)
    made.source = options.pop("source", "some/r.npz")
    return made


def panels(figure):
    """The axes of leads, by name, without the scale of colours."""
    return {axis.get_ylabel(): axis for axis in figure.axes if axis.get_ylabel() in (*LEADS, "VX")}


def drawn(axis):
    """(times (n, 2), values (n, 2), colours (n, 3)) of each interval of a coloured line."""
    (lines,) = [each for each in axis.collections if isinstance(each, LineCollection)]
    lines.update_scalarmappable()
    intervals, colours = [], []
    for path, colour in zip(lines.get_paths(), lines.get_edgecolors()):
        for pair in zip(path.vertices[:-1], path.vertices[1:]):
            intervals.append(pair)
            colours.append(colour[:3])
    points = np.array(intervals)
    return points[..., 0], points[..., 1], np.array(colours)


def blend(values):
    """The colours between the tutorial's two, (n, 3)."""
    low, high = np.array(to_rgb(LOW)), np.array(to_rgb(HIGH))
    return low + np.asarray(values)[:, None] * (high - low)


# ---- the signal -----------------------------------------------------------------------------------------------------


def test_a_recording_as_it_is():
    given = record()
    before = given.signal.copy()
    axes = panels(plot(given))
    assert set(axes) == set(LEADS)
    for name, row in zip(LEADS, given.signal):
        (line,) = axes[name].get_lines()
        np.testing.assert_allclose(line.get_xdata(), np.arange(2800) / 400)
        np.testing.assert_allclose(line.get_ydata(), row, atol=1e-7)
        low, high = axes[name].get_ylim()
        assert low <= row.min() and high >= row.max()
    spans = [np.diff(axis.get_ylim())[0] for axis in axes.values()]
    np.testing.assert_allclose(spans, spans[0])  # one scale for all leads
    assert np.array_equal(before, given.signal)


def test_leads_and_time_by_choice():
    figure = plot(record(), leads="v2, I", start_s=1, duration_s=2.5, title="T")
    axes = panels(figure)
    assert list(axes) == ["V2", "I"] and figure.get_suptitle() == "T"
    (line,) = axes["V2"].get_lines()
    assert line.get_xdata()[0] == 1.0 and len(line.get_xdata()) == 1000
    np.testing.assert_allclose(line.get_ydata(), record().signal[7, 400:1400], atol=1e-7)
    assert len(panels(plot(record(25.0)))["II"].get_lines()[0].get_xdata()) == 4000  # 10 s from the beginning


def test_segments_files_and_arrays(tmp_path):
    given = record(11.0)
    segments = prepare(given)
    axes = panels(plot(segments, leads=["II"]))
    first, second = axes["II"].get_lines()
    assert np.array_equal(np.float32(first.get_ydata()), segments.x[0, 1]) and second.get_xdata()[0] == 5.0
    np.savez(tmp_path / "a.npz", signal=given.signal, sampling_rate=400, leads=given.leads)
    assert plot(tmp_path / "a.npz").get_suptitle() == "a.npz"
    assert len(panels(plot(given.signal, sampling_rate=400))) == 12
    fifteen = Record(np.zeros((15, 4000)), 400, [*LEADS, "VX", "VY", "VZ"])
    assert "VX" in panels(plot(fifteen, leads=["VX", "I"]))


def test_gaps_and_constants_are_drawn():
    given = record()
    given.signal[0] = np.nan
    given.signal[1, 100:200] = np.inf
    given.signal[2] = 0
    figure = plot(given)
    figure.canvas.draw()
    assert all(np.isfinite(axis.get_ylim()).all() for axis in panels(figure).values())


@pytest.mark.parametrize("suffix, start", [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_pictures(tmp_path, suffix, start):
    path = tmp_path / f"p.{suffix}"
    plot(record(), leads=["I"], path=path)
    assert path.read_bytes().startswith(start) and os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize(
    "options, error, words",
    [
        ({"leads": ["VX"]}, LeadError, "leads missing: VX"),
        ({"leads": []}, LeadError, "leads missing"),
        ({"start_s": 100}, SignalError, "nothing lies between 100 s and 110 s"),
        ({"start_s": "soon"}, ConfigError, "start_s"),
        ({"duration_s": 0}, ConfigError, "duration_s"),
        ({"saliency": np.zeros((2, 3, 4))}, SignalError, "saliency"),
        ({"saliency": ["a"]}, SignalError, "saliency"),
    ],
)
def test_what_can_not_be_drawn(options, error, words):
    with pytest.raises(error, match=words):
        plot(record(), **options)


def test_too_much_and_too_little():
    with pytest.raises(SignalError, match="too many for a picture"):
        plot(Record(np.zeros((12, 200_000)), 400, LEADS), duration_s=1e6)
    with pytest.raises(SignalError, match="is no recording without a rate"):
        plot(np.zeros((12, 500)))


def test_without_matplotlib(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for call in (lambda: plot(record()), lambda: plot_embeddings(np.eye(4)), lambda: SaliencyPlots(tmp_path)):
        with pytest.raises(MissingExtraError, match=r"ecgfm\[plot\]"):
            call()


def test_importing_ecgfm_does_not_import_matplotlib():
    import subprocess

    code = "import sys, ecgfm; ecgfm.plot; assert 'matplotlib' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# ---- saliency -------------------------------------------------------------------------------------------------------


def test_each_interval_has_the_colour_of_its_own_saliency():
    """What the original's tutorial gets wrong: the colours follow the whole segment, not its first token."""
    segments = prepare(record())
    values = np.linspace(0, 1, 2500) ** 2
    axes = panels(plot(segments, saliency=values, leads=["II", "V1"], duration_s=5))
    for name, row in (("II", 1), ("V1", 6)):
        times, signal, colours = drawn(axes[name])
        assert len(times) == 2499
        np.testing.assert_allclose(times, np.stack([np.arange(2499), np.arange(1, 2500)], 1) / 500, atol=1e-9)
        np.testing.assert_allclose(signal[:, 0], segments.x[0, row, :-1], atol=1e-6)
        middles = (values[1:] + values[:-1]) / 2
        np.testing.assert_allclose(colours, blend(middles), atol=0.02)  # 64 shades
    assert LOW == "#0047AB" and HIGH == "#DC143C"


def test_a_recording_of_another_rate_and_what_is_behind_the_last_segment():
    given = record(12.0)  # 400 Hz, two segments and 2 s
    rng = np.random.default_rng(0)
    values = np.repeat(rng.random((2, 25)), 100, axis=1)
    times, _, colours = drawn(panels(plot(given, saliency=values, duration_s=12))["I"])
    middles = times.mean(axis=1)
    inside = middles < 10
    assert inside.sum() == 4000 and np.all(colours[~inside] == to_rgb(GREY))
    at = np.minimum((middles[inside] * 500).astype(int), 4999)
    expected = blend(values.reshape(-1)[at])
    steady = np.abs(middles[inside] * 5 - np.round(middles[inside] * 5)) > 0.02  # not where the value changes
    np.testing.assert_allclose(colours[inside][steady], expected[steady], atol=0.02)


def test_saliency_is_found_by_the_name_of_the_recording():
    class Attentive:
        labels, labels_assumed, source, info = None, False, "m.pt", {}

        def __call__(self, x, padding_mask=None, attention=False):
            level = np.abs(x[:, 0, :2496].reshape(len(x), 156, 16)).mean(axis=2)
            weights = np.exp(level[:, None, :] * level[:, :, None])
            weights /= weights.sum(axis=2, keepdims=True)
            return type("Output", (), {"attention": weights[:, None].astype(np.float32)})

    several = [simulate(11.0, 500, seed=i) for i in range(3)]
    for i, each in enumerate(several):
        each.source = f"r{i}"
    found = ecgfm.saliency(Attentive(), several)
    colours = drawn(panels(plot(several[1], saliency=found))["I"])[2]
    expected = interval_values(np.arange(5000) / 500, [0.0, 5.0], found.samples[2:4])
    np.testing.assert_allclose(colours, blend(expected), atol=0.02)
    alone = ecgfm.saliency(Attentive(), several[1])
    np.testing.assert_allclose(drawn(panels(plot(several[1], saliency=alone))["I"])[2], colours, atol=0.03)
    with pytest.raises(SignalError, match="the saliency is of other recordings"):
        plot(simulate(6.0, 500), saliency=found)
    figure = plot(several[0], saliency=found)
    assert any("attention, layer 0, max" in axis.get_ylabel() for axis in figure.axes)


def test_overlapping_segments_take_the_largest():
    times = np.arange(5) / 500 + 2.0
    found = interval_values(times, [0.0, 2.0], np.stack([np.full(2500, 0.3), np.linspace(0, 1, 2500)]))
    np.testing.assert_allclose(found, 0.3)
    assert np.isnan(interval_values(np.array([9.0, 9.1]), [0.0], np.ones((1, 2500)))).all()


# ---- embeddings -----------------------------------------------------------------------------------------------------


def test_principal_components_against_the_covariance():
    x = np.random.default_rng(1).normal(size=(40, 6)) @ np.diag([5, 1, 0.1, 3, 1, 1])
    flat = project(x)
    values, axes = np.linalg.eigh(np.cov(x.T))
    expected = (x - x.mean(axis=0)) @ axes[:, [-1, -2]]
    np.testing.assert_allclose(np.abs(flat), np.abs(expected), atol=1e-9)
    np.testing.assert_allclose(flat.var(axis=0, ddof=1), values[[-1, -2]])
    np.testing.assert_allclose(project(x + 100), flat, atol=1e-9)
    assert project(np.arange(3.0)[:, None]).shape == (3, 2)


def points(figure):
    """Label -> (n, 2) points and their colour."""
    found = [each for each in figure.axes[0].collections if isinstance(each, PathCollection)]
    return {each.get_label(): (np.asarray(each.get_offsets()), each.get_facecolor()[0]) for each in found}


def test_a_colour_for_each_group(tmp_path):
    x = np.random.default_rng(1).normal(size=(6, 8))
    groups = ["a/x.mat", "a/y.mat", "a/x.mat", "z", "z", "z"]
    found = points(plot_embeddings(x, groups, path=tmp_path / "e.png"))
    assert set(found) == {"x.mat", "y.mat", "z"} and (tmp_path / "e.png").stat().st_size > 1000
    flat = project(x)
    np.testing.assert_allclose(found["x.mat"][0], flat[[0, 2]])
    np.testing.assert_allclose(found["z"][0], flat[3:])
    assert len({tuple(colour) for _, colour in found.values()}) == 3
    assert tuple(found["x.mat"][1][:3]) == to_rgba("tab:blue")[:3]


def test_many_groups_keep_the_legend_short():
    figure = plot_embeddings(np.random.default_rng(1).normal(size=(200, 8)), np.arange(200) // 2)
    legend = figure.axes[0].get_legend()
    assert len(legend.get_texts()) == 20 and legend.get_title().get_text() == "the first 20 of 100"


def test_two_dimensions_are_drawn_as_they_are():
    flat = np.random.default_rng(1).normal(size=(5, 2))
    (found,) = points(plot_embeddings(flat)).values()
    assert np.array_equal(found[0], flat)


@pytest.mark.parametrize(
    "call, error",
    [
        (lambda: project(np.zeros((2, 5))), SignalError),
        (lambda: project(np.full((5, 5), np.nan)), SignalError),
        (lambda: project(np.zeros(5)), SignalError),
        (lambda: project(np.zeros((5, 5)), "tsne"), ConfigError),
        (lambda: plot_embeddings(np.zeros((5, 5)), ["a"]), SignalError),
    ],
)
def test_what_can_not_be_projected(call, error):
    with pytest.raises(error):
        call()


def test_umap_is_asked_for_by_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(MissingExtraError, match="umap-learn is not installed"):
        project(np.eye(5), "umap")
    given = []

    class UMAP:
        def __init__(self, **settings):
            given.append(settings)

        def fit_transform(self, x):
            return x[:, :2]

    monkeypatch.setitem(sys.modules, "umap", type("umap", (), {"UMAP": UMAP}))
    assert project(np.eye(5), "umap").shape == (5, 2) and project(np.eye(120), "umap").shape == (120, 2)
    assert given == [
        {"n_components": 2, "random_state": 42, "n_neighbors": 3, "min_dist": 0.1},
        {"n_components": 2, "random_state": 42, "n_neighbors": 15, "min_dist": 0.1},
    ]

"""Values under a mask are not used; errors that are kept hold nothing; models may be given as paths."""

import gc
import os
import tracemalloc
import warnings

import numpy as np
import pytest
from fakes import LABELS, FakeModel

import ecgfm
from ecgfm import ConfigError, Record, Segments, SignalError, embed, predict, prepare, saliency
from ecgfm.ecg import simulate
from ecgfm.errors import kept
from ecgfm.inference import outcomes, predict_to
from ecgfm.inference.stream import stream

DEMO = os.path.join(os.path.dirname(ecgfm.__file__), "assets", "demo")


def masked(rows=1):
    x = np.ma.array(np.stack([simulate(6.0, 500, seed=i).signal for i in range(rows)]))
    x[0, 1, 1000:1100] = np.ma.masked
    return x


@pytest.mark.parametrize("function", [predict, embed, saliency])
def test_masked_arrays_are_refused(function):
    for given in (masked()[0], masked(), [masked()[0]], [list(masked()[0])]):
        model = FakeModel()
        with pytest.raises(SignalError, match="masked values"):
            function(model, given, sampling_rate=500)
        assert model.batches == []
    segments = prepare(simulate(6.0, 500))
    for bad in (
        Segments(np.ma.masked_greater(segments.x, 1), segments.start_s),
        Segments(segments.x, np.ma.masked_equal(segments.start_s, 0)),
        Segments(segments.x, segments.start_s, np.ma.masked_all((1, 2500), bool)),
    ):
        with pytest.raises(SignalError, match="masked values"):
            function(FakeModel(), bad)


def test_of_several_the_masked_one_alone_is_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = predict(FakeModel(), masked(3), sampling_rate=500)
    assert found.records.files == ["record_1", "record_2"] and "masked values" in found.errors["error"][0]
    whole = np.ma.array(simulate(6.0, 500).signal)  # nothing is masked
    assert len(predict(FakeModel(), whole, sampling_rate=500).records) == 1


def test_errors_that_are_kept_hold_no_arrays():
    try:
        try:
            raise ValueError("inner")
        except ValueError as error:
            raise SignalError("outer") from error
    except SignalError as error:
        held = kept(error)
    assert held.__traceback__ is held.__context__ is held.__cause__ is None
    assert "ValueError: inner" in held.debug


def test_skipped_recordings_cost_nothing(tmp_path):
    """Each of the damaged ones has 7 MB: what is held for it is its name and its error's text."""
    good = simulate(6.0, 500)

    def recordings(count):
        for i in range(count):
            bad = np.zeros((12, 150_000), np.float32)
            bad[3, 7] = np.nan
            yield Record(bad, 500, good.leads, source=f"bad{i}")
        yield good

    held = {}
    for count in (1, 40):
        for name, run in (
            ("predict", lambda n: predict(FakeModel(), recordings(n), readers=0)),
            ("predict_to", lambda n: predict_to(FakeModel(), recordings(n), tmp_path / f"{n}.csv", readers=0)),
            ("outcomes", lambda n: list(outcomes(FakeModel(), recordings(n)))),
        ):
            gc.collect()
            tracemalloc.start()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                kept_alive = run(count)
            held[name, count] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            del kept_alive
    for name in ("predict", "predict_to", "outcomes"):
        assert held[name, 40] < held[name, 1] + 8e6, held


def test_errors_of_damaged_files_are_kept_without_their_past(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04")
    (tmp_path / "b.npy").write_bytes(b"\x93NUMPY")
    pairs = [(str(path), str(path)) for path in sorted(tmp_path.iterdir())]
    for each in stream(lambda *args: {}, pairs):
        assert each.error is not None
        assert each.error.__traceback__ is each.error.__context__ is each.error.__cause__ is None


def test_a_path_stands_for_its_model(tmp_path):
    record = simulate(6.0, 500)
    model = ecgfm.load(DEMO)
    expected = predict(model, record).segments.probabilities
    np.testing.assert_array_equal(predict(DEMO, record).segments.probabilities, expected)
    np.testing.assert_array_equal(embed(DEMO, record).embeddings, embed(model, record).embeddings)
    np.testing.assert_array_equal(saliency(DEMO, record).samples, saliency(model, record).samples)
    np.savez(tmp_path / "a.npz", signal=record.signal, sampling_rate=500, leads=record.leads)
    assert predict_to(DEMO, tmp_path / "a.npz", tmp_path / "p.csv").records == 1


@pytest.mark.parametrize("function", [predict, embed, saliency])
def test_the_wrong_order_is_named(function, tmp_path):
    with pytest.raises(ConfigError, match="a model stands where the recordings should"):
        function("a.npz", FakeModel())
    with pytest.raises(ConfigError, match="list is no model.*recordings come second"):
        function(["a.npz"], "m.pt")
    with pytest.raises(ecgfm.Error):
        function(tmp_path / "absent.pt", "a.npz")


def test_evaluate_takes_a_path(monkeypatch):
    pytest.importorskip("sklearn", reason="needs the extra [train]")
    monkeypatch.setattr(ecgfm, "load", lambda path: FakeModel(), raising=False)
    y = {"file": ["record_0", "record_1"], LABELS[0]: [0, 1]}
    records = [simulate(6.0, 500, seed=i) for i in range(2)]
    for i, each in enumerate(records):
        each.source = f"record_{i}"
    assert len(ecgfm.evaluate("m.pt", records, y, bootstrap=0).predictions) == 2
    with pytest.raises(ConfigError, match="a model stands where"):
        ecgfm.evaluate(records, FakeModel(), y)


def test_progress_is_a_function_or_false():
    record = simulate(6.0, 500, seed=1)
    assert len(predict(FakeModel(), [record], progress=False).records) == 1
    with pytest.raises(ConfigError, match="not a function") as caught:
        predict(FakeModel(), [record], progress=3)
    assert caught.value.field == "progress"

"""predict: order, batches, inputs of every kind, aggregation, errors, and what the result writes."""

import csv
import json
import os
import warnings
import weakref

import numpy as np
import pytest
from fakes import LABELS, FakeModel

import ecgfm
from ecgfm import LEADS, ConfigError, Error, LabelError, LeadError, Record, Segments, SignalError, predict, prepare
from ecgfm.ecg import simulate
from ecgfm.inference import TUTORIAL_MAX, aggregate
from ecgfm.inference.predict import outcomes


def records(count=6):
    """Recordings of one to three segments."""
    made = []
    for i in range(count):
        record = simulate(5.5 + 5 * (i % 3), 500 if i % 2 else 400, seed=i)
        record.source = f"r{i}"
        made.append(record)
    return made


# ---- order and batches ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 8, 100])
def test_batches_run_across_recordings_and_change_nothing(batch_size):
    model, whole = FakeModel(), FakeModel()
    found = predict(model, records(), batch_size=batch_size)
    expected = whole(np.concatenate([prepare(record).x for record in records()]))
    np.testing.assert_allclose(found.logits, expected.logits, atol=1e-6)
    np.testing.assert_allclose(found.segments.probabilities, expected.probabilities, atol=1e-6)
    np.testing.assert_allclose(found.embeddings, expected.embedding, atol=1e-5)
    sizes = [shape[0] for shape in model.batches]
    assert sum(sizes) == 12 and set(sizes[:-1]) <= {batch_size} and sizes[-1] <= batch_size


def test_rows_follow_the_order_given():
    found = predict(FakeModel(), records())
    assert found.records.files == [f"r{i}" for i in range(6)]
    assert found.records["segments"].tolist() == [1, 2, 3, 1, 2, 3]
    assert found.segments.files == [f"r{i}" for i in range(6) for _ in range(i % 3 + 1)]
    assert found.segments["segment"].tolist() == [0, 0, 1, 0, 1, 2] * 2
    assert found.segments.start_s.tolist() == [0, 0, 5, 0, 5, 10] * 2
    assert np.array_equal(found.segments["end_s"], found.segments.start_s + 5)
    order = [4, 0, 5, 2, 1, 3]
    mixed = predict(FakeModel(), (records()[i] for i in order), batch_size=3)
    assert mixed.records.files == [f"r{i}" for i in order]
    np.testing.assert_allclose(mixed.records.probabilities, found.records.probabilities[order], atol=1e-6)


def test_the_same_recording_twice_stays_two():
    record = records(2)[1]
    found = predict(FakeModel(), [record, record])
    assert found.records["segments"].tolist() == [2, 2] and found.records.files == ["r1", "r1"]


def test_memory_is_bounded():
    """Of 40 recordings at most those of one batch and the one just read are alive at a time."""
    alive = []

    def stream():
        for i in range(40):
            made = prepare(simulate(10, 500, seed=i))
            alive.append(weakref.ref(made.x))
            yield made
            del made
            assert sum(ref() is not None for ref in alive) <= 4

    result = predict(FakeModel(), stream(), batch_size=4)
    assert len(result.records) == 40


def test_results_come_as_soon_as_they_are_there():
    read = []

    def stream():
        for i in range(10):
            read.append(i)
            yield simulate(6, 500, seed=i)

    iterator = outcomes(FakeModel(), stream(), batch_size=2)
    assert read == []
    next(iterator)
    assert read == [0, 1]


def test_segments_of_different_lengths_are_not_mixed():
    short = Segments(np.ones((2, 12, 1000), np.float32), np.zeros(2), None, {"source": "short"})
    found = predict(model := FakeModel(), [*records(2), short, *records(2)], batch_size=16)
    assert model.batches == [(3, 12, 2500), (2, 12, 1000), (3, 12, 2500)]
    assert found.records.files == ["r0", "r1", "short", "r0", "r1"]
    assert found.segments["end_s"][3] == 2.0


def test_padding_masks_travel():
    seen = []

    class Masked(FakeModel):
        def __call__(self, x, padding_mask=None):
            seen.append(padding_mask)
            return super().__call__(x)

    mask = np.zeros((1, 2500), bool)
    mask[0, 2000:] = True
    padded = Segments(np.ones((1, 12, 2500), np.float32), np.zeros(1), mask, {})
    predict(Masked(), [records(2)[1], padded], batch_size=2)
    assert seen[0] is None and np.array_equal(seen[1], mask)
    predict(Masked(), [records(2)[1], padded], batch_size=8)
    assert seen[2].shape == (3, 2500) and not seen[2][:2].any() and np.array_equal(seen[2][2:], mask)


# ---- inputs ---------------------------------------------------------------------------------------------------------


def test_every_kind_of_input(tmp_path):
    record = simulate(6, 500, seed=1)
    x = record.signal
    np.save(tmp_path / "a.npy", x)
    expected = FakeModel()(prepare(record).x).logits
    for given, name in (
        (record, record.source),
        (prepare(record), record.source),
        (x, "record_0"),
        ([x], "record_0"),
        ([x.tolist()], "record_0"),
        (x[None], "record_0"),
        (tmp_path / "a.npy", str(tmp_path / "a.npy")),
        (str(tmp_path / "a.npy"), str(tmp_path / "a.npy")),
        ([tmp_path], str(tmp_path / "a.npy")),
        ((one for one in [x]), "record_0"),
    ):
        found = predict(FakeModel(), given, sampling_rate=500)
        np.testing.assert_allclose(found.logits, expected, atol=1e-5)
        assert found.records.files == [name]


def test_arrays_with_names_and_of_three_dimensions():
    x = np.stack([simulate(6, 500, seed=i).signal[::-1] for i in range(3)])
    before = x.copy()
    found = predict(FakeModel(), x, sampling_rate=500, leads=LEADS[::-1])
    straight = predict(FakeModel(), x[:, ::-1], sampling_rate=500)
    assert np.array_equal(found.logits, straight.logits) and np.array_equal(x, before)
    assert found.records.files == ["record_0", "record_1", "record_2"]


def test_directories(tmp_path):
    for name in ("b.npy", "a.npy", "sub/c.npy", ".hidden.npy", ".git/d.npy", "a/z.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / name, simulate(6, 500).signal)
    (tmp_path / "labels.csv").write_text("name\nx\n")
    (tmp_path / "notes.txt").write_text("x")
    found = predict(FakeModel(), [tmp_path / "b.npy", tmp_path], sampling_rate=500)
    relative = [os.path.relpath(path, tmp_path) for path in found.records.files]
    assert relative == ["b.npy", "a.npy", "b.npy", "a/z.npy", "sub/c.npy"]


def test_manifests(tmp_path):
    for i in range(3):
        record = simulate(6, 500, seed=i)
        np.savez(tmp_path / f"r_{i}.npz", signal=record.signal, sampling_rate=500, leads=record.leads)
    manifest = tmp_path / "test.tsv"
    manifest.write_text(f"\t{tmp_path}\nr_2.npz\t2500\nr_0.npz\t2500\nr_9.npz\t2500\n")
    found = predict(FakeModel(), [manifest, tmp_path / "r_1.npz"], on_error=lambda *args: None)
    assert [os.path.basename(file) for file in found.records.files] == ["r_2.npz", "r_0.npz", "r_1.npz"]
    assert found.errors["file"].tolist() == [str(tmp_path / "r_9.npz")]
    manifest.write_text("/no/such/folder\nr_2.npz\t2500\n")
    with pytest.raises(Error, match="there is no such folder"):
        predict(FakeModel(), manifest)
    rows = "\n".join("\t".join([str(i % 50)] * 12) for i in range(3000))
    manifest.write_text("# sampling_rate: 500\n" + "\t".join(LEADS) + "\n" + rows + "\n")  # a table of a signal
    assert len(predict(FakeModel(), manifest).records) == 1


def test_a_directory_without_recordings(tmp_path):
    with pytest.raises(Error, match="the directory holds no recordings") as caught:
        predict(FakeModel(), tmp_path)
    assert caught.value.path == str(tmp_path)


def test_a_directory_that_can_not_be_listed_is_reported(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    np.save(tmp_path / "a.npy", simulate(6, 500).signal)
    listed = os.scandir

    def scandir(path):
        if os.fspath(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.warns(UserWarning, match="the directory can't be listed: Permission denied"):
        found = predict(FakeModel(), tmp_path, sampling_rate=500)
    assert found.errors["file"].tolist() == [str(tmp_path / "closed")] and len(found.records) == 1


# ---- errors ---------------------------------------------------------------------------------------------------------


def bad_among_good():
    bad = simulate(6, 500, seed=9)
    bad.signal[3, 7] = np.nan
    bad.source = "bad"
    return [*records(2), bad, "absent.npy", records(3)[2]]


def test_a_bad_recording_is_skipped():
    with pytest.warns(UserWarning, match="2 of 5 recordings were skipped, see errors; the first: bad: lead aVR"):
        found = predict(FakeModel(), bad_among_good(), batch_size=2)
    assert found.records.files == ["r0", "r1", "r2"] and len(found.segments) == 6
    assert found.errors["file"].tolist() == ["bad", "absent.npy"]
    assert found.errors["error"][0].startswith("lead aVR: nan at sample 7 ")
    assert found.errors["error"][1] == "no such file"


def test_a_bad_recording_is_raised_or_reported():
    with pytest.raises(SignalError, match="nan at sample 7"):
        predict(FakeModel(), bad_among_good(), on_error="raise")
    reported = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predict(FakeModel(), bad_among_good(), on_error=lambda file, error: reported.append((file, type(error))))
    assert reported == [("bad", SignalError), ("absent.npy", ecgfm.FormatError)]


def test_if_none_can_be_done_the_first_error_is_raised():
    with pytest.raises(ecgfm.FormatError, match="x.npy: no such file"):
        predict(FakeModel(), ["x.npy", "y.npy"])
    with pytest.raises(ConfigError, match="no recordings were given"):
        predict(FakeModel(), [])


@pytest.mark.parametrize(
    "given, error",
    [
        (np.zeros((11, 3000)), LeadError),
        (np.zeros(3000), SignalError),
        ([np.zeros((2, 12, 3000))], SignalError),
        ([[[1, 2], [3]]], SignalError),
        ([None], SignalError),
        (5, ConfigError),
        (Segments(np.full((1, 12, 2500), np.nan, np.float32), np.zeros(1), None, {}), SignalError),
        (Segments(np.zeros((0, 12, 2500), np.float32), np.zeros(0), None, {}), SignalError),
    ],
)
def test_what_is_no_recording(given, error):
    with pytest.raises(error):
        predict(FakeModel(), given, sampling_rate=500)


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 0},
        {"batch_size": -1},
        {"batch_size": 1.5},
        {"batch_size": True},
        {"batch_size": 1 << 40},
        {"batch_size": "many"},
        {"aggregate": "median"},
        {"on_error": "ignore"},
    ],
)
def test_wrong_arguments(changes):
    with pytest.raises(ConfigError) as caught:
        predict(FakeModel(), records(1), **changes)
    assert caught.value.field == next(iter(changes))


def test_a_model_without_labels_is_refused():
    class Encoder(FakeModel):
        def __call__(self, x, padding_mask=None):
            out = super().__call__(x)
            out.logits = out.probabilities = None
            return out

    with pytest.raises(ConfigError, match="has no labels") as caught:
        predict(Encoder(), records(1))
    assert caught.value.path == "fake.pt"


def test_progress():
    calls = []
    with pytest.warns(UserWarning):
        predict(FakeModel(), bad_among_good(), progress=lambda *call: calls.append(call))
    assert calls == [(1, "r0"), (2, "r1"), (3, "bad"), (4, "absent.npy"), (5, "r2")]


def test_recordings_are_not_changed():
    given = records(3)
    before = [(record.signal.copy(), record.source, record.leads, record.notes) for record in given]
    predict(FakeModel(), given)
    for record, (signal, *rest) in zip(given, before):
        assert np.array_equal(record.signal, signal) and [record.source, record.leads, record.notes] == rest


# ---- aggregation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["tutorial", "mean", "max"])
def test_aggregation_against_a_loop(method):
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 5, 30)
    p = rng.random((counts.sum(), 5)).astype(np.float32)
    before = p.copy()
    found = aggregate(p, counts, LABELS, method)
    assert found.dtype == np.float32 and found.shape == (30, 5) and np.array_equal(p, before)
    start = 0
    for row, count in zip(found, counts):
        part = p[start : start + count].astype(np.float64)
        for i, name in enumerate(LABELS):
            use_max = method == "max" or (method == "tutorial" and name in TUTORIAL_MAX)
            assert row[i] == np.float32(part[:, i].max() if use_max else part[:, i].mean())
        start += count


def test_labels_count_by_name_and_not_by_position():
    p = np.array([[0.25, 0.25], [0.75, 0.75]])
    assert aggregate(p, [2], ["Sinus rhythm", "Electronic pacemaker"]).tolist() == [[0.5, 0.75]]
    assert aggregate(p, [2], ["Electronic pacemaker", "Sinus rhythm"]).tolist() == [[0.75, 0.5]]
    assert aggregate(p, [2], ["what the tutorial", "doesn't know"]).tolist() == [[0.5, 0.5]]


def test_aggregation_of_wrong_shapes():
    p = np.zeros((3, 2))
    for counts, labels in (([2], ["a", "b"]), ([3, 0], ["a", "b"]), ([3], ["a"]), ([4, -1], ["a", "b"])):
        with pytest.raises(LabelError):
            aggregate(p, counts, labels)
    with pytest.raises(ConfigError):
        aggregate(p, [3], ["a", "b"], "median")
    assert aggregate(np.zeros((0, 2)), [], ["a", "b"]).shape == (0, 2)


# ---- the result -----------------------------------------------------------------------------------------------------


def result(**changes):
    given = records(3)
    given[1].signal[4] = 0
    return predict(FakeModel(**changes), given)


def test_columns_and_attributes():
    found = result()
    assert found.records.columns == [
        "file", "segments", *LABELS, "aggregate", "sampling_rate", "duration_s", "derived_leads", "zero_leads",
        "constant_leads", "padded_s", "overlap_s", "unused_s", "quality", "notes", "precision"
    ]  # fmt: skip
    assert found.segments.columns == ["file", "segment", "start_s", "end_s", *LABELS]
    assert found.labels == found.records.labels == found.segments.labels == LABELS
    assert found.segments.probabilities.shape == (6, 5) and found.records.probabilities.shape == (3, 5)
    assert found.records.probabilities.dtype == np.float32
    assert found.logits.shape == (6, 5) and found.embeddings.shape == (6, 12)
    assert np.array_equal(found.segments["Sinus rhythm"], found.segments.probabilities[:, 1])
    assert found.records.start_s.tolist() == [0, 0, 0]
    assert found.records["constant_leads"].tolist() == ["", "aVL", ""]
    assert found.records["sampling_rate"].tolist() == [400, 500, 400]
    np.testing.assert_allclose(found.records["duration_s"], [5.5, 10.5, 15.5])
    np.testing.assert_allclose(found.records["unused_s"], [0.5, 0.5, 0.5])
    assert found.provenance[1]["source"] == "r1" and "3 records" in repr(found)


def few(*names, seconds=6):
    made = simulate(seconds, 500, seed=3)
    return Record(made.signal[[LEADS.index(name) for name in names]], 500, names, source="few")


def test_what_was_done_by_choice_travels_into_the_tables():
    found = predict(FakeModel(), [few("I", "II", "V2"), few("I", "II")], missing_leads="zero")
    assert found.records["derived_leads"].tolist() == ["III aVR aVL aVF"] * 2
    assert found.records["zero_leads"].tolist() == ["V1 V3 V4 V5 V6", "V1 V2 V3 V4 V5 V6"]
    assert found.provenance[0]["zero_leads"] == ["V1", "V3", "V4", "V5", "V6"]
    found = predict(FakeModel(), few(*LEADS, seconds=3), short="pad", only_leads="II,V1")
    assert found.records["padded_s"].tolist() == [2.0] and found.segments["end_s"].tolist() == [3.0]
    assert found.records["zero_leads"][0] == "I III aVR aVL aVF V2 V3 V4 V5 V6"
    row = json.loads(found.to_json())["records"][0]
    assert row["padded_s"] == 2.0 and row["quality"] == "" and row["derived_leads"] == ""
    record = few(*LEADS)
    record.signal[8] = 0
    record.signal[3] *= 1000
    quality = predict(FakeModel(), record).records["quality"][0]
    assert quality.startswith("flat: V3; amplitude: aVR (") and quality.endswith(" mV)")


@pytest.mark.parametrize(
    "options, error, words",
    [
        ({"missing_leads": "fill"}, ConfigError, "missing_leads"),
        ({"short": "cut"}, ConfigError, "short"),
        ({"only_leads": "VX"}, LeadError, "only_leads"),
    ],
)
def test_wrong_choices_are_found_before_the_first_recording(options, error, words):
    def inputs():
        raise AssertionError("a recording was asked for")
        yield

    with pytest.raises(error, match=words):
        predict(FakeModel(), inputs(), **options)


def test_csv_files(tmp_path):
    found = result()
    assert found.to_csv(tmp_path / "p.csv") == (str(tmp_path / "p.csv"), str(tmp_path / "p.segments.csv"))
    assert sorted(os.listdir(tmp_path)) == ["p.csv", "p.segments.csv"]
    for name, table in (("p.csv", found.records), ("p.segments.csv", found.segments)):
        with open(tmp_path / name, newline="") as file:
            rows = list(csv.DictReader(file))
        assert list(rows[0]) == table.columns and [row["file"] for row in rows] == table.files
        for i, label in enumerate(LABELS):
            assert [np.float32(row[label]) for row in rows] == table.probabilities[:, i].tolist()


def test_json(tmp_path):
    with pytest.warns(UserWarning):
        found = predict(FakeModel(training="none", assumed=True), bad_among_good())
    found.to_json(tmp_path / "p.json")
    data = json.loads((tmp_path / "p.json").read_text())
    assert data == json.loads(found.to_json())
    assert list(data) == ["model", "labels", "records", "segments", "errors"]
    said = {"source": "fake.pt", "labels_assumed": True, "precision": "float32", "training": "none"}
    assert data["model"] == said
    assert data["labels"] == list(LABELS)
    assert list(data["records"][0]) == found.records.columns and list(data["segments"][0]) == found.segments.columns
    assert np.float32(data["records"][1]["Sinus rhythm"]) == found.records["Sinus rhythm"][1]
    assert [row["file"] for row in data["errors"]] == ["bad", "absent.npy"]


def test_names_of_labels_that_are_unknown_or_collide():
    assert result(labels=None).labels == tuple(f"label_{i}" for i in range(5))
    names = ("file", "notes", "a", "segment", "start_s")
    found = result(labels=names)
    assert found.labels == names and len(set(found.records.columns)) == len(found.records.columns)
    assert "file (label)" in found.records and "notes (label)" in found.records and "segment" in found.records
    assert "segment (label)" in found.segments and found.segments.files[0] == "r0"


def test_text():
    text = result().to_text()
    assert text.startswith("3 recordings, 6 segments of 5 s") and "(3 segments)" in text and "(1 segment)" in text
    lines = [line.split() for line in text.splitlines()]
    assert ["recording", "1", "2", "2", "3", "3", "3"] in lines
    assert ["starts", "at", "s", "0.0", "0.0", "5.0", "0.0", "5.0", "10.0"] in lines
    row = next(line for line in text.splitlines() if line.startswith("Sinus rhythm"))
    np.testing.assert_allclose([float(p) for p in row.split()[2:]], result().records["Sinus rhythm"], atol=5.1e-4)


def test_text_of_one_and_of_many():
    one = predict(FakeModel(), records(1)).to_text()
    assert one.startswith("1 recording, ") and "per segment" not in one
    many = predict(FakeModel(), [simulate(5, 500, seed=i) for i in range(45)]).to_text()
    assert "... and 5 more" in many and "... and 5 more columns" in many
    assert max(map(len, many.splitlines())) <= 130


def test_names_can_not_command_the_terminal():
    record = records(1)[0]
    record.source = "a\x1b[2J\n\udcff.npy"
    text = predict(FakeModel(), record).to_text()
    assert "a\\x1b[2J\\n\\udcff.npy" in text and "\x1b" not in text


def test_record_without_provenance():
    found = predict(FakeModel(), Segments(np.ones((1, 12, 2500), np.float32), [3.0], None, {}))
    assert found.records.files == ["record_0"] and np.isnan(found.records["sampling_rate"][0])
    assert json.loads(found.to_json())["records"][0]["sampling_rate"] is None
    assert found.segments.start_s.tolist() == [3.0]


def test_records_from_files_keep_what_the_reader_noted(tmp_path):
    np.save(tmp_path / "a.npy", simulate(6, 500).signal.T)
    found = predict(FakeModel(), tmp_path / "a.npy", sampling_rate=500)
    assert found.records["notes"][0] == (
        "transposed from (samples, leads); leads assumed in the order I II III aVR aVL aVF V1-V6; unit assumed: mV"
    )
    assert isinstance(Record(np.zeros((1, 2)), 500, ["I"]).notes, tuple)

"""evaluate: truth from arrays, tables and files; metrics, averages and intervals; recordings of several files."""

import json

import numpy as np
import pytest
from fakes import LABELS, FakeModel

from ecgfm import ConfigError, LabelError, MissingExtraError, Table, evaluate, predict, prepare
from ecgfm.ecg import simulate
from ecgfm.errors import FormatError
from ecgfm.inference.evaluate_truth import read_truth
from ecgfm.io.inputs import manifest_files

metrics = pytest.importorskip("sklearn.metrics", reason="needs the extra [train]")

COUNT = 14


@pytest.fixture(scope="module")
def records():
    """Recordings of one or two segments."""
    made = []
    for i in range(COUNT):
        record = simulate(5.5 + 5 * (i % 2), 500, seed=i, heart_rate=50 + 7 * i)
        record.source = f"data/r{i}.npy"
        made.append(record)
    return made


@pytest.fixture(scope="module")
def y():
    made = (np.random.default_rng(3).random((COUNT, 5)) < 0.45).astype(float)
    made[:, 3] = 0  # one class
    made[2, 0] = made[5, 1] = np.nan
    return made


def expected(scores, y):
    """(auroc, auprc) of each label, macro and micro."""
    rows = []
    for i in range(y.shape[1]):
        known = ~np.isnan(y[:, i])
        if len(set(y[known, i])) == 2:
            args = y[known, i], scores[known, i]
            rows.append((metrics.roc_auc_score(*args), metrics.average_precision_score(*args)))
        else:
            rows.append((np.nan, np.nan))
    known = ~np.isnan(y)
    rows.append(tuple(np.nanmean(rows, axis=0)))
    rows.append(
        (metrics.roc_auc_score(y[known], scores[known]), metrics.average_precision_score(y[known], scores[known]))
    )
    return np.array(rows)


@pytest.mark.parametrize("method", ["tutorial", "mean", "max"])
def test_per_recording_and_per_segment(records, y, method):
    found = evaluate(FakeModel(), records, y, aggregate=method, bootstrap=0)
    result = predict(FakeModel(), records, aggregate=method)
    repeated = np.repeat(y, result.records["segments"], axis=0)
    for table, scores, truth in (
        (found.records, result.records.probabilities, y),
        (found.segments, result.segments.probabilities, repeated),
    ):
        values = np.column_stack([table["auroc"], table["auprc"]])
        np.testing.assert_allclose(values, expected(scores, truth), atol=1e-12)
        assert table["label"].tolist() == [*LABELS, "macro", "micro"]
        assert np.isnan(table["auroc_low"]).all()
    assert found.records["n"].tolist() == [13, 13, 14, 14, 14, 14, 68]
    assert found.records["positives"].tolist()[:5] == np.nansum(y, axis=0).tolist()
    assert found.one_class == (LABELS[3],) and found.unlabelled == ()
    assert found.predictions["record"].tolist() == [f"data/r{i}.npy" for i in range(COUNT)]
    np.testing.assert_array_equal(found.predictions[f"true {LABELS[0]}"], y[:, 0])
    np.testing.assert_allclose(found.predictions[LABELS[2]], result.records.probabilities[:, 2], atol=1e-6)


def test_intervals_are_seeded_and_hold_the_value(records, y):
    first = evaluate(FakeModel(), records, y, bootstrap=300, seed=5)
    again = evaluate(FakeModel(), records, y, bootstrap=300, seed=5)
    other = evaluate(FakeModel(), records, y, bootstrap=300, seed=6)
    assert first.to_csv() == again.to_csv() != other.to_csv()
    wide = evaluate(FakeModel(), records, y, bootstrap=300, seed=5, confidence=0.99)
    for table, wider in ((first.records, wide.records), (first.segments, wide.segments)):
        for name in ("auroc", "auprc"):
            known = ~np.isnan(table[name])
            low, value, high = (table[key][known] for key in (f"{name}_low", name, f"{name}_high"))
            assert (low <= value).all() and (value <= high).all() and (low < high).any()
            assert (wider[f"{name}_low"][known] <= low).all() and (high <= wider[f"{name}_high"][known]).all()


def test_no_label_with_two_classes(records):
    found = evaluate(FakeModel(), records, np.zeros((COUNT, 5)), bootstrap=10)
    assert found.one_class == LABELS and np.isnan(found.records["auroc"]).all()
    assert "5 labels have one class only" in found.to_text()


# ---- truth ----------------------------------------------------------------------------------------------------------


def table_of(y, names):
    return Table({"file": names} | {label: y[:, i] for i, label in enumerate(LABELS)})


@pytest.mark.parametrize("form", ["data/r{}.npy", "elsewhere/r{}.npy", "r{}.npy", "r{}"])
def test_tables_go_by_name(records, y, form, tmp_path):
    form = form.format
    straight = evaluate(FakeModel(), records, y, bootstrap=0).to_csv()
    order = np.random.default_rng(0).permutation(COUNT)
    table = table_of(y[order], [form(i) for i in order])
    table.to_csv(tmp_path / "y.csv")
    columns = {name: table[name].tolist() for name in table.columns}
    for given in (table, tmp_path / "y.csv", str(tmp_path / "y.csv"), columns):
        assert evaluate(FakeModel(), records, given, bootstrap=0).to_csv() == straight
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(columns)
    assert evaluate(FakeModel(), records, frame, bootstrap=0).to_csv() == straight
    assert evaluate(FakeModel(), records, frame.set_index("file"), bootstrap=0).to_csv() == straight


def test_spellings_of_truth(tmp_path):
    (tmp_path / "y.csv").write_text("\ufefffile,b,other,a\nx,1.0,?,True\ny,FALSE,7,\nz, no ,,nan\n", encoding="utf-8")
    truth = read_truth(tmp_path / "y.csv", ("a", "b", "c"))
    np.testing.assert_array_equal(truth.values, [[1, 1, np.nan], [np.nan, 0, np.nan], [np.nan, 0, np.nan]])
    assert truth.row_of(9, "folder/y.mat", "folder/y.mat") == 1 and truth.row_of(0, "w", "w") is None


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "the table has no rows"),
        ("file,a\n", "the table has no rows"),
        ("name,a\nx,1\n", "no column says which recording"),
        ("file,z\nx,1\n", "none of the model's labels is a column"),
        ("file,a\nx,0.5\n", "a: '0.5' in row 0 is neither 0 nor 1"),
        ("file,a\nx\n", "row 1 has 1 cells"),
        ("file,a\nx,1\nx,0\n", "twice, with different labels"),
    ],
)
def test_tables_that_are_none(tmp_path, text, words):
    (tmp_path / "y.csv").write_text(text)
    with pytest.raises(LabelError, match=words) as caught:
        read_truth(tmp_path / "y.csv", ("a", "b"))
    assert caught.value.path == str(tmp_path / "y.csv")


def test_files_that_are_none(tmp_path):
    for name in ("absent.csv", "absent.npy"):
        with pytest.raises(LabelError):
            read_truth(tmp_path / name, ("a",))
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(LabelError, match="not an .npy file"):
        read_truth(tmp_path / "bad.npy", ("a",))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object))
    with pytest.raises(LabelError):
        read_truth(tmp_path / "objects.npy", ("a",))


def test_names_that_two_folders_share():
    y = np.array([[0.0], [1.0], [1.0]])
    truth = read_truth(Table({"path": ["a/x.npy", "b/x.npy", "b/z.npy"], "l": y[:, 0]}), ("l",))
    assert [truth.row_of(0, f, f) for f in ("a/x.npy", "b/x.npy", "c/z.npy", "c/y.npy")] == [0, 1, 2, None]
    with pytest.raises(LabelError, match="2 rows of the labels fit it"):
        truth.row_of(0, "c/x.npy", "c/x.npy")


def test_arrays_that_do_not_fit(records, y):
    for wrong, words in (
        (y[:-1], "13 rows of labels for 14 recordings"),
        (y[:, :4], "not .recordings, 5 labels"),
        (y[0], "not .recordings, 5 labels"),
        (np.full((COUNT, 5), 2), "neither 0 nor 1"),
    ):
        model = FakeModel()
        with pytest.raises(LabelError, match=words):
            evaluate(model, records, wrong)
        assert model.batches == []
    with pytest.raises(LabelError, match="13 rows of labels for 14 recordings"):
        evaluate(FakeModel(), iter(records), y[:-1])
    with pytest.raises(LabelError, match="15 rows of labels for 14 recordings"):
        evaluate(FakeModel(), iter(records), np.concatenate([y, y[:1]]))


def test_recordings_without_labels_are_left_out(records, y):
    model = FakeModel()
    found = evaluate(model, records, table_of(y[:9], [f"r{i}" for i in range(9)]), bootstrap=0)
    assert found.unlabelled == tuple(f"data/r{i}.npy" for i in range(9, 14)) and len(found.predictions) == 9
    assert sum(shape[0] for shape in model.batches) == 13
    with pytest.raises(LabelError, match="none of the 14 recordings is in the labels"):
        evaluate(FakeModel(), records, table_of(y, [f"q{i}" for i in range(COUNT)]))


def test_bad_recordings_take_their_labels_along(records, y):
    given = [*records[:4], "absent.npy", *records[4:]]
    with_row = np.insert(y, 4, 1, axis=0)
    with pytest.warns(UserWarning, match="1 of 15 recordings were skipped"):
        found = evaluate(FakeModel(), given, with_row, bootstrap=0)
    assert (
        found.records["auroc"].tolist()[:3]
        == evaluate(FakeModel(), records, y, bootstrap=0).records["auroc"].tolist()[:3]
    )
    assert found.errors["file"].tolist() == ["absent.npy"]


# ---- recordings of several inputs -----------------------------------------------------------------------------------


def test_recordings_of_several_inputs(records, y):
    groups = [i // 2 for i in range(COUNT)]
    truth = y[::2][groups]
    found = evaluate(FakeModel(), records, truth, recordings=groups, aggregate="max", bootstrap=0)
    result = predict(FakeModel(), records, aggregate="max")
    together = np.maximum(result.records.probabilities[::2], result.records.probabilities[1::2])
    np.testing.assert_allclose(found.records["auroc"], expected(together, y[::2])[:, 0], atol=1e-12)
    assert len(found.predictions) == 7 and found.predictions["segments"].tolist() == [3] * 7
    with pytest.raises(LabelError, match="13 values for 14"):
        evaluate(FakeModel(), records, truth, recordings=groups[1:])
    with pytest.raises(LabelError, match="differ from those of another file"):
        evaluate(FakeModel(), records, y, recordings=groups)


def test_prepared_segments(records, y):
    x = np.concatenate([prepare(record).x[:1] for record in records])
    before = x.copy()
    found = evaluate(FakeModel(), x, y, bootstrap=0)
    np.testing.assert_allclose(found.records["auroc"], expected(FakeModel()(x).probabilities, y)[:, 0], atol=1e-12)
    assert found.records["n"].tolist() == found.segments["n"].tolist() and np.array_equal(x, before)


def test_a_manifest(records, y, tmp_path):
    names = [f"r{i // 2}_{i % 2}.npy" for i in range(COUNT)]
    for name, record in zip(names, records):
        np.save(tmp_path / name, record.signal)
    lines = [str(tmp_path), *(f"{name}\t2500" for name in names)]
    (tmp_path / "test.tsv").write_text("\n".join(lines) + "\n")
    assert manifest_files(tmp_path / "test.tsv") == [str(tmp_path / name) for name in names]
    table = table_of(y[:7], [f"r{i}.npy" for i in range(7)])
    found = evaluate(FakeModel(), tmp_path / "test.tsv", table, sampling_rate=500, bootstrap=0)
    assert len(found.predictions) == 7
    groups = [name.split("_")[0] for name in names]
    by_group = evaluate(FakeModel(), records, y[:7][[i // 2 for i in range(14)]], recordings=groups, bootstrap=0)
    np.testing.assert_allclose(found.records["auroc"], by_group.records["auroc"], atol=1e-12)


def test_manifests_that_are_none(tmp_path):
    path = tmp_path / "m.tsv"
    for text in ("", "/tmp\n", "a\tb\nc\t1\n", "/tmp\nx.mat\n", "/tmp\nx.mat\tmany\n", "/no/such/folder\nx.mat\t1\n"):
        path.write_text(text)
        with pytest.raises(FormatError):
            manifest_files(path)
    with pytest.raises(FormatError, match="can't be read"):
        manifest_files(tmp_path / "absent.tsv")


# ---- the rest -------------------------------------------------------------------------------------------------------


def test_files(records, y, tmp_path):
    found = evaluate(FakeModel(training="none"), records, y, bootstrap=20)
    found.to_json(tmp_path / "e.json")
    data = json.loads((tmp_path / "e.json").read_text())
    assert list(data) == ["model", "settings", "records", "segments", "one_class", "unlabelled", "errors",
                          "not_in_model", "not_in_truth", "renamed", "decisions", "subgroups", "challenge",
                          "calibration"]  # fmt: skip
    assert data["records"][3]["auroc"] is None and data["settings"]["bootstrap"] == 20
    found.to_csv(tmp_path / "e.csv")
    lines = (tmp_path / "e.csv").read_text().splitlines()
    assert lines[0].startswith("level,label,n,positives,auroc,auroc_low,auroc_high,auprc,") and len(lines) == 15
    text = found.to_text()
    assert "Per recording (aggregate: tutorial)" in text and "95 % intervals of 20 resamples" in text
    assert "1 labels have one class only" in text and "macro AUROC" in repr(found)


@pytest.mark.parametrize(
    "wrong",
    [
        {"bootstrap": -1},
        {"bootstrap": 1.5},
        {"confidence": 1},
        {"confidence": "x"},
        {"seed": -1},
        {"aggregate": "median"},
    ],
)
def test_wrong_arguments(records, y, wrong):
    with pytest.raises(ConfigError) as caught:
        evaluate(FakeModel(), records, y, **wrong)
    assert caught.value.field == next(iter(wrong))


def test_without_labels_or_scikit_learn(records, y, monkeypatch):
    with pytest.raises(ConfigError, match="no labels"):
        evaluate(FakeModel(labels=None), records, y)
    model = FakeModel()
    monkeypatch.setitem(__import__("sys").modules, "sklearn", None)
    with pytest.raises(MissingExtraError, match=r"ecgfm\[train\]"):
        evaluate(model, records, y)
    assert model.batches == []

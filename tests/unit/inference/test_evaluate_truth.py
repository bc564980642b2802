"""evaluate: which row of the truth is whose, which column is which label, and what is said of the rest."""

import warnings

import numpy as np
import pytest
from fakes import LABELS, FakeModel
from made_segments import segment, write_segment

from ecgfm import InputWarning, LabelError, Table, evaluate, prepare
from ecgfm.ecg import simulate
from ecgfm.inference.evaluate_truth import read_truth

pytest.importorskip("sklearn.metrics", reason="needs the extra [train]")


def truth_of(names, column="file"):
    """A truth of one label, whose row numbers can be told apart by 0, 1 and what is not known."""
    return read_truth(Table({column: names, "l": np.arange(len(names)) % 2}), ("l",))


def rows(truth, files):
    return [truth.row_of(0, file, file) for file in files]


# ---- which row ------------------------------------------------------------------------------------------------------


def test_the_longest_tail_decides():
    truth = truth_of(["p1/ecg.hea", "p2/ecg.hea", "a/p2/ecg.hea", "p3/other"])
    assert rows(truth, ["p1/ecg.hea", "/data/p1/ecg.hea", "./p2/../p1/ecg.dat", "x/a/p2/ecg.mat"]) == [0, 0, 0, 2]
    assert rows(truth, ["p2/ecg.hea", "other.xml", "absent"]) == [1, 3, None]


@pytest.mark.parametrize("file", ["ecg.hea", "p4/ecg.hea", "/ecg"])
def test_a_base_name_that_fits_several_is_an_error(file):
    with pytest.raises(LabelError, match="2 rows of the labels fit it: 'p1/ecg.hea', 'p2/ecg.hea'") as caught:
        rows(truth_of(["p1/ecg.hea", "p2/ecg.hea"]), [file])
    assert caught.value.path == file


def test_endings():
    truth = truth_of(["visit_1.xml", "visit_1.mat", "rec.1", "rec.2", "Dr.Smith", "a.csv"])
    files = ["visit_1.xml", "visit_1.mat", "x/rec.1", "rec.2.hea", "Dr.Smith.npy", "a.csv.gz"]
    assert rows(truth, files) == [*range(6)]
    assert rows(truth, ["rec.3", "rec", "Dr.Jones.npy", "visit"]) == [None] * 4


def test_backslashes_and_relative_names():
    truth = truth_of(["p1\\ecg.hea", "../data/p2/ecg.hea", "./p3/ecg.hea"])
    assert rows(truth, ["/x/p1/ecg.hea", "p2/ecg.hea", "/x/p3/ecg.hea"]) == [0, 1, 2]


def test_relative_paths_count_from_the_working_directory(tmp_path, monkeypatch):
    for name in ("p1", "p2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ecg.npy").write_bytes(b"")
    truth = truth_of(["p1/ecg.npy", "p2/ecg.npy"])
    monkeypatch.chdir(tmp_path / "p2")
    assert rows(truth, ["ecg.npy", "../p1/ecg.npy", "./ecg.npy"]) == [1, 0, 1]


def files_of(folder, names):
    """Recordings of different simulated hearts, with their absolute names."""
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, simulate(5, 500, seed=i, heart_rate=50 + 10 * i).signal)
    return [str(folder / name) for name in names]


def table(names, positive=2, column="file"):
    return Table({column: names} | {label: (np.arange(len(names)) % 2 == i % 2) * 1 for i, label in enumerate(LABELS)})


def test_patients_whose_files_share_a_name(tmp_path):
    names = ["p1/ecg.npy", "p2/ecg.npy", "p3/ecg.npy"]
    files = files_of(tmp_path, names)
    found = evaluate(FakeModel(), files, table(names), sampling_rate=500, bootstrap=0)
    assert found.predictions["record"].tolist() == files and found.predictions["segments"].tolist() == [1, 1, 1]
    for given in (files, iter(files)):
        with pytest.raises(LabelError, match="fit the same row of the labels"):
            evaluate(FakeModel(), given, table(["ecg"]), sampling_rate=500, bootstrap=0)


def test_a_row_is_of_the_recording_that_fits_it_best(tmp_path):
    files = files_of(tmp_path, ["p2/ecg.npy", "p1/ecg.npy", "p1/other.npy"])
    found = evaluate(FakeModel(), files, table(["p1/ecg.npy", "other"]), sampling_rate=500, bootstrap=0)
    assert found.unlabelled == (files[0],) and found.predictions["record"].tolist() == files[1:]


def test_numbers_in_names_are_not_cut_off(tmp_path):
    files = files_of(tmp_path, ["visit_1.npy", "visit_2.npy", "visit_3.npy"])
    found = evaluate(FakeModel(), files, table(["visit_1", "visit_2"]), sampling_rate=500, bootstrap=0)
    assert found.unlabelled == (files[2],) and found.predictions["segments"].tolist() == [1, 1]
    with pytest.raises(LabelError, match="none of the 3 recordings"):
        evaluate(FakeModel(), files, table(["visit"]), sampling_rate=500, bootstrap=0)
    given = [files[0], files[0], files[1]]
    found = evaluate(FakeModel(), given, table(["visit_1", "visit_2"]), sampling_rate=500, bootstrap=0)
    assert found.predictions["segments"].tolist() == [2, 1]  # one file, given twice


def manifest(folder, names):
    path = folder / "test.tsv"
    path.write_text(f"{folder}\n" + "".join(f"{name}\t2500\n" for name in names))
    return path


def test_a_manifest_of_recordings_that_are_called_like_segments(tmp_path):
    names = ["visit_0.npy", "visit_1.npy", "visit_2.npy"]
    files_of(tmp_path, names)
    found = evaluate(FakeModel(), manifest(tmp_path, names), table(names), sampling_rate=500, bootstrap=0)
    assert found.predictions["segments"].tolist() == [1, 1, 1]
    names = names[1:]
    y = np.array([[0, 1, 0, 1, 0], [1, 0, 1, 0, 1]])
    found = evaluate(FakeModel(), manifest(tmp_path, names), y, sampling_rate=500, bootstrap=0)
    assert found.predictions["segments"].tolist() == [1, 1]


def test_a_manifest_by_idx(tmp_path):
    pytest.importorskip("scipy")
    names = [f"r{i // 2}_{i % 2}.mat" for i in range(6)]
    for i, name in enumerate(names):
        write_segment(tmp_path / name, segment(i // 2, i % 2, 2500), idx=i // 2, number=i % 2)
    path, y = manifest(tmp_path, names), np.array([[0, 1, 0, 1, 0], [1, 0, 1, 0, 1], [0, 0, 1, 1, 0]])
    np.save(tmp_path / "y.npy", y)
    found = evaluate(FakeModel(), path, tmp_path / "y.npy", bootstrap=0)
    assert found.predictions["segments"].tolist() == [2, 2, 2]
    assert found.predictions["record"].tolist() == [str(tmp_path / f"r{i}.mat") for i in range(3)]
    by_table = evaluate(FakeModel(), path, table([0, 1, 2], column="idx"), bootstrap=0)
    assert len(by_table.predictions) == 3
    np.save(tmp_path / "y.npy", y[np.arange(6) // 2])
    with pytest.raises(LabelError, match="a row for each of the 6 segments, which are of 3 recordings"):
        evaluate(FakeModel(), path, tmp_path / "y.npy", bootstrap=0)
    in_order = evaluate(FakeModel(), path, y[np.arange(6) // 2], bootstrap=0)
    assert in_order.to_csv() == found.to_csv()


# ---- which column ---------------------------------------------------------------------------------------------------


def warned(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = call()
    return found, " | ".join(str(one.message) for one in caught if issubclass(one.category, InputWarning))


def label_file(folder, y, names):
    np.save(folder / "y.npy", y)
    (folder / "label_def.csv").write_text("name\n" + "".join(f"{name}\n" for name in names))
    return folder / "y.npy"


def test_a_label_file_goes_by_the_names_beside_it(tmp_path):
    y = np.array([[0, 1, 0], [1, 1, 0]])
    truth, texts = warned(lambda: read_truth(label_file(tmp_path, y, "cab"), ("a", "b", "c")))
    assert truth.values.tolist() == [[1, 0, 0], [1, 0, 1]] and texts == ""
    truth, texts = warned(lambda: read_truth(tmp_path / "y.npy", ("d", "a")))
    np.testing.assert_array_equal(truth.values, [[np.nan, 1], [np.nan, 1]])
    assert truth.unused == ("c", "b") and truth.lacking == ("d",)
    assert "none of the model's labels: c, b" in texts and "which have no truth: d" in texts
    with pytest.raises(LabelError, match="none of the model's labels is a column"):
        read_truth(tmp_path / "y.npy", ("d", "e", "f"))
    truth, texts = warned(lambda: read_truth(tmp_path / "y.npy", ("label_0", "label_1", "label_2"), named=False))
    assert truth.values.tolist() == y.tolist() and "its outputs in their order" in texts


def test_a_label_file_without_names_goes_by_position(tmp_path):
    np.save(tmp_path / "y.npy", np.eye(2))
    truth, texts = warned(lambda: read_truth(tmp_path / "y.npy", ("a", "b")))
    assert truth.values.tolist() == [[1, 0], [0, 1]] and texts == ""
    with pytest.raises(LabelError, match="not .recordings, 3 labels"):
        read_truth(tmp_path / "y.npy", ("a", "b", "c"))


def test_a_broken_file_of_names_is_refused(tmp_path):
    label_file(tmp_path, np.eye(2), ["a"])
    with pytest.raises(LabelError, match="stands beside y.npy") as caught:
        read_truth(tmp_path / "y.npy", ("a", "b"))
    assert caught.value.path == str(tmp_path / "label_def.csv")


def test_columns_without_counterpart_are_in_the_result(tmp_path):
    names = ["a.npy", "b.npy", "c.npy"]
    files = files_of(tmp_path, names)
    columns = {"file": names, "sex\x1b[31m": list("mfm"), LABELS[1]: [0, 1, 1], "Infarction": [1, 0, 1]}
    found, texts = warned(lambda: evaluate(FakeModel(), files, columns, sampling_rate=500, bootstrap=0))
    assert found.not_in_model == ("sex\x1b[31m", "Infarction")
    assert found.not_in_truth == tuple(label for label in LABELS if label != LABELS[1])
    assert texts.isprintable() and "Infarction" in texts and LABELS[0] in texts
    assert '"not_in_model"' in found.to_json() and "Infarction" in found.to_text() and "\x1b" not in found.to_text()


def test_assumed_names_are_marked(tmp_path):
    files = files_of(tmp_path, ["a.npy", "b.npy", "c.npy"])
    y = np.array([[0, 1, 0, 1, 0], [1, 0, 1, 0, 1], [0, 0, 1, 1, 0]])
    found = evaluate(FakeModel(assumed=True), files, y, sampling_rate=500, bootstrap=0)
    assert found.to_csv().splitlines()[0].endswith(",labels_assumed") and "are assumed" in found.to_text()
    assert '"labels_assumed": true' in found.to_json() and found.predictions.columns[-1] == "labels_assumed"
    found = evaluate(FakeModel(), files, y, sampling_rate=500, bootstrap=0)
    assert "assumed" not in found.to_csv() and "are assumed" not in found.to_text()


# ---- DataFrames, masks ----------------------------------------------------------------------------------------------


def test_dataframes(tmp_path):
    pandas = pytest.importorskip("pandas")
    y = np.array([[0, 1], [1, 0], [1, 1]])
    frame = pandas.DataFrame(y, columns=["b", "a"])
    truth = read_truth(frame, ("a", "b"))
    assert truth.in_order and truth.values.tolist() == y[:, ::-1].tolist()
    truth = read_truth(frame.set_index(pandas.Index(["x", "y", "z"])), ("a", "b"))
    assert truth.row_of(0, "d/y.npy", None) == 1
    assert read_truth(frame.set_index(pandas.Index([7, 5, 3])), ("a", "b")).by_idx
    assert read_truth(frame["a"], ("a",)).values.ravel().tolist() == [1, 0, 1]
    frame.loc[1, "a"] = None
    truth = read_truth(frame.astype("Int8"), ("a", "b"))
    assert np.isnan(truth.values[1, 0]) and truth.values[2, 0] == 1
    with pytest.raises(LabelError, match="two columns of this name"):
        read_truth(pandas.DataFrame(np.zeros((3, 3)), columns=["file", "a", "a"]), ("a",))


@pytest.mark.parametrize("key", ["file", "path", "save_file", "record"])
def test_all_key_columns(key):
    assert rows(truth_of(["a", "b"], key), ["x/b.hea"]) == [1]


@pytest.mark.parametrize(
    "y",
    [
        np.ma.array([[0, 1]], mask=[[0, 1]]),
        [np.ma.array([0, 1], mask=[0, 1])],
        {"file": ["x"], "a": np.ma.array([1], mask=[1])},
        {"file": ["x"], "a": [[1, 2]]},
        {"file": ["x", "y"], "a": [1]},
        {"file": [], "a": []},
        {"file": ["x"], "a": [object()]},
        {"file": ["x"], "a": [10**5000]},
        {"file": ["x"], "a": [np.inf]},
        [[0, 1], [0]],
        np.array([[None, 1]]),
        np.zeros((3, 2, 1)),
        np.full((3, 2), np.inf),
        3,
        None,
    ],
    ids=lambda y: type(y).__name__,
)
def test_truth_that_is_none(y):
    with pytest.raises(LabelError) as caught:
        read_truth(y, ("a", "b"))
    assert len(str(caught.value)) < 2000


# ---- one number for one name ----------------------------------------------------------------------------------------


def test_finetuning_and_evaluation_say_the_same():
    """AUROC and average precision of the history are those of evaluate, NaN for one class included."""
    import weights

    import ecgfm

    config = weights.SMALL | {"num_labels": 3}
    model = ecgfm.Model.from_state_dict(config, weights.weights(weights.parameters(config)), labels=("a", "b", "c"))
    x = weights.signal("one number", 16, 12, 2500)
    y = np.random.default_rng(1).integers(0, 2, (16, 3)).astype(float)
    options = {"epochs": 1, "schedule": 0.0, "activation_dropout": 0.0, "progress": False, "labels": ("a", "b", "c")}
    for one_class in (False, True):
        y[:, 1] = 1 if one_class else y[:, 1]
        row = next(ecgfm.finetune(model, x, y, valid=(x, y), monitor="auroc", **options).history.rows())
        found = evaluate(model, x, y, bootstrap=0).segments
        for name in ("auroc", "auprc"):
            assert np.isnan(found[name][1]) == one_class
            assert [row[f"valid_{name}_macro"], row[f"valid_{name}"]] == found[name][-2:].tolist()
    y[:] = 0
    row = next(ecgfm.finetune(model, x, y, valid=(x, y), monitor="auprc", **options).history.rows())
    assert all(np.isnan(row[f"valid_{name}"]) for name in ("auroc", "auprc", "auroc_macro", "auprc_macro"))


def test_an_index_of_numbers_that_fits_nothing_is_explained():
    """A part of a DataFrame has the numbers of its rows as index: they are not taken for those of the recordings."""
    pandas = pytest.importorskip("pandas")
    labels = FakeModel().labels
    y = pandas.DataFrame(np.eye(4, len(labels)), columns=labels, index=[3, 9, 1, 4])
    x = np.concatenate([np.asarray(prepare(simulate(5.0, 500, seed=i)).x) for i in range(4)])
    with pytest.raises(LabelError, match=r"reset_index\(drop=True\)"):
        evaluate(FakeModel(), x, y, bootstrap=0)

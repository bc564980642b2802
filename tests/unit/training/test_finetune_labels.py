"""finetune: names of labels, rows of the output layer, and which columns of y are whose."""

import warnings

import numpy as np
import pytest
import weights
from made_segments import make_split

import ecgfm
from ecgfm.checkpoint.labels import ASSUMED, MIMIC_IV_ECG

pandas = pytest.importorskip("pandas", reason="needs the extra [tables]")

N = 400
LABELS = ("fast", "left axis")
CONFIG = weights.SMALL | {"num_labels": 2}
# nothing is learnt: weights can be compared
NONE = {"epochs": 1, "batch_size": 8, "schedule": 0.0, "activation_dropout": 0.0, "progress": False}


def classifier(labels, count=None):
    config = CONFIG | {"num_labels": count or len(labels)}
    return ecgfm.Model.from_state_dict(config, weights.weights(weights.parameters(config)), labels=labels)


@pytest.fixture(scope="module")
def model():
    return classifier(LABELS)


@pytest.fixture(scope="module")
def data():
    y = np.zeros((8, 2))
    y[::2, 0] = y[:3, 1] = 1
    return weights.signal("labels", 8, 12, N), y


def head(model):
    state = model.state_dict()
    return state["proj.weight"], state["proj.bias"]


def said(call):
    """What the call gives, and the texts of its warnings of the output layer and of names."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = call()
    texts = [str(one.message) for one in caught if issubclass(one.category, ecgfm.InputWarning)]
    return found, " | ".join(text for text in texts if "expects prepared" not in text)


def test_names_of_a_dataframe(model, data):
    x, y = data
    tuned, texts = said(lambda: ecgfm.finetune(model, x, pandas.DataFrame(y, columns=["a", "b"]), **NONE))
    assert tuned.model.labels == ("a", "b") and "made anew, for a, b" in texts
    assert not (head(tuned.model)[0] == head(model)[0]).any()


def test_rows_go_with_their_names(model, data):
    x, y = data
    frame = pandas.DataFrame(y[:, ::-1], columns=LABELS[::-1], index=np.arange(50, 58))
    tuned, texts = said(lambda: ecgfm.finetune(model, x, frame, **NONE))
    assert tuned.model.labels == LABELS[::-1] and texts == ""
    for found, before in zip(head(tuned.model), head(model)):
        np.testing.assert_array_equal(found, before[::-1])
    straight, _ = said(lambda: ecgfm.finetune(model, x, y, **NONE))
    np.testing.assert_allclose(tuned.history["train_loss"], straight.history["train_loss"], rtol=1e-6)


def test_labels_in_another_order_take_their_columns_and_rows(model, data):
    x, y = data
    frame = pandas.DataFrame(y, columns=LABELS)
    tuned, _ = said(lambda: ecgfm.finetune(model, x, frame, labels=LABELS[::-1], **NONE))
    assert tuned.model.labels == LABELS[::-1]
    np.testing.assert_array_equal(head(tuned.model)[0], head(model)[0][::-1])
    straight, _ = said(lambda: ecgfm.finetune(model, x, frame, **NONE))
    np.testing.assert_allclose(tuned.history["train_loss"], straight.history["train_loss"], rtol=1e-6)


def test_some_names_are_known(model, data):
    x, y = data
    tuned, texts = said(lambda: ecgfm.finetune(model, x, y, labels=["new", "fast"], **NONE))
    assert "1 of 2 rows of the output layer are made anew, for new" in texts
    np.testing.assert_array_equal(head(tuned.model)[0][1], head(model)[0][0])
    assert not (head(tuned.model)[0][0] == head(model)[0]).any()


def test_one_of_many_columns(model, data):
    x, y = data
    tuned, _ = said(lambda: ecgfm.finetune(model, x, pandas.DataFrame(y, columns=LABELS), labels=["left axis"], **NONE))
    assert tuned.model.labels == ("left axis",) and tuned.trainer.num_labels == 1
    np.testing.assert_array_equal(head(tuned.model)[0], head(model)[0][1:])


def test_other_names_for_the_columns_are_said(model, data):
    x, y = data
    frame = pandas.DataFrame(y, columns=["0a", "0b"])
    tuned, texts = said(lambda: ecgfm.finetune(model, x, frame, labels=LABELS, **NONE))
    assert tuned.model.labels == LABELS and "other names" in texts
    with pytest.raises(ecgfm.LabelError, match="no column 'left axis'"):
        ecgfm.finetune(model, x, pandas.DataFrame(y, columns=["fast", "b"]), labels=LABELS, **NONE)


def test_columns_without_names_are_said_to_be_the_models(model, data):
    x, y = data
    for given in (y, y.tolist(), y.astype(bool), pandas.DataFrame(y)):
        tuned, texts = said(lambda: ecgfm.finetune(model, x, given, **NONE))
        assert tuned.model.labels == LABELS
        assert "taken to be the model's labels in their order: fast, left axis" in texts
        np.testing.assert_array_equal(head(tuned.model)[0], head(model)[0])


def test_a_series_and_a_table(model, data):
    x, y = data
    tuned, _ = said(lambda: ecgfm.finetune(model, x, pandas.Series(y[:, 0], name="left axis"), **NONE))
    assert tuned.model.labels == ("left axis",)
    np.testing.assert_array_equal(head(tuned.model)[0], head(model)[0][1:])
    tuned, _ = said(lambda: ecgfm.finetune(model, x, ecgfm.Table({"p": y[:, 0], "q": y[:, 1]}), **NONE))
    assert tuned.model.labels == ("p", "q")


def test_seventeen_own_labels_do_not_become_the_published_ones(data):
    x, _ = data
    y = np.eye(17)[:8]
    model = classifier(MIMIC_IV_ECG)
    model.labels_source = ASSUMED
    own = [f"own {i}" for i in range(17)]
    tuned, texts = said(lambda: ecgfm.finetune(model, x, pandas.DataFrame(y, columns=own), **NONE))
    assert tuned.model.labels == tuple(own) and not tuned.model.labels_assumed and "made anew" in texts
    tuned, texts = said(lambda: ecgfm.finetune(model, x, y, **NONE))
    assert tuned.model.labels == MIMIC_IV_ECG and tuned.model.labels_assumed and "(themselves assumed)" in texts


def test_outputs_whose_names_are_not_known(data):
    x, y = data
    nameless = classifier(None, 2)
    tuned, texts = said(lambda: ecgfm.finetune(nameless, x, y, labels=LABELS, **NONE))
    assert tuned.model.labels == LABELS and "whose names are not known" in texts
    encoder = ecgfm.Model.from_state_dict(
        CONFIG, weights.weights(weights.parameters(CONFIG, "pretraining")), kind="pretraining"
    )
    tuned, texts = said(lambda: ecgfm.finetune(encoder, x, pandas.DataFrame(y, columns=LABELS), **NONE))
    assert tuned.model.labels == LABELS and texts == ""


# ---- label files ----------------------------------------------------------------------------------------------------


@pytest.fixture
def split(tmp_path):
    """A manifest of 12 segments of 6 records, idx 10 to 15; y.npy and its label_def.csv in another order."""
    make_split(tmp_path, samples=N)
    y = np.random.RandomState(0).randint(0, 2, (16, 2)).astype(float)
    np.save(tmp_path / "y.npy", y[:, ::-1])
    (tmp_path / "label_def.csv").write_text("name\nleft axis\nfast\n")
    (tmp_path / "plain").mkdir()
    np.save(tmp_path / "plain" / "y.npy", y)
    return tmp_path, y


@pytest.mark.parametrize("source", ["train.tsv", "packed/train.npy"])
def test_a_label_file_is_matched_by_name(model, split, source):
    folder, y = split
    plain, _ = said(lambda: ecgfm.finetune(model, folder / source, folder / "plain" / "y.npy", **NONE))
    named, texts = said(lambda: ecgfm.finetune(model, folder / source, folder / "y.npy", **NONE))
    assert named.model.labels == LABELS[::-1] and texts == ""
    np.testing.assert_array_equal(head(named.model)[0], head(model)[0][::-1])
    np.testing.assert_allclose(named.history["train_loss"], plain.history["train_loss"], rtol=1e-6)
    valid = folder / source, folder / "plain" / "y.npy"
    ordered, _ = said(
        lambda: ecgfm.finetune(model, folder / source, folder / "y.npy", labels=LABELS, valid=valid, **NONE)
    )
    np.testing.assert_allclose(ordered.history["train_loss"], plain.history["train_loss"], rtol=1e-6)
    np.testing.assert_allclose(ordered.history["valid_loss"], plain.history["train_loss"], rtol=1e-6)


def test_a_label_file_of_another_number_is_refused(model, split):
    folder, _ = split
    (folder / "label_def.csv").write_text("name\nonly\n")
    with pytest.raises(ecgfm.LabelError, match="1 label names for 2 outputs"):
        ecgfm.finetune(model, folder / "train.tsv", folder / "y.npy", **NONE)


def test_tables_by_idx(model, split):
    folder, y = split
    plain, _ = said(lambda: ecgfm.finetune(model, folder / "train.tsv", folder / "plain" / "y.npy", **NONE))
    frame = pandas.DataFrame(y[10:], columns=LABELS)
    frame["idx"] = np.arange(10, 16)
    frame = frame.sample(frac=1, random_state=1)
    frame.to_csv(folder / "table.csv", index=False)
    for given in (frame, folder / "table.csv", frame.set_index("idx")):
        found, _ = said(lambda: ecgfm.finetune(model, folder / "train.tsv", given, **NONE))
        assert found.model.labels == LABELS
        assert found.history["train_loss"].tolist() == plain.history["train_loss"].tolist()


@pytest.mark.parametrize("source", ["train.tsv", "packed/train.npy"])
def test_labels_with_a_row_per_segment_are_refused(model, split, source):
    folder, y = split
    words = "a row for each of the 12 segments, which are of 6 recordings|is of record 15, the labels are of 0 to 11"
    with pytest.raises(ecgfm.LabelError, match=words):
        ecgfm.finetune(model, folder / source, y[:12], **NONE)
    np.save(folder / "plain" / "y.npy", y[:12])
    with pytest.raises(ecgfm.LabelError, match=words):
        ecgfm.finetune(model, folder / source, folder / "plain" / "y.npy", **NONE)


def test_recordings_that_are_called_like_segments_are_no_segments(model, tmp_path):
    from made_segments import segment, write_segment

    for i in range(6):
        write_segment(tmp_path / f"rec_{i}.mat", segment(i, 0, N), idx=i)
    (tmp_path / "train.tsv").write_text(f"{tmp_path}\n" + "".join(f"rec_{i}.mat\t{N}\n" for i in range(6)))
    tuned, _ = said(lambda: ecgfm.finetune(model, tmp_path / "train.tsv", np.eye(2)[[0, 1] * 3], valid=0.5, **NONE))
    assert tuned.history["num_updates"].tolist() == [1]


# ---- what is refused ------------------------------------------------------------------------------------------------


def test_tables_that_name_recordings(model, data, tmp_path):
    x, y = data
    frame = pandas.DataFrame(y, columns=LABELS).assign(path=[f"{i}.hea" for i in range(8)])
    frame.to_csv(tmp_path / "y.csv", index=False)
    for given in (frame, tmp_path / "y.csv"):
        with pytest.raises(ecgfm.LabelError, match="in the order of x"):
            ecgfm.finetune(model, x, given, **NONE)
    frame.drop(columns="path").to_csv(tmp_path / "y.csv", index=False)
    tuned, _ = said(lambda: ecgfm.finetune(model, x, tmp_path / "y.csv", **NONE))
    assert tuned.model.labels == LABELS


def test_a_csv_with_a_manifest(model, split):
    folder, y = split
    pandas.DataFrame(y, columns=LABELS).assign(file="x").to_csv(folder / "y.csv", index=False)
    with pytest.raises(ecgfm.LabelError, match="ecgfm labels csv") as caught:
        ecgfm.finetune(model, folder / "train.tsv", folder / "y.csv", **NONE)
    assert "pickle" not in str(caught.value)
    (folder / "renamed.npy").write_text("idx,a\n1,0\n")
    with pytest.raises(ecgfm.LabelError, match="call it .csv"):
        ecgfm.finetune(model, folder / "train.tsv", folder / "renamed.npy", **NONE)


@pytest.mark.parametrize(
    "y",
    [
        np.ma.array(np.zeros((8, 2)), mask=np.eye(8, 2)),
        [np.ma.array([0.0, 1.0], mask=[0, 1])] * 8,
        np.full((8, 2), "x"),
        np.full((8, 2), None),
        np.zeros((8, 2), complex),
        [[0, 1], [0]] * 4,
        np.zeros((8, 2, 1)),
        {"a": np.zeros(8), "b": np.zeros(7)},
        {"a": np.full(8, "yes")},
        {"a": np.full(8, np.nan)},
        {"a": [10**5000] * 8},
        {"a": np.ma.array(np.zeros(8), mask=np.arange(8) == 1)},
        {"a\x1b[31m": np.zeros(8)},
        {},
        7,
        "no such file.npy",
        pandas.DataFrame(np.zeros((8, 2)), columns=["a", "a"]),
    ],
    ids=lambda y: type(y).__name__,
)
def test_labels_that_are_none(model, data, y):
    with pytest.raises(ecgfm.LabelError) as caught:
        ecgfm.finetune(model, data[0], y, **NONE)
    assert len(str(caught.value)) < 2000 and str(caught.value).isprintable()


def test_a_trainer_takes_columns_by_name(model, data):
    x, y = data
    trainer = ecgfm.Trainer(model)
    assert trainer.checked_labels(pandas.DataFrame(y[:, ::-1], columns=LABELS[::-1]), 8).tolist() == y.tolist()
    with pytest.raises(ecgfm.LabelError, match="not the labels of the outputs"):
        trainer.step(x, pandas.DataFrame(y, columns=["a", "b"]))
    named, texts = said(lambda: ecgfm.Trainer(model, labels=LABELS[::-1]))
    np.testing.assert_array_equal(named.state_dict()["proj.bias"], head(model)[1][::-1])
    assert texts == ""


def test_assumed_names_stay_assumed(data):
    model = classifier(MIMIC_IV_ECG)
    model.labels_source = ASSUMED
    trainer = ecgfm.Trainer(model)
    assert trainer.labels_assumed and trainer.model().labels_assumed
    trainer = ecgfm.Trainer(model, labels=MIMIC_IV_ECG)  # confirmed by who gives them
    assert not trainer.labels_assumed and trainer.model().labels == MIMIC_IV_ECG
    assert not ecgfm.Trainer(model, labels=MIMIC_IV_ECG[::-1]).labels_assumed


def test_a_series_without_a_name_names_nothing(data):
    x, y = data
    model = classifier(("fast",))
    tuned, texts = said(lambda: ecgfm.finetune(model, x, pandas.Series(y[:, 0]), **NONE))
    assert tuned.model.labels == ("fast",) and "y has no names" in texts
    np.testing.assert_array_equal(head(tuned.model)[0], head(model)[0])
    tuned, texts = said(lambda: ecgfm.finetune(model, x, pandas.Series(y[:, 0], name="slow"), **NONE))
    assert tuned.model.labels == ("slow",) and "made anew, for slow" in texts


def test_warnings_name_the_line_of_the_caller(model, data):
    x, y = data
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ecgfm.finetune(model, x, pandas.DataFrame(y, columns=["a", "b"]), labels=["c", "d"], **NONE)
    assert {one.filename for one in caught if "other names" in str(one.message)} == {__file__}

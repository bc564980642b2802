"""Names of the outputs: who wins, and what is refused."""

import csv

import checkpoint_files as files
import pytest
import weights

from ecgfm import CheckpointError, LabelError, checkpoint
from ecgfm.checkpoint.labels import MIMIC_IV_ECG, check_labels
from ecgfm.specs.label_sets import LABEL_SETS

NAMES = tuple(f"label {i}" for i in range(17))


def save(path, labels=None, config=weights.SMALL, kind="classifier"):
    extra = {"best": 1.0} | ({} if labels is None else {"ecgfm": {"labels": labels}})
    value, storages = files.content(config, kind, extra_state=extra)
    path.write_bytes(files.zip_bytes(files.zip_members(value, storages.raw)))
    return path


def table(path, names, column="name"):
    path.write_text(f"id,{column}\n" + "".join(f'{i},"{name}"\n' for i, name in enumerate(names)), encoding="utf-8")
    return path


def found(path, **options):
    with checkpoint.read(path, **options) as checkpoint_:
        return checkpoint_.labels, checkpoint_.labels_source


def test_who_wins(tmp_path):
    plain, named = save(tmp_path / "plain.pt"), save(tmp_path / "named.pt", list(NAMES))
    assert found(plain) == (MIMIC_IV_ECG, "built-in, assumed")
    assert found(named) == (NAMES, "file")
    beside = [f"é, {i}" for i in range(17)]
    table(tmp_path / "label_def.csv", beside)
    assert found(plain) == (tuple(beside), "label_def.csv")
    assert found(named) == (NAMES, "file")
    other = [f"other {i}" for i in range(17)]
    assert found(named, labels=other) == (tuple(other), "the caller")
    assert found(plain, labels=table(tmp_path / "given.csv", other)) == (tuple(other), "the caller")


@pytest.mark.parametrize("labels", LABEL_SETS, ids=lambda one: one.name)
def test_the_number_of_outputs_says_which_names_to_assume(tmp_path, labels):
    config = weights.SMALL | {"num_labels": len(labels)}
    assert found(save(tmp_path / "a.pt", config=config)) == (labels.names, "built-in, assumed")


def test_other_numbers_of_outputs_are_not_guessed(tmp_path):
    assert found(save(tmp_path / "a.pt", config=weights.SMALL | {"num_labels": 25})) == (None, None)
    assert found(save(tmp_path / "b.pt", kind="pretraining")) == (None, None)
    with pytest.raises(LabelError, match="no outputs to name"):
        checkpoint.read(tmp_path / "b.pt", labels=NAMES)


def test_published_names(shared):
    with open(shared / "labeler" / "mimic_iv_ecg_label_def.csv", newline="") as file:
        assert tuple(row["name"] for row in csv.DictReader(file)) == MIMIC_IV_ECG


@pytest.mark.parametrize(
    "labels, message",
    [
        (NAMES[:-1], "16 label names for 17 outputs"),
        (NAMES[:-1] + ("label 0",), "'label 0' occurs twice"),
        (NAMES[:-1] + ("",), "name 16 is empty"),
        (NAMES[:-1] + ("a\nb",), "name 16 is empty, too long or has control characters"),
        (NAMES[:-1] + (5,), "name 16 is a int, not text"),
        (7, "not a sequence of names"),
    ],
)
def test_labels_that_do_not_fit(tmp_path, labels, message):
    with pytest.raises(LabelError, match=message) as caught:
        check_labels(labels, 17)
    assert caught.value.field == "labels"
    if isinstance(labels, tuple):
        with pytest.raises(LabelError, match=message) as caught:
            checkpoint.read(save(tmp_path / "a.pt", list(labels)))
        assert caught.value.path.endswith("a.pt")


def test_a_label_file_that_does_not_fit_is_named(tmp_path):
    path = save(tmp_path / "a.pt")
    for names, column, message in (
        (NAMES[:3], "name", "3 label names for 17"),
        (NAMES, "title", "no column 'name'"),
        ((), "name", "no rows"),
    ):
        table(tmp_path / "label_def.csv", names, column)
        with pytest.raises(LabelError, match=message) as caught:
            checkpoint.read(path)
        assert caught.value.path == str(tmp_path / "label_def.csv") and "remove" in caught.value.remedy
        assert found(path, labels=NAMES)[1] == "the caller"
    (tmp_path / "label_def.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LabelError, match="not a CSV file"):
        checkpoint.read(path)
    with pytest.raises(LabelError, match="no such file"):
        checkpoint.read(path, labels=tmp_path / "absent.csv")


@pytest.mark.parametrize("labels", ["label_def.csv", "/etc/passwd", 5, {"a": 1}])
def test_a_file_does_not_choose_which_others_are_read(tmp_path, labels):
    table(tmp_path / "label_def.csv", NAMES)
    with pytest.raises(CheckpointError, match="labels: not a list of names"):
        checkpoint.read(save(tmp_path / "a.pt", labels))

"""The six tasks of the PTB-XL benchmark: labels, folds and AUROC against a script of pandas and scikit-learn alone."""

import ast

import data_sets
import numpy as np
import pytest

from ecgfm import ConfigError, FormatError, InputWarning
from ecgfm.cli.main import main
from ecgfm.data import PTB_XL_TASKS, ptb_xl_labels, read_ptb_xl
from ecgfm.metrics.ranking import ranking

COUNTS = {"all": 9, "diagnostic": 6, "subdiagnostic": 6, "superdiagnostic": 5, "form": 2, "rhythm": 2}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return data_sets.ptb_xl(tmp_path_factory.mktemp("ptb") / "ptb-xl")


@pytest.fixture(scope="module", params=["made", "real"])
def folder(request, made):
    return made if request.param == "made" else request.getfixturevalue("shared") / "real/ptbxl"


def independent(folder, task):
    """(ecg ids, folds, names, labels) of the recordings with a label of the task."""
    pandas = pytest.importorskip("pandas")
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    table = pandas.read_csv(folder / "ptbxl_database.csv", index_col="ecg_id")
    codes = table.scp_codes.apply(ast.literal_eval)
    statements = pandas.read_csv(folder / "scp_statements.csv", index_col=0)
    if task == "all":
        found = codes.apply(lambda one: sorted(set(one)))
    elif task in ("diagnostic", "form", "rhythm"):
        kind = statements[statements[task] == 1.0]
        found = codes.apply(lambda one: sorted({code for code in one if code in kind.index}))
    else:
        column = {"subdiagnostic": "diagnostic_subclass", "superdiagnostic": "diagnostic_class"}[task]
        of = statements[statements.diagnostic == 1.0][column].dropna()
        found = codes.apply(lambda one: sorted({of[code] for code in one if code in of.index}))
    kept = found[found.apply(len) > 0]
    encoder = preprocessing.MultiLabelBinarizer()
    y = encoder.fit_transform(kept)
    return kept.index.to_numpy(), table.strat_fold[kept.index].to_numpy(), list(encoder.classes_), y


@pytest.mark.parametrize("task", PTB_XL_TASKS)
def test_labels_folds_and_auroc(folder, task):
    metrics = pytest.importorskip("sklearn.metrics", reason="needs the extra [train]")
    ids, folds, names, y = independent(folder, task)
    tables = read_ptb_xl(folder)
    found = tables.task(task)
    kept = found.labelled
    assert list(found.names) == names
    np.testing.assert_array_equal(tables.records["ecg_id"][kept], ids)
    np.testing.assert_array_equal(tables.records["fold"][kept], folds)
    np.testing.assert_array_equal(found.y[kept], y)
    labels = ptb_xl_labels(folder, task)
    np.testing.assert_array_equal(labels.idx, np.sort(ids))
    np.testing.assert_array_equal(labels.y, y[np.argsort(ids)])
    # no recording of fold 10 is there: 9 is the test fold
    splits = tables.splits()[kept]
    np.testing.assert_array_equal(splits, np.where(folds == 9, "test", np.where(folds == 8, "valid", "train")))
    scores = (np.random.default_rng(0).random(y.shape) + 0.3 * y).round(2)
    test = splits == "test"
    both = (y[test].min(axis=0) == 0) & (y[test].max(axis=0) == 1)
    wanted = [metrics.roc_auc_score(y[test][:, i], scores[test][:, i]) for i in np.flatnonzero(both)]
    auroc = ranking(found.y[kept][test], scores[test])[0]
    np.testing.assert_allclose(auroc[:-2][both], wanted, atol=1e-12)
    assert np.isnan(auroc[:-2][~both]).all()
    assert wanted or task == "form"
    np.testing.assert_allclose(auroc[-2], np.mean(wanted) if wanted else np.nan, atol=1e-12)


def test_what_the_real_part_is_known_to_have(shared):
    """The counts that the data's own README states."""
    tables = read_ptb_xl(shared / "real/ptbxl")
    found = tables.task("superdiagnostic")
    assert dict(zip(found.names, found.y.sum(axis=0).tolist())) == {
        "CD": 1233, "HYP": 715, "MI": 1397, "NORM": 2457, "STTC": 1278,
    }  # fmt: skip
    assert len(tables.codes) - found.labelled.sum() == 117 and len(np.unique(tables.records["patient_id"])) == 4828
    assert len(tables.task("all").names) == 70 and np.isnan(tables.records["age"]).sum() == 74


def test_folds_ten_and_nine_where_ten_is_there(tmp_path):
    tables = read_ptb_xl(data_sets.ptb_xl(tmp_path, folds=range(1, 11)))
    folds = tables.records["fold"]
    np.testing.assert_array_equal(
        tables.splits(), np.where(folds == 10, "test", np.where(folds == 9, "valid", "train"))
    )
    assert "test fold 10, validation fold 9" in tables.about()[1]


def test_likelihood_zero_counts(made):
    tables = read_ptb_xl(made)
    found = tables.task("diagnostic")
    assert found.y[1, found.names.index("ASMI")] and tables.codes[1]["ASMI"] == 0
    assert {name: len(tables.task(name).names) for name in PTB_XL_TASKS} == COUNTS


def test_the_command(made, tmp_path, capsys):
    arguments = ["labels", "ptb-xl", "--raw_root", str(made), "--task", "superdiagnostic"]
    assert main([*arguments, "--output_dir", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "test fold 9, validation fold 8 (no recording of fold 10 is there)" in printed
    assert "24 recordings without a label of the task are left out" in printed
    rows = data_sets.read_table(tmp_path / "labels.csv")
    assert list(rows[0])[:8] == ["idx", "file", "split", "patient_id", "fold", "age", "sex", "site"]
    assert rows[0]["file"] == "records500/00000/00001_hr.hea" and rows[0]["sex"] == "male" and rows[1]["site"] == "2"
    wanted = ptb_xl_labels(made, "superdiagnostic")
    assert [int(row["idx"]) for row in rows] == wanted.idx.tolist()
    assert [[int(row[name]) for name in wanted.names] for row in rows] == wanted.y.astype(int).tolist()
    splits = data_sets.read_table(tmp_path / "meta_split.csv")
    assert [row["idx"] for row in splits] == [row["idx"] for row in rows] and len(splits) == 48
    assert {row["split"] for row in splits} == {"train", "valid", "test"}
    y = np.load(tmp_path / "y.npy")
    np.testing.assert_array_equal(y[wanted.idx], wanted.y)
    for wrong in (["--task", "none"], ["--task", "form"]):
        assert main(["labels", "ptb-xl", "--raw_root", str(made), *wrong]) == 2


CELLS = {
    "ecg_id": ("1.5", "", "x", "2"),
    "patient_id": ("", "-1", "1001"),
    "strat_fold": ("0", "11", ""),
    "scp_codes": ("", "NORM", "{'NORM': 100", "{'NORM': 1, 'NORM': 2}", "{'NORM': __import__('os')}", "{NORM: 1}",
                  "{'NORM': nan}", "{'NORM': 1e9}", "{'NORM': 100.0}" * 2),
    "filename_hr": ("/etc/passwd", "../x", "", "a\0b"),
}  # fmt: skip


@pytest.mark.parametrize("column, value", [(name, value) for name, values in CELLS.items() for value in values])
def test_cells_that_can_not_be(tmp_path, column, value):
    folder = data_sets.ptb_xl(tmp_path, folds=(3, 9))
    rows = data_sets.read_table(folder / "ptbxl_database.csv")
    rows[0][column] = value
    if (column, value) == ("patient_id", "1001"):
        rows[0]["strat_fold"] = "3"  # the patient's others are in the test fold
    data_sets.write_table(folder / "ptbxl_database.csv", rows)
    with pytest.raises(FormatError) as found:
        read_ptb_xl(folder).files()
    assert found.value.field in (column, "strat_fold") and "ptbxl_database" in str(found.value)
    assert len(str(found.value)) < 500


def test_tables_that_can_not_be(tmp_path):
    with pytest.raises(ConfigError, match="no such directory"):
        read_ptb_xl(tmp_path / "none")
    folder = data_sets.ptb_xl(tmp_path)
    statements = folder / "scp_statements.csv"
    text = statements.read_text()
    for wrong in (text.replace("diagnostic_class", "x"), text + "SR,again,,,1.0,,\n", text.splitlines()[0] + "\n",
                  text.replace("1.0,,,NORM", "yes,,,NORM")):  # fmt: skip
        statements.write_text(wrong)
        with pytest.raises(FormatError, match="scp_statements"):
            read_ptb_xl(folder)
    statements.write_text(text.replace("PVC,", "PVC2,"))
    with pytest.warns(InputWarning, match="'PVC'"):
        assert "PVC" in read_ptb_xl(folder).task("all").names
    statements.unlink()
    with pytest.raises(FormatError):
        read_ptb_xl(folder)

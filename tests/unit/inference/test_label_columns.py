"""Columns of labels that are called by another name: abbreviations, SNOMED CT codes, names of other sets."""

import warnings

import numpy as np
import pytest

import ecgfm
from ecgfm import InputWarning, LabelError
from ecgfm.inference.evaluate_truth import read_truth
from ecgfm.specs.known import MIMIC_IV_ECG
from ecgfm.specs.label_sets import CHALLENGE_2021, DEEPECG_77, alike, columns_of, other_names
from ecgfm.training.labelling import chosen_names, read_labels

NAN = np.nan
AF, LBBB, SR = "Atrial fibrillation", "Left bundle branch block", "Sinus rhythm"
LABELS = (AF, "mine", LBBB, SR)


def read(columns, labels=LABELS):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        truth = read_truth(columns, labels)
    return truth, " ".join(str(one.message) for one in said if issubclass(one.category, InputWarning))


def test_by_code_abbreviation_and_the_name_of_another_set():
    truth, said = read(
        {"file": ["a", "b"], "164889003": [1, 0], "Sinusal": [0, 1], "CLBBB|LBBB": [1, 1], "mine": [0, 0]}
    )
    assert np.array_equal(truth.values, [[1, 0, 1, 0], [0, 0, 1, 1]])
    assert truth.renamed == {AF: ("164889003",), LBBB: ("CLBBB|LBBB",), SR: ("Sinusal",)}
    assert not truth.unused and not truth.lacking
    assert f"labels whose column has another name: 164889003 for {AF}, CLBBB|LBBB for {LBBB}, Sinusal for {SR}" in said


def test_a_pair_is_true_where_one_of_it_is():
    columns = {"file": list("abcde"), "CLBBB": [1, 0, 0, "", 0], "164909002": [0, 1, 0, 1, ""], "mine": [0] * 5}
    truth, said = read(columns)
    assert np.array_equal(truth.values[:, 2], [1, 1, 0, 1, NAN], equal_nan=True)
    assert truth.renamed == {LBBB: ("CLBBB", "164909002")} and f"CLBBB or 164909002 for {LBBB}" in said
    assert np.array_equal(read({"file": ["a"], "LBBB": [1]})[0].values[:, 2], [1])


def test_the_name_itself_comes_first():
    truth, said = read({"file": ["a"], AF: [0], "AF": [1], "NSR": [1]})
    assert truth.values[0, 0] == 0 and truth.renamed == {SR: ("NSR",)} and truth.unused == ("AF",)


def test_what_only_shares_an_abbreviation():
    """PR is pacing rhythm in the challenge, and the length of an interval elsewhere."""
    truth, said = read({"file": ["a", "b"], "PR": [160, 180], AF: [0, 1]}, (AF, "Electronic pacemaker"))
    assert truth.lacking == ("Electronic pacemaker",) and truth.unused == ("PR",) and not truth.renamed
    assert read({"file": ["a"], "PR": [1], AF: [0]}, (AF, "Electronic pacemaker"))[0].values[0, 1] == 1
    with pytest.raises(LabelError, match="none of the model's labels"):
        read({"file": ["a"], "PR": [160]}, (AF, "Electronic pacemaker"))


@pytest.mark.parametrize(
    "columns",
    [("AF", "164889003"), ("AF", "Afib"), ("LBBB", "164909002"), ("CLBBB|LBBB", "733534002|164909002")],
)
def test_two_columns_of_one_label_are_an_error(columns):
    with pytest.raises(LabelError, match="several columns are this label: "):
        read({"file": ["a"], **{name: [1] for name in columns}})


def test_one_column_of_two_labels_is_an_error():
    with pytest.raises(LabelError, match="AF: it is the column of two labels: Afib, Atrial fibrillation"):
        columns_of(("Afib", AF), ("AF",))


def test_case_and_spaces_count():
    """Names are taken to the letter."""
    assert columns_of(LABELS, ("af", "AF ", "atrial fibrillation", "")) == {}


def test_files(tmp_path):
    path = tmp_path / "truth.csv"
    path.write_text("file,AF,426783006,other\na,1,0,x\nb,0,1,y\n")
    with pytest.warns(InputWarning, match="other.*AF for Atrial fibrillation"):
        truth = read_truth(path, (AF, SR))
    assert np.array_equal(truth.values, [[1, 0], [0, 1]]) and truth.unused == ("other",)
    np.save(tmp_path / "y.npy", np.array([[1, 0, 0], [0, 1, 1.0]]))
    (tmp_path / "label_def.csv").write_text("name\nAF\nCLBBB\nLBBB\n")
    with pytest.warns(InputWarning, match="CLBBB or LBBB for Left"):
        truth = read_truth(tmp_path / "y.npy", (LBBB, AF))
    assert np.array_equal(truth.values, [[0, 1], [1, 0]]) and not truth.unused


def test_models_of_the_sets_find_the_challenge():
    codes = ["|".join(one.snomed_ct) for one in CHALLENGE_2021.labels]
    short = ["|".join(one.abbreviations) for one in CHALLENGE_2021.labels]
    for columns in (codes, short):
        assert len(columns_of(CHALLENGE_2021.names, columns)) == 26
        assert len(columns_of(MIMIC_IV_ECG, columns)) == 9 and len(columns_of(DEEPECG_77.names, columns)) == 11
    assert columns_of(short, codes) == {name: (code,) for name, code in zip(short, codes)}
    assert all(name not in others for name, others in other_names(CHALLENGE_2021.names).items())


def test_an_evaluation_says_it():
    pytest.importorskip("sklearn", reason="needs the extra [train]")
    pandas = pytest.importorskip("pandas", reason="needs the extra [tables]")
    records = [ecgfm.ecg.SimulatedPatient(i).record(10.0) for i in range(4)]
    y = pandas.DataFrame({"AF": [0, 1, 0, 1]})
    with pytest.warns(InputWarning, match="AF for Atrial fibrillation"):
        found = ecgfm.evaluate("demo", records, y, bootstrap=0)
    assert found.renamed == {AF: ("AF",)} and '"renamed": {' in found.to_json() and "AF for Atrial" in found.to_text()
    assert list(found.predictions[f"true {AF}"]) == [0, 1, 0, 1]


# ---- finetuning -----------------------------------------------------------------------------------------------------


def test_columns_of_training_labels():
    y = {"NSR": [1, 0], "AF": [0, 1], "LBBB": [0.0, NAN], "CLBBB": [0, 1]}
    names, columns = chosen_names((AF, SR, LBBB), read_labels(y))
    values = read_labels(y).arranged(columns)
    assert names == (AF, SR, LBBB) and np.array_equal(values, [[0, 1, 0], [1, 0, 1]])


def test_other_names_in_order_stay_a_matter_of_order():
    with pytest.warns(InputWarning, match="in their order: AF, SR"):
        assert chosen_names((AF, "normal"), read_labels({"AF": [1], "SR": [0]})) == ((AF, "normal"), ("AF", "SR"))


def test_rows_of_the_output_layer_are_kept_by_meaning():
    model = ecgfm.load("demo")
    with pytest.warns(InputWarning, match="kept for labels of the same meaning: Atrial fibrillation for AF") as said:
        trainer = ecgfm.Trainer(model, labels=["new", "AF"])
    assert any("1 of 2 rows" in str(one.message) for one in said)
    old, new = model.state_dict(), trainer.model().state_dict()
    row = model.labels.index(AF)
    assert np.array_equal(new["proj.weight"][1], old["proj.weight"][row])
    assert not np.isin(new["proj.weight"][0], old["proj.weight"]).all()
    assert alike(("Atrial fibrillation",), ("Atrial fibrillation", "AF")) == {}

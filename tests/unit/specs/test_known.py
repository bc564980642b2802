"""The table of known models: complete, without contradictions, and what a file is recognised by."""

import csv

import pytest

from ecgfm.specs.inputs import ECG_FM
from ecgfm.specs.known import DEEPECG, KNOWN, MARKS, MIMIC_IV_ECG, Traits, nearest, recognised
from ecgfm.specs.label_sets import CHALLENGE_2021, DEEPECG_77, LABEL_SETS, groups_of, labels_of

RUN = [one for one in KNOWN.values() if one.refused is None]


@pytest.mark.parametrize("name", KNOWN)
def test_a_row_is_whole(name):
    one = KNOWN[name]
    assert one.name == name == name.lower() and one.what and one.licence and len(one.what) < 100
    assert (one.kind == "pretraining") == (not one.labels) or one.refused
    if one.refused is not None:
        return
    assert one.use and one.input in (ECG_FM, DEEPECG, DEEPECG.replaced(samples=1250))
    assert (one.repository is None) == (name == "demo")
    assert one.label_set is None or one.labels == one.label_set.names
    assert all(len(each.values) == one.outputs and each.source and each.rule for each in one.thresholds)
    assert one.gated == (one.family in MARKS) == name.startswith("deepecg/")
    assert one.page is None or one.page.startswith(f"https://huggingface.co/{one.repository}")


def test_what_the_models_take():
    takes = {one.name: (one.input.sampling_rate, one.input.samples, one.input.normalisation) for one in RUN}
    deepecg = {name for name in takes if name.startswith("deepecg/")} - {"deepecg/ssl"}
    assert len(deepecg) == 4 and {takes[name] for name in deepecg} == {(250, 2500, "none")}
    assert takes["deepecg/ssl"] == (250, 1250, "none")
    assert {takes[name] for name in takes if "deepecg" not in name} == {(500, 2500, "recording")}


def test_label_sets():
    assert [len(one) for one in LABEL_SETS] == [17, 26, 77]
    for one in LABEL_SETS:
        assert len(set(one.names)) == len(one) and all(label.groups for label in one.labels)
        assert all(len(label.abbreviations) == len(label.snomed_ct) for label in one.labels)
    codes = [code for label in CHALLENGE_2021.labels for code in label.snomed_ct]
    assert len(codes) == len(set(codes)) == 30  # the scored codes of the challenge
    assert DEEPECG_77.names[0] == "Acute pericarditis" and DEEPECG_77.names[76] == "Left atrial enlargement"
    assert DEEPECG_77.labels[69].groups == ("infarction and ischaemia", "other")


def test_the_26_are_those_of_the_reference(shared):
    with open(shared / "labeler/physionet2021_label_def.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    found = [(one.name, "|".join(one.abbreviations), "|".join(one.snomed_ct)) for one in CHALLENGE_2021.labels]
    assert found == [(row["name"], row["abbreviation"], row["snomed_ct"]) for row in rows]


def test_one_label_by_many_names():
    for name in ("Left bundle branch block", "CLBBB|LBBB", "CLBBB", "LBBB", "164909002", "733534002|164909002"):
        (label,) = labels_of([name])
        assert label.snomed_ct == ("733534002", "164909002"), name
    assert labels_of(["Pacing rhythm"]) == labels_of(["PR"]) and labels_of(["LPR"]) != labels_of(["PR"])
    assert labels_of(["af", "sinus rhythm", "", "no such"]) == (None,) * 4
    # the same meaning across the sets
    assert labels_of(["Afib"])[0].snomed_ct == labels_of(["Atrial fibrillation"])[0].snomed_ct
    # what only sounds alike has no code: a tachycardia is not a sinus tachycardia, an infarction no Q wave
    assert not any(one.snomed_ct for one in labels_of(["Tachycardia", "Infarction", "Ventricular paced"]))


def test_groups():
    groups = groups_of(MIMIC_IV_ECG)
    assert sum(map(len, groups.values())) == 17 and groups["quality"] == ("Poor data quality",)
    assert groups_of(["mine", "AF"]) == {"other": ("mine",), "rhythm": ("AF",)}
    assert sum(map(len, groups_of(DEEPECG_77.names).values())) == 78


def test_what_a_file_is_recognised_by():
    def found(kind, outputs, paths=(), labels=None):
        one = recognised(Traits(kind, outputs, paths, labels))
        return None if one is None else ([each.name for each in one.models], one.input.sampling_rate, one.named)

    base = ("/weights/base_ssl.pt",)
    assert found("classifier", 17) == (["ecg-fm"], 500, False)
    assert found("classifier", 26) == (["ecg-fm/physionet"], 500, False)
    assert found("classifier", 77) == (["deepecg/77"], 250, False)
    assert found("classifier", 77, base) == (["deepecg/77"], 250, True)
    assert found("classifier", 1, base) == (["deepecg/lvef40", "deepecg/lvef50", "deepecg/afib5y"], 250, True)
    assert found("classifier", 5, base) == ([], 250, True)  # a further model of the family
    for kind in ("pretraining", "encoder"):
        assert found(kind, 0, ("/data/mhi-mimic-code15/cmsc",)) == (["deepecg/ssl"], 250, True)
        assert found(kind, 0) is None
    assert found("classifier", 1) is None and found("classifier", 10) is None
    # a model of other labels is another one
    assert found("classifier", 77, (), tuple(f"mine {i}" for i in range(77))) is None
    assert found("classifier", 17, (), MIMIC_IV_ECG) == (["ecg-fm"], 500, False)


@pytest.mark.parametrize(
    "text, wanted",
    [("ecg-fn", "ecg-fm"), ("ECG_FM", "ecg-fm"), ("deepecg/78", "deepecg/77"), ("physionet", "ecg-fm/physionet")],
)
def test_a_misspelled_name_gets_the_nearest(text, wanted):
    assert nearest(text)[0] == wanted


def test_what_is_near_nothing():
    assert nearest("zzz") == [] == nearest("") and len(nearest("e" * 100_000)) == 0

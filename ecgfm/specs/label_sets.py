"""The label sets of published models: names in the order of the outputs, groups for reading, other names of a label."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from .._text import printable
from ..errors import LabelError

__all__ = [
    "CHALLENGE_2021",
    "DEEPECG_77",
    "LABEL_SETS",
    "MIMIC_IV_ECG_17",
    "SIMULATED",
    "Label",
    "LabelSet",
    "alike",
    "columns_of",
    "groups_of",
    "label_set_of_count",
    "labels_of",
    "other_names",
    "renamed_text",
]

#: What is simulated, and what the shipped model says: named and ordered as the outputs of ECG-FM's published model.
SIMULATED: Final = (
    "Poor data quality",
    "Sinus rhythm",
    "Premature ventricular contraction",
    "Tachycardia",
    "Atrial fibrillation",
    "Bradycardia",
    "1st degree atrioventricular block",
    "Right bundle branch block",
    "Left bundle branch block",
    "Electronic pacemaker",
)

OTHER: Final = "other"


@dataclass(frozen=True)
class Label:
    """A label of a set.

    Attributes
    ----------
    name : str
    groups : tuple of str
        Where it stands for reading; a few stand in two.
    abbreviations, snomed_ct : tuple of str
        Those of the PhysioNet/CinC Challenge 2021 that mean the same; of a pair, either makes the label true.
    """

    name: str
    groups: tuple[str, ...]
    abbreviations: tuple[str, ...] = ()
    snomed_ct: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelSet:
    """Labels that belong together, in the order of a model's outputs.

    Attributes
    ----------
    name : str
    about : str
        Whose they are.
    source : str
        What their order is taken from.
    labels : tuple of Label
    """

    name: str
    about: str
    source: str
    labels: tuple[Label, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """tuple of str: in order."""
        return tuple(label.name for label in self.labels)

    def __len__(self) -> int:
        return len(self.labels)


# The 26 classes that the PhysioNet/CinC Challenge 2021 scores: name (ours), group (ours), abbreviations, SNOMED CT
# codes. A pair joined by | is one class. "PR" is pacing rhythm and "LPR" the long interval; "LAD" is an axis.
_CHALLENGE_2021: Final = (
    ("Atrial fibrillation", "rhythm", "AF", "164889003"),
    ("Atrial flutter", "rhythm", "AFL", "164890007"),
    ("Bundle branch block", "conduction", "BBB", "6374002"),
    ("Bradycardia", "rhythm", "Brady", "426627000"),
    ("Left bundle branch block", "conduction", "CLBBB|LBBB", "733534002|164909002"),
    ("Right bundle branch block", "conduction", "CRBBB|RBBB", "713427006|59118001"),
    ("1st degree atrioventricular block", "conduction", "IAVB", "270492004"),
    ("Incomplete right bundle branch block", "conduction", "IRBBB", "713426002"),
    ("Left axis deviation", "axis", "LAD", "39732003"),
    ("Left anterior fascicular block", "conduction", "LAnFB", "445118002"),
    ("Prolonged PR interval", "conduction", "LPR", "164947007"),
    ("Low QRS voltages", "voltage", "LQRSV", "251146004"),
    ("Prolonged QT interval", "repolarisation", "LQT", "111975006"),
    ("Nonspecific intraventricular conduction disorder", "conduction", "NSIVCB", "698252002"),
    ("Sinus rhythm", "rhythm", "NSR", "426783006"),
    ("Premature atrial contraction", "ectopic beats", "PAC|SVPB", "284470004|63593006"),
    ("Pacing rhythm", "pacing", "PR", "10370003"),
    ("Poor R wave progression", "QRS and Q waves", "PRWP", "365413008"),
    ("Premature ventricular contraction", "ectopic beats", "PVC|VPB", "427172004|17338001"),
    ("Q wave abnormal", "QRS and Q waves", "QAb", "164917005"),
    ("Right axis deviation", "axis", "RAD", "47665007"),
    ("Sinus arrhythmia", "rhythm", "SA", "427393009"),
    ("Sinus bradycardia", "rhythm", "SB", "426177001"),
    ("Sinus tachycardia", "rhythm", "STach", "427084000"),
    ("T wave abnormal", "repolarisation", "TAb", "164934002"),
    ("T wave inversion", "repolarisation", "TInv", "59931005"),
)

# ECG-FM's 17: name, group (ours), the class of the challenge that means the same. Left without one: what only sounds
# alike (the challenge's tachycardias are sinus ones, its infarctions Q waves), and what it does not score.
_MIMIC_IV_ECG: Final = (
    ("Poor data quality", "quality", ""),
    ("Sinus rhythm", "rhythm", "NSR"),
    ("Premature ventricular contraction", "ectopic beats", "PVC|VPB"),
    ("Tachycardia", "rhythm", ""),
    ("Ventricular tachycardia", "rhythm", ""),
    ("Supraventricular tachycardia with aberrancy", "rhythm", ""),
    ("Atrial fibrillation", "rhythm", "AF"),
    ("Atrial flutter", "rhythm", "AFL"),
    ("Bradycardia", "rhythm", "Brady"),
    ("Accessory pathway conduction", "conduction", ""),
    ("Atrioventricular block", "conduction", ""),
    ("1st degree atrioventricular block", "conduction", "IAVB"),
    ("Bifascicular block", "conduction", ""),
    ("Right bundle branch block", "conduction", "CRBBB|RBBB"),
    ("Left bundle branch block", "conduction", "CLBBB|LBBB"),
    ("Infarction", "infarction", ""),
    ("Electronic pacemaker", "pacing", "PR"),
)

# HeartWise's 77: name (their spelling), group or groups (theirs), and the two published thresholds that
# `ecgfm.specs.known` has.
DEEPECG_ROWS: Final = (
    ("Acute pericarditis", "P", 0.0045, None),
    ("QS complex in V1-V2-V3", "O", 0.0163, 0.001),
    ("T wave inversion (anterior - V3-V4)", "O", 0.0724, 0.005),
    ("Right atrial enlargement", "E", 0.0021, 0.001),
    ("2nd degree AV block - mobitz 1", "C", 0.0063, 0.001),
    ("Left posterior fascicular block", "C", 0.0036, 0.001),
    ("Wolff-Parkinson-White (Pre-excitation syndrome)", "R", 0.0005, 0.001),
    ("Junctional rhythm", "R", 0.0116, 0.001),
    ("Premature ventricular complex", "R", 0.0603, 0.019),
    ("rSR' in V1-V2", "O", 0.0242, 0.002),
    ("Right superior axis", "C", 0.0002, 0.003),
    ("ST elevation (inferior - II, III, aVF)", "I", 0.009, 0.001),
    ("Afib", "R", 0.1038, 0.004),
    ("ST elevation (anterior - V3-V4)", "I", 0.0095, 0.001),
    ("RV1 + SV6 > 11 mm", "O", 0.0055, 0.001),
    ("Sinusal", "R", 0.8075, 0.95),
    ("Monomorph", "O", 0.9181, 0.95),
    ("Delta wave", "C", 0.0004, 0.001),
    ("R/S ratio in V1-V2 >1", "O", 0.0112, 0.001),
    ("Third Degree AV Block", "C", 0.0027, 0.001),
    ("LV pacing", "C", 0.0006, 0.002),
    ("Nonspecific intraventricular conduction delay", "C", 0.0293, 0.003),
    ("ST depression (inferior - II, III, aVF)", "I", 0.0103, 0.001),
    ("Regular", "R", 0.8469, 0.95),
    ("Premature atrial complex", "R", 0.029, 0.003),
    ("2nd degree AV block - mobitz 2", "C", 0.0093, 0.001),
    ("Left anterior fascicular block", "C", 0.0373, 0.003),
    ("Q wave (septal- V1-V2)", "I", 0.0389, 0.003),
    ("Prolonged QT", "C", 0.046, 0.002),
    ("Left axis deviation", "C", 0.1576, 0.031),
    ("Left ventricular hypertrophy", "E", 0.0857, 0.035),
    ("ST depression (septal- V1-V2)", "O", 0.0017, 0.001),
    ("Supraventricular tachycardia", "R", 0.007, 0.001),
    ("Atrial paced", "C", 0.0168, 0.001),
    ("Q wave (inferior - II, III, aVF)", "I", 0.0967, 0.017),
    ("no_qrs", "O", 0.0002, 0.65),
    ("T wave inversion (lateral -I, aVL, V5-V6)", "O", 0.1346, 0.019),
    ("Right bundle branch block", "C", 0.0606, 0.044),
    ("ST elevation (septal - V1-V2)", "I", 0.0074, 0.001),
    ("SV1 + RV5 or RV6 > 35 mm", "O", 0.0223, 0.001),
    ("Right axis deviation", "C", 0.0105, 0.001),
    ("RaVL > 11 mm", "O", 0.034, 0.002),
    ("Polymorph", "O", 0.0165, 0.001),
    ("Ventricular tachycardia", "R", 0.0002, 0.001),
    ("QRS complex negative in III", "O", 0.0967, 0.01),
    ("ST depression (lateral - I, avL, V5-V6)", "I", 0.0194, 0.001),
    ("1st degree AV block", "C", 0.0542, 0.01),
    ("Lead misplacement", "O", 0.0, 0.439),
    ("Q wave (posterior - V7-V9)", "I", 0.0022, 0.001),
    ("Atrial flutter", "R", 0.0125, 0.001),
    ("Ventricular paced", "C", 0.0432, 0.009),
    ("ST elevation (posterior - V7-V8-V9)", "I", 0.0013, 0.001),
    ("Ectopic atrial rhythm (< 100 BPM)", "R", 0.0041, 0.001),
    ("Early repolarization", "O", 0.0048, 0.001),
    ("Ventricular Rhythm", "R", 0.0108, 0.001),
    ("Irregularly irregular", "R", 0.1045, 0.007),
    ("Atrial tachycardia (>= 100 BPM)", "R", 0.0439, 0.005),
    ("R complex in V5-V6", "O", 0.0392, 0.006),
    ("ST elevation (lateral - I, aVL, V5-V6)", "I", 0.0064, 0.001),
    ("Brugada", "R", None, 0.537),
    ("Bi-atrial enlargement", "E", 0.0013, 0.001),
    ("Q wave (lateral- I, aVL, V5-V6)", "I", 0.0159, 0.001),
    ("ST upslopping", "O", 0.0098, 0.001),
    ("T wave inversion (inferior - II, III, aVF)", "O", 0.1571, 0.035),
    ("Regularly irregular", "R", 0.0519, 0.003),
    ("Bradycardia", "R", 0.1955, 0.073),
    ("qRS in V5-V6-I, aVL", "O", 0.0166, 0.001),
    ("Q wave (anterior - V3-V4)", "I", 0.0549, 0.003),
    ("Acute MI", "I", 0.013, 0.001),
    ("ST depression (anterior - V3-V4)", "IO", 0.0068, 0.001),
    ("Right ventricular hypertrophy", "E", 0.0056, 0.001),
    ("T wave inversion (septal- V1-V2)", "O", 0.0713, 0.006),
    ("ST downslopping", "O", 0.0833, 0.009),
    ("Left bundle branch block", "C", 0.0188, 0.006),
    ("Low voltage", "O", 0.0558, 0.003),
    ("U wave", "C", 0.0008, 0.001),
    ("Left atrial enlargement", "E", 0.0257, 0.003),
)
_DEEPECG_GROUPS: Final = {
    "R": "rhythm",
    "C": "conduction",
    "E": "chamber enlargement",
    "P": "pericarditis",
    "I": "infarction and ischaemia",
    "O": "other",
}
# Which of them mean the same as a class of the challenge.
_DEEPECG_SAME: Final = {
    "Afib": "AF",
    "Atrial flutter": "AFL",
    "Sinusal": "NSR",
    "Bradycardia": "Brady",
    "1st degree AV block": "IAVB",
    "Right bundle branch block": "CRBBB|RBBB",
    "Left bundle branch block": "CLBBB|LBBB",
    "Premature ventricular complex": "PVC|VPB",
    "Left axis deviation": "LAD",
    "Right axis deviation": "RAD",
    "Left anterior fascicular block": "LAnFB",
}

_CODES: Final = {abbreviations: codes for _, _, abbreviations, codes in _CHALLENGE_2021}


def _label(name: str, groups: tuple[str, ...], same: str) -> Label:
    return Label(name, groups, tuple(same.split("|")), tuple(_CODES[same].split("|"))) if same else Label(name, groups)


MIMIC_IV_ECG_17: Final = LabelSet(
    "mimic-iv-ecg-17",
    "ECG-FM's published MIMIC-IV-ECG model",
    "ECG-FM's label_def.csv",
    tuple(_label(name, (group,), same) for name, group, same in _MIMIC_IV_ECG),
)
CHALLENGE_2021: Final = LabelSet(
    "challenge-2021-26",
    "the scored classes of the PhysioNet/CinC Challenge 2021",
    "weights.csv of the challenge, whose order ECG-FM's preprocessing takes; not checked against the published weights",
    tuple(_label(name, (group,), same) for name, group, same, _ in _CHALLENGE_2021),
)
DEEPECG_77: Final = LabelSet(
    "deepecg-77",
    "HeartWise's DeepECG",
    "the label order of HeartWise's training code, which is not that of its displays",
    tuple(
        _label(name, tuple(_DEEPECG_GROUPS[group] for group in groups), _DEEPECG_SAME.get(name, ""))
        for name, groups, _, _ in DEEPECG_ROWS
    ),
)

#: Their numbers of outputs differ: where a file has no names, the number says which of them to assume.
LABEL_SETS: Final = (MIMIC_IV_ECG_17, CHALLENGE_2021, DEEPECG_77)
_BY_COUNT: Final = {len(one): one for one in LABEL_SETS}


def _spelled() -> dict[str, Label]:
    """Every name of a label -> the label; where two sets have a name, that of the first."""
    found: dict[str, Label] = {}
    labels = [label for one in LABEL_SETS for label in one.labels]
    for label in labels:
        found.setdefault(label.name, label)
    for label in CHALLENGE_2021.labels:
        for names in (label.abbreviations, label.snomed_ct):
            for name in ("|".join(names), *names):
                found.setdefault(name, label)
    return found


_SPELLED: Final = _spelled()


def label_set_of_count(outputs: int) -> LabelSet | None:
    """The label set of a published model with this many outputs; None if there is none."""
    return _BY_COUNT.get(outputs)


def labels_of(names: Sequence[str]) -> tuple[Label | None, ...]:
    """What is known of each label of a model; None of one that stands in no set.

    Names are those of the sets, to the letter, or the challenge's abbreviations and SNOMED CT codes.
    """
    names = tuple(names)
    for one in LABEL_SETS:
        if names == one.names:
            return one.labels
    return tuple(_SPELLED.get(name) for name in names)


def groups_of(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Labels by group, for reading: group -> names in the model's order. What stands in no set is under ``other``."""
    found: dict[str, tuple[str, ...]] = {}
    for name, label in zip(names, labels_of(names)):
        for group in (OTHER,) if label is None else label.groups:
            found[group] = (*found.get(group, ()), name)
    return found


def _same(label: Label) -> list[str]:
    """All names of sets for what a label means."""
    return [
        one.name for each in LABEL_SETS for one in each.labels if one.snomed_ct and one.snomed_ct == label.snomed_ct
    ]


def other_names(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Label -> all that a column of it may be called beside its own name; of a label that stands in no set, nothing."""
    found = {}
    for name, label in zip(names, labels_of(names)):
        if label is not None:
            whole = ("|".join(label.abbreviations), "|".join(label.snomed_ct), *_same(label), label.name)
            spelled = dict.fromkeys((*whole, *label.abbreviations, *label.snomed_ct))
            found[name] = tuple(one for one in spelled if one and one != name)
    return found


def columns_of(names: Sequence[str], columns: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Label -> the columns of a table that are its own under another name, where none has its name.

    Other names are those of the other sets for the same meaning, and the challenge's abbreviations and codes. Several
    columns are the parts of a pair such as ``CLBBB|LBBB``: the label is true where one of them is.

    Raises
    ------
    LabelError
        If two columns are the same label, or one is that of two labels.
    """
    there = set(columns)
    taken: dict[str, str] = {}
    found: dict[str, tuple[str, ...]] = {}
    for name, label in zip(names, labels_of(names)):
        if label is None or name in there:
            continue
        pairs = tuple(zip(label.abbreviations, label.snomed_ct))
        whole = {"|".join(label.abbreviations), "|".join(label.snomed_ct), *_same(label), label.name} - {""}
        whole |= set(pairs[0]) if len(pairs) == 1 else set()
        fitting = (
            [sorted(whole & there)] if whole & there else [[one for one in pair if one in there] for pair in pairs]
        )
        for several in fitting:
            if len(several) > 1:
                raise _double(name, several)
        if chosen := tuple(one for each in fitting for one in each if one not in names):
            found[name] = chosen
        for one in chosen:
            if one in taken:
                raise LabelError(f"it is the column of two labels: {taken[one]}, {name}", field=printable(one))
            taken[one] = name
    return found


def alike(names: Sequence[str], others: Sequence[str]) -> dict[str, str]:
    """Name -> which of the others means the same under another name, where none has that name."""
    means = {one.snomed_ct: other for other, one in zip(others, labels_of(others)) if one is not None and one.snomed_ct}
    found = {}
    for name, label in zip(names, labels_of(names)):
        if label is not None and label.snomed_ct in means and name not in others:
            found[name] = means[label.snomed_ct]
    return found


def _double(name: str, several: Sequence[str]) -> LabelError:
    said = ", ".join(map(printable, several))
    return LabelError(
        f"several columns are this label: {said}",
        field=printable(name),
        remedy="Leave one, or give it the label's name",
    )


def renamed_text(found: Mapping[str, Sequence[str]]) -> str:
    """Which columns stand for which labels, for a message: ``AF for Atrial fibrillation, ...``."""
    said = [f"{' or '.join(map(printable, columns))} for {printable(name)}" for name, columns in found.items()]
    return ", ".join(said[:20]) + f", and {len(said) - 20} more" * (len(said) > 20)

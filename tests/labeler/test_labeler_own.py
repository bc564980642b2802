"""The definitions of the package on wordings of our own: what a clinician would read out of each."""

import pytest

from ecgfm import labeler

FINAL = {
    "quality": "Poor data quality",
    "sinus": "Sinus rhythm",
    "pvc": "Premature ventricular contraction",
    "tachy": "Tachycardia",
    "vt": "Ventricular tachycardia",
    "svtab": "Supraventricular tachycardia with aberrancy",
    "af": "Atrial fibrillation",
    "flutter": "Atrial flutter",
    "brady": "Bradycardia",
    "pathway": "Accessory pathway conduction",
    "avb": "Atrioventricular block",
    "avb1": "1st degree atrioventricular block",
    "bifasc": "Bifascicular block",
    "rbbb": "Right bundle branch block",
    "lbbb": "Left bundle branch block",
    "infarct": "Infarction",
    "pacer": "Electronic pacemaker",
}

# Report -> the final labels, by the short names above.
WORDINGS = {
    "NSR, rate 72, normal axis": "sinus",
    "Normal sinus rhythm at 64 bpm. Normal ECG.": "sinus",
    "SINUS TACHYCARDIA WITH OCCASIONAL PVCS": "sinus tachy pvc",
    "Sinus brady, otherwise normal": "sinus brady",
    "sinus bradycardia with sinus arrhythmia": "sinus brady",
    "Marked sinus arrhythmia": "sinus",
    "Atrial fibrillation with RVR": "af tachy",
    "A-fib with a controlled ventricular response": "af tachy",
    "Coarse AFib/flutter": "af flutter tachy",
    "Atrial flutter with 2:1 AV conduction": "flutter tachy avb",
    "Typical A-flutter, variable block": "flutter tachy avb",
    "SVT at 180/min": "tachy",
    "AVNRT": "tachy",
    "AVRT": "tachy pathway",
    "Run of VT": "tachy vt",
    "NSVT, 5 beats": "tachy vt",
    "Torsades de pointes": "tachy vt",
    "Wide complex tachycardia": "tachy",
    "SVT with aberrant conduction": "tachy svtab",
    "Atrial tachycardia with RBBB": "tachy rbbb svtab",
    "Wide QRS tachycardia with aberrancy": "tachy svtab",
    "VT with LBBB morphology": "tachy vt lbbb",
    "Sinus tachycardia with left bundle branch block": "sinus tachy lbbb",
    "Frequent multifocal ventricular premature complexes": "pvc",
    "Ventricular extrasystoles in a pattern of trigeminy": "pvc",
    "Isolated PVC": "pvc",
    "unifocal VPB's": "pvc",
    "Ventricular bigeminy": "pvc",
    "Sinus rhythm with PACs and PVCs": "sinus pvc",
    "Premature atrial contractions": "",
    "WPW pattern": "pathway",
    "Wolff Parkinson White syndrome": "pathway",
    "Short PR and delta waves": "pathway",
    "Ventricular pre-excitation": "pathway",
    "First degree heart block": "avb avb1",
    "1° AV block": "avb avb1",
    "Sinus rhythm w/ 1st-degree A-V block": "sinus avb avb1",
    "Borderline first degree AVB": "avb avb1",
    "Second degree AV block type I (Wenckebach)": "avb",
    "Mobitz II block": "avb",
    "Complete heart block with a junctional escape rhythm": "avb brady",
    "High-grade AV block": "avb",
    "Third degree AV block, ventricular escape": "avb brady",
    "RBBB": "rbbb",
    "Complete RBBB, LAFB": "rbbb bifasc",
    "Right bundle-branch block and left posterior hemiblock": "rbbb bifasc",
    "Bifascicular block": "rbbb bifasc",
    "Incomplete right bundle branch block": "rbbb",
    "Left bundel branch blok": "lbbb",
    "Incomplete LBBB": "lbbb",
    "Left anterior fascicular block": "",
    "Old inferior wall MI": "infarct",
    "Anteroseptal infarct, age indeterminate": "infarct",
    "Acute anterior STEMI": "infarct",
    "Cannot exclude a septal infarction": "infarct",
    "Possible previous lateral myocardial infarction": "infarct",
    "Inferior Q waves, ?old infarct": "infarct",
    "Nonspecific ST-T changes": "",
    "LVH with strain": "",
    "A-V sequential pacemaker": "pacer",
    "Ventricular paced rhythm, 100% capture": "pacer",
    "Atrial sensed, ventricular paced": "pacer",
    "BiV pacing": "pacer",
    "Pacemaker spikes seen, failure to capture": "pacer",
    "Poor quality tracing due to muscle tremor": "quality",
    "Baseline wander and motion artifact": "quality",
    "Artifact in lead(s) I, II and V1": "quality",
    "Missing lead(s): V4": "quality",
    "Limb leads reversed, please repeat": "quality",
    "Right and left arm electrodes reversed": "quality",
    "Technically unsatisfactory tracing": "quality",
    "Prolonged QTc": "",
    "Junctional rhythm": "",
    "Idioventricular rhythm": "brady",
    "Accelerated idioventricular rhythm": "",
    "Sinus rythm wiht PVC": "sinus pvc",
    "Artial fibrilation": "af tachy",
    # What a report denies is not there.
    "Sinus rhythm, no evidence of acute infarct": "sinus",
    "No infarct or ischemia": "",
    "Sinus rhythm without PVCs or atrial fibrillation": "sinus",
    "No AV block, no bundle branch block": "",
    "Atrial fibrillation is no longer present": "",
    "Infarct ruled out": "",
    "Neither ST elevation nor Q waves": "",
    "No old tracing for comparison; atrial fibrillation": "af tachy",
    "No clear cause. Complete heart block.": "avb brady",
    "P waves not seen, atrial fibrillation": "af tachy",
    "Possible inf. wall MI": "infarct",
    "MI cannot be excluded": "infarct",
    "Unlikely to be VT": "",
    "Sinus rhythm has replaced atrial fibrillation": "sinus",
    "No evidence of pacemaker activity": "",
    "Non-ischemic cardiomyopathy": "",
    # Words that elsewhere mean something else.
    "Demand ischemia": "",
    "Ectopic atrial pacemaker": "",
    "Wandering atrial pacemaker": "",
    "Junctional pacemaker": "",
    "Ventricular fusion beats": "",
    "Paced rhythm with fusion beats": "pacer",
    "Non-Q wave MI": "infarct",
    "AF with aberrantly conducted beats": "af tachy svtab",
    # What was written about an earlier recording is cut off.
    "Sinus rhythm. When compared to the previous ECG atrial fibrillation has resolved": "sinus",
    # Nothing about the heart.
    "Unconfirmed report": "",
    "Dr. A. Smith": "",
    "": "",
}


@pytest.mark.parametrize("text", WORDINGS)
def test_final_labels(text):
    names = list(FINAL.values())
    y, _ = labeler.label([text]).to_multilabel(names)
    found = {short for short, name, has in zip(FINAL, names, y[0]) if has}
    assert found == set(WORDINGS[text].split()), labeler.load().explain(text)


@pytest.mark.parametrize(
    "text, name, prob",
    [
        ("Infarct", "Infarction", 1.0),
        ("Possible infarct", "Infarction", 0.5),
        ("Probable infarct", "Infarction", 0.7),
        ("Infarct is suspected", "Infarction", 0.5),
        ("Atrial fibrillation or flutter", "Atrial fibrillation", 0.7),
        ("ST elevation suggests infarct", "Infarction", 0.7),
        ("Findings consistent with inferior infarct", "Inferior infarct", 0.5),
    ],
)
def test_certainty(text, name, prob):
    assert next(labeler.label([text]).by_report())[name] == pytest.approx(prob)


@pytest.mark.parametrize(
    "text, name",
    [
        ("Old inferior infarct", "Inferior infarct"),
        ("Old inferior infarct", "Infarction - Old"),
        ("Anterolateral ischemia", "Lateral ischemia"),
        ("Acute infarct in the septal leads", "Septal infarct"),
        ("T wave inversion in V1-V3", "T wave inversion - Lead V2"),
        ("Frequent PVCs", "Premature ventricular contraction - Frequent"),
        ("Paroxysmal SVT", "Paroxysmal supraventricular tachycardia"),
        ("Artifact in lead(s) aVL", "Artifact in lead - Lead aVL"),
        ("Consider pericarditis", "Needs clinical correlation"),
    ],
)
def test_place_time_and_number(text, name):
    assert name in next(labeler.label([text]).by_report())


def test_final_labels_and_their_names_are_in_the_definitions():
    entities = labeler.load().definitions.entities
    assert set(FINAL.values()) <= set(entities)
    assert not any(entities[name].require_descriptors for name in FINAL.values())


def test_every_pattern_is_reached_after_normalisation():
    """A pattern that normalisation would reword could match only in texts that are said to be normalized."""
    own = labeler.load()
    matcher = own.engine("documented").matcher
    lost = []
    for pattern in own.definitions.patterns:
        around = "x" if pattern.kind == "s" else ""  # a boundary stands between words
        text = own.normalizer.text(f"{around}{pattern.text}{around}")
        if text != pattern.text and [matcher.patterns[r].text for _, _, r in matcher.match(text)[1]] == []:
            lost.append((pattern.text, text))
    assert lost == []


def test_every_entity_can_be_reached():
    """By a pattern, a rule, or as what another one is a kind of."""
    own = labeler.load()
    named = {name for p in own.definitions.patterns if p.kind == "e" for name, _ in p.use}
    named.update(result for _, _, result in own.definitions.attached)
    named.update(compound.entity for compound in own.definitions.compounds)
    named.update(name for made in own.definitions.descriptors.values() for name in made)
    for name in list(named):
        named.update(own.ancestors(name))
    assert named == set(own.definitions.entities)

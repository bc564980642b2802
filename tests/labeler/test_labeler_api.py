"""The labeler as a library: definitions, results, explanation, graph, culling, streams, processes."""

import json
from pathlib import Path

import numpy as np
import pytest

from ecgfm import ConfigError, LabelError, labeler
from ecgfm.checkpoint.labels import MIMIC_IV_ECG
from ecgfm.labeler.definitions import SECTIONS
from ecgfm.labeler.labeler import Labeler

REPORTS = [
    "Sinus rhythm with PVCs",
    "Possible inferior infarct, old",
    "No infarct or ischemia",
    "",
    "RBBB with LAFB",
    "Atrial fibrillation or flutter",
    "xyz",
    "Artifact in lead(s) V1,V2",
    "Consider acute lateral ischemia",
]


@pytest.fixture(scope="module")
def own():
    return labeler.load()


def small(**changes):
    """Sections of a small definition, with some replaced."""
    sections = {
        "entity_tem": [
            {"name": "Finding"},
            {"name": "Infarct", "sup": ["Finding"]},
            {"name": "Inferior infarct", "sup": ["Infarct"]},
            {"name": "Block", "sup": ["Finding"]},
            {"name": "Both"},
            {"name": "Wave", "require_descriptors": True},
            {"name": "To do"},
        ],
        "entity_pat": [
            {"pattern": "infarct", "entities": ["Infarct"]},
            {"pattern": "block", "entities": [{"tem": "Block", "descriptors": []}]},
            {"pattern": "pattern", "entities": []},
            {"pattern": "wave", "entities": ["Wave"]},
        ],
        "desc_tem": [
            {"name": "Possible"},
            {"name": "Old"},
            {"name": "Inferior"},
            {"name": "Absence"},
            {"name": "Lateral"},
            {"name": "Ask", "create_entities": ["To do"]},
        ],
        "desc_pat": [
            {"pattern": "possible", "descriptors": ["Possible"]},
            {"pattern": ", old", "descriptors": [{"tem": "Old", "descriptors": ["Possible"]}], "before_after": "a"},
            {"pattern": "no", "descriptors": ["Absence"]},
            {"pattern": "ask", "descriptors": ["Ask"]},
            {"pattern": "inferior", "descriptors": ["Inferior"]},
            {"pattern": "either", "descriptors": ["Old"], "before_after": "ab"},
            {"pattern": "inferolateral", "descriptors": ["Inferolateral"]},
        ],
        "split_desc_tem": [{"name": "Inferolateral", "split": ["Inferior", "Lateral"], "patterns": ["low lateral"]}],
        "connective": [
            {"pattern": "or", "descriptors": [["Possible"], ["Possible"]], "carry": ["Absence"]},
            {"pattern": "and"},
        ],
        "boundary": [{"pattern": ";"}],
        "compound_tem": [{"entity": "Both", "including": ["Infarct", "Block"], "excluding": ["Wave"]}],
        "attached_desc_tem": [{"resulting_entity": "Inferior infarct", "entity": "Infarct", "descriptor": "Inferior"}],
        "traveling_desc_tem": [{"entity": "Finding", "descriptors": ["Old"]}],
        "uncertainty_map": {"Possible": 0.5},
    }
    sections.update(changes)
    return labeler.Definitions(sections)


def labels_of(definitions, text, mode="documented"):
    return next(Labeler(definitions).label([text], mode, normalized=True).by_report())


def test_the_rules_on_a_small_definition():
    definitions = small()
    assert labels_of(definitions, "infarct") == {"Finding": 1.0, "Infarct": 1.0}
    assert labels_of(definitions, "possible infarct") == {
        "Finding": pytest.approx(0.65),
        "Infarct": 0.5,
        "Infarct - Possible": 1.0,
    }
    assert labels_of(definitions, "infarct, old") == {
        "Finding": 1.0,
        "Finding - Old": 1.0,
        "Infarct": 1.0,
        "Infarct - Old": 1.0,
    }
    assert labels_of(definitions, "no infarct") == {}
    assert labels_of(definitions, "no infarct or block") == {}
    assert labels_of(definitions, "infarct or block") == {
        "Block": 0.5,
        "Block - Possible": 1.0,
        "Both": 1.0,
        "Finding": pytest.approx(0.65),
        "Infarct": 0.5,
        "Infarct - Possible": 1.0,
    }
    assert "Both" not in labels_of(definitions, "infarct and block and wave")
    assert labels_of(definitions, "ask wave") == {"To do": 1.0, "Wave - Ask": 1.0}
    assert labels_of(definitions, "possible pattern infarct") == {"Finding": 1.0, "Infarct": 1.0}
    assert labels_of(definitions, "either infarct") == {"Finding": 1.0, "Infarct": 1.0}
    assert "Infarct" in labels_of(definitions, "no;infarct") and "Infarct" in labels_of(definitions, "no idea; infarct")
    assert "Infarct - Old" in labels_of(definitions, "infarct;, old")
    for text in ("inferolateral infarct", "low lateral infarct"):
        assert labels_of(definitions, text)["Inferior infarct"] == 1.0
        assert "Infarct - Lateral" in labels_of(definitions, text)


def test_reference_mode_loses_descriptors_without_a_connective_and_keeps_what_is_absent():
    definitions = small()
    assert labels_of(definitions, "possible infarct", "reference") == {"Finding": 1.0, "Infarct": 1.0}
    assert labels_of(definitions, "possible infarct and block", "reference")["Infarct"] == 0.5
    assert "Infarct" in labels_of(definitions, "no infarct and block", "reference")


def test_matching_takes_longer_patterns_first_and_minds_borders():
    definitions = small(
        entity_pat=[
            {"pattern": "block", "entities": ["Block"]},
            {"pattern": "old block", "entities": ["Infarct"]},
            {"pattern": "(x)", "entities": ["Wave"]},
            {"pattern": "x", "entities": ["Both"]},
        ]
    )
    matcher = Labeler(definitions).engine("documented").matcher

    def found(text):
        return [matcher.patterns[place.pattern].text for place in matcher.place(text)[0]]

    assert found("old block") == ["old block"]
    assert found("old  block") == ["block"]
    assert found("blocks block_ _block ünblock block1") == []
    assert found("block-block") == ["block", "block"]
    assert found("(x)x") == ["(x)"]  # what was taken counts as a letter at its borders
    assert found("(x) x") == ["(x)", "x"]
    assert found("a(x)b") == ["(x)"]
    assert matcher.place("an old block.")[1] == "an ."


def test_definitions_survive_saving(tmp_path, own):
    own.save(tmp_path / "own")
    again = labeler.load(tmp_path / "own")
    assert again.definitions.sections == own.definitions.sections
    definitions = small()
    definitions.save(tmp_path / "small")
    assert labeler.Definitions.load(tmp_path / "small").sections == definitions.sections
    small(split_desc_tem=[], desc_pat=[], compound_tem=[]).save(tmp_path / "small")
    assert not (tmp_path / "small" / "desc_pat.json").exists()
    with_rules = Labeler(own.definitions, {"spelling": {"foo": "sinus"}, "cut": [], "words": []})
    labeler.save(with_rules, tmp_path / "rules")
    assert labeler.load(tmp_path / "rules").normalize(["foo rhythm"]) == ["sinus rhythm"]


def test_published_definitions_survive_saving(tmp_path, published):
    published.save(tmp_path)
    assert labeler.Definitions.load(tmp_path).sections == published.sections


BAD = {
    "entity_tem": [
        ([{"name": "A"}, {"name": "A"}], "item 1 (name 'A')", "twice"),
        ([{"name": "A", "sup": ["B"]}], "item 0", "'B'"),
        ([{"name": "A", "sup": ["B"]}, {"name": "B", "sup": ["A"]}], "item", "circle"),
        ([{"name": "A", "sup": ["A"]}], "item 0", "circle"),
        ([{"sup": []}], "item 0", "'name'"),
        (["A"], "item 0", "an object"),
        ({}, "entity_tem", "not a list"),
        ([{"name": "A", "sup": "B"}], "item 0", "list of texts"),
        ([{"name": "A", "require_descriptors": 1}], "item 0", "true or false"),
    ],
    "entity_pat": [
        ([{"pattern": "x", "entities": ["Nothing"]}], "item 0 (pattern 'x')", "'Nothing'"),
        ([{"pattern": "x", "entities": [{"tem": "Infarct", "descriptors": ["Nothing"]}]}], "item 0", "'Nothing'"),
        ([{"pattern": "no", "entities": []}], "item 2 (pattern 'no')", "twice"),
        ([{"pattern": "", "entities": []}], "item 0", "'pattern'"),
        ([{"pattern": "x" * 5000}], "item 0", "4096"),
        ([{"pattern": "x", "entities": "Infarct"}], "item 0", "a list"),
        ([{"pattern": "x", "entities": [5]}], "item 0", "a number"),
    ],
    "desc_tem": [([{"name": "Possible"}, {"name": "Possible"}], "item 1", "twice")],
    "desc_pat": [
        ([{"pattern": "x", "descriptors": ["Possible"], "before_after": "x"}], "item 0", "before_after"),
        ([{"pattern": "x", "descriptors": [None]}], "item 0", "null"),
    ],
    "connective": [([{"pattern": "x", "descriptors": [["Possible"]]}], "item 0", "two lists")],
    "compound_tem": [
        ([{"entity": "Nothing", "including": ["Infarct"]}], "item 0 (entity 'Nothing')", "'Nothing'"),
        ([{"entity": "Both", "including": []}], "item 0", "including"),
    ],
    "attached_desc_tem": [
        ([{"resulting_entity": "Both", "entity": "Infarct", "descriptor": "Nothing"}], "item 0", "'Nothing'"),
        ([{"resulting_entity": "Both", "entity": 3, "descriptor": "Old"}], "item 0", "entity"),
    ],
    "traveling_desc_tem": [([{"entity": "Infarct", "descriptors": ["Nothing"]}], "item 0", "'Nothing'")],
    "uncertainty_map": [
        ({"Possible": 2}, "Possible", "probability"),
        ({"Nothing": 0.5}, "Nothing", "descriptor"),
        ([], "uncertainty_map", "not an object"),
        ({"Possible": True}, "Possible", "probability"),
    ],
}


@pytest.mark.parametrize(
    "section, content, item, message", [(section, *bad) for section, items in BAD.items() for bad in items]
)
def test_errors_name_file_and_item(tmp_path, section, content, item, message):
    for name, good in small().sections.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content if name == section else good))
    with pytest.raises(ConfigError) as caught:
        labeler.load(tmp_path)
    text = str(caught.value)
    assert message in text and item in text
    assert section in text and str(tmp_path) in caught.value.path


def test_files_that_are_no_definitions(tmp_path):
    with pytest.raises(ConfigError, match="no such directory"):
        labeler.load(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="entity_tem.json is required"):
        labeler.load(tmp_path)
    (tmp_path / "entity_tem.json").write_text("[]")
    with pytest.raises(ConfigError, match="entity_pat.json is required"):
        labeler.load(tmp_path)
    for content, message in ((b"[", "not JSON"), (b"\xff\xfe", "UTF-8"), (b"[" * 200_000, "nested|not JSON")):
        (tmp_path / "entity_pat.json").write_bytes(content)
        with pytest.raises(ConfigError, match=message) as caught:
            labeler.load(tmp_path)
        assert caught.value.path.endswith("entity_pat.json")
    with pytest.raises(ConfigError, match="no section"):
        labeler.Definitions({"entities": []})


def test_a_definition_with_too_many_paths_or_labels_is_refused():
    ladder = [{"name": "0"}]
    for i in range(1, 40):
        ladder += [{"name": f"{i}a", "sup": [ladder[-1]["name"]]}, {"name": f"{i}b", "sup": [ladder[-1]["name"]]}]
        ladder.append({"name": f"{i}", "sup": [f"{i}a", f"{i}b"]})
    with pytest.raises(ConfigError, match="paths"):
        labeler.Definitions({"entity_tem": ladder, "entity_pat": []})
    chain = [{"name": "0"}] + [{"name": str(i), "sup": [str(i - 1)]} for i in range(1, 5000)]
    labeler.Definitions({"entity_tem": chain[:100], "entity_pat": []})
    with pytest.raises(ConfigError, match="paths"):
        labeler.Definitions({"entity_tem": chain, "entity_pat": []})
    with pytest.raises(ConfigError, match="labels"):
        labeler.Definitions(
            {
                "entity_tem": [{"name": str(i)} for i in range(5000)],
                "entity_pat": [],
                "desc_tem": [{"name": f"d{i}"} for i in range(1001)],
            }
        )


def test_modes_and_arguments(own):
    with pytest.raises(ConfigError, match="mode"):
        own.label(REPORTS, mode="strict")
    with pytest.raises(ConfigError, match="processes"):
        own.label(REPORTS, processes=-1)
    with pytest.raises(ConfigError, match="chunk_size"):
        next(own.stream(REPORTS, chunk_size=0))
    one = own.label("Sinus rhythm")
    assert len(one) == 1 and one.label_names == ["Sinus rhythm"]
    assert labeler.label("Sinus rhythm").label_names == ["Sinus rhythm"]
    assert len(own.label([])) == 0 and len(own.label([]).labels_flat) == 0


def test_tables_hang_together(own):
    result = own.label(REPORTS)
    assert len(result) == len(REPORTS)
    assert len(result.texts) == len(result.unmatched) == len(REPORTS)
    assert result.unmatched["stripped"][REPORTS.index("xyz")] == "xyz"
    flat = {}
    for row in result.labels.rows():
        key = (row["sample"], row["name"])
        flat[key] = max(row["prob"], flat.get(key, 0))
    assert flat == {(r["sample"], r["name"]): r["prob"] for r in result.labels_flat.rows()}
    for row in result.matches.rows():
        assert result.texts["text"][row["sample"]][row["start"] : row["end"]] == row["text"]
    assert "Result(9 reports" in repr(result)
    entities = {(r["sample"], r["pattern"], r["entity"]): r["name"] for r in result.entities.rows()}
    for row in result.descriptors.rows():
        assert (row["sample"], row["pattern"], row["entity"]) in entities


def test_multilabel_and_arrays(own):
    result = own.label(REPORTS)
    y, names = result.to_multilabel()
    assert y.shape == (len(REPORTS), len(names)) and names == result.label_names == sorted(names)
    assert y.dtype == bool and not y[REPORTS.index("")].any() and y.sum() == len(result.labels_flat)
    y, names = result.to_multilabel(["Infarction", "Nothing"])
    assert y[1].tolist() == [True, False] and y.sum() == 1
    assert not result.to_multilabel(["Infarction"], threshold=0.9)[0].any()
    used, label_def, soft, hard = labeler.labels_to_array(result.labels_flat, len(result))
    assert soft.shape == hard.shape and hard.dtype == np.float32 and soft.max() == 1
    assert np.array_equal(hard, soft > 0)
    assert np.array_equal(soft[used["sample"], used["label"]], used["prob"])
    assert label_def["count"].tolist() == hard.sum(axis=0).tolist()
    p = label_def["pos_percent"]
    np.testing.assert_allclose(label_def["pos_weight"], (1 - p) / p)
    _, label_def, soft, _ = labeler.labels_to_array(result.labels_flat, len(result), ["Never", "Infarction"])
    assert label_def["pos_weight"].tolist()[0] == np.inf and soft[1].tolist() == [0, soft[1, 1]]
    twice = {"sample": [0, 0], "name": ["a", "a"], "prob": [1.0, 0.5]}
    with pytest.raises(LabelError, match="twice"):
        labeler.labels_to_array(twice, 1)
    with pytest.raises(LabelError, match="outside"):
        labeler.labels_to_array(twice, 0)
    with pytest.raises(LabelError, match="twice"):
        labeler.to_multilabel(twice, 1, ["a", "a"])


def test_streams_and_processes_give_the_same(own):
    texts = [f"{REPORTS[i % len(REPORTS)]} {i}" for i in range(500)]
    whole = own.label(texts)
    parts = list(own.stream((text for text in texts), chunk_size=64))
    assert [len(part) for part in parts] == [64] * 7 + [52]
    assert [labels for part in parts for labels in part.by_report()] == list(whole.by_report())
    spread = own.label(texts, processes=2)
    assert list(spread.by_report()) == list(whole.by_report())
    parts = list(own.stream(iter(texts), chunk_size=50, processes=2))
    assert [labels for part in parts for labels in part.by_report()] == list(whole.by_report())
    assert parts[3].texts["text"].tolist() == whole.texts["text"][150:200].tolist()


def test_a_stream_reads_no_further_than_it_must(own):
    read = []

    def texts():
        for i in range(10_000):
            read.append(i)
            yield "Sinus rhythm"

    stream = own.stream(texts(), chunk_size=10)
    next(stream)
    assert len(read) <= 20
    read.clear()
    stream = own.stream(texts(), chunk_size=10, processes=2)
    next(stream)
    assert len(read) <= 10 * (2 * 2 + 2)
    stream.close()


def test_explanation(own):
    explanation = own.explain("Possible old inferior MI; no PVCs or PACs; RBBB with LAFB")
    text = str(explanation)
    assert '"possible" -> Possible (attached to "infarct")' in text
    words = {word["text"]: word for word in explanation.words}
    assert words["premature ventricular beats"]["attached"] == ["Absence"]
    assert words["premature atrial beats"]["attached"] == ["Absence"]
    assert words["or"]["attached"] == ['"premature ventricular beats"', '"premature atrial beats"']
    labels = {label["name"]: label for label in explanation.labels}
    assert labels.keys() == next(own.label([explanation.report]).by_report()).keys()
    assert labels["Inferior infarct"]["paths"][0] == [
        '"infarct"',
        "Infarction (0.5)",
        "with Inferior",
        "Inferior infarct (0.5)",
    ]
    assert labels["Bifascicular block"]["paths"][0][0].startswith("Bifascicular block (+ Right bundle")
    assert labels["Infarction"]["prob"] == max(0.5, 0.65)
    assert json.loads(json.dumps(explanation.to_dict())) == explanation.to_dict()
    assert "none" in str(own.explain("xyz")) and "left over:  xyz" in str(own.explain("xyz"))
    reference = own.explain("Possible infarct", mode="reference")
    assert "attached to nothing" in str(reference)


def test_explanations_agree_with_labels(published, cases):
    for mode in ("documented", "reference"):
        one = Labeler(published)
        expected = one.label([case["preprocessed"] for case in cases], mode, normalized=True).by_report()
        for case, labels in zip(cases, expected):
            explanation = one.explain(case["preprocessed"], mode, normalized=True)
            assert {label["name"]: label["prob"] for label in explanation.labels} == labels
            assert all(label["paths"] for label in explanation.labels)


def test_graph(own):
    assert own.ancestors("Inferior infarct") == ["Infarction", "Coronary ischemic change"]
    assert set(own.descendants("Bundle branch block")) >= {"Right bundle branch block", "Bifascicular block"}
    nodes, edges = own.graph.subgraph("Bundle branch block")
    assert nodes[0] == "Bundle branch block" and set(nodes[1:]) == set(own.descendants("Bundle branch block"))
    assert all(kind in nodes and sup in nodes for kind, sup in edges)
    for kind, sup in edges:
        assert sup in own.ancestors(kind)
    with pytest.raises(ConfigError, match="no entity"):
        own.ancestors("Nothing")


def test_plot(own):
    pytest.importorskip("matplotlib")
    ax = own.plot("Conduction abnormality")
    drawn = {text.get_text() for text in ax.texts} - {""}
    assert drawn == set(own.graph.subgraph("Conduction abnormality")[0])
    places = [text.get_position() for text in ax.texts if text.get_text()]
    assert len(set(places)) == len(places)


@pytest.mark.parametrize("mode", ["documented", "reference"])
def test_culled_definitions_label_the_corpus_as_before(own, mode):
    culled = own.cull(REPORTS)
    assert len(culled.definitions.patterns) < 30
    assert list(culled.label(REPORTS, mode).by_report()) == list(own.label(REPORTS, mode).by_report())
    again = culled.cull(culled.label(REPORTS))
    assert again.definitions.sections == culled.definitions.sections
    empty = labeler.cull(own, [])
    assert empty.definitions.entities == {} and list(empty.label(["Sinus rhythm"]).by_report()) == [{}]


def test_culling_the_published_definitions(published, cases):
    one = Labeler(published)
    for start in range(0, len(cases), 129):
        texts = [case["preprocessed"] for case in cases[start : start + 129]]
        culled = one.cull(texts, normalized=True)
        assert len(culled.definitions.patterns) < len(published.patterns)
        for mode in ("documented", "reference"):
            assert list(culled.label(texts, mode, normalized=True).by_report()) == list(
                one.label(texts, mode, normalized=True).by_report()
            )


def test_culling_keeps_split_descriptors_and_their_patterns():
    one = Labeler(small())
    texts = ["low lateral infarct", "inferolateral infarct"]
    culled = one.cull(texts, normalized=True)
    assert list(culled.label(texts, normalized=True).by_report()) == list(one.label(texts, normalized=True).by_report())


def test_the_sections_of_the_package_are_complete(own):
    assert all(own.definitions.sections[name] for name in SECTIONS if name != "split_desc_tem")


def test_from_raw_text_with_the_published_definitions(published, cases, intended):
    """Through our own normalisation; the two that differ are told apart on purpose (docs/labeler.md)."""
    one = Labeler(published)
    texts = [case["input"] for case in cases]
    for mode, expected in (("reference", cases), ("documented", intended)):
        made = one.label(texts, mode).by_report()
        different = {
            case["input"]
            for case, labels in zip(expected, made)
            if {n: round(p, 9) for n, p in labels.items()} != {n: round(p, 9) for n, p in case["labels_flat"].items()}
        }
        assert different == {"NSVT", "Atrial flutter or tachycardia"}


def test_agreement_of_our_definitions_with_the_published_ones(published, cases):
    """Per final label, as the table of docs/labeler.md has it, which also explains what differs."""
    theirs = Labeler(published).label([c["preprocessed"] for c in cases], normalized=True).to_multilabel(MIMIC_IV_ECG)
    ours = labeler.label([case["input"] for case in cases]).to_multilabel(MIMIC_IV_ECG)
    agreement = (theirs[0] == ours[0]).mean(axis=0)
    page = (Path(__file__).resolve().parents[2] / "docs" / "labeler.md").read_text(encoding="utf-8")
    for i, name in enumerate(MIMIC_IV_ECG):
        row = f"| {name} | {theirs[0][:, i].sum()} | {ours[0][:, i].sum()} | {100 * agreement[i]:.1f} % |"
        assert row.replace("100.0 %", "100 %") in page

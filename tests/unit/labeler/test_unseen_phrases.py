"""Phrases that nobody listed, made from the definitions' own: each must have the labels of what it stands for.

What is expected is never written down here: it is what the definition says of its own wording, without normalisation.
"""

import itertools
import random
import re
from pathlib import Path

import pytest

from ecgfm import labeler
from ecgfm.labeler import Definitions, Labeler

SHARED = Path(__file__).resolve().parents[4] / "shared" / "labeler"
#: What stands around a phrase, in normalized wording: nothing, doubt, denial, other findings.
AROUND = [
    "{}",
    "possible {}",
    "no {}",
    "sinus bradycardia with {}",
    "consider {}",
    "without {}",
    "{}, old",
    "{} or left ventricular hypertrophy",
    "left axis deviation and {}",
    "probable {} in inferior leads",
    "{} consistent with inferior ischemia",
    "no {} or left ventricular hypertrophy",
    "minor {}; atrial flutter",
    "left atrial enlargement. frequent {}",
]
FEWEST = 200


@pytest.fixture(scope="module", params=["package", "published"])
def own(request):
    if request.param == "package":
        return labeler.load()
    if not SHARED.is_dir():
        pytest.skip("needs the published definitions in ../shared, which are not part of the project")
    return Labeler(Definitions.load(SHARED))


def hold(own, phrases, *, seed=0, most=600):
    """Assert that phrases have the labels of what they stand for, in what may stand around them.

    Parameters
    ----------
    phrases : iterable of (str, str)
        As written, and in the definition's wording.
    """
    every = sorted(set(phrases))
    made = [(around.format(written), around.format(meant)) for written, meant in every for around in AROUND]
    random.Random(seed).shuffle(made)
    made = made[:most]
    assert len({written for written, _ in made}) >= FEWEST
    for mode in ("documented", "reference"):
        found = own.label([written for written, _ in made], mode).by_report()
        wanted = list(own.label([meant for _, meant in made], mode, normalized=True).by_report())
        wrong = [
            (written, meant, sorted(set(labels) ^ set(right)))
            for (written, meant), labels, right in zip(made, found, wanted)
            if labels != right
        ]
        assert not wrong, f"{len(wrong)} of {len(made)} phrases in mode {mode}, such as {wrong[:5]}"
    assert sum(map(bool, wanted)) > len(made) / 2


def phrases_of(own, kind="e"):
    """The definition's phrases of several words that normalisation leaves alone."""
    texts = [
        pattern.text
        for pattern in own.definitions.patterns
        if pattern.kind == kind and re.fullmatch(r"[a-z0-9]+( [a-z0-9]+)+", pattern.text)
    ]
    made = own.normalize([f"x {text} x" for text in texts])
    return [text for text, same in zip(texts, made) if same == f"x {text} x"]


def test_hyphens_between_known_words(own):
    draw = random.Random(1)
    general = {text for text in phrases_of(own) if is_general(own, text)}
    phrases = []
    for text in phrases_of(own):
        if text not in general:
            words = text.split(" ")
            joints = [draw.choice(" --") for _ in words[1:]]
            joints[draw.randrange(len(joints))] = "-"
            phrases.append(("".join(itertools.chain(*zip(words, [*joints, ""]))), text))
    hold(own, [(written, meant) for written, meant in phrases if written != meant])


def is_general(own, text):
    """Whether a phrase is a descriptor and a finding that is a label only with a descriptor, as "sinus rhythm" is."""
    kinds = {pattern.text: pattern for pattern in own.definitions.patterns}
    first, last = (kinds.get(word) for word in text.split(" ", 1))
    return (
        first is not None
        and last is not None
        and first.kind == "b"
        and last.kind == "e"
        and any(own.definitions.entities[name].require_descriptors for name, _ in last.use)
    )


def test_a_hyphen_after_non_stays(own):
    for written in ("non-ST-elevation infarct", "non-ST elevation MI", "Non-ST-elevation myocardial infarction"):
        found = next(own.label([written]).by_report())
        assert "Infarction" in found and not {"STEMI", "ST elevation infarct", "ST elevation"} & set(found)


INTERVALS = {
    "qt": ["QT", "QTc", "QT interval", "QTc interval", "Q-T interval", "QT-interval"],
    "pr": ["PR", "PR interval", "P-R interval", "PR-interval"],
    "qrs": ["QRS", "QRS interval", "QRS duration"],
}
LONG, SHORT = ("prolonged", "lengthened", "long", "increased"), ("short", "shortened")


def test_prolongation_of_an_interval(own):
    phrases = []
    for interval, spellings in INTERVALS.items():
        for spelling, article in itertools.product(spellings, ("", "the ")):
            phrases += [
                (f"{noun} of {article}{spelling}", f"prolonged {interval}") for noun in ("prolongation", "lengthening")
            ]
            phrases.append((f"{spelling} prolongation", f"prolonged {interval}"))
            if interval != "qrs":
                phrases.append((f"shortening of {article}{spelling}", f"short {interval}"))
    hold(own, phrases)


def test_an_interval_appears_short_or_long(own):
    phrases = []
    for interval, spellings in INTERVALS.items():
        for spelling, verb in itertools.product(spellings, ("is", "appears", "appears to be", "seems", "looks", "was")):
            phrases += [(f"{spelling} {verb} {word}", f"prolonged {interval}") for word in LONG]
            phrases.append((f"{spelling} {verb} markedly prolonged", f"markedly prolonged {interval}"))
            if interval != "qrs":
                phrases += [(f"{spelling} {verb} {word}", f"short {interval}") for word in SHORT]
    hold(own, phrases)


def test_what_is_said_not_to_be(own):
    for written in (
        "PR interval is not prolonged",
        "QT does not appear long",
        "No prolongation of the QT interval",
        "QTc is neither long nor short",
        "no abnormal T waves",
        "without failure to capture",
        "T wave is not inverted",
        "No ventricular ectopics",
        "without aberrant conduction",
    ):
        assert next(own.label([written]).by_report()) == {}, written


def test_a_bare_wave_letter_with_an_adjective(own):
    phrases = [
        (f"{word} {letter}", f"t wave {noun}")
        for letter in ("T", "T wave", "T-wave")
        for word, noun in (("abnormal", "abnormality"), ("inverted", "inversion"))
    ]
    phrases += [
        (written, "t wave inversion")
        for written in (
            "T inverted",
            "T is inverted",
            "T wave appears inverted",
            "inversion of T",
            "inversion of the T waves",
        )
    ]
    phrases += [
        ("elevated ST", "st elevation"),
        ("depressed ST", "st depression"),
        ("ST elevated", "st elevation"),
        ("ST is depressed", "st depression"),
        ("ST segment appears elevated", "st elevation"),
        ("depression of the ST segment", "st depression"),
        ("elevation of ST", "st elevation"),
    ]
    phrases = [(f"{how}{written}", f"{how}{meant}") for written, meant in phrases for how in ("", "acute ", "lateral ")]
    hold(own, phrases)


def test_number_after_an_adjective(own):
    """Where the definition knows one number only, and the end of the phrase means nothing by itself."""
    uses = {pattern.text: pattern.use for pattern in own.definitions.patterns}
    phrases = []
    for one, many in (
        ("voltage", "voltages"),
        ("wave", "waves"),
        ("abnormality", "abnormalities"),
        ("defect", "defects"),
        ("pathway", "pathways"),
        ("block", "blocks"),
        ("infarct", "infarcts"),
        ("beat", "beats"),
        ("response", "responses"),
        ("rhythm", "rhythms"),
        ("delay", "delays"),
    ):
        for text in phrases_of(own):
            for last, other in ((one, many), (many, one)):
                several = any("Multiple" in own_ones for _, own_ones in uses[text])
                start = text.removesuffix(last)
                known = any(" ".join(f"{start}{other}".split()[i:]) in uses for i in range(len(text.split())))
                adjective = re.match(r"low|high|abnormal|nonspecific|\w+(al|ar|ic|ed)\b", text)
                if text.endswith(" " + last) and not known and adjective and not (last == many and several):
                    phrases.append((start + other, text))
    phrases += [
        (f"abnormal T{s}", f"t wave {noun}")
        for s, noun in (
            (" wave", "abnormality"),
            (" waves", "abnormalities"),
            ("-waves", "abnormalities"),
            ("s", "abnormalities"),
        )
    ]
    hold(own, phrases)


def test_two_findings_after_a_slash(own):
    phrases = []
    tasks = {"capture": "capture", "sense": "sensing"}
    for fail in (
        "failure to",
        "failure of",
        "fails to",
        "failing to",
        "failed to",
        "does not",
        "lack of",
        "failure-to-",
    ):
        for (one, first), (two, second) in itertools.permutations(tasks.items()):
            phrases += [
                (f"{fail} {one}{slash}{two}".replace("- ", "-"), f"loss of {first} loss of {second}")
                for slash in ("/", " / ", "/ ")
            ]
            phrases += [
                (f"{fail} {one} {word} {two}".replace("- ", "-"), f"loss of {first} {word} loss of {second}")
                for word in ("or", "and")
            ]
    hold(own, phrases)


def test_synonyms_of_ectopy_in_the_plural(own):
    phrases = []
    for chamber in ("ventricular", "atrial", "supraventricular", "junctional"):
        phrases += [
            (f"{chamber} {word}", f"ectopic {chamber} beats")
            for word in (
                "ectopics",
                "ectopies",
                "ectopy",
                "ectopic beats",
                "ectopic complexes",
                "ectopic contractions",
                "ectopic depolarizations",
                "ectopic systoles",
                "ectopic extrasystoles",
            )
        ]
        phrases += [
            (f"{chamber} {word}", f"premature {chamber} beats")
            for word in (
                "extrasystoles",
                "premature beats",
                "premature complexes",
                "premature contractions",
                "premature systoles",
                "premature depolarizations",
                "premature ectopics",
                "premature ectopic beats",
                "extrasystole(s)",
            )
        ]
        phrases += [
            (f"premature {chamber} {word}", f"premature {chamber} beats")
            for word in ("ectopics", "ectopic beats", "ectopic complexes", "complexes", "contractions", "extrasystoles")
        ]
    hold(own, phrases)


def test_with_aberrant_conduction(own):
    ends = re.compile(r"(rhythm|tachycardia|fibrillation|flutter|beats?)$")
    rhythms = [text for text in phrases_of(own) if ends.search(text)]
    phrases = [
        (f"{rhythm} with {words}", f"{rhythm} with aberrancy")
        for rhythm in rhythms
        for words in (
            "aberrant conduction",
            "aberrant ventricular conduction",
            "aberrated conduction",
            "ventricular aberration",
            "aberrant intraventricular conduction",
            "QRS aberrancy",
            "aberration",
            "aberrant-conduction",
        )
    ]
    hold(own, phrases)

"""Reports labeled per second, on texts that are all different.

    python benchmarks/labeler.py [--definitions DIR] [--reports N] [--processes N] [--streamed N]

A generator puts reports together from statements with varied numbers, leads, degrees and wording, so that no text
occurs twice; it is seeded, and the texts are made before the clock starts. Measured: labels_flat from normalized
text (the definitions' own work), from raw text, and the parts; the automaton over words beside the kept
Aho-Corasick libraries over characters, where they are installed; and the memory of a long stream.
"""

import argparse
import random
import resource
import sys
import time

from ecgfm import labeler
from ecgfm.labeler.matching import Automaton, tokenize

LEADS = "I II III aVR aVL aVF V1 V2 V3 V4 V5 V6".split()
DEGREE = ["", "minor ", "marked ", "moderate ", "minimal ", "prominent "]
SURE = ["", "", "", "possible ", "probable ", "consider ", "cannot rule out ", "suspect "]
PLACE = ["anterior", "inferior", "lateral", "septal", "anterolateral", "anteroseptal", "inferolateral"]
AGE = ["", ", old", ", age undetermined", ", acute", " - possibly acute", ", probably recent"]
RHYTHM = [
    "Sinus rhythm",
    "Sinus bradycardia",
    "Sinus tachycardia",
    "Atrial fibrillation",
    "Atrial flutter",
    "Ectopic atrial rhythm",
    "Junctional rhythm",
    "Supraventricular tachycardia",
    "Normal sinus rhythm",
    "Atrial fibrillation with rapid ventricular response",
    "Ventricular tachycardia",
    "A-V sequential pacemaker",
    "Ventricular-paced rhythm",
]
ECTOPY = ["PVCs", "PACs", "ventricular premature complexes", "PVC(s)", "supraventricular extrasystoles", "APC's"]
HOW = ["", "occasional ", "frequent ", "multifocal ", "paired ", "interpolated ", "no "]
BLOCK = [
    "1st degree A-V block",
    "RBBB",
    "LBBB",
    "left anterior fascicular block",
    "2nd degree AV block, Mobitz I",
    "incomplete right bundle branch block",
    "IVCD",
    "complete heart block",
]
WAVES = [
    "T wave abnormality",
    "ST-T changes",
    "ST elevation",
    "ST depression",
    "T wave inversion",
    "poor R wave progression",
    "prolonged QT interval",
    "short PR interval",
    "low QRS voltages",
]
OTHER = [
    "Left axis deviation",
    "Right axis deviation",
    "LVH",
    "Left atrial abnormality",
    "Early repolarization",
    "Left ventricular hypertrophy by voltage",
    "Borderline ECG",
    "Abnormal ECG",
    "Otherwise normal ECG",
    "Normal ECG",
]


def statement(r):
    kind = r.randrange(8)
    if kind == 0:
        return f"{r.choice(DEGREE)}{r.choice(WAVES)} in {r.choice(PLACE)} leads"
    if kind == 1:
        return f"{r.choice(SURE)}{r.choice(PLACE)} infarct{r.choice(AGE)}"
    if kind == 2:
        leads = r.sample(LEADS, r.randint(1, 4))
        return f"{r.choice(['Artifact in', 'Baseline wander in', 'Missing'])} lead(s) {','.join(leads)}"
    if kind == 3:
        return f"{r.choice(SURE)}{r.choice(BLOCK)}"
    if kind == 4:
        return f"QTc {r.randint(300, 650)} ms, PR {r.randint(90, 400)} ms"
    if kind == 5:
        link = r.choice(["suggests", "consistent with", "due to", "or"])
        return f"{r.choice(WAVES)} {link} {r.choice(PLACE)} ischemia"
    return r.choice(OTHER)


def reports(n, seed=0):
    """``n`` different raw reports."""
    r = random.Random(seed)
    made = set()
    while len(made) < n:
        parts = [
            f"{r.choice(RHYTHM)} {r.choice(['with', 'and'])} {r.choice(HOW)}{r.choice(ECTOPY)}"
            if r.random() < 0.4
            else f"{r.choice(RHYTHM)}, rate {r.randint(25, 260)}"
        ]
        parts += [statement(r) for _ in range(r.randint(1, 5))]
        made.add(r.choice(["; ", ". ", "\n"]).join(parts))
    made = sorted(made)
    r.shuffle(made)
    return made


def best(function, repeats=3):
    """The shortest of some runs, in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def measure(n, folder=None, processes=1):
    """Reports per second by stage."""
    raw = reports(n)
    own = labeler.load(folder)
    texts = own.normalize(raw)
    engine = own.engine("documented")
    found = {"reports": n, "characters per report": sum(map(len, texts)) / n}
    assert len(set(texts)) > 0.98 * n
    fresh = lambda: labeler.Labeler(own.definitions)  # noqa: E731 - nothing kept from an earlier run
    for mode in ("documented", "reference"):
        found[f"normalized text -> labels_flat, {mode}"] = n / best(
            lambda mode=mode: fresh().label(texts, mode, normalized=True).labels_flat
        )
    found["raw text -> labels_flat"] = n / best(lambda: fresh().label(raw).labels_flat)
    found["normalisation alone"] = n / best(lambda: own.normalizer(raw))
    found["matching alone"] = n / best(lambda: [engine.matcher.match(text) for text in texts])
    if processes != 1:
        found[f"raw text -> labels_flat, {processes or 'all'} processes"] = n / best(
            lambda: own.label(raw, processes=processes).labels_flat
        )
    found.update({f"search, {name}": n / seconds for name, seconds in searches(engine, texts).items()})
    return found


def searches(engine, texts):
    """Seconds that finding all candidate occurrences takes, ours and the libraries that are installed."""
    patterns = [pattern.text for pattern in engine.matcher.patterns]
    automaton = Automaton(patterns)
    found = {"automaton over words": best(lambda: [automaton.find(tokenize(text)) for text in texts])}
    border = [(p[0].isalnum(), p[-1].isalnum()) for p in patterns]

    def bordered(text, occurrences):
        kept = []
        for number, start, end in occurrences:
            left, right = border[number]
            if left and start and (text[start - 1].isalnum() or text[start - 1] == "_"):
                continue
            if right and end < len(text) and (text[end].isalnum() or text[end] == "_"):
                continue
            kept.append((number, start, end))
        return kept

    try:
        import ahocorasick_rs

        characters = ahocorasick_rs.AhoCorasick(patterns)
        find = characters.find_matches_as_indexes
        found["ahocorasick_rs over characters, borders checked"] = best(
            lambda: [bordered(text, find(text, overlapping=True)) for text in texts]
        )
    except ImportError:
        pass
    try:
        import ahocorasick

        characters = ahocorasick.Automaton()
        for number, text in enumerate(patterns):
            characters.add_word(text, (number, len(text)))
        characters.make_automaton()
        found["pyahocorasick over characters, borders checked"] = best(
            lambda: [
                bordered(text, [(k, end + 1 - size, end + 1) for end, (k, size) in characters.iter(text)])
                for text in texts
            ]
        )
    except ImportError:
        pass
    return found


def stream_memory(n, folder=None):
    """Growth of the peak memory in MiB from the first tenth of a stream of ``n`` reports to its end."""
    own = labeler.load(folder)
    r = random.Random(1)
    texts = (f"{i} {r.choice(RHYTHM)}; {statement(r)}; {statement(r)}" for i in range(n))
    at, seen = None, 0
    for result in own.stream(texts):
        seen += len(result.labels_flat) >= 0 and len(result)
        if at is None and seen >= n // 10:
            at = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - at) / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--definitions", help="directory of definitions (default: those of the package)")
    parser.add_argument("--reports", type=int, default=40_000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--streamed", type=int, default=200_000, help="reports of the long stream")
    args = parser.parse_args()
    growth = stream_memory(args.streamed, args.definitions)
    for name, value in measure(args.reports, args.definitions, args.processes).items():
        print(f"{name:60s} {value:12,.0f}{' /s' if '->' in name or 'alone' in name or 'search' in name else ''}")
    print(f"{f'memory growth, last nine tenths of {args.streamed:,} streamed':60s} {growth:12.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())

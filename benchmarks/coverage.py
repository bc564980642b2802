"""Do intervals hold the true value as often as they say? Simulated studies of patients with several recordings each.

    python benchmarks/coverage.py [--studies 1000] [--patients 200] [--recordings 2] [--resamples 1000] [--json FILE]

Each patient has a level of their own in all scores, and mostly the same label in all recordings. Of each study the
intervals of AUROC, AUPRC, the measures of decisions at a threshold, and of the difference between two models are made
as `ecgfm.evaluate` and `ecgfm.compare` make them, over patients. Printed: the share of studies whose interval holds
the true value, which two million recordings give; and for comparison that of intervals over recordings.
"""

import argparse
import json

import numpy as np

from ecgfm.metrics.comparison import comparison_table
from ecgfm.metrics.decisions import MEASURES, decision_table
from ecgfm.metrics.intervals import ranking_table

THRESHOLD, PREVALENCE, SAME = 0.6, 0.3, 0.9
METRICS = ("auroc", "auprc")


def study(rng, patients, recordings):
    """Scores of two models, truth, patients: (n, 1), (n, 1), (n, 1), (n,)."""
    patient = np.repeat(np.arange(patients), recordings)
    count = len(patient)
    sick = rng.random(patients) < PREVALENCE
    truth = np.where(rng.random(count) < SAME, sick[patient], rng.random(count) < PREVALENCE)
    level = 0.8 * rng.standard_normal(patients)[patient]
    scores = [(gain * truth + level + 0.8 * rng.standard_normal(count))[:, None] for gain in (1.2, 1.0)]
    return *scores, truth.astype(float)[:, None], patient


def values(first, second, truth, groups, **resampling):
    """Name -> (value, low, high)."""
    given = truth, groups, ("label",)
    tables = [
        (ranking_table(first, *given, **resampling), METRICS, "{}", "{}"),
        (decision_table(first, *given, np.array([THRESHOLD]), **resampling), MEASURES, "{}", "{}"),
        (comparison_table(first, second, *given, **resampling), METRICS, "{}_difference", "difference of {}"),
    ]
    return {
        title.format(name): tuple(table[f"{column}"][0] for column in (of.format(name), f"{name}_low", f"{name}_high"))
        for table, names, of, title in tables
        for name in names
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("studies", 1000), ("patients", 200), ("recordings", 2), ("resamples", 1000), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    parser.add_argument("--json")
    options = parser.parse_args()

    size = options.patients, options.recordings
    whole = study(np.random.default_rng([options.seed, 0]), 1_000_000, 2)
    true = {name: one[0] for name, one in values(*whole[:3], whole[3] * 0, bootstrap=0).items()}
    held = {name: np.zeros((2, options.studies), bool) for name in true}
    for number in range(options.studies):
        *scores, truth, patient = study(np.random.default_rng([options.seed, 1, number]), *size)
        for way, groups in enumerate((patient, np.arange(len(patient)))):
            found = values(*scores, truth, groups, bootstrap=options.resamples, seed=number)
            for name, (_, low, high) in found.items():
                held[name][way, number] = low <= true[name] <= high
    shares = {name: each.mean(axis=1).tolist() for name, each in held.items()}
    print(f"{options.studies} studies of {size[0]} patients with {size[1]} recordings, {options.resamples} resamples")
    print("| | true value | over patients | over recordings |\n|---|---:|---:|---:|")
    for name, (patients, recordings) in shares.items():
        print(f"| {name} | {true[name]:.4f} | {100 * patients:.1f} % | {100 * recordings:.1f} % |")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"options": vars(options), "true": true, "shares": shares}, file, indent=1)


if __name__ == "__main__":
    main()

"""Small data sets in the layouts of the real ones, made from simulated recordings."""

import csv

import numpy as np

from ecgfm.ecg import LEADS, simulate

CODE_15_COLUMNS = (
    "exam_id age is_male nn_predicted_age 1dAVb RBBB LBBB SB ST AF patient_id death timey normal_ecg trace_file"
).split()


def write_table(path, rows, columns=None):
    """A CSV file from rows (dicts)."""
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, columns or list(rows[0]), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def read_table(path):
    """The rows of a CSV file, dicts of text."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def signal(seconds=10, rate=500, seed=0, leads=LEADS):
    """(leads, samples) float32 in mV."""
    made = simulate(seconds, rate, seed=seed)
    return made.signal[[made.leads.index(name) for name in leads]]


def code_15(folder, tracings, parts=2, length=4096):
    """A folder as CODE-15%'s: exams.csv and parts; `tracings` is a dict of exam number -> (12, samples)."""
    import h5py

    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for part in range(parts):
        numbers = list(tracings)[part::parts]
        data = np.zeros((len(numbers) + 1, length, 12), dtype=np.float32)
        for i, number in enumerate(numbers):
            samples = tracings[number].shape[1]
            start = (length - samples) // 2
            data[i, start : start + samples] = tracings[number].T
        name = f"exams_part{part}.hdf5"
        with h5py.File(folder / name, "w") as file:
            file["exam_id"] = np.array([*numbers, 0])  # an exam of number 0 ends each part
            file["tracings"] = data
        rows += [code_15_row(number, name) for number in numbers]
    rows.sort(key=lambda row: list(tracings).index(row["exam_id"]))
    write_table(folder / "exams.csv", rows, CODE_15_COLUMNS)
    return folder


def code_15_row(number, part):
    row = dict.fromkeys(CODE_15_COLUMNS, "False")
    return row | {"exam_id": number, "age": 50, "nn_predicted_age": 51.5, "patient_id": number % 7, "timey": "",
                  "trace_file": part}

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
    return row | {
        "exam_id": number,
        "age": 50,
        "nn_predicted_age": 51.5,
        "patient_id": number % 7,
        "timey": "",
        "trace_file": part,
    }


def wfdb_record(
    folder, name, x, rate=500, leads=LEADS, *, gain=1000, zero=0, comments=(), mat=False, time="", lead_unit="mV"
):
    """A WFDB record in format 16 from a signal (leads, samples) in mV; NaN is stored as a missing sample.

    With `mat` the signal file is a MATLAB 4 file, as in the Challenge 2021. Returns the (leads, samples) float64 that
    is stored.
    """
    folder.mkdir(parents=True, exist_ok=True)
    counts = np.round(np.where(np.isnan(x), 0, x).astype(np.float64) * gain) + zero
    counts = np.where(np.isnan(x), -32768, counts).astype("<i2")
    file, offset = (f"{name}.mat", "+24") if mat else (f"{name}.dat", "")
    head = np.array([30, len(x), x.shape[1], 0, 4], dtype="<i4").tobytes() + b"val\0" if mat else b""
    (folder / file).write_bytes(head + counts.T.tobytes())
    lines = [f"{name} {len(x)} {rate} {x.shape[1]} {time}".rstrip()]
    baseline = f"({zero})" if zero else ""
    for lead, row in zip(leads, counts.astype(int)):
        lines.append(f"{file} 16{offset} {gain}{baseline}/{lead_unit} 16 0 {row[0]} {sum(row) % 65536} 0 {lead}")
    lines += [f"#{comment}" for comment in comments]
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n")
    return np.where(counts == -32768, np.nan, (counts.astype(np.float64) - zero) / gain)


def patient(age, sex, codes):
    """The comments of the Challenge 2021."""
    return [f"Age: {age}", f"Sex: {sex}", f"Dx: {codes}", "Rx: Unknown", "Hx: Unknown", "Sx: Unknown"]


def physionet2021(folder, seconds=10):
    """A folder as the Challenge's: two data sets, RECORDS everywhere. Returns {path below training: stored signal}."""
    training, stored = folder / "training", {}
    for name, group, record, rate, about in [
        ("cpsc_2018", "g1", "A0001", 500, patient(74, "Male", "59118001")),
        ("cpsc_2018", "g1", "A0002", 500, patient("NaN", "Female", "426783006,164889003")),
        ("cpsc_2018", "g2", "A0003", 500, patient(49, "Unknown", "426783006")),
        ("ptb", "g1", "S0001", 1000, patient(81, "Female", "164865005")),
        ("st_petersburg_incart", "g1", "I0001", 257, patient(65, "F", "251182009")),
    ]:
        x = signal(seconds, rate, seed=len(stored))
        at = f"{name}/{group}/{record}"
        stored[at] = wfdb_record(training / name / group, record, x, rate, comments=about, mat=True)
    for below in {path.parent for path in training.rglob("*.hea")}:
        (below / "RECORDS").write_text("".join(f"{path.stem}\n" for path in sorted(below.glob("*.hea"))))
    groups = sorted({f"training/{path.parent.relative_to(training)}/\n" for path in training.rglob("*.hea")})
    (folder / "RECORDS").write_text("".join(groups))
    return stored


def mimic_iv_ecg(folder, studies=(40689238, 44458630, 49036311), seconds=10):
    """A folder as MIMIC-IV-ECG's, measurements in another order than records. Returns {study: stored signal}."""
    inside = folder / "mimic-iv-ecg-diagnostic-electrocardiogram-matched-subset-1.0"
    inside.mkdir(parents=True)
    rows, reports, stored = [], [], {}
    for i, study in enumerate(studies):
        subject = 10000032 + i // 2
        below = f"files/p{str(subject)[:4]}/p{subject}/s{study}"
        stored[study] = wfdb_record(
            inside / below, str(study), signal(seconds, 500, seed=i), gain=200, time=f"1{i}:05:00 0{i + 1}/08/2180"
        )
        rows.append(
            {
                "subject_id": subject,
                "study_id": study,
                "file_name": study,
                "ecg_time": f"2180-0{i + 1}-23 08:44:00",
                "path": f"{below}/{study}",
            }
        )
        texts = ["Sinus rhythm", "", f"Report of {study}"]
        reports.append(
            {
                "subject_id": subject,
                "study_id": study,
                "cart_id": 6848296,
                "ecg_time": rows[-1]["ecg_time"],
                **{f"report_{j}": text for j, text in enumerate(texts + [""] * 15)},
                "rr_interval": 659,
            }
        )
    write_table(inside / "record_list.csv", rows)
    write_table(inside / "machine_measurements.csv", reports[::-1])
    return stored


PTB_XL_STATEMENTS = """,description,diagnostic,form,rhythm,diagnostic_class,diagnostic_subclass
NORM,normal ECG,1.0,,,NORM,NORM
IMI,inferior myocardial infarction,1.0,,,MI,IMI
ASMI,anteroseptal myocardial infarction,1.0,,,MI,AMI
NDT,non-diagnostic T abnormalities,1.0,1.0,,STTC,STTC
CLBBB,left bundle branch block,1.0,,,CD,CLBBB
LVH,left ventricular hypertrophy,1.0,,,HYP,LVH
PVC,ventricular premature complex,,1.0,,,
SR,sinus rhythm,,,1.0,,
AFIB,atrial fibrillation,,,1.0,,
"""
PTB_XL_CODES = (
    "{'NORM': 100.0, 'SR': 0.0}",
    "{'IMI': 35.0, 'ASMI': 0.0, 'SR': 0.0}",
    "{'NDT': 100.0, 'PVC': 100.0, 'AFIB': 0.0}",
    "{'CLBBB': 100.0, 'LVH': 50.0, 'SR': 0.0}",
    "{'PVC': 100.0, 'AFIB': 0.0}",
    "{}",
)


def ptb_xl(folder, count=72, *, high=(), folds=range(1, 10), seconds=0):
    """A folder as PTB-XL's: both tables; with `seconds` recordings at 100 Hz, and at 500 Hz those of rows `high`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scp_statements.csv").write_text(PTB_XL_STATEMENTS)
    rows = []
    for i in range(count):
        patient = i // 2  # of two recordings each
        row = {"ecg_id": i + 1, "patient_id": f"{1000 + patient}.0", "age": "300.0" if i % 9 == 8 else f"{30 + i}.0"}
        row |= {"sex": patient % 2, "site": "2.0" if i % 3 else "", "device": "CS-12   E", "report": "sinus, =1+1"}
        row |= {"scp_codes": PTB_XL_CODES[(i + i // 6) % len(PTB_XL_CODES)], "strat_fold": folds[patient % len(folds)]}
        for rate, name in ((100, "lr"), (500, "hr")):
            row[f"filename_{name}"] = f"records{rate}/00000/{i + 1:05d}_{name}"
            if seconds and (rate == 100 or i in high):
                wfdb_record(folder / f"records{rate}/00000", f"{i + 1:05d}_{name}", signal(seconds, rate, seed=i), rate)
        rows.append(row)
    write_table(folder / "ptbxl_database.csv", rows)
    return folder

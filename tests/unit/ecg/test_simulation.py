"""Simulated patients: intervals and spectrum in the ranges of textbooks, labels that are true, and no label that
rate and size alone give away."""

import time

import numpy as np
import pytest

from ecgfm import LEADS, ConfigError, LabelError, prepare, read
from ecgfm.ecg import SIMULATED_LABELS, SimulatedPatient, simulate, simulate_cohort, write_wfdb
from ecgfm.ecg.simulation.patient import EARLY, FAST, FIBRILLATION, LEFT, LONG_PR, PACEMAKER, POOR, RIGHT, SINUS, SLOW

MORPHOLOGY = (EARLY, FIBRILLATION, LONG_PR, RIGHT, LEFT, PACEMAKER)


def patients(labels, count=40, **options):
    return [SimulatedPatient(i, labels, **options) for i in range(count)]


def recordings(labels, count=40, duration_s=10.0, clean=True):
    return [patient.record(duration_s, clean=clean) for patient in patients(labels, count)]


def lead(record, name):
    return record.signal[LEADS.index(name)].astype(np.float64)


@pytest.fixture(scope="module")
def cohorts():
    """One to fit on and one to test on."""
    return simulate_cohort(1500, seed=1), simulate_cohort(1000, seed=2)


# ---- intervals --------------------------------------------------------------------------------------


def measured_qrs(record):
    """Durations in s of the QRS complexes, from the steepness in all leads: apart from how they were made."""
    rate = record.sampling_rate
    steep = np.abs(np.gradient(record.signal.astype(np.float64), axis=1)).sum(axis=0) * rate
    for spike in record.beats.spikes_s:
        steep[max(0, int(spike * rate) - 3) : int(spike * rate) + 12] = 0
    steep = np.convolve(steep, np.ones(9) / 9, "same")
    found = []
    for start in record.beats.start_s:
        first, last = int((start - 0.04) * rate), int((start + 0.2) * rate)
        if first < 0 or last > record.samples:
            continue
        part = steep[first:last]
        here = np.flatnonzero(part > 0.18 * part.max())
        found.append((here[-1] - here[0]) / rate)
    return np.array(found)


@pytest.mark.parametrize(
    ("labels", "low", "high"), [((), 0.065, 0.11), (RIGHT, 0.11, 0.16), (LEFT, 0.12, 0.19), (PACEMAKER, 0.12, 0.20)]
)
def test_duration_of_the_qrs(labels, low, high):
    found = []
    for record in recordings(labels, 25):
        if PACEMAKER in labels and (record.beats.kind != "paced").any():
            continue  # the atria alone are paced
        found.append(np.median(measured_qrs(record)))
    assert len(found) > 15
    assert low < np.quantile(found, 0.1) and np.quantile(found, 0.9) < high


@pytest.mark.parametrize(
    ("labels", "low", "high"), [((), 0.12, 0.20), (LONG_PR, 0.20, 0.35), ((LONG_PR, FAST), 0.2, 0.3)]
)
def test_pr_and_qt(labels, low, high):
    for record in recordings(labels):
        beats = record.beats
        led = np.isfinite(beats.pr_s)
        assert led.any() and low < beats.pr_s[led].min() and beats.pr_s[led].max() <= high
        for start, pr in zip(beats.start_s[led], beats.pr_s[led]):  # a P wave is where it is said to be
            assert start - pr < 0 or np.abs(beats.p_s - (start - pr)).min() < 1e-9
        rr = np.diff(beats.start_s).mean()
        assert 0.34 < np.median(beats.qt_s) / np.cbrt(rr) < 0.48  # QTc after Fridericia


def test_p_waves_and_their_absence():
    """Before the QRS lead II rises in sinus rhythm; in fibrillation nothing is locked to the QRS."""

    def size(record):
        signal, rate = lead(record, "II"), record.sampling_rate
        starts = [s for s in record.beats.start_s if s > 0.3]
        parts = [signal[int((s - 0.22) * rate) : int((s - 0.02) * rate)] for s in starts]
        mean = np.mean([part - np.median(part) for part in parts if len(part) == int(0.2 * rate)], axis=0)
        return np.ptp(mean)

    sinus = np.median([size(record) for record in recordings(())])
    fibrillation = np.median([size(record) for record in recordings(FIBRILLATION)])
    assert 0.05 < sinus < 0.3 and fibrillation < 0.6 * sinus


def test_irregularity():
    def irregularity(labels):
        return np.array([np.diff(r.beats.start_s).std() / np.diff(r.beats.start_s).mean() for r in recordings(labels)])

    assert 0.005 < np.median(irregularity(())) < 0.08
    assert 0.10 < np.quantile(irregularity(FIBRILLATION), 0.1) and np.median(irregularity(FIBRILLATION)) < 0.35
    assert np.median(irregularity(PACEMAKER)) < 0.01
    intervals = np.concatenate([np.diff(r.beats.start_s) for r in recordings(FIBRILLATION, 10, 30.0)])
    assert intervals.min() > 0.25
    one = np.diff(SimulatedPatient(3, FIBRILLATION).record(120.0).beats.start_s)
    assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < 0.25  # they know nothing of each other


def test_fibrillation_waves_lie_between_4_and_9_hz():
    patient = SimulatedPatient(5, FIBRILLATION)
    patient.heart._qrs["conducted"].seen[:] = patient.heart._qrs["conducted"].turned[:] = 0
    patient.heart._t["conducted"].seen[:] = patient.heart._t["conducted"].turned[:] = 0
    signal = lead(patient.record(60.0, clean=True), "V1")
    power = np.abs(np.fft.rfft(signal)) ** 2
    at = np.fft.rfftfreq(len(signal), 1 / 500)
    assert 3.5 < at[power.argmax()] < 9.5
    assert power[(at > 3) & (at < 12)].sum() > 0.7 * power[at > 0.5].sum()


def test_a_ventricular_beat_is_early_wide_and_followed_by_a_pause():
    for patient in patients(EARLY, 25):
        patient.variability, patient.early_atrial = 0.0, False
        record = patient.record(30.0, clean=True)
        beats = record.beats
        assert EARLY in record.labels
        rr = np.diff(beats.start_s)
        usual = np.median(rr)
        for i in np.flatnonzero(beats.kind == "ventricular"):
            assert np.isnan(beats.pr_s[i])
            if 0 < i < len(rr) and (beats.kind[[i - 1, i + 1]] == "conducted").all():
                assert rr[i - 1] < 0.85 * usual < usual < rr[i]
                if rr[i - 1] > 0.34:  # else it was kept from coming too early
                    assert rr[i - 1] + rr[i] == pytest.approx(2 * usual, rel=0.02)  # fully compensatory
        assert patient.heart.qrs_s["ventricular"] > 0.12 > patient.heart.qrs_s["conducted"]


@pytest.mark.parametrize("labels", [LEFT, PACEMAKER, EARLY])
def test_the_t_wave_points_against_a_wide_qrs(labels):
    """Area of QRS and of T, in the lead where the QRS has the most: of opposite sign."""
    against = []
    for record in recordings(labels, 30):
        kind = {LEFT: "conducted", PACEMAKER: "paced", EARLY: "ventricular"}[labels]
        here = record.beats.kind == kind
        for start, qt in zip(record.beats.start_s[here], record.beats.qt_s[here]):
            a, b, c = (int((start + t) * 500) for t in (0, 0.16, qt))
            if c < record.samples:
                signal = record.signal[6:].astype(np.float64)
                qrs = signal[:, a:b].sum(axis=1)
                t = signal[:, b:c].sum(axis=1)
                best = np.abs(qrs).argmax()
                against.append(qrs[best] * t[best] < 0)
    assert len(against) > 20 and np.mean(against) > 0.85


def test_the_blocks_have_their_signs():
    """Right: late, V1 is positive and I or V6 negative. Left: late, V1 is negative and I or V6 positive."""
    right, left = [], []
    for labels, found in ((RIGHT, right), (LEFT, left)):
        for record in recordings(labels, 40):
            start = next(s for s in record.beats.start_s if s > 0.3)
            late = slice(int((start + 0.08) * 500), int((start + 0.125) * 500))
            base = int((start - 0.01) * 500)
            found.append([lead(record, name)[late].mean() - lead(record, name)[base] for name in ("V1", "I", "V6")])
    right, left = np.array(right), np.array(left)
    assert (right[:, 0] > 0).mean() > 0.85 and (right[:, 1:].min(axis=1) < 0).mean() > 0.85
    assert (left[:, 0] < 0).mean() > 0.85 and (left[:, 1:].max(axis=1) > 0).mean() > 0.85


def test_stimuli():
    record = next(r for r in recordings(PACEMAKER) if (r.beats.kind == "paced").all())
    for spike in record.beats.spikes_s[1:-1]:
        at = int(round(spike * 500))
        jump = np.abs(np.diff(record.signal[:, at - 3 : at + 4].astype(np.float64), axis=1)).max()
        elsewhere = np.abs(np.diff(record.signal[:, at - 40 : at - 20].astype(np.float64), axis=1)).max()
        assert jump > 3 * elsewhere
    assert np.all([np.min(np.abs(record.beats.start_s - s)) < 0.25 for s in record.beats.spikes_s[1:-1]])


def test_power_spectrum():
    """Of a clean recording nearly all lies below 40 Hz, the most between 0.5 and 20 Hz; it falls with the frequency."""
    shares = []
    for record in recordings((), 30):
        signal = record.signal - record.signal.mean(axis=1, keepdims=True)
        power = (np.abs(np.fft.rfft(signal, axis=1)) ** 2).sum(axis=0)
        at = np.fft.rfftfreq(record.samples, 1 / 500)
        bands = [power[(at >= low) & (at < high)].sum() / power.sum() for low, high in ((0.5, 20), (20, 45), (45, 250))]
        shares.append(bands)
    low, middle, high = np.median(shares, axis=0)
    assert 0.7 < low < 0.97 and 0.02 < middle < 0.25 and high < 0.02


def test_sizes_are_those_of_patients():
    sizes = np.array([np.ptp(record.signal, axis=1) for record in recordings((), 60)])
    assert (np.median(sizes, axis=0) > 0.35).all() and (np.median(sizes, axis=0) < 3.0).all()
    assert sizes.max() < 8.0 and (sizes.std(axis=0) / sizes.mean(axis=0) > 0.2).all()  # and they differ


# ---- labels -----------------------------------------------------------------------------------------


def test_the_labels_of_the_model():
    from ecgfm.checkpoint.labels import MIMIC_IV_ECG

    assert [label for label in MIMIC_IV_ECG if label in SIMULATED_LABELS] == list(SIMULATED_LABELS)


@pytest.mark.parametrize("label", SIMULATED_LABELS)
def test_each_label_can_be_asked_for(label):
    for record in recordings(label, 8, 8.0, clean=False):
        assert label in record.labels
    assert label in simulate(10.0, labels=[label], seed=3).labels


def test_labels_agree_with_the_beats(cohorts):
    for i in range(150):
        record = SimulatedPatient(i).record(5.0, index=i % 3)
        has, beats = set(record.labels), record.beats
        rate = 60 / np.diff(beats.start_s).mean() if len(beats.start_s) > 2 else record.heart_rate
        assert record.heart_rate == pytest.approx(rate, rel=1e-6)
        assert (FAST in has) == (rate > 100) and (SLOW in has) == (rate < 60)
        assert not {SINUS, FIBRILLATION} <= has and not {RIGHT, LEFT} <= has
        assert (PACEMAKER in has) == (len(beats.spikes_s) > 0)
        if FIBRILLATION in has:
            assert len(beats.p_s) == 0
        if EARLY in has:
            assert "ventricular" in beats.kind
    share = np.mean(np.concatenate([c.y for c in cohorts]), axis=0)
    assert (share > 0.08).all() and (share < 0.8).all()
    assert np.concatenate([c.y for c in cohorts]).sum(axis=1).max() >= 4  # several at a time


@pytest.mark.parametrize(
    "labels", [(SINUS, FIBRILLATION), (RIGHT, LEFT), (FAST, SLOW), (LONG_PR, FIBRILLATION), ("Influenza",)]
)
def test_labels_that_cannot_be(labels):
    for make in (
        lambda: SimulatedPatient(1, labels), lambda: simulate(labels=labels), lambda: simulate_cohort(2, labels=labels)
    ):  # fmt: skip
        with pytest.raises(LabelError) as caught:
            make()
        assert caught.value.field == "labels"


def test_rate_against_labels():
    with pytest.raises(ConfigError, match="contradicts the labels"):
        simulate(labels=[FAST], heart_rate=80)


def test_poor_quality_is_seen():
    """Another recording of the same patient differs little in what noise there is, a poor one much."""

    def noise(record):
        return np.abs(np.diff(record.signal.astype(np.float64), 2, axis=1)).mean() + record.signal.std(axis=1).max()

    def flat(record):
        return (np.ptp(record.signal[6:], axis=1) == 0).any()

    worse = 0
    for i in range(40):
        good, poor = SimulatedPatient(i, ()).record(10.0), SimulatedPatient(i, POOR).record(10.0)
        worse += noise(poor) > 1.1 * noise(good) or flat(poor)
    assert worse >= 36


def test_no_morphology_from_rate_and_size(cohorts):
    """A logistic regression on the heart rate and each lead's mean and deviation finds no label of morphology."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    from sklearn.metrics import roc_auc_score
    from sklearn.preprocessing import StandardScaler

    def features(cohort):
        return np.column_stack([cohort.heart_rate, cohort.signal.mean(axis=2), cohort.signal.std(axis=2)])

    train, test = cohorts
    scaler = StandardScaler().fit(features(train))
    found = {}
    for i, label in enumerate(SIMULATED_LABELS):
        model = linear_model.LogisticRegression(max_iter=2000).fit(scaler.transform(features(train)), train.y[:, i])
        found[label] = roc_auc_score(test.y[:, i], model.decision_function(scaler.transform(features(test))))
    assert max(found[label] for label in MORPHOLOGY) < 0.9, found
    assert min(found[FAST], found[SLOW]) > 0.95  # of rate it may be: the test can tell


# ---- recordings -------------------------------------------------------------------------------------


def test_recordings_of_a_patient_share_a_morphology():
    """Mean beats in 12 leads: those of one patient are alike, those of two are not."""

    def beat(record):
        starts = [s for s in record.beats.start_s if 0.1 < s < 9.5]
        parts = [record.signal[:, int(s * 500) : int(s * 500) + 60] for s in starts]
        return np.mean([part - part[:, :1] for part in parts], axis=0).ravel()

    beats = [[beat(SimulatedPatient(i, ()).record(index=k)) for k in range(2)] for i in range(12)]
    same = [np.corrcoef(a, b)[0, 1] for a, b in beats]
    other = [np.corrcoef(beats[i][0], beats[i - 1][1])[0, 1] for i in range(12)]
    assert min(same) > 0.97 and np.median(other) < 0.9


def test_einthoven_holds_exactly_for_all(cohorts):
    for signal in cohorts[0].signal[:300].astype(np.float64):
        one, two, three, avr, avl, avf = signal[:6]
        assert np.array_equal(three, two - one) and np.array_equal(avr, -(one + two) / 2)
        assert np.array_equal(avl, one - two / 2) and np.array_equal(avf, two - one / 2)


def test_seeds_and_cohorts():
    small, large = simulate_cohort(3, recordings=2, seed=4), simulate_cohort(5, recordings=2, seed=4)
    assert np.array_equal(small.signal, large.signal[:6]) and np.array_equal(small.y, large.y[:6])
    assert large.patient.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4] and large.recording.tolist() == [0, 1] * 5
    assert len({signal.tobytes() for signal in large.signal}) == 10
    assert not np.array_equal(small.signal, simulate_cohort(3, recordings=2, seed=5).signal)
    assert large.signal.dtype == np.float32 and large.signal.shape == (10, 12, 2500) and np.isfinite(large.signal).all()
    assert repr(SimulatedPatient(7)) == repr(SimulatedPatient(7))
    asked = simulate_cohort(4, labels=[LEFT], seed=1)
    assert asked.y[:, SIMULATED_LABELS.index(LEFT)].all() and asked.y[:, SIMULATED_LABELS.index(SINUS)].all()


def test_prepared():
    cohort = simulate_cohort(4, duration_s=10.0, sampling_rate=400.0, seed=2)
    x, row = cohort.prepared()
    assert x.shape == (8, 12, 2500) and row.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert np.array_equal(x[2:4], prepare(cohort.record(1)).x)


def test_thousands_in_seconds():
    simulate_cohort(20)
    start = time.process_time()
    simulate_cohort(200)
    assert (time.process_time() - start) / 200 < 0.02  # seconds each; 2 ms where nothing else runs


# ---- files ------------------------------------------------------------------------------------------


def test_wfdb(tmp_path):
    wfdb = pytest.importorskip("wfdb")
    cohort = simulate_cohort(3, recordings=2, seed=6)
    paths = cohort.write(tmp_path / "made")
    assert len(paths) == 6
    for row, path in enumerate(paths):
        record = read(path)
        assert np.array_equal(record.signal, cohort.signal[row])  # to the bit
        assert record.leads == LEADS and record.sampling_rate == 500
        found = wfdb.rdrecord(path.removesuffix(".hea"), physical=False)
        assert [int(c) % 65536 for c in found.checksum] == [int(c) % 65536 for c in found.calc_checksum()]
        assert [label in found.comments for label in cohort.labels] == cohort.y[row].astype(bool).tolist()
    lines = (tmp_path / "made" / "labels.csv").read_text().splitlines()
    assert lines[0].startswith("file,patient,recording,Poor data quality,Sinus rhythm") and len(lines) == 7
    assert lines[3] == ",".join(["1_0.hea", "1", "0", *map(str, cohort.y[2])])


def test_wfdb_refuses(tmp_path):
    record = simulate(1.0)
    for name in ("a.dat", "a b.hea", "ä.hea"):
        with pytest.raises(ConfigError, match="not a name of a WFDB header"):
            write_wfdb(record, tmp_path / name)
    record.signal = record.signal.copy()
    record.signal[3, 5] = np.nan
    with pytest.raises(ConfigError) as caught:
        write_wfdb(record, tmp_path / "a.hea")
    assert caught.value.field == "aVR" and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"patients": 0}, "patients"),
        ({"patients": 1.5}, "patients"),
        ({"patients": True}, "patients"),
        ({"patients": 10**9}, "patients"),
        ({"patients": 1, "recordings": 0}, "recordings"),
        ({"patients": 1, "seed": -1}, "seed"),
        ({"patients": 1, "duration_s": 0}, "duration_s"),
        ({"patients": 1, "sampling_rate": 1}, "sampling_rate"),
    ],
)
def test_wrong_arguments(options, field):
    with pytest.raises(ConfigError) as caught:
        simulate_cohort(**options)
    assert caught.value.field == field


def test_wrong_patients():
    for options, field in (({"seed": -1}, "seed"), ({"seed": 1, "spread": 2}, "spread"), ({"seed": 1.5}, "seed")):
        with pytest.raises(ConfigError) as caught:
            SimulatedPatient(**options)
        assert caught.value.field == field
    with pytest.raises(ConfigError) as caught:
        SimulatedPatient(1).record(index=-1)
    assert caught.value.field == "index"


@pytest.mark.parametrize("label", [None, *SIMULATED_LABELS])
@pytest.mark.parametrize(("duration_s", "rate"), [(0.002, 500), (0.5, 100), (20.0, 1000)])
def test_any_length_and_rate(label, duration_s, rate):
    for seed in range(3):
        record = SimulatedPatient(seed, None if label is None else [label]).record(duration_s, rate)
        assert record.signal.shape == (12, round(duration_s * rate)) and np.isfinite(record.signal).all()

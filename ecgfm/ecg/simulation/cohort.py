"""Many simulated patients at once: arrays, labels, and WFDB records."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..._types import StrPath
from ...errors import ConfigError
from ...signal.leads import LEADS
from ...specs.inputs import InputSpec
from ...storage.atomic import write_text
from ...storage.rows import csv_text
from ...storage.wfdb import write_plain
from ...validation import Seed, Whole, checked
from ..prepare import SAMPLING_RATE, TakesInput, prepare
from ..record import Record
from .patient import LABELS, SimulatedPatient, checked_labels, checked_length

__all__ = ["Cohort", "simulate_cohort", "write_wfdb"]

TABLE = "labels.csv"
_STEPS_PER_MV = {name: 2048 if name in ("aVR", "aVL", "aVF") else 1024 for name in LEADS}
_MAX_VALUES = 1 << 31


@dataclass(eq=False)
class Cohort:
    """Recordings of simulated patients.

    Attributes
    ----------
    signal : ndarray
        (n, 12, samples) float32, mV; the recordings of a patient follow each other.
    y : ndarray
        (n, 10) uint8: which of the labels are true of each recording.
    labels : tuple of str
        `ecgfm.ecg.SIMULATED_LABELS`.
    patient : ndarray
        (n,) number of the patient, 0, 1, ...
    recording : ndarray
        (n,) number of the recording among the patient's.
    heart_rate : ndarray
        (n,) beats a minute that were simulated.
    sampling_rate : float
        In Hz.
    seed : int
    """

    signal: np.ndarray
    y: np.ndarray
    labels: tuple[str, ...]
    patient: np.ndarray
    recording: np.ndarray
    heart_rate: np.ndarray
    sampling_rate: float
    seed: int

    def __len__(self) -> int:
        return len(self.signal)

    def names(self) -> list[str]:
        """list of str: a name for each recording, ``patient_recording``."""
        digits = len(str(int(self.patient[-1])))
        return [f"{patient:0{digits}d}_{recording}" for patient, recording in zip(self.patient, self.recording)]

    def record(self, row: int) -> Record:
        """The `Record` of a row."""
        return Record(
            self.signal[row], self.sampling_rate, LEADS, source=self.names()[row], notes=("simulated, no patient",)
        )

    def prepared(self, model: TakesInput | InputSpec | None = None) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """What a model takes: every recording prepared as `prepare` does, its segments in order.

        Parameters
        ----------
        model : Model or InputSpec, optional
            By default what ECG-FM takes.

        Returns
        -------
        x : ndarray
            (segments, leads, samples) float32; of ECG-FM (segments, 12, 2500).
        row : ndarray
            (segments,) the recording of each.
        """
        made = [prepare(Record(signal, self.sampling_rate, LEADS), model).x for signal in self.signal]
        return np.concatenate(made), np.repeat(np.arange(len(made)), [len(x) for x in made])

    def write(self, folder: StrPath) -> list[str]:
        """Write WFDB records and ``labels.csv`` (``file``, ``patient``, ``recording``, a column per label).

        Parameters
        ----------
        folder : path-like
            Made if it is not there.

        Returns
        -------
        list of str
            Paths of the headers.
        """
        os.makedirs(folder, exist_ok=True)
        paths, table = [], [["file", "patient", "recording", *self.labels]]
        columns = self.names(), self.signal, self.y, self.patient, self.recording
        for name, signal, y, patient, recording in zip(*columns):
            about = [f"simulated, no patient (seed {self.seed}, patient {patient}, recording {recording})"]
            about += [label for label, true in zip(self.labels, y) if true]
            path = os.path.join(folder, f"{name}.hea")
            write_wfdb(Record(signal, self.sampling_rate, LEADS), path, comments=about)
            paths.append(path)
            table.append([f"{name}.hea", patient, recording, *y.tolist()])
        write_text(os.path.join(folder, TABLE), csv_text(table))
        return paths


def simulate_cohort(
    patients: int,
    recordings: int = 1,
    duration_s: float = 5.0,
    sampling_rate: float = float(SAMPLING_RATE),
    *,
    labels: Sequence[str] | None = None,
    seed: int = 0,
) -> Cohort:
    """Simulate patients, each with recordings of one morphology.

    Parameters
    ----------
    patients : int
    recordings : int
        Of each patient.
    duration_s : float
    sampling_rate : float
        In Hz.
    labels : sequence of str, optional
        What all patients have; by default each has its own, drawn.
    seed : int
        The same arguments and seed give the same cohort; a larger one begins with the smaller one.

    Returns
    -------
    Cohort

    Raises
    ------
    ConfigError
        If an argument is out of range, or the signals would be too many.
    LabelError
        If a label is not known, or two exclude each other.

    Examples
    --------
    >>> cohort = ecgfm.ecg.simulate_cohort(1000, recordings=2, seed=1)
    >>> x, row = cohort.prepared()
    >>> ecgfm.finetune(model, x, cohort.y[row])
    """
    patients, recordings = checked(patients, Whole(1), "patients"), checked(recordings, Whole(1), "recordings")
    samples = checked_length(duration_s, sampling_rate)
    if patients * recordings * len(LEADS) * samples > _MAX_VALUES:
        raise ConfigError("too many signals for one array", field="patients", remedy="Make several cohorts")
    if labels is not None:
        labels = checked_labels(labels)
    count = patients * recordings
    signal = np.empty((count, len(LEADS), samples), np.float32)
    y = np.zeros((count, len(LABELS)), np.uint8)
    rate = np.empty(count)
    drawn = (SimulatedPatient(patient_seed, labels) for patient_seed in patient_seeds(seed, patients))
    records = (one.record(duration_s, sampling_rate, index) for one in drawn for index in range(recordings))
    for row, record in enumerate(records):
        signal[row], rate[row] = record.signal, record.heart_rate
        y[row] = [label in record.labels for label in LABELS]
    numbers = np.repeat(np.arange(patients), recordings), np.tile(np.arange(recordings), patients)
    return Cohort(signal, y, LABELS, *numbers, rate, float(sampling_rate), seed)


def patient_seeds(seed: int, patients: int) -> list[int]:
    """Seeds of the patients of a cohort."""
    rng = np.random.default_rng([checked(seed, Seed(bits=128), "seed"), 2])
    return list(map(int, rng.integers(0, 1 << 62, patients)))


def write_wfdb(record: Record, path: StrPath, comments: Sequence[str] = ()) -> None:
    """Write a recording as WFDB, format 16: a header and a signal file beside it.

    Recordings of the simulator are kept to the bit; others are rounded to 2^-10 mV.

    Parameters
    ----------
    record : Record
    path : path-like
        Of the header, ``.hea``.
    comments : sequence of str
        Lines of the header after the signals.

    Raises
    ------
    ConfigError
        If the path doesn't end in ``.hea``, or a value is not finite or too large for the format.
    """
    stem, ending = os.path.splitext(os.fspath(path))
    name = os.path.basename(stem)
    if ending != ".hea" or not name.replace("_", "").replace("-", "").isalnum() or not name.isascii():
        raise ConfigError(
            "not a name of a WFDB header", path=path, remedy="Take letters, digits, _ and -, and the ending .hea"
        )
    steps = np.array([_STEPS_PER_MV.get(lead, 1024) for lead in record.leads])
    values = np.round(record.signal * steps[:, None].astype(np.float64))
    bad = np.flatnonzero(~(np.abs(values) < 1 << 15).all(axis=1))  # also true of NaN
    if len(bad):
        raise ConfigError("a value is not finite or beyond 16 bits", path=path, field=record.leads[bad[0]])
    gains = [f"{step}(0)/mV" for step in steps]
    write_plain(os.fspath(path), values.astype(np.int16), record.leads, gains, record.sampling_rate, comments)

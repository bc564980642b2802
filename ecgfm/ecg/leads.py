"""The leads that follow from I and II: III, aVR, aVL, aVF (Einthoven's law and Goldberger's leads)."""

import numpy as np

from .record import LEADS

__all__ = ["DERIVED", "complete", "derive"]

#: Lead -> the factors of I and II that it is the sum of.
DERIVED = {"III": (-1.0, 1.0), "aVR": (-0.5, -0.5), "aVL": (1.0, -0.5), "aVF": (-0.5, 1.0)}


def derive(name, one, two):
    """A lead from I and II.

    Parameters
    ----------
    name : {"III", "aVR", "aVL", "aVF"}
    one, two : array_like
        (samples,) leads I and II.

    Returns
    -------
    ndarray
        (samples,) float64. III = II - I, aVR = -(I + II) / 2, aVL = I - II / 2, aVF = II - I / 2.
    """
    a, b = DERIVED[name]
    return a * np.asarray(one, dtype=np.float64) + b * np.asarray(two, dtype=np.float64)


def complete(signal, leads):
    """Add those of III, aVR, aVL, aVF that a recording lacks, if it has I and II.

    Parameters
    ----------
    signal : ndarray
        (leads, samples).
    leads : sequence of str
        Canonical names of its rows.

    Returns
    -------
    tuple
        The signal with the derived rows and the names with theirs, in the order of `LEADS` and then of the file; and
        the names of the derived. All as given if nothing is derived.
    """
    leads = tuple(leads)
    derived = tuple(name for name in DERIVED if name not in leads)
    if not derived or "I" not in leads or "II" not in leads:
        return signal, leads, ()
    one, two = signal[leads.index("I")], signal[leads.index("II")]
    rows = dict(zip(leads, signal)) | {name: derive(name, one, two) for name in derived}
    names = tuple(name for name in LEADS if name in rows) + tuple(name for name in leads if name not in LEADS)
    return np.stack([rows[name] for name in names]), names, derived

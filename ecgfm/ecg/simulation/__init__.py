"""Simulated patients and their recordings, with the truth about them."""

from .cohort import Cohort, simulate_cohort, write_wfdb
from .patient import LABELS, SimulatedPatient, SimulatedRecord

__all__ = ["LABELS", "Cohort", "SimulatedPatient", "SimulatedRecord", "simulate_cohort", "write_wfdb"]

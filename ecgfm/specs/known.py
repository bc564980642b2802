"""What is known of published models."""

import re
from dataclasses import dataclass
from typing import Final

from .inputs import InputSpec

__all__ = ["DEEPECG", "MIMIC_IV_ECG", "Traits", "known_input"]

#: The outputs of the published model finetuned on MIMIC-IV-ECG, in order.
MIMIC_IV_ECG: Final = (
    "Poor data quality",
    "Sinus rhythm",
    "Premature ventricular contraction",
    "Tachycardia",
    "Ventricular tachycardia",
    "Supraventricular tachycardia with aberrancy",
    "Atrial fibrillation",
    "Atrial flutter",
    "Bradycardia",
    "Accessory pathway conduction",
    "Atrioventricular block",
    "1st degree atrioventricular block",
    "Bifascicular block",
    "Right bundle branch block",
    "Left bundle branch block",
    "Infarction",
    "Electronic pacemaker",
)

#: What the finetuned models of DeepECG-SSL take. Their network and all shapes are ECG-FM's; no file says the rate.
DEEPECG: Final = InputSpec(sampling_rate=250, samples=2500, unit="mV", normalisation="none", resampling="decimate")
_DEEPECG_PRETRAINED = DEEPECG.replaced(samples=1250)
_DEEPECG_LABELS = 77
_DEEPECG_PATH = re.compile(r"(?<![a-z])(base_ssl\.pt|mhi|deepecg|wcr_(77_classes|lvef|afib))(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class Traits:
    """What tells which published model a file holds.

    Attributes
    ----------
    kind : {"classifier", "pretraining", "encoder"}
    outputs : int
        Of a classifier; 0 of others.
    paths : tuple of str
        Files and folders that its configuration names: of data, and of the model that it was trained from.
    """

    kind: str
    outputs: int = 0
    paths: tuple[str, ...] = ()


def known_input(traits: Traits) -> tuple[InputSpec, str] | None:
    """What a known model takes and how it was recognised; None if it is none that takes anything else than ECG-FM."""
    named = next((path for path in traits.paths if _DEEPECG_PATH.search(path)), None)
    if named is not None:
        found = DEEPECG if traits.kind == "classifier" else _DEEPECG_PRETRAINED
        name = named.replace("\\", "/").rstrip("/").rpartition("/")[2]
        return found, f"known model: DeepECG-SSL, as the file names {name}"
    if traits.kind == "classifier" and traits.outputs == _DEEPECG_LABELS:
        return DEEPECG, f"assumed: DeepECG-SSL's, as the model has {_DEEPECG_LABELS} outputs"
    return None

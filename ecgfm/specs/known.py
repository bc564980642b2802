"""What is known of published models: one table, a row a model. Nothing is downloaded or opened here."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from .inputs import ECG_FM, InputSpec
from .label_sets import (
    CHALLENGE_2021,
    DEEPECG_77,
    DEEPECG_ROWS,
    MIMIC_IV_ECG_17,
    SIMULATED,
    LabelSet,
    label_set_of_count,
)

__all__ = ["DEEPECG", "KNOWN", "MIMIC_IV_ECG", "Known", "Recognised", "Thresholds", "Traits", "nearest", "recognised"]

#: The outputs of the published model finetuned on MIMIC-IV-ECG, in order.
MIMIC_IV_ECG: Final = MIMIC_IV_ECG_17.names
NOT_VALIDATED: Final = "published, not validated here"


@dataclass(frozen=True)
class Thresholds:
    """Thresholds that somebody published for a model: never applied by themselves.

    Attributes
    ----------
    source : str
        Where they were published.
    rule : str
        How they were chosen, as far as that is known.
    values : tuple of float or None
        In the order of the labels; None where there is none.
    """

    source: str
    rule: str
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class Known:
    """A published model.

    Attributes
    ----------
    name : str
        What `ecgfm.load` takes.
    what, use : str
        What it is, and what it is for.
    licence : str
        Of the weights.
    kind : {"classifier", "pretraining"}
    labels : tuple of str
        In the order of the outputs.
    label_set : LabelSet or None
    input : InputSpec or None
        What it takes; None for one that is not run here.
    repository : str or None
        ``owner/name`` on the Hugging Face Hub.
    file : str or None
        The weights there; None where the one ``.pt`` or ``.safetensors`` file beside `beside` is meant.
    beside : tuple of str
        Files of weights there that are not meant.
    revision : str or None
        Commit, for a file that is in old revisions only.
    size : str or None
        Of the file, about.
    gated : bool
        Whether its owner gives it only to those who log in and accept the terms.
    caveat : str or None
        What who reads its answers must know.
    thresholds : tuple of Thresholds
    refused : str or None
        Why it can't be run here.
    """

    name: str
    what: str
    use: str
    licence: str
    kind: str = "classifier"
    labels: tuple[str, ...] = ()
    label_set: LabelSet | None = None
    input: InputSpec | None = None
    repository: str | None = None
    file: str | None = None
    beside: tuple[str, ...] = ()
    revision: str | None = None
    size: str | None = None
    gated: bool = False
    caveat: str | None = None
    thresholds: tuple[Thresholds, ...] = ()
    refused: str | None = None

    @property
    def outputs(self) -> int:
        """int: number of outputs; 0 for an encoder."""
        return len(self.labels)

    @property
    def family(self) -> str:
        """str: what models of one origin have in common, the first part of the name."""
        return self.name.split("/")[0]

    @property
    def page(self) -> str | None:
        """str or None: the page on the Hub from which its file can be fetched by hand."""
        if self.repository is None:
            return None
        return f"https://huggingface.co/{self.repository}" + (f"/tree/{self.revision}" if self.revision else "")

    @property
    def wanted(self) -> str:
        """str: the file to fetch, in words where its name is not known."""
        other = f" that is not {' or '.join(self.beside)}" if self.beside else ""
        return self.file or f"the .pt file{other}"


#: What the finetuned models of DeepECG-SSL take. Their network and all shapes are ECG-FM's; no file says the rate.
DEEPECG: Final = InputSpec(sampling_rate=250, samples=2500, unit="mV", normalisation="none", resampling="decimate")
#: What only training runs of a family name, in the paths of their configuration.
MARKS: Final = {
    "deepecg": re.compile(r"(?<![a-z])(base_ssl\.pt|mhi|deepecg|wcr_(77_classes|lvef|afib))(?![a-z])", re.IGNORECASE)
}
_FAMILIES: Final = {"ecg-fm": "ECG-FM", "deepecg": "DeepECG-SSL"}
_ECG_FM_REPOSITORY: Final[dict[str, Any]] = {
    "repository": "wanglab/ecg-fm",
    "licence": "MIT",
    "size": "1.1 GB",
    "input": ECG_FM,
}
_DEEPECG_REPOSITORY: Final[dict[str, Any]] = {
    "gated": True,
    "beside": ("base_ssl.pt",),
    "input": DEEPECG,
}
_HEARTWISE: Final = "HeartWise-AI/DeepECG_Docker, "
_BIOMARKERS: Final = _HEARTWISE + "thresholds/digital_biomarker_final.json, SSL"
_RATE: Final = "The file does not say its rate: 250 Hz is what its authors' code feeds it"


def _table(*rows: Known) -> Mapping[str, Known]:
    return {row.name: row for row in rows}


#: Name -> model, those that run first.
KNOWN: Final = _table(
    Known(
        "ecg-fm",
        "ECG-FM finetuned on MIMIC-IV-ECG's machine reports: 17 labels",
        "labels of a 12-lead ECG, of 5 s or more; a start for finetuning on labels like these",
        label_set=MIMIC_IV_ECG_17,
        labels=MIMIC_IV_ECG,
        file="mimic_iv_ecg_finetuned.pt",
        **_ECG_FM_REPOSITORY,
    ),
    Known(
        "ecg-fm/pretrained",
        "ECG-FM pretrained on MIMIC-IV-ECG and PhysioNet 2021 (W2V + CMSC + RLM): an encoder",
        "embeddings of ECGs; the start of any finetuning",
        kind="pretraining",
        file="mimic_iv_ecg_physionet_pretrained.pt",
        **_ECG_FM_REPOSITORY,
    ),
    Known(
        "ecg-fm/physionet",
        "ECG-FM finetuned on the PhysioNet/CinC Challenge 2021: its 26 scored classes",
        "the challenge's classes of a 12-lead ECG, of 5 s or more",
        label_set=CHALLENGE_2021,
        labels=CHALLENGE_2021.names,
        file="physionet_finetuned.pt",
        revision="abf3d8c",
        caveat="The names of the 26 outputs follow the order of the challenge's weights.csv, as the code that trained"
        " the model does; they were published without it, and are not checked against its weights",
        **_ECG_FM_REPOSITORY,
    ),
    Known(
        "deepecg/77",
        "DeepECG-SSL (HeartWise) finetuned on machine reports: 77 statements",
        "statements of rhythm, conduction, chambers, infarction and more of a 12-lead ECG of 10 s",
        "Apache-2.0, as its page is tagged",
        label_set=DEEPECG_77,
        labels=DEEPECG_77.names,
        repository="heartwise/WCR_77_Classes",
        caveat=_RATE + "; the network can't see absolute voltage, so that labels such as Low voltage rest on the leads'"
        " relative size; it was trained and judged on labels of machine reports",
        thresholds=(
            Thresholds(
                _HEARTWISE + "thresholds/wcr_77_classes_ecg_machine_diagnosis.json",
                "Youden's, against labels from the text of machine reports",
                tuple(row[2] for row in DEEPECG_ROWS),
            ),
            Thresholds(
                _HEARTWISE + "thresholds/77_tasks_final.json, SSL",
                "not stated; the median label differs from the other list by a factor of 9",
                tuple(row[3] for row in DEEPECG_ROWS),
            ),
        ),
        **_DEEPECG_REPOSITORY,
    ),
    Known(
        "deepecg/lvef40",
        "DeepECG-SSL finetuned on echocardiograms: ejection fraction of 40 % or less",
        "a screening score for a left ventricular ejection fraction of 40 % or less, from an ECG of 10 s",
        "not stated for this file",
        labels=("LVEF <= 40 %",),
        repository="heartwise/WCR_LVEF_equal_under_40",
        caveat=_RATE,
        thresholds=(Thresholds(_BIOMARKERS, "not stated", (0.002,)),),
        **_DEEPECG_REPOSITORY,
    ),
    Known(
        "deepecg/lvef50",
        "DeepECG-SSL finetuned on echocardiograms: ejection fraction below 50 %",
        "a screening score for a left ventricular ejection fraction below 50 %, from an ECG of 10 s",
        "not stated for this file",
        labels=("LVEF < 50 %",),
        repository="heartwise/WCR_LVEF_under_50",
        caveat=_RATE,
        thresholds=(Thresholds(_BIOMARKERS, "not stated", (0.032,)),),
        **_DEEPECG_REPOSITORY,
    ),
    Known(
        "deepecg/afib5y",
        "DeepECG-SSL finetuned on follow-up: atrial fibrillation within five years",
        "a risk score for atrial fibrillation that is first seen within five years, from an ECG of 10 s",
        "not stated for this file",
        labels=("Atrial fibrillation within 5 years",),
        repository="heartwise/WCR_AFIB_5Y",
        caveat=_RATE,
        thresholds=(Thresholds(_BIOMARKERS, "not stated", (0.231,)),),
        **_DEEPECG_REPOSITORY,
    ),
    Known(
        "deepecg/ssl",
        "DeepECG-SSL pretrained on MHI, MIMIC-IV-ECG and CODE-15: an encoder",
        "embeddings of ECGs at 250 Hz; the start of finetuning",
        "not stated",
        kind="pretraining",
        repository="heartwise/SSL_Pretrained_model",
        caveat=_RATE,
        **_DEEPECG_REPOSITORY | {"beside": (), "input": DEEPECG.replaced(samples=1250)},
    ),
    Known(
        "demo",
        "a small model of simulated patients, shipped with ecgfm: ten of ECG-FM's labels",
        "trying things out without a download",
        "MIT",
        labels=SIMULATED,
        input=ECG_FM,
        size="1 MB",
        caveat="This model knows simulated patients only: what it says of real recordings means nothing",
    ),
    Known(
        "deepecg/clsa-cvd",
        "DeepECG-SSL-CLSA-CVD: cardiovascular risk from five folds",
        "-",
        "CC BY-NC 4.0",
        repository="heartwise/DeepECG-SSL-CLSA-CVD",
        refused="it needs a second, amplitude-preserving encoder, which is not published and is another network",
    ),
    Known(
        "melp",
        "MELP's ECG encoder: 8 layers of the same blocks, trained with reports",
        "-",
        "MIT",
        kind="pretraining",
        refused="it takes 10 s scaled to 0-1 over all leads together, with aVF before aVL, and pools in its own way",
    ),
    Known(
        "d-beta",
        "D-BETA's ECG encoder: 8 layers of the same blocks with a class token",
        "-",
        "CC BY-NC 4.0",
        kind="pretraining",
        refused="its class token and its pooler are not part of this network",
    ),
)


@dataclass(frozen=True)
class Traits:
    """What tells which published model a file holds.

    Attributes
    ----------
    kind : {"classifier", "pretraining", "encoder"}
        By the tensors.
    outputs : int
        Of a classifier, by the tensors; 0 of others.
    paths : tuple of str
        Files and folders that its configuration names: of data, and of the model that it was trained from.
    labels : tuple of str or None
        The names of its outputs, where the file states them: a model of other labels is another one.
    """

    kind: str
    outputs: int = 0
    paths: tuple[str, ...] = ()
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Recognised:
    """Of which family a file's model is, and which of its models it may be.

    Attributes
    ----------
    family : str
    models : tuple of Known
        More than one where nothing in the file tells them apart; none if it is a further one of the family.
    input : InputSpec
        What the family takes.
    by : str
        What tells it, as the end of a sentence.
    named : bool
        Whether the file itself names it; else it is no more than an assumption.
    """

    family: str
    models: tuple[Known, ...]
    input: InputSpec
    by: str
    named: bool

    @property
    def source(self) -> str:
        """str: where `input` comes from, in words."""
        return f"known model: {self.family}, {self.by}" if self.named else f"assumed: {self.family}'s, {self.by}"


def recognised(traits: Traits) -> Recognised | None:
    """The published model that a file seems to hold; None if nothing tells it from others of the network."""
    classifies = traits.kind == "classifier"
    alike = [one for one in KNOWN.values() if one.input and (one.kind == "classifier") == classifies]
    same = [one for one in alike if one.outputs == traits.outputs and traits.labels in (None, one.labels)]
    for family, mark in MARKS.items():
        named = next((path for path in traits.paths if mark.search(path)), None)
        if named is not None:
            name = named.replace("\\", "/").rstrip("/").rpartition("/")[2]
            takes = next(one.input for one in alike if one.family == family)
            models = tuple(one for one in same if one.family == family)
            return Recognised(_FAMILIES[family], models, takes or ECG_FM, f"as the file names {name}", True)
    if classifies and len(same) == 1 and label_set_of_count(traits.outputs) is not None:
        only = same[0]
        by = f"as the model has {only.outputs} outputs"
        return Recognised(_FAMILIES[only.family], (only,), only.input or ECG_FM, by, False)
    return None


def nearest(name: str) -> list[str]:
    """Names of known models that one which is none may mean, the likeliest first; empty if none is near."""
    wanted = name.lower().replace("_", "-")
    inside = [known for known in KNOWN if len(wanted) > 2 and (wanted in known or known in wanted)]
    near = difflib.get_close_matches(wanted[:200], KNOWN, n=3, cutoff=0.7)
    return list(dict.fromkeys([*near, *inside]))[:4]

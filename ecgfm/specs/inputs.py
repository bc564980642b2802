"""What a model takes: which leads, at which rate, how many samples, in which unit, and how they are made ready."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

import numpy as np

from .._text import shown
from ..errors import ConfigError
from ..validation import REFUSED, Choice, Number, Rule, Settings, Whole, number, one_of, whole

__all__ = [
    "ASSUMED",
    "ECG_FM",
    "LEADS",
    "MAX_RATE",
    "MIN_RATE",
    "SAMPLES",
    "SAMPLING_RATE",
    "InputSpec",
    "parsed",
]

#: The 12 leads in the order that ECG-FM takes them.
LEADS: Final = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
#: A recording below or above these rates (Hz) is taken for a damaged header.
MIN_RATE: Final = 50.0
MAX_RATE: Final = 100_000.0
#: Of where a specification comes from, if nothing said what the model takes.
ASSUMED: Final = "assumed: nothing says what the model takes, so ECG-FM's"

_MAX_SAMPLES = 1_000_000
_MAX_TEXT = 2000
# Normalisations that other models want and that are not computed here.
_KNOWN = {
    "min-max": "each segment scaled to 0 ... 1, as MELP and MERL take it",
    "robust": "scaled by median and quartiles",
    "max-abs": "scaled to -1 ... 1, as HuBERT-ECG takes it",
}


@dataclass(frozen=True)
class Leads(Rule):
    """Some of the 12 leads, in any order, as text with commas or a sequence of names in any case."""

    def take(self, value: object) -> Any:
        names = value.split(",") if isinstance(value, str) and len(value) < _MAX_TEXT else value
        names = names.tolist() if isinstance(names, np.ndarray) else names
        if not isinstance(names, (list, tuple)) or not 1 <= len(names) <= len(LEADS):
            return REFUSED
        known = {name.lower(): name for name in LEADS}
        found = [known.get(name.strip().lower(), "") if isinstance(name, str) else "" for name in names]
        return tuple(found) if all(found) and len(set(found)) == len(found) else REFUSED

    def allowed(self) -> str:
        return f"a list of leads, each once, of {', '.join(LEADS)}"


@dataclass(frozen=True)
class Normalisation(Choice):
    """One of those that are computed here; those of other models are refused by their name."""

    choices: tuple[object, ...] = ("recording", "segment", "none")

    def remedy(self, value: object) -> str | None:
        text = value[:40].lower().replace("_", "-") if isinstance(value, str) else ""
        known = next((name for name in _KNOWN if text.replace("-", "") == name.replace("-", "")), None)
        if known is None:
            return super().remedy(value)
        return f"{known} ({_KNOWN[known]}) is known but not computed: scale the signal yourself and give 'none'"


@dataclass(frozen=True, slots=True)
class InputSpec(Settings):
    """What a model takes. `ecgfm.prepare` and all that reads recordings for the model follow it.

    Parameters
    ----------
    sampling_rate : float
        In Hz.
    samples : int
        Of a segment.
    leads : tuple of str or None
        In the order of the rows of a segment: some of `ecgfm.LEADS`. None: nobody said which they are.
    unit : {"mV", "uV", "V"}
        Of the values, where they are not standardised.
    normalisation : {"recording", "segment", "none"}
        Each lead with mean 0 and standard deviation 1 over the whole recording, or over each segment (fairseq's
        ``normalize=true``); or in `unit` as it was recorded. Others, such as min-max, are refused by name.
    resampling : {"linear", "decimate"}
        Between samples of another rate; or every k-th sample where the rate is a multiple, else linear, which is noted.
    long : {"segments", "crop"}
        What becomes of a recording of more than a segment: one segment after the other, or the first alone.
    short : {"error", "pad"}
        What becomes of one of less: it is refused, or padded with zeros.
    profile : {"tutorial", "pipeline"}
        Which of the two arithmetics of the original; see `ecgfm.signal.profile`.

    Raises
    ------
    ConfigError
        If a value is not allowed; it names the field.

    Examples
    --------
    >>> spec = ecgfm.InputSpec(sampling_rate=250, normalisation="none")
    >>> print(spec)
    12 leads, 2500 samples at 250 Hz (10 s), in mV, not standardised
    """

    sampling_rate: float = number(500.0, at_least=MIN_RATE, at_most=MAX_RATE)
    samples: int = whole(2500, at_least=1, at_most=_MAX_SAMPLES)
    leads: tuple[str, ...] | None = field(default=LEADS, metadata={"rule": Leads(none=True)})
    unit: str = one_of("mV", "uV", "V", default="mV")
    normalisation: str = field(default="recording", metadata={"rule": Normalisation()})
    resampling: str = one_of("linear", "decimate", default="linear")
    long: str = one_of("segments", "crop", default="segments")
    short: str = one_of("error", "pad", default="error")
    profile: str = one_of("tutorial", "pipeline", default="tutorial")

    @property
    def duration_s(self) -> float:
        """float: seconds of a segment."""
        return self.samples / self.sampling_rate

    @property
    def standardised(self) -> bool:
        """bool: whether the values have no unit any more."""
        return self.normalisation != "none"

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON can hold it; `from_dict` takes it."""
        made = {one.name: getattr(self, one.name) for one in fields(self)}
        made["sampling_rate"] = int(self.sampling_rate) if self.sampling_rate.is_integer() else self.sampling_rate
        made["leads"] = None if self.leads is None else list(self.leads)
        return made

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> InputSpec:
        """The specification that a mapping of its fields gives; what it lacks is as by default.

        Raises
        ------
        ConfigError
            If a field is unknown, or a value is not allowed.
        """
        return cls.of(said)

    def differences(self, other: InputSpec) -> list[str]:
        """In which of the fields that decide what the numbers are two specifications differ, in words.

        What becomes of long and short recordings, and the profile, are no such fields.
        """
        found = []
        if self.sampling_rate != other.sampling_rate:
            found.append(f"{self.sampling_rate:g} Hz instead of {other.sampling_rate:g} Hz")
        if self.normalisation != other.normalisation:
            found.append(f"{_NORMALISED[self.normalisation]} instead of {_NORMALISED[other.normalisation]}")
        if self.unit != other.unit and "none" in (self.normalisation, other.normalisation):
            found.append(f"in {self.unit} instead of {other.unit}")
        if None not in (self.leads, other.leads) and self.leads != other.leads:
            found.append(f"leads {', '.join(self.leads or ())} instead of {', '.join(other.leads or ())}")
        return found

    def __str__(self) -> str:
        leads = "leads that nobody named" if self.leads is None else f"leads {', '.join(self.leads)}"
        leads = f"{len(LEADS)} leads" if self.leads == LEADS else leads
        text = f"{leads}, {self.samples} samples at {self.sampling_rate:g} Hz ({self.duration_s:g} s)"
        if not self.standardised:
            text += f", in {self.unit}"
        text += f", {_NORMALISED[self.normalisation]}"
        more = [f"{name} {getattr(self, name)}" for name in _USUAL if getattr(self, name) != _USUAL[name]]
        return ", ".join([text, *more])


_NORMALISED = {
    "recording": "each lead standardised over its recording",
    "segment": "each lead standardised over its segment",
    "none": "not standardised",
}
_USUAL = {"resampling": "linear", "long": "segments", "short": "error", "profile": "tutorial"}

#: What ECG-FM takes.
ECG_FM: Final = InputSpec()
SAMPLES: Final = ECG_FM.samples
SAMPLING_RATE: Final = int(ECG_FM.sampling_rate)


def parsed(given: object, found: InputSpec = ECG_FM) -> tuple[InputSpec, list[str] | None]:
    """The specification that a user gives, and which fields: some, that replace those of `found`; None: all.

    Parameters
    ----------
    given : InputSpec, mapping, or str
        Text is ``sampling_rate=250,samples=2500,leads=I,II,V1``.
    found : InputSpec, optional

    Raises
    ------
    ConfigError
        If it is none of these, or a field is unknown or not allowed; ``field`` begins with ``input``.
    """
    if isinstance(given, InputSpec):
        return given, None
    if isinstance(given, str):
        given = _fields_of(given)
    if not isinstance(given, Mapping):
        raise ConfigError(f"{shown(given)} is no specification", field="input", remedy=_REMEDY)
    names = [one.name for one in fields(InputSpec)]
    spec = InputSpec.of({name: getattr(found, name) for name in names} | dict(given), prefix="input.")
    return spec, None if len(given) == len(names) else [name for name in names if name in given]


_REMEDY = "Give an ecgfm.InputSpec, a dict of its fields, or text such as sampling_rate=250,normalisation=none"


def _fields_of(text: str) -> dict[str, Any]:
    """The fields in a text; a part without ``=`` belongs to the one before, as in ``leads=I,II``."""
    found: dict[str, Any] = {}
    if len(text) > _MAX_TEXT:
        raise ConfigError(f"{shown(text)} is too long", field="input", remedy=_REMEDY)
    name = ""
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals and not name:
            raise ConfigError(f"{shown(text)} is no specification", field="input", remedy=_REMEDY)
        if equals and key.strip() in found:
            raise ConfigError("it is given twice", field=f"input.{shown(key.strip())}")
        name, value = (key.strip(), value) if equals else (name, f"{found[name]},{part}")
        found[name] = value.strip()
    rules = InputSpec.rules()
    return {name: _number(value, rules.get(name)) for name, value in found.items()}


def _number(text: str, rule: Rule | None) -> Any:
    try:
        return int(text) if isinstance(rule, Whole) else float(text) if isinstance(rule, Number) else text
    except (ValueError, OverflowError):  # the rule says what is allowed
        return text

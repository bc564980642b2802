"""The two ways in which ECG-FM's recordings were conditioned, as profiles of one arithmetic."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["PIPELINE", "PROFILES", "TUTORIAL", "Profile", "profile_of"]


@dataclass(frozen=True)
class Profile:
    """How a recording is conditioned where the original's two scripts differ.

    Attributes
    ----------
    name : str
        It is saved with a model that was trained on what the profile gives.
    epsilon : float
        Added to the standard deviation of a lead before the lead is divided by it.
    recentre : bool
        Whether the deviation is that about the mean of the centred values, a rounding error, rather than about zero.
    float64 : bool
        Whether the samples become float64 before differences between them are taken. Otherwise those of a float32
        recording, and its calculated leads, are rounded to float32.
    ratio_first : bool
        Whether N samples become int(N * (new_rate / rate)) rather than int(N * new_rate / rate): at some rates, such as
        333 Hz, rounding makes that one less.
    """

    name: str
    epsilon: float
    recentre: bool
    float64: bool
    ratio_first: bool

    def length(self, samples: int, rate: float, new_rate: float) -> int:
        """How many samples resampling gives."""
        if rate == new_rate:
            return samples
        return int(samples * (new_rate / rate)) if self.ratio_first else int(samples * new_rate / rate)


#: That of ECG-FM's inference tutorial: `ecgfm.prepare`, and `predict`, `embed`, `saliency` and `evaluate` with it.
TUTORIAL: Final = Profile("tutorial", epsilon=1e-8, recentre=False, float64=True, ratio_first=False)
#: That of ECG-FM's preprocessing scripts, whose output it was trained on: `ecgfm preprocess`.
PIPELINE: Final = Profile("pipeline", epsilon=0.0, recentre=True, float64=False, ratio_first=True)

#: Name -> profile.
PROFILES: Final = {profile.name: profile for profile in (TUTORIAL, PIPELINE)}


def profile_of(info: Mapping[str, Any]) -> tuple[str, bool]:
    """The name of the profile that a model was trained with, by what its file says of it; and whether it is assumed.

    Where nothing is said it is the pipeline's, as that of every checkpoint of fairseq-signals.
    """
    said = info.get("profile")
    return (said, False) if isinstance(said, str) and said in PROFILES else (PIPELINE.name, True)

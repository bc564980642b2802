"""What the network that is trained takes: given, that of the model it starts from, or what the training data say."""

from __future__ import annotations

from typing import Any

from ..checkpoint.inputs import assumed_input, given_input
from ..ecg.expected import refuse_difference
from ..errors import SignalError
from ..specs.inputs import InputSpec

__all__ = ["TakesInput"]


class TakesInput:
    """The part of a trainer that knows what its network takes; its objective is told."""

    input: InputSpec
    input_source: str
    objective: Any
    _new: bool  # no weights were there before

    def _take_input(self, given: object, found: tuple[InputSpec, str] | None) -> None:
        network = self.objective.architecture
        found = found or assumed_input(network.in_d, network.min_samples)
        self.input, self.input_source = found if given is None else given_input(given, found, network)
        self.objective.input = self.input

    def follow(self, declared: InputSpec | None) -> None:
        """Take what `Segments` say they were prepared for, before they are trained on; None changes nothing.

        A `SignalError` says that a model that was trained already takes something else.
        """
        if declared is None:
            return
        if not self._new:
            refuse_difference(declared, self.input, "x")
        self._take_input(declared, None)
        self.input_source = "the training data"

    def follow_rate(self, found: tuple[float, str] | None, *, refuse: bool = True) -> bool:
        """Take the rate that a data set says it has, and which of its segments says it; None changes nothing.

        With `refuse`, a `SignalError` says that the model takes another. Returns whether it takes another from now on.
        """
        if found is None or found[0] == self.input.sampling_rate:
            return False
        if not refuse or (self._new and self.input_source.startswith("assumed")):
            rest = "assumed" if "assumed" in self.input_source else f"from: {self.input_source}"
            self._take_input(self.input.replaced(sampling_rate=found[0]), None)
            self.input_source = f"the training data (sampling_rate), the rest {rest}"
            return True
        raise SignalError(
            f"{found[0]:g} Hz, and the model takes {self.input.sampling_rate:g} Hz",
            path=found[1],
            field="curr_sample_rate",
            remedy="Prepare the data for it: ecgfm preprocess --for MODEL; or say what it takes: input=...",
        )

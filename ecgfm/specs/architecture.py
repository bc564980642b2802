"""The architecture of a model: the original's keys, their defaults and limits, and what follows from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..errors import ConfigError
from ..validation import Settings, check_known, flag, one_of, whole
from .blocks import Block, Blocks

__all__ = ["KINDS", "OPTIONAL", "SIZES", "SIZE_KEYS", "Architecture", "architecture_keys"]

KINDS: Final = ("encoder", "classifier", "pretraining")
#: Keys that a file may lack, which then have their default. What else it lacks, the shapes of its tensors can't tell.
OPTIONAL: Final = frozenset({"layer_norm_first", "extractor_mode", "conv_bias", "in_d", "latent_dim", "target_glu"})

SIZE_KEYS: Final = ("encoder_layers", "encoder_embed_dim", "encoder_ffn_embed_dim", "encoder_attention_heads")
#: The sizes of ECG-FM: the published one, and that of its paper. All else is as by default.
SIZES: Final = {"base": (12, 768, 3072, 12), "large": (24, 1024, 4096, 16)}


def _only(kind: str, key: Any) -> Any:
    """A field that only models of one kind have."""
    return dataclasses.field(default=key.default, metadata={**key.metadata, "kind": kind})


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture(Settings):
    """An architecture under the keys of fairseq-signals; the defaults are ECG-FM's base model.

    Which numbers must be multiples of others, the kernels say. The C has the same table (``csrc/network/config.c``),
    and a test holds the two equal.

    Attributes
    ----------
    kind : {"encoder", "classifier", "pretraining"}
        A pretraining model has the heads of pretraining, an encoder has no heads at all. A field that the kind has not
        is not looked at.
    conv_feature_layers : tuple of (width, kernel, stride)
        Given as text such as ``"[(256, 2, 2)] * 4"``, or as a sequence.
    """

    kind: str = one_of(*KINDS)
    encoder_layers: int = whole(12, at_least=1, at_most=1000)
    encoder_embed_dim: int = whole(768, at_least=1, at_most=32768)
    encoder_ffn_embed_dim: int = whole(3072, at_least=1, at_most=131072)
    encoder_attention_heads: int = whole(12, at_least=1, at_most=32768)
    layer_norm_first: bool = flag(False)
    extractor_mode: str = one_of("default", "layer_norm", default="default")
    conv_feature_layers: tuple[Block, ...] = dataclasses.field(default=((256, 2, 2),) * 4, metadata={"rule": Blocks()})
    conv_bias: bool = flag(False)
    conv_pos: int = whole(128, at_least=1, at_most=4096)
    conv_pos_groups: int = whole(16, at_least=1, at_most=32768)
    in_d: int = whole(12, at_least=1, at_most=1024)
    num_labels: int | None = _only("classifier", whole(None, at_least=1, at_most=1_000_000))
    latent_vars: int = _only("pretraining", whole(320, at_least=1, at_most=1_000_000))
    latent_groups: int = _only("pretraining", whole(2, at_least=1, at_most=1024))
    latent_dim: int = _only("pretraining", whole(0, at_most=32768))
    final_dim: int = _only("pretraining", whole(256, at_least=1, at_most=32768))
    target_glu: bool = _only("pretraining", flag(False))

    @classmethod
    def of_kind(
        cls, kind: str, keys: Mapping[str, object], *, complete: bool = False, prefix: str = ""
    ) -> Architecture:
        """The architecture of a model of a kind.

        Parameters
        ----------
        kind : {"encoder", "classifier", "pretraining"}
        keys : mapping
            Of those of the kind; the others have their defaults.
        complete : bool
            Whether all but the `OPTIONAL` keys must be there.
        prefix : str
            What errors put in front of a key.

        Raises
        ------
        ConfigError
            If a key is unknown or missing, or a value is out of range.
        """
        known = architecture_keys(kind)
        check_known(keys, known, prefix=prefix)
        missing = [key for key in known if complete and key not in keys and key not in OPTIONAL]
        if missing:
            raise ConfigError("the configuration lacks this key", field=prefix + missing[0])
        return cls.of({**keys, "kind": kind}, prefix=prefix)

    @classmethod
    def of_config(cls, config: Mapping[str, object]) -> Architecture:
        """The architecture in a complete configuration, which may hold more; its keys say of which kind it is."""
        kind = "classifier" if "num_labels" in config else "pretraining" if "latent_vars" in config else "encoder"
        return cls.of_kind(kind, {key: config[key] for key in architecture_keys(kind) if key in config}, complete=True)

    def agree(self) -> None:
        if self.kind == "classifier" and self.num_labels is None:
            raise ConfigError("it must be given", field="num_labels")

    def config(self) -> dict[str, Any]:
        """The keys that models of this kind have, as the kernels and the files take them."""
        made = {key: getattr(self, key) for key in architecture_keys(self.kind)}
        return made | {"conv_feature_layers": list(self.conv_feature_layers)}

    @property
    def min_samples(self) -> int:
        """The shortest segment, in samples, that gives a token."""
        samples = 1
        for _, kernel, stride in reversed(self.conv_feature_layers):
            samples = (samples - 1) * stride + kernel
        return samples

    def steps(self, samples: int) -> list[int]:
        """The steps that a segment has after each conv block; the last number is that of the tokens."""
        found = []
        for _, kernel, stride in self.conv_feature_layers:
            samples = (samples - kernel) // stride + 1 if samples >= kernel else 0
            found.append(samples)
        return found

    def tokens(self, samples: int) -> int:
        """The number of tokens that a segment gives."""
        return self.steps(int(samples))[-1]


def architecture_keys(kind: str) -> tuple[str, ...]:
    """The keys that models of a kind have, in their order."""
    fields = [field for field in dataclasses.fields(Architecture) if field.name != "kind"]
    return tuple(field.name for field in fields if field.metadata.get("kind", kind) == kind)

from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

def parameters(config: dict[str, Any], kind: str, /) -> list[tuple[str, tuple[int, ...]]]: ...
def initial_values(config: dict[str, Any], kind: str, /) -> list[tuple[str, tuple[int, ...], tuple[str, float]]]: ...
def architecture_keys() -> dict[str, tuple[type, list[str], int, int, str | None]]: ...
def set_num_threads(n: int, /) -> None: ...
def get_num_threads() -> int: ...
def processors() -> int: ...
def peak_flops(threads: int, seconds: float, precision: str = "float32", /) -> float: ...
def precisions() -> list[str]: ...
def onednn() -> tuple[str, str]: ...
def fail_allocation(k: int, /) -> None: ...
def moments(x: NDArray[Any], /) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64], NDArray[np.bool_]]: ...
def reach(N: int, M: int, first: int, last: int, /) -> tuple[int, int]: ...
def resample(x: NDArray[Any], N: int, M: int, first: int, last: int, /) -> NDArray[np.float64]: ...
def standardise(
    x: NDArray[np.float64], epsilon: float, recentre: bool, strategy: str, /
) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
def cut(x: NDArray[np.float64], size: int, /) -> NDArray[np.float32]: ...

@final
class Model:
    def __new__(cls, config: dict[str, Any], kind: str, precision: str = "float32") -> Self: ...
    def set(self, name: str, values: NDArray[np.float32], /) -> None: ...
    def get(self, name: str, /) -> NDArray[np.float32]: ...
    def stored(self, name: str, /) -> tuple[NDArray[Any], NDArray[np.float32] | None, NDArray[np.float32] | None]: ...
    def set_stored(
        self,
        name: str,
        numbers: NDArray[np.int8],
        scales: NDArray[np.float32],
        factors: NDArray[np.float32],
        /,
    ) -> None: ...
    def finish(self) -> None: ...
    def min_samples(self) -> int: ...
    def tokens(self, samples: int, /) -> int: ...
    def describe(self, batch: int, samples: int, /) -> str: ...
    def forward(
        self,
        x: NDArray[np.float32],
        valid: NDArray[np.int64] | None = None,
        *,
        layer: int = -1,
        tokens: bool = False,
        attention: bool = False,
        trace: bool = False,
    ) -> dict[str, Any]: ...

@final
class Trainer:
    def __new__(cls, config: dict[str, Any], settings: dict[str, Any], kind: str = "classifier") -> Self: ...
    def arrays(self, block: str, /) -> dict[str, NDArray[np.float32]]: ...
    def flat_gradients(self) -> NDArray[np.float32]: ...
    def steps(self) -> dict[str, int]: ...
    def set_steps(self, steps: dict[str, int], /) -> None: ...
    def accumulate(
        self,
        x: NDArray[Any],
        y: NDArray[np.float32],
        valid: NDArray[np.int64] | None = None,
        pos_weight: NDArray[np.float32] | None = None,
        *,
        neg_weight: NDArray[np.float32] | None = None,
        row_weight: NDArray[np.float32] | None = None,
        loss: str = "bce",
        gamma_positive: float = 0.0,
        gamma_negative: float = 0.0,
        clip: float = 0.0,
        seed: int = 0,
        rank: int = 0,
        update: int = 0,
        first_row: int = 0,
        head_only: bool = False,
        noise: dict[str, NDArray[np.bool_]] | None = None,
        samples: int = 0,
    ) -> dict[str, Any]: ...
    def pretrain(
        self,
        x: NDArray[np.float32],
        steps: NDArray[np.bool_] | None,
        negatives: NDArray[np.int32] | None,
        settings: dict[str, float],
        *,
        codebook: NDArray[np.int32] | None = None,
        valid: NDArray[np.int64] | None = None,
        channels: NDArray[np.bool_] | None = None,
        gumbel: NDArray[np.float32] | None = None,
        ids: NDArray[np.int64] | None = None,
        second: NDArray[np.bool_] | None = None,
        seed: int = 0,
        rank: int = 0,
        update: int = 0,
        first_row: int = 0,
        backward: bool = True,
        noise: dict[str, NDArray[np.bool_]] | None = None,
        wait: bool = False,
    ) -> Any: ...
    def finish(
        self,
        features: NDArray[np.float32],
        ids: NDArray[np.int64],
        second: NDArray[np.bool_],
        offset: int,
        size: int,
    ) -> dict[str, Any]: ...
    def update(
        self,
        lr: float,
        beta1: float,
        beta2: float,
        eps: float,
        weight_decay: float,
        denominator: float,
        *,
        clip_norm: float = 0.0,
        head_only: bool = False,
    ) -> tuple[float, bool]: ...
    def forget(self) -> None: ...
    def take_bases(self) -> None: ...
    def merge(self) -> None: ...
    def below(
        self,
        x: NDArray[np.float32],
        valid: NDArray[np.int64] | None = None,
        dtype: str = "float32",
        pooled: bool = False,
    ) -> NDArray[Any]: ...
    def forward(
        self, x: NDArray[Any], valid: NDArray[np.int64] | None = None, samples: int = 0
    ) -> NDArray[np.float32]: ...

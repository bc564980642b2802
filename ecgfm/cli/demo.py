"""Simulated 12-lead ECGs through the small model that comes with the package: no files needed."""

import os
from importlib import resources

from ..errors import CheckpointError, ConfigError

__all__ = ["add_arguments", "run"]

_MAX_RECORDS = 10_000
UNTRAINED = "The weights of this model are untrained: the numbers show that everything works, and mean nothing."


def add_arguments(parser):
    parser.add_argument("--seed", type=int, default=0, help="of the simulation (default 0)")
    parser.add_argument("--records", type=int, default=3, metavar="N", help="how many recordings (default 3)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def run(args):
    from .. import load, predict
    from .predict import show

    if not 1 <= args.records <= _MAX_RECORDS:
        raise ConfigError(f"{args.records} is not from 1 to {_MAX_RECORDS}", field="--records")
    if args.seed < 0:
        raise ConfigError(f"{args.seed} is negative", field="--seed")
    with resources.as_file(resources.files("ecgfm") / "assets" / "demo") as directory:
        if not os.path.isdir(directory):
            raise CheckpointError("the model is not there", path=directory, remedy="Install the package again")
        model = load(directory)
    result = predict(model, simulated(args.records, args.seed))
    show(model, result, as_json=args.json, notices=[UNTRAINED] if model.info.get("training") == "none" else [])
    return 0


def simulated(count, seed):
    """Recordings of 10 s, each of another heart: rate, axis and noise follow from the seed."""
    import numpy as np

    from ..ecg import simulate

    rng = np.random.default_rng(seed)
    for i in range(count):
        record = simulate(
            10.0,
            500.0,
            heart_rate=round(float(rng.uniform(45, 130))),
            axis_deg=float(rng.uniform(-40, 60)),
            noise_mv=float(rng.uniform(0.005, 0.03)),
            seed=int(rng.integers(1 << 31)),
        )
        record.source = f"simulated_{i}"
        yield record

"""The commands of fairseq-signals: ``ecgfm-hydra-train``, ``ecgfm-hydra-validate``, ``ecgfm-hydra-inference``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..ranks import Alone, Ranks, communicator, launch, ranks_started
from .common import saying_warnings
from .main import Parser, run_command

if TYPE_CHECKING:
    from .fairseq.compose import Run

__all__ = ["inference", "train", "validate"]

Arguments = tuple[argparse.Namespace, list[str], bool]  # parsed, as given, and whether this process is the command


def train(argv: Sequence[str] | None = None) -> int:
    """Pretrain or finetune as a YAML file and overrides say. Returns the exit status."""
    return _run(_train, "ecgfm-hydra-train", train.__doc__, argv)


def validate(argv: Sequence[str] | None = None) -> int:
    """Metrics of a checkpoint on subsets, and stores of what it gives. Returns the exit status."""
    return _run(partial(_evaluate, "validate"), "ecgfm-hydra-validate", validate.__doc__, argv)


def inference(argv: Sequence[str] | None = None) -> int:
    """Stores of what a checkpoint gives on subsets, whose labels are not read. Returns the exit status."""
    return _run(partial(_evaluate, "inference"), "ecgfm-hydra-inference", inference.__doc__, argv)


def _run(
    work: Callable[[argparse.Namespace, list[str], bool], int],
    program: str,
    description: str | None,
    argv: Sequence[str] | None,
) -> int:
    """Run a command; what `ecgfm.InputWarning` says in it is a line each."""

    def run() -> int:
        with saying_warnings():
            return work(*_arguments(program, description, argv))

    return run_command(run, _given(argv))


def _evaluate(name: str, args: argparse.Namespace, argv: list[str], alone: bool) -> int:
    from .. import checkpoint
    from ..kernels import set_num_threads
    from ..training import subsets
    from .fairseq.compose import compose
    from .fairseq.evaluation import of_checkpoint

    run = compose(args.config_name, args.overrides, args.config_dir)
    ranks = _ranks(run)
    if ranks is None:
        return launch("ecgfm.cli.hydra", [name, *argv], _world_size(run), replace=alone)
    with ranks.ending_together():
        path = run.need("common_eval.path")
        fetched = path if checkpoint.hub_name(path) is None else checkpoint.fetch(path)
        with checkpoint.read(fetched) as found:
            settings = of_checkpoint(found, run, labelled=name == "validate")
        if settings.threads is not None:
            set_num_threads(settings.threads)
        if ranks.rank > 0 and settings.classifies:
            from ..inference.shared import serve
            from ..model.model import load

            serve(load(settings.checkpoint), ranks)
        else:
            (subsets.validate if name == "validate" else subsets.infer)(settings, ranks)
    return 0


def _world_size(run: Run) -> int:
    wanted = run["distributed_training"]["distributed_world_size"]
    if isinstance(wanted, bool) or not isinstance(wanted, int) or not 0 <= wanted < 1 << 20:
        raise ConfigError(f"{wanted!r} is not a number of ranks", field="distributed_training.distributed_world_size")
    return max(wanted, 1)


def _ranks(run: Run) -> Alone | Ranks | None:
    """The ranks that a launcher started; this process alone; None if ranks are to be started."""
    wanted, started = _world_size(run), ranks_started()
    if started == 1 and wanted > 1:
        return None
    ranks = communicator()
    if started > 1 and started != wanted and ranks.rank == 0:
        print(f"{started} ranks were started: distributed_training.distributed_world_size={wanted} is not used")
    return ranks


def _given(argv: Sequence[str] | None) -> list[str]:
    return list(sys.argv[1:] if argv is None else argv)


def _arguments(program: str, description: str | None, argv: Sequence[str] | None) -> Arguments:
    description = (description or "").removesuffix(" Returns the exit status.")
    parser = Parser(prog=program, description=description, epilog="Not for clinical use.")
    parser.add_argument(
        "--config-dir", "-cd", metavar="DIR", help="folder of the YAML files; default: the package's own"
    )
    parser.add_argument("--config-name", "-cn", metavar="NAME", required=True, help="such as w2v_cmsc_rlm or diagnosis")
    parser.add_argument("overrides", nargs="*", metavar="GROUP.KEY=VALUE")
    given = _given(argv)
    return parser.parse_intermixed_args(given), given, argv is None


def _train(args: argparse.Namespace, argv: list[str], alone: bool) -> int:
    from ..training.run import train as run_training
    from .fairseq.compose import compose
    from .fairseq.translate import settings_of
    from .fairseq.written import write_config

    run = compose(args.config_name, args.overrides, args.config_dir)
    ranks = _ranks(run)
    if ranks is None:
        return launch("ecgfm.cli.hydra", ["train", *argv], _world_size(run), replace=alone)
    with ranks.ending_together():
        return run_training(settings_of(run), ranks, started=partial(write_config, run))


if __name__ == "__main__":
    command = {"train": train, "validate": validate, "inference": inference}[sys.argv.pop(1)]
    sys.exit(command())

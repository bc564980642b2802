"""The commands of fairseq-signals: ``ecgfm-hydra-train``, ``ecgfm-hydra-validate``, ``ecgfm-hydra-inference``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ..ranks import Alone, Ranks, communicator, launch, ranks_started
from ..validation import Whole, checked
from .common import saying_warnings
from .main import Parser, run_command

if TYPE_CHECKING:
    from .fairseq.compose import Run

__all__ = ["inference", "train", "validate"]

_MOST_RANKS = (1 << 20) - 1


def train(argv: Sequence[str] | None = None) -> int:
    """Pretrain or finetune as a YAML file and overrides say. Returns the exit status."""
    return _run(_train, "train", train.__doc__, argv)


def validate(argv: Sequence[str] | None = None) -> int:
    """Metrics of a checkpoint on subsets, and stores of what it gives. Returns the exit status."""
    return _run(partial(_evaluate, labelled=True), "validate", validate.__doc__, argv)


def inference(argv: Sequence[str] | None = None) -> int:
    """Stores of what a checkpoint gives on subsets, whose labels are not read. Returns the exit status."""
    return _run(partial(_evaluate, labelled=False), "inference", inference.__doc__, argv)


def _run(
    work: Callable[[Run, Alone | Ranks], int], name: str, description: str | None, argv: Sequence[str] | None
) -> int:
    """Run a command, on the ranks that it asks for; what `ecgfm.InputWarning` says in it is a line each."""
    given = list(sys.argv[1:] if argv is None else argv)

    def run() -> int:
        with saying_warnings():
            args = _parser(name, description).parse_intermixed_args(given)
            from .fairseq.compose import compose

            run = compose(args.config_name, args.overrides, args.config_dir)
            ranks = _ranks(run)
            if ranks is None:
                return launch("ecgfm.cli.hydra", [name, *given], _world_size(run), replace=argv is None)
            with ranks.ending_together():
                return work(run, ranks)

    return run_command(run, given)


def _evaluate(run: Run, ranks: Alone | Ranks, *, labelled: bool) -> int:
    from .. import checkpoint
    from ..kernels import set_num_threads
    from ..training import subsets
    from .fairseq.evaluation import of_checkpoint

    with checkpoint.read(run.need("common_eval.path")) as found:
        settings = of_checkpoint(found, run, labelled=labelled)
    if settings.threads is not None:
        set_num_threads(settings.threads)
    if ranks.rank > 0 and settings.classifies:
        from ..inference.shared import serve
        from ..model.loading import load

        serve(load(settings.checkpoint, precision=settings.precision), ranks)
    else:
        (subsets.validate if labelled else subsets.infer)(settings, ranks)
    return 0


def _world_size(run: Run) -> int:
    field, wanted = "distributed_training.distributed_world_size", run["distributed_training"]["distributed_world_size"]
    return max(int(checked(wanted, Whole(0, _MOST_RANKS), field)), 1)


def _ranks(run: Run) -> Alone | Ranks | None:
    """The ranks that a launcher started; this process alone; None if ranks are to be started."""
    wanted, started = _world_size(run), ranks_started()
    if started == 1 and wanted > 1:
        return None
    ranks = communicator()
    if started > 1 and started != wanted and ranks.rank == 0:
        print(f"{started} ranks were started: distributed_training.distributed_world_size={wanted} is not used")
    return ranks


def _parser(name: str, description: str | None) -> Parser:
    description = (description or "").removesuffix(" Returns the exit status.")
    parser = Parser(prog=f"ecgfm-hydra-{name}", description=description, epilog="Not for clinical use.")
    parser.add_argument(
        "--config-dir", "-cd", metavar="DIR", help="folder of the YAML files; default: the package's own"
    )
    parser.add_argument("--config-name", "-cn", metavar="NAME", required=True, help="such as w2v_cmsc_rlm or diagnosis")
    parser.add_argument("overrides", nargs="*", metavar="GROUP.KEY=VALUE")
    return parser


def _train(run: Run, ranks: Alone | Ranks) -> int:
    from ..training.run import train as run_training
    from .fairseq.translate import settings_of
    from .fairseq.written import write_config

    return run_training(settings_of(run), ranks, started=partial(write_config, run))


if __name__ == "__main__":
    command = {"train": train, "validate": validate, "inference": inference}[sys.argv.pop(1)]
    sys.exit(command())

"""The commands of fairseq-signals: ``ecgfm-hydra-train``, ``ecgfm-hydra-validate``, ``ecgfm-hydra-inference``."""

import sys

from .main import Parser, run_command

__all__ = ["inference", "train", "validate"]


def train(argv=None):
    """Pretrain or finetune as a YAML file and overrides say. Returns the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    return run_command(lambda: _train(_arguments("ecgfm-hydra-train", train.__doc__, argv), argv))


def validate(argv=None):
    """Metrics of a checkpoint on subsets, and stores of what it gives. Returns the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    return run_command(lambda: _evaluate("validate", _arguments("ecgfm-hydra-validate", validate.__doc__, argv)))


def inference(argv=None):
    """Stores of what a checkpoint gives on subsets, whose labels are not read. Returns the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    return run_command(lambda: _evaluate("infer", _arguments("ecgfm-hydra-inference", inference.__doc__, argv)))


def _evaluate(name, args):
    from .._threads import set_num_threads
    from ..training import validation
    from ..training.config import compose

    run = compose(args.config_name, args.overrides, args.config_dir)
    if run["ecgfm"]["threads"] is not None:
        set_num_threads(run["ecgfm"]["threads"])
    getattr(validation, name)(run)
    return 0


def _arguments(program, description, argv):
    description = description.removesuffix(" Returns the exit status.")
    parser = Parser(prog=program, description=description, epilog="Not for clinical use.")
    parser.add_argument("--config-dir", "-cd", metavar="DIR", help="folder of the YAML files; default: the package's own")
    parser.add_argument("--config-name", "-cn", metavar="NAME", required=True, help="such as w2v_cmsc_rlm or diagnosis")
    parser.add_argument("overrides", nargs="*", metavar="GROUP.KEY=VALUE")
    return parser.parse_intermixed_args(argv)


def _train(args, argv):
    from ..ranks import communicator, launch, ranks_started
    from ..training.config import compose
    from ..training.session import train as run_training

    run = compose(args.config_name, args.overrides, args.config_dir)
    wanted = run["distributed_training"]["distributed_world_size"]
    started = ranks_started()
    if started == 1 and wanted > 1:
        launch("ecgfm.cli.hydra", ["train", *argv], wanted)
    ranks = communicator()
    if started > 1 and started != wanted and ranks.rank == 0:
        print(f"{started} ranks were started: distributed_training.distributed_world_size={wanted} is not used")
    with ranks.ending_together():
        return run_training(run, ranks)


if __name__ == "__main__":
    command = {"train": train}[sys.argv.pop(1)]
    sys.exit(command())

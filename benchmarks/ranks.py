"""Ranks and threads on this machine, and what they say about a cluster.

    python benchmarks/ranks.py [--size base|large|tiny] [--batch 8] [--rounds 5] [--json FILE]

Measures a step of finetuning (frozen extractor) of one process on one thread and on all, and of one rank for each
processor, on one thread each, with the same segments in all, in turns; the time that the sum of the gradients takes;
and the sum itself, whole and in pieces. From these it calculates the efficiency of data-parallel training on 8, 64 and
512 nodes. Needs the extra [mpi].
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from common import model_config, segments, state_dict, targets

NETWORKS = {"10 Gbit/s Ethernet": (1.1, 30e-6), "100 Gbit/s InfiniBand": (11.0, 2e-6)}  # GB/s each way, s a message
NODES = (8, 64, 512)


def work(options):
    """What each rank runs; rank 0 prints its results as JSON."""
    import ecgfm
    from ecgfm.ranks import communicator

    ranks = communicator()
    ecgfm.set_num_threads(options.threads)
    config = model_config(options.size)
    model = ecgfm.Model.from_state_dict(config, state_dict(config))
    trainer = ecgfm.Trainer(model, schedule=1e-6, activation_dropout=0.0, communicator=ranks)
    del model
    share = options.batch // ranks.size
    x, y = segments(share), targets(share)
    waits = {"sum": [], "step": []}
    summed = ranks.sum

    def timed(values):
        ranks.barrier()  # waiting for the slowest is not communication
        begun = time.perf_counter()
        summed(values)
        waits["sum"].append(time.perf_counter() - begun)
        return values

    ranks.sum = timed
    for _turn in range(options.rounds + 1):
        ranks.barrier()
        begun = time.perf_counter()
        trainer.step(x, y)
        waits["step"].append(time.perf_counter() - begun)
    found = {name: values[1:] for name, values in waits.items()}
    found["bytes"] = int(trainer.engine.core.flat_gradients().nbytes)
    if ranks.size > 1:
        found["pieces"] = pieces(trainer.engine.core.flat_gradients(), ranks)
    if ranks.rank == 0:
        print(json.dumps(found))


def pieces(values, ranks):
    """Seconds of a sum, by elements a piece."""
    from mpi4py import MPI

    found = {}
    for size in (1 << 18, 1 << 20, 1 << 22, 1 << 24, values.size):
        seconds = []
        for _ in range(4):
            ranks.barrier()
            begun = time.perf_counter()
            for start in range(0, values.size, size):
                MPI.COMM_WORLD.Allreduce(MPI.IN_PLACE, values[start : start + size], op=MPI.SUM)
            seconds.append(time.perf_counter() - begun)
        found[str(size)] = min(seconds[1:])
    return found


def started(options, ranks, threads):
    line = [sys.executable, __file__, "--work", "--size", options.size, "--batch", str(options.batch)]
    line += ["--rounds", str(options.rounds), "--threads", str(threads)]
    if ranks > 1:
        line = [str(Path(sys.executable).parent / "mpiexec"), "-n", str(ranks), *line]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def efficiency(step, size, bandwidth, latency, nodes):
    """Of a step on each node and a ring all-reduce of `size` bytes: 2 (n - 1) / n of them in and out, 2 (n - 1)
    messages
    one after the other; nothing overlaps."""
    exchange = 2 * (nodes - 1) / nodes * size / (bandwidth * 1e9) + 2 * (nodes - 1) * latency
    return step / (step + exchange), exchange


def main(options):
    processors = len(os.sched_getaffinity(0))
    settings = {"1 rank, 1 thread": (1, 1), f"1 rank, {processors} threads": (1, processors)}
    settings[f"{processors} ranks, 1 thread each"] = (processors, 1)
    found = {name: started(options, *setting) for name, setting in settings.items()}
    step = {name: statistics.median(each["step"]) for name, each in found.items()}
    slowest = step["1 rank, 1 thread"]
    print(f"{options.size}, frozen extractor, {options.batch} segments a step, {options.rounds} steps\n")
    print("|  | ms/step | min | times 1 rank, 1 thread | sum of gradients, ms |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, each in found.items():
        total = f"{1e3 * statistics.median(each['sum']):.0f}" if each["sum"] else ""
        print(
            f"| {name} | {1e3 * step[name]:.0f} | {1e3 * min(each['step']):.0f} | {slowest / step[name]:.2f} | {total} |"  # noqa: E501
        )
    together = found[f"{processors} ranks, 1 thread each"]
    size, local = together["bytes"], min(together["sum"])
    print(f"\nGradients: {size / 1e6:.0f} MB; a sum here moves {size / local / 1e9:.1f} GB/s.\n")
    print("| elements a piece | sum, ms |\n| ---: | ---: |")
    for count, seconds in together["pieces"].items():
        print(f"| {int(count):,} | {1e3 * seconds:.0f} |")
    node = step[f"1 rank, {processors} threads"]
    print(
        f"\nA node like this machine, {options.batch} segments a step of {1e3 * node:.0f} ms; by batches accumulated:\n"
    )
    print("| network | nodes | exchange, ms | efficiency, 1 | 4 | 16 |\n| --- | ---: | ---: | ---: | ---: | ---: |")
    for network, (bandwidth, latency) in NETWORKS.items():
        for nodes in NODES:
            shares = [efficiency(freq * node, size, bandwidth, latency, nodes) for freq in (1, 4, 16)]
            cells = " | ".join(f"{share:.0%}" for share, _ in shares)
            print(f"| {network} | {nodes} | {1e3 * shares[0][1]:.0f} | {cells} |")
    if options.json:
        Path(options.json).write_text(json.dumps({"settings": found}, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="base", choices=("base", "large", "tiny"))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", metavar="FILE")
    chosen = parser.parse_args()
    np.seterr(all="raise", under="ignore")
    work(chosen) if chosen.work else main(chosen)

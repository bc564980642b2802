"""A folder of recordings through ecgfm: how much of the model's own speed is left, and whether memory grows.

    python benchmarks/many_files.py [--records 2000] [--size base|large|tiny] [--format npz|npy|csv|mat]
                                    [--precision float32|bfloat16|int8]

Makes a folder of simulated recordings at 400 Hz, then takes turns, a few hundred files at a time: `predict_to` on the
files, and the model alone on as many segments, or a part of as many, that are in memory. Prints segments per second of
both, their ratio, the processor time of a segment (all threads), and the resident memory after each turn.
"""

import argparse
import json
import os
import sys
import tempfile
import time

import numpy as np
from common import conv_layers, model_config

import ecgfm
from ecgfm.ecg import simulate
from ecgfm.inference import predict_to


def make_model(size, precision="float32"):
    """A classifier of random weights."""
    config = model_config(size)
    config["conv_feature_layers"] = conv_layers(config)
    rng = np.random.default_rng(0)
    tensors = {
        name: (0.02 * rng.standard_normal(shape)).astype(np.float32)
        for name, shape in ecgfm._core.parameters(config, "classifier")
    }
    return ecgfm.Model.from_state_dict(config, tensors).with_precision(precision)


def make_files(folder, count, kind, seconds):
    """Simulated recordings; the same few hundred hearts again and again."""
    records = [simulate(seconds, 400.0, seed=i, heart_rate=50 + i % 70) for i in range(min(count, 200))]
    for i in range(count):
        path, record = os.path.join(folder, f"{i:06d}.{kind}"), records[i % len(records)]
        if kind == "npz":
            np.savez(path, signal=record.signal, sampling_rate=400, leads=record.leads)
        elif kind == "npy":
            np.save(path, record.signal)
        elif kind == "csv":
            head = f"# sampling_rate: 400\n{','.join(record.leads)}"
            np.savetxt(path, record.signal.T, "%.4f", ",", header=head, comments="")
        else:
            from scipy.io import savemat

            savemat(path, {"feats": record.signal, "org_sample_rate": 400, "curr_sample_rate": 400})


def resident_mb():
    """Resident memory of this process, in MB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def run(args, folder):
    model = make_model(args.size, args.precision)
    make_files(folder, args.records, args.format, args.seconds)
    files = sorted(os.path.join(folder, name) for name in os.listdir(folder))
    x = np.concatenate([ecgfm.prepare(ecgfm.read(path, sampling_rate=400)).x for path in files[: 2 * args.batch_size]])
    batches = [x[i : i + args.batch_size] for i in range(0, len(x), args.batch_size)]
    spent, segments, processor = ({"model": 0, "files": 0} for _ in range(3))
    memory = []
    for start in range(0, len(files), args.turn):
        part = files[start : start + args.turn]
        began, processor_began = time.perf_counter(), time.process_time()
        done = predict_to(
            model,
            part,
            os.path.join(folder, "out.csv"),
            sampling_rate=400,
            batch_size=args.batch_size,
            readers=args.readers,
        )
        spent["files"] += time.perf_counter() - began
        processor["files"] += time.process_time() - processor_began
        began, processor_began = time.perf_counter(), time.process_time()
        for i in range(max(1, round(args.share * done.segments / args.batch_size))):
            segments["model"] += len(model(batches[i % len(batches)]).logits)
        spent["model"] += time.perf_counter() - began
        processor["model"] += time.process_time() - processor_began
        segments["files"] += done.segments
        speed = {name: segments[name] / spent[name] for name in spent}
        memory.append((start + len(part), round(resident_mb(), 1)))
        ratio = speed["files"] / speed["model"]
        print(f"{memory[-1][0]:>6} files  {memory[-1][1]:8.1f} MB  {ratio:.3f}", file=sys.stderr)
    return {
        "precision": model.precision,
        "records": len(files),
        "segments": segments,
        "segments_per_s": {name: round(each, 2) for name, each in speed.items()},
        "files_to_model": round(ratio, 4),
        "processor_ms": {name: round(1e3 * processor[name] / segments[name], 2) for name in segments},
        "memory_mb": memory,
        "memory_growth": round(memory[-1][1] / memory[0][1] - 1, 4),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=10.0, help="of a recording")
    parser.add_argument(
        "--share", type=float, default=1.0, help="the model alone gets this share of the files' segments"
    )
    parser.add_argument("--turn", type=int, default=200, help="files at a time")
    parser.add_argument("--size", choices=("base", "large", "tiny"), default="base")
    parser.add_argument("--precision", choices=("float32", "bfloat16", "int8"), default="float32")
    parser.add_argument("--format", choices=("npz", "npy", "csv", "mat"), default="npz")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--readers", type=int, default=2)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    if args.threads:
        ecgfm.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(run(args, folder), indent=1))


if __name__ == "__main__":
    main()

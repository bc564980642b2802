"""How fast segments come from a packed split and from .mat files, and whether memory grows.

    python benchmarks/loading.py [--segments 4000] [--epochs 3] [--threads 1] [--batch-size 64] [--json FILE]

Makes both from random numbers (12 leads, 2,500 samples), then reads them in the order of training, epoch after epoch:
plain; with every lead masked at random, as in pretraining; and as pairs. Prints segments a second, and a second of
processor time (all threads, the kernel's part included); the resident memory after the first and the last epoch. Files
that were just written are in the page cache: what is measured is the program, not the disk.
"""

import argparse
import json
import os
import sys
import tempfile
import time

import numpy as np
from many_files import resident_mb

from ecgfm.data import Dataset, Loader
from ecgfm.data.mat import mat_bytes
from ecgfm.ecg.augment import augmentation

SHAPE = (12, 2500)
RATE = 500


def make_files(folder, count):
    """``packed/train.npy`` and its index; ``train.tsv`` with `count` files, two segments a record."""
    os.makedirs(os.path.join(folder, "packed"))
    os.makedirs(os.path.join(folder, "mat"))
    rng = np.random.default_rng(0)
    packed = np.lib.format.open_memmap(os.path.join(folder, "packed", "train.npy"), "w+", np.float32, (count, *SHAPE))
    lines, index = [f"\t{folder}/mat/"], ["idx,save_file,segment_i,sample_rate,sample_size"]
    for i in range(count):
        packed[i] = x = rng.standard_normal(SHAPE, np.float32)
        fields = {
            "feats": x.astype(np.float64),
            "curr_sample_rate": RATE,
            "curr_sample_size": SHAPE[1],
            "idx": i // 2,
            "segment_i": i % 2,
        }
        with open(os.path.join(folder, "mat", f"r{i // 2}_{i % 2}.mat"), "wb") as file:
            file.writelines(mat_bytes(fields))
        lines.append(f"r{i // 2}_{i % 2}.mat\t{SHAPE[1]}")
        index.append(f"{i // 2},r{i // 2}.mat,{i % 2},{RATE},{SHAPE[1]}")
    packed.flush()
    for name, text in (("train.tsv", lines), ("packed/train.index.csv", index)):
        with open(os.path.join(folder, name), "w") as file:
            file.write("\n".join(text) + "\n")


def measure(loader, epochs):
    """Segments a second of time and of processor time, and resident memory after the first epoch and the last."""
    for batch in loader.epoch(1):  # what is made once is made now
        assert np.isfinite(batch.x[:, 0, 0]).all()
    before, segments = resident_mb(), 0
    began, processor = time.perf_counter(), time.process_time()
    for epoch in range(2, 2 + epochs):
        for batch in loader.epoch(epoch):
            segments += len(batch)
    spent, processor = time.perf_counter() - began, time.process_time() - processor
    return {
        "segments_per_s": round(segments / spent),
        "segments_per_processor_s": round(segments / processor),
        "memory_mb": [round(before, 1), round(resident_mb(), 1)],
    }


def run(args, folder):
    make_files(folder, args.segments)
    found = {}
    masked = augmentation(["random_leads_masking"])
    for name, source, options in (
        ("packed", "packed/train.npy", {}),
        ("packed, leads masked", "packed/train.npy", {"augment": masked}),
        ("packed, pairs", "packed/train.npy", {"pairs": True}),
        (".mat files", "train.tsv", {}),
    ):
        data = Dataset(os.path.join(folder, source), training=True, sample_rate=RATE, **options)
        found[name] = measure(Loader(data, batch_size=args.batch_size, threads=args.threads), args.epochs)
        print(f"{name:<22}", json.dumps(found[name]), file=sys.stderr)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--segments", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="that read")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--folder", help="where to make the files (default: a temporary folder)")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        found = run(args, folder)
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"arguments": vars(args), "found": found}, file, indent=1)


if __name__ == "__main__":
    main()

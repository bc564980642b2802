"""Segments, manifests and packed splits for tests of the data sets."""

import numpy as np

from ecgfm.data.mat import mat_bytes


def write_segment(path, x, *, idx=0, number=0, rate=500, **more):
    """A ``.mat`` file as the stage `segmented` has it."""
    fields = {"feats": x, "curr_sample_rate": rate, "curr_sample_size": x.shape[1], "idx": idx, "segment_i": number}
    path.write_bytes(b"".join(bytes(piece) for piece in mat_bytes({**fields, **more})))


def segment(record, number, samples=600, leads=12):
    """(leads, samples) float64 that depends on the record and the segment's number."""
    return np.random.RandomState(1000 * record + number).normal(size=(leads, samples))


def make_split(folder, records=6, segments=2, samples=600, name="train"):
    """A folder with `segments` segments of each record, a manifest of them, one of pairs, and the packed split.

    Returns the segments, (records * segments, 12, samples), in the manifest's order.
    """
    files = folder / "segmented"
    files.mkdir(parents=True, exist_ok=True)
    (folder / "cmsc").mkdir(exist_ok=True)
    lines, pairs, index, found = [], [], [], []
    for record in range(records):
        for i in range(segments):
            x = segment(record, i, samples)
            write_segment(files / f"r{record}_{i}.mat", x, idx=10 + record, number=i)
            lines.append(f"r{record}_{i}.mat\t{samples}")
            index.append(f"{10 + record},r{record}.mat,{i},500,{samples}")
            found.append(x)
        pairs += [f"r{record}\t{samples}\t0\t{i},{i + 1}" for i in range(0, segments - 1, 2)]
    (folder / f"{name}.tsv").write_text("\n".join([f"\t{files}/", *lines]) + "\n")
    (folder / "cmsc" / f"{name}.tsv").write_text("\n".join([f"{files}/", "mat", *pairs]) + "\n")
    packed = folder / "packed"
    packed.mkdir(exist_ok=True)
    np.save(packed / f"{name}.npy", np.array(found, np.float32))
    (packed / f"{name}.index.csv").write_text(
        "\n".join(["idx,save_file,segment_i,sample_rate,sample_size", *index]) + "\n"
    )
    return np.array(found, np.float32)

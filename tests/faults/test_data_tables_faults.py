"""splits, labels, manifests and subset on a full disk: one line, no half-written file, and a rerun completes."""

import resource
import subprocess
import sys

import pytest
from bounded import PATIENCE_S

RECORDS = 400


@pytest.fixture
def root(tmp_path):
    meta, segmented = ["idx,save_file,AF"], ["path,save_file,sample_size"]
    for i in range(RECORDS):
        meta.append(f"{i},r{i}.mat,{i % 2}")
        segmented += [f"/data/segmented/r{i}_{k}.mat,r{i}.mat,2500" for k in (0, 1)]
    (tmp_path / "meta.csv").write_text("\n".join(meta) + "\n")
    (tmp_path / "segmented.csv").write_text("\n".join(segmented) + "\n")
    (tmp_path / "labels.csv").write_text(
        "\n".join(
            line.replace(",r", ";r").replace("save_file,", "") if not i else ",".join(line.split(",")[::2])
            for i, line in enumerate(meta)
        )
        + "\n"
    )
    return tmp_path


def run(*argv, limit=None):
    def full():
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-m", "ecgfm", *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, preexec_fn=full)


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_full_disk(root):
    steps = (
        ("splits", "--strategy", "random", "--processed_root", root),
        ("manifests", "--split_file_paths", root / "segmented_split.csv", "--save_dir", root / "m"),
        (
            "labels",
            "csv",
            "--labels",
            root / "labels.csv",
            "--meta_splits",
            root / "meta_split.csv",
            "--output_dir",
            root / "lab",
        ),
        ("subset", "--manifest_dir", root / "m", "--percent", "0.9"),
    )
    for step in steps:
        before = files(root)
        done = run(*step, limit=1000)
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr, done.stderr
        after = files(root)
        assert {path: after[path] for path in before} == before
        for path in set(after) - set(before):  # written before the disk was full: whole
            assert not path.name.endswith(".tmp") and ".subset-" not in str(path), path
        done = run(*step)
        assert done.returncode == 0, done.stderr
    assert len((root / "meta_split.csv").read_text().splitlines()) == RECORDS + 1
    assert len((root / "m" / "0.9" / "train.tsv").read_text().splitlines()) == 1 + 2 * 288

"""Do two revisions give the same bits? Builds both, lets each do the same work on this machine, and compares every
file.

    python scripts/same_bits.py main                 # main against the working tree
    python scripts/same_bits.py v0.1.0 HEAD          # two revisions

The work (`same_bits_work.py`): predictions, embeddings and saliency of simulated recordings into tables and growing
files,
the stages of preprocessing, 20 updates of each objective with their checkpoints and logs, and a run that was broken off
and resumed. Bits hold for one processor and one number of threads, so stored digests would not do.

Exit status: 0 the same, 1 not, 2 something could not be built or run.
"""

import argparse
import filecmp
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TIMES = ("*.run.json",)  # hold when their inputs were written
WORK = ROOT / "scripts" / "same_bits_work.py"


def tree_of(revision, folder):
    """A folder with the files of a revision (None: the working tree itself), its extension built."""
    if revision is None:
        tree = ROOT
    else:
        tree = folder / "tree"
        tree.mkdir()
        archive = subprocess.run(["git", "archive", revision], cwd=ROOT, check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", tree], input=archive, check=True)
    build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace", "--build-temp", folder / "objects"]
    subprocess.run(list(map(str, build)), cwd=tree, check=True, capture_output=True)
    return tree


def results_of(tree, folder, threads):
    """A folder with what the tree's package makes: made at one place, since some files name where they lie."""
    out = folder.parent / "work"
    out.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(tree), "ECGFM_NUM_THREADS": str(threads)}
    subprocess.run([sys.executable, str(WORK), str(tree)], cwd=out, env=environment, check=True)
    return out.rename(folder / "results")


def differences(first, second):
    """Paths that one folder lacks, or that differ."""
    paths = {path.relative_to(folder) for folder in (first, second) for path in folder.rglob("*") if path.is_file()}
    for path in sorted(paths):
        a, b = first / path, second / path
        if any(path.match(pattern) for pattern in TIMES):
            continue
        if not (a.exists() and b.exists()):
            yield f"{path}: only in the {'first' if a.exists() else 'second'}"
        elif not filecmp.cmp(a, b, shallow=False):
            yield f"{path}: differs"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", metavar="REV")
    parser.add_argument("second", metavar="REV", nargs="?", help="default: the working tree")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = []
        for name, revision in (("first", args.first), ("second", args.second)):
            place = Path(folder) / name
            place.mkdir()
            try:
                results.append(results_of(tree_of(revision, place), place, args.threads))
            except subprocess.CalledProcessError as error:
                print(f"{revision or 'the working tree'}: {error}\n{(error.stderr or b'').decode()}", file=sys.stderr)
                return 2
        found = list(differences(*results))
        count = sum(1 for path in results[0].rglob("*") if path.is_file())
    print("\n".join([*found, f"{count} files, {len(found)} differ"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

"""Runs the tests with the extension built under the address and undefined-behaviour sanitizers.

A copy of the tree is built in a temporary folder, with the environment of the interpreter that runs this; further
arguments go to pytest. Needs what the extra [test] installs, and setuptools. Run from anywhere:
python scripts/sanitize.py [pytest arguments]
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEFAULT = ["-q", "-x", "--ignore", "tests/test_install.py", "tests"]


def main(arguments):
    compiler = os.environ.get("CC", "gcc")
    runtime = [
        subprocess.run(
            [compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        ignored = shutil.ignore_patterns(".git", "*.so", "build", "dist", "__pycache__", "*.egg-info")
        shutil.copytree(ROOT, tree, ignore=ignored)
        shared = ROOT.parent / "shared"
        if shared.is_dir():
            (Path(folder) / "shared").symlink_to(shared)
        build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
        subprocess.run(build, cwd=tree, env=os.environ | {"ECGFM_SANITIZE": "1"}, check=True)
        environment = os.environ | {
            "PYTHONPATH": str(tree),
            "LD_PRELOAD": " ".join(runtime),
            # The interpreter itself keeps memory until it ends; leaks are looked for by tests/c/kernels.c.
            "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:detect_odr_violation=0",
            "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
            "PYTHONMALLOC": "malloc",
        }
        command = [sys.executable, "-m", "pytest", *(arguments or DEFAULT)]
        return subprocess.run(command, cwd=tree, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Does ecgfm/_core.pyi say what the extension module has? mypy's stubtest, with the extension loaded as ecgfm loads
it."""

import sys
from pathlib import Path

from mypy.stubtest import main

import ecgfm

ROOT = Path(__file__).resolve().parents[1]

if __name__ == "__main__":
    assert ecgfm._core  # loads oneDNN, which the extension by itself may not find
    sys.argv[1:] = ["ecgfm._core", "--mypy-config-file", str(ROOT / "pyproject.toml")]
    sys.exit(main())

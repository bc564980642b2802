"""Does ecgfm/_core.pyi say what the extension module has? mypy's stubtest, with the extension loaded as ecgfm loads
it."""

import sys

from mypy.stubtest import main

import ecgfm

if __name__ == "__main__":
    assert ecgfm._core  # loads oneDNN, which the extension by itself may not find
    sys.argv[1:] = ["ecgfm._core"]
    sys.exit(main())

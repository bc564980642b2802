"""What the base install does without any extra, and what the page says of each extra, is what the code imports."""

import subprocess
import sys
from pathlib import Path

from bounded import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]

#: Blocks what only extras bring.
_BASE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {others!r}:
            raise ModuleNotFoundError(name + " is of an extra")
sys.meta_path.insert(0, Blocked())
"""
OTHERS = {
    "scipy",
    "wfdb",
    "h5py",
    "ecgdatakit",
    "edfio",
    "pandas",
    "pyarrow",
    "matplotlib",
    "sklearn",
    "hydra",
    "omegaconf",
    "yaml",
    "mpi4py",
    "huggingface_hub",
    "pydicom",
    "requests",
    "httpx",
}


def run(code):
    code = _BASE.replace("{others!r}", repr(OTHERS)) + code
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, cwd=ROOT
    )


def test_the_base_install(tmp_path):
    """Help, the demonstration, and the formats that ecgfm reads itself."""
    done = run(f"""
import ecgfm
loaded = [name for name in ("numpy", "ecgfm._core") if name in sys.modules]
assert not loaded, loaded
import numpy as np
from ecgfm.cli.main import COMMANDS, main
assert main(["--help"]) == 0
for name in COMMANDS:
    assert main([name, "--help"]) == 0
assert main(["demo"]) == 0
from ecgfm.data.mat import mat_bytes
x = np.random.default_rng(0).normal(size=(12, 5000)).astype("f4")
path = {str(tmp_path / "a.mat")!r}
with open(path, "wb") as file:
    file.writelines(mat_bytes({{"feats": x, "curr_sample_rate": 500}}))
assert ecgfm.read(path).signal.shape == (12, 5000)
""")
    assert done.returncode == 0, done.stderr


def test_a_missing_extra_is_named(tmp_path):
    """A header that only the library reads, and DICOM, which needs none."""
    (tmp_path / "a.hea").write_text("a 1 500 10\na.dat 212 200 11 0 0 0 0 I\n")
    (tmp_path / "a.dat").write_bytes(b"\0" * 15)
    (tmp_path / "a.dcm").write_bytes(b"\0" * 128 + b"DICM")
    done = run(f"""
import ecgfm
for name, kind in (("a.hea", ecgfm.MissingExtraError), ("a.dcm", ecgfm.FormatError)):
    try:
        ecgfm.read({str(tmp_path)!r} + "/" + name)
    except ecgfm.Error as error:
        assert type(error) is kind and (kind is ecgfm.FormatError or "ecgfm[io]" in str(error)), error
    else:
        raise AssertionError(name)
""")
    assert done.returncode == 0, done.stderr

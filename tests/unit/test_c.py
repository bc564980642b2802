"""The kernels in C on their own, under the address and undefined-behaviour sanitizers; and the text of the C files."""

import os
import re
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"
SOURCES = sorted(CSRC.rglob("*.[ch]"))
LONGEST_FILE, LONGEST_FUNCTION, LONGEST_LINE = 500, 60, 120
# A room knows those of lower floors only.
FLOORS = [{"base", "losses"}, {"signal", "onednn"}, {"layers"}, {"network"}, {"heads"}, {"engine"}, {"python"}]


def onednn_prefix():
    """Where oneDNN's headers and library lie, or None."""
    for name in ("onednn-devel-cpu-gomp", "onednn-cpu-gomp"):
        try:
            entries = files(name) or ()
        except PackageNotFoundError:
            return None
        for entry in entries:
            path = Path(entry.locate()).resolve()
            if path.name == "dnnl.h" and path.parent.name == "dnnl":
                return path.parents[3]
    return None


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """Builds a program from a file of `tests/c` and the kernels, which are compiled once, all under the sanitizers."""
    prefix, compiler = onednn_prefix(), shutil.which(os.environ.get("CC", "gcc"))
    if prefix is None or compiler is None:
        pytest.skip("needs a C compiler and the package onednn-devel-cpu-gomp")
    folder, library = tmp_path_factory.mktemp("c"), prefix / "lib"
    # Functions compiled for several instruction sets are chosen before the sanitizers are ready: switched off.
    command = [compiler, "-std=c11", "-O1", "-g", "-fopenmp", "-DECG_NO_CLONES", "-Wall", "-Wextra", "-Werror"]
    command += ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
    command += [f"-I{prefix / 'include'}"]
    link = [str(library / "libdnnl.so.3"), f"-Wl,-rpath,{library}", "-lm"]

    def compiled(output, *arguments):
        built = subprocess.run(
            [*command, *map(str, arguments), "-o", str(folder / output)], capture_output=True, text=True
        )
        assert built.returncode == 0, built.stderr[-3000:]
        return folder / output

    sources = [path for path in sorted(CSRC.rglob("*.c")) if path.parent.name != "python"]
    kernels = compiled("kernels.o", "-r", *sources)
    return lambda name: compiled(name, ROOT / f"tests/c/{name}.c", kernels, *link)


@pytest.mark.parametrize("name", ["kernels", "precision", "training", "training_bf16"])
def test_under_sanitizers(build, name):
    program = build(name)
    environment = os.environ | {"ASAN_OPTIONS": "detect_leaks=1", "UBSAN_OPTIONS": "print_stacktrace=1"}
    environment["OMP_WAIT_POLICY"] = "passive"  # on a busy machine threads that spin take minutes
    run = subprocess.run([program], capture_output=True, text=True, env=environment, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    assert "0 checks failed" in run.stderr


def without_comments_and_strings(text):
    text = re.sub(r"/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m[0]), text, flags=re.S)
    text = re.sub(r"//[^\n]*", "", text)
    return re.sub(r'"(?:\\.|[^"\\\n])*"', '""', text)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(CSRC)))
def test_text(path):
    text = path.read_text()
    code = without_comments_and_strings(text)
    room = path.relative_to(CSRC).parts[0]
    includes = re.findall(r'#include\s+[<"]([^>"]+)[>"]', text)
    assert room == "python" or not any(name in ("Python.h",) or name.startswith("numpy/") for name in includes)
    assert room == "onednn" or not any("dnnl" in name for name in includes)
    allowed = {lower for floor in FLOORS[: next(i for i, f in enumerate(FLOORS) if room in f)] for lower in floor}
    for name in includes:
        if name.startswith("../"):
            assert name.split("/")[1] in allowed, f"{room} may not know {name}"
    banned = r"\b(exit|abort|printf|fprintf|sprintf|vsprintf|strcpy|strcat|gets|assert|alloca|setjmp|system)\s*\("
    assert not re.search(banned, code)
    assert not re.search(r"\b(malloc|calloc|realloc)\s*\(", code), "memory comes from ecg_alloc"
    assert "\t" not in text and not re.search(r"[ ]+$", text, flags=re.M)
    lines = text.splitlines()
    assert len(lines) <= LONGEST_FILE
    assert max(map(len, lines)) <= LONGEST_LINE
    longest = max((len(body.splitlines()) for body in re.findall(r"^\{\n.*?^\}", text, flags=re.S | re.M)), default=0)
    assert longest <= LONGEST_FUNCTION
    if path.suffix == ".h" and not path.stem.endswith("_tile"):  # those are included once for each use
        guard = "ECG_" + re.sub(r"\W", "_", str(path.relative_to(CSRC))).upper()
        assert f"#ifndef {guard}" in text

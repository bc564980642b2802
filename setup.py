"""Builds ecgfm._core; everything else is in pyproject.toml.

Three switches from the environment, for developers: ECGFM_SANITIZE=1 (ASan and UBSan), ECGFM_COVERAGE=1
(gcov), ECGFM_DEBUG=1 (no optimisation, debug symbols).
"""

import os
from glob import glob
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import numpy
from setuptools import Extension, setup


def find_onednn():
    """The include directory and the library file of oneDNN, from where pip put them."""
    include = library = None
    for name in ("onednn-devel-cpu-gomp", "onednn-cpu-gomp"):
        try:
            entries = files(name) or ()
        except PackageNotFoundError:
            continue
        for entry in entries:
            path = Path(entry.locate()).resolve()
            if path.parts[-3:] == ("oneapi", "dnnl", "dnnl.h"):
                include = path.parents[2]
            elif path.name == "libdnnl.so.3" or (path.name.startswith("libdnnl.so.3") and library is None):
                library = path
    if include is None or library is None:
        raise SystemExit("oneDNN was not found: pip install onednn-devel-cpu-gomp")
    return include, library


def switch(name):
    return os.environ.get(name, "0") not in ("", "0")


def extension():
    include, library = find_onednn()
    compile_args = ["-std=c11", "-fopenmp", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"]
    compile_args += ["-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-missing-field-initializers"]
    # The rpath leads from site-packages/ecgfm to the lib directory that pip installs libdnnl.so.3 into.
    link_args = ["-fopenmp", str(library), "-Wl,-rpath,$ORIGIN/../../.."]
    macros = []
    if switch("ECGFM_DEBUG"):
        compile_args += ["-O0", "-g3"]
    else:
        compile_args += ["-O3", "-g1"]
    if switch("ECGFM_SANITIZE"):
        flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
        compile_args += flags
        link_args += flags
        macros.append(("ECG_NO_CLONES", None))  # resolvers run before the sanitizers are ready
    if switch("ECGFM_COVERAGE"):
        compile_args.append("--coverage")
        link_args.append("--coverage")
    return Extension(
        "ecgfm._core",
        sources=sorted(glob("csrc/**/*.c", recursive=True)),
        depends=sorted(glob("csrc/**/*.h", recursive=True)),
        include_dirs=[numpy.get_include(), str(include)],
        define_macros=macros,
        extra_compile_args=compile_args,
        extra_link_args=link_args,
    )


setup(ext_modules=[extension()])

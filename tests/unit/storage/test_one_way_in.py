"""Every input is opened by `ecgfm.storage`, which waits for nothing and believes no claim: other ways are listed
here."""

import ast
from pathlib import Path

import pytest

import ecgfm

PACKAGE = Path(ecgfm.__file__).parent

#: Calls that open a file, or read one that a path names.
OPENING = {
    "open",
    "load",
    "memmap",
    "fromfile",
    "loadtxt",
    "genfromtxt",
    "GzipFile",
    "BZ2File",
    "LZMAFile",
    "ZipFile",
    "read_text",
    "read_bytes",
    "File",
    "ParquetFile",
    "read_table",
    "read_csv",
    "read_parquet",
    "read_feather",
    "read_excel",
    "read_hdf",
    "parse",
    "iterparse",
    "loadmat",
    "dcmread",
    "rdrecord",
    "rdheader",
    "rdsamp",
    "rdann",
    "read_edf",
    "read_bdf",
    "copyfile",
    "copy",
    "copy2",
    "open_code",
    "mmap",
}
OF_OTHERS = {"copy", "load", "parse", "open"}  # also names of methods that open nothing: counted with these owners only
OWNERS = {
    "os",
    "io",
    "np",
    "numpy",
    "gzip",
    "bz2",
    "lzma",
    "tarfile",
    "shutil",
    "ElementTree",
    "codecs",
    "webbrowser",
    "Path",
    "module",
}

#: Function -> why it may.
ALLOWED = {
    "storage/atomic.py: linked": "the file that was just written",
    "storage/atomic.py: replacing": "a new file",
    "storage/atomic.py: open_own": "a run's own file: regular, no link, not blocking",
    "storage/atomic.py: _sync": "the file that was just written, to be put on the disk",
    "storage/atomic.py: sync_folder": "a folder",
    "checkpoint/write.py: write_pt": "writes",
    "cli/main.py: _silence_stdout": "/dev/null",
    "data/build/listing.py: list_records": "the table that was just written",
    "io/hdf5.py: __init__": "HDF5's own library, after `_size` has opened the file",
    "io/hdf5_named.py: read_named": "the same",
    "io/parquet.py: _opened": "a stream that `open_input` opened",
    "io/wfdb.py: _header": "WFDB's own library, after `_check_lines` has read the header",
    "io/wfdb.py: _opened": "WFDB's own library, after `_check_claims` has opened the files",
    "io/wfdb.py: _blocks": "the same",
    "io/npz.py: _read": "an archive that `open_input` opened",
    "io/table.py: blocks": "lines of a text that `open_text` opened",
    "data/stores/packed.py: _partial_rows": "a file that `open_own` opened",
    "storage/growing_files.py: open_growing": "the finished file of the run that is continued, a regular one",
    "inference/stores.py: open_store": "maps what `open_input` opened",
    "labeler/parquet.py: parquet_batches": "a stream that `open_input` opened",
    "storage/inputs.py: __init__": "inflates what `open_input` opened",
    "storage/inputs.py: open_input": "this is the way",
    "storage/npy.py: map_array": "maps what `open_input` opened",
}


def openings(tree):
    """(function, call, line) of each call that may open a file to be read."""

    def visit(node, function):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call) and _opens(child):
                yield function, ast.unparse(child)[:100], child.lineno
            inside = child.name if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)) else function
            yield from visit(child, inside)

    yield from visit(tree, None)


def _opens(call):
    function = call.func
    if isinstance(function, ast.Name):
        name, owner = function.id, None
    elif isinstance(function, ast.Attribute):
        name, owner = function.attr, getattr(function.value, "id", getattr(function.value, "attr", ""))
    else:
        return False
    if name not in OPENING or (name in OF_OTHERS and owner is not None and owner not in OWNERS):
        return False
    if owner is None and name not in ("open", "ZipFile", "Path", "ParquetFile", "GzipFile", "copyfile"):
        return False
    return not (name == "open" and owner != "os" and _mode(call).startswith(("w", "a", "x")))


def _mode(call):
    given = [*call.args[1:2], *(word.value for word in call.keywords if word.arg == "mode")]
    return given[0].value if given and isinstance(given[0], ast.Constant) and isinstance(given[0].value, str) else ""


def test_every_other_way_has_its_reason():
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for function, call, line in openings(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path.relative_to(PACKAGE).as_posix()}: {function}"
            found.setdefault(where, []).append(f"line {line}: {call}")
    assert {where: calls for where, calls in found.items() if where not in ALLOWED} == {}
    assert sorted(set(ALLOWED) - set(found)) == []


@pytest.mark.parametrize(
    "code",
    [
        "open(p)",
        "open(p, 'rb')",
        "open(p, 'r+b')",
        "open(p, mode=m)",
        "os.open(p, 0)",
        "io.open(p)",
        "np.load(p)",
        "gzip.open(p)",
        "zipfile.ZipFile(p)",
        "p.read_text()",
        "Path(p).read_bytes()",
        "h5py.File(p)",
        "np.memmap(p)",
        "pandas.read_csv(p)",
        "np.fromfile(p)",
        "ElementTree.parse(p)",
        "wfdb.rdrecord(p)",
        "shutil.copyfile(p, q)",
        "parquet.ParquetFile(p)",
        "mmap.mmap(p, 0)",
    ],
)
def test_they_are_found(code):
    assert len(list(openings(ast.parse(code)))) == 1


@pytest.mark.parametrize("code", ["open(p, 'w')", "open(p, mode='ab')", "open_input(p)", "x.copy()", "json.loads(p)"])
def test_others_are_not(code):
    assert not list(openings(ast.parse(code)))

"""What a test needs of the machine, found out once; where it is missing the test is skipped with the reason."""

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

MPIEXEC = Path(sys.executable).parent / "mpiexec"


def needs_mpi():
    """Ranks can be started: mpi4py is there, mpiexec too, and two processes find each other."""
    pytest.importorskip("mpi4py", reason="needs the extra [mpi]")
    trouble = _mpi_trouble()
    if trouble:
        pytest.skip(f"MPI does not start here: {trouble}")


def needs_kernel():
    """A notebook can be run: Jupyter's kernel starts and answers, over a socket."""
    trouble = _kernel_trouble()
    if trouble:
        pytest.skip(f"a notebook's kernel does not start here: {trouble}")


@cache
def _mpi_trouble():
    if not MPIEXEC.exists():
        return "there is no mpiexec beside python (the extra [mpi])"
    line = [str(MPIEXEC), "-n", "2", sys.executable, "-c", "from mpi4py import MPI; print(MPI.COMM_WORLD.size)"]
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return "no answer within a minute"
    return None if "".join(done.stdout.split()) == "22" else (done.stdout + done.stderr)[-500:]


@cache
def _kernel_trouble():
    import nbclient
    import nbformat

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print(1 + 1)")])
    try:
        nbclient.NotebookClient(notebook, timeout=60, startup_timeout=60).execute()
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:500]
    return None if notebook.cells[0].outputs[0].text == "2\n" else "it gives wrong answers"

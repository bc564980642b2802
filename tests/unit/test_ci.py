"""What CI does before the README's commands."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CI = Path(__file__).resolve().parents[2] / ".ci"
SAYS = '#!/bin/sh\necho "$@" >> "$CALLS"\n'


@pytest.fixture
def debian(tmp_path):
    """Runs .ci/debian on a list of its own, with an apt-get that only writes down how it was called."""

    def run(listed, user="0", apt=SAYS):
        folder = tmp_path / "programs"
        folder.mkdir()
        shutil.copy(CI / "debian", tmp_path / "debian")
        (tmp_path / "debian.txt").write_text(listed)
        for name, text in (("apt-get", apt), ("id", f"#!/bin/sh\necho {user}\n")):
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        calls = tmp_path / "calls"
        calls.touch()
        environment = dict(os.environ, PATH=f"{folder}:{os.environ['PATH']}", CALLS=str(calls))
        done = subprocess.run([str(tmp_path / "debian")], env=environment, capture_output=True, text=True, timeout=60)
        return done, calls.read_text().splitlines()

    return run


def test_packages_are_installed(debian):
    done, (update, install) = debian("# tools\n\nalpha  # why\n\tbeta-2:amd64\r\n*")
    assert done.returncode == 0
    assert update.endswith(" update") and "Timeout" in update
    assert install.endswith(" install -y --no-install-recommends -- alpha beta-2:amd64 *")


@pytest.mark.parametrize("listed", ["", "\n", "# none\n", "  # none"])
def test_without_names_nothing_is_called(debian, listed):
    done, calls = debian(listed)
    assert (done.returncode, calls, done.stderr) == (0, [], "")


def test_others_than_root_install_nothing(debian):
    done, calls = debian("alpha\n", user="1000")
    assert (done.returncode, calls) == (0, [])
    assert done.stderr == "not installed (needs root and apt-get): alpha\n"


def test_lists_that_cannot_be_renewed_have_to_do(debian):
    done, calls = debian("alpha\n", apt=SAYS + 'case "$*" in *update) exit 100; esac\n')
    assert (done.returncode, len(calls)) == (0, 2)
    assert "update failed" in done.stderr


def test_a_package_that_cannot_be_installed_ends_the_run(debian):
    done, _ = debian("alpha\n", apt=SAYS + 'case "$*" in *alpha) exit 100; esac\n')
    assert done.returncode == 100


def test_the_list_here_is_read_first():
    assert (CI / "debian.txt").is_file()
    assert (CI / "run").read_text().index(".ci/debian\n") < (CI / "run").read_text().index("python3 -m venv")

"""A mistake of ours in the pipeline ends the run and is named; one in a reader costs its recording."""

import numpy as np
import pytest

from ecgfm.cli.main import main
from ecgfm.data import preprocess
from ecgfm.data.sources.files import Files, load_function
from ecgfm.errors import Error

X = np.random.default_rng(0).normal(size=(12, 3000))


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    for name in "ab":
        np.savez(folder / f"{name}.npz", signal=X, sampling_rate=500.0)
    return folder


def command(raw, tmp_path):
    return ["preprocess", "files", "--raw_root", str(raw), "--processed_root", str(tmp_path / "out")]


def wrong(*args, **options):
    raise TypeError("of ours")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_mistake_outside_readers_ends_the_run(raw, tmp_path, monkeypatch, capfd, workers):
    monkeypatch.setattr("ecgfm.data.recording.reorder_leads", wrong)
    argv = [*command(raw, tmp_path), "--nb_workers", workers]
    assert main(argv) == 3
    err = capfd.readouterr().err.strip().splitlines()
    assert "a defect of ecgfm: TypeError in data/recording.py, line " in err[-1] and "Traceback" not in "".join(err)
    assert main([*argv, "--debug"]) == 3
    assert "data/recording.py" in "".join(capfd.readouterr().err.splitlines()[:-1])


def test_a_mistake_in_a_reader_costs_its_recording(raw, tmp_path, monkeypatch, capfd):
    read = Files.read
    monkeypatch.setattr(Files, "read", lambda self, row: wrong() if "a.npz" in row["path"] else read(self, row))
    assert main([*command(raw, tmp_path), "--no_parallel"]) == 1
    assert "TypeError: of ours" in capfd.readouterr().err
    assert len(list((tmp_path / "out").rglob("*b_0.mat"))) == 1


@pytest.mark.parametrize(
    "given",
    [
        "Recording(X, None, LEADS)",
        "Recording(X, 500, 7)",
        "Recording(X, 500, LEADS, meta=3)",
        "Recording(X, 500, LEADS, tables={'t': [5]})",
        "Recording(X, 500, LEADS, tables=[1])",
        "3",
        "(X, 'x', LEADS)",
    ],
)
def test_what_a_user_s_own_reader_may_give(raw, tmp_path, given):
    reader = tmp_path / "own.py"
    reader.write_text(
        "import numpy as np\nfrom ecgfm.data.sources.base import Recording\nfrom ecgfm import LEADS\n"
        f"X = np.zeros((12, 3000))\ndef read(row):\n    return {given}\n"
    )
    source, reasons = Files(reader=load_function(f"{reader}:read")), []
    with pytest.raises(Error, match="none of the 2 recordings"):
        preprocess(source, tmp_path / "out", raw, workers=1, on_error=lambda path, why: reasons.append(str(why)))
    assert len(reasons) == 2 and all("the reader gave" in why for why in reasons), reasons

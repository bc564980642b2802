"""The preprocessing when things go wrong: nothing is silently missing, and a second run ends with the same files."""

import errno
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import data_sets
import numpy as np
import pytest
from bounded import PATIENCE_S

import ecgfm
from ecgfm.data import Files, open_packed, preprocess

RECORDS = 34
MODES = [{}, {"packed": True}, {"packed": True, "stages": ["org", "segmented"]}]


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Recordings of 4 to 16 s at three rates; one is truncated."""
    folder = tmp_path_factory.mktemp("raw") / "training"
    long = data_sets.signal(16, 1000)
    for i in range(RECORDS):
        rate = (257, 500, 1000)[i % 3]
        x = long[:, i * 10 : i * 10 + int((4 + i % 13) * rate)]
        data_sets.wfdb_record(folder / f"set{i % 2}/g1", f"r{i:03}", x, rate, mat=True)
    path = folder / "set1/g1/r013.mat"
    path.write_bytes(path.read_bytes()[:-100])
    return folder


def tree(folder):
    """Every file below a folder with its content; paths in tables are below the folder, times of files are left out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "lock":
            content = path.read_bytes().replace(str(folder).encode(), b"FOLDER")
            found[str(path.relative_to(folder))] = re.sub(rb',"raw":\[[^}]*?\]\]|,"raw":\[[^}]*?null\]', b"", content)
    return found


@pytest.fixture(scope="module")
def whole(raw, tmp_path_factory):
    """What an undisturbed run leaves, for each mode."""
    found = []
    for mode in MODES:
        folder = tmp_path_factory.mktemp("whole")
        summary = preprocess("physionet2021", folder, raw, workers=1, **mode)
        assert (summary.records, summary.skipped) == (RECORDS - 1, 1)
        found.append(tree(folder))
    return found


def command(raw, out, mode, workers=2):
    argv = [sys.executable, "-m", "ecgfm", "preprocess", "physionet2021", "--raw_root", raw, "--processed_root", out]
    argv += ["--nb_workers", workers]
    argv += ["--packed"] if mode.get("packed") else []
    argv += ["--stages", ",".join(mode["stages"])] if "stages" in mode else []
    return list(map(str, argv))


@pytest.mark.parametrize("mode", [0, 2])
def test_killed_at_random_points(raw, whole, tmp_path, mode):
    generator = np.random.RandomState(mode)
    began = time.monotonic()
    subprocess.run(command(raw, tmp_path / "timed", MODES[mode]), capture_output=True, timeout=PATIENCE_S)
    longest, killed, out = time.monotonic() - began, 0, tmp_path / "out"
    while killed < 4:
        process = subprocess.Popen(command(raw, out, MODES[mode]), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            process.communicate(timeout=longest * generator.uniform(0.4, 1))
            shutil.rmtree(out)  # it was faster: once more
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()  # until its children, too, are gone
            killed += 1
    assert preprocess("physionet2021", out, raw, workers=1, **MODES[mode]).records == RECORDS - 1
    assert tree(out) == whole[mode]


class Stop(BaseException):
    """The process ends here, as far as the files are concerned."""


@pytest.mark.parametrize(
    "mode, name, error",
    [
        (0, "replace", OSError(errno.ENOSPC, "No space left on device")),
        (1, "replace", Stop()),
        (2, "replace", Stop()),
        (1, "rename", Stop()),
        (2, "unlink", Stop()),
        (2, "copy_file_range", OSError(errno.ENOSPC, "No space left on device")),
        (2, "fsync", OSError(errno.EIO, "Input/output error")),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_each_step_fails_in_turn(raw, whole, tmp_path, monkeypatch, mode, name, error):
    """The k-th call fails, before or after its work, for a selection of k; the run is then done again."""
    real, calls = getattr(os, name), {"left": -1, "made": 0}

    def failing(*args, **options):
        calls["made"] += 1
        calls["left"] -= 1
        if calls["left"] == 0:
            if isinstance(error, Stop):
                real(*args, **options)
            raise error
        return real(*args, **options)

    monkeypatch.setattr(os, name, failing)
    preprocess("physionet2021", tmp_path / "count", raw, workers=1, **MODES[mode])
    total = calls["made"]
    for k in sorted(k for k in {1, total // 2, total - 1, total} if 0 < k <= total):
        out = tmp_path / str(k)
        calls["left"] = k
        with pytest.raises((ecgfm.Error, Stop)) as caught:
            preprocess("physionet2021", out, raw, workers=1, **MODES[mode])
        if not isinstance(error, Stop):
            assert error.strerror in str(caught.value) and "same command" in str(caught.value)
        calls["left"] = -1
        assert preprocess("physionet2021", out, raw, workers=2, **MODES[mode]).records == RECORDS - 1
        assert tree(out) == whole[mode], k


@pytest.mark.parametrize("mode, limit", [(0, 100_000), (1, 3_000_000), (2, 5_000_000)])
def test_a_file_that_may_not_grow(raw, whole, tmp_path, mode, limit):
    """What a full disk does to the command, in its processes: one line, status 2; then there is room."""

    def small():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    argv = command(raw, tmp_path, MODES[mode])
    full = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S, preexec_fn=small)
    assert full.returncode == 2 and full.stderr.splitlines()[-1].startswith("ecgfm: error: ")
    assert "can't be written: File too large. Make room or mend it" in full.stderr and "Traceback" not in full.stderr
    again = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S)
    assert again.returncode == 1  # one recording is truncated
    assert tree(tmp_path) == whole[mode]


def heeding():
    """A shell's background jobs ignore SIGINT, and hand that down."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_interrupted_and_terminated(raw, tmp_path):
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        slow = tmp_path / "slow.py"
        begun = str(tmp_path / f"begun{status}")
        slow.write_text(
            f"import os, time\ndef read(row):\n    open({begun!r} + str(os.getpid()), 'w').close()\n    time.sleep(600)\n"  # noqa: E501
        )
        argv = [
            sys.executable,
            "-m",
            "ecgfm",
            "preprocess",
            "files",
            "--raw_root",
            str(raw),
            "--processed_root",
            str(tmp_path / f"out{status}"),
            "--reader",
            f"{slow}:read",
            "--nb_workers",
            "2",
        ]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heeding)
        while not list(tmp_path.glob(f"begun{status}*")):  # a reader is at work
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(number)
        _, err = process.communicate(timeout=PATIENCE_S)  # until its children have closed stderr too
        assert process.returncode == status and "Traceback" not in err


def reader(row):
    """Dies on some recordings, takes long on none."""
    if row["path"].endswith("r005.hea"):
        os.kill(os.getpid(), signal.SIGKILL)
    if row["path"].endswith("r007.hea"):
        os._exit(3)
    record = ecgfm.read(row["path"])
    return record.signal, record.sampling_rate, record.leads


@pytest.mark.parametrize("packed", [False, True])
def test_a_recording_that_kills_its_process(raw, tmp_path, packed):
    told = []
    summary = preprocess(
        Files(reader=reader), tmp_path, raw, workers=2, packed=packed, on_error=lambda path, why: told.append(path)
    )
    errors = {row["path"][-8:-4]: row["error"] for row in data_sets.read_table(tmp_path / "errors.csv")}
    assert sorted(errors) == ["r005", "r007", "r013"] and len(told) == 3
    assert "ended (signal 9)" in errors["r005"] and "ended (exit status 3)" in errors["r007"]
    assert summary.records == RECORDS - 3 == len(data_sets.read_table(tmp_path / "meta.csv"))


def test_removed_files_are_made_again(raw, whole, tmp_path):
    for mode in (0, 2):
        out = tmp_path / str(mode)
        preprocess("physionet2021", out, raw, **MODES[mode])
        victims = sorted(out.rglob("*.mat"))[::7]
        for i, path in enumerate(victims):
            path.unlink() if i % 2 else path.write_bytes(path.read_bytes()[:-1])
        (out / "meta.csv").unlink()
        summary = preprocess("physionet2021", out, raw, **MODES[mode])
        assert 0 < summary.resumed < RECORDS - 1
        assert tree(out) == whole[mode]


def test_a_recording_that_is_mended_later(raw, whole, tmp_path):
    """The rows of a packed file stand in the order of the recordings, whenever they came."""
    copy = tmp_path / "raw/training"
    for path in raw.rglob("r0*"):
        (copy / path.relative_to(raw)).parent.mkdir(parents=True, exist_ok=True)
        (copy / path.relative_to(raw)).write_bytes(path.read_bytes())
    hidden = [copy / f"set{i % 2}/g1/r{i:03}.hea" for i in (0, 11, 12, 30)]
    for path in hidden:
        path.rename(path.with_suffix(".away"))
    for mode in (0, 1):
        out = tmp_path / str(mode)
        assert preprocess("physionet2021", out, copy, **MODES[mode]).skipped == 5
    for path in hidden:
        path.with_suffix(".away").rename(path)
    for mode in (0, 1):
        out = tmp_path / str(mode)
        summary = preprocess("physionet2021", out, copy, **MODES[mode])
        assert (summary.skipped, summary.resumed) == (1, RECORDS - 5)
        assert tree(out) == {
            name: content.replace(str(raw).encode(), str(copy).encode()) for name, content in whole[mode].items()
        }
    # and one that was there goes
    hidden[1].unlink()
    (tmp_path / "1/.ecgfm/preprocess.jsonl").unlink()
    (tmp_path / "1/manifest.csv").unlink()
    assert preprocess("physionet2021", tmp_path / "1", copy, packed=True).skipped == 2
    packed = open_packed(tmp_path / "1/packed/all.npy")
    assert "physionet2021_set1_g1_r011.mat" not in packed.save_file and (np.diff(packed.idx) >= 0).all()


def test_a_journal_cut_off_in_a_line(raw, whole, tmp_path):
    preprocess("physionet2021", tmp_path, raw)
    path = tmp_path / ".ecgfm/preprocess.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    assert preprocess("physionet2021", tmp_path, raw).resumed == RECORDS - 2
    assert tree(tmp_path) == whole[0]
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:3], "{nonsense\n", *lines[3:]]))
    with pytest.raises(ecgfm.FormatError, match="preprocess.jsonl: a damaged line"):
        preprocess("physionet2021", tmp_path, raw)


def test_two_runs_at_a_time(raw, tmp_path):
    def other(row):
        argv = [sys.executable, "-m", "ecgfm", "preprocess", "files", "--raw_root", str(raw), "--processed_root"]
        found = subprocess.run([*argv, str(tmp_path / "out")], capture_output=True, text=True, timeout=PATIENCE_S)
        raise RuntimeError(f"{found.returncode} {found.stderr}")

    data_sets.write_table(tmp_path / "one.csv", [{"path": "set0/g1/r000.hea"}])
    with pytest.raises(ecgfm.Error, match="none of the 1 .*RuntimeError: 2 .*another run is using this folder"):
        preprocess(Files(table=tmp_path / "one.csv", reader=other), tmp_path / "out", raw, workers=1)


def test_duplicate_ids(tmp_path):
    h5py = pytest.importorskip("h5py")
    raw = data_sets.code_15(tmp_path / "raw", {n: data_sets.signal(6, 400, seed=n) for n in (11, 12, 13, 14)})
    rows = data_sets.read_table(raw / "exams.csv")
    data_sets.write_table(
        raw / "exams.csv",
        [
            *rows,
            rows[1],
            {**rows[0], "exam_id": "99"},
            {**rows[0], "exam_id": "x"},
            {**rows[3], "trace_file": "exams_part7.hdf5"},
        ],
    )
    with h5py.File(raw / "exams_part0.hdf5", "r+") as file:
        file["exam_id"][:] = [11, 11, 0]
    out = tmp_path / "out"
    summary = preprocess("code_15", out, raw)
    assert (summary.records, summary.skipped) == (2, 6)
    assert [row["exam_id"] for row in data_sets.read_table(out / "meta.csv")] == ["12", "14"]
    errors = {row["idx"]: row["error"] for row in data_sets.read_table(out / "errors.csv")}
    assert "2 exams are called 11" in errors["0"] and "there is no exam 13" in errors["2"]
    assert "the same recording again" in errors["4"] and "there is no exam 99" in errors["5"]
    assert "is not an exam number" in errors["6"] and "the same recording again" in errors["7"]


def test_a_missing_or_damaged_part(tmp_path):
    pytest.importorskip("h5py")
    raw = data_sets.code_15(tmp_path / "raw", {n: data_sets.signal(6, 400, seed=n) for n in range(11, 17)}, parts=3)
    content = (raw / "exams_part1.hdf5").read_bytes()
    (raw / "exams_part1.hdf5").unlink()
    (raw / "exams_part2.hdf5").write_bytes(b"nothing")
    summary = preprocess("code_15", tmp_path / "out", raw)
    assert (summary.records, summary.skipped) == (2, 4)
    errors = [row["error"] for row in data_sets.read_table(tmp_path / "out/errors.csv")]
    assert sum("no such file" in text for text in errors) == 2 and sum("HDF5" in text for text in errors) == 2
    (raw / "exams_part1.hdf5").write_bytes(content)
    assert preprocess("code_15", tmp_path / "out", raw).records == 4


def test_what_is_refused_before_anything_is_written(raw, tmp_path):
    def refused(match, *args, **options):
        with pytest.raises(ecgfm.Error, match=match):
            preprocess(*args, **options)

    out = tmp_path / "out"
    refused("'nothing' is not one of", "nothing", out, raw)
    refused("there is no such directory", "files", out, tmp_path / "gone")
    refused("raw_root: it is not given", "files", out)
    refused("is where the recordings lie", "files", raw, raw)
    refused("no stage is called", "files", out, raw, stages=["first"])
    refused("no stage is called", "files", out, raw, skip=["first"])
    refused("workers: 0 is not", "files", out, raw, workers=0)
    refused("can't be packed", "files", out, raw, skip=["segmented"], packed=True)
    refused("there is no such directory", "files", out, raw, manifest_file=tmp_path / "gone/manifest.csv")
    refused("a part of a file name", "files", out, raw, results_suffix="/../x")
    refused("no such file", "files", out, raw, packed_splits=tmp_path / "gone.csv")
    data_sets.write_table(tmp_path / "splits.csv", [{"save_file": "a.mat", "split": "../up"}])
    refused("no name of a split", "files", out, raw, packed_splits=tmp_path / "splits.csv")
    assert not out.exists()
    (tmp_path / "file").write_text("")
    refused("not a directory", "files", tmp_path / "file", raw)
    refused("the table has no recording of none", "physionet2021", out, raw, dataset_subset=["none"])
    (out / "records.csv").write_text("path,dataset,idx\na,b,1\n")
    refused("columns that are made here: idx", "physionet2021", out, raw)
    (out / "records.csv").write_text("path,dataset\n")
    refused("the table has no recording", "physionet2021", out, raw)
    (out / "records.csv").write_text("path,dataset\na,b,c\n")
    refused("records.csv: line 2: 3 fields for 2 columns", "physionet2021", out, raw)
    assert sorted(path.name for path in out.iterdir()) == [".ecgfm", "records.csv"]

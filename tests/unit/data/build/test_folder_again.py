"""The folder of recordings: links, other files, names that clash, and what is new or changed when the command runs
again."""

import os

import data_sets
import numpy as np
import pytest

import ecgfm
from ecgfm.cli.main import main
from ecgfm.data import Files, open_packed, preprocess, read_mat
from ecgfm.storage.folders import walk

LEADS = list(ecgfm.LEADS)


def recording(path, seed=0, seconds=6):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, signal=data_sets.signal(seconds, seed=seed), sampling_rate=500, leads=LEADS)


def table(folder, name="meta"):
    return data_sets.read_table(folder / f"{name}.csv")


@pytest.fixture
def raw(tmp_path):
    for i in range(3):
        recording(tmp_path / f"raw/r{i}.npz", i)
    return tmp_path / "raw"


# ---- links


def listed(top, **options):
    return [
        os.path.relpath(os.path.join(folder, name), top)
        for folder, names in walk(str(top), **options)
        for name in names
    ]


def test_links_to_folders_are_followed(raw, tmp_path):
    recording(tmp_path / "elsewhere/deep/x.npz", 7)
    os.symlink(tmp_path / "elsewhere", raw / "more")
    preprocess("files", tmp_path / "out", raw)
    assert [row["save_file"] for row in table(tmp_path / "out")] == [
        "files_r0.mat",
        "files_r1.mat",
        "files_r2.mat",
        "files_more_deep_x.mat",
    ]


@pytest.mark.parametrize("target", [".", "..", "/", "sub", "sub/loop", "gone", "loop"])
def test_loops_end(raw, tmp_path, target):
    recording(raw / "sub/x.npz")
    os.symlink(target, raw / "loop")
    os.symlink("..", raw / "sub/up")
    passed = []
    assert [one for one in listed(raw, passed=passed.append) if one.endswith(".npz")] == [
        "r0.npz",
        "r1.npz",
        "r2.npz",
        "sub/x.npz",
    ]
    assert str(raw / "sub/up") in passed


def test_a_folder_that_two_links_name_is_listed_once(raw, tmp_path):
    recording(tmp_path / "elsewhere/x.npz")
    os.symlink(tmp_path / "elsewhere", raw / "a")
    os.symlink(tmp_path / "elsewhere", raw / "b")
    summary = preprocess("files", tmp_path / "out", raw)
    assert summary.records == 4
    ignored = [row for row in table(tmp_path / "out", "status") if row["status"] == "ignored"]
    assert [(row["path"], row["reason"]) for row in ignored] == [
        (str(raw / "b"), "a link to a folder that is listed elsewhere")
    ]


def test_links_of_the_challenge(tmp_path):
    data_sets.wfdb_record(tmp_path / "elsewhere/g1", "a", data_sets.signal(6))
    (tmp_path / "training").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "training/set")
    os.symlink(tmp_path / "training", tmp_path / "training/loop")
    assert preprocess("physionet2021", tmp_path / "out", tmp_path / "training").records == 1


# ---- other files


def test_files_that_are_no_recordings(raw, tmp_path, capsys):
    data_sets.wfdb_record(raw, "w", data_sets.signal(6))
    for name in ("a.csv.gz", "b.csv.gz", "notes.txt.old", "README", "x.pdf"):
        (raw / name).write_bytes(b"nothing")
    (raw / "text.mat").write_bytes(b"nothing that is a .mat file")
    status = main(["preprocess", "files", "--raw_root", str(raw), "--processed_root", str(tmp_path / "out")])
    said = capsys.readouterr().err.splitlines()
    lines = [line for line in said if "ignored" in line]
    assert (
        len(lines) == 1 and "ignored, no recordings (" in lines[0] and "2 .gz" in lines[0] and "status.csv" in lines[0]
    )
    rows = table(tmp_path / "out", "status")
    ignored = {os.path.basename(row["path"]) for row in rows if row["status"] == "ignored"}
    assert ignored >= {"a.csv.gz", "b.csv.gz", "notes.txt.old", "README", "x.pdf"}
    assert not ignored & {"w.dat", "w.hea", "r0.npz"}
    done = [row for row in rows if row["status"] == "done"]
    assert len(done) == 4 and status == (1 if any(row["status"] == "skipped" for row in rows) else 0)


def test_files_of_another_kind_in_other_sources(tmp_path):
    data_sets.wfdb_record(tmp_path / "training/set/g1", "a", data_sets.signal(6))
    (tmp_path / "training/set/index.html").write_text("x")
    assert preprocess("physionet2021", tmp_path / "out", tmp_path / "training").ignored == {".html": 1}


# ---- again


@pytest.mark.parametrize("options", [{}, {"packed": True}])
def test_new_files_are_done(raw, tmp_path, options):
    out = tmp_path / "out"
    assert preprocess("files", out, raw, **options).records == 3
    recording(raw / "a0.npz", 9)  # before the others in the folder, after them in the table
    recording(raw / "z.npz", 8)
    summary = preprocess("files", out, raw, **options)
    assert (summary.records, summary.resumed, summary.added) == (5, 3, 2)
    assert [(row["idx"], row["save_file"]) for row in table(out)] == [
        ("0", "files_r0.mat"),
        ("1", "files_r1.mat"),
        ("2", "files_r2.mat"),
        ("3", "files_a0.mat"),
        ("4", "files_z.mat"),
    ]
    if options:
        assert open_packed(out / "packed/all.npy").idx.tolist() == [0, 1, 2, 3, 4]
    assert preprocess("files", out, raw, **options).resumed == 5
    recording(raw / "zz.npz")
    assert preprocess("files", out, raw, **options).resumed == 5


@pytest.mark.parametrize("options", [{}, {"packed": True}])
def test_changed_files_are_done_again(raw, tmp_path, options):
    out, before = tmp_path / "out", os.stat(raw / "r1.npz")
    preprocess("files", out, raw, **options)
    recording(raw / "r1.npz", seed=77)
    os.utime(raw / "r1.npz", ns=(before.st_atime_ns, before.st_mtime_ns - 10**9))  # an older one, put back
    assert preprocess("files", out, raw, **options).resumed == 2
    preprocess("files", tmp_path / "new", raw, **options)
    for path in sorted((tmp_path / "new").rglob("*.mat")) + sorted((tmp_path / "new").rglob("*.np[y]")):
        assert path.read_bytes() == (out / path.relative_to(tmp_path / "new")).read_bytes()
    assert (out / "meta.csv").read_bytes() == (tmp_path / "new/meta.csv").read_bytes()
    (raw / "r0.npz").unlink()
    assert preprocess("files", out, raw, **options).resumed == 3  # what is done stays, though its file is gone


def test_changed_signal_files(tmp_path):
    raw = tmp_path / "training"
    data_sets.wfdb_record(raw / "set/g1", "a", data_sets.signal(6))
    preprocess("physionet2021", tmp_path / "out", raw)
    data_sets.wfdb_record(raw / "set/g1", "a", data_sets.signal(6, seed=4))
    assert preprocess("physionet2021", tmp_path / "out", raw).resumed == 0
    data_sets.wfdb_record(raw / "set/g1", "b", data_sets.signal(6, seed=5))
    assert preprocess("physionet2021", tmp_path / "out", raw).added == 1


def test_rows_that_were_taken_out_stay_out(raw, tmp_path):
    out = tmp_path / "out"
    preprocess("files", out, raw)
    lines = (out / "records.csv").read_text().splitlines()
    (out / "records.csv").write_text("\n".join([lines[0], *lines[2:]]) + "\n")
    (out / ".ecgfm/preprocess.jsonl").unlink()
    (out / "manifest.csv").unlink()
    recording(raw / "new.npz")
    assert preprocess("files", out, raw).added == 1
    assert [row["path"] for row in data_sets.read_table(out / "records.csv")] == ["r1.npz", "r2.npz", "new.npz"]


def test_a_table_of_one_s_own_is_left_alone(raw, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "records.csv").write_text("path\nr1.npz\n")
    for _ in range(2):
        assert preprocess("files", out, raw).records == 1
    assert (out / "records.csv").read_text() == "path\nr1.npz\n"


def test_an_empty_folder_blocks_nothing(tmp_path):
    (tmp_path / "raw").mkdir()
    for source in ("files", "muse", "physionet2021"):
        with pytest.raises(ecgfm.ConfigError, match="no recording"):
            preprocess(source, tmp_path / source, tmp_path / "raw")
    recording(tmp_path / "raw/a.npz")
    assert preprocess("files", tmp_path / "files", tmp_path / "raw").records == 1
    data_sets.wfdb_record(tmp_path / "raw/set/g1", "a", data_sets.signal(6))
    assert preprocess("physionet2021", tmp_path / "physionet2021", tmp_path / "raw").records == 1


def test_a_longer_table(raw, tmp_path):
    out, path = tmp_path / "out", tmp_path / "t.csv"
    path.write_text("path,age\nr0.npz,50\n")
    preprocess(Files(table=path), out, raw)
    path.write_text("path,age\nr2.npz,60\nr0.npz,50\n")
    assert preprocess(Files(table=path), out, raw).added == 1
    assert [(row["idx"], row["path"][-6:], row["age"]) for row in table(out)] == [
        ("0", "r0.npz", "50"),
        ("1", "r2.npz", "60"),
    ]
    path.write_text("path,age\nr0.npz,51\n")
    with pytest.raises(ecgfm.ConfigError, match="the row of 'r0.npz' is not the one"):
        preprocess(Files(table=path), out, raw)


def test_new_files_whose_numbers_are_taken(raw, tmp_path):
    shared = tmp_path / "manifest.csv"
    preprocess("files", tmp_path / "one", raw, manifest_file=shared)
    recording(tmp_path / "other/x.npz")
    preprocess(Files(name="other"), tmp_path / "two", tmp_path / "other", manifest_file=shared)
    before = shared.read_bytes()
    recording(raw / "new.npz")
    summary = preprocess("files", tmp_path / "one", raw, manifest_file=shared)
    assert (summary.records, summary.added) == (3, 0) and shared.read_bytes() == before
    (row,) = [row for row in table(tmp_path / "one", "status") if row["status"] == "ignored"]
    assert row["path"] == "new.npz" and "numbers" in row["reason"]
    recording(tmp_path / "other/y.npz")  # the last source may grow
    assert preprocess(Files(name="other"), tmp_path / "two", tmp_path / "other", manifest_file=shared).added == 1
    assert [row["idx"] for row in data_sets.read_table(shared)] == list("01234")


# ---- names


def test_names_that_clash(tmp_path):
    raw = tmp_path / "raw"
    for i, name in enumerate(["x y/a.npz", "x_y/a.npz", "x/y a.npz", "x_y_a.npz", "x_y_a-2.npz"]):
        recording(raw / name, i)
    summary = preprocess("files", tmp_path / "out", raw)
    assert (summary.records, summary.skipped, summary.renamed) == (5, 0, 3)
    rows = table(tmp_path / "out")
    names = [row["save_file"] for row in rows]
    assert len(set(names)) == 5 and set(names) >= {"files_x_y_a.mat", "files_x_y_a-2.mat"}
    for row in rows:
        with np.load(row["path"]) as found:
            np.testing.assert_array_equal(read_mat(tmp_path / "out/org" / row["save_file"])["feats"], found["signal"])
    status = {row["save_file"]: row["reason"] for row in table(tmp_path / "out", "status")}
    assert sum("another recording has the name" in reason for reason in status.values()) == 3
    assert preprocess("files", tmp_path / "out", raw).resumed == 5


def test_one_stem_in_two_formats(tmp_path):
    raw = tmp_path / "raw"
    recording(raw / "r.npz")
    x = data_sets.signal(6, seed=3)
    rows = "\n".join(",".join(map(str, row)) for row in x.T.tolist())
    (raw / "r.csv").write_text("# sampling_rate: 500\n" + ",".join(LEADS) + "\n" + rows + "\n")
    assert preprocess("files", tmp_path / "out", raw).records == 2
    assert {row["path"][-3:]: row["save_file"] for row in table(tmp_path / "out")} == {
        "csv": "files_r.mat",
        "npz": "files_r-2.mat",
    }


def test_names_of_one_s_own_that_clash_are_refused(raw, tmp_path):
    (tmp_path / "t.csv").write_text("path,save_file\nr0.npz,a.mat\nr1.npz,a.mat\nr2.npz,\nr2.npz,\n")
    summary = preprocess(Files(table=tmp_path / "t.csv"), tmp_path / "out", raw)
    assert (summary.records, summary.skipped, summary.renamed) == (2, 2, 0)
    assert all("the same recording again" in row["error"] for row in table(tmp_path / "out", "errors"))


@pytest.mark.parametrize("name", ["l" * 240, "é" * 110, "line\nend", "tab\tstop", "\x1b[31mred", "=cmd", "-1+2"])
def test_unusual_names(tmp_path, name):
    raw = tmp_path / "raw"
    recording(raw / f"{name}.npz")
    recording(raw / "plain.npz", 1)
    summary = preprocess("files", tmp_path / "out", raw)
    assert summary.records == 2
    for row in table(tmp_path / "out"):
        assert row["save_file"].isprintable() and row["save_file"].startswith("files_")
        assert os.path.exists(row["path"]) and row["path"][0] == "/"
    listed = [row["path"] for row in data_sets.read_table(tmp_path / "out/records.csv")]
    assert not any(path[0] in "=+-@" for path in listed)
    assert preprocess("files", tmp_path / "out", raw).resumed == 2


def test_a_name_that_is_not_utf_8(tmp_path):
    raw = tmp_path / "raw"
    recording(raw / "plain.npz", 1)
    os.rename(raw / "plain.npz", os.fsencode(raw) + b"/b\xff.npz")
    recording(raw / "plain.npz", 1)
    for again in (0, 2):
        summary = preprocess("files", tmp_path / "out", raw)
        assert (summary.records, summary.resumed) == (2, again)


@pytest.mark.parametrize("key", ["file", "record"])
def test_tables_with_another_key(raw, tmp_path, key):
    (tmp_path / "t.csv").write_text(f"{key},age\nr1.npz,7\n")
    assert preprocess(Files(table=tmp_path / "t.csv"), tmp_path / "out", raw).records == 1
    (row,) = table(tmp_path / "out")
    assert (row["age"], row["path"]) == ("7", str(raw / "r1.npz"))
    (tmp_path / "t.csv").write_text("name,age\nr1.npz,7\n")
    with pytest.raises(ecgfm.FormatError, match="columns missing: path.*file or record"):
        preprocess(Files(table=tmp_path / "t.csv"), tmp_path / "other", raw)


def test_names_of_wfdb_records_without_ending(tmp_path):
    data_sets.wfdb_record(tmp_path / "raw/records500/00000", "00001_hr", data_sets.signal(10))
    (tmp_path / "t.csv").write_text("ecg_id,filename_lr,filename_hr\n1,gone,records500/00000/00001_hr\n")
    (tmp_path / "t2.csv").write_text("ecg_id,record\n1,records500/00000/00001_hr\n")
    for name in ("t", "t2"):
        source = Files(table=tmp_path / f"{name}.csv")
        assert preprocess(source, tmp_path / f"out_{name}", tmp_path / "raw").records == 1
        assert table(tmp_path / f"out_{name}")[0]["save_file"] == "files_records500_00000_00001_hr.mat"


def test_one_record_in_several_spellings_is_a_duplicate(tmp_path):
    data_sets.wfdb_record(tmp_path / "raw/set", "a", data_sets.signal(10))
    data_sets.wfdb_record(tmp_path / "raw/set", "b", data_sets.signal(10, seed=2))
    names = ["set/a", "./set/a.hea", "set/a.dat", "set/b.hea", "set/b"]
    (tmp_path / "t.csv").write_text("path\n" + "".join(f"{name}\n" for name in names))
    done = preprocess(Files(table=tmp_path / "t.csv"), tmp_path / "out", tmp_path / "raw")
    assert done.skipped == 3 and [row["save_file"] for row in table(tmp_path / "out")] == [
        "files_set_a.mat",
        "files_set_b.mat",
    ]
    assert all("the same recording again" in row["error"] for row in table(tmp_path / "out", "errors"))

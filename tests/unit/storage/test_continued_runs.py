"""Runs that are continued: nothing is thrown away unasked, and no row stays of a recording that is not the same."""

import csv
import os

import numpy as np
import pytest
from fakes import FakeModel

from ecgfm import ConfigError, Error, FormatError
from ecgfm.ecg import simulate
from ecgfm.inference import embed_to, predict, predict_to
from ecgfm.storage.fingerprints import fingerprint


def save(path, seed, seconds=6.0):
    made = simulate(seconds, 500, seed=seed)
    np.savez(path, signal=made.signal, sampling_rate=500, leads=made.leads)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "recordings"
    made.mkdir()
    for i in range(4):
        save(made / f"{i}, x.npz", i, 6.0 + 5 * (i % 2))
    return made


class Breaks(FakeModel):
    def __call__(self, x, padding_mask=None):
        if len(self.batches) == 2:
            raise KeyboardInterrupt
        return super().__call__(x, padding_mask)


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def broken_off(folder, out):
    with pytest.raises(KeyboardInterrupt):
        predict_to(Breaks(), folder, out, batch_size=1)
    return [row["file"] for row in rows(f"{out}.part")]


def test_a_run_that_was_broken_off_is_not_thrown_away_unasked(folder, tmp_path):
    out = tmp_path / "p.csv"
    done = broken_off(folder, out)
    for _ in range(2):
        with pytest.raises(
            ConfigError, match=r"a run that was broken off is there; it has done 1 recording\b"
        ) as caught:
            predict_to(FakeModel(), folder, out)
        assert "resume" in caught.value.remedy and "overwrite" in caught.value.remedy
        assert [row["file"] for row in rows(f"{out}.part")] == done
    with pytest.raises(ConfigError, match="either go on or begin anew"):
        predict_to(FakeModel(), folder, out, resume=True, overwrite=True)
    written = predict_to(FakeModel(), folder, out, overwrite=True)
    assert (written.records, written.resumed) == (4, 0) and out.read_text() == predict(
        FakeModel(), folder
    ).records.to_csv()
    assert predict_to(FakeModel(), folder, out).records == 4  # a finished run is replaced, as ever


@pytest.mark.parametrize("kind", ["csv", "npy"])
@pytest.mark.parametrize("stop", [False, True])
def test_no_rows_of_changed_and_deleted_files(folder, tmp_path, kind, stop):
    out = tmp_path / f"p.{kind}"
    write = predict_to if kind == "csv" else embed_to
    files = [str(path) for path in sorted(folder.iterdir())]
    if stop:
        with pytest.raises(KeyboardInterrupt):
            write(Breaks(), files * 2, out, batch_size=4)
    else:
        write(FakeModel(), files, out)
    os.unlink(files[0])
    save(files[1], 77, 11.0)
    written = write(FakeModel(), folder, out, resume=True)
    assert written.records == 3 and written.dropped >= 2 and not list(tmp_path.glob("*.part*"))
    if kind == "csv":
        beside = tmp_path / "p.segments.csv"
        expected = predict(FakeModel(), folder)
        assert sorted(out.read_text().splitlines()) == sorted(expected.records.to_csv().splitlines())
        assert sorted(beside.read_text().splitlines()) == sorted(expected.segments.to_csv().splitlines())
    else:
        names = [row["file"] for row in rows(tmp_path / "p.csv")]
        fresh = tmp_path / "fresh.npy"
        embed_to(FakeModel(), folder, fresh)
        order = [row["file"] for row in rows(tmp_path / "fresh.csv")]
        assert sorted(names) == sorted(order)
        got, wanted = np.load(out), np.load(fresh)
        for name in set(names):
            same = (
                [i for i, each in enumerate(names) if each == name],
                [i for i, each in enumerate(order) if each == name],
            )
            np.testing.assert_allclose(got[same[0]], wanted[same[1]], rtol=1e-5)
    assert sorted(row["file"] for row in rows(tmp_path / "p.status.csv")) == sorted(files[1:])
    assert write(nothing := FakeModel(), folder, out, resume=True).resumed == 3 and nothing.batches == []


def test_a_changed_side_file_counts(tmp_path):
    (tmp_path / "a.hea").write_text("a 1 500 10\n# a comment\nb.dat 16 200/mV 16 0 0 0 0 I\n")
    (tmp_path / "b.dat").write_bytes(b"0" * 20)
    header = str(tmp_path / "a.hea")
    before = fingerprint(header)
    assert before == fingerprint(header) == fingerprint(str(tmp_path / "a"))
    (tmp_path / "b.dat").write_bytes(b"0" * 21)
    assert fingerprint(header) != before
    assert fingerprint(f"{header}::x") == fingerprint(header)


def test_recordings_in_memory(tmp_path):
    one, other = simulate(6.0, 500, seed=1), simulate(6.0, 500, seed=2)
    out = tmp_path / "p.csv"
    predict_to(FakeModel(), [one.signal, other.signal], out, sampling_rate=500)
    model = FakeModel()
    written = predict_to(model, [one.signal, one.signal], out, sampling_rate=500, resume=True)
    assert (written.resumed, written.dropped, written.records) == (1, 1, 2)
    first, second = rows(out)
    assert first["Sinus rhythm"] == second["Sinus rhythm"]


def foreign(kind, path, victim):
    if kind == "link":
        path.symlink_to(victim)
    elif kind == "hard link":
        os.link(victim, path)
    elif kind == "FIFO":
        os.mkfifo(path)
    else:
        path.mkdir()


@pytest.mark.parametrize("name", ["p.csv.part", "p.segments.csv.part", "p.status.csv.part", "p.run.json.part"])
@pytest.mark.parametrize("kind", ["link", "hard link", "FIFO", "folder"])
def test_what_lies_in_the_place_of_a_part_is_left_alone(folder, tmp_path, name, kind):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    foreign(kind, tmp_path / name, victim)
    for options in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(Error) as caught:
            predict_to(FakeModel(), folder, tmp_path / "p.csv", **options)
        assert caught.value.path.endswith(name)
        assert victim.read_text() == "precious" and os.path.lexists(tmp_path / name)


@pytest.mark.parametrize(
    "name, content",
    [
        ("p.run.json", b"[" * 100_000),
        ("p.run.json", b"{" + b" " * (1 << 21)),
        ("p.run.json", b"\xff\xfe"),
        ("p.status.csv", b"file,status,segments,error\na,done,1,\n"),
        ("p.status.csv", b"file,status,segments,error,fingerprint\na,done,-1,,x\n"),
        ("p.status.csv", b"file,status,segments,error,fingerprint\na,done,%s,,x\n" % (b"9" * 5000)),
        ("p.status.csv", b"file,status,segments,error,fingerprint\na,done,1" + b"0" * 11 + b",,x\n"),
        ("p.status.csv", b'file,status,segments,error,fingerprint\n"' + b"a" * (5 << 20)),
        ("p.status.csv", b"\xff\xfe\n"),
        ("p.csv", b'"' * (5 << 20)),
    ],
)
def test_hostile_files_of_an_earlier_run(folder, tmp_path, name, content):
    predict_to(FakeModel(), folder, tmp_path / "p.csv")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match="can't be continued") as caught:
        predict_to(FakeModel(), folder, tmp_path / "p.csv", resume=True)
    assert len(str(caught.value)) < 2000 and not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("head", [b"[" * 100, b"-" * 100, b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}"])
def test_hostile_arrays_of_an_earlier_run(folder, tmp_path, head):
    embed_to(FakeModel(), folder, tmp_path / "e.npy")
    (tmp_path / "e.npy").write_bytes(
        b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + head.ljust(117) + b"\n" + b"0" * 999
    )
    with pytest.raises(FormatError, match="can't be continued"):
        embed_to(FakeModel(), folder, tmp_path / "e.npy", resume=True)


@pytest.mark.parametrize(
    "name", ["=1+1.npz", "-x.npz", "'=y.npz", "a\x1b[2Jb.npz", "\u202efdp.npz", "\udcff.npz", "a\nb.npz"]
)
def test_names_travel_through_the_tables(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with open("good.npz", "wb") as file:
        made = simulate(6.0, 500, seed=1)
        np.savez(file, signal=made.signal, sampling_rate=500, leads=made.leads)
    os.rename("good.npz", name)
    predict_to(FakeModel(), [name], "p.csv")
    for table in ("p.csv", "p.segments.csv", "p.status.csv"):
        text = open(table, encoding="utf-8").read()
        assert not {"\x1b", "\u202e"} & set(text)
        assert not [row["file"] for row in rows(table) if row["file"][0] in "=+-@"]
    model = FakeModel()
    assert predict_to(model, [name], "p.csv", resume=True).resumed == 1 and model.batches == []
    assert predict_to(model, [name], "p.csv", resume=True).resumed == 1


def test_evaluate_reads_the_names_as_they_were(tmp_path, monkeypatch):
    pytest.importorskip("sklearn", reason="needs the extra [train]")
    from ecgfm import evaluate
    from ecgfm.table import Table

    monkeypatch.chdir(tmp_path)
    files = ["=a.npz", "-b.npz"]
    for i, name in enumerate(files):
        save(name, i)
    model = FakeModel(labels=("=one", "@two", "c", "d", "e"))
    Table({"file": files, "=one": [0, 1], "@two": [1, 0]}).to_csv("truth.csv")
    found = evaluate(model, files, "truth.csv", bootstrap=0)
    assert len(found.predictions) == 2 and found.records["n"].tolist()[:2] == [2, 2]

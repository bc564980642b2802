"""Folders, lists and columns of files: what is read, and that nothing is left out without a word."""

import gzip
import os

import numpy as np
import pytest
from fakes import FakeModel
from made_files import counts, write_wfdb

import ecgfm
from ecgfm import ConfigError, Error, FormatError
from ecgfm.ecg.choices import Choices
from ecgfm.io.inputs import expand, segments_of

X = np.random.default_rng(3).normal(0, 0.4, (12, 2600)).astype(np.float32)


def save(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, signal=X, fs=500, leads=ecgfm.LEADS)
    return path


def names(inputs, ignored=None):
    """The names that `expand` gives, all of which can be read."""
    found = []
    for name, one in expand(inputs, ignored):
        segments_of(one, Choices(500, short="pad"))
        found.append(name)
    return found


# ---- folders --------------------------------------------------------------------------------------------------------


def test_what_a_folder_leaves_out_is_told(tmp_path):
    save(tmp_path / "a.npz")
    write_wfdb(tmp_path / "b.hea", counts())
    (tmp_path / "b.atr").write_bytes(b"annotations")
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(b"I,II\n1,2\n"))
    (tmp_path / "d.parquet").write_bytes(b"no Parquet")
    (tmp_path / "d.feather").write_bytes(b"ARROW1")
    (tmp_path / "labels.csv").write_text("file,AF\na.npz,1\n")
    (tmp_path / "e.csv").write_text("lead_1,lead_2\n1,2\n")
    (tmp_path / "f.xyz").write_bytes(b"?")
    (tmp_path / "unnamed").write_bytes(b"free")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / ".hidden.gz").write_bytes(b"?")
    ignored = {}
    found = names(tmp_path, ignored.__setitem__)
    assert [os.path.basename(name) for name in found] == ["a.npz", "b.hea"]
    assert {os.path.basename(path): reason for path, reason in ignored.items()} == {
        "c.csv.gz": "a compressed file: inflate it first",
        "d.parquet": "its content is not Parquet",
        "d.feather": "Feather is not read: give its DataFrame, or save it as Parquet",
        "labels.csv": "its first line names no leads",
        "e.csv": "its first line names no leads",
        "f.xyz": "not the name of a recording",
        "unnamed": "not a recording in a format that is known",
        "empty": "the file is empty",
    }
    assert all(os.path.exists(path) for path in ignored)


def test_files_that_are_not_read_say_why(tmp_path):
    for name, words in (("a.feather", "Feather is not read"), ("a.npz.gz", "inflate it first"), ("a.xlsx", "as CSV")):
        (tmp_path / name).write_bytes(b"whatever")
        with pytest.raises(FormatError, match=words):
            ecgfm.read(tmp_path / name)


def test_links_to_folders(tmp_path):
    for name in ("other/x.npz", "other/deep/y.npz", "here/a.npz"):
        save(tmp_path / name)
    here = tmp_path / "here"
    os.symlink("../other", here / "link")
    os.symlink("..", tmp_path / "other" / "deep" / "up")  # leads back, for ever
    os.symlink(".", here / "self")
    os.symlink("nowhere", here / "broken.npz")
    ignored, found = {}, {}
    for name, one in expand(here, ignored.__setitem__):
        try:
            found[os.path.relpath(name, here)] = segments_of(one)
        except Error as error:
            found[os.path.relpath(name, here)] = str(error)
    assert sorted(found) == ["a.npz", "broken.npz", "link/deep/y.npz", "link/x.npz"]
    assert "no such file" in found["broken.npz"]
    reasons = {os.path.relpath(path, here): reason for path, reason in ignored.items()}
    assert reasons == dict.fromkeys(["link/deep/up", "self"], "a link to a directory that is read already")


# ---- names without an ending, lists ---------------------------------------------------------------------------------


@pytest.fixture
def ptb(tmp_path):
    """A folder as PTB-XL's."""
    for number in (1, 2, 3):
        path = tmp_path / "records100" / "00000" / f"{number:05}_lr.hea"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_wfdb(path, counts(seed=number))
    return tmp_path


PTB = [f"records100/00000/{number:05}_lr" for number in (1, 2, 3)]


def test_names_without_an_ending(ptb, monkeypatch):
    monkeypatch.chdir(ptb)
    assert names(PTB) == PTB and names(PTB[0]) == PTB[:1]
    (ptb / "m.tsv").write_text(f"{ptb}\n" + "".join(f"{name}\t1000\n" for name in PTB))
    assert names("m.tsv") == [os.path.join(str(ptb), name) for name in PTB]


@pytest.mark.parametrize(
    "name, text",
    [
        ("files.txt", "{0}\n{1}\n\n# one more\n{2}\n"),
        ("files.csv", "{0}\n{1}\n{2}\n"),
        ("RECORDS", "{0}\n{1}\n{2}\n"),
        ("files.csv", "ecg_id,filename_lr,filename_hr\n1,{0},records500/1\n2,{1},records500/2\n3,{2},records500/3\n"),
        ("files.csv", "path;age\n{0};70\n{1};71\n{2};72\n"),
        ("files.tsv", "age\trecord\n70\t{0}\n71\t{1}\n72\t{2}\n"),
        ("files.csv", '\ufeffage,File\r\n70,"{0}"\r\n71,"{1}"\r\n72,"{2}"\r\n'),
    ],
)
def test_lists_of_files(ptb, monkeypatch, name, text):
    (ptb / name).write_text(text.format(*PTB), encoding="utf-8", newline="")
    assert names(ptb / name) == [os.path.join(str(ptb), one) for one in PTB]
    monkeypatch.chdir(ptb)
    assert names(name) == PTB
    (ptb / "sub").mkdir()
    (ptb / "sub" / name).write_text(text.format(*PTB), encoding="utf-8")
    assert names(os.path.join("sub", name)) == PTB  # from the working directory


def test_lists_name_what_is_missing(ptb):
    (ptb / "files.txt").write_text(f"{PTB[0]}\nabsent.npz\n")
    (_, first), (name, second) = expand(ptb / "files.txt")
    segments_of(first)
    with pytest.raises(FormatError, match="absent.npz: no such file"):
        segments_of(second)


def test_recordings_are_no_lists(tmp_path):
    rows = "".join(f"{i % 7},{i % 5}\n" for i in range(2500))
    (tmp_path / "a.csv").write_text("# fs: 500\nI,II\n" + rows)
    (tmp_path / "b.csv").write_text("# fs: 500\nrecord,I,II\n" + "x," + rows.replace("\n", "\nx,")[:-2])
    (tmp_path / "c.txt").write_text(rows)
    for name in ("a.csv", "b.csv", "c.txt"):
        assert [one for one, _ in expand(tmp_path / name)] == [str(tmp_path / name)]
    (tmp_path / "labels.csv").write_text("name,AF\nx,1\n")
    with pytest.raises(Error, match="names no leads"):
        ecgfm.read(tmp_path / "labels.csv")


# ---- columns of paths, and what else people hand over ---------------------------------------------------------------


def test_columns_of_paths(tmp_path):
    pandas = pytest.importorskip("pandas")
    paths = [str(save(tmp_path / f"{i}.npz")) for i in range(3)]
    frame = pandas.DataFrame({"path": paths, "age": [1, 2, 3]})
    several = (
        frame.path,
        frame[["path"]],
        frame,
        frame.path.astype("category"),
        pandas.Index(paths),
        np.array(paths),
        np.array(paths, object),
        np.array([os.fsencode(path) for path in paths]),
        tuple(paths),
        iter(paths),
        ecgfm.Table({"file": paths}),
        {"record": paths},
        pandas.DataFrame({"ecg": paths}),
    )
    for given in several:
        assert names(given) == paths, type(given)
    assert names(np.array(paths[0])) == paths[:1]


def test_cells_that_are_empty(tmp_path):
    paths = [str(save(tmp_path / "a.npz")), None, float("nan")]
    (_, good), *empty = expand(np.array(paths, object))
    segments_of(good)
    for name, one in empty:
        with pytest.raises(Error, match="neither a path nor a recording"):
            segments_of(one, Choices(500))


@pytest.mark.parametrize("given", [5, None, 2.5])
def test_what_is_nothing_of_the_kind(given):
    with pytest.raises(ConfigError, match="no recording"):
        list(expand(given))


def test_masked_arrays_stay_masked():
    x = np.ma.masked_array(X, np.zeros_like(X, bool))
    x.mask[3, 7] = True
    for given in (x, [x], np.ma.stack([x, x])):
        for _, one in expand(given):
            with pytest.raises(ecgfm.SignalError, match="masked values"):
                segments_of(one, Choices(500))


def test_reading_what_is_no_path(tmp_path):
    pandas = pytest.importorskip("pandas")
    for given, words in (
        (None, "not a path but NoneType"),
        (pandas.Series(["a.hea"]), "not a path but Series. ecgfm.predict takes several"),
        (np.array(["a.hea"]), "not a path but ndarray. ecgfm.predict takes several"),
        (7, "not a path but int"),
    ):
        with pytest.raises(FormatError, match=words):
            ecgfm.read(given)


def test_units_through_predict(tmp_path):
    path = save(tmp_path / "a.npz")
    [(_, one)] = expand(path)
    assert "amplitude" not in segments_of(one, Choices(unit="mV")).provenance["quality"]
    assert "amplitude" in segments_of(one, Choices(unit="uV")).provenance["quality"]
    assert "unit assumed: mV" in segments_of(one).provenance["notes"]


# ---- mistakes of ours -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mistake", [TypeError("no"), ZeroDivisionError(), ValueError("x" * 10_000), RecursionError()])
@pytest.mark.parametrize(
    "name, where",
    [
        ("a.npy", "npy.make_record"),
        ("a.npz", "npz.make_record"),
        ("a.csv", "table._Table.chosen"),
        ("a.hea", "wfdb.make_record"),
        ("a.npz", "npz._parts"),
        ("a.csv", "table._Table.values"),
        ("a.hea", "wfdb._opened"),
    ],
)
def test_a_mistake_in_a_reader_is_named(tmp_path, monkeypatch, mistake, name, where):
    np.save(tmp_path / "a.npy", X)
    save(tmp_path / "a.npz")
    (tmp_path / "a.csv").write_text("I,II\n" + "1,2\n" * 9)
    write_wfdb(tmp_path / "a.hea", counts())

    def wrong(*args, **options):
        raise mistake

    monkeypatch.setattr(f"ecgfm.io.{where}", wrong)
    with pytest.raises(
        FormatError,
        match="cannot be read: .* in the .* reader; if the file is right, this is a defect of ecgfm: --debug shows it",
    ) as caught:
        ecgfm.read(tmp_path / name)
    assert caught.value.__cause__ is mistake and caught.value.path == str(tmp_path / name)
    assert type(mistake).__name__ in str(caught.value)


@pytest.mark.parametrize("kind", [MemoryError, KeyboardInterrupt, SystemExit, UserWarning])
def test_what_is_never_swallowed(tmp_path, monkeypatch, kind):
    np.save(tmp_path / "a.npy", X)

    def wrong(*args, **options):
        raise kind

    monkeypatch.setattr("ecgfm.io.npy.make_record", wrong)
    with pytest.raises(kind):
        ecgfm.read(tmp_path / "a.npy", 500)


def test_a_mistake_in_what_lists_recordings(tmp_path, monkeypatch):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["tracings"] = np.zeros((2, 100, 12), "f4")
    save(tmp_path / "b.npz")

    def wrong(*args, **options):
        raise AttributeError("no")

    monkeypatch.setattr("ecgfm.io.hdf5.opened", wrong)
    found = dict(expand(tmp_path))
    assert "AttributeError in the HDF5 reader" in str(found[str(tmp_path / "a.h5")])
    segments_of(found[str(tmp_path / "b.npz")])


def test_the_next_file_is_done(tmp_path, monkeypatch):
    """One file on which a reader fails doesn't end a run."""
    for name in "abc":
        save(tmp_path / f"{name}.npz")
    from ecgfm.io import npz

    right = npz._parts

    def wrong(archive, size, path):
        if path.endswith("b.npz"):
            raise IndexError("list index out of range")
        return right(archive, size, path)

    monkeypatch.setattr(npz, "_parts", wrong)
    with pytest.warns(UserWarning, match="1 of 3 recordings were skipped"):
        result = ecgfm.predict(FakeModel(), tmp_path)
    assert [os.path.basename(name) for name in result.records["file"]] == ["a.npz", "c.npz"]
    assert [os.path.basename(name) for name in result.errors["file"]] == ["b.npz"]
    assert "IndexError in the NumPy .npz reader" in result.errors["error"][0]

"""Recordings from file-like objects, and from paths of every kind."""

import io
import os
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from made_files import LEADS, counts, write_wfdb

import ecgfm
from ecgfm import FormatError, LeadError, prepare, read
from ecgfm.io import streams
from ecgfm.io.inputs import expand

X = counts() / 1000


def npz(**more):
    made = io.BytesIO()
    np.savez(made, signal=X.astype(np.float32), fs=500, leads=LEADS, **more)
    return made.getvalue()


CSV = ("time," + ",".join(LEADS) + "\n" + "\n".join(
    ",".join(f"{value:g}" for value in [i / 500, *column]) for i, column in enumerate(X.T)
)).encode()  # fmt: skip
FORMS = {"npz": npz(), "csv": CSV}


class OneWay(io.RawIOBase):
    """A stream that can't go back and gives a few bytes at a time."""

    def __init__(self, content, piece=1000):
        self.inner, self.piece = io.BytesIO(content), piece

    def readable(self):
        return True

    def readinto(self, buffer):
        part = self.inner.read(min(len(buffer), self.piece))
        buffer[: len(part)] = part
        return len(part)


class Bare:
    """Nothing but `read`."""

    def __init__(self, *pieces):
        self.pieces = list(pieces)

    def read(self, count):
        piece = self.pieces.pop(0) if self.pieces else b""
        if isinstance(piece, Exception):
            raise piece
        return piece


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("make", [io.BytesIO, OneWay, Bare])
def test_a_stream_is_read_as_its_file(tmp_path, kind, make):
    content = FORMS[kind]
    (tmp_path / f"a.{kind}").write_bytes(content)
    file, found = read(tmp_path / f"a.{kind}"), read(make(content))
    assert np.array_equal(file.signal, found.signal) and file.leads == found.leads and file.notes == found.notes
    assert found.source == "<stream>" and found.sampling_rate == 500
    assert np.array_equal(prepare(make(content)).x, prepare(file).x)


def test_a_stream_is_read_from_where_it_stands():
    stream = io.BytesIO(b"before" + npz())
    stream.seek(6)
    assert read(stream).samples == X.shape[1]
    with pytest.raises(FormatError, match=r"<stream>: the stream is at its end, at byte [\d,]+. Go back .*seek\(0\)"):
        read(stream)


def test_open_files_keep_their_name(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(npz())
    with open(path, "rb") as file:
        assert read(file).source == str(path)
    with open(path, "rb") as file:
        [(name, one)] = expand(file)
        assert name == str(path) and one is file
        [(name, _)] = expand([file])
        assert name == str(path)


def test_streams_through_predict():
    model = ecgfm.inference.opening.shipped_model
    with model() as directory:
        model = ecgfm.load(directory)
    made = ecgfm.predict(model, [io.BytesIO(npz()), OneWay(CSV), io.BytesIO(b"")], on_error=lambda *_: None)
    assert list(made.records["file"]) == ["record_0", "record_1"] and "empty" in made.errors["error"][0]
    alone = ecgfm.predict(model, io.BytesIO(npz()))
    assert alone.records[model.labels[0]][0] == made.records[model.labels[0]][0]


@pytest.mark.parametrize(
    "stream, words",
    [
        (io.StringIO("I,II\n"), "a stream of text. Open it for bytes"),
        (io.BytesIO(), "<stream>: the stream is empty"),
        (Bare(None), "the stream gives NoneType, not bytes"),
        (Bare(7), "the stream gives int, not bytes"),
        (Bare(b"PK", OSError("gone")), "the stream can't be read: gone"),
        (Bare(RuntimeError("not open")), "the stream can't be read: not open"),
        (Bare(zipfile.BadZipFile("Bad CRC-32")), "the stream can't be read: Bad CRC-32"),
        (io.BytesIO(b"no recording"), "<stream>: not a recording in a format that is known"),
        (io.BytesIO(npz()[:500]), "<stream>: .*zip"),
    ],
)
def test_streams_that_are_no_recording(stream, words):
    with pytest.raises(FormatError, match=words) as caught:
        read(stream)
    assert tempfile.gettempdir() not in str(caught.value) and caught.value.path == "<stream>"


def test_a_closed_stream():
    stream = io.BytesIO(npz())
    stream.close()
    with pytest.raises(FormatError, match="can't be read: .*closed"):
        read(stream)


class Endless:
    """Gives bytes for ever, and counts them."""

    def __init__(self, head):
        self.head, self.given = head, 0

    def read(self, count):
        piece = self.head.ljust(count, b"\0") if not self.given else bytes(count)
        self.given += len(piece)
        return piece


def test_streams_without_end(monkeypatch):
    noise = Endless(b"\1\2\3")
    with pytest.raises(FormatError, match="format that is known"):
        read(noise)
    assert noise.given <= 1 << 20  # refused by its beginning
    monkeypatch.setattr(streams, "_MOST", 1 << 22)
    endless = Endless(b"PK\3\4")
    with pytest.raises(FormatError, match="more than 4,194,304 bytes from a stream. Save it as a file"):
        read(endless)
    assert endless.given <= 5 << 20


def test_nothing_stays_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for content in (npz(), b"no recording"):
        try:
            read(io.BytesIO(content))
        except FormatError:
            pass
    assert not os.listdir(tmp_path)


def test_a_header_whose_files_lie_elsewhere(tmp_path):
    write_wfdb(tmp_path / "a.hea", counts())
    with open(tmp_path / "a.hea", "rb") as file, pytest.raises(FormatError, match="a WFDB header.*Give the path"):
        read(file)


def test_paths_of_every_kind(tmp_path, monkeypatch):
    pandas = pytest.importorskip("pandas")
    write_wfdb(tmp_path / "a.hea", counts())
    write_wfdb(tmp_path / "b.hea", counts())
    names = [str(tmp_path / "a"), str(tmp_path / "b.hea")]
    expected = [read(name).signal for name in names]
    for held in (
        names,
        tuple(map(Path, names)),
        np.array(names),
        np.array(list(map(Path, names)), object),
        pandas.Series(names),
        pandas.Series(list(map(Path, names))),
        pandas.DataFrame({"path": names, "age": [1, 2]}),
        (name for name in names),
    ):
        got = [read(one) for _, one in expand(held)]
        assert all(np.array_equal(one.signal, other) for one, other in zip(got, expected)) and len(got) == 2
    monkeypatch.chdir(tmp_path)
    for one in ("a", Path("a"), b"a", "./a.hea"):
        assert np.array_equal(prepare(one).x, prepare(names[0]).x)
    with pytest.raises(FormatError, match="no such file"):
        prepare("missing")


@pytest.mark.parametrize("take", [read, prepare])
def test_units_of_files(tmp_path, take):
    np.save(tmp_path / "a.npy", X * 1000)
    made = take(tmp_path / "a.npy", 500, unit="uV")
    notes = made.notes if take is read else made.provenance["notes"]
    assert "unit assumed: mV" not in notes
    write_wfdb(tmp_path / "a.hea", counts())
    with pytest.raises(ecgfm.SignalError, match="the file says mV; given was uV"):
        take(tmp_path / "a.hea", unit="uV")
    with pytest.raises(LeadError, match="none|names|says"):
        take(tmp_path / "a.hea", leads=["V1"] * 1)

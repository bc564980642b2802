"""Results that are written as they come: what stands in the files at every moment, and going on where a run ended."""

import csv
import gc
import json
import os
import tracemalloc
import warnings

import numpy as np
import pytest
from fakes import FakeModel

import ecgfm
from ecgfm import ConfigError, Error, FormatError
from ecgfm.ecg import simulate
from ecgfm.inference import embed_to, predict, predict_to
from ecgfm.storage.growing import Growing

FILES = ("p.csv", "p.segments.csv", "p.status.csv", "p.run.json")


class Breaks(FakeModel):
    """Stands for Ctrl-C in the midst of a batch."""

    def __init__(self, after):
        super().__init__()
        self.after = after

    def __call__(self, x, padding_mask=None):
        if len(self.batches) == self.after:
            raise KeyboardInterrupt
        return super().__call__(x, padding_mask)


@pytest.fixture
def folder(tmp_path):
    """Eight recordings of one or two segments, among them one that is damaged; "0, x" needs quoting in a table."""
    made = tmp_path / "recordings"
    made.mkdir()
    for i in range(8):
        record = simulate(6.0 + 5 * (i % 2), 500, seed=i)
        np.savez(made / f"{i}, x.npz", signal=record.signal, sampling_rate=500, leads=record.leads)
    (made / "5, x.npz").write_bytes(b"PK\x03\x04 and no more")
    return made


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def quietly(function, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **options)


def assert_same_tables(one, other):
    """Numbers within rounding: what shares a batch differs after a break."""
    one, other = rows(one), rows(other)
    assert [list(row) for row in one] == [list(row) for row in other]
    for a, b in zip(one, other):
        for name in a:
            try:
                assert float(a[name]) == pytest.approx(float(b[name]), abs=1e-6)
            except ValueError:
                assert a[name] == b[name]


@pytest.mark.parametrize("readers", [0, 1, 2, 5])
def test_files_hold_what_predict_gives(folder, tmp_path, readers):
    seen = []
    out = tmp_path / "p.csv"
    written = quietly(
        predict_to, FakeModel(), folder, out, batch_size=3, readers=readers, progress=lambda *args: seen.append(args)
    )
    expected = quietly(predict, FakeModel(), folder, batch_size=3, readers=0)
    assert out.read_text() == expected.records.to_csv()
    assert (tmp_path / "p.segments.csv").read_text() == expected.segments.to_csv()
    assert (written.records, written.segments, written.resumed, written.skipped) == (7, 10, 0, 1)
    assert written.paths == tuple(str(tmp_path / name) for name in FILES[:3])
    assert sorted(set(os.listdir(tmp_path)) - {"recordings"}) == sorted(FILES)
    status = rows(tmp_path / "p.status.csv")
    assert [row["status"] for row in status].count("done") == 7 and len(status) == 8
    (bad,) = [row for row in status if row["status"] == "skipped"]
    assert bad["file"].endswith("5, x.npz") and bad["segments"] == "0" and bad["error"]
    assert [count for count, _ in seen] == list(range(1, 9))


@pytest.mark.parametrize("after", [0, 1, 2, 3, 4])
def test_a_run_that_was_broken_off_goes_on(folder, tmp_path, after):
    whole, out = tmp_path / "whole.csv", tmp_path / "p.csv"
    quietly(predict_to, FakeModel(), folder, whole, batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        quietly(predict_to, Breaks(after), folder, out, batch_size=2)
    assert not out.exists() and os.path.exists(f"{out}.part") == (after > 0)
    done = len(rows(f"{out}.part")) if after else 0
    model = FakeModel()
    written = quietly(predict_to, model, folder, out, batch_size=2, resume=True)
    assert written.resumed == done and (after == 0) == (done == 0)
    assert sum(shape[0] for shape in model.batches) == 10 - sum(int(r["segments"]) for r in rows(out)[:done])
    assert_same_tables(out, whole)
    assert_same_tables(tmp_path / "p.segments.csv", tmp_path / "whole.segments.csv")
    assert sorted(row["file"] for row in rows(tmp_path / "p.status.csv")) == sorted(
        row["file"] for row in rows(tmp_path / "whole.status.csv")
    )
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".part")]


@pytest.mark.parametrize("cut", [1, 7, 30, 200])
def test_what_was_half_written_is_dropped(folder, tmp_path, cut):
    """As after a power cut: the status table ends in the midst of a line, the others are ahead of it."""
    whole, out = tmp_path / "whole.csv", tmp_path / "p.csv"
    quietly(predict_to, FakeModel(), folder, whole, batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        quietly(predict_to, Breaks(4), folder, out, batch_size=2)
    part = tmp_path / "p.status.csv.part"
    os.truncate(part, max(part.stat().st_size - cut, 0))
    for name in FILES[:2]:
        with open(tmp_path / f"{name}.part", "a") as file:
            file.write('"half a row, ')
    quietly(predict_to, FakeModel(), folder, out, batch_size=2, resume=True)
    assert_same_tables(out, whole)
    assert_same_tables(tmp_path / "p.segments.csv", tmp_path / "whole.segments.csv")


def test_a_finished_run_takes_more_recordings(folder, tmp_path):
    files = [str(path) for path in sorted(folder.iterdir())]
    out = tmp_path / "p.csv"
    quietly(predict_to, FakeModel(), files[:3], out)
    before = out.read_text()
    model = FakeModel()
    written = quietly(predict_to, model, files, out, resume=True)
    assert written.resumed == 3 and written.records == 7 and out.read_text().startswith(before)
    nothing = FakeModel()
    again = quietly(predict_to, nothing, files, out, resume=True)
    assert again.resumed == 7 and nothing.batches == [] and again.skipped == 1  # the bad one is tried again
    # Once mended, it is done.
    record = simulate(6.0, 500, seed=5)
    np.savez(files[5], signal=record.signal, sampling_rate=500, leads=record.leads)
    assert predict_to(FakeModel(), files, out, resume=True).records == 8
    assert [row["status"] for row in rows(tmp_path / "p.status.csv")] == ["done"] * 8


@pytest.mark.parametrize("break_first", [False, True])
def test_embeddings_go_on(folder, tmp_path, break_first):
    out, whole = tmp_path / "e.npy", tmp_path / "whole.npy"
    files = [str(path) for path in sorted(folder.iterdir())]
    quietly(embed_to, FakeModel(), files, whole, batch_size=2)
    if break_first:
        with pytest.raises(KeyboardInterrupt):
            quietly(embed_to, Breaks(2), files, out, batch_size=2)
        with open(f"{out}.part", "ab") as file:
            file.write(b"some bytes of a row")
    else:
        quietly(embed_to, FakeModel(), files[:4], out, batch_size=2)
    quietly(embed_to, FakeModel(), files, out, batch_size=2, resume=True)
    np.testing.assert_allclose(np.load(out), np.load(whole), rtol=1e-6)
    assert (tmp_path / "e.csv").read_text() == (tmp_path / "whole.csv").read_text()


def test_resuming_nothing_begins(folder, tmp_path):
    assert quietly(predict_to, FakeModel(), folder, tmp_path / "p.csv", resume=True).resumed == 0


def test_another_run_can_not_be_continued(folder, tmp_path):
    out = tmp_path / "p.csv"
    quietly(predict_to, FakeModel(), folder, out)
    before = out.read_text()
    other = FakeModel()
    other.source = "other.pt"
    for model, options, field in (
        (other, {}, "model"),
        (FakeModel(), {"aggregate": "max"}, "aggregate"),
        (FakeModel(), {"overlap_s": 1.0}, "reading"),
    ):
        with pytest.raises(ConfigError) as caught:
            predict_to(model, folder, out, resume=True, **options)
        assert caught.value.field == field and "was made with" in str(caught.value)
        assert out.read_text() == before
    assert quietly(predict_to, FakeModel(), folder, out, resume=True, batch_size=1, readers=0).resumed == 7


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda path: (path / "p.run.json").write_text("{"), "settings of the earlier run can't be read"),
        (lambda path: (path / "p.run.json").unlink(), "settings of the earlier run can't be read"),
        (lambda path: (path / "p.segments.csv").unlink(), "the file is missing"),
        (lambda path: (path / "p.segments.csv").write_text("file\na\n"), "it has 1 whole rows"),
        (
            lambda path: (path / "p.status.csv").write_text("file,status,segments,error,fingerprint\na,done,x,,\n"),
            "invalid literal",
        ),
    ],
)
def test_damaged_files_can_not_be_continued(folder, tmp_path, damage, words):
    quietly(predict_to, FakeModel(), folder, tmp_path / "p.csv")
    damage(tmp_path)
    with pytest.raises(FormatError, match=words) as caught:
        predict_to(FakeModel(), folder, tmp_path / "p.csv", resume=True)
    assert "Begin anew" in str(caught.value)


def test_damaged_arrays_can_not_be_continued(folder, tmp_path):
    quietly(embed_to, FakeModel(), folder, tmp_path / "e.npy")
    whole = (tmp_path / "e.npy").read_bytes()
    for raw in (whole[:-200], b"nothing of NumPy's", whole.replace(b"False", b"True ")):
        (tmp_path / "e.npy").write_bytes(raw)
        with pytest.raises(FormatError):
            embed_to(FakeModel(), folder, tmp_path / "e.npy", resume=True)
        for name in os.listdir(tmp_path):
            if name.endswith(".part"):
                os.unlink(tmp_path / name)


def test_two_runs_at_a_time(folder, tmp_path):
    path = str(tmp_path / "p.csv")
    with Growing(path, {path: "record"}, {}):
        with pytest.raises(ConfigError, match="another run is using these files"):
            predict_to(FakeModel(), folder, path)


def test_a_run_without_a_result_leaves_nothing_and_keeps_the_old(tmp_path):
    out = tmp_path / "p.csv"
    out.write_text("old")
    with pytest.raises(Error, match="no such file"):
        predict_to(FakeModel(), [tmp_path / "absent.npz"], out)
    with pytest.raises(ConfigError, match="no recordings were given"):
        predict_to(FakeModel(), [], out)
    assert out.read_text() == "old" and os.listdir(tmp_path) == ["p.csv"]


def test_links_are_followed_and_devices_refused(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "q.csv").write_text("old")
    (tmp_path / "p.csv").symlink_to(tmp_path / "elsewhere" / "q.csv")
    quietly(predict_to, FakeModel(), folder, tmp_path / "p.csv")
    assert (tmp_path / "p.csv").is_symlink() and len(rows(tmp_path / "elsewhere" / "q.csv")) == 7
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(ConfigError, match="not an ordinary file"):
        predict_to(FakeModel(), folder, tmp_path / "pipe.csv")
    with pytest.raises(ConfigError, match="not an ordinary file"):  # also where it leads to one
        predict_to(FakeModel(), folder, "/dev/stdout")
    assert [name for name in os.listdir("/dev") if name.startswith("stdout")] == ["stdout"]


def test_a_full_disk(folder, tmp_path, monkeypatch):
    from ecgfm.storage import growing_files

    def full(self, raw):
        raise OSError(28, "No space left on device", self.path)

    monkeypatch.setattr(growing_files.GrowingTable, "write", full)
    with pytest.raises(OSError, match="No space left on device"):
        predict_to(FakeModel(), folder, tmp_path / "p.csv")
    assert not (tmp_path / "p.csv").exists()


def test_settings_are_written_down(folder, tmp_path):
    quietly(predict_to, FakeModel(), folder, tmp_path / "p.csv", missing_leads="zero", only_leads=("I", "II"))
    said = json.loads((tmp_path / "p.run.json").read_text())
    assert said["ecgfm"] == ecgfm.__version__ and said["model"]["source"] == "fake.pt"
    assert said["reading"] == {"missing_leads": "zero", "only_leads": ["I", "II"]}


def test_wrong_on_error(folder, tmp_path):
    with pytest.raises(ConfigError, match="on_error"):
        predict_to(FakeModel(), folder, tmp_path / "p.csv", on_error="ignore")
    with pytest.raises(FormatError, match="5, x.npz"):
        predict_to(FakeModel(), folder, tmp_path / "p.csv", on_error="raise")
    assert os.path.exists(tmp_path / "p.csv.part")  # what was done before is not lost


def test_names_that_are_no_text(tmp_path):
    """Bytes that no encoding knows travel through the status table and back."""
    made = tmp_path / "recordings"
    made.mkdir()
    for i in range(2):
        record = simulate(6.0, 500, seed=i)
        name = os.fsdecode(os.path.join(os.fsencode(made), b"\xff\xfe %d.npz" % i))
        with open(name, "wb") as file:
            np.savez(file, signal=record.signal, sampling_rate=500, leads=record.leads)
    predict_to(FakeModel(), made, tmp_path / "p.csv")
    model = FakeModel()
    assert predict_to(model, made, tmp_path / "p.csv", resume=True).resumed == 2 and model.batches == []


def test_memory_does_not_grow_with_the_number_of_files(folder, tmp_path):
    class Light(FakeModel):
        def __call__(self, x, padding_mask=None):
            self.batches.clear()
            return super().__call__(np.asarray(x)[:, :, ::100], padding_mask)

    held = []

    def look(done, file):
        if done in (100, 340):
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])

    files = [str(folder / "0, x.npz")] * 340
    tracemalloc.start()
    try:
        predict_to(Light(), files, tmp_path / "p.csv", readers=0, progress=look)
    finally:
        tracemalloc.stop()
    assert held[1] < held[0] + 240 * 100, held  # less than one array for each

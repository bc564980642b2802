"""Manifests of segments: those of one recording are aggregated where something says so, and else it is said."""

import csv
import os

import numpy as np
import pytest
from fakes import FakeModel

from ecgfm import LEADS, evaluate, predict
from ecgfm.data.mat import mat_bytes
from ecgfm.ecg import simulate
from ecgfm.inference import embed, predict_to, saliency_to
from ecgfm.io.inputs import expand
from ecgfm.io.segment_files import recording_names


def save(path, seed, idx=None, segment=None, bad=False):
    x = simulate(5.0, 500, seed=seed).signal.astype(np.float64)
    x = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)
    if bad:
        x[3, 7] = np.nan
    fields = {"feats": x, "curr_sample_rate": 500, "curr_sample_size": 2500, "mean": np.zeros((12, 1))}
    fields["std"] = np.ones((12, 1))
    if idx is not None:
        fields["idx"] = idx
    if segment is not None:
        fields["segment_i"] = segment
    path.write_bytes(b"".join(bytes(piece) for piece in mat_bytes(fields)))


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "processed" / "segmented"
    made.mkdir(parents=True)
    return made


def manifest(folder, names, head=None):
    path = folder.parent.parent / "test.tsv"
    path.write_text(f"\t{head or folder}/\n" + "".join(f"{name}\t2500\n" for name in names))
    return path


def names(result):
    return [os.path.basename(file) for file in result.records["file"]]


def test_segments_of_one_recording_are_aggregated(folder, tmp_path):
    for i in range(12):
        save(folder / f"a_{i}.mat", i, idx=7, segment=i)
    save(folder / "b_0.mat", 50, idx=8, segment=0)
    listed = ["a_0.mat", "a_1.mat", "a_10.mat", "a_11.mat", "b_0.mat", *(f"a_{i}.mat" for i in range(2, 10))]
    path = manifest(folder, listed)
    found = predict(FakeModel(), path)
    assert names(found) == ["a.mat", "b_0.mat"] and found.records["segments"].tolist() == [12, 1]
    files = [str(folder / f"a_{i}.mat") for i in range(12)]
    apart = predict(FakeModel(), files)
    np.testing.assert_allclose(found.segments.probabilities[:12], apart.segments.probabilities, rtol=1e-6)
    assert found.segments.start_s[:12].tolist() == [5.0 * i for i in range(12)]
    mean = apart.segments.probabilities.astype(np.float64).mean(axis=0)
    assert found.records.probabilities[0, 1] == pytest.approx(mean[1], abs=1e-6)
    assert found.records["duration_s"].tolist() == [60.0, 5.0]
    assert "12 files of segments are one recording" in found.records["notes"][0]
    assert len(embed(FakeModel(), path).records) == 2
    predict_to(FakeModel(), [path], tmp_path / "p.csv")
    with open(tmp_path / "p.csv", newline="") as file:
        assert [row["segments"] for row in csv.DictReader(file)] == ["12", "1"]
    again = predict_to(model := FakeModel(), [path], tmp_path / "p.csv", resume=True)
    assert again.resumed == 2 and model.batches == []
    save(folder / "a_5.mat", 99, idx=7, segment=5)
    assert predict_to(FakeModel(), [path], tmp_path / "p.csv", resume=True).resumed == 1


def test_names_alone_say_nothing(folder):
    for i in range(3):
        save(folder / f"visit_{i}.mat", i, idx=i, segment=0)  # three recordings, one segment each
        save(folder / f"plain_{i}.mat", i)
        np.savez(folder / f"r_{i}.npz", signal=simulate(6, 500, seed=i).signal, sampling_rate=500, leads=LEADS)
    listed = [f"{stem}_{i}.{end}" for stem, end in (("visit", "mat"), ("plain", "mat"), ("r", "npz")) for i in range(3)]
    found = predict(FakeModel(), manifest(folder, listed))
    assert names(found) == listed and set(found.records["segments"].tolist()) == {1}
    assert all("taken as a recording of its own" in note for note in found.records["notes"])


def test_what_does_not_belong_stays_apart(folder):
    for i in range(3):
        save(folder / f"a_{i}.mat", i, idx=7, segment=i)
    save(folder / "a_3.mat", 9, idx=8, segment=3)
    (folder / "a_4.mat").write_bytes(b"damaged")
    found = predict(FakeModel(), manifest(folder, [f"a_{i}.mat" for i in range(5)]), on_error=lambda *args: None)
    assert names(found) == ["a.mat", "a_3.mat"] and found.records["segments"].tolist() == [3, 1]
    assert [os.path.basename(file) for file in found.errors["file"]] == ["a_4.mat"]


@pytest.mark.parametrize("table", ["segmented.csv", "segmented_split.csv"])
def test_the_table_of_segments_says_it(folder, table):
    for i in range(2):
        np.savez(folder / f"x_{i}.npz", signal=simulate(5, 500, seed=i).signal, sampling_rate=500, leads=LEADS)
        np.savez(folder / f"y_{i}.npz", signal=simulate(5, 500, seed=i).signal, sampling_rate=500, leads=LEADS)
    lines = ["path,save_file,sample_size", "x_0.npz,x.mat,2500", f"{folder}/x_1.npz,x.mat,2500"]
    lines += ["y_0.npz,y_0.mat,2500", "y_1.npz,y_1.mat,2500"]
    (folder.parent / table).write_text("\n".join(lines) + "\n")
    found = predict(FakeModel(), manifest(folder, ["x_0.npz", "x_1.npz", "y_0.npz", "y_1.npz"]))
    assert names(found) == ["x.mat", "y_0.npz", "y_1.npz"] and found.segments.start_s.tolist() == [0, 5, 0, 0]


def test_the_table_of_segments_itself_is_a_list(folder, monkeypatch):
    for i in range(2):
        save(folder / f"x_{i}.mat", i)
        np.savez(folder / f"visit_{i}.npz", signal=simulate(5, 500, seed=i).signal, sampling_rate=500, leads=LEADS)
    table = folder.parent / "segmented.csv"
    table.write_text(f"path,save_file,sample_size\n{folder}/x_0.mat,x.mat,2500\n{folder}/x_1.mat,x.mat,2500\n")
    found = predict(FakeModel(), table)
    assert names(found) == ["x.mat"] and found.records["segments"].tolist() == [2]
    listed = folder.parent / "list.txt"
    listed.write_text(f"{folder}/visit_0.npz\n{folder}/visit_1.npz\n{folder}/x_1.mat\n{folder}/x_0.mat\n")
    found = predict(FakeModel(), listed)
    assert names(found) == ["visit_0.npz", "visit_1.npz", "x.mat"] and "taken as" not in found.records["notes"][0]


def test_a_bad_segment_is_named(folder):
    for i in range(3):
        save(folder / f"a_{i}.mat", i, idx=7, segment=i, bad=i == 1)
    save(folder / "b_0.mat", 5, idx=8, segment=0)
    found = predict(
        FakeModel(), manifest(folder, ["a_0.mat", "a_1.mat", "a_2.mat", "b_0.mat"]), on_error=lambda *a: None
    )
    assert names(found) == ["b_0.mat"] and "a_1.mat" in found.errors["error"][0]


@pytest.mark.parametrize("content", [b"\xff\xfe", b'path,save_file\n"', b"a,b\n1,2\n", b"path,save_file\nx,\n", b""])
def test_damaged_tables_are_passed_over(folder, content):
    for i in range(2):
        save(folder / f"a_{i}.mat", i, idx=7, segment=i)
    (folder.parent / "segmented.csv").write_bytes(content)
    assert names(predict(FakeModel(), manifest(folder, ["a_0.mat", "a_1.mat"]))) == ["a.mat"]


def test_files_given_one_by_one_stay_what_they_are(folder):
    for i in range(2):
        save(folder / f"a_{i}.mat", i, idx=7, segment=i)
    assert len(list(expand([str(folder / "a_0.mat"), str(folder / "a_1.mat")]))) == 2


def test_saliency_is_drawn_on_them(folder, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra [plot]")
    from ecgfm.view.plot import SaliencyPlots

    class Attentive(FakeModel):
        def __call__(self, x, padding_mask=None, attention=False):
            weights = np.abs(np.asarray(x)[:, :1, :156, None] * np.asarray(x)[:, :1, None, :156])
            return type("Output", (), {"attention": weights})

    for i in range(2):
        save(folder / f"a_{i}.mat", i, idx=7, segment=i)
    draw = SaliencyPlots(tmp_path)
    saliency_to(Attentive(), manifest(folder, ["a_1.mat", "a_0.mat"]), tmp_path / "s.npy", on_done=draw)
    assert len(draw.paths) == 1 and os.path.getsize(draw.paths[0]) > 1000


def test_recordings_of_a_manifest_are_the_same_in_evaluate(folder):
    """Names that differ in a number are believed only where the files say it, each recording for itself."""
    for i in range(2):
        save(folder / f"a_{i}.mat", i, idx=7, segment=i)
        save(folder / f"visit_{i}.mat", 10 + i)  # no number of a recording: nothing says what they are of
        save(folder / f"exam_{i}.mat", 20 + i, idx=20 + i, segment=0)
    save(folder / "b_0.mat", 50, idx=8, segment=0)
    listed = [f"{stem}_{i}.mat" for stem in ("a", "visit", "exam") for i in range(2)] + ["b_0.mat"]
    files = [str(folder / name) for name in listed]
    found = [os.path.basename(name) for name in recording_names(str(manifest(folder, listed)), files)]
    assert found == ["a.mat", "a.mat", "visit_0.mat", "visit_1.mat", "exam_0.mat", "exam_1.mat", "b.mat"]
    y = np.eye(7, len(FakeModel().labels))
    y[1] = y[0]
    records = evaluate(FakeModel(), manifest(folder, listed), y, bootstrap=0).predictions["record"]
    assert [os.path.basename(name) for name in records] == [*dict.fromkeys(found[:-1]), "b_0.mat"]

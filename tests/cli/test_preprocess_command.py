"""``ecgfm preprocess`` and ``ecgfm pack``: arguments, exit status, what is said."""

import data_sets
import numpy as np
import pytest

from ecgfm.data import open_packed, read_mat


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw/training"
    for i in range(6):
        data_sets.wfdb_record(folder / f"set{i % 2}/g1", f"r{i}", data_sets.signal(11, seed=i))
    return folder


def test_from_raw_to_batches(run, raw, tmp_path):
    """The commands in the order in which they are used."""
    out = tmp_path / "out"
    done = run("preprocess", "physionet2021", "--raw_root", raw, "--processed_root", out)
    assert (done.status, done.err) == (0, "") and done.out == f"6 recordings, 12 segments in {out}\n"
    done = run("preprocess", "physionet2021", "--raw_root", raw, "--processed_root", out, "--no_parallel")
    assert done.out == f"6 recordings, 6 of them by an earlier run, 12 segments in {out}\n"
    assert (
        run(
            "splits",
            "--strategy",
            "random",
            "--processed_root",
            out,
            "--fractions",
            "0.5,0.5",
            "--split_labels",
            "train,valid",
        ).status
        == 0
    )
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    assert run("manifests", "--split_file_paths", out / "segmented_split.csv", "--save_dir", manifests).status == 0
    done = run("pack", manifests / "train.tsv", manifests / "valid.tsv")
    assert done.status == 0 and f"6 segments in {manifests / 'train.npy'}\n" in done.out
    packed = open_packed(manifests / "train.npy")
    lines = (manifests / "train.tsv").read_text().splitlines()
    for i, line in enumerate(lines[1:]):
        path = f"{lines[0].strip()}{line.split()[0]}"
        fields = read_mat(path)
        np.testing.assert_array_equal(packed.x[i], fields["feats"].astype(np.float32))
        assert (packed.idx[i], packed.segment_i[i]) == (fields["idx"].item(), fields["segment_i"].item())
        assert path.endswith(f"{packed.save_file[i][:-4]}_{packed.segment_i[i]}.mat")
    assert run("pack", manifests / "train.tsv").status == 2  # it is there

    run("preprocess", "physionet2021", "--raw_root", raw, "--processed_root", tmp_path / "fused", "--packed")
    again = tmp_path / "again"
    again.mkdir()
    source = tmp_path / "fused/packed/all.npy"
    done = run("pack", "--packed", source, "--splits", out / "meta_split.csv", "--save_dir", again)
    assert done.status == 0
    for split in ("train", "valid"):
        one, other = open_packed(manifests / f"{split}.npy"), open_packed(again / f"{split}.npy")
        order = np.lexsort((one.segment_i, one.idx))
        np.testing.assert_array_equal(one.x[order], other.x)
        np.testing.assert_array_equal(one.idx[order], other.idx)


def test_drawn_splits(run, tmp_path):
    folder = tmp_path / "raw"
    for i in range(12):
        data_sets.wfdb_record(folder, f"r{i:02}", data_sets.signal(6, seed=0))
    rows = [{"path": f"r{i:02}.hea", "patient": i // 2} for i in range(12)]
    data_sets.write_table(tmp_path / "table.csv", rows)
    argv = ["preprocess", "files", "--raw_root", folder, "--table", tmp_path / "table.csv"]
    argv += ["--fractions", "0.5,0.5", "--split_labels", "a,b", "--group_col", "patient"]
    found = {}
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        assert run(*argv, "--processed_root", tmp_path / name, "--seed", seed).status == 0
        found[name] = [open_packed(tmp_path / name / f"packed/{split}.npy").idx.tolist() for split in "ab"]
        table = data_sets.read_table(tmp_path / name / "packed/splits.csv")
        assert {row["save_file"]: row["split"] for row in table} == {
            f"files_r{i:02}.mat": "ab"[i in found[name][1]] for i in range(12)
        }
        patients = [{i // 2 for i in half} for half in found[name]]
        assert not patients[0] & patients[1] and sorted(sum(found[name], [])) == list(range(12))
    assert found["one"] == found["two"] != found["three"]
    assert run(*argv, "--processed_root", tmp_path / "one", "--seed", 3).status == 0  # drawn anew
    done = run(*argv[:-1], "nobody", "--processed_root", tmp_path / "four")
    assert done.status == 2 and "there is no column 'nobody'" in done.err


def test_options_of_the_original(run, raw, tmp_path):
    out = tmp_path / "out"
    (tmp_path / "shared").mkdir()
    done = run(
        "preprocess",
        "physionet2021",
        "--raw_root",
        raw,
        "--processed_root",
        out,
        "--manifest_file",
        tmp_path / "shared/all.csv",
        "--results_suffix",
        "_v2",
        "--dataset_subset",
        "set1",
        "--desired_sample_rate",
        250,
        "--segment_seconds",
        2.5,
        "--no_standardization",
        "--leads",
        "6, 0",
        "--constant_lead_strategy",
        "nan",
        "--nb_workers",
        2,
    )
    assert done.status == 0 and done.out.startswith("3 recordings, 12 segments")
    meta = data_sets.read_table(out / "meta_v2.csv")
    assert [row["idx"] for row in meta] == ["3", "4", "5"] and meta[0]["lead_order"] == "['I', 'V1']"
    assert (out / "segmented_v2.csv").exists() and (out / "errors_v2.csv").exists()
    assert len(data_sets.read_table(tmp_path / "shared/all.csv")) == 3
    part = read_mat(out / "segmented/physionet2021_set1_g1_r1_3.mat")
    assert part["feats"].shape == (2, 625) and "std" not in part
    done = run("preprocess", "physionet2021", "--processed_root", out, "--skip", "org", "--results_suffix", "_v2")
    assert done.status == 2 and "the folder holds a run with" in done.err


def test_what_is_skipped_is_said(run, raw, tmp_path):
    for path in raw.rglob("r[0-3].dat"):
        path.write_bytes(b"")
    done = run("preprocess", "physionet2021", "--raw_root", raw, "--processed_root", tmp_path / "out")
    assert done.status == 1 and done.out.startswith("2 recordings")
    assert done.err.count("ecgfm: skipped: ") == 4 and "4 recordings were skipped: " in done.err
    for path in raw.rglob("*.hea"):
        path.unlink()
    done = run("preprocess", "physionet2021", "--raw_root", raw, "--processed_root", tmp_path / "none")
    assert done.status == 2 and done.err.splitlines()[-1].startswith("ecgfm: error: ") and "none of the 6" in done.err


@pytest.mark.parametrize(
    "argv, text",
    [
        (["preprocess"], "SOURCE"),
        (["preprocess", "nothing"], "invalid choice"),
        (["preprocess", "files"], "--processed_root"),
        (["preprocess", "files", "--processed_root", "x"], "raw_root: it is not given"),
        (["preprocess", "files", "--processed_root", "x", "--raw_root", ".", "--leads", "I,II"], "are no numbers"),
        (
            ["preprocess", "files", "--processed_root", "x", "--raw_root", ".", "--leads", "12"],
            "no lead has the number 12",
        ),
        (["preprocess", "files", "--processed_root", "x", "--raw_root", ".", "--reader", "x"], "names no function"),
        (["preprocess", "files", "--processed_root", "x", "--raw_root", ".", "--reader", "x.py:f"], "can't be loaded"),
        (["preprocess", "files", "--processed_root", "x", "--raw_root", ".", "--fractions", "much"], "are not numbers"),
        (["preprocess", "files", "--processed_root", "x", "--raw_root", ".", "--group_col", "a"], "Give fractions"),
        (["pack"], "give manifests, or --packed and --splits"),
        (["pack", "--packed", "x.npy"], "give manifests, or --packed and --splits"),
        (["pack", "--packed", "x.npy", "--splits", "x.csv", "--save_dir", "."], "x.npy: no such file"),
        (["pack", "gone.tsv"], "gone.tsv"),
    ],
)
def test_what_can_not_be(run, tmp_path, monkeypatch, argv, text):
    monkeypatch.chdir(tmp_path)
    done = run(*argv)
    assert done.status == 2 and text in done.err and len(done.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_damaged_segments_are_not_packed(run, raw, tmp_path):
    out = tmp_path / "out"
    run("preprocess", "physionet2021", "--raw_root", raw, "--processed_root", out, "--stages", "segmented")
    names = sorted(path.name for path in (out / "segmented").iterdir())
    manifest = tmp_path / "train.tsv"
    manifest.write_text("\n".join([f"\t{out}/segmented/", *(f"{name}\t2500" for name in names)]) + "\n")
    victim = out / "segmented" / names[7]
    content = victim.read_bytes()
    for damaged in (content[:-900], None):
        victim.unlink() if damaged is None else victim.write_bytes(damaged)
        done = run("pack", manifest)
        assert done.status == 2 and names[7] in done.err
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "raw", "train.tsv"]
    victim.write_bytes(content)
    assert run("pack", manifest).status == 0 and len(open_packed(tmp_path / "train.npy")) == 12

"""splits, labels, manifests and subset, one after the other, as a user runs them."""

import json

import numpy as np
import pytest
from made_segments import segment, write_segment

from ecgfm.data import Dataset, Loader


@pytest.fixture
def root(tmp_path):
    """A processed data set: 30 records of 10 patients, 2 segments each."""
    folder = tmp_path / "data"
    (folder / "segmented").mkdir(parents=True)
    meta, segmented = ["idx,save_file,patient_id,AF,nan_any"], ["path,save_file,sample_size"]
    for i in range(30):
        meta.append(f"{i},r{i}.mat,{i % 10},{i % 3 == 0},{i == 29}")
        for k in range(2):
            path = folder / "segmented" / f"r{i}_{k}.mat"
            write_segment(path, segment(i, k), idx=i, number=k)
            segmented.append(f"{path},r{i}.mat,600")
    (folder / "meta.csv").write_text("\n".join(meta) + "\n")
    (folder / "segmented.csv").write_text("\n".join(segmented) + "\n")
    return folder


def test_from_tables_to_batches(run, root, tmp_path):
    done = run(
        "splits",
        "--strategy",
        "grouped",
        "--group_col",
        "patient_id",
        "--processed_root",
        root,
        "--filter_cols",
        "nan_any",
        "--fractions",
        "0.6,0.2,0.2",
        "--seed",
        "11",
    )
    assert done.status == 0 and "train: 18 records, 36 segments" in done.out and "seed 11" in done.out
    assert done.err == "ecgfm: left out 1 records with nan_any\n"
    assert json.loads((root / "meta_split_args.json").read_text())["seed"] == 11
    (tmp_path / "labels.csv").write_text("idx,AF\n" + "".join(f"{i},{int(i % 3 == 0)}\n" for i in range(29)))
    labels = tmp_path / "labels"
    done = run(
        "labels",
        "csv",
        "--labels",
        tmp_path / "labels.csv",
        "--meta_splits",
        root / "meta_split.csv",
        "--output_dir",
        labels,
    )
    assert done.status == 0 and "29 of 29 records labeled, 1 labels" in done.out and done.err == ""
    manifests = tmp_path / "manifests"
    done = run("manifests", "--split_file_paths", root / "segmented_split.csv", "--save_dir", manifests, "--cmsc")
    assert done.status == 0 and "train: 36 segments" in done.out and "train: 18 pairs" in done.out
    done = run("subset", "--manifest_dir", manifests, "--percent", "0.5", "--seed", "2")
    assert done.status == 0 and "9 of 18 records, 18 of 36 lines, seed 2" in done.out
    data = Dataset(manifests / "0.5" / "train", training=True, labels=labels / "y.npy", sample_rate=500)
    seen = []
    for batch in Loader(data, batch_size=8, required_batch_size_multiple=8):
        np.testing.assert_array_equal(batch.y[:, 0], batch.idx % 3 == 0)
        for x, i in zip(batch.x, batch.id):
            seen.append(data.segments.name(int(i)))
            record, k = map(int, seen[-1].rsplit("/r", 1)[1][:-4].split("_"))
            np.testing.assert_array_equal(x, segment(record, k).astype(np.float32))
    assert len(set(seen)) == 18


def test_pairs_from_plain_manifests(run, root, tmp_path):
    run("splits", "--strategy", "random", "--processed_root", root)
    run("manifests", "--split_file_paths", root / "segmented_split.csv", "--save_dir", tmp_path / "m")
    done = run("manifests", tmp_path / "m", "--dest", tmp_path / "p", "--ext", "mat", "--n-lead", "12")
    assert done.status == 0 and done.out.splitlines() == ["test: 3 pairs", "train: 24 pairs", "valid: 3 pairs"]


def test_code_15_labels(run, tmp_path):
    names = "is_male,1dAVb,RBBB,LBBB,SB,ST,AF,normal_ecg"
    (tmp_path / "meta.csv").write_text(f"idx,{names}\n0,True{',False' * 7}\n1{',False' * 7},True\n")
    done = run("labels", "code_15", "--processed_root", tmp_path)
    assert done.status == 0 and "2 of 2 records labeled, 8 labels" in done.out and "weight inf" in done.err
    assert sorted(path.name for path in (tmp_path / "labels").iterdir()) == [
        "label_def.csv",
        "labels.csv",
        "labels_args.json",
        "pos_weight.txt",
        "y.npy",
    ]
    assert (tmp_path / "labels" / "pos_weight.txt").read_text().count("inf") == 6
    assert run("labels", "code_15", "--processed_root", tmp_path, "--finite_weights").status == 0
    assert "inf" not in (tmp_path / "labels" / "pos_weight.txt").read_text()


def test_physionet2021_labels(run, tmp_path):
    (tmp_path / "meta.csv").write_text('idx,diagnosis\n0,"1,3"\n1,2\n')
    (tmp_path / "weights.csv").write_text(",1|2,3\n1|2,1,0\n3,0,1\n")
    (tmp_path / "names.csv").write_text(",A|B,C\nA|B,1,0\nC,0,1\n")
    argv = [
        "labels",
        "physionet2021",
        "--processed_root",
        tmp_path,
        "--weights_path",
        tmp_path / "weights.csv",
        "--weight_abbrev_path",
        tmp_path / "names.csv",
    ]
    assert run(*argv).status == 0
    assert (tmp_path / "labels" / "labels.csv").read_text() == "idx,A|B,C\n0,1,1\n1,1,0\n"
    assert run(*argv, "--uncombined", "--labels_path", tmp_path / "each" / "l.csv").status == 0
    assert (tmp_path / "each" / "l.csv").read_text() == "idx,A,B,C\n0,1,0,1\n1,0,1,0\n"
    assert np.load(tmp_path / "each" / "y.npy").tolist() == [[1, 0, 1], [0, 1, 0]]


def test_records_without_labels_are_reported(run, tmp_path):
    (tmp_path / "l.csv").write_text("idx,A\n0,1\n1,\n")
    (tmp_path / "s.csv").write_text("idx,split\n0,train\n1,train\n2,test\n")
    done = run(
        "labels",
        "csv",
        "--labels",
        tmp_path / "l.csv",
        "--output_dir",
        tmp_path / "o",
        "--meta_splits",
        tmp_path / "s.csv",
    )
    assert done.status == 1 and "1 of 3 records labeled" in done.out and "2 records have no labels" in done.err


def test_errors_are_one_line(run, root, tmp_path):
    (tmp_path / "m").mkdir()
    for argv, words in (
        (["splits", "--strategy", "clever", "--processed_root", root], ["clever"]),
        (["splits", "--strategy", "grouped", "--processed_root", root], ["grouped", "groups"]),
        (["splits", "--strategy", "random", "--processed_root", tmp_path / "no"], ["meta.csv"]),
        (["splits", "--strategy", "random", "--processed_root", root, "--seed", "-4"], ["seed", "-4"]),
        (["splits", "--strategy", "random", "--processed_root", root, "--fractions", "0.5,0.5"], ["split_labels"]),
        (["manifests"], ["MANIFEST_DIR", "--split_file_paths"]),
        (["manifests", "--split_file_paths", root / "segmented.csv", "--save_dir", tmp_path / "x"], ["split"]),
        (["manifests", "--split_file_paths", root / "segmented.csv"], ["--save_dir"]),
        (["manifests", tmp_path / "m"], ["no .tsv"]),
        (["subset", "--manifest_dir", tmp_path / "m", "--percent", "0.1"], ["train.tsv"]),
        (["subset", "--manifest_dir", tmp_path / "m", "--percent", "10"], ["percent"]),
        (["labels", "code_15", "--processed_root", root], ["meta.csv", "is_male"]),
        (["labels", "csv", "--labels", tmp_path / "no.csv", "--output_dir", tmp_path / "o"], ["no.csv"]),
    ):
        done = run(*argv)
        assert done.status == 2 and done.out == "" and done.err.count("\n") == 1, (argv, done.err)
        assert all(word in done.err for word in words), done.err
    assert not (tmp_path / "o").exists() and not (tmp_path / "x").exists()

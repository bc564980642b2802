"""Rows of labels, splits and manifests find their record by any key, and keys that contradict each other are
refused."""

import csv
import json

import numpy as np
import pytest

import ecgfm
from ecgfm.data import Labels, make_manifests, make_splits, prepare_labels, read_labels

META = """idx,path,save_file,dataset
0,/raw/p1/ecg.hea,files_p1_ecg.mat,a
1,/raw/p2/ecg.hea,files_p2_ecg.mat,a
2,/raw/x.xml,files_x.mat,a
3,/raw/x.dcm,files_x-2.mat,a
4,/raw/deep/exams.h5::17,files_deep_exams_17.mat,a
"""
SPLITS = "idx,save_file,split\n" + "".join(
    f"{i},{name},{'train' if i % 2 else 'valid'}\n"
    for i, name in enumerate(
        ["files_p1_ecg.mat", "files_p2_ecg.mat", "files_x.mat", "files_x-2.mat", "files_deep_exams_17.mat"]
    )
)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "meta.csv").write_text(META)
    (tmp_path / "meta_split.csv").write_text(SPLITS)
    return tmp_path


def y_of(root, text, **options):
    (root / "l.csv").write_text(text)
    options.setdefault("meta_splits", root / "meta_split.csv")
    prepare_labels(root / "l.csv", root / "out", **options)
    return np.load(root / "out/y.npy")[:, 0].astype(int).tolist()


@pytest.mark.parametrize("key", ["path", "file", "record", "save_file"])
@pytest.mark.parametrize(
    "names",
    [
        ["p2/ecg.hea", "/raw/p1/ecg.hea", "x.dcm", "deep/exams.h5::17", "x.xml"],
        ["p2/ecg", "raw/p1/ecg.dat", "/raw/x.dcm", "exams.h5::17", "./x.xml"],
        ["files_p2_ecg.mat", "files_p1_ecg", "files_x-2.mat", "files_deep_exams_17", "files_x.mat"],
    ],
)
def test_labels_by_name(root, key, names):
    text = f"{key},A\n" + "".join(f"{name},{value}\n" for name, value in zip(names, [1, 0, 1, 0, 0]))
    assert y_of(root, text) == [0, 1, 0, 1, 0]


@pytest.mark.parametrize("name", ["ecg.hea", "ecg", "x"])
def test_a_name_that_fits_several(root, name):
    with pytest.raises(ecgfm.FormatError, match=f"line 2: '{name}' fits 2 records") as caught:
        y_of(root, f"path,A\n{name},1\n")
    assert caught.value.field == "path"


@pytest.mark.parametrize("name", ["p3/ecg.hea", "/other/p1/ecg.hea", "y.xml", "x.edf", "ecg2"])
def test_a_name_of_no_record(root, name):
    with pytest.raises(ecgfm.LabelError, match="is not a record of .*meta.csv"):
        y_of(root, f"path,A\n{name},1\n")
    with pytest.warns(ecgfm.InputWarning, match="taken by idx alone"):
        y_of(root, f"idx,path,A\n1,{name},1\n")


def test_one_s_own_numbers_are_refused(root):
    text = "idx,path,A\n0,/raw/p2/ecg.hea,1\n1,/raw/p1/ecg.hea,0\n"
    with pytest.raises(ecgfm.FormatError, match="line 2: by path it is record 1, by idx record 0") as caught:
        y_of(root, text)
    assert "remove the column idx" in str(caught.value) and not (root / "out").exists()
    with pytest.raises(ecgfm.FormatError, match="by save_file it is record 2, by path record 1"):
        y_of(root, "save_file,path,A\nfiles_x.mat,p2/ecg.hea,1\n")
    with pytest.raises(ecgfm.FormatError, match="'gone.hea' is not a record of"):
        y_of(root, "idx,path,A\n0,/raw/p1/ecg.hea,1\n1,gone.hea,0\n")
    assert y_of(root, "idx,save_file,A\n1,files_p2_ecg.mat,1\n0,files_p1_ecg.mat,0\n") == [0, 1, 0, 0, 0]


def test_rows_of_unknown_records_are_counted(root, run_main):
    (root / "l.csv").write_text("path,A\np1/ecg.hea,1\ngone.hea,1\n")
    done = run_main(
        "labels",
        "csv",
        "--labels",
        root / "l.csv",
        "--meta_splits",
        root / "meta_split.csv",
        "--output_dir",
        root / "out",
    )
    assert done.status == 1 and "1 row of labels left out" in done.err
    assert np.load(root / "out/y.npy")[:, 0].tolist() == [1, 0, 0, 0, 0]


@pytest.fixture
def run_main(capsys):
    from types import SimpleNamespace

    from ecgfm.cli.main import main

    def call(*argv):
        status = main([str(arg) for arg in argv])
        out, err = capsys.readouterr()
        return SimpleNamespace(status=status, out=out, err=err)

    return call


def test_labels_without_any_key(root):
    with pytest.raises(ecgfm.FormatError, match="idx, save_file, path, file or record"):
        y_of(root, "name,A\nx,1\n")
    (root / "l.csv").write_text("path,A\nx.xml,1\n")
    with pytest.raises(ecgfm.FormatError, match="meta.csv"):
        read_labels(root / "l.csv")
    assert read_labels(root / "l.csv", root / "meta.csv").idx.tolist() == [2]


def test_splits_of_another_preprocessing(root):
    (root / "meta_split.csv").write_text("idx,save_file,split\n0,files_p2_ecg.mat,train\n1,files_p1_ecg.mat,train\n")
    with pytest.raises(ecgfm.FormatError, match="by save_file it is record 1, by idx record 0"):
        y_of(root, "idx,A\n0,1\n1,0\n")
    (root / "meta.csv").unlink()
    labels = Labels([0, 1], [[1], [0]], ["A"], path=root / "l.csv", save_file={0: "files_p1_ecg.mat"})
    with pytest.raises(ecgfm.FormatError, match="record 0 is 'files_p2_ecg.mat'"):
        prepare_labels(labels, root / "out", root / "meta_split.csv")


def test_splits_by_name(root):
    (root / "own.csv").write_text("file,split\np2/ecg.hea,train\nx.xml,valid\n")
    assert y_of(root, "path,A\np2/ecg.hea,1\n", meta_splits=root / "own.csv", meta=root / "meta.csv") == [0, 1, 0]


def test_labeled_segments_of_another_preprocessing(root):
    (root / "seg.csv").write_text("idx,save_file,split,path\n0,files_x.mat,train,a_0.mat\n")
    with pytest.raises(ecgfm.FormatError, match="line 2: record 0 is 'files_x.mat', elsewhere it is 'files_p1"):
        y_of(
            root,
            "idx,save_file,A\n0,files_p1_ecg.mat,1\n",
            segmented_splits=root / "seg.csv",
            labeled_segmented_splits_save_file=root / "s.csv",
        )


# ---- manifests


def segments(root, name, rows, columns="idx,save_file,split,path,sample_size"):
    (root / name).write_text("\n".join([columns, *rows]) + "\n")
    return root / name


def test_two_sources_that_count_from_0(tmp_path):
    one = segments(tmp_path, "a.csv", ["0,a.mat,train,/a/a_0.mat,10", "0,a.mat,train,/a/a_1.mat,10"])
    two = segments(tmp_path, "b.csv", ["0,b.mat,train,/b/b_0.mat,10"])
    with pytest.raises(ecgfm.FormatError, match="line 2: 'b.mat' is record 0, as 'a.mat' of .*a.csv is") as caught:
        make_manifests([one, two], tmp_path / "m")
    assert caught.value.field == "idx" and "--manifest_file" in str(caught.value)
    assert not (tmp_path / "m").exists()


def test_one_table_of_two_sources(tmp_path):
    both = segments(tmp_path, "a.csv", ["0.0,a.mat,train,/a/a_0.mat,10", "0,a.mat,train,/b/a_0.mat,10"])
    with pytest.raises(ecgfm.FormatError, match="record 0"):
        make_manifests([both], tmp_path / "m")


def test_one_record_with_two_numbers(tmp_path):
    one = segments(tmp_path, "a.csv", ["0,a.mat,train,/a/a_0.mat,10", "1,a.mat,train,/a/a_1.mat,10"])
    with pytest.raises(ecgfm.FormatError, match="of record 0 and of 1"):
        make_manifests([one], tmp_path / "m")


def test_numbers_without_names(tmp_path):
    one = segments(tmp_path, "a.csv", ["0,train,/a/a_0.mat,10", "0,train,/a/a_1.mat,10"], "idx,split,path,sample_size")
    two = segments(tmp_path, "b.csv", ["0,train,/b/b_0.mat,10"], "idx,split,path,sample_size")
    assert make_manifests([one], tmp_path / "m") == {"train": 2}
    with pytest.raises(ecgfm.FormatError, match="record 0"):
        make_manifests([one, two], tmp_path / "m")


@pytest.mark.parametrize("key", ["path", "file", "record"])
def test_segments_by_other_names(tmp_path, key):
    table = segments(tmp_path, "a.csv", ["train,/a/a_0.mat,10"], f"split,{key},sample_size")
    assert make_manifests([table], tmp_path / "m") == {"train": 1}


# ---- splits


@pytest.mark.parametrize("key", ["save_file", "path", "file", "record"])
def test_splits_of_a_table_by_name(tmp_path, key):
    (tmp_path / "meta.csv").write_text(f"{key},patient\n" + "".join(f"ward/r{i}.mat,{i}\n" for i in range(4)))
    (tmp_path / "segmented.csv").write_text(
        "path,save_file,sample_size\n/s/r1_0.mat,r1.mat,10\n/s/r9_0.mat,r9.mat,10\n"
    )
    done = make_splits(tmp_path, "random", fractions="0.5,0.5", split_labels="a,b")
    with open(tmp_path / "meta_split.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row[key] for row in rows] == [f"ward/r{i}.mat" for i in range(4)] and "idx" not in rows[0]
    with open(tmp_path / "segmented_split.csv", newline="") as file:
        (segment,) = csv.DictReader(file)
    assert segment["path"] == "/s/r1_0.mat" and segment["split"] == rows[1]["split"]
    assert done["segments"][rows[1]["split"]] == 1
    assert json.loads((tmp_path / "meta_split_args.json").read_text())["records"] == {"a": 2, "b": 2}


def test_splits_of_a_table_by_number(tmp_path):
    (tmp_path / "meta.csv").write_text("idx,patient\n0,1\n1,1\n2.0,2\n")
    assert make_splits(tmp_path, "random")["segments"] is None
    (tmp_path / "meta.csv").write_text("idx,patient\n2,1\n2.0,2\n")
    with pytest.raises(ecgfm.FormatError, match="idx: line 3: 2 stands twice"):
        make_splits(tmp_path, "random")

import csv
import json

import numpy as np
import pytest

import ecgfm
from ecgfm.data.tables.labels import code_15_labels, physionet2021_labels, read_labels
from ecgfm.data.tables.prepared_labels import prepare_labels

LABELS = "idx,AF,LBBB\n5,True,False\n0,1,0\n2,0.0,1.0\n3,,1\n"
SPLITS = "idx,save_file,split\n0,a.mat,train\n2,b.mat,train\n5,c.mat,valid\n3,d.mat,test\n7,e.mat,test\n"


@pytest.fixture
def tables(tmp_path):
    (tmp_path / "labels.csv").write_text(LABELS)
    (tmp_path / "meta_split.csv").write_text(SPLITS)
    segments = ["path,idx,split"] + [f"s{i}_{k}.mat,{i},x" for i in (3, 0, 5) for k in (0, 1)]
    (tmp_path / "segmented_split.csv").write_text("\n".join(segments) + "\n")
    return tmp_path


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_any_table(tables):
    before = (tables / "labels.csv").read_bytes()
    done = prepare_labels(
        tables / "labels.csv",
        tables,
        tables / "meta_split.csv",
        segmented_splits=tables / "segmented_split.csv",
        labeled_meta_splits_save_file=tables / "m.csv",
        labeled_segmented_splits_save_file=tables / "s.csv",
    )
    assert done == {"records": 5, "labeled": 3, "never": []}
    y = np.load(tables / "y.npy")
    assert y.dtype == np.float64
    assert y.tolist() == [[1, 0], [0, 0], [0, 1], [0, 0], [0, 0], [1, 0], [0, 0], [0, 0]]
    rows = table(tables / "label_def.csv")
    assert [row["name"] for row in rows] == ["AF", "LBBB"]
    assert rows[0]["pos_count_train"] == "1" and rows[0]["pos_percent_train"] == "0.5"
    assert rows[0]["pos_weight_valid"] == "0.0" and rows[1]["pos_weight_valid"] == "inf"
    assert rows[0]["pos_count_all"] == "2" and "pos_count_test" not in rows[0]
    assert (tables / "pos_weight.txt").read_text() == "[1.0,1.0]"
    assert [row["idx"] for row in table(tables / "m.csv")] == ["0", "2", "5"]
    assert [row["path"] for row in table(tables / "s.csv")] == ["s0_0.mat", "s0_1.mat", "s5_0.mat", "s5_1.mat"]
    assert (tables / "labels.csv").read_bytes() == before


def test_weights_of_labels_that_never_occur(tables):
    (tables / "labels.csv").write_text("idx,AF,LBBB\n0,1,0\n2,1,0\n5,0,1\n")
    for infinite, expected in ((True, "[0.0,inf]"), (False, "[0.0,1.0]")):
        done = prepare_labels(tables / "labels.csv", tables / "out", tables / "meta_split.csv", infinite=infinite)
        assert done["never"] == ["LBBB"]
        assert (tables / "out" / "pos_weight.txt").read_text() == expected


@pytest.mark.parametrize(
    "text, words",
    [
        ("idx,AF\n0,maybe\n", ["line 2", "'maybe'", "AF"]),
        ("idx,AF\n0,1\n0,1\n", ["index 0", "twice"]),
        ("idx,AF\n-1,1\n", ["idx", "'-1'"]),
        ("idx,AF\n1.5,1\n", ["idx", "'1.5'"]),
        ("AF\n1\n", ["idx"]),
        ("idx\n1\n", ["no column"]),
        ("idx,AF\n", ["no rows"]),
        ("idx,AF\n99,1\n", ["meta_split.csv", "no record has labels"]),
        ("idx,AF\n999999999999,1\n", ["idx"]),
    ],
)
def test_tables_that_do_not_fit(tables, text, words):
    (tables / "labels.csv").write_text(text)
    with pytest.raises(ecgfm.Error) as info:
        prepare_labels(tables / "labels.csv", tables / "out", tables / "meta_split.csv")
    assert all(word in str(info.value) for word in words), str(info.value)
    assert not (tables / "out").exists()


def test_inputs_are_not_written_over(tables):
    with pytest.raises(ecgfm.LabelError, match="meta_split.csv"):
        prepare_labels(
            tables / "labels.csv",
            tables / "out",
            tables / "meta_split.csv",
            labeled_meta_splits_save_file=tables / "meta_split.csv",
        )
    assert (tables / "meta_split.csv").read_text() == SPLITS
    with pytest.raises(ecgfm.LabelError) as info:
        prepare_labels(tables / "labels.csv", tables / "out", labeled_segmented_splits_save_file=tables / "s.csv")
    assert info.value.field == "segmented_splits"


def test_code_15(tmp_path):
    names = "is_male,1dAVb,RBBB,LBBB,SB,ST,AF,normal_ecg"
    (tmp_path / "meta.csv").write_text(
        f",idx,exam_id,{names}\n0,4,77,True,False,False,False,False,True,False,False\n"
        "1,1,78,False,False,False,False,False,False,False,True\n"
    )
    labels = code_15_labels(tmp_path / "meta.csv")
    assert labels.idx.tolist() == [1, 4] and labels.names == names.split(",")
    labels.to_csv(tmp_path / "labels" / "labels.csv", words=True)
    assert (tmp_path / "labels" / "labels.csv").read_text() == (
        f"idx,{names}\n1,{','.join(['False'] * 7)},True\n4,True,False,False,False,False,True,False,False\n"
    )


META = 'idx,save_file,diagnosis\n0,a,"426783006,164889003"\n2,b,713427006\n1,c,"59118001,10370003"\n3,d,\n'
WEIGHTS = ",164889003,713427006|59118001,426783006\n164889003,1,0,0\n713427006|59118001,0,1,0\n426783006,0,0,1\n"
NAMES = ",AF,CRBBB|RBBB,NSR\nAF,1,0,0\nCRBBB|RBBB,0,1,0\nNSR,0,0,1\n"


@pytest.fixture
def challenge(tmp_path):
    for name, text in (("meta.csv", META), ("weights.csv", WEIGHTS), ("names.csv", NAMES)):
        (tmp_path / name).write_text(text)
    return tmp_path


def test_physionet2021(challenge):
    paths = [challenge / name for name in ("meta.csv", "weights.csv", "names.csv")]
    labels = physionet2021_labels(*paths)
    assert labels.names == ["AF", "CRBBB|RBBB", "NSR"] and labels.idx.tolist() == [0, 1, 2, 3]
    assert labels.y.astype(int).tolist() == [[1, 0, 1], [0, 1, 0], [0, 1, 0], [0, 0, 0]]
    each = physionet2021_labels(*paths, combined=False)
    assert each.names == ["AF", "CRBBB", "RBBB", "NSR"]
    assert each.y.astype(int).tolist() == [[1, 0, 0, 1], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize(
    "name, text, combined, words",
    [
        ("names.csv", ",A\nA,1\n", True, ["names.csv", "1 names", "3 classes"]),
        ("names.csv", ",A\nA,1\nB,0\nC,0\n", False, ["names.csv", "'B'", "713427006|59118001"]),
        ("weights.csv", ",a\n1,1\n1|2,1\n3,1\n", True, ["weights.csv", "code 1", "twice"]),
        ("weights.csv", ",a\n", True, ["weights.csv", "column 1"]),
        ("names.csv", ",A\nA,1\nA,0\nC,0\n", True, ["'A'", "twice"]),
        ("meta.csv", "idx\n1\n", True, ["meta.csv", "diagnosis"]),
    ],
)
def test_weight_tables_that_do_not_fit(challenge, name, text, combined, words):
    (challenge / name).write_text(text)
    with pytest.raises(ecgfm.Error) as info:
        physionet2021_labels(*(challenge / n for n in ("meta.csv", "weights.csv", "names.csv")), combined=combined)
    assert all(word in str(info.value) for word in words), str(info.value)


def test_settings_stand_beside_the_labels(tables):
    prepare_labels(read_labels(tables / "labels.csv"), tables / "out", settings={"source": "csv"})
    assert json.loads((tables / "out" / "labels_args.json").read_text()) == {"source": "csv"}
    assert not (tables / "out" / "labels.csv").exists()

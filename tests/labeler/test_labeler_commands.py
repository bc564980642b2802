"""ecgfm label and ecgfm labels."""

import csv
import gzip
import io
import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from bounded import PATIENCE_S

from ecgfm import labeler
from ecgfm.cli.main import main
from ecgfm.specs.known import MIMIC_IV_ECG

REPORTS = ["Sinus rhythm, LBBB", "No AFib; old inferior MI", "", "xyz"]


@pytest.fixture
def run(capsys):
    def call(*argv):
        status = main([str(arg) for arg in argv])
        out, err = capsys.readouterr()
        return SimpleNamespace(status=status, out=out, err=err)

    return call


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "reports.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["study", "who", "note"])
        writer.writerows([f"s{i}", "a, b", text] for i, text in enumerate(REPORTS))
    return path


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_long(run, table):
    done = run("label", table, "--column", "note", "--id", "study")
    assert done.status == 0 and done.err == ""
    expected = labeler.label(REPORTS).labels_flat
    made = rows(done.out)
    assert [(int(r["row"]), r["study"], r["label"]) for r in made] == [
        (s, f"s{s}", name) for s, name in zip(expected["sample"].tolist(), expected["name"])
    ]
    np.testing.assert_allclose([float(r["probability"]) for r in made], expected["prob"], atol=1e-9)


def test_wide_with_final_and_chosen_labels(run, table, tmp_path):
    made = rows(run("label", table, "--column", "note", "--format", "wide").out)
    assert list(made[0]) == ["row", *MIMIC_IV_ECG] and len(made) == len(REPORTS)
    assert made[0]["Left bundle branch block"] == "1" and float(made[1]["Infarction"]) == 1
    made = rows(run("label", table, "--column", "note", "--format", "wide", "--labels", "Infarction;Sinus rhythm").out)
    assert made[2] == {"row": "2", "Infarction": "0", "Sinus rhythm": "0"}
    (tmp_path / "label_def.csv").write_text("name,count\nSinus rhythm,3\n")
    made = rows(run("label", table, "--column", "note", "--labels", tmp_path / "label_def.csv").out)
    assert [r["label"] for r in made] == ["Sinus rhythm"]


def test_json_and_explanations(run, table):
    done = run("label", table, "--column", "note", "--format", "jsonl", "--explain", "--id", "study")
    made = [json.loads(line) for line in done.out.splitlines()]
    assert [item["study"] for item in made] == ["s0", "s1", "s2", "s3"]
    for item, labels in zip(made, labeler.label(REPORTS).by_report()):
        assert item["labels"] == labels == {e["name"]: e["prob"] for e in item["explanation"]["labels"]}
    done = run("label", table, "--column", "note", "--format", "text", "--labels", "Infarction")
    assert '"no" -> Absence (attached to "atrial fibrillation")' in done.out and "Sinus rhythm 1" not in done.out
    assert run("label", table, "--column", "note", "--explain").status == 2


def test_outputs_to_files(run, table, tmp_path):
    out, rest = tmp_path / "labels.csv", tmp_path / "rest.csv"
    done = run("label", table, "--column", "note", "--out", out, "--unmatched", rest)
    assert done.status == 0 and done.out == ""
    assert out.read_text() == run("label", table, "--column", "note").out
    assert [r["unmatched"] for r in rows(rest.read_text())] == ["", "", "", "xyz"]


def test_other_formats(run, table, tmp_path):
    expected = run("label", table, "--column", "note").out
    text = table.read_text()
    with gzip.open(tmp_path / "reports.csv.gz", "wt") as file:
        file.write(text)
    assert run("label", tmp_path / "reports.csv.gz", "--column", "note").out == expected
    tsv = tmp_path / "reports.tsv"
    with open(tsv, "w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows(csv.reader(io.StringIO(text)))
    assert run("label", tsv, "--column", "note").out == expected
    lines = tmp_path / "reports.txt"
    lines.write_text("\n".join(REPORTS) + "\n")
    assert run("label", lines).out == expected
    single = tmp_path / "single.csv"
    single.write_text("anything\n" + "\n".join(f'"{text}"' for text in REPORTS) + "\n")
    assert run("label", single).out == expected
    single.write_text("anything\nSinus rhythm\n\nSinus rhythm\n")
    assert [r["row"] for r in rows(run("label", single).out)] == ["0", "2"]
    assert run("label", table, "--column", "note", "--processes", "2").out == expected


def test_parquet(run, table, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "reports.parquet"
    parquet.write_table(pyarrow.table({"study": [5, 6, 7, 8], "note": [*REPORTS[:3], None]}), path)
    done = run("label", path, "--column", "note", "--id", "study", "--format", "wide", "--labels", "Sinus rhythm")
    assert done.status == 0
    assert [(r["study"], r["Sinus rhythm"]) for r in rows(done.out)] == [("5", "1"), ("6", "0"), ("7", "0"), ("8", "0")]
    assert run("label", path, "--column", "nothing").status == 2
    path.write_bytes(b"PAR1 not really")
    done = run("label", path, "--column", "note")
    assert done.status == 2 and "Parquet" in done.err and done.err.count("\n") == 1


def test_parquet_without_pyarrow(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    done = run("label", tmp_path / "x.parquet")
    assert done.status == 2 and "ecgfm[tables]" in done.err


def test_standard_input():
    def call(text, *options):
        return subprocess.run(
            [sys.executable, "-m", "ecgfm", "label", *options], input=text, capture_output=True, timeout=PATIENCE_S
        )

    done = call(b"Sinus rhythm\n\nLBBB\r\n", "-", "--labels", "final")
    assert done.returncode == 0, done.stderr
    assert [(r["row"], r["label"]) for r in rows(done.stdout.decode())] == [
        ("0", "Sinus rhythm"),
        ("2", "Left bundle branch block"),
    ]
    done = call(b'id,text\n4,"LBBB\nsinus rhythm\xff"\n', "--input-format", "csv", "--id", "id", "--labels", "final")
    assert done.returncode == 0, done.stderr
    assert [r["id"] for r in rows(done.stdout.decode())] == ["4", "4"]
    assert call(b"").stdout == b"row,label,probability\n"


def test_machine_reports_are_joined(run, tmp_path):
    path = tmp_path / "machine_measurements.csv"
    path.write_text("study_id,report_0,report_1,report_10,report_2\n1,Sinus rhythm,, LBBB,PVCs\n2,,,,\n")
    item = json.loads(run("label", path, "--format", "jsonl", "--explain").out.splitlines()[0])
    assert item["explanation"]["report"] == "Sinus rhythm; PVCs; LBBB"


def test_errors_are_one_line(run, table, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "entity_tem.json").write_text("{")
    for argv, words in (
        (["label", tmp_path / "no.csv"], ["no.csv", "no such file"]),
        (["label", table], ["reports.csv", "not clear", "'note'"]),
        (["label", table, "--column", "text"], ["no column 'text'", "'study', 'who', 'note'"]),
        (["label", table, "--column", "note", "--definitions", tmp_path / "bad"], ["entity_tem.json", "not JSON"]),
        (["label", table, "--column", "note", "--labels", "Broken heart"], ["Broken heart"]),
        (["label", table, "--column", "note", "--processes", "-2"], ["processes"]),
        (["label", table, "--input-format", "lines", "--column", "note"], ["no columns"]),
    ):
        done = run(*argv)
        assert done.status == 2 and done.out == "" and done.err.count("\n") == 1, (argv, done.err)
        assert all(word in done.err for word in words), done.err


def test_one_bad_file_among_several_is_skipped(run, table, tmp_path):
    done = run("label", table, tmp_path / "no.csv", table, "--column", "note", "--labels", "final")
    assert done.status == 1 and done.err.count("\n") == 1 and "no.csv" in done.err
    assert [r["file"] for r in rows(done.out)].count(str(table)) == len(rows(done.out)) > 0
    done = run("label", tmp_path / "no.csv", tmp_path / "neither.csv")
    assert done.status == 2 and "none of the 2 files" in done.err


def test_an_unfinished_output_leaves_the_old_one(run, tmp_path, monkeypatch):
    out = tmp_path / "labels.csv"
    out.write_text("old")
    assert run("label", tmp_path / "no.csv", "--out", out).status == 2
    assert out.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["labels.csv"]


def test_the_published_definitions_as_they_are(run, table, shared):
    done = run(
        "label",
        table,
        "--column",
        "note",
        "--definitions",
        shared / "labeler",
        "--labels",
        shared / "labeler" / "mimic_iv_ecg_label_def.csv",
        "--format",
        "wide",
        "--mode",
        "reference",
    )
    assert done.status == 0 and list(rows(done.out)[0]) == ["row", *MIMIC_IV_ECG]
    assert rows(done.out)[1]["Atrial fibrillation"] == "1"  # the original keeps what is absent


# ecgfm labels mimic_iv_ecg

MEASUREMENTS = """subject_id,study_id,ecg_time,report_0,report_1,report_2
1,500,x,Sinus rhythm,Possible inferior infarct,
2,600,x,Atrial fibrillation,,LBBB
3,700,x,,,
4,800,x,Sinus tachycardia with PVCs,,
9,999,x,Bradycardia,,
"""
META = "idx,path,study_id\n3,a,600\n0,b,500\n5,c,800\n1,d,700\n"
SPLITS = "idx,save_file,split\n0,b,train\n1,d,valid\n3,a,train\n5,c,test\n"


@pytest.fixture
def source(tmp_path):
    for name, text in (("machine_measurements.csv", MEASUREMENTS), ("meta.csv", META), ("meta_split.csv", SPLITS)):
        (tmp_path / name).write_text(text)
    return tmp_path


def make(run, source, *options):
    return run(
        "labels",
        "mimic_iv_ecg",
        "--machine_measurements",
        source / "machine_measurements.csv",
        "--meta",
        source / "meta.csv",
        "--output_dir",
        source / "labels",
        *options,
    )


def test_label_files_are_joined_by_study(run, source):
    done = make(run, source, "--meta_splits", source / "meta_split.csv")
    assert done.status == 0, done.err
    folder = source / "labels"
    y = np.load(folder / "y.npy")
    assert y.dtype == np.float64 and y.shape == (6, 17)
    expected = {
        0: {"Sinus rhythm", "Infarction"},
        3: {
            "Atrial fibrillation",
            "Tachycardia",
            "Left bundle branch block",
            "Supraventricular tachycardia with aberrancy",
        },
        5: {"Sinus rhythm", "Tachycardia", "Premature ventricular contraction"},
    }
    for i in range(6):
        assert {MIMIC_IV_ECG[j] for j in np.flatnonzero(y[i])} == expected.get(i, set())
    with open(folder / "label_def.csv", newline="") as file:
        label_def = list(csv.DictReader(file))
    assert list(label_def[0]) == ["name"] + [
        f"pos_{kind}_{split}" for kind in ("count", "percent", "weight") for split in ("test", "train", "valid")
    ] + ["pos_count_all", "pos_percent_all"]
    assert [row["name"] for row in label_def] == list(MIMIC_IV_ECG)
    sinus = label_def[MIMIC_IV_ECG.index("Sinus rhythm")]
    assert (sinus["pos_count_train"], sinus["pos_percent_train"], sinus["pos_weight_train"]) == ("1", "0.5", "1.0")
    assert (sinus["pos_count_all"], sinus["pos_percent_all"], sinus["pos_weight_valid"]) == ("2", "0.5", "inf")
    weights = json.loads((folder / "pos_weight.txt").read_text())
    assert len(weights) == 17 and set(weights) == {1.0} and "\n" not in (folder / "pos_weight.txt").read_text()
    with open(folder / "labels.csv", newline="") as file:
        labels = list(csv.DictReader(file))
    assert list(labels[0]) == ["idx", "study_id", *MIMIC_IV_ECG]
    assert {(row["idx"], row["study_id"]) for row in labels} == {("0", "500"), ("3", "600"), ("5", "800"), ("1", "700")}
    args = json.loads((folder / "labels_args.json").read_text())
    assert args["labels"] == list(MIMIC_IV_ECG) and args["mode"] == "documented"
    assert "never" not in done.err and "Bradycardia" in done.err


def test_label_files_of_chosen_labels(run, source):
    done = make(run, source, "--labels", "Infarction;Tachycardia", "--threshold", "0.9", "--processes", "2")
    assert done.status == 0
    assert np.load(source / "labels" / "y.npy").tolist() == [[0, 0], [0, 0], [0, 0], [0, 1], [0, 0], [0, 1]]
    assert json.loads((source / "labels" / "pos_weight.txt").read_text()) == [1.0, 1.0]
    assert (source / "labels" / "label_def.csv").read_text().splitlines()[0] == "name,pos_count_all,pos_percent_all"


def test_records_without_a_report_are_skipped(run, source):
    (source / "meta.csv").write_text(META + "7,e,12345.0\n")
    done = make(run, source)
    assert done.status == 1 and "skipped 1 records" in done.err
    assert np.load(source / "labels" / "y.npy").shape == (6, 17)


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("meta.csv", "idx,path\n1,a\n", ["meta.csv", "study_id"]),
        ("meta.csv", "idx,study_id\n1,x\n", ["meta.csv", "study_id", "line 2", "'x'"]),
        ("meta.csv", "idx,study_id\n1,500\n2,500\n", ["meta.csv", "twice"]),
        ("meta.csv", "idx,study_id\n1,500\n1,600\n", ["idx", "1", "twice"]),
        ("meta.csv", "idx,study_id\n", ["meta.csv", "no rows"]),
        ("meta.csv", "idx,study_id\n1,5\n", ["machine_measurements.csv", "no record has a report"]),
        ("meta.csv", "idx,study_id\n-1,500\n", ["idx", "line 2", "'-1'"]),
        ("meta.csv", "idx,study_id\n9999999999,500\n", ["idx", "between"]),
        ("machine_measurements.csv", MEASUREMENTS + "1,500,x,AF,,\n", ["two reports", "500"]),
        ("machine_measurements.csv", "study_id,x,y\n500,a,b\n", ["machine_measurements.csv", "not clear"]),
        ("machine_measurements.csv", "report_0\nAF\n", ["machine_measurements.csv", "study_id"]),
    ],
)
def test_tables_that_do_not_fit(run, source, name, text, words):
    (source / name).write_text(text)
    done = make(run, source)
    assert done.status == 2 and done.err.count("\n") == 1
    assert all(word in done.err for word in words), done.err
    assert not (source / "labels").exists()


def test_unknown_labels_and_sources(run, source):
    assert "Broken heart" in make(run, source, "--labels", "Broken heart").err
    done = run("labels", "nowhere")
    assert done.status == 2 and "mimic_iv_ecg" in done.err


def test_against_the_published_shares(published, shared):
    """The header of our label_def.csv is that of the published one."""
    from ecgfm.data.tables.label_files import label_def

    columns, _ = label_def(np.eye(3, dtype=bool), ["train", "valid", "test"])
    with open(shared / "labeler" / "mimic_iv_ecg_label_def.csv", newline="") as file:
        assert next(csv.reader(file)) == ["name", *columns]

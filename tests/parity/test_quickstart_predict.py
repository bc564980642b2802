"""predict against the tables that the reference's quickstart notebook and its command line made."""

import csv
import json

import numpy as np
import pytest

import ecgfm
from ecgfm import predict
from ecgfm.cli.main import main

pytest.importorskip("scipy", reason="the recordings are .mat files: extra [io]")

# The README of the reference data: 3e-6 for logits, probabilities and pooled outputs of the tiny model.
ATOL = 3e-6


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def files_of(rows):
    return [row["file"].split("/")[-1] for row in rows]


@pytest.fixture(scope="module")
def model(shared):
    return ecgfm.load(shared / "golden/tiny/finetuned.pt")


@pytest.fixture(scope="module")
def result(shared, model):
    return predict(model, shared / "code_15/org")


def assert_tables(rows, expected, extra):
    """Equal by name of column, whatever the order; `extra` are columns that only ours has."""
    names = [name for name in expected[0] if name != "file"]
    assert files_of(rows) == files_of(expected) and len(names) == 17
    assert set(rows[0]) == set(expected[0]) | extra
    for name in names:
        ours, theirs = ([float(row[name]) for row in table] for table in (rows, expected))
        np.testing.assert_allclose(ours, theirs, atol=ATOL, rtol=0, err_msg=name)


def test_fourteen_segments_and_ten_recordings(shared, result):
    golden = np.load(shared / "golden/cli/quickstart.npz")
    assert len(result.segments) == 14 and len(result.records) == 10 and len(result.errors) == 0
    assert files_of([{"file": file} for file in result.segments.files]) == golden["files"].tolist()
    np.testing.assert_allclose(result.embeddings, golden["embs"], atol=ATOL, rtol=1e-5)
    segments = rows_of(shared / "golden/cli/quickstart_segments.csv")
    assert list(result.labels) == list(segments[0])[1:]
    expected = np.array([[float(row[name]) for name in result.labels] for row in segments])
    np.testing.assert_allclose(result.segments.probabilities, expected, atol=ATOL, rtol=0)
    np.testing.assert_allclose(1 / (1 + np.exp(-result.logits.astype(float))), expected, atol=ATOL, rtol=0)


def test_per_recording_by_name(shared, result):
    aggregated = rows_of(shared / "golden/cli/quickstart_aggregated.csv")
    assert list(aggregated[0])[1:] != list(result.labels)  # the notebook's table has an order of its own
    for name in result.labels:
        expected = [float(row[name]) for row in aggregated]
        np.testing.assert_allclose(result.records[name], expected, atol=ATOL, rtol=0, err_msg=name)


def test_the_command_writes_the_tables(shared, tmp_path, capsys):
    out = tmp_path / "p.csv"
    argv = ["predict", shared / "golden/tiny/finetuned.pt", shared / "code_15/org", "--out", out]
    assert main([str(arg) for arg in argv]) == 0
    text = capsys.readouterr().out
    assert "10 recordings, 14 segments" in text and "Not for clinical use" in text
    provenance = {"segments", "aggregate", "sampling_rate", "duration_s", "derived_leads", "zero_leads"}
    provenance |= {
        "constant_leads",
        "padded_s",
        "overlap_s",
        "unused_s",
        "quality",
        "notes",
        "precision",
        "labels_assumed",
    }
    assert_tables(rows_of(out), rows_of(shared / "golden/cli/quickstart_aggregated.csv"), provenance)
    segments = rows_of(tmp_path / "p.segments.csv")
    assert_tables(segments, rows_of(shared / "golden/cli/quickstart_segments.csv"), {"segment", "start_s", "end_s"})


def test_the_command_prints_json(shared, capsys):
    argv = ["predict", str(shared / "golden/tiny/finetuned.pt"), str(shared / "code_15/org"), "--json"]
    assert main(argv) == 0
    data = json.loads(capsys.readouterr().out)
    for key, name in (("segments", "quickstart_segments.csv"), ("records", "quickstart_aggregated.csv")):
        expected = rows_of(shared / "golden/cli" / name)
        assert files_of(data[key]) == files_of(expected)
        for label in data["labels"]:
            np.testing.assert_allclose(
                [row[label] for row in data[key]], [float(row[label]) for row in expected], atol=ATOL, rtol=0
            )


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 7, 14, 100])
def test_the_batch_size_does_not_matter(shared, model, result, batch_size):
    found = predict(model, shared / "code_15/org", batch_size=batch_size)
    np.testing.assert_allclose(found.logits, result.logits, atol=1e-5, rtol=0)


def test_the_order_of_files_does_not_matter(shared, model, result):
    files = result.records.files
    order = np.random.default_rng(0).permutation(len(files))
    found = predict(model, [files[i] for i in order], batch_size=3)
    assert found.records.files == [files[i] for i in order]
    starts = np.cumsum(result.records["segments"]) - result.records["segments"]
    rows = np.concatenate([np.arange(starts[i], starts[i] + result.records["segments"][i]) for i in order])
    np.testing.assert_allclose(found.logits, result.logits[rows], atol=1e-5, rtol=0)
    np.testing.assert_allclose(found.records.probabilities, result.records.probabilities[order], atol=1e-5, rtol=0)


def test_segmented_files_against_the_command_line_of_the_reference(shared, model):
    """outputs_test.npy is a raw dump of logits in the order of the manifest."""
    lines = (shared / "golden/cli/manifests/clf/test.tsv").read_text().splitlines()[1:]
    files = [shared / "code_15/segmented" / line.split("\t")[0] for line in lines]
    found = predict(model, files)
    expected = np.fromfile(shared / "golden/cli/results_val/outputs_test.npy", np.float32).reshape(14, 17)
    np.testing.assert_allclose(found.logits, expected, atol=ATOL, rtol=1e-5)
    table = rows_of(shared / "golden/cli/infer_cli_table.csv")
    assert files_of([{"file": row["path"]} for row in table]) == files_of([{"file": f} for f in found.records.files])
    for name in found.labels:
        np.testing.assert_allclose(found.records[name], [float(row[name]) for row in table], atol=ATOL, rtol=0)
    pooled = np.load(shared / "golden/cli/results_val/emb_test.npy")
    np.testing.assert_allclose(found.embeddings, pooled, atol=ATOL, rtol=1e-5)

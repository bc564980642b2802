"""The inference notebook: with nothing beside it, and on the reference's recordings against the reference's
notebook."""

import base64
import csv
import os
from pathlib import Path

import numpy as np
import pytest
from bounded import PATIENCE_S
from environment import needs_kernel

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
for module in ("ipykernel", "matplotlib", "pandas"):
    pytest.importorskip(module)

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "notebooks" / "inference_quickstart.ipynb"
ATOL = 3e-6  # the README of the reference data: logits, probabilities, pooled outputs and saliency of the tiny model

# What the cells leave behind, to be looked at here.
KEEP = """
np.savez("kept.npz", files=pred.index, labels=labels, pred=pred.to_numpy(), agg_files=agg.index, agg=agg.to_numpy(),
         embeddings=result.embeddings, tokens=saliency.tokens, samples=saliency.samples, intervals=values,
         x=segments.x)
"""


def executed(folder, monkeypatch):
    """The notebook run in a folder, its output per cell, and the variables that it ends with."""
    # The kernel is a process of its own, which finds the package where this one does.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "the notebook is kept without outputs"
    notebook.cells.append(nbformat.v4.new_code_cell(KEEP))
    needs_kernel()
    nbclient.NotebookClient(notebook, timeout=PATIENCE_S, resources={"metadata": {"path": str(folder)}}).execute()
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", ())]
    text = "".join(out.text for out in outputs if out.output_type == "stream")
    pictures = [out.data["image/png"] for out in outputs if "image/png" in out.get("data", {})]
    with np.load(folder / "kept.npz", allow_pickle=True) as kept:
        return text, pictures, dict(kept)


def names(paths):
    return [os.path.basename(path) for path in paths]


def test_it_runs_with_the_package_alone(tmp_path, monkeypatch):
    text, pictures, kept = executed(tmp_path, monkeypatch)
    assert "Number of 5 s segment predictions: 15." in text and "Number of sample-aggregated predictions: 10." in text
    assert len(kept["pred"]) == 15 and len(kept["agg"]) == 10 and np.ptp(kept["agg"], axis=0).min() > 0
    assert kept["samples"].min() == 0 and kept["samples"].max() == 1 and kept["intervals"].shape == (2499,)
    assert len(pictures) == 3
    image = pytest.importorskip("matplotlib.image")
    for i, picture in enumerate(pictures):
        (tmp_path / f"{i}.png").write_bytes(base64.b64decode(picture))
        pixels = image.imread(tmp_path / f"{i}.png")[..., :3]
        assert pixels.shape[0] > 300 and (pixels < 0.5).any(axis=2).mean() > 0.002  # something is drawn


def test_it_gives_what_the_reference_notebook_gives(shared, tmp_path, monkeypatch):
    pytest.importorskip("scipy", reason="the recordings are .mat files: extra [io]")
    (tmp_path / "ckpts").mkdir()
    (tmp_path / "ckpts/mimic_iv_ecg_finetuned.pt").symlink_to(shared / "golden/tiny/finetuned.pt")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/code_15").symlink_to(shared / "code_15")
    text, pictures, kept = executed(tmp_path, monkeypatch)
    assert "Number of 5 s segment predictions: 14." in text and "Number of sample-aggregated predictions: 10." in text
    assert len(pictures) == 3
    for table, files, name in (("pred", "files", "segments"), ("agg", "agg_files", "aggregated")):
        with open(shared / f"golden/cli/quickstart_{name}.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert names(kept[files]) == names(row["file"] for row in rows)
        expected = [[float(row[label]) for label in kept["labels"]] for row in rows]
        np.testing.assert_allclose(kept[table], expected, atol=ATOL, rtol=0)
    golden = np.load(shared / "golden/cli/quickstart.npz")
    np.testing.assert_allclose(kept["embeddings"], golden["embs"], atol=ATOL, rtol=1e-5)
    np.testing.assert_allclose(kept["tokens"], golden["attn_max_last_layer"], atol=ATOL, rtol=1e-5)
    np.testing.assert_allclose(kept["x"], golden["sources"][:1], atol=1e-5, rtol=0)
    middles = (kept["samples"][0, 1:] + kept["samples"][0, :-1]) / 2
    np.testing.assert_allclose(kept["intervals"], middles, atol=1e-6)  # one colour for each interval of the signal

"""The notebooks on finetuning, pretraining, data and the command line: run as they stand, and what they find looked
at."""

import base64
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from bounded import PATIENCE_S
from environment import needs_kernel

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
for module in ("ipykernel", "matplotlib", "pandas", "hydra", "sklearn"):
    pytest.importorskip(module)

ROOT = Path(__file__).resolve().parents[2]
#: Notebook -> what is kept of the variables that it ends with.
KEPT = {
    "finetuning": {
        "loss": "history[['train_loss', 'valid_loss']]",
        "valid_auroc": "history['valid_auroc_macro']",
        "best_epoch": "tuned.best_epoch",
        "frequencies": "knows_frequencies",
        "auroc": "quality.records['auroc']",
        "interval": "np.stack([quality.records['auroc_low'], quality.records['auroc_high']])",
        "kept": "np.array_equal(model(x[test]).logits, tuned.model(x[test]).logits)",
        "predicted": "result.records.probabilities[0]",
        "step_loss": "[step['loss'] for step in steps]",
        "held_accuracy": "held['accuracy']",
        "logged": "log['loss']",
        "labels": "best.labels",
        "same": "[np.array_equal(values, best.state_dict()[name]) for name, values in tuned.model.state_dict().items()]",  # noqa: E501
    },
    "data_preparation": {
        "counts": "[len(meta), len(segmented), len(errors), len(data)]",
        "skipped": "errors['error'][0]",
        "idx": "truth['idx']",
        "y": "np.load('labels/y.npy')",
        "truth": "pd.read_csv('raw/labels.csv').set_index('file').loc[[os.path.basename(p) for p in meta['path']], labels]",  # noqa: E501
        "patients": "[len(set(part['patient_id'])) for _, part in split.groupby('split')]",
        "standard": "[np.concatenate([p['feats'] for p in pieces], axis=1).mean(), org['feats'].shape[1], pieces[0]['feats'].shape[1]]",  # noqa: E501
        "batch": "batch.y - np.load('labels/y.npy')[batch.idx]",
        "pairs": "[len(ecgfm.data.Dataset('manifests/cmsc/' + s, pairs=True)) for s in ('train', 'valid', 'test')]",
        "auroc": "quality.records['auroc']",
        "packed": "np.abs(packed.x[:4] - files).max()",
    },
    "pretraining": {
        "contrast": "history['valid_loss_0']",
        "cmsc": "history['valid_loss_3']",
        "entries": "history['valid_code_perplexity']",
        "parts": "history['valid_loss'] - sum(history[f'valid_loss_{i}'] for i in range(4))",
        "tuned": "tuned.history['valid_auroc_macro']",
        "kind": "encoder.kind",
        "embedding": "encoder(x[:4]).embedding",
        "logged": "pd.read_csv('run/train.csv')['loss_0']",
    },
    "inference_cli": {
        "logits": "logits",
        "shapes": "[tokens.shape[1], attention.shape[1], attention.shape[2]]",
        "rows": "attention.sum(axis=-1)",
        "embeddings": "embeddings",
        "own": "ecgfm.embed(ecgfm.load(CHECKPOINT), 'raw').embeddings",
        "difference": "np.abs(direct[label_names].to_numpy() - records.to_numpy()).max()",
        "targets": "targets[np.argsort(joined['idx'].to_numpy(), kind='stable')]",
        "truth": "np.repeat(cohort.y, 2, axis=0)",
        "accuracy": "accuracy",
        "validated": "np.abs(open_store('validated/outputs_test.npy') - logits).max()",
    },
}  # fmt: skip


class Ran:
    """A notebook that was run: what it printed, its pictures, and the values that were kept."""

    def __init__(self, name, folder, keep):
        # The kernel is a process of its own, which finds the package where this one does. One thread: two that share a
        # processor with other work wait for each other.
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        ours = {"PYTHONPATH": os.pathsep.join(paths), "TMPDIR": str(folder), "ECGFM_NUM_THREADS": "1"}
        notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
        assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells), (
            "kept without outputs"
        )
        values = ", ".join(f"{key}={code}" for key, code in keep.items())
        notebook.cells.append(nbformat.v4.new_code_cell(f"np.savez({str(folder / 'kept.npz')!r}, {values})"))
        client = nbclient.NotebookClient(notebook, timeout=PATIENCE_S, resources={"metadata": {"path": str(folder)}})
        client.execute(env=os.environ | ours)
        outputs = [out for cell in notebook.cells for out in cell.get("outputs", ())]
        self.text = "".join(out.text for out in outputs if out.output_type == "stream")
        self.pictures = []
        for i, out in enumerate(out for out in outputs if "image/png" in out.get("data", {})):
            (folder / f"{i}.png").write_bytes(base64.b64decode(out.data["image/png"]))
            self.pictures.append(folder / f"{i}.png")
        with np.load(folder / "kept.npz", allow_pickle=False) as kept:
            self.__dict__.update(kept)

    def drawn(self):
        """The share of each picture's pixels that are not near white."""
        image = pytest.importorskip("matplotlib.image")
        return [float((image.imread(path)[..., :3] < 0.5).any(axis=2).mean()) for path in self.pictures]


@pytest.fixture(scope="module")
def ran(request, tmp_path_factory):
    """The notebooks whose tests are to run, two at a time: each test waits for its own."""
    needs_kernel()
    tests = {item.name for item in request.session.items}
    pool = ThreadPoolExecutor(2)
    runs = {
        name: pool.submit(Ran, name, tmp_path_factory.mktemp(name), keep)
        for name, keep in KEPT.items()
        if f"test_{name}" in tests
    }
    yield lambda name: runs[name].result()
    pool.shutdown(cancel_futures=True)


def test_finetuning(ran):
    found = ran("finetuning")
    assert found.loss.shape == (4, 2) and found.loss[-1, 0] < 0.2 * found.loss[0, 0]  # it learns
    assert found.loss[found.best_epoch - 1, 1] < 0.6 * found.frequencies
    assert found.best_epoch == found.valid_auroc.argmax() + 1
    assert (found.auroc[:2] > 0.9).all()  # on other patients
    assert (found.interval[0] <= found.auroc).all() and (found.auroc <= found.interval[1]).all()
    assert found.kept and found.predicted[0] > 0.9 > 0.2 > found.predicted[1]
    assert np.mean(found.step_loss[-3:]) < 0.5 < np.mean(found.step_loss[:3]) and found.held_accuracy > 0.85
    np.testing.assert_allclose(found.logged, found.loss[:2, 1], atol=0.001)  # of the call and of the command
    # The command ends after two epochs: bit for bit the same weights, if the call's best epoch is the same one.
    assert found.same.all() == (found.best_epoch == 1 + found.valid_auroc[:2].argmax())
    assert tuple(found.labels) == ("bundle branch block", "irregular")
    assert "checkpoint_best.pt" in found.text and len(found.pictures) == 1 and min(found.drawn()) > 0.01


def test_data_preparation(ran):
    found = ran("data_preparation")
    assert found.counts.tolist() == [119, 238, 1, 144] and "truncated" in str(found.skipped)
    np.testing.assert_array_equal(
        found.y[found.idx], found.truth
    )  # each recording has its own labels, though one is missing
    assert sorted(found.patients) == [12, 12, 36]
    assert abs(found.standard[0]) < 0.1 and found.standard[1:].tolist() == [4400, 2500]
    assert not found.batch.any() and found.pairs.sum() == 119 and found.packed == 0
    assert found.auroc[2] > 0.7 and np.isfinite(found.auroc).all()
    assert len(found.pictures) == 2 and min(found.drawn()) > 0.01


def test_pretraining(ran):
    found = ran("pretraining")
    assert found.contrast[-1] < np.log2(101) < found.contrast[0] + 0.5 and found.cmsc[-1] < 0.8 * np.log2(16)
    np.testing.assert_allclose(found.parts, 0, atol=1e-6)
    assert (found.entries > 10).all()  # no collapse
    assert found.tuned.max() > 0.75
    assert str(found.kind) == "encoder" and found.embedding.shape == (4, 64) and len(found.logged) == 1
    assert len(found.pictures) == 1 and min(found.drawn()) > 0.01


def test_inference_cli(ran):
    found = ran("inference_cli")
    assert found.logits.shape == (20, 10) and found.shapes.tolist() == [156, 3, 156]
    np.testing.assert_allclose(found.rows, 1, atol=1e-4)
    np.testing.assert_allclose(found.embeddings, found.own, atol=1e-4)
    assert found.difference < 1e-4 and found.validated < 1e-5  # the short way gives the same
    np.testing.assert_array_equal(found.targets, found.truth)
    assert found.accuracy > 0.9
    assert "Number of 5 s segment predictions: 20." in found.text

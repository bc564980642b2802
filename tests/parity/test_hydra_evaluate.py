"""ecgfm-hydra-validate and ecgfm-hydra-inference against the stores that the original wrote."""

import os

import numpy as np
import pytest
from golden import RTOL, TINY_ATOL

pytest.importorskip("hydra", reason="needs the extra [train]")
pytest.importorskip("scipy", reason="the segments are .mat files: extra [io]")

from ecgfm.cli import hydra  # noqa: E402
from ecgfm.inference import open_store  # noqa: E402

NAMES = {"outputs": "outputs", "targets": None, "encoder_out": "features", "saliency": "outputs"}


@pytest.fixture
def cli(shared, tmp_path, monkeypatch):
    """The inputs of the original's runs, which name their files relative to a folder: the working directory."""
    (tmp_path / "data").mkdir()
    os.symlink(shared / "code_15", tmp_path / "data/code_15")
    for name in ("manifests", "labels"):
        os.symlink(shared / "golden/cli" / name, tmp_path / name)
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    return shared / "golden"


def argv(golden, extract):
    path = golden / "tiny/finetuned.pt"
    return [
        "task.data=manifests/clf", f"common_eval.path={path}", f"common_eval.extract=[{extract}]",
        "common_eval.results_path=out", "model.num_labels=17", "dataset.valid_subset=test", "dataset.batch_size=10",
        "dataset.num_workers=3", "dataset.disable_validation=false", "distributed_training.distributed_world_size=1",
        "distributed_training.find_unused_parameters=True", "--config-name", "diagnosis",
    ]  # fmt: skip


def compare(folder, found, expected):
    assert sorted(os.listdir(found)) == sorted(expected)
    for name in expected:
        path = folder / name
        if name.endswith(".pkl"):
            assert open(f"{found}/{name}", "rb").read() == path.read_bytes(), name
            continue
        assert os.path.getsize(f"{found}/{name}") == path.stat().st_size
        got, want = open_store(f"{found}/{name}"), open_store(path)
        assert got.shape == want.shape and got.dtype == want.dtype
        atol = NAMES[name.removesuffix("_test.npy")]
        limits = {"rtol": RTOL, "atol": TINY_ATOL[atol]} if atol else {"rtol": 0, "atol": 0}
        np.testing.assert_allclose(got, want, err_msg=name, **limits)


def test_validate(cli, capsys):
    pair = [f"{name}_test{end}" for name in NAMES for end in (".npy", "_header.pkl")]
    assert hydra.validate([*argv(cli, "output,encoder_out,saliency"), "+task.label_file=labels/y.npy"]) == 0
    compare(cli / "cli/results_val", "out", pair)


def test_inference(cli, capsys):
    assert hydra.inference(argv(cli, "output")) == 0
    compare(cli / "cli/results_inf", "out", ["outputs_test.npy", "outputs_test_header.pkl"])

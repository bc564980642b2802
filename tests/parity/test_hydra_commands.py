"""The two training commands of ECG-FM's README on its sample segments, then validation, inference, and going on; and a
run that goes on from a checkpoint of the original.
"""

import os

import numpy as np
import pytest

pytest.importorskip("hydra", reason="needs the extra [train]")
pytest.importorskip("sklearn", reason="needs the extra [train]")
pytest.importorskip("scipy", reason="the segments are .mat files: extra [io]")

import ecgfm  # noqa: E402
from ecgfm import checkpoint  # noqa: E402
from ecgfm.cli import hydra  # noqa: E402
from ecgfm.cli.fairseq.compose import compose  # noqa: E402
from ecgfm.cli.fairseq.translate import settings_of  # noqa: E402
from ecgfm.inference import open_store  # noqa: E402
from ecgfm.ranks import Alone  # noqa: E402
from ecgfm.training.run import Prepared  # noqa: E402

TINY = [
    "+model.encoder_layers=2", "+model.encoder_ffn_embed_dim=128", "+model.encoder_attention_heads=4",
    '+model.conv_feature_layers="[(32,2,2)]*4"', "+model.conv_pos=16", "+model.conv_pos_groups=4",
    "model.encoder_embed_dim=64", "model.final_dim=32", "+model.latent_vars=8", "+model.num_negatives=10",
]  # fmt: skip
PRETRAINING = (
    "task.data=manifests/cmsc dataset.valid_subset=valid dataset.batch_size=64 dataset.num_workers=10"
    " dataset.disable_validation=false distributed_training.distributed_world_size=1 optimization.update_freq=[2]"
    " checkpoint.save_dir=pretrained checkpoint.save_interval=10 checkpoint.keep_last_epochs=0"
    " common.log_format=csv --config-name w2v_cmsc_rlm"
).split()
FINETUNING = (
    "task.data=manifests/clf model.model_path=pretrained/checkpoint_last.pt model.num_labels=17"
    " optimization.lr=[1e-06] optimization.max_epoch=140 dataset.batch_size=256 dataset.num_workers=5"
    " dataset.disable_validation=true distributed_training.distributed_world_size=1"
    " distributed_training.find_unused_parameters=True checkpoint.save_dir=finetuned checkpoint.save_interval=1"
    " checkpoint.keep_last_epochs=0 common.log_format=csv +task.label_file=labels/y.npy --config-name diagnosis"
).split()


@pytest.fixture
def golden(shared, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    os.symlink(shared / "code_15", tmp_path / "data/code_15")
    for name in ("manifests", "labels"):
        os.symlink(shared / "golden/cli" / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return shared / "golden"


def updates(path):
    with checkpoint.read(path) as found:
        return found.content["optimizer_history"][-1]["num_updates"]


def test_the_commands_of_the_readme(golden, capsys):
    weight = "+criterion.pos_weight=" + (golden / "cli/labels/pos_weight.txt").read_text().strip()
    assert hydra.train([*PRETRAINING, *TINY, "optimization.max_epoch=10"]) == 0
    assert updates("pretrained/checkpoint_last.pt") == 10 and os.path.exists("pretrained/checkpoint10.pt")
    assert not os.path.exists("pretrained/checkpoint9.pt")
    assert hydra.train([*FINETUNING, weight, "optimization.max_epoch=2"]) == 0
    assert updates("finetuned/checkpoint_last.pt") == 2 and not os.path.exists("finetuned/checkpoint_best.pt")

    common = ["task.data=manifests/clf", "common_eval.path=finetuned/checkpoint_last.pt", "dataset.valid_subset=test"]
    common += ["common_eval.extract=[output,encoder_out,saliency]", "common_eval.results_path=out"]
    common += ["dataset.batch_size=10", "dataset.num_workers=3", "--config-name", "diagnosis"]
    os.mkdir("out")
    assert hydra.validate(common) == 0
    validated = {name: np.array(open_store(f"out/{name}_test.npy")) for name in ("outputs", "targets", "encoder_out")}
    assert hydra.inference(common) == 0
    np.testing.assert_array_equal(open_store("out/outputs_test.npy"), validated["outputs"])
    assert validated["targets"].shape == (14, 17) and validated["encoder_out"].shape == (14, 156, 64)
    assert ecgfm.load("finetuned").labels is not None

    assert hydra.train([*FINETUNING, weight, "optimization.max_epoch=3"]) == 0
    assert "going on from finetuned/checkpoint_last.pt" in capsys.readouterr().out
    assert updates("finetuned/checkpoint_last.pt") == 3
    assert hydra.train([*FINETUNING, weight, "optimization.max_epoch=3", "checkpoint.save_dir=at_once"]) == 0
    with checkpoint.read("finetuned/checkpoint_last.pt") as a, checkpoint.read("at_once/checkpoint_last.pt") as b:
        for name in a.tensors:
            np.testing.assert_array_equal(np.asarray(a.tensors[name]), np.asarray(b.tensors[name]), err_msg=name)


def test_going_on_from_a_checkpoint_of_the_original(golden):
    path = golden / "tiny/finetuned.pt"
    argv = [one for one in FINETUNING[:-2] if "model_path" not in one]
    argv += [f"model.model_path={golden}/tiny/pretrained.pt", f"checkpoint.restore_file={path}"]
    run = Prepared(settings_of(compose("diagnosis", argv)), Alone())
    state = run.trainer.state()
    with checkpoint.read(path) as found:
        saved, last = found.extra_state, found.content["last_optimizer_state"]["state"]
        assert run.trainer.num_updates == found.content["optimizer_history"][-1]["num_updates"] == 12
        assert run.place.epoch == saved["train_iterator"]["epoch"]
        for name, tensor in found.tensors.items():
            np.testing.assert_array_equal(run.trainer.state_dict()[name], np.asarray(tensor), err_msg=name)
        theirs = sorted(np.asarray(each["exp_avg_sq"]).tobytes() for each in last.values())
        trained = [values for name, values in state["exp_avg_sq"].items() if values.any()]
        assert len(trained) > 30 and {values.tobytes() for values in trained} <= set(theirs)
    run.log.close()

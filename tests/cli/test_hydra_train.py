"""ecgfm-hydra-train: the original's runs, and runs of our own that are broken off and gone on with."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import weights
from bounded import PATIENCE_S

import ecgfm
from ecgfm import ConfigError, checkpoint
from ecgfm.cli.fairseq.compose import compose
from ecgfm.cli.fairseq.translate import settings_of
from ecgfm.cli.hydra import train, validate
from ecgfm.ranks import Alone
from ecgfm.training.keeping import Keeping
from ecgfm.training.reporting import Reporting
from ecgfm.training.run import Prepared

pytest.importorskip("hydra", reason="needs the extra [train]")
pytest.importorskip("sklearn", reason="needs the extra [train]")
yaml = pytest.importorskip("yaml", reason="needs the extra [train]")

CLOCKS = ("ups", "wall", "train_wall")
SMALL = {"encoder_layers": 1, "encoder_embed_dim": 32, "encoder_ffn_embed_dim": 48, "encoder_attention_heads": 4}
SMALL |= {"conv_feature_layers": '"[(16,2,2)]*4"', "conv_pos": 16, "conv_pos_groups": 4}


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


# ---- the original's runs ----


@pytest.fixture
def original(shared, tmp_path, monkeypatch):
    """A folder in which the names of the original's runs lead to the reference data; the folder of these."""
    root = shared
    for name, target in {
        "data/code_15": "code_15",
        "manifests": "golden/cli/manifests",
        "labels": "golden/cli/labels",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(root / target)
    (tmp_path / "ckpts").mkdir()
    (tmp_path / "ckpts" / "pretrained.pt").symlink_to(root / "golden/tiny/pretrained.pt")
    monkeypatch.chdir(tmp_path)
    return root / "golden/cli"


def overrides_of(cli, name):
    lines = (cli / name / "hydra_overrides.yaml").read_text().splitlines()
    return [line[2:].strip() for line in lines if line.startswith("- ")]


def test_the_finetuning_of_the_original(original, capsys):
    recorded = np.load(original / "finetune_cli_params.npz")
    pretrained = ecgfm.load("ckpts/pretrained.pt")
    config = pretrained.config | {"num_labels": 17}
    initial = {name[5:]: recorded[name] for name in recorded if name.startswith("init/")}
    ecgfm.Model.from_state_dict(config, initial).save("ckpts/init.pt")
    assert (
        train(["--config-name", "diagnosis", *overrides_of(original, "finetune_run"), "model.model_path=ckpts/init.pt"])
        == 0
    )
    folder = Path("run_ft1/checkpoints")
    files = {"checkpoint1.pt", "checkpoint2.pt", "checkpoint_best.pt", "checkpoint_last.pt"}
    assert files <= {path.name for path in folder.iterdir()}
    for name in ("train_inner", "train", "valid", "test"):
        ours, theirs = rows(folder / f"{name}.csv"), rows(original / f"finetune_run/{name}.csv")
        assert list(ours[0])[0] == "step" and set(ours[0]) == set(theirs[0]) and len(ours) == len(theirs)
        for a, b in zip(ours, theirs):
            for column in set(a) - set(CLOCKS):
                # Three digits are written of a loss, five of a share: within one unit of the last.
                limit = {"loss": 0.001, "best_loss": 0.001, "gnorm": 0.002}.get(column, 2e-5)
                assert float(a[column]) == pytest.approx(float(b[column]), abs=limit), (name, a["step"], column)
    with checkpoint.read(folder / "checkpoint_last.pt") as found:
        for name in recorded:
            if name.startswith("final/") and not name.endswith("k_proj.bias"):
                np.testing.assert_allclose(np.asarray(found.tensors[name[6:]]), recorded[name], atol=5e-5, err_msg=name)
    assert "valid" in capsys.readouterr().out


def test_the_pretraining_of_the_original(original):
    assert train(["--config-name", "w2v_cmsc_rlm", *overrides_of(original, "pretrain_run")]) == 0
    for name in ("train_inner", "train", "valid"):
        ours, theirs = rows(f"ckpt_pretrain/{name}.csv"), rows(original / f"pretrain_run/{name}.csv")
        assert set(ours[0]) == set(theirs[0])
        for a, b in zip(ours, theirs, strict=True):
            for column in ("step", "lr", "nsignals", "temp"):
                if column in b:
                    assert float(a[column]) == float(b[column])
    assert Path("ckpt_pretrain/checkpoint_best.pt").exists()


@pytest.mark.parametrize("run, kind", [("finetune_run", "finetune"), ("pretrain_run", "pretrain")])
def test_the_configuration_of_the_original(original, run, kind):
    name = {"finetune": "diagnosis", "pretrain": "w2v_cmsc_rlm"}[kind]
    ours = compose(name, overrides_of(original, run))
    theirs = json.loads((original / "checkpoint_structure.json").read_text())[kind]["cfg"]
    for group, values in theirs.items():
        if isinstance(values, dict) and group != "job_logging_cfg":
            for key, value in values.items():
                if key == "pos_weight":
                    assert ours[group][key][:4] == value[:4]
                elif key != "_name" or value is not None:
                    assert ours[group][key] == value, (group, key)


@pytest.mark.parametrize("kind", ["finetune", "pretrain"])
def test_the_structure_of_checkpoints(original, kind):
    run, name, folder = {
        "finetune": ("finetune_run", "diagnosis", "run_ft1/checkpoints"),
        "pretrain": ("pretrain_run", "w2v_cmsc_rlm", "ckpt_pretrain"),
    }[kind]
    assert train(["--config-name", name, *overrides_of(original, run)]) == 0
    structure = json.loads((original / "checkpoint_structure.json").read_text())
    with checkpoint.read(Path(folder) / "checkpoint_last.pt") as found:
        assert list(found.tensors) == structure[f"{kind}_model_keys"]
        content, theirs = found.content, structure[kind]
        assert [key for key in theirs if key != "model"] == list(content)
        for key in ("args", "criterion", "task_state"):
            assert content[key] == theirs[key]
        assert content["optimizer_history"] == theirs["optimizer_history"]
        ours, extra = content["extra_state"], theirs["extra_state"]
        assert set(ours) == set(extra) | {"ecgfm"} and ours["train_iterator"] == extra["train_iterator"]
        assert ours["ecgfm"]["info"] == found.info == {"profile": "pipeline"}
        assert {"default", "train", "train_inner"} <= set(ours["metrics"])
        entry = ours["metrics"]["train"][0]
        assert entry[:3] == extra["metrics"]["train"][0][:3] and list(entry[3]) == list(extra["metrics"]["train"][0][3])
        group, expected = (
            content["last_optimizer_state"]["param_groups"][0],
            theirs["last_optimizer_state"]["param_groups"][0],
        )
        assert list(group) == list(expected) and len(group["params"]) == len(found.tensors)
        state = content["last_optimizer_state"]["state"]
        for place, values in theirs["last_optimizer_state"]["state"].items():
            own = state[int(place)]
            assert own["step"] == values["step"] and list(own["exp_avg"].shape) == json.loads(
                values["exp_avg"][6:].split("]")[0] + "]"
            )
        for group_name, values in theirs["cfg"].items():
            if isinstance(values, dict) and group_name != "job_logging_cfg":
                assert set(values) <= set(content["cfg"][group_name]), group_name


# ---- runs of our own ----


def packed(folder, name, count, labels, pairs=False):
    rng = np.random.default_rng(len(name))
    x = rng.standard_normal((count, 12, 500)).astype(np.float32)
    np.save(folder / f"{name}.npy", x)
    record = np.arange(count) // 2 if pairs else np.arange(count)
    with open(folder / f"{name}.index.csv", "w") as file:
        file.write("idx,save_file,segment_i,sample_rate,sample_size,path\n")
        for i, idx in enumerate(record):
            file.write(f"{idx},r{idx}.mat,{i % 2 if pairs else 0},500,500,r{idx}_{i}.mat\n")


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A small model, packed splits, labels."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "pairs").mkdir()
    for name, count in (("train", 14), ("valid", 6)):
        packed(tmp_path / "data", name, count, 3)
        packed(tmp_path / "pairs", name, count, 3, pairs=True)
    y = (np.random.default_rng(3).random((14, 3)) < 0.4).astype(np.float32)
    np.save(tmp_path / "y.npy", y)
    (tmp_path / "label_def.csv").write_text("name\nAF\nRBBB\nsinus\n")
    config = weights.SMALL
    table = weights.parameters(config, "pretraining")
    ecgfm.Model.from_state_dict(config, weights.weights(table), kind="pretraining").save(tmp_path / "model.pt")
    return tmp_path


def finetuning(*more, folder="run"):
    return [
        "--config-name",
        "diagnosis",
        "task.data=data",
        "model.model_path=model.pt",
        "model.num_labels=3",
        "+task.label_file=y.npy",
        "+criterion.pos_weight=[2.0,1.5,1.0]",
        "dataset.batch_size=4",
        "dataset.required_batch_size_multiple=1",
        "dataset.valid_subset=valid",
        "dataset.num_workers=0",
        "optimization.max_epoch=3",
        "optimization.lr=[1e-3]",
        "optimization.update_freq=[1,2]",
        "common.log_format=csv",
        "common.log_interval=1",
        "checkpoint.keep_last_epochs=0",
        f"checkpoint.save_dir={folder}",
        *more,
    ]


def pretraining(*more, folder="run"):
    return [
        "--config-name",
        "w2v_cmsc_rlm",
        "task.data=pairs",
        "dataset.batch_size=2",
        "dataset.required_batch_size_multiple=1",
        "dataset.valid_subset=valid",
        "dataset.disable_validation=false",
        "dataset.num_workers=2",
        "distributed_training.distributed_world_size=1",
        "optimization.max_epoch=3",
        "optimization.update_freq=[2]",
        "common.log_format=csv",
        "common.log_interval=1",
        "checkpoint.keep_last_epochs=0",
        "model.final_dim=16",
        "+model.latent_vars=6",
        "+model.num_negatives=5",
        f"checkpoint.save_dir={folder}",
        *(f"++model.{key}={value}" for key, value in SMALL.items()),
        *more,
    ]


KINDS = {"finetuning": finetuning, "pretraining": pretraining}


def same_run(one, other):
    """Whether two runs ended alike, to the bit."""
    with checkpoint.read(one / "checkpoint_last.pt") as a, checkpoint.read(other / "checkpoint_last.pt") as b:
        for name in a.tensors:
            np.testing.assert_array_equal(np.asarray(a.tensors[name]), np.asarray(b.tensors[name]), err_msg=name)
        first, second = (found.content["last_optimizer_state"]["state"] for found in (a, b))
        assert first.keys() == second.keys() and first
        for place in first:
            for part in ("exp_avg", "exp_avg_sq", "step"):
                np.testing.assert_array_equal(np.asarray(first[place][part]), np.asarray(second[place][part]))
        for part in ("val_loss", "best", "train_iterator"):
            assert a.extra_state[part] == b.extra_state[part], part
        assert a.extra_state["metrics"]["default"] == b.extra_state["metrics"]["default"]
    for name in ("train_inner", "train", "valid"):
        ours, theirs = rows(one / f"{name}.csv"), rows(other / f"{name}.csv")
        for a, b in zip(ours, theirs, strict=True):
            assert {k: v for k, v in a.items() if k not in CLOCKS} == {k: v for k, v in b.items() if k not in CLOCKS}


def test_a_run_that_trains_the_last_layer(data):
    few = ["optimization.max_update=2", "ecgfm.trainable=1", "ecgfm.lr_decay=0.5"]
    assert train(finetuning(*few, folder="last")) == 0
    with checkpoint.read("last/checkpoint_last.pt") as found:
        moments = found.content["last_optimizer_state"]["state"]
        names = [name for place, name in enumerate(found.tensors) if place in moments]
        layers = int(found.config["encoder_layers"])
    assert {name.split(".layers.")[-1].split(".")[0] for name in names} == {str(layers - 1), "proj"}
    assert train(finetuning(*few[1:], "optimization.max_epoch=1", "ecgfm.trainable=head", folder="head")) == 0
    with pytest.raises(ConfigError, match=r"ecgfm.trainable: it is of finetuning"):
        settings_of(compose("w2v_cmsc_rlm", pretraining("ecgfm.trainable=1")[2:]))


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("updates", [3, 4])
def test_a_run_that_stops_and_goes_on(data, kind, updates):
    arguments = KINDS[kind]
    assert train(arguments(folder="whole")) == 0
    assert train(arguments(f"optimization.max_update={updates}", folder="parts", *())) == 0
    # What was said before it stopped is not in the whole run: a validation and a checkpoint in the middle.
    assert train(arguments(folder="parts")) == 0
    with checkpoint.read("whole/checkpoint_last.pt") as a, checkpoint.read("parts/checkpoint_last.pt") as b:
        for name in a.tensors:
            np.testing.assert_array_equal(np.asarray(a.tensors[name]), np.asarray(b.tensors[name]), err_msg=name)


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_run_that_is_killed_and_goes_on(data, kind):
    arguments = KINDS[kind]("checkpoint.save_interval_updates=1", "checkpoint.keep_interval_updates=2")
    command = [sys.executable, "-c", "import sys; from ecgfm.cli.hydra import train; sys.exit(train())"]

    def run(folder, kill_after=None):
        line = [*command, *arguments, f"checkpoint.save_dir={folder}"]
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if kill_after is None:
            output, _ = process.communicate(timeout=PATIENCE_S)
            assert process.returncode == 0, output
            return
        told = 0
        for line in process.stdout:
            told += "train_inner" in line
            if told == kill_after:
                time.sleep(0.003 * kill_after)
                process.kill()
                break
        process.communicate(timeout=PATIENCE_S)

    run("whole")
    for kill_after in (1, 2, 3):
        run("killed", kill_after)
        loaded = Path("killed/checkpoint_last.pt")
        if loaded.exists():
            checkpoint.read(loaded).close()
    run("killed")
    same_run(data / "whole", data / "killed")
    leftover = [path.name for path in Path("killed").iterdir() if path.suffix in (".tmp", ".part")]
    assert len(leftover) <= 3


class Signalled:
    """A signal during the k-th update, as a user's Ctrl-C."""

    def __init__(self, monkeypatch):
        self.at = None
        original = Reporting.updated

        def updated(reporting, course):
            original(reporting, course)
            if self.at is not None and course.trainer.num_updates == self.at:
                self.at = None
                os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr(Reporting, "updated", updated)


def all_of(folder):
    """The names of checkpoints with what each says of scores."""
    found = {}
    for path in folder.glob("*.pt"):
        with checkpoint.read(path) as one:
            extra = one.extra_state
            found[path.name] = (one.content["optimizer_history"], extra["val_loss"], extra["best"], extra["ecgfm"])
    return found


def test_a_run_with_adapters_that_is_killed(data, monkeypatch, capsys):
    signalled = Signalled(monkeypatch)
    more = ["ecgfm.adapters=2", "ecgfm.trainable=1"]
    assert train(finetuning(*more, folder="whole")) == 0
    signalled.at = 3
    assert train(finetuning(*more, folder="parts")) == 143
    assert train(finetuning(*more, folder="parts")) == 0
    same_run(data / "whole", data / "parts")
    with checkpoint.read("whole/checkpoint_last.pt") as one, checkpoint.read("parts/checkpoint_last.pt") as other:
        first, second = (found.extra_state["ecgfm"]["adapters"] for found in (one, other))
        assert len(first) == 4 and first.keys() == second.keys()
        for name, entry in first.items():
            for part in ("values", "exp_avg", "exp_avg_sq", "step"):
                np.testing.assert_array_equal(np.asarray(entry[part]), np.asarray(second[name][part]), err_msg=name)
        assert not any("adapter" in name for name in one.tensors)
    assert ecgfm.load("whole/checkpoint_last.pt").num_labels == 3
    # Others begin on the merged weights; those of the run itself must be there.
    start = ["checkpoint.finetune_from_model=whole/checkpoint_last.pt", "ecgfm.adapters=3", "optimization.lr=[0.0]"]
    assert train(finetuning(*start, folder="others")) == 0
    with checkpoint.read("whole/checkpoint_last.pt") as one, checkpoint.read("others/checkpoint_last.pt") as other:
        for name in one.tensors:
            np.testing.assert_array_equal(np.asarray(one.tensors[name]), np.asarray(other.tensors[name]), err_msg=name)
    capsys.readouterr()
    assert train(finetuning("ecgfm.adapters=3", "ecgfm.trainable=1", folder="whole")) == 2
    said = capsys.readouterr().err
    assert "ecgfm.adapters.encoder.encoder.layers.1.self_attn.q_proj.adapter_a" in said and "reset_optimizer" in said


@pytest.mark.parametrize("trainable", ["1", "head"])
def test_a_run_with_kept_rows_that_is_killed(data, monkeypatch, trainable):
    """To the bit as one that was not, whether the rows are computed anew or there already."""
    signalled = Signalled(monkeypatch)
    more = [f"ecgfm.trainable={trainable}", "model.dropout=0.1"]
    assert train(finetuning(*more, "ecgfm.cache=kept", folder="whole")) == 0
    assert len(list(Path("kept").glob("*.npy"))) == 2  # of training and of validation
    for folder, cache in (("in_file", "kept"), ("in_memory", "memory")):
        signalled.at = 3
        assert train(finetuning(*more, f"ecgfm.cache={cache}", folder=folder)) == 143
        assert train(finetuning(*more, f"ecgfm.cache={cache}", folder=folder)) == 0
        same_run(data / "whole", data / folder)
    assert len(list(Path("kept").glob("*.npy"))) == 2
    if trainable == "1":
        assert train(finetuning(*more, "ecgfm.cache=off", folder="anew")) == 0
        same_run(data / "whole", data / "anew")


DUE = {
    "each epoch": [],
    "within an epoch": ["dataset.validate_interval_updates=2", "optimization.update_freq=[1]"],
    "not saved": ["checkpoint.save_interval=2", "optimization.max_epoch=4", "dataset.validate_interval_updates=3"],
    "saved within": ["checkpoint.save_interval_updates=2", "checkpoint.keep_interval_updates=2"],
    "patience": ["checkpoint.patience=2", "optimization.lr=[0.0]", "optimization.max_epoch=6"],
    "the last one": ["optimization.max_update=5"],
}


@pytest.mark.parametrize("kind, case", [("pretraining", "each epoch"), *(("finetuning", case) for case in DUE)])
def test_a_signal_before_a_validation_that_is_due(data, monkeypatch, kind, case):
    """Put off, saved as due and made up for: nothing differs from a run that was left alone."""
    more = [*DUE[case], "checkpoint.best_checkpoint_metric=loss", "checkpoint.keep_best_checkpoints=2"]
    signalled = Signalled(monkeypatch)
    assert train(KINDS[kind](*more, folder="whole")) == 0
    expected, due = all_of(data / "whole"), {int(row["step"]) for row in rows("whole/valid.csv")}
    for at in sorted({1, 3, *due}):
        folder = f"at{at}"
        signalled.at = at
        assert train(KINDS[kind](*more, folder=folder)) == 143
        signalled.at = None
        assert train(KINDS[kind](*more, folder=folder)) == 0
        same_run(data / "whole", data / folder)
        assert all_of(data / folder) == expected, at
        if kind == "finetuning":
            assert rows(f"{folder}/valid_labels.csv") == rows("whole/valid_labels.csv")


def test_a_kill_while_a_validation_is_made_up_for(data, monkeypatch):
    """The row that it wrote before it was saved is not there twice."""
    signalled = Signalled(monkeypatch)
    assert train(finetuning(folder="whole")) == 0
    signalled.at = 4  # the last update of the first epoch
    assert train(finetuning(folder="parts")) == 143
    with monkeypatch.context() as patch:
        patch.setattr(Keeping, "saved", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            Prepared(settings_of(compose("diagnosis", finetuning(folder="parts")[2:])), Alone()).train()
    assert [row["step"] for row in rows("parts/valid.csv")] == ["4"]
    assert train(finetuning(folder="parts")) == 0
    same_run(data / "whole", data / "parts")


# ---- nothing to train on ----


def test_a_batch_whose_segments_are_all_damaged(data, capsys):
    x = np.load("data/train.npy")
    x[[2, 13], 3, 7] = np.nan
    np.save("data/train.npy", x)
    more = [
        "dataset.batch_size=1",
        "ecgfm.max_bad_segments=0.5",
        "optimization.update_freq=[1]",
        "optimization.max_epoch=2",
    ]
    assert train(finetuning(*more)) == 0
    assert capsys.readouterr().out.count("update skipped: all of its segments are damaged") == 4
    assert [row["step"] for row in rows("run/train.csv")] == ["12", "24"]
    assert [row["step"] for row in rows("run/train_inner.csv")] == [str(i) for i in range(1, 25)]
    x[:] = np.nan
    x[0] = 0.5
    np.save("data/train.npy", x)
    more[1] = "ecgfm.max_bad_segments=1.0"
    assert train(finetuning(*more, "optimization.update_freq=[14]", folder="one")) == 0
    assert [row["step"] for row in rows("one/valid.csv")] == ["1", "2"]


def test_an_epoch_without_an_applied_update(data, capsys):
    np.save("y.npy", np.ones((14, 3), np.float32))
    more = ["ecgfm.on_nonfinite=skip", "criterion.pos_weight=[3e38,3e38,3e38]", "optimization.max_epoch=2"]
    assert train(finetuning(*more, "optimization.clip_norm=1.0")) == 0
    assert "update skipped: the norm of the gradients is" in capsys.readouterr().out
    ended = rows("run/train.csv")
    assert [row["step"] for row in ended] == ["0", "0"]
    assert ended[0]["loss"] == ended[0]["gnorm"] == ended[0]["clip"] == "" and float(ended[0]["lr"]) == 1e-3
    assert train(finetuning(*more, "criterion.pos_weight=[1,1,1]", "optimization.max_epoch=3")) == 0
    assert int(rows("run/train.csv")[-1]["step"]) > 0


# ---- what others read ----


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_configuration_of_a_run_makes_another_run(data, kind):
    """With the sizes of its network, and no key that fairseq-signals refuses."""
    assert train(KINDS[kind]("optimization.max_epoch=1", folder="first")) == 0
    text = Path("first/.hydra/config.yaml").read_text()
    written = yaml.safe_load(text)
    size = SMALL if kind == "pretraining" else weights.SMALL
    for key in ("encoder_layers", "encoder_embed_dim", "encoder_ffn_embed_dim", "encoder_attention_heads", "conv_pos"):
        assert written["model"][key] == size[key]
    assert "ecgfm" not in written and "tensorboard_logdir" not in written["common"]
    assert "batch_size_valid: ${dataset.batch_size}" in text
    again = ["--config-dir", "first/.hydra", "--config-name", "config", "checkpoint.save_dir=second"]
    assert train(again) == 0
    assert rows("second/valid.csv") == rows("first/valid.csv")
    with checkpoint.read("second/checkpoint_last.pt") as found:
        assert "tensorboard_logdir" not in found.cfg["common"] and "ecgfm" not in found.cfg
    assert train([*again, "ecgfm.recompute=true", "checkpoint.save_dir=third"]) == 0
    assert yaml.safe_load(Path("third/.hydra/config.yaml").read_text())["ecgfm"] == {"recompute": True}


@pytest.mark.parametrize("kind", list(KINDS))
def test_only_keys_of_the_original_are_written(data, shared, kind):
    assert train(KINDS[kind]("optimization.max_epoch=1")) == 0
    name = {"finetuning": "finetune", "pretraining": "pretrain"}[kind]
    theirs = json.loads((shared / "golden/cli/checkpoint_structure.json").read_text())[name]["cfg"]
    with checkpoint.read("run/checkpoint_last.pt") as found:
        saved = found.cfg
    written = yaml.safe_load(Path("run/.hydra/config.yaml").read_text())
    for config in (saved, written):
        assert set(config) <= set(theirs)
        for group in set(config) - {"_name", "job_logging_cfg"}:
            assert set(config[group]) <= set(theirs[group]), group


# ---- as the original ----


def test_the_caveat_of_the_model_is_said_once(data, capsys):
    table = weights.parameters(weights.SMALL, "pretraining")
    checkpoint.save(
        data / "model.pt",
        kind="pretraining",
        config=weights.SMALL,
        tensors=weights.weights(table),
        info={"caveat": "It knows adults only"},
        force=True,
    )
    assert train(finetuning("optimization.max_epoch=1")) == 0
    assert capsys.readouterr().out.count("model.pt: It knows adults only") == 1


def test_warnings_are_lines(data, capsys, monkeypatch):
    import warnings

    def warn(settings, ranks, started):
        for _ in range(2):
            warnings.warn("the input is odd", ecgfm.InputWarning)
        return 0

    monkeypatch.setattr("ecgfm.training.run.train", warn)
    assert train(finetuning()) == 0
    assert capsys.readouterr().err == "ecgfm: the input is odd\n"


def test_finetuning_perturbs_nothing(data, capsys):
    """As in fairseq-signals, where this setting is one of pretraining."""
    assert train(finetuning(folder="plain")) == 0
    mode = ["+task.perturbation_mode=[random_leads_masking]", "+task.mask_leads_prob=1.0"]
    assert train(finetuning(*mode, folder="masked")) == 0
    assert "task.perturbation_mode=['random_leads_masking'] means nothing here" in capsys.readouterr().out
    same_run(data / "plain", data / "masked")


def test_signals_as_in_pretraining(data, capsys):
    Path("mean.txt").write_text("0.1\n" * 12)
    Path("std.txt").write_text("2.0\n" * 12)
    normalize = ["task.normalize=true", "+task.mean_path=mean.txt", "+task.std_path=std.txt"]
    assert train(pretraining("optimization.max_epoch=1", folder="first")) == 0
    of_first = "model.model_path=first/checkpoint_last.pt"
    for name, more in {"normalize": normalize, "filter": ["+task.filter=true"]}.items():
        assert train(finetuning(of_first, *more)) == 2
        assert f"task.{name}: it is true here and was false in the run that made" in capsys.readouterr().err
    assert train(pretraining("optimization.max_epoch=1", *normalize, folder="normal")) == 0
    of_normal = "model.model_path=normal/checkpoint_last.pt"
    assert train(finetuning(of_normal)) == 2 and "Say task.normalize=true" in capsys.readouterr().err
    assert train(finetuning(of_normal, *normalize)) == 0
    with checkpoint.read("run/checkpoint_last.pt") as found:
        assert found.cfg["model"]["normalize"] is True


def test_without_wandb_a_run_goes_on(data, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert train(finetuning("common.wandb_project=mine", "optimization.max_epoch=1")) == 0
    assert "wandb is not installed: common.wandb_project is not used; pip install wandb" in capsys.readouterr().out


# ---- going on from what is not right ----


def spoilt(change):
    """checkpoint_last.pt of ``run`` with its content changed."""
    with checkpoint.read("run/checkpoint_last.pt") as found:

        def plain(value):
            if isinstance(value, dict):
                return {key: plain(item) for key, item in value.items()}
            return np.array(value) if hasattr(value, "shape") and not isinstance(value, np.ndarray) else value

        content = {key: plain(value) for key, value in found.content.items()}
        content["model"] = {name: np.array(tensor) for name, tensor in found.tensors.items()}
    change(content)
    checkpoint.write_pt("run/checkpoint_last.pt", content)


def of_first(part, value):
    def change(content):
        state = content["last_optimizer_state"]["state"]
        state[min(state)][part] = value

    return change


def of_history(name, value):
    return lambda content: content["optimizer_history"][-1].update({name: value})


SPOILT = {
    "a text": (of_first("exp_avg", "x"), "exp_avg: it is 'x'"),
    "nothing": (of_first("exp_avg_sq", None), "exp_avg_sq: it is None"),
    "a list": (of_first("exp_avg", [1, [2]]), "exp_avg: it is [1, [2]]"),
    "another size": (of_first("exp_avg", np.zeros((3, 3), np.float32)), "exp_avg: it is of shape (3, 3)"),
    "a step in words": (of_first("step", "four"), "step: 'four' is not a whole number"),
    "steps": (of_first("step", [1, 2]), "step: [1, 2] is not a whole number"),
    "no step": (of_first("step", None), "step: None is not a whole number"),
    "a step below 0": (of_first("step", -1), "step: -1 is not a whole number"),
    "a large step": (of_first("step", 1 << 70), "is not a whole number"),
    "a state in words": (
        lambda content: content["last_optimizer_state"]["state"].update({0: "x", 1: "x", 2: "x"}),
        "'x' is not",
    ),
    "no state": (lambda content: content.update(last_optimizer_state=None), "last_optimizer_state: the state of"),
    "fp16": (of_history("optimizer_name", "FP16Optimizer"), "FP16Optimizer keeps the moments of all tensors as one"),
    "another criterion": (of_history("criterion_name", "CrossEntropyCriterion"), "CrossEntropyCriterion"),
}


@pytest.mark.parametrize("name", list(SPOILT))
def test_an_optimizer_that_cannot_go_on(data, capsys, name):
    """The error says what helps, and it does."""
    change, words = SPOILT[name]
    assert train(finetuning("optimization.max_epoch=1")) == 0
    spoilt(change)
    capsys.readouterr()
    assert train(finetuning("optimization.max_epoch=2")) == 2
    said = capsys.readouterr().err
    assert words in said and "run/checkpoint_last.pt" in said and said.count("\n") == 1
    assert "checkpoint.reset_optimizer=true" in said
    assert train(finetuning("optimization.max_epoch=2", "checkpoint.reset_optimizer=true")) == 0


@pytest.mark.parametrize(
    "change, field",
    [
        (of_history("num_updates", "many"), "num_updates"),
        (lambda content: content["extra_state"]["train_iterator"].update(epoch=[1]), "train_iterator.epoch"),
        (lambda content: content["extra_state"]["ecgfm"].update(patience=[1.0, "x"]), "ecgfm.patience"),
    ],
)
def test_a_place_that_cannot_be_gone_on_from(data, capsys, change, field):
    assert train(finetuning("optimization.max_epoch=1")) == 0
    spoilt(change)
    assert train(finetuning("optimization.max_epoch=2")) == 2
    assert field in capsys.readouterr().err


def test_what_counts_little_may_be_anything(data):
    """Scores, patience and means of a checkpoint that are not numbers are as if they were not there."""
    assert train(finetuning("optimization.max_epoch=1")) == 0

    def change(content):
        extra = content["extra_state"]
        extra.update(best="x", val_loss=[], previous_training_time="x")
        extra["ecgfm"].update(best={"valid": "x", "test": None}, patience=["x", 1], due=7)
        extra["metrics"] = {"train": [[10, ["loss"], "AverageMeter", {"sum": "x", "count": 1}], 7], "default": None}

    spoilt(change)
    assert train(finetuning("optimization.max_epoch=2", "checkpoint.patience=5")) == 0


def test_all_batches_of_an_epoch_done(data):
    """A checkpoint may say so: the next epoch begins."""
    assert train(finetuning("optimization.max_epoch=1")) == 0
    spoilt(lambda content: content["extra_state"]["train_iterator"].update(epoch=1, iterations_in_epoch=4))
    assert train(finetuning("optimization.max_epoch=2")) == 0


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_asked_to_stop_saves(data, number, status):
    arguments = finetuning("optimization.max_epoch=5000", "checkpoint.no_epoch_checkpoints=true")
    command = [sys.executable, "-c", "import sys; from ecgfm.cli.hydra import train; sys.exit(train())", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in process.stdout:
        if "train_inner" in line:
            process.send_signal(number)
            break
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == status, output
    assert "stopped" in output
    with checkpoint.read("run/checkpoint_last.pt") as found:
        done = found.content["optimizer_history"][-1]["num_updates"]
        assert done >= 1 and int(rows("run/train_inner.csv")[-1]["step"]) == done


def test_two_steps_of_a_user(data):
    """Pretrain, finetune from it, load the result."""
    assert train(pretraining("optimization.max_epoch=1", folder="first")) == 0
    assert train(finetuning("model.model_path=first/checkpoint_last.pt", folder="second")) == 0
    model = ecgfm.load("second")
    assert model.labels == ("AF", "RBBB", "sinus") and model(np.zeros((1, 12, 500))).logits.shape == (1, 3)
    assert Path("second/label_def.csv").exists() and Path("second/.hydra/config.yaml").exists()
    labels = rows("second/valid_labels.csv")
    assert [row["label"] for row in labels[:3]] == ["AF", "RBBB", "sinus"]


def test_which_checkpoints_are_kept(data):
    more = [
        "checkpoint.keep_last_epochs=1",
        "checkpoint.keep_best_checkpoints=2",
        "checkpoint.best_checkpoint_metric=auroc",
    ]
    more += ["checkpoint.maximize_best_checkpoint_metric=true", "optimization.max_epoch=4"]
    more += ["checkpoint.save_interval_updates=1", "checkpoint.keep_interval_updates=1"]
    assert train(finetuning(*more)) == 0
    names = sorted(path.name for path in Path("run").glob("*.pt"))
    assert [name for name in names if name[:11] == "checkpoint4"] and "checkpoint3.pt" not in names
    assert len([name for name in names if name.startswith("checkpoint.best_auroc_")]) == 2
    assert len([name for name in names if name.startswith("checkpoint_") and name[11].isdigit()]) == 1
    best = max(float(row["auroc"]) for row in rows("run/valid.csv"))
    with checkpoint.read("run/checkpoint_best.pt") as found:
        assert found.extra_state["val_loss"] == pytest.approx(best)
    assert float(rows("run/valid.csv")[-1]["best_auroc"]) == pytest.approx(best)


def test_a_threshold_and_the_score_of_the_challenge(data):
    Path("weights.csv").write_text(",426783006,1,2\n426783006,1,0.3,0.2\n1,0.3,1,0.5\n2,0.2,0.5,1\n")
    more = ["criterion.report_cinc_score=true", "criterion.weights_file=weights.csv", "optimization.max_epoch=2"]
    more += ["checkpoint.best_checkpoint_metric=cinc_score", "checkpoint.maximize_best_checkpoint_metric=true"]
    assert train(finetuning(*more, "criterion.threshold=0.0001", folder="low")) == 0
    assert train(finetuning(*more, "criterion.threshold=0.9999", folder="high")) == 0
    low, high = rows("low/train_inner.csv"), rows("high/train_inner.csv")
    for a, b in zip(low, high, strict=True):
        assert a["loss"] == b["loss"] and float(a["recall"]) == 1 and float(b["recall"]) == 0
        assert -2 < float(a["cinc_score"]) <= 1 and float(a["cinc_score"]) != float(b["cinc_score"])
    assert "best_cinc_score" in rows("low/valid.csv")[0]


def test_patience_ends_a_run(data):
    assert train(finetuning("checkpoint.patience=1", "optimization.max_epoch=50", "optimization.lr=[0.0]")) == 0
    assert len(rows("run/valid.csv")) == 2


BAD = {
    "no manifest": (["dataset.train_subset=nothing"], "nothing"),
    "labels": (["model.num_labels=4"], "model.num_labels"),
    "short labels": (["task.label_file=short.npy"], "idx"),
    "no labels": (["task.label_file=none.npy"], "none.npy"),
    "no model": (["model.model_path=nothing.pt"], "nothing.pt"),
    "another architecture": (["+model.encoder_layers=3"], "model.encoder_layers"),
    "weights": (["criterion.pos_weight=[1.0,2.0]"], "pos_weight"),
    "infinite weight": (["criterion.pos_weight=[1.0,inf,2.0]"], "RBBB"),
    "metric": (["checkpoint.best_checkpoint_metric=auc"], "best_checkpoint_metric"),
    "key": (["optimization.max_epochs=3"], "max_epoch"),
    "format": (["common.log_format=xml"], "log_format"),
    "save_dir": (["checkpoint.save_dir=model.pt"], "save_dir"),
    "restore": (["checkpoint.restore_file=nothing.pt"], "restore_file"),
    "batch": (["dataset.batch_size=null"], "batch_size"),
    "endless": (["optimization.max_epoch=0", "optimization.max_update=0"], "max_epoch"),
    "unused": (["dataset.valid_subset=other"], "other"),
    "method": (["task._name=ecg_question_answering"], "task._name"),
    "ranks": (["optimization.update_freq=[0]"], "update_freq"),
    "challenge": (["criterion.report_cinc_score=true"], "weights_file"),
    "threshold": (["criterion.threshold=1.0"], "threshold"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_what_is_wrong_is_said_before_the_first_update(data, name, capsys):
    np.save("short.npy", np.zeros((3, 3), np.float32))
    more, words = BAD[name]
    assert train(finetuning(*more)) == 2
    said = capsys.readouterr()
    assert said.err.startswith("ecgfm: error: ") and said.err.count("\n") == 1 and words in said.err, said.err
    assert "train_inner" not in said.out and not list(data.glob("run/*.pt"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_read_only(data, capsys):
    (data / "run").mkdir(mode=0o500)
    assert train(finetuning()) == 2
    assert "save_dir" in capsys.readouterr().err


def test_simclr(data, capsys):
    """Views of segments that stand alone: an objective that the commands know by its name."""
    drops = ["~criterion.infonce", "~criterion.log_keys", "~criterion.loss_weights"]
    asked = ["criterion._name=simclr", "task.data=data", "dataset.batch_size=4", *drops]
    noise = ["task.perturbation_mode=[random_leads_masking,emg_noise]", "task.p=[1.0,0.5]"]
    assert train(pretraining(*asked, *noise)) == 0, capsys.readouterr()
    lines = rows("run/train.csv")
    assert len(lines) == 3 and all(0 < float(line["loss"]) < 10 for line in lines)
    with checkpoint.read("run/checkpoint_last.pt") as found:
        assert found.kind == "pretraining"
    assert ecgfm.load("run/checkpoint_last.pt").kind == "encoder"
    assert train(pretraining(*asked, "task.perturbation_mode=null", folder="none")) == 2
    assert "perturbation_mode: without one both views" in capsys.readouterr().err


NO_KEYS = ["~criterion.report_auc", "~criterion.report_cinc_score", "~criterion.weights_file"]


def without_weights(*more, folder="run"):
    return [word for word in finetuning(*more, folder=folder) if "pos_weight" not in word]


def test_regression(data, capsys):
    """The original's criterion of numbers: their own unit; labels that are not known; validated and loaded as such."""
    y = np.random.default_rng(1).normal(5, 2, (14, 3))
    y[3], y[5, 1] = np.nan, np.nan
    np.save("y.npy", y)
    assert train(without_weights("criterion._name=mse", *NO_KEYS)) == 0, capsys.readouterr()
    assert "train: 4 of 42 labels are not known (NaN)" in capsys.readouterr().out
    lines = rows("run/train.csv")
    assert len(lines) == 3 and "auroc" not in lines[0] and float(lines[2]["loss"]) < float(lines[0]["loss"])
    model = ecgfm.load("run/checkpoint_last.pt")
    assert model.target.mean == (0, 0, 0) and model.target.std == (1, 1, 1) and model.labels == ("AF", "RBBB", "sinus")
    x = np.load("data/valid.npy")
    known = ~np.isnan(y[:6])
    errors = (model(x).values - y[:6])[known]
    loss = float(rows("run/valid.csv")[-1]["loss"])  # three digits are written, in bits as the original calls them
    assert loss == pytest.approx((errors**2).mean() / np.log(2), abs=6e-4)
    with checkpoint.read("run/checkpoint_last.pt") as found:
        assert found.content["optimizer_history"][-1]["criterion_name"] == "MSECriterion"
    task = ["--config-name", "diagnosis", "task.data=data", "dataset.valid_subset=valid", "dataset.batch_size=4"]
    task += ["common_eval.path=run/checkpoint_last.pt", "model.num_labels=3", "+task.label_file=y.npy"]
    capsys.readouterr()
    assert validate([*task, "criterion._name=mse", *NO_KEYS]) == 0, capsys.readouterr()
    assert f"{loss:.3f}".rstrip("0") in capsys.readouterr().out
    assert validate(task) == 2 and "outputs are numbers" in capsys.readouterr().err


def test_labels_that_are_not_known_and_other_losses(data, capsys):
    y = np.load("y.npy")
    y[2], y[4, 0] = np.nan, np.nan
    np.save("y.npy", y)
    for name, more in (("focal", "+criterion.gamma=1.0"), ("asymmetric", "+criterion.clip=0.1")):
        asked = [f"criterion._name={name}", more, "criterion.weight=[1.0,2.0,0.5]", "optimization.max_epoch=1"]
        assert train(finetuning(*asked, folder=name)) == 0, capsys.readouterr()
        (line,) = rows(f"{name}/train.csv")
        assert 0 < float(line["loss"]) < 10 and float(line["accuracy"]) <= 1
    assert train(finetuning("criterion._name=focal", "+criterion.gamma=-1", folder="bad")) == 2
    assert "gamma" in capsys.readouterr().err
    assert train(finetuning("criterion.weight=[1.0]", folder="bad")) == 2
    assert "label_weight" in capsys.readouterr().err

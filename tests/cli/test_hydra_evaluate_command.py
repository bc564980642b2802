"""ecgfm-hydra-validate and ecgfm-hydra-inference on segments and a model of our own making."""

import csv
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("hydra", reason="needs the extra [train]")

import made_segments  # noqa: E402
import weights  # noqa: E402

import ecgfm  # noqa: E402
from ecgfm import checkpoint  # noqa: E402
from ecgfm.checkpoint import write_pt  # noqa: E402
from ecgfm.cli import hydra  # noqa: E402
from ecgfm.inference import open_store  # noqa: E402

SETTINGS = {
    "_name": "ecg_transformer_classifier",
    "encoder_layers": 2,
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 32,
    "encoder_attention_heads": 2,
    "conv_feature_layers": "[(8, 2, 2)] * 4",
    "conv_pos": 4,
    "conv_pos_groups": 2,
    "in_d": 12,
    "num_labels": 3,
}
RECORDS, SEGMENTS = 6, 2


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with manifests, labels and checkpoints; and the segments."""
    folder = tmp_path_factory.mktemp("made")
    x = made_segments.make_split(folder, RECORDS, SEGMENTS, 600, name="test")
    y = np.random.RandomState(0).randint(0, 2, (10 + RECORDS, 3)).astype(np.float64)
    y[10:16] = [[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0], [1, 0, 0], [0, 1, 0]]
    np.save(folder / "y.npy", y)
    table = weights.parameters(weights.config_from(SETTINGS))
    cfg = {"model": SETTINGS, "task": {"label_file": str(folder / "y.npy")}}
    cfg["criterion"] = {"pos_weight": [1.0, 2.0, 3.0]}
    history = [{"num_updates": 7}]
    content = {"cfg": cfg, "model": weights.weights(table), "optimizer_history": history, "extra_state": {}}
    write_pt(folder / "model.pt", content)
    return folder, x, y[10:].repeat(SEGMENTS, axis=0)


@pytest.fixture
def command(made, tmp_path, capsys, monkeypatch):
    """command(name, *overrides): exit status, stdout, stderr; relative paths are those of an empty directory."""
    monkeypatch.chdir(tmp_path)

    def call(name, *overrides, config="diagnosis"):
        folder = made[0]
        argv = [f"task.data={folder}", f"common_eval.path={folder}/model.pt", "dataset.valid_subset=test"]
        argv += ["dataset.batch_size=8", "dataset.num_workers=1", *overrides, "--config-name", config]
        status = getattr(hydra, name)(argv)
        return SimpleNamespace(status=status, **dict(zip(("out", "err"), capsys.readouterr())))

    return call


def beside_the_length(err):
    """The lines but the one that says that the model expects segments of 2,500 samples; those here have 600."""
    lines = err.splitlines()
    kept = [line for line in lines if "the model expects prepared segments: 2500 samples" not in line]
    assert len(lines) - len(kept) <= 1
    return kept


def test_stores_of_validate(made, command, tmp_path):
    folder, x, y = made
    (tmp_path / "out").mkdir()
    found = command("validate", "common_eval.extract=[output,encoder_out,saliency]", "common_eval.results_path=out")
    assert (found.status, beside_the_length(found.err)) == (0, [])
    expected = ecgfm.load(folder / "model.pt")(x, attention=True)
    stores = {name: open_store(f"out/{name}_test.npy") for name in ("outputs", "targets", "encoder_out", "saliency")}
    np.testing.assert_allclose(stores["outputs"], expected.logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(stores["encoder_out"], expected.tokens, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(stores["saliency"], expected.attention, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(stores["targets"], y)
    assert not os.path.exists("out/padding_mask_test.npy") and len(os.listdir("out")) == 8


@pytest.mark.skipif("int8" not in ecgfm._core.precisions(), reason="this processor has no int8")
def test_another_precision(made, command, tmp_path):
    folder, x, _ = made
    (tmp_path / "out").mkdir()
    stores = ["common_eval.extract=[output]", "common_eval.results_path=out"]
    found = command("inference", "ecgfm.precision=int8", *stores)
    assert (found.status, beside_the_length(found.err)) == (0, [])
    expected = ecgfm.load(folder / "model.pt", precision="int8")(x).logits
    np.testing.assert_array_equal(open_store("out/outputs_test.npy"), expected)
    found = command(
        "inference", "ecgfm.precision=auto", "common_eval.extract=[saliency]", "common_eval.results_path=out"
    )
    assert found.status == 0 and "float32 is taken: no report says how exact others are" in found.err


def test_precisions_that_are_refused(command):
    assert command("validate", "ecgfm.precision=int4").status == 2
    found = command("train", "ecgfm.precision=int8")
    assert found.status == 2 and "ecgfm.precision: training computes in float32 and bfloat16, not in int8" in found.err


def test_a_known_model_by_its_name(made, command, tmp_path):
    (tmp_path / "out").mkdir()
    path = ["common_eval.path=demo", "common_eval.extract=[output]", "common_eval.results_path=out"]
    found = command("inference", *path)
    assert found.status == 0, found.err
    np.testing.assert_allclose(
        open_store("out/outputs_test.npy"), ecgfm.load("demo")(made[1]).logits, rtol=1e-5, atol=1e-5
    )
    assert command("inference", "common_eval.path=dem").err.startswith("ecgfm: error: dem: neither a file or directory")


def test_metrics_of_validate(made, command, tmp_path):
    folder, x, y = made
    (tmp_path / "out").mkdir()
    found = command(
        "validate", "common.log_format=csv", "common_eval.extract=[output]", "common_eval.results_path=out",
        "+criterion.pos_weight=[1,2,3]",
    )  # fmt: skip
    assert found.status == 0
    logits = ecgfm.load(folder / "model.pt")(x).logits.astype(np.float64)
    right = (logits > 0) == (y > 0)
    loss = np.where(y > 0, np.array([1, 2, 3]) * np.log1p(np.exp(-logits)), np.log1p(np.exp(logits))).mean() / np.log(2)
    with open("out/test.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert ",".join(row) == "step,loss,nsignals,accuracy,em_accuracy,precision,recall,f1,auroc,auprc"
    assert row["step"] == "7" and float(row["nsignals"]) == 12  # of the subset, not of a batch
    assert float(row["loss"]) == pytest.approx(loss, abs=6e-4)
    assert float(row["accuracy"]) == pytest.approx(right.mean(), abs=1e-5)
    assert float(row["em_accuracy"]) == pytest.approx(right.all(axis=1).mean(), abs=1e-5)
    assert "auroc_macro=" in found.out
    with open("out/test_labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["positives"] for row in rows] == ["6", "6", "0"]
    assert rows[2]["auroc"] == rows[2]["auprc"] == "" and rows[1]["auprc"]


def test_labels_and_criterion_are_the_checkpoints_own(command, tmp_path):
    """As in fairseq-signals, whatever the file of this run and the command line say; that is said."""
    np.save(tmp_path / "other.npy", np.ones((16, 3)))
    own = command("validate", "common.log_format=simple")

    def metrics(found):
        assert found.status == 0, found.err
        return found.out[found.out.index("loss=") :]

    for override in ("criterion.pos_weight=[1,1,1]", "criterion.threshold=0.9", "task.label_file=other.npy"):
        other = command("validate", "common.log_format=simple", override)
        assert metrics(other) == metrics(own)
        assert f"{override.split('=')[0]}=" in other.out and "is not used: that of the checkpoint is" in other.out
    for override in ("{'pos_weight':[1,1,1]}", "{'label_file':'other.npy'}"):
        changed = command("validate", "common.log_format=simple", f'common_eval.model_overrides="{override}"')
        assert metrics(changed) != metrics(own)


def checkpoint_of(made, folder, **task):
    """A copy of the model whose run had these settings of the group ``task``."""
    with checkpoint.read(made[0] / "model.pt") as found:
        tensors = {name: np.array(tensor) for name, tensor in found.tensors.items()}
        cfg = found.cfg | {"task": task}
    write_pt(folder / "model.pt", {"cfg": cfg, "model": tensors, "optimizer_history": [], "extra_state": {}})
    return f"common_eval.path={folder}/model.pt"


def test_a_file_of_labels_that_the_checkpoint_lacks(made, command, tmp_path):
    """Taken out of a published file, or of another machine: this run's is read, and that is said."""
    own = command("validate", "common.log_format=simple")
    for label_file in ("<REDACTED>", "/absent/y.npy", None):
        path = checkpoint_of(made, tmp_path, label_file=label_file)
        found = command("validate", "common.log_format=simple", path, f"task.label_file={made[0]}/y.npy")
        assert found.status == 0 and "y.npy is used" in found.out, found.err
        assert found.out[found.out.index("loss=") :].split(", num_updates")[0] in own.out
        missing = command("validate", path, "task.label_file='<REDACTED>'")
        assert missing.status == 2 and "task.label_file: '<REDACTED>' is a placeholder" in missing.err
        if label_file is not None:
            missing = command("validate", path)
            assert missing.status == 2 and "task.label_file: that of the checkpoint" in missing.err


def test_the_published_file(made, command, tmp_path):
    """A YAML file in which paths were taken out: those that are not read don't matter, the others are named."""
    text = open(os.path.join(os.path.dirname(hydra.__file__), "fairseq", "configs", "diagnosis.yaml")).read()
    text = text.replace("label_file: null", "label_file: <REDACTED>").replace(
        "model_path: ???", "model_path: <REDACTED>"
    )
    text = text.replace("save_dir: checkpoints", "save_dir: <REDACTED>").replace(
        "weights_file: null", "weights_file: ???"
    )
    text = text.replace("  report_cinc_score", "  pos_weight: [9.0, 9.0, 9.0]\n  report_cinc_score")
    (tmp_path / "published.yaml").write_text(text)
    own = command("validate", "common.log_format=simple")
    found = command("validate", "common.log_format=simple", "--config-dir", str(tmp_path), config="published")
    assert found.status == 0 and found.out[found.out.index("loss=") :] == own.out[own.out.index("loss=") :], found.err
    assert (
        command("inference", "--config-dir", str(tmp_path), "common_eval.results_path=.", config="published").status
        == 0
    )
    for name in ("checkpoint.save_dir", "task.label_file", "model.model_path"):
        said = command(
            "train",
            "dataset.train_subset=test",
            "--config-dir",
            str(tmp_path),
            "model.num_labels=3",
            *(
                f"{other}={value}"
                for other, value in {"checkpoint.save_dir": "run", "task.label_file": f"{made[0]}/y.npy"}.items()
                if other != name
            ),
            config="published",
        )
        assert said.status == 2 and f"{name}: '<REDACTED>' is a placeholder" in said.err, said.err


def test_an_older_name_for_extracting_the_output(command, tmp_path):
    assert command("validate", "common_eval.save_outputs=true", "common_eval.results_path=.").status == 0
    assert {"outputs_test.npy", "targets_test.npy"} < set(os.listdir())


def test_stores_of_inference(made, command, tmp_path):
    folder, x, y = made
    (tmp_path / "out").mkdir()
    found = command("inference", "common_eval.results_path=out", "task.label_file=absent.npy")
    assert (found.status, beside_the_length(found.err)) == (0, [])
    assert sorted(os.listdir("out")) == ["outputs_test.npy", "outputs_test_header.pkl"]
    logits = ecgfm.load(folder / "model.pt")(x).logits
    np.testing.assert_allclose(open_store("out/outputs_test.npy"), logits, rtol=1e-5, atol=1e-6)


def test_rows_that_are_padded(made, command, tmp_path):
    """Of two lengths: what follows a short row is zero and marked, whatever batch it was in."""
    model = ecgfm.load(made[0] / "model.pt")
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir(), out.mkdir()
    lengths, x = [600, 480, 320, 320], made[1]
    for i, n in enumerate(lengths):
        made_segments.write_segment(data / f"s{i}.mat", x[i][:, :n].astype(np.float64), idx=10)
    (data / "test.tsv").write_text(f"\t{data}/\n" + "".join(f"s{i}.mat\t{n}\n" for i, n in enumerate(lengths)))
    extract = "common_eval.extract=[output,encoder_out,saliency]"
    more = ["dataset.batch_size=2", "dataset.required_batch_size_multiple=1", f"common_eval.results_path={out}"]
    assert command("inference", f"task.data={data}", extract, *more).status == 0
    mask = open_store(out / "padding_mask_test.npy")
    tokens = [model.tokens(n) for n in lengths]
    np.testing.assert_array_equal(mask, np.arange(tokens[0]) >= np.array(tokens)[:, None])
    encoder_out, logits = open_store(out / "encoder_out_test.npy"), open_store(out / "outputs_test.npy")
    assert not encoder_out[mask].any() and encoder_out[~mask].any()
    for i in (0, 2, 3):  # alone, or beside one of the same length
        alone = model(x[i : i + 1, :, : lengths[i]])
        np.testing.assert_allclose(encoder_out[i, : tokens[i]], alone.tokens[0], rtol=1e-5, atol=2e-5)
        np.testing.assert_allclose(logits[i], alone.logits[0], rtol=1e-5, atol=1e-5)


def test_tokens_of_a_pretrained_model(made, command, tmp_path):
    folder = tmp_path / "encoder"
    model = ecgfm.load(made[0] / "model.pt")
    state = {name.removeprefix("encoder."): v for name, v in model.state_dict().items() if name.startswith("encoder.")}
    ecgfm.Model.from_state_dict(weights.config_from(SETTINGS), state, "encoder").save(folder)
    path, where = f"common_eval.path={folder}", "common_eval.results_path=."
    assert command("inference", path, where, "common_eval.extract=[encoder_out]").status == 0
    np.testing.assert_allclose(open_store("encoder_out_test.npy"), model(made[1]).tokens, rtol=1e-5, atol=1e-5)
    refused = command("inference", path, where)
    assert refused.status == 2 and "has no outputs" in refused.err


@pytest.mark.parametrize(
    "overrides, match",
    [
        (["task.data=absent"], "absent"),
        (["dataset.valid_subset=nothing"], "nothing"),
        (["dataset.valid_subset="], "no subset is named"),
        (["common_eval.path=absent.pt"], "absent.pt"),
        (["common_eval.path=null"], "common_eval.path: it is not given"),
        (["dataset.batch_size=null"], "dataset.batch_size"),
        (["common_eval.model_overrides=\"{'label_file':'few.npy'}\""], "few.npy"),
        (["common_eval.model_overrides=\"{'label_file':'wide.npy'}\""], "4 labels, the checkpoint has 3"),
        (["common_eval.model_overrides=\"{'pos_weight':[1,2]}\""], "2 weights"),
        (["common_eval.model_overrides=\"{'pos_weight':[1,2,1e999]}\""], "not finite"),
        (["common_eval.model_overrides=\"{'pos_weight':{[]:1}}\""], "common_eval.model_overrides"),
        (["common_eval.model_overrides=7"], "common_eval.model_overrides"),
        (["criterion.pos_weight=[1,2,a]"], "criterion.pos_weight"),
        (["common_eval.extract=[output]"], "common_eval.results_path"),
        (["common_eval.extract=[output]", "common_eval.results_path=absent"], "no such directory"),
        (["common_eval.extract=[logits]"], "'logits' can't be extracted"),
        (["distributed_training.distributed_world_size=-4"], "distributed_world_size: -4 is not an integer from 0"),
        (["common_eval.paht=x"], "Did you mean path?"),
        (["task._name=ecg_pretraining"], "task"),
        (["common_eval.model_overrides={dropout:0.1}"], "common_eval.model_overrides"),
        (["a.b"], "a.b"),
    ],
)
def test_errors_in_one_line(command, tmp_path, overrides, match):
    np.save(tmp_path / "few.npy", np.zeros((12, 3)))
    np.save(tmp_path / "wide.npy", np.zeros((16, 4)))
    before = sorted(os.listdir())
    found = command("validate", *overrides)
    assert found.status == 2 and match in found.err, found.err
    assert found.err.count("\n") == 1 and "Traceback" not in found.err and found.out == ""
    assert sorted(os.listdir()) == before


def test_a_damaged_segment_stops_it_and_leaves_no_store(made, command, tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir(), out.mkdir()
    for i in range(40):
        made_segments.write_segment(data / f"s{i}.mat", made[1][0].astype(np.float64), idx=10)
    x = made[1][0].astype(np.float64)
    x[3, 5] = np.nan
    made_segments.write_segment(data / "s29.mat", x, idx=10)
    (data / "test.tsv").write_text(f"\t{data}/\n" + "".join(f"s{i}.mat\t600\n" for i in range(40)))
    found = command("validate", f"task.data={data}", "common_eval.extract=[output]", f"common_eval.results_path={out}")
    assert found.status == 2 and ["s29.mat" in line for line in beside_the_length(found.err)] == [True]
    assert os.listdir(out) == []


def test_the_installed_commands(made, tmp_path):
    """As programs, from another directory."""
    program = os.path.join(os.path.dirname(sys.executable), "ecgfm-hydra-inference")
    if not os.path.exists(program):
        pytest.skip("the commands are not installed beside this Python")
    argv = [f"task.data={made[0]}", f"common_eval.path={made[0]}/model.pt", "dataset.valid_subset=test"]
    argv += ["dataset.batch_size=8", "common_eval.results_path=."]
    done = subprocess.run([program, *argv, "--config-name=diagnosis"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(tmp_path)) == ["outputs_test.npy", "outputs_test_header.pkl"]
    done = subprocess.run([program, *argv], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and "--config-name" in done.stderr and done.stderr.count("\n") == 1


# ---- after a run of training: what it logged of its last validation ----


def trained(folder, config, *overrides):
    argv = [f"task.data={folder}", "dataset.batch_size=4", "dataset.required_batch_size_multiple=1"]
    argv += ["dataset.valid_subset=test", "dataset.train_subset=test", "dataset.disable_validation=false"]
    argv += ["optimization.max_epoch=2", "optimization.lr=[1e-3]", "distributed_training.distributed_world_size=1"]
    argv += ["checkpoint.save_dir=run", "common.log_format=csv", "dataset.num_workers=0", *overrides]
    assert hydra.train([*argv, "--config-name", config]) == 0
    with open("run/test.csv", newline="") as file:
        return {name: float(value) for name, value in list(csv.DictReader(file))[-1].items()}


def shown(out):
    """The last line of metrics in the format `simple`."""
    line = next(line for line in reversed(out.splitlines()) if "loss=" in line)
    return {part.split("=")[0]: float(part.split("=")[1]) for part in line.split(" | ")[1].split(", ")}


VALIDATE = ["common_eval.path=run/checkpoint_last.pt", "dataset.valid_subset=test", "dataset.batch_size=4"]
VALIDATE += ["dataset.required_batch_size_multiple=1", "common.log_format=simple", "dataset.num_workers=0"]


def test_a_finetuned_checkpoint(made, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = made[0]
    more = [f"model.model_path={folder}/model.pt", "model.num_labels=3", f"+task.label_file={folder}/y.npy"]
    logged = trained(folder, "diagnosis", *more)
    capsys.readouterr()
    assert hydra.validate([f"task.data={folder}", *VALIDATE, "--config-name", "diagnosis"]) == 0
    found = shown(capsys.readouterr().out)
    assert found["num_updates"] == logged["step"]
    for name in ("loss", "accuracy", "em_accuracy", "recall", "auroc", "auprc"):
        assert found[name] == pytest.approx(logged[name], rel=1e-5, abs=1e-3 if name == "loss" else 1e-5), name


def test_a_pretrained_checkpoint(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    made_segments.make_split(tmp_path, 1, 2, 600, name="test")
    sizes = {key: value for key, value in SETTINGS.items() if key not in ("_name", "num_labels", "in_d")}
    sizes |= {"final_dim": 8, "latent_vars": 4, "num_negatives": 5, "conv_feature_layers": '"[(8, 2, 2)] * 4"'}
    more = [*(f"++model.{key}={value}" for key, value in sizes.items()), "optimization.update_freq=[1]"]
    logged = trained("cmsc", "w2v_cmsc_rlm", *more)
    capsys.readouterr()
    argv = ["task.data=cmsc", *VALIDATE, "distributed_training.distributed_world_size=1"]
    argv += ["--config-name", "w2v_cmsc_rlm"]
    assert hydra.validate(argv) == 0
    found = shown(capsys.readouterr().out)
    assert {"loss_0", "loss_3", "code_perplexity"} <= set(found)
    for name in set(found) - {"num_updates", "nsignals"}:
        assert found[name] == logged[name], name
    assert hydra.validate([*argv, "common_eval.save_outputs=true"]) == 0
    assert "common_eval.save_outputs=true means nothing here" in capsys.readouterr().out
    (tmp_path / "out").mkdir()
    assert hydra.validate([*argv, "common_eval.extract=[encoder_out]", "common_eval.results_path=out"]) == 2
    assert "common_eval.extract" in capsys.readouterr().err

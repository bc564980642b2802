"""A run of training that is killed, or finds the disk full, at any change of a file: no checkpoint is lost, and the run
that goes on ends with the bits of one that was left alone.
"""

import csv
import json
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import made_segments
import numpy as np
import pytest
import weights

import ecgfm
from ecgfm import checkpoint

pytest.importorskip("hydra", reason="needs the extra [train]")
pytest.importorskip("sklearn", reason="needs the extra [train]")

CLOCKS = ("ups", "wall", "train_wall")
PROGRAM = Path(__file__).resolve().parents[1] / "dying_training.py"
COMMON = [
    "dataset.batch_size=2", "dataset.required_batch_size_multiple=1", "dataset.valid_subset=valid",
    "dataset.disable_validation=false", "dataset.num_workers=0", "distributed_training.distributed_world_size=1",
    "optimization.max_epoch=2", "optimization.lr=[1e-3]", "common.log_format=csv", "common.log_interval=1",
    "checkpoint.save_interval_updates=1", "checkpoint.keep_interval_updates=1", "checkpoint.keep_last_epochs=1",
    "checkpoint.keep_best_checkpoints=1", "checkpoint.patience=40", "ecgfm.threads=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    made_segments.make_split(folder, 6, 2, 500, name="train")
    made_segments.make_split(folder, 2, 2, 500, name="valid")
    np.save(folder / "y.npy", (np.random.default_rng(3).random((16, 3)) < 0.5).astype(np.float32))
    table = weights.parameters(weights.SMALL, "pretraining")
    ecgfm.Model.from_state_dict(weights.SMALL, weights.weights(table), kind="pretraining").save(folder / "model.pt")
    return folder


def arguments(kind, inputs, run):
    argv = [*COMMON, f"checkpoint.save_dir={run}"]
    if kind == "finetuning":
        argv += [f"task.data={inputs}", f"model.model_path={inputs}/model.pt", "model.num_labels=3"]
        return [*argv, f"task.label_file={inputs}/y.npy", "optimization.update_freq=[2]", "--config-name", "diagnosis"]
    kept = ("encoder_", "conv_pos", "latent_", "final")
    shape = {key: value for key, value in weights.SMALL.items() if key.startswith(kept)}
    argv += [f"task.data={inputs}/cmsc", *(f"++model.{key}={value}" for key, value in shape.items())]
    argv += ['++model.conv_feature_layers="[(8,2,2)]*4"', "++model.num_negatives=3", "optimization.update_freq=[1]"]
    return [*argv, "--config-name", "w2v_cmsc_rlm"]


def runs(*jobs):
    """(exit status, changes of files, what was said) of each (arguments, how, at)."""
    jobs = [{"argv": argv, "how": how, "at": at} for argv, how, at in jobs]
    for i, job in enumerate(jobs):
        save_dir = next(one for one in job["argv"] if one.startswith("checkpoint.save_dir=")).split("=")[1]
        job["log"] = f"{save_dir}.{i}.log"
    command = [sys.executable, PROGRAM]
    done = subprocess.run(command, input=json.dumps(jobs), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = zip(json.loads(done.stdout), jobs)
    return [(one["status"], one["changes"], Path(job["log"]).read_text()) for one, job in found]


def ending(run):
    """All that a run leaves behind, but its clocks."""
    with checkpoint.read(run / "checkpoint_last.pt") as found:
        found.verify()
        moments = found.content["last_optimizer_state"]["state"]
        parts = [np.asarray(tensor).tobytes() for tensor in found.tensors.values()]
        for name in ("exp_avg", "exp_avg_sq", "step"):
            parts += [np.asarray(moments[i][name]).tobytes() for i in sorted(moments)]
        extra = {key: value for key, value in found.extra_state.items() if key != "previous_training_time"}
        parts.append(json.dumps([extra, found.content["optimizer_history"]], sort_keys=True))
    for path in sorted(run.glob("*.csv")):
        with open(path, newline="") as file:
            rows = [{k: v for k, v in row.items() if k not in CLOCKS} for row in csv.DictReader(file)]
        parts.append(f"{path.name} {rows}")
    return parts, sorted(path.name for path in run.glob("*.pt"))


def whole_checkpoints(run):
    """The updates of every checkpoint that has its final name; each can be read."""
    found = {}
    for path in run.glob("*.pt"):
        with checkpoint.read(path) as one:
            one.verify()
            found[path.name] = one.content["optimizer_history"][-1]["num_updates"]
    return found


@pytest.mark.parametrize("kind, how, times", [("finetuning", "kill", 20), ("pretraining", "kill", 4),
                                              ("finetuning", "full", 6)])  # fmt: skip
def test_no_checkpoint_is_lost_and_the_run_goes_on(inputs, tmp_path, kind, how, times):
    whole = tmp_path / "whole"
    ((status, changes, said),) = runs((arguments(kind, inputs, whole), "none", 0))
    assert status == 0, said
    expected, names = ending(whole)
    points = random.Random(f"{kind} {how}").sample(range(4, changes - 1), times)  # from 4 on: the first files are there
    saved = 0
    folders = [tmp_path / f"{how}{at}" for at in points]
    outcomes = runs(*((arguments(kind, inputs, folder), how, at) for folder, at in zip(folders, points)))
    for folder, at, (status, _, said) in zip(folders, points, outcomes):
        if how == "kill":
            assert status == -9, (at, said)
        else:
            assert status == 2 and "Traceback" not in said, (at, said)
            (line,) = [line for line in said.splitlines() if line.startswith("ecgfm: error: ")]
            assert "No space left" in line and str(folder) in line, line
            assert not list(folder.glob("*.tmp")), at
        there = whole_checkpoints(folder)
        told = [int(updates) for updates in re.findall(r" - saved .*, (\d+) updates, ", said)]
        if told:  # what was said to be saved is there
            assert there["checkpoint_last.pt"] >= max(told), at
            saved += 1
    assert saved > times / 3
    shutil.rmtree(whole)
    outcomes = runs(*((arguments(kind, inputs, folder), "none", 0) for folder in folders))
    for folder, (status, _, said) in zip(folders, outcomes):
        assert status == 0, said
        got, there = ending(folder)
        for a, b in zip(got, expected, strict=True):
            assert a == b, (folder.name, a[:300], b[:300])
        assert there == names, folder.name

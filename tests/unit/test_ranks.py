"""Several ranks: the same updates as one, and none that goes on without the others."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import weights
from bounded import PATIENCE_S
from environment import MPIEXEC, needs_mpi

import ecgfm
from ecgfm import ranks as ranks_module
from ecgfm.errors import ConfigError, MissingExtraError
from ecgfm.ranks import Alone, ranks_started

TRAINING = """
import sys
import numpy as np
import ecgfm
from ecgfm.ranks import communicator

folder, ranks = sys.argv[1], communicator()
data = np.load(folder + "/data.npz")
x, y = data["x"], data["y"]
settings = dict(activation_dropout=0.0, schedule=1e-3, feature_grad_mult=0.1, optimizer={"clip_norm": 0.5})
trainer = ecgfm.Trainer(folder + "/model", communicator=ranks, **settings)
found = []
for update in range(4):
    if update == 3:  # an uneven end: the last rank has no batch
        rows = range(0, len(x) - 1) if ranks.rank == 0 else range(0)
    else:
        rows = range(ranks.rank * len(x) // ranks.size, (ranks.rank + 1) * len(x) // ranks.size)
    for row in rows:
        trainer.accumulate(x[row : row + 1], y[row : row + 1])
    found.append(trainer.update())
np.savez(f"{folder}/rank{ranks.rank}of{ranks.size}.npz", threads=ecgfm.get_num_threads(),
         loss=[r["loss_sum"] for r in found], size=[r["sample_size"] for r in found], gnorm=[r["gnorm"] for r in found],
         **trainer.state_dict())
"""


def start(size, script, *arguments):
    """A script under so many ranks, which must end by itself."""
    command = [sys.executable, str(script), *map(str, arguments)]
    if size > 1:
        command = [str(MPIEXEC), "-n", str(size), *command]
    environ = {key: value for key, value in os.environ.items() if key != "ECGFM_NUM_THREADS"}
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, env=environ)


@pytest.fixture
def folder(tmp_path):
    config = weights.SMALL | {"num_labels": 3}
    ecgfm.Model.from_state_dict(config, weights.weights(weights.parameters(config))).save(tmp_path / "model")
    rng = np.random.default_rng(1)
    x = rng.standard_normal((4, 12, 500)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, y=(rng.random((4, 3)) < 0.4).astype(np.float32))
    (tmp_path / "train.py").write_text(TRAINING)
    return tmp_path


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_make_the_updates_of_one(folder, size):
    needs_mpi()
    for ranks in (1, size):
        done = start(ranks, folder / "train.py", folder)
        assert done.returncode == 0, done.stdout + done.stderr
    one = dict(np.load(folder / "rank0of1.npz"))
    others = [dict(np.load(folder / f"rank{rank}of{size}.npz")) for rank in range(size)]
    threads = [int(other.pop("threads")) for other in others]
    assert sum(threads) <= max(size, len(os.sched_getaffinity(0))) and int(one.pop("threads")) >= threads[0]
    for other in others:
        for name, values in one.items():
            np.testing.assert_array_equal(other[name], others[0][name], err_msg=name)
            if name.endswith("k_proj.bias"):  # its gradient is zero but for rounding, which Adam makes large
                continue
            # Sums in another order, a few float32 roundings of Adam's steps of 1e-3.
            np.testing.assert_allclose(other[name], values, rtol=2e-6, atol=2e-6, err_msg=name)
    np.testing.assert_array_equal(one["size"], [12, 12, 12, 9])


ENDS = {
    "raising": "raise ValueError('the disk is on fire')",
    "out of memory": "raise MemoryError('no memory for 1 TB')",
    "killed": "import os; os.kill(os.getpid(), 9)",
}


@pytest.mark.parametrize("name", list(ENDS))
def test_a_rank_that_ends_ends_all(tmp_path, name):
    needs_mpi()
    (tmp_path / "end.py").write_text(
        "import numpy as np\nfrom ecgfm.ranks import communicator\nranks = communicator()\n"
        f"with ranks.ending_together():\n    if ranks.rank == 1:\n        {ENDS[name]}\n"
        "    ranks.sum(np.ones(10, np.float32))\nprint('went on')\n"
    )
    done = start(2, tmp_path / "end.py")
    assert done.returncode != 0 and "went on" not in done.stdout
    for text in ("the disk is on fire", "no memory for 1 TB"):
        assert (text in done.stderr) == (text in ENDS[name]), done.stderr


def test_ranks_that_start_apart_are_refused(folder):
    needs_mpi()
    (folder / "apart.py").write_text(
        "import sys, ecgfm\nfrom ecgfm.ranks import communicator\nranks = communicator()\n"
        "try:\n    ecgfm.Trainer(sys.argv[1], num_labels=5, seed=ranks.rank, communicator=ranks)\n"
        "except ecgfm.ConfigError as error:\n    print(error)\n"
    )
    done = start(2, folder / "apart.py", folder / "model")
    assert done.stdout.count("do not start from the same weights") == 2, done.stdout + done.stderr


ROUNDED = """
import sys
import numpy as np
from ecgfm.ranks import Ranks

ranks, rows = Ranks(sums="bfloat16"), [np.random.default_rng(rank).standard_normal(70_001) for rank in range(3)]
values = rows[ranks.rank].astype(np.float32)
assert ranks.sum(values) is values
whole = np.arange(5) + ranks.rank
assert ranks.sum(whole).tolist() == [3, 6, 9, 12, 15]  # other types as they are
np.save(f"{sys.argv[1]}/sum{ranks.rank}.npy", values)
"""


def test_sums_in_bfloat16(tmp_path):
    needs_mpi()
    (tmp_path / "rounded.py").write_text(ROUNDED)
    done = start(3, tmp_path / "rounded.py", tmp_path)
    assert done.returncode == 0, done.stderr
    found = [np.load(tmp_path / f"sum{rank}.npy") for rank in range(3)]
    parts = np.stack([np.random.default_rng(rank).standard_normal(70_001) for rank in range(3)])
    assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()
    # Half a unit of the last of 8 bits for each part, and for the sum.
    assert np.all(np.abs(found[0] - parts.sum(axis=0)) <= (np.abs(parts).sum(axis=0) * 1.01 + 1e-6) / 128)
    assert np.abs(found[0] - parts.sum(axis=0)).max() > 1e-4


def test_sums_that_are_not_known():
    with pytest.raises(ConfigError, match="sums: 'float16' is neither of float32, bfloat16"):
        ranks_module.Ranks(sums="float16")


def test_alone():
    one, values = Alone(), np.arange(3.0)
    assert (one.rank, one.size, one.gather("a"), one.broadcast(2)) == (0, 1, ["a"], 2)
    assert one.sum(values) is values and one.barrier() is None
    assert repr(one) == "Alone()" and isinstance(ranks_module.communicator(), Alone)


def test_launchers():
    assert ranks_started({}) == 1
    assert ranks_started({"PMI_SIZE": "4", "PMI_RANK": "0"}) == 4
    assert ranks_started({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}) == 2
    assert ranks_started({"SLURM_NTASKS": "8"}) == 1  # inside sbatch, no srun: one process
    slurm = {"SLURM_PROCID": "3", "SLURM_STEP_ID": "0", "PMIX_RANK": "3", "SLURM_STEP_NUM_TASKS": "8"}
    assert ranks_started(slurm) == 8


def test_processors_are_shared_out():
    share = ranks_module._share
    everybody = frozenset(range(8))
    assert share([everybody] * 4, everybody) == 2
    assert share([frozenset({0, 1}), frozenset({2, 3})], {2, 3}) == 2  # bound by the launcher
    assert share([frozenset({0})] * 3, {0}) == 1


def test_without_mpi(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(MissingExtraError, match="ecgfm\\[mpi\\]"):
        ranks_module.Ranks()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="ecgfm\\[mpi\\]"):
        ranks_module.launch("ecgfm", [], 2)


def test_only_contiguous_arrays_are_summed():
    needs_mpi()
    code = (
        "import numpy as np; from ecgfm.ranks import Ranks\n"
        "try: Ranks().sum(np.zeros((4, 4))[:, :2])\nexcept Exception as error: print(type(error).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stdout.strip() == ConfigError.__name__, done.stderr


# ---- the commands ----


def command(size, *arguments):
    """``ecgfm ...`` under so many ranks."""
    line = [str(MPIEXEC), "-n", str(size), sys.executable, "-m", "ecgfm", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE_S)


@pytest.fixture
def recordings(folder):
    from ecgfm.ecg import simulate

    (folder / "recordings").mkdir()
    for seed in range(5):
        record = simulate(11.0, 500.0, seed=seed)
        np.savez(folder / "recordings" / f"{seed}.npz", signal=record.signal, sampling_rate=500, leads=record.leads)
    (folder / "recordings" / "damaged.npz").write_bytes(b"PK\x03\x04 nothing")
    return folder / "recordings"


@pytest.mark.parametrize("name, suffix", [("predict", "csv"), ("embed", "npy")])
def test_ranks_predict_and_embed_what_one_does(folder, recordings, name, suffix):
    needs_mpi()
    for size in (1, 3):
        done = command(size, name, folder / "model", recordings, "--out", folder / f"{size}.{suffix}")
        assert done.returncode == 1 and done.stderr.count("damaged.npz") == 1, done.stderr
        assert done.stdout.count("Written: ") == 1
    tables = [path for path in folder.iterdir() if path.name.startswith("1.") and path.suffix == ".csv"]
    assert len(tables) > 1
    for path in tables:
        one, several = (p.read_text().splitlines() for p in (path, path.with_name(path.name.replace("1", "3", 1))))
        assert len(one) == len(several) > 1
        for a, b in zip(one, several):
            for x, y in zip(a.split(","), b.split(",")):
                assert x == y or abs(float(x) - float(y)) <= 1e-5


def test_ranks_end_a_command_together(folder, recordings):
    needs_mpi()
    for arguments in ((folder / "model", folder / "nowhere"), (folder / "nothing.pt", recordings)):
        done = command(2, "predict", *arguments)
        assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
        assert "ecgfm: error: " in done.stderr and "(rank 0 of 2)" in done.stderr, done.stderr


class Pretended:
    """Two ranks in one process: what rank 0 scatters is answered for both."""

    rank, size = 0, 2

    def __init__(self, model):
        self.model, self.sent = model, []

    def scatter(self, values):
        self.sent.append(values)
        return values[0]

    def collect(self, value):
        from ecgfm.inference.shared import _answer

        return [value, _answer(self.model, self.sent[-1][1])]


def test_a_shared_model_is_the_model(folder):
    from ecgfm.inference.shared import SharedModel

    model = ecgfm.load(folder / "model")
    ranks = Pretended(model)
    x = weights.signal("shared", 5, 12, 500)
    mask = np.zeros((5, 500), bool)
    mask[3, 300:] = True
    with SharedModel(model, ranks) as shared:
        assert shared.config == model.config and "2 ranks" in repr(shared)
        for given, wanted in ((None, {}), (mask, {"attention": True}), (None, {"layer": 0})):
            out, expected = shared(x, given, **wanted), model(x, given, **wanted)
            np.testing.assert_allclose(out.logits, expected.logits, atol=1e-6)
            np.testing.assert_allclose(out.tokens, expected.tokens, atol=1e-5)
            np.testing.assert_allclose(out.embedding, expected.embedding, atol=1e-5)
            assert (out.attention is None) == (expected.attention is None)
        assert [len(part[0]) for part in ranks.sent[0]] == [2, 3]
        with pytest.raises(ecgfm.SignalError):
            shared(np.full((4, 12, 500), np.nan))
        with pytest.raises(ecgfm.ConfigError):
            shared(x, layer=9)
    assert ranks.sent[-1] == [None, None]


# ---- training ----


@pytest.fixture
def pairs(folder):
    """Pairs of segments of eight patients, packed, and a configuration for a small network."""
    pytest.importorskip("hydra", reason="needs the extra [train]")
    data = folder / "pairs"
    data.mkdir()
    for name, records in (("train", 8), ("valid", 2)):
        np.save(data / f"{name}.npy", weights.signal(f"ranks {name}", 2 * records, 12, 500))
        lines = ["idx,save_file,segment_i,sample_rate,sample_size"]
        lines += [f"{i // 2},r{i // 2}.mat,{i % 2},500,500" for i in range(2 * records)]
        (data / f"{name}.index.csv").write_text("\n".join(lines) + "\n")
    return data


def pretraining(folder, pairs, size, *more):
    small = {"encoder_layers": 1, "encoder_embed_dim": 32, "encoder_ffn_embed_dim": 48, "encoder_attention_heads": 4}
    small |= {"conv_feature_layers": "'[(16,2,2)]*4'", "conv_pos": 16, "conv_pos_groups": 4, "final_dim": 16}
    small |= {"latent_vars": 6, "num_negatives": 5}
    return [
        sys.executable,
        "-c",
        "import sys; from ecgfm.cli.hydra import train; sys.exit(train())",
        "--config-name=w2v_cmsc_rlm",
        f"task.data={pairs}",
        "dataset.valid_subset=valid",
        "dataset.disable_validation=false",
        "dataset.batch_size=2",
        "dataset.required_batch_size_multiple=1",
        "dataset.num_workers=0",
        f"distributed_training.distributed_world_size={size}",
        "optimization.update_freq=[2]",
        "optimization.max_epoch=3",
        f"checkpoint.save_dir={folder}",
        "checkpoint.save_interval=1",
        "checkpoint.keep_last_epochs=0",
        "common.log_format=csv",
        "common.log_interval=1",
        *(f"++model.{key}={value}" for key, value in small.items()),
        *more,
    ]


def finished(line):
    done = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("size", [2, 4])
def test_pretraining_starts_its_ranks(folder, pairs, size):
    needs_mpi()
    told = finished(pretraining(folder / "run", pairs, size))
    assert told.count("saved checkpoint1.pt") == 1 and told.count("done after") == 1
    more = pretraining(folder / "all", pairs, size, "+ecgfm.cmsc_all_ranks=true", "optimization.max_epoch=1")
    assert "saved checkpoint1.pt" in finished(more)
    names = {path.name for path in (folder / "run").iterdir()}
    assert {"checkpoint1.pt", "checkpoint3.pt", "checkpoint_last.pt", "train.csv", "valid.csv"} <= names
    with ecgfm.checkpoint.read(folder / "run" / "checkpoint_last.pt") as found:
        # Four batches an epoch, two a rank and update: with four ranks each has one.
        assert found.content["optimizer_history"][-1]["num_updates"] == {2: 3, 4: 3}[size]
        assert found.extra_state["ecgfm"]["ranks"] == size


def test_a_killed_rank_ends_the_run_which_goes_on_with_any_number(folder, pairs):
    needs_mpi()
    more = ["optimization.max_epoch=400", "checkpoint.no_epoch_checkpoints=true", "dataset.disable_validation=true"]
    process = subprocess.Popen(
        pretraining(folder / "run", pairs, 2, *more), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    for line in process.stdout:
        if "saved" in line:
            break
    children = subprocess.run(["pgrep", "-f", str(folder / "run")], capture_output=True, text=True).stdout.split()
    ranks = [int(pid) for pid in children if int(pid) != process.pid and b"ecgfm.cli.hydra" in cmdline(pid)]
    ranks = [pid for pid in ranks if b"mpiexec" not in cmdline(pid) and b"hydra_pmi_proxy" not in cmdline(pid)]
    assert len(ranks) == 2, children
    os.kill(ranks[-1], 9)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode != 0
    with ecgfm.checkpoint.read(folder / "run" / "checkpoint_last.pt") as found:
        before = found.content["optimizer_history"][-1]["num_updates"]
        epoch = found.extra_state["train_iterator"]["epoch"]
    told = finished(pretraining(folder / "run", pairs, 1, f"optimization.max_epoch={epoch}"))
    assert f"{before} updates" in told
    with ecgfm.checkpoint.read(folder / "run" / "checkpoint_last.pt") as found:
        assert found.content["optimizer_history"][-1]["num_updates"] > before
        assert found.extra_state["ecgfm"]["ranks"] == 1


def cmdline(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


APART = """
import sys
import numpy as np
import ecgfm
from ecgfm.ranks import communicator

folder, ranks = sys.argv[1], communicator()
settings = dict(loss="wav2vec2_with_cmsc", num_negatives=5, dropout=0.0, attention_dropout=0.0, dropout_input=0.0,
                dropout_features=0.0, perturbation_mode=None, schedule=1e-3)
architecture = dict(encoder_layers=1, encoder_embed_dim=32, encoder_ffn_embed_dim=48, encoder_attention_heads=4,
                    conv_feature_layers="[(16,2,2)]*4", conv_pos=16, conv_pos_groups=4, final_dim=16, latent_vars=6)
x = np.load(folder + "/pairs/train.npy").reshape(8, 2, 12, 500)


class Pretended:
    def __init__(self, rank):
        self.rank, self.size = rank, 1

    def gather(self, value):
        return [value]


def half(rank, communicator):
    trainer = ecgfm.Trainer(architecture, communicator=communicator, **settings)
    trainer.accumulate(x[4 * rank : 4 * rank + 4])
    return trainer


if ranks.size > 1:
    trainer = half(ranks.rank, ranks)
    ranks.sum(trainer.engine.core.flat_gradients())
    if ranks.rank == 0:
        np.savez(folder + "/together.npz", **trainer.gradients())
else:
    one, other = (half(rank, Pretended(rank)).gradients() for rank in (0, 1))
    np.savez(folder + "/apart.npz", **{name: one[name].astype(np.float64) + other[name] for name in one})
"""


def test_pretraining_on_ranks_is_the_sum_of_its_parts(folder, pairs):
    needs_mpi()
    (folder / "apart.py").write_text(APART)
    for size in (1, 2):
        done = start(size, folder / "apart.py", folder)
        assert done.returncode == 0, done.stdout + done.stderr
    apart, together = np.load(folder / "apart.npz"), np.load(folder / "together.npz")
    assert len(apart.files) > 20
    for name in apart.files:
        np.testing.assert_allclose(
            together[name], apart[name], rtol=1e-6, atol=1e-6 * abs(apart[name]).max(), err_msg=name
        )


ALL_RANKS = """
import sys
import numpy as np
import ecgfm
from ecgfm.ranks import communicator

folder, ranks = sys.argv[1], communicator()
settings = dict(loss="cmsc", dropout=0.0, attention_dropout=0.0, dropout_input=0.0, perturbation_mode=None,
schedule=1e-3)
architecture = dict(encoder_layers=1, encoder_embed_dim=32, encoder_ffn_embed_dim=48, encoder_attention_heads=4,
                    conv_feature_layers="[(16,2,2)]*4", conv_pos=16, conv_pos_groups=4, final_dim=16, latent_vars=6)
x = np.load(folder + "/pairs/train.npy").reshape(8, 2, 12, 500)
ids = np.array(["a", "b", "c", "a", "d", "e", "f", "a"])
trainer = ecgfm.Trainer(architecture, communicator=ranks, cmsc_all_ranks=True, **settings)
parts = np.array_split(np.arange(8), ranks.size)[ranks.rank]
if sys.argv[2] == "ids":
    trainer.accumulate(x[parts], ids[parts])
    places = sum(ranks.gather(trainer._sums["count"]))
    trainer.engine.core.flat_gradients()[:] /= places
else:
    trainer.accumulate(x[parts])
if sys.argv[2] == "ids":
    pass
elif ranks.rank == 0:  # the others have no second batch
    trainer.accumulate(x[:3])
else:
    trainer.accumulate_nothing()
ranks.sum(trainer.engine.core.flat_gradients())
if ranks.rank == 0:
    np.savez(f"{folder}/all{ranks.size}.npz", **trainer.gradients())
"""


@pytest.mark.parametrize("kind", ["ids", "pairs"])
def test_cmsc_over_all_ranks_is_that_of_one_batch(folder, pairs, kind):
    needs_mpi()
    (folder / "all.py").write_text(ALL_RANKS)
    for size in (1, 3):
        done = start(size, folder / "all.py", folder, kind)
        assert done.returncode == 0, done.stdout + done.stderr
    one, three = np.load(folder / "all1.npz"), np.load(folder / "all3.npz")
    assert len(one.files) > 20
    for name in one.files:
        largest = abs(one[name]).max()
        if not name.endswith("k_proj.bias"):
            np.testing.assert_allclose(three[name], one[name], rtol=1e-5, atol=1e-5 * largest, err_msg=name)


def test_stores_of_ranks_are_those_of_one(folder, pairs):
    needs_mpi()
    pytest.importorskip("sklearn", reason="needs the extra [train]")
    np.save(folder / "y.npy", np.eye(3, dtype=np.float32)[np.arange(8) % 3])
    told = []
    for size in (1, 2):
        (folder / str(size)).mkdir()
        line = [sys.executable, "-c", "import sys; from ecgfm.cli.hydra import validate; sys.exit(validate())"]
        line += [
            "--config-name=diagnosis",
            f"task.data={pairs}",
            f"task.label_file={folder}/y.npy",
            "model.num_labels=3",
        ]
        line += [f"common_eval.path={folder}/model", "common_eval.extract=[output,encoder_out,saliency]"]
        line += [f"common_eval.results_path={folder}/{size}", "dataset.valid_subset=train", "dataset.batch_size=3"]
        told.append(finished([*line, f"distributed_training.distributed_world_size={size}"]).splitlines())
    assert len(told[0]) == len(told[1])
    names = sorted(path.name for path in (folder / "1").iterdir())
    assert len(names) >= 6 and names == sorted(path.name for path in (folder / "2").iterdir())
    for name in names:
        if name.endswith(".npy"):
            one, two = (np.fromfile(folder / size / name, np.float32) for size in "12")
            np.testing.assert_allclose(two, one, atol=1e-5)


def test_ranks_preprocess_what_processes_do(folder):
    needs_mpi()
    pytest.importorskip("wfdb", reason="needs the extra [io]")
    from ecgfm.ecg import simulate_cohort

    simulate_cohort(20, seed=3).write(folder / "wfdb")
    (folder / "wfdb" / "broken.hea").write_text("broken 12 500 100\nbroken.mat 16 200/mV 16 0 0 0 0 I\n")
    for size in (1, 3):
        more = ["--raw_root", folder / "wfdb", "--processed_root", folder / str(size)]
        for again in range(2):
            done = command(size, "preprocess", "files", *more, "--packed", "--stages", "segmented")
            assert done.returncode == 1 and done.stderr.count("broken.hea") >= 1, done.stderr
            assert ("20 of them by an earlier run" in done.stdout) == bool(again), done.stdout
    one = sorted(path.relative_to(folder / "1") for path in (folder / "1").rglob("*") if path.is_file())
    assert sum(path.suffix == ".mat" for path in one) == 20
    for path in one:
        if ".ecgfm" not in path.parts:
            a, b = ((folder / size / path).read_bytes().replace(f"{folder}/{size}/".encode(), b"") for size in "13")
            assert a == b, path

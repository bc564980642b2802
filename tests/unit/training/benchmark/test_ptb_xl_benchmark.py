"""The PTB-XL benchmark from the folder to the tables: against embeddings, scikit-learn and the labels by themselves."""

import json
import warnings

import data_sets
import numpy as np
import pytest
import weights as made_weights

import ecgfm
from ecgfm import ConfigError, FormatError
from ecgfm.cli.main import main
from ecgfm.data import PTB_XL_TASKS, read_ptb_xl
from ecgfm.training.benchmark import benchmark_ptb_xl
from ecgfm.training.benchmark.contamination import seen_text

metrics = pytest.importorskip("sklearn.metrics", reason="needs the extra [train]")
linear_model = pytest.importorskip("sklearn.linear_model")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return data_sets.ptb_xl(tmp_path_factory.mktemp("ptb") / "ptb-xl", 72, high=(0,), seconds=6)


@pytest.fixture(scope="module")
def model():
    config = made_weights.SMALL | {"num_labels": 2}
    return ecgfm.Model.from_state_dict(config, made_weights.weights(made_weights.parameters(config)), labels=["a", "b"])


@pytest.fixture(scope="module")
def found(folder, model, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    options = {"tasks": ["superdiagnostic", "all"], "shares": [100, 40], "seed": 2}
    return benchmark_ptb_xl({"small": model}, folder, out, **options), out, options


def rows_of(found):
    return {(row["model"], row["share"], row["task"]): row for row in found.table.rows()}


def test_a_cell_by_scikit_learn(found, folder, model):
    """Embeddings by `embed`, regressions and AUROC by scikit-learn, with the strength that is best on validation."""
    tables = read_ptb_xl(folder)
    task, folds = tables.task("superdiagnostic"), tables.records["fold"]
    x = ecgfm.embed(model, tables.files()).per_record()
    train, valid, test = (task.labelled & part for part in (folds < 8, folds == 8, folds == 9))
    scaled = (x - x[train].mean(axis=0, dtype=float)) / x[train].std(axis=0, dtype=float)

    def macro(rows, scores):
        y = task.y[rows]
        both = np.flatnonzero(y.any(axis=0) & ~y.all(axis=0))
        return np.mean([metrics.roc_auc_score(y[:, i], scores[:, i]) for i in both])

    best = (-1.0, None, None)
    for strength in (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0):
        regression = linear_model.LogisticRegression(C=strength, tol=1e-8, max_iter=5000)
        scores = []
        for i in range(5):
            fit = regression.fit(scaled[train], task.y[train, i])
            scores.append([fit.decision_function(scaled[rows]) for rows in (valid, test)])
        valid_scores, test_scores = (np.column_stack(each) for each in zip(*scores))
        if macro(valid, valid_scores) > best[0] + 1e-9:
            best = macro(valid, valid_scores), strength, macro(test, test_scores)
    row = rows_of(found[0])["small", 100, "superdiagnostic"]
    assert row["chosen"] == f"C {best[1]:g}" and row["valid_auroc"] == pytest.approx(best[0])
    assert row["auroc"] == pytest.approx(best[2])
    assert (row["train"], row["valid"], row["test"]) == tuple(int(part.sum()) for part in (train, valid, test))
    assert row["converged"] and row["trained_parameters"] == 5 * (x.shape[1] + 1)


def test_shares_are_of_whole_patients_and_nested(found, folder):
    from ecgfm.training.benchmark.cells import Plan
    from ecgfm.training.benchmark.conventions import CONVENTIONS

    plan = Plan(read_ptb_xl(folder), CONVENTIONS["ecgfm"], 2)
    parts = [plan.share_of(share) for share in (10, 40, 100)]
    for smaller, larger in zip(parts, parts[1:]):
        assert not (smaller & ~larger).any() and smaller.sum() < larger.sum()
        assert not set(plan.patients[smaller]) & set(plan.patients[~smaller])
    assert abs(parts[1].sum() - 0.4 * parts[2].sum()) <= 2
    assert rows_of(found[0])["small", 40, "all"]["train"] == (parts[1] & plan.tables.task("all").labelled).sum()


def test_what_is_said_and_written(found, folder):
    result, out, _ = found
    text = (out / "benchmark.md").read_text()
    for said in (
        "test fold 9, validation fold 8 (no recording of fold 10 is there)",
        "1 with 500 Hz files, 71 with",
        "whether it has seen these recordings is not known",
        "1000 resamples of patients",
        "random weights: the network of small",
    ):
        assert said in text and said in result.to_html()
    table = data_sets.read_table(out / "benchmark.csv")
    assert len(table) == 8 and {row["model"] for row in table} == {"small", "random weights"}
    data = json.loads((out / "benchmark.json").read_text())
    assert [row["auroc"] for row in data["rows"]] == [float(row["auroc"]) for row in table]
    rows = rows_of(result)
    for (name, share, task), row in rows.items():
        if name == "random weights":
            assert np.isnan(row["over_random"])
        else:
            assert row["over_random"] == pytest.approx(row["auroc"] - rows["random weights", share, task]["auroc"])
            assert row["over_random_low"] <= row["over_random_high"] and 0 < row["over_random_p"] <= 1
            assert f"| {row['over_random']:+.4f} (" in text
    assert "seconds" in table[0] and "embedding_seconds" in table[0]
    assert text.count("\n| small") == 4 and "<td>small</td>" in (out / "benchmark.html").read_text()


def test_a_second_run_takes_the_embeddings_that_are_there(found, folder, model, monkeypatch):
    result, out, options = found
    times = {path: path.stat().st_mtime_ns for path in (out / "embeddings").glob("*.npy")}

    def forbidden(*_, **__):
        raise AssertionError("a segment went through a model")

    with monkeypatch.context() as patched:
        patched.setattr(ecgfm.Model, "__call__", forbidden)
        again = benchmark_ptb_xl({"small": model}, folder, out, **options)
    for name in ("auroc", "auroc_low", "auroc_high", "valid_auroc"):
        np.testing.assert_array_equal(again.table[name], result.table[name])
    assert set((out / "embeddings").glob("*.npy")) == set(times)


def test_another_seed_draws_other_random_weights(found, folder, model):
    result, out, options = found
    other = benchmark_ptb_xl({"small": model}, folder, out, **options | {"seed": 3, "tasks": "superdiagnostic"})
    assert len(list((out / "embeddings").glob("random-weights*.npy"))) == 2
    one, two = (rows_of(each)["random weights", 100, "superdiagnostic"] for each in (result, other))
    assert one["valid_auroc"] != two["valid_auroc"] or one["auroc"] != two["auroc"]


def test_ai4health_keeps_all_recordings_and_takes_columns_of_all(folder, model, found, tmp_path):
    _, out, _ = found
    options = {"tasks": ["all", "superdiagnostic", "rhythm"], "preset": "ai4health", "random_weights": False, "seed": 2}
    rows = rows_of(benchmark_ptb_xl({"small": model}, folder, out, **options))
    folds = read_ptb_xl(folder).records["fold"]
    assert {row["test"] for row in rows.values()} == {(folds == 9).sum()}
    whole, rhythm = rows["small", 100, "all"], rows["small", 100, "rhythm"]
    assert (
        rhythm["chosen"] == whole["chosen"] and rhythm["valid_auroc"] == whole["valid_auroc"] and rhythm["classes"] == 2
    )


def test_finetuning(folder, model, tmp_path, monkeypatch):
    """A tuned model is that of `finetune`, its scores those of `predict`; a later run takes it as it is."""
    options = {"tasks": "superdiagnostic", "ways": "finetune", "random_weights": False, "epochs": 1, "shares": 50}
    options |= {"learning_rate": 1e-3, "seed": 5}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ecgfm.InputWarning)
        found = benchmark_ptb_xl({"small": model}, folder, tmp_path, **options)
        row = next(found.table.rows())
        tables = read_ptb_xl(folder)
        task, splits = tables.task("superdiagnostic"), tables.splits()
        (path,) = (tmp_path / "models").iterdir()
        tuned = ecgfm.load(path)
        assert tuned.labels == task.names and row["trained_parameters"] == tuned.num_parameters
        for split, name in (("test", "auroc"), ("valid", "valid_auroc")):
            rows = np.flatnonzero(task.labelled & (splits == split))
            result = ecgfm.predict(tuned, [tables.files()[i] for i in rows], aggregate="mean")
            scores = np.column_stack([result.records[label] for label in task.names])
            y = task.y[rows]
            both = np.flatnonzero(y.any(axis=0) & ~y.all(axis=0))
            wanted = np.mean([metrics.roc_auc_score(y[:, i], scores[:, i]) for i in both])
            assert row[name] == pytest.approx(wanted)

        def forbidden(*_, **__):
            raise AssertionError("it was finetuned again")

        monkeypatch.setattr("ecgfm.training.benchmark.tuning.finetune", forbidden)
        again = benchmark_ptb_xl({"small": model}, folder, tmp_path, **options)
        np.testing.assert_array_equal(again.table["auroc"], found.table["auroc"])
        assert again.table["seconds"][0] > 0 and again.settings["epochs"] == 1
        with pytest.raises(AssertionError, match="finetuned again"):
            benchmark_ptb_xl({"small": model}, folder, tmp_path, **options | {"epochs": 2})
        (path / "benchmark.json").write_text('{"seconds": "x"}')
        with pytest.raises(FormatError, match="how long"):
            benchmark_ptb_xl({"small": model}, folder, tmp_path, **options)
        monkeypatch.setattr("ecgfm.training.benchmark.tuning.memory", lambda: {"available_mb": 1.0})
        (path / "benchmark.json").unlink()
        with pytest.raises(ConfigError, match="MB are left"):
            benchmark_ptb_xl({"small": model}, folder, tmp_path, **options)


def test_a_recording_that_can_not_be_read(folder, model, tmp_path):
    copy = data_sets.ptb_xl(tmp_path / "copy", 72, seconds=6)
    (copy / "records100/00000/00005_lr.dat").unlink()
    skipped = []
    made = benchmark_ptb_xl(
        model, copy, tmp_path / "out", tasks="rhythm", random_weights=False, on_error=lambda *one: skipped.append(one)
    )
    assert len(skipped) == 1 and "1 recordings could not be embedded" in made.to_text()


@pytest.mark.parametrize("wrong, field", [
    ({"tasks": "none"}, "tasks"), ({"tasks": []}, "tasks"), ({"ways": "attention"}, "ways"),
    ({"epochs": 0}, "epochs"), ({"learning_rate": 0}, "learning_rate"), ({"shares": 0}, "shares"),
    ({"shares": [101]}, "shares"), ({"shares": "x"}, "shares"), ({"preset": "other"}, "preset"), ({"seed": -1}, "seed"),
])  # fmt: skip
def test_what_is_refused(folder, model, tmp_path, wrong, field):
    with pytest.raises(ConfigError) as caught:
        benchmark_ptb_xl(model, folder, tmp_path / "out", **wrong)
    assert caught.value.field == field and not (tmp_path / "out").exists()


def test_parts_of_the_data_that_do_not_do(model, tmp_path):
    few = data_sets.ptb_xl(tmp_path / "few", 8, folds=(3, 9))
    with pytest.raises(ConfigError, match="no recording is in the split valid"):
        benchmark_ptb_xl(model, few, tmp_path / "out")
    with pytest.raises(ConfigError, match="no such directory"):
        benchmark_ptb_xl(model, tmp_path / "none", tmp_path / "out")
    (few / "ptbxl_database.csv").unlink()
    with pytest.raises(FormatError):
        benchmark_ptb_xl(model, few, tmp_path / "out")


def test_models_that_do_not_do(folder, model, tmp_path):
    with pytest.raises(ConfigError, match="0 models"):
        benchmark_ptb_xl([], folder, tmp_path / "out")
    with pytest.raises(ConfigError, match="two of them have one name"):
        benchmark_ptb_xl({"random weights": model}, folder, tmp_path / "out")


def test_what_is_known_of_models(model):
    assert "not known" in seen_text("mine", model)
    assert seen_text("ecg-fm/physionet", model).startswith("warning: it was finetuned on PhysioNet 2021")
    assert "has seen these signals" in seen_text("ecg-fm/pretrained", model)
    assert "simulated patients" in seen_text("x", ecgfm.load("demo"))


def test_the_command(folder, tmp_path, capsys):
    given = ["benchmark", "ptb-xl", str(folder), "--model", "demo", "--out", str(tmp_path / "out"), "--share", "50"]
    assert main([*given, "--tasks", "statements,rhythm", "--no-random-weights", "--preset", "helme"]) == 0
    printed = capsys.readouterr().out
    assert "it knows simulated patients only" in printed and "90 % intervals of 100 resamples" in printed
    assert [row["task"] for row in data_sets.read_table(tmp_path / "out/benchmark.csv")] == ["all", "rhythm"]
    pytest.importorskip("matplotlib", reason="needs the extra [plot]")
    picture = tmp_path / "b.png"
    assert main([*given, "--no-random-weights", "--plot", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert [row["task"] for row in data_sets.read_table(tmp_path / "out/benchmark.csv")] == list(PTB_XL_TASKS)
    assert main([*given, "--tasks", "all,rhythm"]) == 2
    assert main([*given, "--ways", "attention"]) == 2

"""Pretraining on arrays: the loop, what it gives back, and that it learns."""

import numpy as np
import pytest
import weights

import ecgfm
from ecgfm.specs.architecture import architecture_keys

CONFIG = {name: weights.SMALL[name] for name in architecture_keys("pretraining")}
QUICK = {"config": CONFIG, "num_negatives": 5, "schedule": 1e-3, "batch_size": 2, "progress": False}


def pairs(count=5, samples=800):
    return weights.signal("loop", 2 * count, 12, samples).reshape(count, 2, 12, samples)


def simulated(patients, samples=2500, seed=1):
    """Two recordings of each of some simulated patients."""
    x, _ = ecgfm.ecg.simulate_cohort(patients, recordings=2, seed=seed).prepared()
    return np.ascontiguousarray(np.asarray(x).reshape(patients, 2, 12, -1)[..., :samples])


def test_history_and_best_epoch():
    seen = []
    found = ecgfm.pretrain(pairs(), valid=(pairs(3),), epochs=3, update_freq=2, callback=seen.append, **QUICK)
    history = found.history
    assert history["epoch"].tolist() == [1, 2, 3] and history["num_updates"].tolist() == [2, 4, 6]
    assert len(seen) == 3 and seen[1]["train_loss"] == history["train_loss"][1]
    for part in ("train", "valid"):
        total = sum(history[f"{part}_loss_{i}"] for i in range(4))
        np.testing.assert_allclose(history[f"{part}_loss"], total, rtol=1e-9)
        assert {f"{part}_{name}" for name in ("accuracy", "prob_perplexity", "code_perplexity")} <= set(history.columns)
    assert found.best_epoch == int(np.argmin(history["valid_loss"])) + 1
    assert found.trainer.num_updates == 6 and (history["train_lr"] == 1e-3).all()


def test_the_best_epoch_is_what_comes_back(tmp_path):
    """Of each measure; what comes back is what a run that ends there has."""
    best, monitors = [], ("loss", "loss_0", "accuracy", "prob_perplexity", "code_perplexity")
    quick = QUICK | {"schedule": [1e-3, 0.3, 0.3]}
    for monitor in monitors:
        found = ecgfm.pretrain(pairs(), valid=(pairs(),), epochs=3, monitor=monitor, **quick)
        column = found.history[f"valid_{monitor}"]
        assert column[found.best_epoch - 1] == (column.min() if monitor.startswith("loss") else column.max())
        best.append(found.best_epoch)
    assert min(best) < 3
    monitor, last = monitors[int(np.argmin(best))], min(best)
    found = ecgfm.pretrain(pairs(), valid=(pairs(),), epochs=3, monitor=monitor, **quick)
    one = ecgfm.pretrain(pairs(), epochs=last, **quick)
    for name, values in one.model.state_dict().items():
        np.testing.assert_array_equal(found.model.state_dict()[name], values)
    found.save(tmp_path / "best.safetensors")
    again = ecgfm.Trainer(tmp_path / "best.safetensors", loss="wav2vec2_with_cmsc")
    for name, values in one.trainer.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], values)


def test_the_same_seed_gives_the_same_weights():
    one, again, other = (ecgfm.pretrain(pairs(), epochs=2, seed=seed, **QUICK) for seed in (3, 3, 4))
    state = one.model.state_dict()
    assert all(np.array_equal(values, again.model.state_dict()[name]) for name, values in state.items())
    assert not all(np.array_equal(values, other.model.state_dict()[name]) for name, values in state.items())


def test_a_share_of_the_patients_is_held_out():
    x, ids = pairs(6), ["a", "a", "b", "b", "c", "c"]
    found = ecgfm.pretrain(x, ids, valid=0.34, epochs=1, **QUICK)
    assert found.history["num_updates"][0] == 2  # four pairs of two patients are left
    with pytest.raises(ecgfm.ConfigError, match="patients"):
        ecgfm.pretrain(x, ["a"] * 6, valid=0.5, **QUICK)


def test_a_share_without_ids_is_warned_of():
    with pytest.warns(ecgfm.InputWarning, match="Give ids"):
        ecgfm.pretrain(pairs(4), valid=0.5, epochs=1, **QUICK)
    x, ids = pairs(6), ["P1", "p1 ", "7", "007", "c", " C"]  # as in ecgfm splits: three patients
    assert ecgfm.pretrain(x, ids, valid=0.34, epochs=1, **QUICK).history["num_updates"][0] == 2


def test_patience_and_a_callback_end_it():
    found = ecgfm.pretrain(
        pairs(), valid=(pairs(),), epochs=40, patience=2, **QUICK | {"schedule": [1e-4, 0.3, 0.3, 0.3, 0.3]}
    )
    assert len(found.history["epoch"]) == found.best_epoch + 2 < 40
    found = ecgfm.pretrain(pairs(), epochs=9, callback=lambda row: row["epoch"] == 2, **QUICK)
    assert len(found.history["epoch"]) == 2


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ""])
def test_finetuning_starts_from_it(tmp_path, suffix):
    found = ecgfm.pretrain(pairs(), epochs=1, **QUICK)
    path = tmp_path / f"pretrained{suffix}"
    found.save(path)
    with pytest.raises(ecgfm.CheckpointError, match="exists"):
        found.save(path)
    assert ecgfm.load(path).kind == "encoder"
    x, y = pairs()[:, 0], np.eye(5, 3)
    tuned = ecgfm.finetune(path, x, y, epochs=1, batch_size=5, progress=False)
    direct = ecgfm.finetune(found.model, x, y, epochs=1, batch_size=5, progress=False)
    state = tuned.model.state_dict()
    for name, values in direct.model.state_dict().items():
        np.testing.assert_array_equal(state[name], values)
    extractor = "feature_extractor.conv_layers.0.0.weight"  # frozen in finetuning
    np.testing.assert_array_equal(state["encoder." + extractor], found.model.state_dict()[extractor])


def test_what_is_refused():
    x = pairs()
    bad = x.copy()
    bad[3, 1, 2, 5] = np.inf
    for arguments, error, text in [
        ((x[:, 0],), ecgfm.SignalError, "unpaired"),
        ((bad,), ecgfm.SignalError, r"pairs\[3, 1, 2, 5\]"),
        ((x, [1, 2]), ecgfm.SignalError, "integers or texts"),
    ]:
        with pytest.raises(error, match=text):
            ecgfm.pretrain(*arguments, **QUICK)
    for more, field in [
        ({"epochs": 0}, "epochs"),
        ({"monitor": "loss"}, "monitor"),
        ({"patience": 1}, "patience"),
        ({"valid": (x,), "monitor": "auroc"}, "monitor"),
        ({"valid": (x,), "monitor": "accuracy", "infonce": False}, "monitor"),
        ({"valid": 1.5}, "valid"),
        ({"mask_prob": 2}, "mask_prob"),
    ]:
        with pytest.raises(ecgfm.ConfigError) as error:
            ecgfm.pretrain(x, **QUICK | more)
        assert error.value.field == field


def test_progress_is_written_to_standard_error(capsys):
    ecgfm.pretrain(pairs(), epochs=1, **QUICK | {"progress": True})
    assert "epoch 1/1" in capsys.readouterr().err


@pytest.fixture
def one_thread():
    """Layers as small as these gain nothing from a second thread and lose much where another process has it."""
    before = ecgfm.get_num_threads()
    ecgfm.set_num_threads(1)
    yield
    ecgfm.set_num_threads(before)


def test_it_learns_from_simulated_pairs(one_thread):
    """The contrastive task among 10 negatives, and whose segment is whose."""
    x = simulated(16, 1250)
    architecture = CONFIG | {"encoder_embed_dim": 48, "encoder_ffn_embed_dim": 96, "final_dim": 32}
    settings = dict.fromkeys(("dropout", "attention_dropout", "dropout_input", "dropout_features"), 0.0)
    settings |= {"mask_prob": 0.4, "mask_length": 2, "p": 0.5, "feature_grad_mult": 1.0, "num_negatives": 10}
    settings |= {"latent_temp": (0.5, 0.5, 1.0), "loss_weights": (0.1, 1.0)}
    halves = [(x[:8], None, None), (x[8:], None, None)]
    before = ecgfm.Trainer(architecture, loss="wav2vec2_with_cmsc", **settings).evaluate_all(halves)
    found = ecgfm.pretrain(x, config=architecture, epochs=150, batch_size=8, schedule=6e-3, progress=False, **settings)
    after = found.trainer.evaluate_all(halves)
    assert after["accuracy"] >= 0.5 and before["accuracy"] < 0.2
    assert after["loss_3"] <= 0.5 * before["loss_3"]
    assert after["code_perplexity"] > 8  # of 16: it does not win by giving all steps the same code

"""What lies below all that is trained is computed once, and made anew when anything that decides it changes."""

import numpy as np
import pytest
import weights
from made_segments import make_split
from twin_problems import problem

import ecgfm
from ecgfm import ConfigError
from ecgfm.data import Dataset
from ecgfm.training import below
from ecgfm.training.engine import Engine

EPOCHS = 3


@pytest.fixture(scope="module")
def model():
    config = weights.VARIANTS["layers_3_heads_2"]
    return ecgfm.Model.from_state_dict(config, weights.weights(weights.parameters(config)))


@pytest.fixture
def given(model):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(10, 12, 400)).astype(np.float32)
    y = rng.integers(0, 2, (10, model.config["num_labels"]))
    mask = np.arange(400) >= rng.choice([400, 300], 10)[:, None]
    return np.where(mask[:, None], np.float32(0), x), y, mask


@pytest.fixture
def computed(monkeypatch):
    """How many segments went through what is frozen."""
    counts, original = [], Engine.below

    def counted(engine, x, *rest, **more):
        counts.append(len(x))
        return original(engine, x, *rest, **more)

    monkeypatch.setattr(Engine, "below", counted)
    return counts


@pytest.fixture(autouse=True)
def quiet(recwarn):
    """Signals of noise are evidently not prepared, and labels have no names: warnings that are not the point here."""


def tuned(model, given, trainable=1, **more):
    x, y, mask = given
    settings = {"epochs": EPOCHS, "batch_size": 4, "schedule": 1e-3, "progress": False} | more
    return ecgfm.finetune(model, x[:7], y[:7], padding_mask=mask[:7], trainable=trainable, **settings)


def same(one, other):
    first, second = one.trainer.state(), other.trainer.state()
    for block in ("parameters", "exp_avg", "exp_avg_sq"):
        for name in first[block]:
            np.testing.assert_array_equal(first[block][name], second[block][name], err_msg=name)
    for column in one.history.columns:
        np.testing.assert_array_equal(one.history[column], other.history[column], err_msg=column)


# ---- the same bits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trainable", [1, 2, ["*.layers.1.fc1.*", "proj.*"]])
def test_the_same_bits_as_without(model, given, computed, tmp_path, trainable):
    x, y, mask = given
    more = {"valid": (x[7:], y[7:], mask[7:]), "dropout": 0.1, "attention_dropout": 0.1, "encoder_layerdrop": 0.2}
    whole = tuned(model, given, trainable, cache="off", **more)
    assert computed == []
    for cache in ("auto", "memory", tmp_path / "kept", tmp_path / "kept"):
        computed.clear()
        same(whole, tuned(model, given, trainable, cache=cache, **more))
        assert sum(computed) in (10, 0)  # and not 3 times
    assert computed == []  # the second time the files are there


def test_the_output_layer_alone_takes_means_over_time(model, given, computed, tmp_path):
    """Within rounding of what is computed anew; what is dropped before the mean needs all tokens."""
    for rate, width in ((0.0, 1), (0.2, 25)):
        whole = tuned(model, given, "head", cache="off", final_dropout=rate)
        kept = tuned(model, given, "head", cache=tmp_path / str(width), final_dropout=rate)
        assert np.load(next((tmp_path / str(width)).glob("*.npy"))).shape == (7, width, 32)
        for name, values in whole.trainer.state_dict().items():
            np.testing.assert_allclose(kept.trainer.state_dict()[name], values, atol=1e-6, err_msg=name)


def test_bfloat16_is_the_rounded_float32(model, given):
    x, _, mask = given
    trainer = ecgfm.Trainer(model, trainable=1)
    exact, rounded = (trainer.below(x, mask, dtype=dtype).rows for dtype in ("float32", "bfloat16"))
    bits = exact.view(np.uint32)
    np.testing.assert_array_equal(rounded, ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16))
    back = (rounded.astype(np.uint32) << 16).view(np.float32)
    taken = trainer.below(x, mask)
    object.__setattr__(taken, "rows", back)
    np.testing.assert_array_equal(trainer.logits(trainer.below(x, mask, dtype="bfloat16")), trainer.logits(taken))


def test_rows_stand_in_the_place_of_segments(model, given):
    x, y, mask = given
    ways = [ecgfm.Trainer(model, trainable=2, seed=5, schedule=1e-3) for _ in range(2)]
    kept = ways[1].below(x, mask)
    assert len(kept) == 10 and kept.rows.shape == (10, 25, 32)
    for _ in range(2):
        assert ways[0].step(x, y, mask) == ways[1].step(kept, y)
    assert ways[0].evaluate(x, y, mask) == ways[1].evaluate(kept, y)
    np.testing.assert_array_equal(ways[0].logits(x, mask), ways[1].logits(kept))


@pytest.mark.parametrize("tag", ["default", "pre_norm"])
def test_training_in_bfloat16(tag):
    """Kept in float32, the rows give the same bits there, too."""
    config, params, x, mask, y, _ = problem(tag)
    model = ecgfm.Model.from_state_dict(config, params)
    ways = [ecgfm.Trainer(model, trainable=1, precision="bfloat16") for _ in range(2)]
    assert ways[0].step(x, y, mask) == ways[1].step(ways[1].below(x, mask), y)
    assert ways[0].below_identity() != ecgfm.Trainer(model, trainable=1).below_identity()


def test_a_mask_beside_rows_is_refused(model, given):
    x, y, mask = given
    trainer = ecgfm.Trainer(model, trainable=1)
    with pytest.raises(ConfigError, match="padding_mask: it is in the rows already"):
        trainer.step(trainer.below(x, mask), y, mask)


@pytest.mark.parametrize("tag", ["default", "pre_norm", "no_projection_pre_norm"])
@pytest.mark.parametrize("trainable", [1, "head", ["*encoder.layer_norm.*", "proj.*"]])
def test_every_network(tag, trainable):
    config, params, x, mask, y, _ = problem(tag)
    trainers = [ecgfm.Trainer(ecgfm.Model.from_state_dict(config, params), trainable=trainable) for _ in range(2)]
    if trainers[0].trains_all:  # post-norm order: the norm stands in front
        return
    trainers[0].accumulate(x, y, mask)
    trainers[1].accumulate(trainers[1].below(x, mask), y)
    found = trainers[1].gradients()
    for name, values in trainers[0].gradients().items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-6, err_msg=name)


# ---- when it is made anew -------------------------------------------------------------------------------------------


def test_what_makes_the_files_invalid(model, given, computed, tmp_path):
    x, y, mask = given
    tuned(model, given, cache=tmp_path)
    changed = x.copy()
    changed[0, 0, 0] += 1e-6
    other = dict(model.state_dict())
    name = "encoder.encoder.layers.1.fc1.bias"
    other[name] = other[name] + np.float32(1e-6)
    shorter = mask.copy()
    shorter[0, 390:] = True
    cases = {
        "nothing": (model, given, {}),
        "labels": (model, (x, 1 - y, mask), {}),
        "a value": (model, (changed, y, mask), {}),
        "a weight below": (ecgfm.Model.from_state_dict(model.config, other), given, {}),
        "padding": (model, (np.where(shorter[:, None], np.float32(0), x), y, shorter), {}),
        "fewer layers below": (model, given, {"trainable": 2}),
        "the type": (model, given, {"cache_dtype": "bfloat16"}),
        "what the model takes": (model, given, {"input": model.input.replaced(sampling_rate=250)}),
        "the order": (model, given, {"seed": 2}),
    }
    for case, (start, data, more) in cases.items():
        computed.clear()
        tuned(start, data, cache=tmp_path, epochs=2, **more)
        assert (computed == []) == (case in ("nothing", "labels")), case


@pytest.mark.parametrize("damage", ["a bit", "cut", "no note", "a hostile note", "another file"])
def test_a_damaged_file_is_made_anew(model, given, computed, tmp_path, damage):
    tuned(model, given, cache=tmp_path)
    path, note = next(tmp_path.glob("*.npy")), next(tmp_path.glob("*.json"))
    whole = path.read_bytes()
    if damage == "a bit":
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    elif damage == "cut":
        path.write_bytes(whole[:-100])
    elif damage == "no note":
        note.unlink()
    elif damage == "a hostile note":
        note.write_text("[" * 5000)
    else:
        np.save(path, np.zeros((7, 2)))
    computed.clear()
    tuned(model, given, cache=tmp_path)
    assert sum(computed) == 7 and path.read_bytes() == whole


def test_rows_of_other_weights_are_refused(model, given):
    x, y, mask = given
    trainer, other = (ecgfm.Trainer(model, trainable=1) for _ in range(2))
    kept = other.below(x, mask)
    for call in (trainer.step, trainer.evaluate, lambda rows, y: trainer.logits(rows)):
        with pytest.raises(ConfigError, match="made by another trainer"):
            call(kept, y)
    other.load_state(other.state())
    with pytest.raises(ConfigError, match="before its weights were replaced"):
        other.accumulate(kept, y)
    with pytest.raises(ConfigError, match="made by another trainer"):
        ecgfm.Trainer(model).accumulate(kept, y)


# ---- when nothing is kept -------------------------------------------------------------------------------------------


def test_nothing_lies_below(model, given, computed):
    x, _, mask = given
    tuned(model, given, "all")
    tuned(model, given, 1, epochs=1)  # nothing would be used twice
    assert computed == []
    with pytest.raises(ConfigError, match="nothing lies below"):
        ecgfm.Trainer(model).below(x, mask)
    with pytest.raises(ConfigError, match="float32 or bfloat16"):
        ecgfm.Trainer(model, trainable=1).below(x, mask, dtype="float16")


def test_not_enough_memory(model, given, computed, monkeypatch):
    monkeypatch.setattr(below, "_free_mb", lambda: 0.03)  # the rows take 0.0224
    with pytest.warns(UserWarning, match="the frozen part is computed anew in each epoch"):
        tuned(model, given)
    assert computed == []
    tuned(model, given, cache="memory")
    tuned(model, given, cache_dtype="bfloat16")
    assert sum(computed) == 14
    monkeypatch.setattr(below, "_free_mb", lambda: 0.01)
    with pytest.raises(ConfigError, match="Give cache=FOLDER"):
        tuned(model, given, cache="memory")


def test_not_enough_disk(model, given, monkeypatch, tmp_path):
    monkeypatch.setattr(below.shutil, "disk_usage", lambda path: type("usage", (), {"free": 100}))
    with pytest.raises(ConfigError, match="22,400 bytes are needed, 100 are free"):
        tuned(model, given, cache=tmp_path / "new")


def test_no_folder_can_be_made(model, given, tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match="can't be written"):
            tuned(model, given, cache=place)


@pytest.mark.parametrize("value", ["", 5, None, True, b"x", "a\0b", "x" * 5000, ["memory"]])
def test_no_such_place(model, given, value):
    with pytest.raises(ConfigError, match="cache: "):
        tuned(model, given, cache=value)


@pytest.mark.parametrize("value", ["float16", 5, None, "int8"])
def test_no_such_type(model, given, value):
    with pytest.raises(ConfigError, match="cache_dtype: "):
        tuned(model, given, cache_dtype=value)


def test_what_is_said(model, given, capsys, tmp_path):
    tuned(model, given, progress=True, cache=tmp_path)
    said = capsys.readouterr().err
    assert f"training: what is frozen is computed once and kept, 0.0 MB (float32) in {tmp_path}" in said


# ---- data sets ------------------------------------------------------------------------------------------------------


@pytest.fixture
def split(tmp_path, model):
    make_split(tmp_path, records=4, segments=2, samples=400)
    y = np.random.default_rng(2).integers(0, 2, (14, model.config["num_labels"])).astype(np.float32)
    return tmp_path, y


def streamed(model, data, **more):
    settings = {"epochs": EPOCHS, "batch_size": 3, "schedule": 1e-3, "progress": False, "trainable": 1}
    return ecgfm.finetune(model, data, **(settings | more))


@pytest.mark.parametrize("name", ["train.tsv", "packed/train.npy"])
def test_data_sets(model, split, computed, name):
    folder, y = split
    whole = streamed(model, folder / name, y=y, cache="off", valid=0.5)
    assert computed == []
    same(whole, streamed(model, folder / name, y=y, valid=0.5))
    assert sum(computed) == 8
    same(whole, streamed(model, folder / name, y=y, valid=0.5, cache=folder / "kept"))


def test_damaged_segments(model, split):
    folder, y = split
    path = folder / "segmented" / "r1_0.mat"
    path.write_bytes(path.read_bytes()[:100])
    more = {"y": y, "max_bad_segments": 0.5}
    whole = streamed(model, folder / "train.tsv", cache="off", **more)
    for cache in ("memory", folder / "kept"):
        same(whole, streamed(model, folder / "train.tsv", cache=cache, **more))


VARYING = {
    "augmented": {"augment": lambda x, rng: x * np.float32(rng.uniform(0.9, 1.1))},
    "cropped": {"max_sample_size": 300},
    "a lead of several": {"leads_bucket": [0, 1], "leads_to_load": [0, 1]},
}


@pytest.mark.parametrize("case", VARYING)
def test_segments_that_change(split, computed, case, capsys):
    """Nothing is kept, and that is said; without training the same data are kept."""
    folder, y = split
    leads = 1 if "leads_bucket" in VARYING[case] else 12
    config = weights.VARIANTS["layers_3_heads_2"] | {"in_d": leads}
    model = ecgfm.Model.from_state_dict(config, weights.weights(weights.parameters(config)))
    for training in (True, False):
        data = Dataset(folder / "train.tsv", training=training, labels=y, **VARYING[case])
        assert (data.varies is None) != training
        streamed(model, data, progress=True)
        assert ("computed anew in each epoch, since" in capsys.readouterr().err) == training
    assert sum(computed) == 8


def test_segments_of_several_lengths(model, split, computed):
    folder, y = split
    from made_segments import segment, write_segment

    write_segment(folder / "segmented" / "r0_0.mat", segment(0, 0, 440), idx=10, number=0)
    manifest = folder / "train.tsv"
    streamed(model, manifest, y=y, cache="memory")  # the manifest does not say so: found when they are read
    text = manifest.read_text().replace("r0_0.mat\t400", "r0_0.mat\t440")
    manifest.write_text(text)
    computed.clear()
    streamed(model, manifest, y=y, cache="memory")
    assert computed == []

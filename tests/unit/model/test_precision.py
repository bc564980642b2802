"""A model in bfloat16 and int8: what is chosen and refused, how far it is from float32, what is saved and read."""

import json
import threading
from importlib import resources

import numpy as np
import pytest
import weights

import ecgfm
from ecgfm import kernels
from ecgfm.model.quantization import spearman

DEMO = str(resources.files("ecgfm") / "assets" / "demo")
HAS = kernels.core().precisions()
LOWER = [name for name in ("bfloat16", "int8") if name in HAS]
#: Largest and mean change of a probability, on the weights of the recipe: far smaller networks are less exact.
LIMITS = {"bfloat16": (0.01, 0.002), "int8": (0.02, 0.004)}

pytestmark = pytest.mark.skipif(not LOWER, reason="this processor has float32 alone")


@pytest.fixture(scope="module")
def params():
    return weights.weights(weights.parameters(weights.SMALL))


@pytest.fixture(scope="module")
def exact(params):
    return ecgfm.Model.from_state_dict(weights.SMALL, params)


@pytest.fixture(scope="module")
def x():
    return weights.signal("precision", 9, 12, 400)


@pytest.fixture(scope="module")
def report(exact, x):
    return ecgfm.quantization_report(exact, x, batch_size=4)


@pytest.fixture
def processor_has(monkeypatch):
    """Pretend that the processor has these precisions alone."""

    def only(*names):
        real = kernels.core()

        class Pretended:
            def __getattr__(self, name):
                return getattr(real, name)

            def precisions(self):
                return list(names)

        monkeypatch.setattr(kernels, "_ready", Pretended())

    return only


# ---- what a model in a lower precision does -------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOWER)
def test_it_is_near_float32(exact, params, x, name):
    model = ecgfm.Model.from_state_dict(weights.SMALL, params, precision=name)
    assert model.precision == name and model.precision_reason is None and f", {name}, " in repr(model)
    change = np.abs(model(x).probabilities - exact(x).probabilities)
    assert 0 < change.max() <= LIMITS[name][0] and change.mean() <= LIMITS[name][1]
    assert model.state_dict().keys() == params.keys() and model.num_parameters == exact.num_parameters


@pytest.mark.parametrize("name", LOWER)
def test_neighbours_batches_and_threads_change_no_bit(exact, x, name):
    model = exact.with_precision(name)
    whole = model(x)
    for rows in (slice(0, 1), slice(3, 5), slice(8, None), slice(None, None, -1)):
        part = model(np.ascontiguousarray(x[rows]))
        assert np.array_equal(part.logits, whole.logits[rows])
        assert np.array_equal(part.tokens, whole.tokens[rows])
    before = ecgfm.get_num_threads()
    try:
        for threads in (1, 3):
            ecgfm.set_num_threads(threads)
            assert np.array_equal(model(x).logits, whole.logits)
    finally:
        ecgfm.set_num_threads(before)


@pytest.mark.parametrize("name", LOWER)
def test_several_threads_call_one_model(exact, x, name):
    model, found = exact.with_precision(name), {}
    expected = model(x).logits
    callers = [threading.Thread(target=lambda i=i: found.update({i: model(x).logits})) for i in range(4)]
    for each in callers:
        each.start()
    for each in callers:
        each.join()
    assert len(found) == 4 and all(np.array_equal(each, expected) for each in found.values())


@pytest.mark.parametrize("name", LOWER)
def test_padding_attention_and_layers(exact, x, name):
    model = exact.with_precision(name)
    mask = np.zeros((len(x), x.shape[2]), bool)
    mask[1, 300:] = True
    padded = np.where(mask[:, None], 0, x)
    out = model(padded, mask, attention=True)
    assert np.abs(out.probabilities - exact(padded, mask).probabilities).max() <= LIMITS[name][0]
    assert np.allclose(out.attention[0].sum(axis=-1), 1, atol=1e-2)
    assert model(x, layer=0).tokens.shape == out.tokens.shape


def test_another_precision_of_the_same_model(exact, x):
    assert exact.with_precision("float32") is exact
    lower = exact.with_precision(LOWER[-1])
    back = lower.with_precision("float32")
    assert back.precision == "float32" and f"rounded to {LOWER[-1]}" in back.precision_reason
    assert all(np.array_equal(value, lower.state_dict()[name]) for name, value in back.state_dict().items())


# ---- what is chosen and refused -------------------------------------------------------------------------------------


def test_unknown_precisions_are_refused(exact, params):
    for wrong in ("float8", "Int8", 8, ["int8"]):
        with pytest.raises(ecgfm.ConfigError, match="precision"):
            ecgfm.load(DEMO, precision=wrong)
        with pytest.raises(ecgfm.ConfigError, match="precision"):
            exact.with_precision(wrong)
    with pytest.raises(ecgfm.ConfigError, match="max_change"):
        ecgfm.load(DEMO, precision="auto", max_change=0)


@pytest.mark.parametrize("has, asked, nearest", [
    (("float32",), "bfloat16", "float32"), (("float32",), "int8", "float32"),
    (("float32", "bfloat16"), "int8", "bfloat16"), (("float32", "int8"), "bfloat16", "float32"),
])  # fmt: skip
def test_what_the_processor_lacks_is_refused(processor_has, has, asked, nearest):
    processor_has(*has)
    with pytest.raises(ecgfm.ConfigError, match=f'lacks the instructions for {asked}. Give "{nearest}"'):
        ecgfm.load(DEMO, precision=asked)
    with pytest.raises(ecgfm.ConfigError, match="lacks the instructions"):
        ecgfm.quantization_report(ecgfm.load(DEMO), precisions=[asked])


def test_auto_without_a_report(tmp_path, exact):
    exact.save(tmp_path / "m")
    model = ecgfm.load(tmp_path / "m", precision="auto")
    assert model.precision == "float32" and f"ecgfm speed {tmp_path / 'm'} --accuracy --keep" in model.precision_reason


def stated(report, changes, ms=1.0, processor="another"):
    """The report with these largest changes and times."""
    import dataclasses

    made = [
        dataclasses.replace(report.of(LOWER[0]), precision=name, ms=took,
                            all=dataclasses.replace(report.of(LOWER[0]).all, largest=largest))
        for name, (largest, took) in changes.items()
    ]  # fmt: skip
    return dataclasses.replace(report, changes=tuple(made), ms=ms, processor=processor)


@pytest.mark.parametrize("changes, here, taken", [
    ({"bfloat16": (0.002, 0.6), "int8": (0.009, 0.3)}, True, "int8"),
    ({"bfloat16": (0.002, 0.6), "int8": (0.01, 0.3)}, True, "bfloat16"),
    ({"bfloat16": (0.002, 1.0), "int8": (0.01, 0.3)}, True, "float32"),
    ({"bfloat16": (0.002, 1.0), "int8": (0.01, 0.3)}, False, "bfloat16"),
    ({"bfloat16": (0.002, 0.5), "int8": (0.009, 0.7)}, True, "bfloat16"),
    ({"bfloat16": (0.002, 0.5), "int8": (0.009, 0.7)}, False, "int8"),
    ({"bfloat16": (0.02, 0.5), "int8": (0.03, 0.3)}, False, "float32"),
    ({"bfloat16": (0.002, 0.5)}, False, "bfloat16"),
])  # fmt: skip
def test_auto_goes_by_the_report(tmp_path, exact, report, changes, here, taken):
    """The fastest below the limit; times count on the processor that they were measured on."""
    if taken not in HAS:
        pytest.skip(f"this processor lacks {taken}")
    exact.save(tmp_path / "m", report=stated(report, changes, processor=report.processor if here else "another"))
    model = ecgfm.load(tmp_path / "m", precision="auto")
    assert model.precision == taken and model.precision_reason.startswith(f"{taken} is taken")
    assert ecgfm.load(tmp_path / "m").precision == "float32"


def test_auto_with_another_limit(tmp_path, exact, report):
    exact.save(tmp_path / "m", report=stated(report, {LOWER[0]: (0.002, 0.5)}))
    assert ecgfm.load(tmp_path / "m", precision="auto", max_change=0.002).precision == "float32"
    assert ecgfm.load(tmp_path / "m", precision="auto", max_change=0.0021).precision == LOWER[0]


# ---- what is saved and read again -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOWER)
@pytest.mark.parametrize("target", ["m", "m.safetensors"])
def test_a_rounded_model_is_saved_as_it_is_held(tmp_path, exact, x, name, target):
    exact.save(tmp_path / "exact")
    model = ecgfm.load(tmp_path / "exact", precision=name)
    model.save(tmp_path / target)
    said = json.loads((tmp_path / ("m/config.json" if target == "m" else "config.json")).read_text())["precision"]
    assert said == {"name": name, "report": None}
    again = ecgfm.load(tmp_path / target)
    assert again.precision == name and again.precision_reason is None
    assert np.array_equal(again(x).tokens, model(x).tokens)
    assert all(np.array_equal(value, model.state_dict()[key]) for key, value in again.state_dict().items())
    size = (tmp_path / ("m/model.safetensors" if target == "m" else target)).stat().st_size
    assert size < (tmp_path / "exact/model.safetensors").stat().st_size * 0.9
    again.save(tmp_path / "twice")
    assert np.array_equal(ecgfm.load(tmp_path / "twice")(x).tokens, model(x).tokens)


@pytest.mark.parametrize("name", LOWER)
def test_a_rounded_model_in_another_precision(tmp_path, exact, x, name):
    exact.with_precision(name).save(tmp_path / "m")
    wide = ecgfm.load(tmp_path / "m", precision="float32")
    assert wide.precision == "float32" and f"rounded to {name}" in wide.precision_reason
    assert np.abs(wide(x).probabilities - exact(x).probabilities).max() <= LIMITS[name][0]
    assert ecgfm.load(tmp_path / "m", precision="auto").precision == name
    with pytest.raises(ecgfm.ConfigError, match="rounded already"):
        ecgfm.quantization_report(wide, x)
    with pytest.raises(ecgfm.ConfigError, match="rounded already"):
        ecgfm.quantization_report(tmp_path / "m", x)


def test_a_rounded_model_where_the_processor_lacks_it(tmp_path, exact, processor_has):
    exact.with_precision(LOWER[-1]).save(tmp_path / "m")
    processor_has("float32")
    with pytest.raises(ecgfm.ConfigError, match='Give "float32"'):
        ecgfm.load(tmp_path / "m")
    assert ecgfm.load(tmp_path / "m", precision="auto").precision == "float32"


@pytest.mark.parametrize("name", LOWER)
@pytest.mark.parametrize("through", ["save", "convert"])
def test_a_pt_of_a_rounded_model_holds_float32_and_says_so(tmp_path, exact, name, through):
    model = exact.with_precision(name)
    if through == "save":
        model.save(tmp_path / "m.pt")
    else:
        model.save(tmp_path / "m")
        ecgfm.checkpoint.convert(tmp_path / "m", tmp_path / "m.pt")
    with ecgfm.checkpoint.read(tmp_path / "m.pt") as found:
        assert found.extra_state["ecgfm"]["precision"] == {"name": "float32", "numbers": name, "report": None}
        assert {tensor.kind for tensor in found.tensors.values()} <= {"float32", "bfloat16"}
    again = ecgfm.load(tmp_path / "m.pt")
    assert again.precision == "float32" and f"rounded to {name}" in again.precision_reason
    assert all(np.array_equal(value, model.state_dict()[key]) for key, value in again.state_dict().items())


@pytest.mark.parametrize("name", LOWER)
def test_converting_keeps_rounded_numbers(tmp_path, exact, x, name):
    model = exact.with_precision(name)
    model.save(tmp_path / "a")
    ecgfm.checkpoint.convert(tmp_path / "a", tmp_path / "b")
    assert np.array_equal(ecgfm.load(tmp_path / "b")(x).tokens, model(x).tokens)


@pytest.mark.skipif("int8" not in LOWER, reason="this processor lacks int8")
def test_training_starts_from_rounded_numbers(tmp_path, exact):
    model = exact.with_precision("int8")
    model.save(tmp_path / "m")
    for start in (model, tmp_path / "m"):
        trained = ecgfm.Trainer(start).model()
        assert trained.precision == "float32" and trained.report is None
        assert all(np.array_equal(value, model.state_dict()[key]) for key, value in trained.state_dict().items())


def damaged(folder, change):
    """Write the tensors of a model directory again after a change of their dict."""
    from ecgfm.checkpoint.safetensors import read_tensors, write_tensors
    from ecgfm.checkpoint.storage import File

    path = folder / "model.safetensors"
    file = File(path)
    tensors, metadata = read_tensors(file)
    change(tensors)
    write_tensors(folder / "new", tensors, {key: value for key, value in metadata.items() if key != "sha256"})
    file.close()
    (folder / "new").replace(path)


@pytest.mark.skipif("int8" not in LOWER, reason="this processor lacks int8")
@pytest.mark.parametrize("scale, match", [
    (None, "no factors|no such tensor"),
    (np.ones(3, np.float32), "not float32 of shape"),
    (np.float32([np.nan]), "is not finite"),
    (np.float32([np.inf]), "is not finite"),
])  # fmt: skip
@pytest.mark.parametrize("end", [".scale", ".factor"])
def test_damaged_scales_are_refused(tmp_path, exact, scale, match, end):
    exact.with_precision("int8").save(tmp_path / "m")

    def change(tensors):
        name = next(name for name in tensors if name.endswith(end))
        rows = tensors.pop(name).shape[0]
        if scale is not None:
            tensors[name] = np.repeat(scale, rows) if len(scale) == 1 else scale

    damaged(tmp_path / "m", change)
    with pytest.raises(ecgfm.CheckpointError, match=match):
        ecgfm.load(tmp_path / "m")


@pytest.mark.parametrize("said, match", [
    ("int4", "none of float32, bfloat16, int8"), ({"name": 8}, "none of"), ({"report": {}}, "none of"),
    ({"name": "float32", "report": 5}, "no report"), ({"name": "float32", "numbers": []}, "none of"),
])  # fmt: skip
def test_a_damaged_precision_is_refused(tmp_path, exact, said, match):
    exact.save(tmp_path / "m")
    path = tmp_path / "m/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"precision": said}))
    with pytest.raises(ecgfm.CheckpointError, match=match):
        ecgfm.load(tmp_path / "m")


def test_a_damaged_report_is_refused_where_it_is_needed(tmp_path, exact, report):
    for spoil in ({"changes": 5}, {"segments": "many"}, {"ms": None}, {"changes": [{"precision": "int8"}]},
                  {"changes": [report.to_dict()["changes"][0] | {"all": {"largest": float("1e999")}}]}):  # fmt: skip
        exact.save(tmp_path / "m", report=report, force=True)
        path = tmp_path / "m/config.json"
        found = json.loads(path.read_text())
        found["precision"]["report"] |= spoil
        path.write_text(json.dumps(found).replace("Infinity", "-1"))
        assert ecgfm.load(tmp_path / "m").precision == "float32"
        with pytest.raises(ecgfm.CheckpointError, match="the report is damaged"):
            ecgfm.load(tmp_path / "m", precision="auto")


# ---- the report -----------------------------------------------------------------------------------------------------


def test_the_report_says_what_changes(exact, x, report):
    assert [each.precision for each in report.changes] == LOWER and report.segments == len(x)
    before = exact(x).probabilities
    for each in report.changes:
        change = np.abs(exact.with_precision(each.precision)(x).probabilities.astype(float) - before)
        assert each.all.largest == change.max() and each.all.mean == pytest.approx(change.mean(), rel=1e-12)
        assert [one.largest for one in each.labels.values()] == change.max(axis=0).tolist()
        assert list(each.labels) == [f"label_{i}" for i in range(exact.num_labels)]
        assert -1 <= each.all.rank_correlation <= 1 and np.isnan(each.all.auroc) and each.ms > 0


def test_the_report_is_kept_with_the_model(tmp_path, exact, report):
    assert ecgfm.QuantizationReport.from_dict(json.loads(json.dumps(report.to_dict()))).to_dict() == report.to_dict()
    for name in ("m", "m.pt", "m.safetensors"):
        exact.save(tmp_path / name, report=report)
        model = ecgfm.load(tmp_path / name)
        assert model.report.to_dict() == report.to_dict()
    model.with_precision(LOWER[0]).save(tmp_path / "lower")
    assert ecgfm.load(tmp_path / "lower").report.to_dict() == report.to_dict()


def test_the_report_is_added_to_a_directory(tmp_path, exact, report):
    exact.save(tmp_path / "m")
    assert ecgfm.load(tmp_path / "m").report is None
    assert report.keep(tmp_path / "m") == tmp_path / "m/config.json"
    assert ecgfm.load(tmp_path / "m").report.to_dict() == report.to_dict()
    exact.save(tmp_path / "m.pt")
    with pytest.raises(ecgfm.CheckpointError, match="only a model directory"):
        report.keep(tmp_path / "m.pt")
    with pytest.raises(ecgfm.CheckpointError, match="no such file"):
        (tmp_path / "empty").mkdir()
        report.keep(tmp_path / "empty")


def test_the_report_is_readable(exact, x, report):
    lines = str(report).splitlines()
    assert "9 given segments" in lines[0] and any(line.startswith("float32 ") for line in lines)
    for each in report.changes:
        assert any(line.startswith(each.precision) and f"{each.all.largest:.5f}" in line for line in lines)
    with pytest.raises(AttributeError):
        report.segments = 1


def test_the_report_compares_aurocs_where_the_truth_is_known(exact, x):
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    y = (rng.random((len(x), exact.num_labels)) < 0.5).astype(float)
    y[0, 1], y[:, 2], y[:2, 3] = np.nan, 1, (0, 1)
    report = ecgfm.quantization_report(exact, x, y)
    for each in report.changes:
        scores = [model(x).probabilities for model in (exact, exact.with_precision(each.precision))]
        known = ~np.isnan(y[:, 1])
        expected = [sklearn.roc_auc_score(y[known, 1], score[known, 1]) for score in scores]
        changes = list(each.labels.values())
        assert changes[1].auroc == pytest.approx(expected[1] - expected[0], abs=1e-12)
        assert np.isnan(changes[2].auroc) and not np.isnan(changes[3].auroc)
        assert abs(each.all.auroc) == max(abs(one.auroc) for one in changes if not np.isnan(one.auroc))
    for wrong in (y[:, :2], y[:3], [["a"]]):
        with pytest.raises(ecgfm.LabelError, match="y"):
            ecgfm.quantization_report(exact, x, wrong)


def test_the_report_on_simulated_segments():
    report = ecgfm.quantization_report(DEMO, precisions=LOWER[:1])
    assert report.data == "simulated" and [each.precision for each in report.changes] == LOWER[:1]
    assert report.segments == 64 and 0 < report.changes[0].all.largest < 0.02


def test_no_report_on_an_encoder(params, x):
    config = {key: value for key, value in weights.SMALL.items() if key != "num_labels"}
    inner = {name.removeprefix("encoder."): value for name, value in params.items() if name.startswith("encoder.")}
    encoder = ecgfm.Model.from_state_dict(config, inner, kind="encoder")
    lower = encoder.with_precision(LOWER[-1])
    assert lower(x).logits is None and lower(x).embedding.shape == encoder(x).embedding.shape
    with pytest.raises(ecgfm.ConfigError, match="no probabilities"):
        ecgfm.quantization_report(encoder, x)


def test_rank_correlation():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    for _ in range(5):
        a, b = rng.integers(0, 6, 40).astype(float), rng.integers(0, 6, 40).astype(float)
        assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b)[0], abs=1e-12)
    assert spearman(a, a) == 1 and np.isnan(spearman(a, np.ones(40)))


# ---- calibration --------------------------------------------------------------------------------


def with_outliers(params, seed):
    """The weights with gains times 12 in three channels of each layer's norms, as real transformers have them."""
    channels = np.random.default_rng(seed).choice(weights.SMALL["encoder_embed_dim"], 3, replace=False)
    found = dict(params)
    for name, values in params.items():
        if ".layers." in name and name.endswith("layer_norm.weight"):
            found[name] = values.copy()
            found[name][channels] *= 12
    return found


@pytest.mark.skipif("int8" not in HAS, reason="this processor has no int8")
def test_calibration_helps_models_with_outliers(params, x):
    changes = {False: [], True: []}
    for seed in range(6):
        model = ecgfm.Model.from_state_dict(weights.SMALL, with_outliers(params, seed))
        exact = model(x).probabilities
        for calibrated, found in changes.items():
            rounded = model.with_precision("int8", calibration=x[:4] if calibrated else None)
            found.append(np.abs(rounded(x).probabilities - exact).mean())
    assert np.mean(changes[True]) < np.mean(changes[False]) < 0.01


@pytest.mark.skipif("int8" not in HAS, reason="this processor has no int8")
@pytest.mark.parametrize("before", [False, True])
def test_calibrated_factors_follow_the_formula(params, x, before):
    """fc1 of the first layer: what enters it computed here in float64, from the trace."""
    config = weights.SMALL | {"layer_norm_first": before}
    params = weights.weights(weights.parameters(config))
    model = ecgfm.Model.from_state_dict(config, params)
    trace = model.forward_trace(x[:6])
    stream = np.float64(trace["encoder_layer_norm"])
    if before:
        stream = np.float64(trace["post_extract_proj"]) + trace["conv_pos"]
    rows = stream + trace["layer0_attn_out"]
    layer = "encoder.encoder.layers.0."
    norm = f"{layer}{'final_layer_norm' if before else 'self_attn_layer_norm'}"
    rows = (rows - rows.mean(-1, keepdims=True)) / np.sqrt(rows.var(-1, keepdims=True) + 1e-5)
    rows = rows * params[f"{norm}.weight"] + params[f"{norm}.bias"]
    expected = np.sqrt(np.abs(params[f"{layer}fc1.weight"]).max(0) / np.abs(rows).max((0, 1)))
    expected /= np.exp(np.log(expected).mean())
    numbers, scales, factors = model.with_precision("int8", calibration=x[:6])._core.stored(f"{layer}fc1.weight")
    np.testing.assert_allclose(factors, expected, rtol=1e-4)
    assert (
        np.abs(numbers * scales[:, None] * factors - params[f"{layer}fc1.weight"]).max() < scales.max() * factors.max()
    )


@pytest.mark.skipif("int8" not in HAS, reason="this processor has no int8")
def test_a_calibrated_model_is_saved_and_read_to_the_bit(exact, x, tmp_path):
    made = exact.with_precision("int8", calibration=x[:4])
    made.save(tmp_path / "model")
    np.testing.assert_array_equal(ecgfm.load(tmp_path / "model")(x).logits, made(x).logits)
    assert not np.array_equal(made(x).logits, exact.with_precision("int8")(x).logits)


def test_what_is_not_calibrated(exact, x):
    with pytest.raises(ecgfm.ConfigError, match="calibration: only float32 weights that become int8"):
        exact.with_precision("float32", calibration=x)
    if "int8" in HAS:
        with pytest.raises(ecgfm.ConfigError, match="only float32 weights"):
            exact.with_precision("int8").with_precision("int8", calibration=x)
        with pytest.raises(ecgfm.SignalError, match="there are no segments"):
            exact.with_precision("int8", calibration=x[:0])
        with pytest.raises(ecgfm.Error):
            exact.with_precision("int8", calibration=x[:, :5])


@pytest.mark.parametrize("changes", [{"encoder_ffn_embed_dim": 1}, {"num_labels": 1}])
def test_matrices_of_one_row_are_rounded_as_others_are(changes, tmp_path):
    config = weights.SMALL | changes
    exact = ecgfm.Model.from_state_dict(config, weights.weights(weights.parameters(config)))
    x = np.random.default_rng(0).standard_normal((2, 12, 400), dtype=np.float32)
    for name in LOWER:
        made = exact.with_precision(name)
        made.save(tmp_path / name)
        np.testing.assert_array_equal(ecgfm.load(tmp_path / name)(x).logits, made(x).logits)
        np.testing.assert_allclose(made(x).logits, exact(x).logits, atol=0.05)

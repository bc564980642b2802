"""The model as users call it: what it accepts and refuses, threads, fork, interruption, memory."""

import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import weights
from bounded import PATIENCE_S

import ecgfm
from ecgfm.kernels import core
from ecgfm.specs.architecture import OPTIONAL

ROOT = Path(__file__).resolve().parents[3]
CONFIG = weights.SMALL
N = 400


@pytest.fixture(scope="module")
def params():
    return weights.weights(weights.parameters(CONFIG))


@pytest.fixture(scope="module")
def model(params):
    return ecgfm.Model.from_state_dict(CONFIG, params)


@pytest.fixture(scope="module")
def x():
    return weights.signal("model", 5, 12, N)


@pytest.fixture(scope="module")
def encoder():
    return ecgfm.Model.from_state_dict(
        CONFIG, weights.weights(weights.parameters(CONFIG, "pretraining")), kind="pretraining"
    )


# ---- what it says of itself ---------------------------------------------------------------------


def test_attributes(model, params):
    assert model.kind == "classifier" and model.num_labels == 17 and model.labels is None
    assert model.num_parameters == sum(value.size for value in params.values())
    assert model.config["encoder_layers"] == 2 and model.precision == "float32"
    assert model.min_samples == 16 and model.tokens(2500) == 156
    assert "2 layers of width 32" in repr(model) and "17 labels" in repr(model)
    model.config["encoder_layers"] = 99
    assert model.config["encoder_layers"] == 2


def test_state_dict_is_what_was_given(model, params):
    found = model.state_dict()
    assert list(found) == list(params)
    for name, value in params.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.parametrize("name", ["saved.pt", "saved.safetensors", "saved"])
def test_save_and_load(model, encoder, x, tmp_path, name):
    for number, one in enumerate((model, encoder)):
        path = tmp_path / str(number) / name
        path.parent.mkdir()
        written = one.save(path)
        assert written and all(file.is_file() for file in written)
        again = ecgfm.load(path)
        assert again.kind == one.kind and (again.labels_assumed or again.labels == one.labels)
        np.testing.assert_array_equal(again(x).tokens, one(x).tokens)
        for tensor, values in one.state_dict().items():
            np.testing.assert_array_equal(again.state_dict()[tensor], values)
        with pytest.raises(ecgfm.CheckpointError, match="exists"):
            one.save(path)
        one.save(path, force=True)


def test_an_encoder_has_no_labels(encoder, x):
    out = encoder(x)
    assert encoder.kind == "encoder" and encoder.num_labels == 0
    assert out.logits is None and out.probabilities is None and out.embedding.shape == (5, 32)


def test_output(model, x):
    out = model(x, attention=True)
    assert out.logits.shape == out.probabilities.shape == (5, 17) and len(out) == 5
    assert out.embedding.shape == (5, 32) and out.tokens.shape == (5, 25, 32)
    assert out.attention.shape == (5, 2, 25, 25)
    np.testing.assert_allclose(out.attention.sum(axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose(out.probabilities, 1 / (1 + np.exp(-out.logits.astype(np.float64))), rtol=1e-6)
    assert model(x).attention is None
    assert "logits=(5, 17)" in repr(out)


def test_probabilities_of_huge_logits():
    out = ecgfm.Output(np.float32([[-3e38, -50, 0, 50, 3e38]]), np.zeros((1, 2)), None)
    assert out.probabilities[0, 0] == 0 and out.probabilities[0, 4] == 1
    assert out.probabilities[0, 1] == pytest.approx(np.exp(-50.0), rel=1e-6)


def test_tokens_and_embedding_of_a_layer(model, x):
    trace, last, first = model.forward_trace(x), model(x), model(x, layer=0)
    np.testing.assert_array_equal(first.tokens, trace["layer0"])
    np.testing.assert_allclose(first.embedding, trace["layer0"].mean(axis=1), atol=1e-6)
    np.testing.assert_array_equal(first.logits, last.logits)
    np.testing.assert_array_equal(model(x, layer=1).tokens, last.tokens)
    for wrong in (2, -1, 1.0, True):
        with pytest.raises(ecgfm.ConfigError, match="layer"):
            model(x, layer=wrong)


# ---- what it accepts ----------------------------------------------------------------------------


def test_any_type_layout_and_byte_order(model, x):
    expected = model(x).logits
    before = x.copy()
    wide = np.zeros((10, 14, 2 * N), np.float32)
    wide[::2, 1:13, ::2] = x
    for same in (
        x.astype(np.float64),
        x.astype(">f4"),
        x.astype(">f8"),
        np.asfortranarray(x),
        wide[::2, 1:13, ::2],
        x[::-1][::-1],
        x.tolist(),
    ):
        np.testing.assert_array_equal(model(same).logits, expected)
    np.testing.assert_array_equal(x, before)
    read_only = x.copy()
    read_only.flags.writeable = False
    np.testing.assert_array_equal(model(read_only).logits, expected)
    integers = np.round(x * 8).astype(np.int16)
    np.testing.assert_array_equal(model(integers).logits, model(integers.astype(np.float32)).logits)
    assert np.abs(model(x.astype(np.float16)).logits - expected).max() < 0.05


def test_unaligned_memory(model, x):
    raw = bytearray(x.nbytes + 1)
    shifted = np.frombuffer(raw, dtype=np.float32, count=x.size, offset=1).reshape(x.shape)
    shifted[...] = x
    np.testing.assert_array_equal(model(shifted).logits, model(x).logits)


def test_batch_does_not_matter(model, x):
    alone = np.concatenate([model(row[None]).logits for row in x])
    np.testing.assert_allclose(model(x).logits, alone, atol=1e-5)
    many = np.concatenate([x] * 60)  # more than one pass
    np.testing.assert_allclose(model(many).logits, np.concatenate([alone] * 60), atol=1e-5)


def test_padding_masks(model, x):
    mask = weights.padding(5, 12, N, [N, 200, 16, N, 399])
    expected = model(x, padding_mask=mask)
    np.testing.assert_array_equal(model(x, padding_mask=mask[:, 0]).logits, expected.logits)
    assert not expected.tokens[1, model.tokens(200) :].any() and expected.tokens[1, model.tokens(200) - 1].any()
    none = model(x, padding_mask=np.zeros((5, N), bool))
    np.testing.assert_array_equal(none.logits, model(x).logits)
    assert np.abs(expected.logits[1] - none.logits[1]).max() > 1e-4

    class WithMask:
        padding_mask = mask

        def __array__(self, dtype=None, copy=None):
            return x

    np.testing.assert_array_equal(model(WithMask()).logits, expected.logits)


# ---- what it refuses ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (np.zeros((12, N)), "not 3"),
        (np.zeros((1, 11, N)), "11 leads"),
        (np.zeros((0, 12, N)), "empty"),
        (np.zeros((2, 12, 0)), "empty"),
        (np.zeros((2, 12, 15)), "at least 16"),
        (np.zeros((1, 12, N), complex), "complex"),
        (np.zeros((1, 12, N), bool), "bool"),
        (np.full((1, 12, N), "a"), "not real numbers"),
        (np.full((1, 12, N), None), "not real numbers"),
        ([[1, 2], [3]], "x"),
        (np.full((1, 12, N), 1e300), "infinite"),
        (np.ma.masked_greater(np.arange(12.0 * N).reshape(1, 12, N), 5), "masked"),
    ],
)
def test_wrong_signals(model, wrong, says):
    with pytest.raises(ecgfm.SignalError, match=says):
        model(wrong)


def test_not_finite_values_are_located(model, x):
    for value, name in ((np.nan, "NaN"), (-np.inf, "infinite")):
        bad = x.copy()
        bad[3, 7, 311] = value
        with pytest.raises(ecgfm.SignalError, match=rf"x\[3, 7, 311\] \(segment, lead, sample\) is {name}"):
            model(bad)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (np.zeros((5, N)), "not bool"),
        (np.zeros((4, N), bool), "fits neither"),
        (np.arange(N) < 3, "fits neither"),
        (np.tile(np.arange(N) < 3, (5, 1)), "at the end"),
        (np.tile(np.arange(N) >= 15, (5, 1)), "at least 16"),
        (np.ones((5, N), bool), "at least 16"),
        ([[True], [True, False]], "not an array"),
        (np.arange(12)[:, None] + np.arange(N) > N + np.zeros((5, 1, 1)), "between the leads"),
    ],
)
def test_wrong_masks(model, x, wrong, says):
    with pytest.raises(ecgfm.SignalError, match=says):
        model(x, padding_mask=wrong)


def test_wrong_weights(params):
    def refused(error, says, **changes):
        changed = {name: value for name, value in (params | changes).items() if value is not None}
        with pytest.raises(error, match=says) as caught:
            ecgfm.Model.from_state_dict(CONFIG, changed)
        return caught.value

    error = refused(ecgfm.CheckpointError, "missing", **{"proj.bias": None})
    assert error.field == "proj.bias"
    error = refused(ecgfm.CheckpointError, "asks for", **{"proj.bias": np.zeros(16)})
    assert error.field == "proj.bias"
    refused(ecgfm.CheckpointError, "not real numbers", **{"proj.bias": np.zeros(17, complex)})
    refused(ecgfm.CheckpointError, "no such tensor", other=np.zeros(3))
    error = refused(
        ecgfm.CheckpointError, "element 5 is not finite", **{"proj.bias": np.where(np.arange(17) == 5, np.nan, 0)}
    )
    assert error.field == "proj.bias"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"encoder_layers": 0}, "encoder_layers"),
        ({"encoder_layers": "2"}, "encoder_layers"),
        ({"encoder_layers": True}, "encoder_layers"),
        ({"encoder_layers": 2.0}, "encoder_layers"),
        ({"encoder_layers": None}, "encoder_layers"),
        ({"encoder_embed_dim": 2**62}, "encoder_embed_dim"),
        ({"encoder_embed_dim": 10**30}, "encoder_embed_dim"),
        ({"encoder_attention_heads": 5}, "encoder_attention_heads"),
        ({"extractor_mode": "group"}, "extractor_mode"),
        ({"conv_feature_layers": [(16, 2)]}, "conv_feature_layers"),
        ({"conv_feature_layers": []}, "conv_feature_layers"),
        ({"conv_feature_layers": [(16, 2, 0)]}, "conv_feature_layers"),
        ({"conv_pos_groups": 5}, "conv_pos_groups"),
        ({"num_labels": 0}, "num_labels"),
    ],
)
def test_wrong_configurations(params, changes, says):
    with pytest.raises(ecgfm.ConfigError, match=says):
        ecgfm.Model.from_state_dict(CONFIG | changes, params)
    lacking = {key: value for key, value in CONFIG.items() if key not in changes}
    if OPTIONAL & set(changes):
        return
    with pytest.raises(ecgfm.ConfigError, match=says):
        ecgfm.Model.from_state_dict(lacking, params)


def test_wrong_kind_labels_and_precision(params, tmp_path):
    with pytest.raises(ecgfm.ConfigError, match="kind"):
        ecgfm.Model.from_state_dict(CONFIG, params, kind="decoder")
    with pytest.raises(ecgfm.LabelError):
        ecgfm.Model.from_state_dict(CONFIG, params, labels=["a", "b"])
    with pytest.raises(ecgfm.ConfigError, match="precision"):
        ecgfm.load(tmp_path / "none.pt", precision="float8")


def test_the_core_refuses_misuse(params):
    made = core().Model(CONFIG, "classifier")
    with pytest.raises(KeyError):
        made.set("nothing", np.zeros(1, np.float32))
    with pytest.raises(ValueError, match="contiguous float32"):
        made.set("proj.bias", np.zeros(17))
    with pytest.raises(ValueError, match="not set"):
        made.finish()
    with pytest.raises(ValueError, match="not loaded"):
        made.forward(np.zeros((1, 12, N), np.float32))
    for wrong in (np.zeros((1, 12, N)), np.zeros((1, 12, 15), np.float32), np.zeros((2, 24, N), np.float32)[:, ::2]):
        with pytest.raises(ValueError):
            made.forward(wrong)
    with pytest.raises(TypeError):
        made.forward(np.zeros((1, 12, N), np.float32), "all")
    with pytest.raises(TypeError):
        core().parameters([], "classifier")


def test_a_core_model_is_made_whole_or_not_at_all():
    kind = core().Model
    with pytest.raises(TypeError):
        kind.__new__(kind)
    with pytest.raises(ValueError, match="encoder or a classifier"):
        kind(CONFIG, "pretraining")


# ---- implementations ----------------------------------------------------------------------------


@pytest.mark.parametrize("tag", weights.VARIANTS)
def test_no_operation_falls_back_to_reference_code(tag):
    made = ecgfm.Model.from_state_dict(
        weights.VARIANTS[tag], weights.weights(weights.parameters(weights.VARIANTS[tag]))
    )
    for batch, samples in ((1, 2500), (8, 2500), (3, 1203)):
        lines = made._core.describe(batch, samples).splitlines()
        assert lines and not [line for line in lines if "ref" in line.split()[1]], lines


@pytest.mark.parametrize("size", ["BASE", "LARGE"])
def test_no_operation_of_the_published_sizes_falls_back(size):
    config = getattr(weights, size) | {"encoder_layers": 1}
    made = ecgfm.Model.from_state_dict(config, weights.weights(weights.parameters(config)))
    before = ecgfm.get_num_threads()
    try:
        for threads in (1, 2, 5):
            ecgfm.set_num_threads(threads)
            for batch, samples in ((1, 2500), (2, 2500), (8, 2500), (5, 16)):
                lines = made._core.describe(batch, samples).splitlines()
                assert len(lines) == 11 and not [line for line in lines if "ref" in line.split()[1]], lines
    finally:
        ecgfm.set_num_threads(before)


# ---- threads, fork, interruption ----------------------------------------------------------------


def test_threads_give_the_same_bits(model):
    batches = [weights.signal(f"threads{i}", 1 + i % 3, 12, 300 + 100 * (i % 2)) for i in range(8)]
    expected = [model(batch) for batch in batches]
    wrong = []

    def work():
        for _ in range(10):
            for batch, out in zip(batches, expected):
                got = model(batch)
                if not (np.array_equal(got.logits, out.logits) and np.array_equal(got.tokens, out.tokens)):
                    wrong.append(batch.shape)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_number_of_threads(model, x):
    before = ecgfm.get_num_threads()
    try:
        found = []
        for n in (1, 2, 3):
            ecgfm.set_num_threads(n)
            assert ecgfm.get_num_threads() == n
            found.append(model(x).logits)
            np.testing.assert_array_equal(model(x).logits, found[-1])
        np.testing.assert_allclose(found[1], found[0], atol=1e-6)
        np.testing.assert_allclose(found[2], found[0], atol=1e-6)
        for wrong in (0, -1, 1.5, "two", True, 10**9, None):
            with pytest.raises(ecgfm.ConfigError, match="threads"):
                ecgfm.set_num_threads(wrong)
    finally:
        ecgfm.set_num_threads(before)


def run(code, **environment):
    """A child process with the tests' helpers; its standard output."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=os.environ | {"PYTHONPATH": paths} | environment,
    )


PRELUDE = """
import os, sys, numpy as np, ecgfm, weights
config = weights.SMALL
model = ecgfm.Model.from_state_dict(config, weights.weights(weights.parameters(config)))
x = weights.signal("child", 4, 12, 400)
"""


def test_environment_variable():
    assert run("import ecgfm; print(ecgfm.get_num_threads())", ECGFM_NUM_THREADS="3").stdout.strip() == "3"
    refused = run("import ecgfm; ecgfm.get_num_threads()", ECGFM_NUM_THREADS="many")
    assert "ECGFM_NUM_THREADS" in refused.stderr and refused.returncode == 1
    # Also where loading a checkpoint is what asks first: the file is not to blame.
    code = "import ecgfm, importlib.resources as r; ecgfm.load(r.files('ecgfm') / 'assets' / 'demo')"
    refused = run(code, ECGFM_NUM_THREADS="many").stderr.splitlines()[-1]
    assert refused.startswith("ecgfm.errors.ConfigError: ECGFM_NUM_THREADS: 'many'") and "cfg.model" not in refused


def test_another_library_of_onednn(tmp_path):
    code = "import ecgfm; print(ecgfm._core.onednn()[0])"
    assert run(code, ECGFM_ONEDNN="").stdout.startswith("3.")
    other = tmp_path / "libother.so"
    other.write_bytes(b"no library")
    for wrong, words in ((other, "can't be loaded"), ("libm.so.6", "not a oneDNN library")):
        refused = run(code, ECGFM_ONEDNN=str(wrong)).stderr.splitlines()[-1]
        assert refused.startswith("ImportError: ECGFM_ONEDNN names") and words in refused


def test_threads_that_load_at_the_same_time():
    code = """
    import os, threading
    import ecgfm
    seen, wrong, gate = [], [], threading.Barrier(8)
    def work():
        gate.wait()
        try:
            seen.append(ecgfm.get_num_threads())
        except BaseException as error:
            wrong.append(error)
    threads = [threading.Thread(target=work) for _ in range(8)]
    for t in threads: t.start()
    for t in threads: t.join()
    print(seen, wrong, "GOMP_SPINCOUNT" in os.environ)
    """
    assert run(code, ECGFM_NUM_THREADS="3").stdout.strip() == f"{[3] * 8} [] False"


def test_a_fork_after_use_does_not_hang():
    code = (
        PRELUDE
        + """
ecgfm.set_num_threads(2)
expected = model(x).logits
pid = os.fork()
if pid == 0:
    ok = ecgfm.get_num_threads() == 1 and np.allclose(model(x).logits, expected, atol=1e-6)
    os._exit(0 if ok else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    )
    found = run(code)
    assert found.returncode == 0, found.stderr


def test_import_is_light():
    found = run("import sys, ecgfm; print(' '.join(m for m in ('scipy', 'pandas', 'ecgfm._core') if m in sys.modules))")
    assert found.returncode == 0 and not found.stdout.strip()


def test_an_interrupt_ends_a_long_call(params):
    long = CONFIG | {"encoder_layers": 24, "encoder_embed_dim": 256, "encoder_ffn_embed_dim": 1024}
    made = ecgfm.Model.from_state_dict(long, weights.weights(weights.parameters(long)))
    x = np.concatenate([weights.signal("long", 8, 12, 2500)] * 100)
    old = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    start = time.process_time()
    made(x[:8])
    whole = (time.process_time() - start) * len(x) / 8
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    start = time.process_time()
    try:
        with pytest.raises(KeyboardInterrupt):
            made(x)
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, old)
    assert time.process_time() - start < whole / 2
    assert np.isfinite(made(x[:1]).logits).all()  # still whole


# ---- memory -------------------------------------------------------------------------------------


def test_every_failing_allocation_is_an_error(params, x):
    failures = 0
    try:
        for k in range(1, 1000):
            core().fail_allocation(k)
            try:
                made = ecgfm.Model.from_state_dict(CONFIG, params)
                made(x)
                break
            except MemoryError:
                failures += 1
    finally:
        core().fail_allocation(0)
    assert 20 < failures < 999
    np.testing.assert_array_equal(made(x).logits, ecgfm.Model.from_state_dict(CONFIG, params)(x).logits)


def test_a_batch_that_does_not_fit(model):
    huge = np.broadcast_to(np.float32(0), (1, 12, 2**42))  # more than there are addresses
    with pytest.raises(MemoryError):
        model(huge)


def test_nothing_is_leaked(params, x):
    def rounds(n):
        for _ in range(n):
            made = ecgfm.Model.from_state_dict(CONFIG, params)
            made(x, attention=True)
            made.forward_trace(x[:1])
            bad = x.copy()
            bad[0, 0, 0] = np.nan
            with pytest.raises(ecgfm.SignalError):
                made(bad)
            with pytest.raises(ecgfm.CheckpointError):
                ecgfm.Model.from_state_dict(CONFIG, {})

    rounds(20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rounds(100)  # a leak of one model or batch a round would add 20 MB
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8_000

"""Models in pickles and deep copies: plain data and one function, the same answers to the bit."""

import copy
import os
import pickle
import pickletools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import weights

import ecgfm
from ecgfm.model.pickling import plain_state, restored
from ecgfm.specs.precision import PRECISIONS

CONFIG = weights.SMALL
X = weights.signal("pickling", 3, 12, 400)
LABELS = [f"finding {i}" for i in range(17)]


@pytest.fixture(scope="module", params=PRECISIONS)
def model(request):
    values = weights.weights(weights.parameters(CONFIG))
    try:
        return ecgfm.Model.from_state_dict(
            CONFIG,
            values,
            labels=LABELS,
            precision=request.param,
            input={"normalisation": "none"},
            info={"training": "none", "caveat": "it knows nothing"},
        )
    except ecgfm.ConfigError as error:
        pytest.skip(str(error))


def assert_same(found, model):
    ours, theirs = model(X, attention=True), found(X, attention=True)
    for name in ("logits", "embedding", "tokens", "attention"):
        np.testing.assert_array_equal(getattr(theirs, name), getattr(ours, name))
    for name in ("kind", "labels", "labels_source", "info", "source", "precision", "input", "input_source", "config"):
        assert getattr(found, name) == getattr(model, name), name
    assert found.caveat == model.caveat and found._saved(None) == model._saved(None)
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(found.state_dict()[name], values)


@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_pickle(model, protocol):
    assert_same(pickle.loads(pickle.dumps(model, protocol)), model)


def test_deep_copy(model):
    found = copy.deepcopy(model)
    assert found is not model
    assert_same(found, model)


def test_plain_data_and_one_function(model):
    """A pickle of ours calls nothing else, so that other releases of NumPy and of ecgfm read it."""
    calls = [arg for code, arg, _ in pickletools.genops(pickle.dumps(model, 2)) if code.name in ("GLOBAL", "INST")]
    assert set(calls) <= {"ecgfm.model.pickling restored", "_codecs encode"}  # protocol 2 writes bytes with the second


def test_of_another_process(model, tmp_path):
    (tmp_path / "m.pickle").write_bytes(pickle.dumps(model))
    np.save(tmp_path / "x.npy", X)
    code = (
        "import pickle, numpy; m = pickle.load(open('m.pickle', 'rb'));"
        "numpy.save('y.npy', m(numpy.load('x.npy')).logits)"
    )
    path = os.pathsep.join([str(Path(ecgfm.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, env=os.environ | {"PYTHONPATH": path})
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), model(X).logits)


def test_encoders():
    values = weights.weights(weights.parameters(CONFIG, "pretraining"))
    model = ecgfm.Model.from_state_dict(CONFIG, values, kind="pretraining")
    np.testing.assert_array_equal(copy.deepcopy(model)(X).embedding, model(X).embedding)


def test_answers_travel():
    """What a model was taught of its answers, and whether a call left it out."""
    demo = ecgfm.load("demo")
    x, y = np.asarray(X), (np.arange(51).reshape(3, 17) % 2)[:, : demo.num_labels]
    x = np.tile(x, (8, 1, 7))[:, :, :2500]
    rng = np.random.default_rng(0)
    x = (x + rng.normal(size=x.shape)).astype(np.float32)
    calibrated = ecgfm.calibrate(demo, x, np.tile(y, (8, 1)), method="temperature").model
    found = copy.deepcopy(calibrated)
    assert found.calibration == calibrated.calibration and found.thresholds == calibrated.thresholds
    assert found.calibration is not None and found.uncalibrated == calibrated.uncalibrated


def test_hostile():
    demo = ecgfm.load("demo")
    state = plain_state(demo)
    with pytest.raises(ecgfm.CheckpointError, match="another version"):
        restored(state | {"version": 99})
    name = next(iter(state["tensors"]))
    kind, shape, values = state["tensors"][name][0]
    with pytest.raises(ecgfm.CheckpointError, match="of type 'O'"):
        restored(state | {"tensors": state["tensors"] | {name: [("O", shape, values)]}})
    with pytest.raises(ecgfm.CheckpointError, match=name):
        restored(state | {"tensors": {key: value for key, value in state["tensors"].items() if key != name}})
    with pytest.raises(ecgfm.CheckpointError, match="bytes"):
        restored(state | {"tensors": state["tensors"] | {name: [(kind, shape, values[:-4])]}})

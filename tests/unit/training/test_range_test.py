"""The learning-rate range test; callbacks that see the trainer."""

import numpy as np
import pytest
import weights

import ecgfm
from ecgfm.training import learning_rates
from ecgfm.training.range_test import _found

CONFIG = weights.SMALL | {"num_labels": 1}
X = weights.signal("range", 12, 12, 400)
Y = (np.arange(12) % 2)[:, None]

pytestmark = pytest.mark.filterwarnings("ignore::ecgfm.InputWarning")


@pytest.fixture(scope="module")
def model():
    return ecgfm.Model.from_state_dict(CONFIG, weights.weights(weights.parameters(CONFIG)), labels=["odd"])


def test_rates_rise_and_the_model_stays(model):
    before = model.state_dict()
    found = learning_rates(model, X, Y, updates=20, batch_size=5, low=1e-6, high=1e-2)
    rates = found.table["lr"]
    np.testing.assert_allclose(rates[1:] / rates[:-1], 10 ** (4 / 19))
    assert rates[0] == 1e-6 and len(found.table) <= 20 and np.isfinite(found.table["loss"]).all()
    assert found.highest in rates and (found.suggested != found.suggested or found.suggested <= found.highest)
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(values, before[name])
    again = learning_rates(model, X, Y, updates=20, batch_size=5, low=1e-6, high=1e-2)
    np.testing.assert_array_equal(again.table["loss"], found.table["loss"])


def test_it_ends_where_the_loss_explodes(model):
    found = learning_rates(model, X, Y, updates=60, batch_size=4, low=1e-4, high=1e5, feature_grad_mult=1.0)
    assert len(found.table) < 60


def test_the_steepest_fall():
    """A loss that falls most steeply at 1e-3, is least at 1e-2 and rises then."""
    rates = np.geomspace(1e-6, 1, 121)
    place = np.log10(rates)
    losses = 1 - 1 / (1 + np.exp(-6 * (place + 3))) + np.maximum(place + 1.5, 0)
    found = _found(rates, losses)
    assert 5e-4 < found.suggested < 5e-3  # the smoothing lags by some updates
    assert found.suggested < found.highest < 2e-1
    assert np.isnan(_found(rates[:5], losses[:5]).suggested)
    assert np.isnan(_found(rates, np.linspace(1, 2, 121)).suggested)


@pytest.mark.parametrize(
    "more, match",
    [
        ({"low": 1e-2, "high": 1e-3}, "low"),
        ({"low": 0}, "low"),
        ({"updates": 3}, "updates"),
        ({"schedule": 1e-3}, "schedule"),
    ],
)
def test_refusals(model, more, match):
    with pytest.raises(ecgfm.ConfigError, match=match):
        learning_rates(model, X, Y, **more)


def test_a_callback_sees_the_trainer(model):
    seen, rows = [], []

    def look(row, trainer):
        seen.append((row["epoch"], trainer.num_updates, float(trainer.model()(X).logits[0, 0])))
        return row["epoch"] == 2

    tuned = ecgfm.finetune(model, X, Y, epochs=5, batch_size=6, callback=look)
    assert [each[:2] for each in seen] == [(1, 2), (2, 4)]
    assert seen[-1][2] == float(tuned.model(X).logits[0, 0])
    ecgfm.finetune(model, X, Y, epochs=1, batch_size=6, callback=lambda row, kept=rows: kept.append(row))
    ecgfm.finetune(model, X, Y, epochs=1, batch_size=6, callback=rows.append)
    ecgfm.finetune(model, X, Y, epochs=1, batch_size=6, callback=lambda *given: rows.extend(given))
    assert [row["epoch"] for row in rows] == [1, 1, 1]

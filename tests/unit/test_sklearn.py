"""The scikit-learn estimators: what they take, that they fit into scikit-learn, and its own checks of estimators."""

import copy
import pickle

import joblib
import numpy as np
import pytest
import weights
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

import ecgfm
from ecgfm.sklearn import ECGFMClassifier, ECGFMEmbedder, ECGFMRegressor

pytestmark = pytest.mark.filterwarnings("ignore::ecgfm.InputWarning", "ignore::UserWarning")

CONFIG = weights.SMALL | {"num_labels": 2}
N = 64
X = weights.signal("sklearn", 24, 12, N)
Y = np.arange(24) % 2
X[Y == 1, 0] *= 3
QUICK = {"epochs": 1, "batch_size": 8, "lr": 1e-3}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A small model on the disk, which takes segments of 64 samples."""
    folder = tmp_path_factory.mktemp("sklearn") / "small"
    values = weights.weights(weights.parameters(CONFIG))
    model = ecgfm.Model.from_state_dict(
        CONFIG, values, labels=["a", "b"], input={"samples": N, "normalisation": "none"}
    )
    model.save(folder)
    return str(folder)


@pytest.fixture(scope="module")
def embedder(path):
    return ECGFMEmbedder(path).fit(X)


# ---- the embedder -----------------------------------------------------------------------------------


def test_embeddings_are_those_of_the_model(path, embedder):
    model = ecgfm.load(path)
    out = model(X, attention=True)
    np.testing.assert_allclose(embedder.transform(X), out.embedding, rtol=1e-6)
    np.testing.assert_array_equal(embedder.transform(X.reshape(24, -1)), embedder.transform(X))
    largest = ECGFMEmbedder(path, pooling="max").fit_transform(X)
    np.testing.assert_array_equal(largest, out.tokens.max(axis=1))
    looked = out.attention[:, -1].mean(axis=1)
    expected = np.einsum("bt,btc->bc", looked / looked.sum(axis=1, keepdims=True), out.tokens)
    np.testing.assert_allclose(
        ECGFMEmbedder(path, pooling="attention").fit_transform(X), expected, rtol=1e-4, atol=1e-6
    )
    first = ECGFMEmbedder(path, layer=0).fit_transform(X)
    np.testing.assert_array_equal(first, model(X, layer=0).embedding)
    assert list(embedder.get_feature_names_out()[:2]) == ["ecgfmembedder0", "ecgfmembedder1"]
    assert embedder.n_features_in_ == 12 * N


def test_files_records_and_raw_signals(tmp_path):
    """Files, Records and raw arrays give what embed gives: means over the segments of a recording."""
    records = [ecgfm.ecg.simulate(10, 500, seed=i) for i in range(3)]
    files = []
    for i, record in enumerate(records):
        files.append(str(tmp_path / f"{i}.npz"))
        np.savez(files[-1], signal=record.signal, sampling_rate=500, leads=record.leads)
    expected = ecgfm.embed("demo", files).per_record()
    for given in (files, np.array(files), records):
        np.testing.assert_allclose(ECGFMEmbedder().fit_transform(given), expected, rtol=2e-5, atol=1e-6)
    raw = np.stack([record.signal for record in records])
    found = ECGFMEmbedder(sampling_rate=500).fit_transform(raw)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(ECGFMEmbedder(sampling_rate=500).fit_transform(raw.reshape(3, -1)), found)


def test_padding_is_left_out(path):
    """Of padded recordings tokens behind the end have no part in any pooling."""
    records = [ecgfm.ecg.simulate(5, 500, seed=1), ecgfm.ecg.simulate(3, 500, seed=2)]
    model = ecgfm.load("demo", input={"short": "pad"})
    segments = [ecgfm.prepare(one, model) for one in records]
    for pooling in ("mean", "max", "attention"):
        both = ECGFMEmbedder(model, pooling=pooling).fit_transform(records)
        alone = ECGFMEmbedder(model, pooling=pooling).fit_transform(records[1:])
        np.testing.assert_allclose(both[1:], alone, rtol=1e-5, atol=1e-6)
    count = model.tokens(1500)
    out = model(segments[1])
    np.testing.assert_allclose(
        ECGFMEmbedder(model, pooling="max").fit_transform(records[1:])[0], out.tokens[0, :count].max(axis=0), rtol=1e-6
    )


def test_the_cache(path, tmp_path, monkeypatch):
    expected = ECGFMEmbedder(path).fit_transform(X)
    kept = ECGFMEmbedder(path, cache=tmp_path / "kept").fit(X)
    np.testing.assert_array_equal(kept.transform(X[:20]), expected[:20])
    assert len(list((tmp_path / "kept").glob("*/*.npy"))) == 20
    asked = []
    compute = ECGFMEmbedder._computed
    monkeypatch.setattr(ECGFMEmbedder, "_computed", lambda self, rows: asked.append(len(rows)) or compute(self, rows))
    np.testing.assert_array_equal(kept.transform(X), expected)
    np.testing.assert_array_equal(kept.transform(X), expected)
    assert asked == [4]
    ECGFMEmbedder(path, cache=tmp_path / "kept", layer=0).fit_transform(X)  # another key
    assert asked == [4, 24]
    for one in (tmp_path / "kept").glob("*/*.npy"):
        one.write_bytes(one.read_bytes()[:-3])
    with pytest.warns(ecgfm.InputWarning, match="computed anew"):
        np.testing.assert_array_equal(kept.transform(X), expected)
    first, second = sorted((tmp_path / "kept").glob("*/*.npy"))[:2]
    whole = first.read_bytes()
    flipped = bytearray(whole)
    flipped[-60] ^= 1
    for bad in (second.read_bytes(), bytes(flipped), whole + b"more"):
        first.write_bytes(bad)
        with pytest.warns(ecgfm.InputWarning, match="computed anew"):
            ECGFMEmbedder(path, cache=tmp_path / "kept", layer=0).fit_transform(X)
            np.testing.assert_array_equal(kept.transform(X), expected)
        assert first.read_bytes() == whole
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ecgfm.ConfigError, match="can't be made"):
        ECGFMEmbedder(path, cache=tmp_path / "file").fit_transform(X)


def test_in_a_pipeline(path, tmp_path):
    """Grid search over layers in two processes, folds of patients, joblib; a name keeps clones cheap."""
    pipeline = make_pipeline(ECGFMEmbedder(path), LogisticRegression(max_iter=500))
    search = GridSearchCV(pipeline, {"ecgfmembedder__layer": [0, None]}, cv=2, n_jobs=2).fit(X, Y)
    assert search.score(X, Y) > 0.9 and 0 <= search.best_score_ <= 1
    scores = cross_val_score(pipeline, X.reshape(24, -1), Y, cv=GroupKFold(3), groups=np.arange(24) // 4)
    assert scores.shape == (3,) and np.isfinite(scores).all()
    joblib.dump(search.best_estimator_, tmp_path / "best.joblib")
    found = joblib.load(tmp_path / "best.joblib")
    np.testing.assert_array_equal(found.predict_proba(X), search.best_estimator_.predict_proba(X))
    assert clone(pipeline).get_params()["ecgfmembedder__model"] == path
    Ridge().fit(ECGFMEmbedder(path).fit_transform(X), Y)


@pytest.mark.parametrize(
    "given, error",
    [
        (np.zeros((3, 11, N)), "not \\(recordings, 12, samples\\)"),
        (np.zeros((3, 12 * N + 1)), "are not 12 leads"),
        (np.zeros((3, 24)), "are not 12 leads"),
        (np.full((3, 12, N), np.nan), "NaN"),
        (["there/is/none.hea"], "none.hea"),
    ],
)
def test_rows_that_are_no_recordings(path, given, error):
    with pytest.raises(ValueError, match=error):
        ECGFMEmbedder(path).fit_transform(given)


def test_parameters_are_checked():
    for bad in ({"pooling": "median"}, {"model": 3}, {"batch_size": 0}):
        with pytest.raises(ecgfm.ConfigError, match=next(iter(bad))):
            ECGFMEmbedder(**bad).fit(X)


# ---- classifier and regressor -------------------------------------------------------------------------


def test_two_classes(path):
    names = np.array(["no", "yes"])[Y]
    fitted = ECGFMClassifier(path, **QUICK | {"epochs": 12}).fit(X, names)
    assert list(fitted.classes_) == ["no", "yes"] and fitted.score(X, names) > 0.9
    p, logits = fitted.predict_proba(X), fitted.decision_function(X)
    assert p.shape == (24, 2) and logits.shape == (24,)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), p[:, 1], rtol=1e-6)
    np.testing.assert_array_equal(fitted.predict(X), np.where(logits > 0, "yes", "no"))
    assert fitted.model_.labels == ("class yes",) and fitted.n_iter_ == 12


def test_more_classes_and_labels(path):
    classes = np.arange(24) % 3
    fitted = ECGFMClassifier(path, **QUICK).fit(X, classes)
    assert fitted.predict_proba(X).shape == fitted.decision_function(X).shape == (24, 3)
    np.testing.assert_array_equal(fitted.predict(X), fitted.decision_function(X).argmax(axis=1))
    both = np.stack([Y, np.arange(24) % 3 == 0], axis=1).astype(int)
    fitted = ECGFMClassifier(path, **QUICK, class_weight="balanced").fit(X, both)
    assert fitted.predict(X).shape == (24, 2) and set(np.unique(fitted.predict(X))) <= {0, 1}


def test_weights_of_classes(path):
    """Class -> weight as scikit-learn has it: as weights of the samples, for any names and number of classes."""
    for y, given in ((np.array(["no", "yes"])[Y], {"no": 1, "yes": 5}), (np.arange(24) % 3 + 1, {1: 1, 2: 2, 3: 4})):
        found = ECGFMClassifier(path, **QUICK, class_weight=given).fit(X, y)
        plain = ECGFMClassifier(path, **QUICK).fit(X, y, [float(given[one]) for one in y.tolist()])
        np.testing.assert_array_equal(found.predict_proba(X), plain.predict_proba(X))


def test_tables_unknown_labels_and_large_logits(path):
    import pandas

    one = ECGFMClassifier(path, **QUICK).fit(X, pandas.DataFrame({"kind": np.arange(24) % 3}))
    assert list(one.classes_) == [0, 1, 2]
    y = np.stack([Y, Y[::-1]], axis=1).astype(float)
    y[3, 1] = np.nan
    found = ECGFMClassifier(path, **QUICK, random_state=None).fit(X, pandas.DataFrame(y, columns=["p", "q"]))
    assert list(found.classes_) == ["p", "q"] and found.multilabel_ and found.predict(X).shape == (24, 2)
    found.model_ = lambda x, mask=None: type("Output", (), {"logits": np.linspace(15, 30, len(x))[:, None]})
    found.multilabel_, found.batch_size = False, 24
    found._recordings = lambda X, model, reset: [ecgfm.ecg.Segments(X[i : i + 1], np.zeros(1)) for i in range(len(X))]
    np.testing.assert_allclose(found.decision_function(X)[:, None] if found._is_binary else found.decision_function(X),
                               np.linspace(15, 30, 24)[:, None], rtol=1e-3)  # fmt: skip


def test_it_is_what_finetune_gives(path):
    fitted = ECGFMClassifier(path, **QUICK, settings={"dropout": 0.0}).fit(X, Y, sample_weight=np.linspace(1, 2, 24))
    tuned = ecgfm.finetune(
        path, X, Y[:, None], labels=["class 1"], **QUICK, dropout=0.0, sample_weight=np.linspace(1, 2, 24)
    )
    for name, values in tuned.model.state_dict().items():
        np.testing.assert_array_equal(fitted.model_.state_dict()[name], values)


def test_groups_and_records(path):
    records = [ecgfm.ecg.simulate(10 if i % 2 else 5, 500, heart_rate=60 + 40 * (i % 2), seed=i) for i in range(8)]
    quick = {"epochs": 1, "batch_size": 4, "trainable": "head", "valid": 0.5}
    fitted = ECGFMClassifier(**quick).fit(records, np.arange(8) % 2, groups=np.arange(8) // 2)
    assert "valid_loss" in fitted.history_.columns and fitted.predict(records).shape == (8,)


def test_regression(path):
    y = X[:, 0].std(axis=1) * 10 + 5
    fitted = ECGFMRegressor(path, **QUICK | {"epochs": 12}).fit(X, y)
    assert fitted.predict(X).shape == (24,) and fitted.score(X, y) > 0.3
    assert fitted.model_.target.mean[0] == pytest.approx(y.mean(), rel=1e-5)
    assert ECGFMRegressor(path, **QUICK).fit(X, np.stack([y, -y], axis=1)).predict(X).shape == (24, 2)


def test_copies_and_pickles(path):
    fitted = ECGFMClassifier(path, **QUICK).fit(X, Y)
    for found in (copy.deepcopy(fitted), pickle.loads(pickle.dumps(fitted))):
        np.testing.assert_array_equal(found.predict_proba(X), fitted.predict_proba(X))
    assert not hasattr(clone(fitted), "model_")


def test_one_class(path):
    with pytest.raises(ValueError, match="one class"):
        ECGFMClassifier(path, **QUICK).fit(X, np.ones(24))


# ---- scikit-learn's own checks ------------------------------------------------------------------------

KINDS = [ECGFMEmbedder, ECGFMClassifier, ECGFMRegressor]
FEW_COLUMNS = (
    "it fits on 1 to 30 columns, which are no ECG: an honest estimator refuses them; repeated below on 12 x 64"
)
OF_ALL = """fit_score_takes_y estimators_overwrite_params dont_overwrite_parameters estimators_fit_returns_self
    readonly_memmap_input n_features_in_after_fitting positive_only_tag_during_fit estimators_dtypes dtype_object
    pipeline_consistency estimators_nan_inf estimators_pickle f_contiguous_array_estimator n_features_in
    methods_sample_order_invariance methods_subset_invariance fit2d_1sample fit2d_1feature dict_unchanged
    fit_idempotent fit_check_is_fitted fit2d_predict1d"""
OF_TRANSFORMERS = "transformer_data_not_an_array transformer_general transformer_preserve_dtypes"
OF_WEIGHTS = """sample_weights_pandas_series sample_weights_not_an_array sample_weights_list
    all_zero_sample_weights_error sample_weights_shape sample_weights_not_overwritten supervised_y_2d
    sample_weight_equivalence_on_dense_data"""
OF_CLASSIFIERS = """classifier_data_not_an_array classifiers_one_label classifiers_one_label_sample_weights
    classifiers_classes classifiers_train classifiers_regression_target classifiers_multilabel_representation_invariance
    classifiers_multilabel_output_format_predict classifiers_multilabel_output_format_predict_proba
    classifiers_multilabel_output_format_decision_function class_weight_classifiers decision_proba_consistency"""
OF_REGRESSORS = """regressors_train regressor_data_not_an_array regressor_multioutput regressors_no_decision_function
    regressors_int"""
EXPECTED = [OF_ALL + " " + OF_TRANSFORMERS, " ".join((OF_ALL, OF_WEIGHTS, OF_CLASSIFIERS)),
            " ".join((OF_ALL, OF_WEIGHTS, OF_REGRESSORS))]  # fmt: skip


def made(kind, path, **more):
    return kind(path, **more) if kind is ECGFMEmbedder else kind(path, **QUICK | more)


def answers(fitted, x):
    return fitted.transform(x) if hasattr(fitted, "transform") else fitted.predict(x)


CASES = list(zip(KINDS, EXPECTED, (15, 20, 20)))


@pytest.mark.parametrize("kind, names, least", CASES, ids=lambda one: getattr(one, "__name__", ""))
def test_checks_of_scikit_learn(path, kind, names, least):
    expected = {f"check_{name}": FEW_COLUMNS for name in names.split()}
    found = check_estimator(made(kind, path), expected_failed_checks=expected, on_fail="raise", on_skip=None)
    status = [each["status"] for each in found]
    assert status.count("passed") >= least and status.count("failed") == 0
    assert {each["check_name"] for each in found if each["status"] == "xfail"} == set(expected)
    for each in found:
        if each["status"] == "xfail":  # that, and nothing else, is why
            error, said = each["exception"], ""
            while error is not None:
                said, error = said + str(error), error.__cause__ or error.__context__
            assert "are not 12 leads" in said, each["check_name"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_those_checks_look_for(path, kind):
    """Fit gives the estimator, changes no parameter and no input, and is idempotent; types and layouts of X do not
    matter; order and subsets of rows neither; pickles answer alike."""
    x, y = X.reshape(24, -1), (Y if kind is not ECGFMRegressor else X[:, 0].std(axis=1))
    estimator = made(kind, path)
    parameters, before = estimator.get_params(), x.copy()
    assert estimator.fit(x, y) is estimator and estimator.n_features_in_ == x.shape[1]
    assert estimator.get_params() == parameters
    public = {name for name in vars(estimator) if not name.startswith("_")} - set(parameters)
    assert all(name.endswith("_") for name in public)
    first, state = answers(estimator, x), dict(vars(estimator))
    np.testing.assert_array_equal(answers(estimator.fit(x, y), x), first)
    assert set(vars(estimator)) == set(state)
    np.testing.assert_array_equal(x, before)
    order = np.random.default_rng(0).permutation(24)
    np.testing.assert_array_equal(answers(estimator, x[order]), first[order])
    np.testing.assert_allclose(np.concatenate([answers(estimator, x[i : i + 1]) for i in range(24)]), first, rtol=1e-6)
    x.flags.writeable = False
    for other in (np.asfortranarray(x), x.astype(np.float64), x.astype(object), x.tolist()):
        np.testing.assert_array_equal(answers(made(kind, path).fit(other, y), other), first)
    np.testing.assert_array_equal(answers(pickle.loads(pickle.dumps(estimator)), x), first)
    np.testing.assert_array_equal(answers(make_pipeline(estimator).fit(x, y), x), first)
    for bad in (x[0], x[:, :-12], np.where(x == x[0, 0], np.nan, x), np.where(x == x[0, 0], np.inf, x)):
        with pytest.raises(ValueError):
            answers(estimator, bad)
    with pytest.raises(ValueError):
        made(kind, path).fit(x[:0], y[:0])


@pytest.mark.parametrize("kind", KINDS[1:])
def test_sample_weights(path, kind):
    """Any form of weights; a weight of 0 leaves a row out of the loss, of 2 counts it twice."""
    import pandas

    y, weight = np.arange(24) % 2 if kind is ECGFMClassifier else np.linspace(0, 1, 24), np.repeat([1.0, 2.0], 12)
    expected = made(kind, path).fit(X, y, weight)
    for given in (weight.tolist(), pandas.Series(weight)):
        np.testing.assert_array_equal(answers(made(kind, path).fit(X, y, given), X), answers(expected, X))
    np.testing.assert_array_equal(weight, np.repeat([1.0, 2.0], 12))
    for bad in (weight[:-1], weight[:, None], np.zeros(24)):
        with pytest.raises(ValueError):
            made(kind, path).fit(X, y, bad)
    with pytest.raises(ValueError, match="requires y"):
        made(kind, path).fit(X, None)
    with pytest.raises(ValueError):
        made(kind, path).fit(X, y[:-1])


def test_targets_of_a_classifier(path):
    with pytest.raises(ValueError, match="Unknown label type"):
        made(ECGFMClassifier, path).fit(X, np.linspace(0, 1, 24))
    column = made(ECGFMClassifier, path).fit(X, Y[:, None])
    np.testing.assert_array_equal(column.predict(X), made(ECGFMClassifier, path).fit(X, Y).predict(X))
    weighted = made(ECGFMClassifier, path, class_weight={0: 1, 1: 1000}, epochs=6).fit(X, Y)
    assert weighted.predict(X).mean() > 0.8

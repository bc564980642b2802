"""Every limit that a function or a class of settings declares is held: values of every wrong kind are refused by name.

A call with right arguments says which parameters are held against which rules; it is then repeated with values that the
rules do not allow. Nothing has to be listed but one right call of each function.
"""

import ast
import importlib
import inspect
import math
import pkgutil
import sys
from pathlib import Path

import numpy as np
import pytest
import weights
from fakes import FakeModel
from made_segments import make_split

import ecgfm
from ecgfm import validation
from ecgfm.data import Dataset, Loader, assign_splits, batches
from ecgfm.data.sources import find_source
from ecgfm.data.tables.ptb_xl import task_classes
from ecgfm.data.tables.subset import subset_manifest
from ecgfm.ecg import SimulatedPatient, augment, simulate, simulate_cohort
from ecgfm.signal.augment import augmentation
from ecgfm.sklearn import ECGFMEmbedder
from ecgfm.training import compute_mask_indices, learning_rates
from ecgfm.training.grouping import held_out
from ecgfm.training.noise import draws
from ecgfm.validation import MISSING, Choice, Flag, Number, Numbers, Settings, Whole

PACKAGE = Path(ecgfm.__file__).parent
NOT_VALUES = ["no such", b"x", [], {}, [[1]], (), object(), 1j, print, math.nan, math.inf, np.ones((2, 2)), 10**4000]


# ---- values that a rule does not allow ---------------------------------------------------------------------------


def wrong_values(rule):
    """Values of a wrong type, and those just beyond the limits."""
    found = [*NOT_VALUES, *([] if rule.none else [None])]
    if isinstance(rule, Numbers):
        inner = [value for value in wrong_values(rule.each) if not isinstance(value, (list, tuple, dict, np.ndarray))]
        count = rule.count or 1
        return [
            *found,
            True,
            1.0,
            *([value] * count for value in inner),
            *([[0.5] * (count + 1)] if rule.count else []),
        ]
    if isinstance(rule, Number):
        steps = [(rule.at_least, -1), (rule.above, 0), (rule.at_most, 1), (rule.below, 0)]
        return [*found, True, *(limit + step for limit, step in steps if limit is not None)]
    if isinstance(rule, Whole):
        most = [1 << 62] if rule.at_most is None else [rule.at_most + 1]
        return [*found, True, 0.5 + rule.at_least, rule.at_least - 1, *most]
    if isinstance(rule, Flag):
        return [*found, 2, 1.0]
    return found if isinstance(rule, Choice) else NOT_VALUES[:3]


def settings_classes():
    for info in pkgutil.walk_packages(ecgfm.__path__, "ecgfm."):
        if info.name.rpartition(".")[2] not in ("__main__", "_core"):
            importlib.import_module(info.name)
    found, waiting = [], [Settings]
    while waiting:
        children = waiting.pop().__subclasses__()
        found += [one for one in children if one.__module__.startswith("ecgfm.")]
        waiting += children
    return sorted({one.__qualname__: one for one in found}.values(), key=lambda one: one.__qualname__)


FIELDS = [(one, name, rule) for one in settings_classes() for name, rule in one.rules().items()]


@pytest.mark.parametrize("settings, name, rule", FIELDS, ids=[f"{s.__name__}.{n}" for s, n, _ in FIELDS])
def test_settings_hold_their_limits(settings, name, rule):
    for value in wrong_values(rule):
        with pytest.raises(ecgfm.Error) as found:
            settings.of(dict.fromkeys(required(settings), 1) | {name: value})
        assert len(str(found.value)) < 1000
        assert found.value.field == name or required(settings)


def required(settings):
    fields = settings.__dataclass_fields__.values()
    return [one.name for one in fields if one.default is MISSING and one.default_factory is MISSING]


# ---- functions ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    folder = tmp_path_factory.mktemp("split")
    make_split(folder, records=4)
    return folder


def cases(folder):
    """Name -> a function and right arguments for it."""
    record = simulate(seed=1, duration_s=10)
    x, rng = np.zeros((12, 600)), np.random.RandomState(0)
    data = Dataset(folder / "train.tsv", training=True)
    config = weights.SMALL | {"num_labels": 2}
    model = ecgfm.Model.from_state_dict(config, weights.weights(weights.parameters(config)))
    definitions = ecgfm.labeler.load().definitions  # a labeler keeps its engines: a new one is made of them
    segments, y = np.zeros((4, 12, 400), np.float32), np.eye(2)[[0, 1, 0, 1]]
    fake = FakeModel()
    dates, groups = [f"2020-01-0{i + 1}" for i in range(4)], ["a", "a", "b", "b"]
    both = {"groups": groups, "dates": dates, "fractions": "0.5,0.5", "split_labels": "a,b"}
    return {
        "model": (model, (segments,), {"layer": 1}),
        "predict": (
            ecgfm.predict, (fake, [record]),
            {"batch_size": 2, "readers": 0, "aggregate": "mean", "calibrated": True},
        ),
        "predict_to": (
            ecgfm.inference.predict_to, (fake, [record], folder / "p.csv"), {"aggregate": "max", "overwrite": True},
        ),
        "evaluate": (
            ecgfm.evaluate, (fake, [record], np.ones((1, 5))),
            {"bootstrap": 2, "confidence": 0.9, "seed": 1, "aggregate": "mean", "readers": 0, "beta": 1},
        ),
        "compare": (
            ecgfm.compare, (fake, fake, [record], np.ones((1, 5))),
            {"bootstrap": 2, "confidence": 0.9, "seed": 1, "aggregate": "mean", "readers": 0},
        ),
        "calibrate": (
            ecgfm.calibrate, (model, [record] * 3, np.eye(2)[[0, 1, 0]]),
            {"method": "none", "seed": 1, "aggregate": "mean", "readers": 0, "batch_size": 2},
        ),
        "saliency": (ecgfm.saliency, (model, [record]), {"layer": 1, "reduction": "received", "batch_size": 1}),
        "plot": (ecgfm.plot, (record,), {"start_s": 0, "duration_s": 2}),
        "embedding_map": (ecgfm.view.project, (np.eye(4),), {"method": "pca"}),
        "assign_splits": (assign_splits, (4, "grouped_temporal"), {"seed": 1, "filter_strategy": "a", **both}),
        "subset_manifest": (subset_manifest, (folder,), {"percent": 0.5, "seed": 1, "save_dir": folder / "half"}),
        "batches": (
            batches, ([5, 6],), {"batch_size": 1, "max_tokens": 9, "required_batch_size_multiple": 1, "seed": 1},
        ),
        "Dataset": (Dataset, (folder / "train.tsv",), {"max_sample_size": 9, "min_sample_size": 0, "seed": 1}),
        "Loader": (
            Loader, (data,),
            {"batch_size": 2, "rank": 0, "ranks": 1, "threads": 0, "ahead": 1, "max_bad_segments": 0.1,
             "curriculum": 0},
        ),
        "random_leads_masking": (augment.random_leads_masking, (x,), {"p": 0.5, "mask_leads_prob": 0.5, "rng": rng}),
        "masks": (
            compute_mask_indices, ((2, 20), None),
            {"mask_prob": 0.5, "mask_length": 2, "mask_type": "uniform", "mask_other": 1, "min_masks": 0,
             "min_space": 0, "rng": rng},
        ),
        "labeler": (
            lambda **named: [*ecgfm.labeler.Labeler(definitions).stream(["Sinus rhythm."], **named)], (),
            {"mode": "documented", "chunk_size": 1, "processes": 1},
        ),
        "simulate": (
            simulate, (),
            {"duration_s": 2, "sampling_rate": 500, "heart_rate": 60, "variability": 0.1, "mains_hz": 50,
             "noise_mv": 0.1},
        ),
        "simulate_cohort": (simulate_cohort, (), {"patients": 1, "recordings": 1, "seed": 1, "duration_s": 1}),
        "SimulatedPatient": (SimulatedPatient, (1,), {"spread": 0.5, "axis_deg": 30, "amplitude": 1}),
        "powerline_noise": (
            augment.powerline_noise, (x,), {"p": 1, "max_amplitude": 0.1, "min_amplitude": 0, "freq": 500, "rng": rng},
        ),
        "baseline_shift": (augment.baseline_shift, (x,), {"shift_ratio": 0.1, "num_segment": 1, "rng": rng}),
        "baseline_wander": (augment.baseline_wander, (x,), {"k": 2, "max_freq": 0.2, "min_freq": 0.1, "rng": rng}),
        "augmentation": (
            lambda perturbation_mode: augmentation([perturbation_mode]), (), {"perturbation_mode": "powerline_noise"},
        ),
        "quantization_report": (
            lambda batch_size: ecgfm.quantization_report(model, segments, None, ["float32"], batch_size=batch_size),
            (), {"batch_size": 2},
        ),
        "find_source": (lambda source: find_source(source), (), {"source": "files"}),
        "task_classes": (lambda task: task_classes({}, task, set()), (), {"task": "form"}),
        "held_out": (lambda valid: held_out(np.arange(4), valid, 1), (), {"valid": 0.5}),
        "negatives": (
            draws.negatives, (draws.Source(1), [0], 9), {"num_negatives": 2, "cross_sample_negatives": 0},
        ),
        "Trainer": (ecgfm.Trainer, (model,), {"num_labels": 2, "seed": 1}),
        "finetune": (
            ecgfm.finetune, (model, segments, y),
            {"epochs": 1, "batch_size": 4, "update_freq": 1, "patience": 1, "valid": (segments, y), "seed": 1,
             "progress": False},
        ),
        "ECGFMEmbedder": (
            lambda **given: ECGFMEmbedder(model, **given).fit(np.asarray(segments)), (),
            {"pooling": "max", "batch_size": 2},
        ),
        "learning_rates": (
            learning_rates, (model, segments, y), {"low": 1e-5, "high": 1e-3, "updates": 8, "batch_size": 4, "seed": 1},
        ),
    }  # fmt: skip


CASES = ("Dataset", "Loader", "SimulatedPatient", "Trainer", "assign_splits", "baseline_shift")
CASES += ("baseline_wander", "batches", "embedding_map", "evaluate", "find_source", "finetune", "labeler", "masks")
CASES += (
    "learning_rates",
    "ECGFMEmbedder",
    "calibrate",
    "compare",
    "model",
    "negatives",
    "plot",
    "powerline_noise",
    "predict",
    "predict_to",
    "random_leads_masking",
    "saliency",
)
CASES += (
    "augmentation",
    "quantization_report",
    "held_out",
    "simulate",
    "simulate_cohort",
    "subset_manifest",
    "task_classes",
)


def default_of(function, name):
    """The default of a parameter; what is handed on to another function has none."""
    found = inspect.signature(function).parameters.get(name)
    return None if found is None else found.default


SEEN = set()  # (module, field) of all cases so far
#: Checked in what commands alone call, in whole programs whose own tests try it, or by a class of settings too.
ELSEWHERE = {"ecgfm.cli", "ecgfm.training.engine", "ecgfm.training.arguments"}
ELSEWHERE |= {"ecgfm.data.build.pipeline", "ecgfm.inference.speed", "ecgfm.training.benchmark"}


def watched(call, monkeypatch):
    """(module, field) -> the rule, of what was held against a rule in a call."""
    found, take = {}, validation.checked

    def noted(value, rule, field):
        found[sys._getframe(1).f_globals["__name__"], field] = rule
        return take(value, rule, field)

    with monkeypatch.context() as patched:
        for name, module in list(sys.modules.items()):
            if name.startswith("ecgfm") and getattr(module, "checked", None) is take:
                patched.setattr(module, "checked", noted)
        call()
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_functions_hold_their_limits(name, split, monkeypatch):
    function, given, named = cases(split)[name]
    found = watched(lambda: function(*given, **named), monkeypatch)
    rules = {field: rule for (_, field), rule in reversed(found.items())}  # of the first one that looked at it
    alias = {"grouped_temporal_filter_strategy": "filter_strategy"}
    tried = {alias.get(field, field): rule for field, rule in rules.items() if alias.get(field, field) in named}
    SEEN.update(found)
    assert set(cases(split)) == set(CASES)
    assert tried, rules
    for parameter, rule in tried.items():
        optional = default_of(function, parameter) is None
        for value in wrong_values(rule):
            if value is None and optional:
                continue
            with pytest.raises(ecgfm.Error) as error:
                function(*given, **named | {parameter: value})
            assert len(str(error.value)) < 1000, parameter
            assert error.value.field in (parameter, "grouped_temporal_filter_strategy"), (parameter, value)


def test_every_function_that_declares_a_limit_is_tried():
    if len({module for module, _ in SEEN}) < 15:
        pytest.skip("the cases were not run")
    found = set()
    for path in PACKAGE.rglob("*.py"):
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "checked":
                field = node.args[-1]
                if isinstance(field, ast.Constant) and not any(module.startswith(one) for one in ELSEWHERE):
                    found.add((module, field.value))
    assert found <= SEEN, f"give a right call of what checks {sorted(found - SEEN)} in cases()"

"""The original's configuration reaches nothing but `ecgfm.cli.fairseq`, and each of its keys counts for something."""

import ast
import dataclasses
from pathlib import Path

import pytest

import ecgfm
from ecgfm.cli.fairseq import translate
from ecgfm.cli.fairseq.compose import Run
from ecgfm.cli.fairseq.evaluation import of_checkpoint
from ecgfm.cli.fairseq.keys import CONFIG_GROUPS, NAMED_GROUPS, NO_MEANING, REFUSED, named
from ecgfm.ecg.augment import PERTURBATIONS
from ecgfm.errors import ConfigError
from ecgfm.training.settings import Dropout, Finetuning, Pretraining
from ecgfm.validation import number

PACKAGE = Path(ecgfm.__file__).parent
GROUPS = {*CONFIG_GROUPS, *NAMED_GROUPS}
#: Rooms that read or write the original's files, of which the configuration is a part.
OF_FILES = ("checkpoint/", "cli/")
#: Keys that checkpoints carry for the original, and that the run derives from others.
CARRIED = {"model": {"normalize", "filter", "data", "args", "saliency"}, "task": {"criterion_name"}}
#: Read by the command itself: how many ranks are started, and the checkpoint.
OF_COMMANDS = {"distributed_training": {"distributed_world_size"}, "common_eval": {"path"}}
METHODS = {
    "finetuning": ("ecg_classification", "ecg_transformer_classifier", "binary_cross_entropy_with_logits"),
    "w2v and cmsc": ("ecg_pretraining", "wav2vec2_cmsc", "wav2vec2_with_cmsc"),
    "w2v": ("ecg_pretraining", "wav2vec2", "wav2vec2"),
    "cmsc": ("ecg_pretraining", "wav2vec2_cmsc", "cmsc"),
    "simclr": ("ecg_pretraining", "wav2vec2_cmsc", "simclr"),
}
#: Finetuning masks nothing and perturbs nothing; of pretraining nothing is stored.
IDLE_IN_FINETUNING = {
    "model": {key for key in NAMED_GROUPS["model"]["wav2vec2"] if "mask_" in key} - {"apply_mask"}
    | {"dropout_features"},
    "task": {name for _, names in PERTURBATIONS.values() for name in names} | {"p"},
    "ecgfm": {"keep_one_lead", "cmsc_all_ranks"},
}
IDLE = {"classifier": IDLE_IN_FINETUNING, "pretraining": {"common_eval": {"save_outputs", "results_path"}}}
GIVEN = {
    "dataset": {"batch_size": 4, "max_tokens": 5, "ignore_unused_valid_subsets": True},
    "optimization": {"max_epoch": 1},
    "checkpoint": {"patience": 1},
    "criterion": {"report_cinc_score": True, "weights_file": "weights.csv"},
    "task": {"data": ".", "label_file": "y.npy", "perturbation_mode": ["random_leads_masking"]},
    "model": {"model_path": "a.pt", "num_labels": 3, "quantize_targets": True},
    "common_eval": {"path": "a.pt", "results_path": "."},
}


# ---- who reads it ----


def nested_reads(tree):
    """Lines that take a group out of a configuration, as ``run["task"]["data"]`` and ``run.need("task.data")`` do."""
    for node in ast.walk(tree):
        key = None
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            key = node.slice if node.value.id in ("run", "cargo", "cfg", "config") else None
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute):
            key = node.slice if node.value.attr in ("run", "cargo") else None
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            key = node.args[0] if node.func.attr in ("need", "path") else None
        if isinstance(key, ast.Constant) and isinstance(key.value, str) and key.value.split(".")[0] in GROUPS:
            yield node.lineno


def test_nothing_else_reads_the_nested_dictionary():
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith(OF_FILES):
            found[name] = list(nested_reads(ast.parse(path.read_text(encoding="utf-8"))))
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize("line", ['run["task"]["data"]', 'self.run["optimization"]', 'run.need("task.data")'])
def test_what_counts_as_reading_it(line):
    assert list(nested_reads(ast.parse(line))) == [1]


def test_nothing_else_imports_hydra():
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            if {name.split(".")[0] for name in names} & {"hydra", "omegaconf"}:
                found.add(path.relative_to(PACKAGE).parent.as_posix())
    assert found == {"cli/fairseq"}


# ---- which keys count ----


def run_of(method):
    """A configuration of a method, and the names of its groups."""
    names = dict(zip(("task", "model", "criterion"), METHODS[method]))
    names |= {"optimizer": "adam", "lr_scheduler": "tri_stage"}
    run = Run()
    for group in GROUPS:
        defaults = CONFIG_GROUPS.get(group) or named(group)[names[group]]
        given = {key: value for key, value in GIVEN.get(group, {}).items() if key in defaults}
        run[group] = {"_name": names.get(group), **defaults, **given}
    return run, names


class Found:
    """A checkpoint without a configuration of its own."""

    path, config, settings, content = "a.pt", {}, {}, {}

    def of_run(self, group):
        return {}

    def __init__(self, kind):
        self.kind = kind


def told(run, kind):
    """All that a configuration is translated to, but for what is carried unopened."""
    extracting = run.copied()
    extracting["common_eval"]["extract"] = ["encoder_out"]
    ways = [lambda: translate.settings_of(run)]
    for one in (run, extracting):
        ways += [
            lambda one=one, labelled=labelled: of_checkpoint(Found(kind), one, labelled=labelled)
            for labelled in (True, False)
        ]
    found = []
    for way in ways:
        try:
            made = way()
        except ConfigError as error:
            found.append(str(error))
            continue
        carried = {"report": dataclasses.replace(made.report, wandb_config={})}
        carried |= {"start": dataclasses.replace(made.start, settings={})}
        carried |= {"cargo": {}} if hasattr(made, "cargo") else {}
        found.append(dataclasses.replace(made, **carried))
    return found


def others(value):
    """Values of the kind of a value; of what may be anything where it is None."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, (int, float)):
        return [value + 1, value + 0.125, value - 0.125, 1.0]
    if isinstance(value, list):
        return [[0.5], [0.5, 0.25], [0.5, 0.25, 0.125], ["temp"], [*value, *value]]
    if isinstance(value, str):
        return ["simple", "(0.5, 0.25)", "[(64, 2, 2)] * 4", "{'label_file': 'z.npy'}", "output"]
    return [3, [0.5], "name", "{'label_file': 'z.npy'}", ["output"], [0.5, 0.25, 0.25], True]


@pytest.mark.parametrize("method", list(METHODS))
def test_every_key_counts_is_refused_or_without_meaning(method, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "valid2.tsv").touch()
    run, names = run_of(method)
    kind = "classifier" if method == "finetuning" else "pretraining"
    expected, idle = told(run, kind), set()
    for group, values in run.items():
        spoken_of = set(NO_MEANING.get(group, ())) | set(NO_MEANING.get(names.get(group), ()))
        spoken_of |= set(REFUSED.get(group, ())) | CARRIED.get(group, set()) | OF_COMMANDS.get(group, set())
        spoken_of |= IDLE[kind].get(group, set())
        for key, value in values.items():
            if key in spoken_of or key == "_name":
                continue
            for other in others(value):
                changed = run.copied()
                changed.given = frozenset({f"{group}.{key}"})
                changed[group][key] = other
                if told(changed, kind) != expected:
                    break
            else:
                idle.add(f"{group}.{key}")
    assert idle == set()


def test_where_the_defaults_of_the_two_recipes_differ():
    """Those of the API are ECG-FM's; those of the commands are fairseq-signals'."""
    expected = {
        Finetuning: {
            *("dropout", "attention_dropout", "activation_dropout", "feature_grad_mult"),
        },
        Pretraining: {"dropout_input", "dropout_features", "feature_grad_mult"},
    }
    keys = {
        Finetuning: NAMED_GROUPS["model"]["ecg_transformer_classifier"],
        Pretraining: NAMED_GROUPS["model"]["wav2vec2_cmsc"] | NAMED_GROUPS["criterion"]["wav2vec2_with_cmsc"],
    }
    for kind, wanted in expected.items():
        known = CONFIG_GROUPS["ecgfm"]  # what the original does not know is the same in both
        ours = {one.name: one.default for one in dataclasses.fields(kind) if one.name not in known}
        assert all(known[one.name] == one.default for one in dataclasses.fields(kind) if one.name in known)
        theirs = {
            key: tuple(value) if isinstance(value, list) else value for key, value in keys[kind].items() if key in ours
        }
        assert set(theirs) == set(ours)
        assert {key for key, value in theirs.items() if value != ours[key]} == wanted


def test_what_the_kernels_have_fixed_is_refused():
    pytest.importorskip("hydra", reason="needs the extra [train]")
    from ecgfm.cli.fairseq.compose import compose

    with pytest.raises(ConfigError, match=r"criterion.eps: 0.1 is not supported"):
        compose("w2v_cmsc_rlm", ["criterion.eps=0.1"])
    compose("w2v_cmsc_rlm", ["criterion.eps='1e-8'"])


def test_a_registered_objective_can_be_named(monkeypatch):
    """With the settings that are not the model's as keys of the criterion; all other names are refused."""
    pytest.importorskip("hydra", reason="needs the extra [train]")
    from ecgfm.cli.fairseq.compose import compose
    from ecgfm.training.objectives import OBJECTIVES, WCR

    @dataclasses.dataclass(frozen=True)
    class Own(Dropout):
        sharpness: float = number(0.5, above=0)

    class Mine(WCR):
        loss, settings_type, pairs = "mine", Own, False

    words = ["criterion._name=mine", "task.data=.", "dataset.batch_size=2"]
    words += [f"~criterion.{key}" for key in ("infonce", "log_keys", "loss_weights")]
    with pytest.raises(ConfigError, match="criterion._name: 'mine' is not of ECG-FM's methods"):
        compose("w2v_cmsc_rlm", words)
    monkeypatch.setitem(OBJECTIVES, "mine", Mine)
    settings = translate.settings_of(compose("w2v_cmsc_rlm", [*words, "+criterion.sharpness=0.25"]))
    assert settings.objective == "mine" and settings.kind == "pretraining" and not settings.feeding.pairs
    assert isinstance(settings.method, Own) and settings.method.sharpness == 0.25 and settings.method.dropout == 0.1
    with pytest.raises(ConfigError, match="criterion.temp: there is no such key"):
        compose("w2v_cmsc_rlm", [*words, "+criterion.temp=0.25"])

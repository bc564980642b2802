"""docs/migration.md names every configuration key with its default, and says of each what the program does with it."""

import re
from pathlib import Path

import pytest

from ecgfm.cli.fairseq import compose
from ecgfm.cli.fairseq import keys as table
from ecgfm.errors import ConfigError

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "migration.md").read_text()


def tables():
    """(group, name or None) -> {key: (default, state)}."""
    found = {}
    for part in PAGE.split("\n### ")[1:]:
        names = re.findall(r"`(\w+)`", part.splitlines()[0])
        rows = re.findall(r"^\| `(\w+)` \| `(.*?)` \| (.*) \|$", part, re.MULTILINE)
        for name in names[1:] or [None]:
            found[names[0], name] = {key: (default, state) for key, default, state in rows}
    return found


def wanted():
    for group, keys in table.CONFIG_GROUPS.items():
        yield (group, None), keys
    for group, names in table.NAMED_GROUPS.items():
        for name, keys in names.items():
            yield (group, name), keys


def shown(value):
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return r"\"\"" if value == "" else str(value)


BASES = {
    ("task", "ecg_classification"): ("task", "ecg_pretraining"),
    ("model", "ecg_transformer_classifier"): ("model", "wav2vec2_cmsc"),
}


@pytest.mark.parametrize("place, keys", [pytest.param(*each, id=".".join(filter(None, each[0]))) for each in wanted()])
def test_every_key_is_there(place, keys):
    found = tables()
    rows = found.get(BASES.get(place), {}) | found[place]
    assert set(keys) <= set(rows) and set(found[place]) <= set(keys)
    for key, default in keys.items():
        told, state = rows[key]
        assert told == shown(default), key
        group = place[0]
        if key in table.NO_MEANING.get(group, ()):
            assert state == f"no meaning: {table.NO_MEANING[group][key]}", key
        elif key in table.REFUSED.get(group, ()):
            assert state == f"refused unless the default: {table.REFUSED[group][key]}", key
        else:
            assert state.startswith(("works", "refused")), key


@pytest.mark.parametrize("place", [(group, key) for group, keys in table.REFUSED.items() for key in keys])
def test_what_is_refused(place):
    pytest.importorskip("hydra", reason="needs the extra [train]")
    group, key = place
    name = "diagnosis" if key in ("path_dataset", "load_specific_lead") else "w2v_cmsc_rlm"
    with pytest.raises(ConfigError, match=f"{group}.{key}: .* is not supported"):
        compose.compose(name, [f"{group}.{key}={'7' if group == 'dataset' else 'true'}"])


def test_what_means_nothing_is_said(tmp_path):
    pytest.importorskip("hydra", reason="needs the extra [train]")
    unscaled = ["common.min_loss_scale=1", "+distributed_training.find_unused_parameters=True"]
    run = compose.compose("diagnosis", unscaled)
    assert [line.split("=")[0] for line in run.notices] == [
        "common.min_loss_scale",
        "distributed_training.find_unused_parameters",
    ]
    assert not compose.compose("diagnosis").notices  # of its own files the package says nothing
    own = Path(compose.CONFIGS, "diagnosis.yaml").read_text().replace("fp16: false", "memory_efficient_fp16: true")
    (tmp_path / "mine.yaml").write_text(own)
    (line, *more) = compose.compose("mine", config_dir=tmp_path).notices
    assert line == "common.memory_efficient_fp16=True means nothing here: weights and gradients are float32"
    assert [each.split("=")[0] for each in more] == ["common.all_gather_list_size"]

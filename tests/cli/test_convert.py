"""ecgfm convert: there and back with the same bits, labels and settings."""

import json

import checkpoint_files as files
import numpy as np
import pytest
import weights

from ecgfm import checkpoint
from ecgfm.cli.main import main


def arrays(path):
    with checkpoint.read(path) as found:
        return {name: np.array(tensor.raw()) for name, tensor in found.tensors.items()}, found.config, found.settings


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("kind", ["classifier", "pretraining"])
def test_there_and_back(tmp_path, kind, dtype, capsys):
    source = tmp_path / "a.pt"
    files.write(source, weights.VARIANTS["mixed_convs"], kind, dtype=dtype)
    for src, dst in (("a.pt", "model"), ("model", "b.pt"), ("b.pt", "c.safetensors"), ("c.safetensors", "d.pt")):
        assert main(["convert", str(tmp_path / src), str(tmp_path / dst)]) == 0
    expected, config, settings = arrays(source)
    for name in ("model", "b.pt", "c.safetensors", "d.pt"):
        found, other, kept = arrays(tmp_path / name)
        assert other == config and kept["dropout"] == settings["dropout"]
        assert kept["conv_feature_layers"] == settings["conv_feature_layers"]
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert found[key].dtype == value.dtype
            np.testing.assert_array_equal(found[key], value, err_msg=key)
    assert (tmp_path / "b.pt").read_bytes() == (tmp_path / "d.pt").read_bytes()
    assert "wrote " + str(tmp_path / "model" / "config.json") in capsys.readouterr().out


def test_labels_go_along_and_assumed_ones_do_not(tmp_path):
    files.write(tmp_path / "a.pt", weights.VARIANTS["labels_26"])
    names = [f"label {i}" for i in range(26)]
    (tmp_path / "label_def.csv").write_text("id,name\n" + "".join(f"{i},{name}\n" for i, name in enumerate(names)))
    assert main(["convert", str(tmp_path / "a.pt"), str(tmp_path / "m")]) == 0
    assert main(["convert", str(tmp_path / "m"), str(tmp_path / "m" / "b.pt")]) == 0
    for path in (tmp_path / "m", tmp_path / "m" / "b.pt"):
        with checkpoint.read(path) as found:
            assert found.labels == tuple(names) and found.labels_source == "file"

    files.write(tmp_path / "m" / "c.pt")
    assert main(["convert", str(tmp_path / "m" / "c.pt"), str(tmp_path / "n")]) == 0
    assert json.loads((tmp_path / "n" / "config.json").read_text())["labels"] is None
    with checkpoint.read(tmp_path / "n") as found:
        assert found.labels_source == "built-in, assumed"


def test_what_is_there_is_kept_without_force(tmp_path, capsys):
    files.write(tmp_path / "a.pt")
    (tmp_path / "b.pt").write_text("mine")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text("mine")
    for dst in ("b.pt", "m", "m/x.safetensors"):
        assert main(["convert", str(tmp_path / "a.pt"), str(tmp_path / dst)]) == 2
        assert "the file exists" in capsys.readouterr().err
    assert (tmp_path / "b.pt").read_text() == "mine" and (tmp_path / "m" / "config.json").read_text() == "mine"
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["config.json"]
    for dst in ("b.pt", "m"):
        assert main(["convert", "--force", str(tmp_path / "a.pt"), str(tmp_path / dst)]) == 0
        checkpoint.read(tmp_path / dst).close()


def test_a_file_may_take_its_own_place(tmp_path):
    files.write(tmp_path / "a.pt")
    before = arrays(tmp_path / "a.pt")[0]
    assert main(["convert", "--force", str(tmp_path / "a.pt"), str(tmp_path / "a.pt")]) == 0
    after = arrays(tmp_path / "a.pt")[0]
    assert all(np.array_equal(after[name], value) for name, value in before.items())


def test_settings_that_the_file_has_wrong(tmp_path, capsys):
    wrong = files.settings(weights.SMALL) | {"encoder_layers": 12, "encoder_attention_heads": 12}
    value, storages = files.content(weights.SMALL, cfg={"model": wrong})
    (tmp_path / "a.pt").write_bytes(files.zip_bytes(files.zip_members(value, storages.raw)))
    assert main(["convert", str(tmp_path / "a.pt"), str(tmp_path / "m")]) == 2
    assert "cfg.model" in capsys.readouterr().err
    given = ["--set", "encoder_layers=2", "--set", "encoder_attention_heads=4"]
    assert main(["convert", *given, str(tmp_path / "a.pt"), str(tmp_path / "m")]) == 0
    with checkpoint.read(tmp_path / "m") as found:
        assert found.config["encoder_layers"] == 2 and found.config["encoder_attention_heads"] == 4
    assert main(["convert", "--set", "encoder_layers", str(tmp_path / "a.pt"), str(tmp_path / "n")]) == 2
    assert "KEY=VALUE" in capsys.readouterr().err


def test_unknown_suffix(tmp_path, capsys):
    files.write(tmp_path / "a.pt")
    assert main(["convert", str(tmp_path / "a.pt"), str(tmp_path / "a.onnx")]) == 2
    assert ".onnx is not known" in capsys.readouterr().err
    assert not (tmp_path / "a.onnx").exists()


def test_a_damaged_source_writes_nothing(tmp_path, capsys):
    files.write(tmp_path / "a.pt")
    raw = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "a.pt").write_bytes(raw[: len(raw) // 2])
    assert main(["convert", str(tmp_path / "a.pt"), str(tmp_path / "b.pt")]) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]
    assert "truncated" in capsys.readouterr().err


def test_information_is_kept(tmp_path):
    files.write(tmp_path / "a.pt")
    with checkpoint.read(tmp_path / "a.pt") as found:
        checkpoint.write_directory(
            tmp_path / "m", kind=found.kind, config=found.config, tensors=found.tensors, info={"training": "none"}
        )
    assert main(["convert", str(tmp_path / "m"), str(tmp_path / "b.pt")]) == 0
    assert main(["convert", str(tmp_path / "b.pt"), str(tmp_path / "n")]) == 0
    for name in ("m", "b.pt", "n"):
        with checkpoint.read(tmp_path / name) as found:
            assert found.info == {"training": "none"}
    assert json.loads((tmp_path / "n" / "config.json").read_text())["training"] == "none"

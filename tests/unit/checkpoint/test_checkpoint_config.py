"""The architecture: from the file's configuration, old and new, checked against the tensors."""

import json
import math

import checkpoint_files as files
import pytest
import weights

import ecgfm
from ecgfm import CheckpointError, ConfigError, checkpoint
from ecgfm.checkpoint import config as config_module
from ecgfm.checkpoint.config import architecture, found
from ecgfm.cli.main import main
from ecgfm.specs.architecture import architecture_keys
from ecgfm.specs.blocks import conv_feature_layers, text_of_layers

SMALL = weights.SMALL


def save(path, **content):
    kind = content.pop("kind", "classifier")
    value, storages = files.content(SMALL, kind, **content)
    path.write_bytes(files.zip_bytes(files.zip_members(value, storages.raw)))
    return path


@pytest.mark.parametrize(
    "text, expected",
    [
        ("[(256, 2, 2)] * 4", [(256, 2, 2)] * 4),
        ("[(24,5,3)] + [(16,3,2)] * 2 + [(16,2,2)]", [(24, 5, 3), (16, 3, 2), (16, 3, 2), (16, 2, 2)]),
        ("3*[(8,2,1),]", [(8, 2, 1)] * 3),
        (" ( [ (8,2,1) , [9,2,1] ] + [(7,1,1)] ) * 2 ", [(8, 2, 1), (9, 2, 1), (7, 1, 1)] * 2),
        ("[(8,2,1,)]*2*2", [(8, 2, 1)] * 4),
        ([[8, 2, 1], (9, 2, 1)], [(8, 2, 1), (9, 2, 1)]),
    ],
)
def test_conv_feature_layers(text, expected):
    assert conv_feature_layers(text) == expected
    assert conv_feature_layers(text_of_layers(expected)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[(1,2)]",
        "[(1,2,3,4)]",
        "[(1,2,3)",
        "(1,2,3)",
        "[(1,2,3)] * [(1,2,3)]",
        "[(1,2,3)] + 2",
        "3",
        "[(1,2,3)] * 1000000000",
        "[(1,2,3)] * 65",
        "[(1,2,3)] * 9 * 9",
        "[(-1,2,3)]",
        "[(1.5,2,3)]",
        "[(1,2,3)] - [(1,2,3)]",
        "__import__('os').system('true')",
        "(" * 5000,
        "[" * 5000,
        "[(1,2,3)]" * 2000,
        None,
        7,
        [],
        [[1, 2]],
        [["1", 2, 3]],
        [(True, 2, 3)],
        [(1, 2, 3)] * 100,
        {"a": 1},
    ],
    ids=lambda value: str(value)[:20],
)
def test_conv_feature_layers_refused(text):
    with pytest.raises(ConfigError) as caught:
        conv_feature_layers(text)
    assert caught.value.field == "conv_feature_layers" and len(str(caught.value)) < 300


def test_old_args_namespace(tmp_path):
    flat = files.settings(SMALL)
    args = files.Call(files.Global("argparse", "Namespace"), state=flat | {"arch": "ecg_transformer_classifier"})
    with checkpoint.read(save(tmp_path / "a.pt", args=args, cfg=None)) as found:
        assert found.config["encoder_embed_dim"] == 32 and found.cfg is None
        assert found.settings["arch"] == "ecg_transformer_classifier"


@pytest.mark.parametrize("style", ["cfg", "flat"])
def test_the_pretraining_configuration_inside_describes_the_encoder(tmp_path, style):
    """The finetuning configuration keeps its defaults where the encoder came from a pretraining checkpoint."""
    inner = {key: value for key, value in files.settings(SMALL, "pretraining").items() if key != "num_labels"}
    wrong = files.settings(SMALL) | {"encoder_layers": 12, "encoder_embed_dim": 768, "encoder_attention_heads": 12}
    wrong["args"] = {"model": inner} if style == "cfg" else inner
    with checkpoint.read(save(tmp_path / "a.pt", cfg={"model": wrong})) as found:
        assert found.config["encoder_layers"] == 2 and found.config["encoder_attention_heads"] == 4
        assert found.config["num_labels"] == 17
    # Where both fit the tensors, the encoder was built from the inner one.
    both = files.settings(SMALL) | {"encoder_attention_heads": 8, "args": {"model": inner}}
    with checkpoint.read(save(tmp_path / "b.pt", cfg={"model": both})) as found:
        assert found.config["encoder_attention_heads"] == 4
    # Where the inner one does not fit, the outer one stands.
    odd = files.settings(SMALL) | {"args": {"model": inner | {"encoder_layers": 7}}}
    with checkpoint.read(save(tmp_path / "c.pt", cfg={"model": odd})) as found:
        assert found.config["encoder_layers"] == 2


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("encoder_layers", 3, "encoder.encoder.layers.2.self_attn.k_proj.weight: the tensor is missing"),
        ("encoder_embed_dim", 64, "the shape (32, 32), the configuration gives it the shape (64, 64)"),
        ("encoder_attention_heads", 5, "cfg.model: encoder_embed_dim (32) must be a multiple of"),
        ("encoder_attention_heads", None, "cfg.model.encoder_attention_heads: the configuration lacks this key"),
        ("encoder_layers", "2", "cfg.model.encoder_layers: '2' is not an integer from 1 to 1000"),
        ("encoder_layers", True, "cfg.model.encoder_layers: True is not an integer from 1 to 1000"),
        ("encoder_layers", -1, "cfg.model.encoder_layers: -1 is not an integer from 1 to 1000"),
        (
            "encoder_embed_dim",
            10**30,
            "cfg.model.encoder_embed_dim: 1000000000000000000000000000000 is not an integer from 1 to 32768",
        ),
        ("layer_norm_first", "no", "cfg.model.layer_norm_first: 'no' is not True or False"),
        ("extractor_mode", "group", "cfg.model.extractor_mode: 'group' is not one of 'default', 'layer_norm'"),
        ("encoder_layers", 1, "encoder.encoder.layers.1.self_attn.k_proj.weight: the configuration has no such tensor"),
        ("conv_feature_layers", "[(16,2,2)]*3", "conv_layers.3.0.weight: the configuration has no such tensor"),
        ("conv_bias", True, "conv_layers.0.0.bias: the tensor is missing"),
        ("extractor_mode", "layer_norm", "conv_layers.0.2.1.weight: the tensor is missing"),
        ("conv_feature_layers", "[[]]", "cfg.model.conv_feature_layers"),
        (
            "num_labels",
            5,
            "proj.weight: the tensor has the shape (17, 32), the configuration gives it the shape (5, 32)",
        ),
        ("conv_pos", 17, "original0: the tensor has the shape (1, 1, 16)"),
    ],
)
def test_configurations_that_do_not_fit(tmp_path, key, value, message):
    settings = files.settings(SMALL) | {key: value}
    path = save(tmp_path / "a.pt", cfg={"model": settings})
    with pytest.raises(CheckpointError) as caught:
        checkpoint.read(path)
    assert message in str(caught.value) and caught.value.path == str(path)
    with checkpoint.read(path, config={key: files.settings(SMALL)[key]}) as found:
        assert found.config["num_labels"] == 17


def test_settings_of_the_caller_are_checked(tmp_path):
    with pytest.raises(ConfigError, match="encoder_layer: not a setting") as caught:
        checkpoint.read(save(tmp_path / "a.pt"), config={"encoder_layer": 2})
    assert "encoder_layers" in caught.value.remedy


def test_what_old_files_lack(tmp_path):
    kept = {
        k: v for k, v in files.settings(SMALL, "pretraining").items() if k not in ("target_glu", "latent_dim", "in_d")
    }
    with checkpoint.read(save(tmp_path / "a.pt", kind="pretraining", cfg={"model": kept})) as found:
        assert (found.config["target_glu"], found.config["latent_dim"], found.config["in_d"]) == (False, 0, 12)


def test_encoder_without_heads_and_tensors_that_are_not_needed(tmp_path):
    heads = ("quantizer.", "project_q.", "final_proj.")
    model = {k: v for k, v in files.state(SMALL, "pretraining").items() if not k.startswith(heads)}
    with checkpoint.read(save(tmp_path / "a.pt", kind="pretraining", model=model)) as found:
        assert found.kind == "encoder" and found.unused == ("mask_emb",) and "mask_emb" not in found.tensors
    model = files.state(SMALL) | {"encoder.mask_emb": weights.weight("m", (32,))}
    with checkpoint.read(save(tmp_path / "b.pt", model=model)) as found:
        assert found.kind == "classifier" and found.unused == ("encoder.mask_emb",)


def test_old_and_new_weight_norm_names(tmp_path):
    model = files.state(SMALL)
    old = {
        name.replace(".parametrizations.weight.original0", ".weight_g").replace(
            ".parametrizations.weight.original1", ".weight_v"
        ): value
        for name, value in model.items()
    }
    assert sorted(set(old) - set(model)) == [
        "encoder.conv_pos.pos_conv.0.weight_g",
        "encoder.conv_pos.pos_conv.0.weight_v",
    ]
    with checkpoint.read(save(tmp_path / "a.pt", model=old)) as found:
        assert list(found.tensors) == list(model)
    with pytest.raises(CheckpointError, match="under its old and its new name"):
        checkpoint.read(save(tmp_path / "b.pt", model=model | old))


@pytest.mark.parametrize(
    "content, message",
    [
        ({"model": {}}, "not those of ECG-FM"),
        ({"model": None}, "there is no model"),
        ({"model": {"a": 1}}, "model.a: not a tensor"),
        ({"cfg": None}, "no configuration of the model"),
        ({"cfg": {"model": 3}}, "no configuration of the model"),
    ],
)
def test_files_without_a_model(tmp_path, content, message):
    value, storages = files.content(SMALL)
    (tmp_path / "a.pt").write_bytes(files.zip_bytes(files.zip_members(value | content, storages.raw)))
    with pytest.raises(CheckpointError, match=message):
        checkpoint.read(tmp_path / "a.pt")


def test_more_tensors_than_the_configuration_has(tmp_path):
    more = {"proj.2.weight": weights.weight("a", (3, 3))}
    with pytest.raises(CheckpointError, match="proj.2.weight: the configuration has no such tensor"):
        checkpoint.read(save(tmp_path / "a.pt", model=files.state(SMALL) | more))
    more = {"target_glu.0.weight": weights.weight("a", (3, 3))}
    with pytest.raises(CheckpointError, match="target_glu.0.weight: the configuration has no such tensor"):
        checkpoint.read(save(tmp_path / "a.pt", kind="pretraining", model=files.state(SMALL, "pretraining") | more))


@pytest.mark.parametrize("size, total", [("base", 90_883_072), ("large", 311_940_352)])
def test_full_size(shared, size, total):
    """Names, shapes and totals of the full-size models, and the settings as they are saved."""
    found = json.loads((shared / "golden" / f"params_{size}.json").read_text())
    for kind, part in (("pretraining", "pretraining"), ("classifier", "finetuned")):
        shapes = {row["name"]: tuple(row["shape"]) for row in found[part]["state_dict"]}
        config = architecture(found[f"hyperparameters_{part}"], kind, shapes).config()
        assert config == {key: value for key, value in getattr(weights, size.upper()).items() if key in config}
        assert sum(math.prod(shape) for shape in shapes.values()) == found[part]["total"]
        assert kind != "pretraining" or found[part]["total"] == total


# ---- tensors that the configuration does not describe ---------------------------------------------------------------

NAMES_ITS_BASE = {"_name": "ecg_transformer_classifier", "model_path": "weights/base_ssl.pt", "args": None}


@pytest.mark.parametrize("size", ["BASE", "LARGE"])
@pytest.mark.parametrize("kind", ["classifier", "pretraining"])
@pytest.mark.parametrize("settings", [None, NAMES_ITS_BASE, {"encoder_layers": 6, "encoder_embed_dim": 512}])
def test_a_published_network_is_known_by_its_tensors(size, kind, settings):
    config = getattr(weights, size) | {"num_labels": 77}
    shapes = dict(weights.parameters(config, kind))
    one, said = found(settings, kind, shapes, None)
    wanted = {key: value for key, value in config.items() if key in one.config()}
    assert one.config() == wanted and f"ECG-FM's {size.lower()} network, assumed by the tensors" in said
    if settings is not None:
        with pytest.raises(CheckpointError):
            found(settings, kind, shapes, {"encoder_layers": 7})
    shapes[next(name for name in shapes if name.endswith("fc1.weight"))] = (8, 8)
    with pytest.raises(CheckpointError, match="no configuration" if settings is None else "cfg.model|shape|lacks"):
        found(settings, kind, shapes, None)


def test_a_configuration_that_describes_the_tensors_is_believed():
    shapes = dict(weights.parameters(weights.BASE, "classifier"))
    one, said = found(files.settings(weights.BASE | {"encoder_attention_heads": 8}), "classifier", shapes, None)
    assert one.encoder_attention_heads == 8 and said is None


def test_it_is_said_and_put_right_by_a_conversion(tmp_path, monkeypatch, capsys):
    made = config_module.Architecture.of_kind(
        "classifier", {key: SMALL[key] for key in architecture_keys("classifier")}
    )
    said = "ECG-FM's base network, assumed by the tensors"
    monkeypatch.setattr(config_module, "_published", lambda kind, shapes: (made, said))  # the real one has 360 MB
    path = save(tmp_path / "a.pt", cfg={"common": {}, "model": NAMES_ITS_BASE})
    with pytest.warns(ecgfm.InputWarning, match=said):
        ecgfm.load(path)
    assert main(["inspect", str(path)]) == 0
    assert f"\narchitecture ({said})\n" in capsys.readouterr().out
    checkpoint.convert(path, tmp_path / "b")
    monkeypatch.undo()
    with checkpoint.read(tmp_path / "b") as one:
        assert one.config_assumed is None and one.config == made.config()

"""Reading checkpoints: containers, number types, names, configurations."""

import zipfile

import checkpoint_files as files
import numpy as np
import pytest
import weights

from ecgfm import checkpoint

TAGS = ["default", "extractor_layer_norm_bias_pre_norm", "no_projection", "mixed_convs", "pos_odd", "odd_widths"]


def assert_same(found, expected):
    assert list(found.tensors) == list(expected)
    for name, value in expected.items():
        got = np.asarray(found.tensors[name])
        assert got.dtype == np.float32 and found.tensors[name].shape == value.shape
        np.testing.assert_array_equal(got, value, err_msg=name)


@pytest.mark.parametrize("kind", ["classifier", "pretraining"])
@pytest.mark.parametrize("tag", TAGS)
def test_zip(tmp_path, tag, kind):
    config = weights.VARIANTS[tag]
    expected = files.write(tmp_path / "a.pt", config, kind)
    with checkpoint.read(tmp_path / "a.pt") as found:
        assert (found.format, found.kind, found.refused, found.unused) == ("pt", kind, (), ())
        assert weights.config_from(found.config) == weights.BASE | {k: config[k] for k in found.config}
        assert found.num_parameters == sum(value.size for value in expected.values())
        assert found.cfg["model"]["dropout"] == 0.1 and found.extra_state == {"best": 3.25}
        assert_same(found, expected)


def test_legacy_container(tmp_path):
    expected = files.write(tmp_path / "a.pt", container="legacy")
    with checkpoint.read(tmp_path / "a.pt") as found:
        assert found.format == "pt-legacy"
        assert_same(found, expected)


def test_deflated_members(tmp_path):
    expected = files.write(tmp_path / "a.pt", compression=zipfile.ZIP_DEFLATED)
    with checkpoint.read(tmp_path / "a.pt") as found:
        assert_same(found, expected)
        for tensor in found.tensors.values():
            tensor.release()
        assert_same(found, expected)


def test_reference_files(shared):
    tiny = shared / "golden" / "tiny"
    plain = checkpoint.read(tiny / "finetuned.pt")
    assert plain.config["conv_feature_layers"] == [(32, 2, 2)] * 4 and plain.config["num_labels"] == 17
    for name in ("finetuned_weight_g_v", "finetuned_weight_g_v_legacy_nonzip"):
        with checkpoint.read(tiny / "variants" / f"{name}.pt") as other:
            assert_same(other, {name: np.asarray(tensor) for name, tensor in plain.tensors.items()})
            assert other.config == plain.config and other.refused == ()

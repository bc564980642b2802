"""Writes the files that the contestants load, each by a short-lived process: python files.py KIND SIZE FOLDER."""

import os
import shutil
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from common import LEADS, SAMPLES, conv_layers, fingerprint, model_config, segments, state_dict

# The file's kind -> its name in the folder.
NAMES = {
    "safetensors": "model.safetensors",
    "checkpoint": "checkpoint.pt",
    "ecgfm_bfloat16": "ecgfm_bfloat16/model.safetensors",
    "ecgfm_int8": "ecgfm_int8/model.safetensors",
    "torch": "torch.pt",
    "onnx": "model.onnx",
    "onnx_int8": "model_int8.onnx",
    "openvino_int8": "openvino_int8/model.xml",
}
OURS = ("safetensors", "checkpoint", "ecgfm_bfloat16", "ecgfm_int8")  # written by ecgfm, the others by its peers
CALIBRATION = 64  # segments that NNCF sees


def path_of(folder, size, kind):
    """Where a file stands: a folder for each network, so that a changed one is never mistaken for an old one."""
    return Path(folder) / f"{size}-{fingerprint(model_config(size))}" / NAMES[kind]


def write_safetensors(path, config):
    """The weights as ``.safetensors``, and ``config.json`` beside them."""
    from ecgfm import checkpoint

    settings = config | {"conv_feature_layers": conv_layers(config)}
    checkpoint.write_safetensors(path, kind="classifier", config=settings, tensors=state_dict(config))


def write_checkpoint(path, config):
    """A ``.pt`` as fairseq-signals lays it out."""
    from ecgfm import checkpoint

    criterion = {"_name": "binary_cross_entropy_with_logits"}
    history = {"criterion_name": "BinaryCrossEntropyWithLogitsCriterion", "optimizer_name": "Adam", "num_updates": 0}
    content = {
        "args": None,
        "cfg": {"_name": None, "task": {"_name": "ecg_diagnosis"}, "model": config, "criterion": criterion},
        "model": state_dict(config),
        "criterion": None,
        "optimizer_history": [history],
        "task_state": {},
        "extra_state": {},
    }
    checkpoint.write_pt(path, content)


def _classifier(config):
    import torch
    from torch_model import from_checkpoint

    return from_checkpoint(config, {name: torch.from_numpy(v) for name, v in state_dict(config).items()})


def write_torch(path, config):
    """The state dict of our torch module, weights joined, folded and laid out as it uses them."""
    import torch

    torch.save(_classifier(config).state_dict(), path)


def write_onnx(path, config):
    """The torch module as ONNX, in one file, with a free batch size."""
    import warnings

    import torch

    warnings.simplefilter("ignore")  # the exporter that needs no further package is announced as deprecated
    example = torch.zeros(2, LEADS, SAMPLES)
    torch.onnx.export(
        _classifier(config),
        (example,),
        str(path),
        dynamo=False,
        opset_version=20,
        input_names=["x"],
        output_names=["logits"],
        dynamic_axes={"x": {0: "batch"}, "logits": {0: "batch"}},
    )


def write_rounded(path, config, precision):
    """The weights as ecgfm saves them in a lower precision."""
    from ecgfm.model.loading import convert_rounded

    with TemporaryDirectory() as folder:
        whole = Path(folder) / NAMES["safetensors"]
        write_safetensors(whole, config)
        convert_rounded(whole, path.parent, precision)


def write_onnx_int8(path, config):
    """ONNX Runtime's dynamic quantisation: weights in int8 per channel, activations as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with TemporaryDirectory() as folder:
        whole = Path(folder) / NAMES["onnx"]
        write_onnx(whole, config)
        quantize_dynamic(whole, path, per_channel=True, weight_type=QuantType.QInt8)


def write_openvino_int8(path, config):
    """NNCF's post-training quantisation for transformers, without SmoothQuant, on noise like that of the benchmark."""
    import nncf
    import openvino

    with TemporaryDirectory() as folder:
        whole = Path(folder) / NAMES["onnx"]
        write_onnx(whole, config)
        model = openvino.Core().read_model(whole)
        seen = nncf.Dataset([x[None] for x in segments(CALIBRATION, seed=64)])
        parameters = nncf.AdvancedQuantizationParameters(
            smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(matmul=-1, convolution=-1)
        )
        quantized = nncf.quantize(
            model,
            seen,
            subset_size=CALIBRATION,
            model_type=nncf.ModelType.TRANSFORMER,
            advanced_parameters=parameters,
        )
        openvino.save_model(quantized, path, compress_to_fp16=False)


WRITERS = {
    "safetensors": write_safetensors,
    "checkpoint": write_checkpoint,
    "ecgfm_bfloat16": partial(write_rounded, precision="bfloat16"),
    "ecgfm_int8": partial(write_rounded, precision="int8"),
    "torch": write_torch,
    "onnx": write_onnx,
    "onnx_int8": write_onnx_int8,
    "openvino_int8": write_openvino_int8,
}


def main(kind, size, folder):
    path = path_of(folder, size, kind)
    whole = path.parent if "/" in NAMES[kind] else path  # several files have a folder of their own
    whole.parent.mkdir(parents=True, exist_ok=True)
    unfinished = whole.with_name(f"unfinished-{os.getpid()}-{whole.name}")
    try:
        if whole == path:
            WRITERS[kind](unfinished, model_config(size))
        else:
            unfinished.mkdir()
            WRITERS[kind](unfinished / path.name, model_config(size))
        os.replace(unfinished, whole)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        if unfinished.is_file():
            unfinished.unlink()


if __name__ == "__main__":
    main(*sys.argv[1:])

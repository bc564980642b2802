"""Writes the files that the contestants load, each by a short-lived process: python files.py KIND SIZE FOLDER."""

import os
import sys
from pathlib import Path

from common import LEADS, SAMPLES, conv_layers, fingerprint, model_config, state_dict

# The file's kind -> its name in the folder.
NAMES = {
    "safetensors": "model.safetensors",
    "checkpoint": "checkpoint.pt",
    "torch": "torch.pt",
    "onnx": "model.onnx",
}


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


def main(kind, size, folder):
    path = path_of(folder, size, kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"unfinished-{os.getpid()}-{path.name}")
    write = {
        "safetensors": write_safetensors,
        "checkpoint": write_checkpoint,
        "torch": write_torch,
        "onnx": write_onnx,
    }[kind]
    try:
        write(unfinished, model_config(size))
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

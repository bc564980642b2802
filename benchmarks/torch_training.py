"""ECG-FM's classifier in PyTorch, to be finetuned: the network of torch_model.py, all but its extractor trained."""

import torch
from common import parameter, parameter_shapes
from torch.nn.utils.parametrizations import weight_norm
from torch_model import from_checkpoint

_POS = "encoder.conv_pos.pos_conv.0"
_NAMES = {  # module of ours: module of the checkpoint
    "layer_norm": "encoder.layer_norm",
    "project": "encoder.post_extract_proj",
    "encoder_norm": "encoder.encoder.layer_norm",
    "head": "proj",
    "pos": _POS,
    "out": "self_attn.out_proj",
    "norm1": "self_attn_layer_norm",
    "norm2": "final_layer_norm",
}


def classifier(config):
    """The network with the benchmark's weights; the conv extractor is frozen, the positional weight norm is live.

    Parameters
    ----------
    config : dict
        As of `common.model_config`.

    Returns
    -------
    torch_model.Classifier
    """
    state = {name: torch.from_numpy(parameter(name, shape)).clone() for name, shape in parameter_shapes(config).items()}
    model = from_checkpoint(config, state).train().requires_grad_(True)
    model.convs.requires_grad_(False)
    model.group_norm.requires_grad_(False)
    weight_norm(model.pos, dim=3)  # (out, in / groups, 1, taps): a gain for each tap
    weight = model.pos.parametrizations.weight
    weight.original0.data = state[f"{_POS}.parametrizations.weight.original0"].unsqueeze(2)
    weight.original1.data = state[f"{_POS}.parametrizations.weight.original1"].unsqueeze(2)
    return model


def _checkpoint_module(module):
    """ "layers.3.out" -> "encoder.encoder.layers.3.self_attn.out_proj"."""
    if not module.startswith("layers."):
        return _NAMES[module]
    _, layer, part = module.split(".")
    return f"encoder.encoder.layers.{layer}.{_NAMES.get(part, part)}"


def gradients(model):
    """{checkpoint name: float32 array} of the gradients that there are."""
    found = {}
    for name, value in model.named_parameters():
        if value.grad is None:
            continue
        module, _, kind = name.rpartition(".")
        grad = value.grad.detach()
        if ".parametrizations" in module or module == "pos":
            name = f"{_POS}.{name.removeprefix('pos.')}"
            found[name] = grad.squeeze(2) if grad.dim() == 4 else grad
        elif module.endswith(".qkv"):
            layer = "encoder.encoder." + module.removesuffix("qkv")
            for letter, part in zip("qkv", grad.chunk(3), strict=True):
                found[f"{layer}self_attn.{letter}_proj.{kind}"] = part
        else:
            found[f"{_checkpoint_module(module)}.{kind}"] = grad
    return {name: grad.contiguous().numpy() for name, grad in found.items()}

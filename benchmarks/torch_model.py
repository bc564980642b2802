"""ECG-FM's classifier in PyTorch, written for float32 inference on a CPU: what a careful user of torch would run."""

import torch
import torch.nn.functional as F
from common import conv_layers
from torch import nn


class TransformerLayer(nn.Module):
    """Post-norm layer with query, key and value in one product and torch's fused attention."""

    def __init__(self, width, hidden, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x):  # (B, T, C)
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).view(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, width)
        x = self.norm1(x + self.out(attended))
        return self.norm2(x + self.fc2(F.gelu(self.fc1(x))))


class Classifier(nn.Module):
    """(B, 12, N) standardised samples to (B, labels) logits.

    Convolutions are two-dimensional with a height of 1, because channels-last layout, in which oneDNN's kernels are
    the fastest, exists in torch only for them.  The weight norm of the positional convolution is folded at load.
    """

    def __init__(self, config):
        super().__init__()
        width, channels = config["encoder_embed_dim"], config["in_d"]
        self.convs = nn.ModuleList()
        for out, kernel, stride in conv_layers(config):
            self.convs.append(nn.Conv2d(channels, out, (1, kernel), stride=(1, stride), bias=False))
            channels = out
        self.group_norm = nn.GroupNorm(self.convs[0].out_channels, self.convs[0].out_channels)
        self.layer_norm = nn.LayerNorm(channels)
        self.project = nn.Linear(channels, width) if channels != width else nn.Identity()
        taps = config["conv_pos"]
        self.pos = nn.Conv2d(width, width, (1, taps), padding=(0, taps // 2), groups=config["conv_pos_groups"])
        self.pos_extra = 1 - taps % 2
        self.encoder_norm = nn.LayerNorm(width)
        hidden, heads = config["encoder_ffn_embed_dim"], config["encoder_attention_heads"]
        self.layers = nn.ModuleList(TransformerLayer(width, hidden, heads) for _ in range(config["encoder_layers"]))
        self.head = nn.Linear(width, config["num_labels"])

    def forward(self, x):
        x = x.unsqueeze(2).contiguous(memory_format=torch.channels_last)  # (B, L, 1, N)
        for i, conv in enumerate(self.convs):
            x = conv(x)
            x = F.gelu(self.group_norm(x) if i == 0 else x)
        x = self.project(self.layer_norm(x.squeeze(2).transpose(1, 2)))  # (B, T, C)
        around = self.pos(x.transpose(1, 2).unsqueeze(2))
        around = around[..., : around.shape[-1] - self.pos_extra].squeeze(2).transpose(1, 2)
        x = self.encoder_norm(x + F.gelu(around))
        for layer in self.layers:
            x = layer(x)
        return self.head(x.sum(dim=1) / (x != 0).sum(dim=1))


def _renamed(state):
    """The checkpoint's tensors under the names of `Classifier`: the same memory, but for what is joined or folded."""
    own = {}
    for i in range(sum(name.endswith(".fc1.bias") for name in state)):
        layer = f"encoder.encoder.layers.{i}."
        for kind in ("weight", "bias"):
            parts = [state[f"{layer}self_attn.{letter}_proj.{kind}"] for letter in "qkv"]
            own[f"layers.{i}.qkv.{kind}"] = torch.cat(parts)
            for ours, theirs in (
                ("out", "self_attn.out_proj"),
                ("norm1", "self_attn_layer_norm"),
                ("fc1", "fc1"),
                ("fc2", "fc2"),
                ("norm2", "final_layer_norm"),
            ):
                own[f"layers.{i}.{ours}.{kind}"] = state[f"{layer}{theirs}.{kind}"]
    for ours, theirs in (
        ("group_norm", "encoder.feature_extractor.conv_layers.0.2"),
        ("layer_norm", "encoder.layer_norm"),
        ("project", "encoder.post_extract_proj"),
        ("encoder_norm", "encoder.encoder.layer_norm"),
        ("head", "proj"),
    ):
        for kind in ("weight", "bias"):
            if f"{theirs}.{kind}" in state:
                own[f"{ours}.{kind}"] = state[f"{theirs}.{kind}"]
    convs = sum(name.startswith("encoder.feature_extractor.") and name.endswith(".0.weight") for name in state)
    for i in range(convs):
        own[f"convs.{i}.weight"] = _channels_last(state[f"encoder.feature_extractor.conv_layers.{i}.0.weight"])
    pos = "encoder.conv_pos.pos_conv.0."
    direction = state[f"{pos}parametrizations.weight.original1"]
    gain = state[f"{pos}parametrizations.weight.original0"]
    own["pos.weight"] = _channels_last(direction * (gain / direction.norm(dim=(0, 1), keepdim=True)))
    own["pos.bias"] = state[f"{pos}bias"]
    return own


def _channels_last(weight):
    return weight.unsqueeze(2).contiguous(memory_format=torch.channels_last)


def _assigned(config, state):
    with torch.device("meta"):  # nothing is initialised in vain
        model = Classifier(config)
    model.load_state_dict(state, strict=True, assign=True)
    return model.eval().requires_grad_(False)


def from_checkpoint(config, state):
    """A `Classifier` in eval mode from the tensors of a checkpoint under their own names."""
    return _assigned(config, _renamed(state))


def load(config, path):
    """A `Classifier` in eval mode from the file of its state dict, whose tensors are mapped into memory."""
    return _assigned(config, torch.load(path, mmap=True, weights_only=True))

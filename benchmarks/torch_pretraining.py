"""ECG-FM's pretraining in PyTorch: what a careful user of torch would run on a CPU, eager mode.

The weights are a dict of leaf tensors under the checkpoint's names, but for query, key and value: one product.
"""

import math

import torch
import torch.nn.functional as F
from common import conv_layers, parameter, pretraining_shapes

_POS = "conv_pos.pos_conv.0."
_G, _V = _POS + "parametrizations.weight.original0", _POS + "parametrizations.weight.original1"
_PARTS = ("q", "k", "v")


class Pretraining:
    """The network, its loss and its optimiser.

    Parameters
    ----------
    config : dict
        As of `common.pretraining_config`.
    dropout : float
        Of all places that ECG-FM's pretraining drops at.
    optimizer : dict
        ``lr``, ``betas``, ``eps``, ``weight_decay``.
    lower : bool
        Whether the encoder runs under bfloat16's autocast; features and codes are float32 all the same.
    """

    def __init__(self, config, dropout, optimizer, lower=False):
        self.config, self.dropout = config, dropout
        self.autocast = torch.autocast("cpu", torch.bfloat16, enabled=lower)
        state = {name: torch.from_numpy(parameter(name, shape)) for name, shape in pretraining_shapes(config).items()}
        for i in range(config["encoder_layers"]):
            attention = f"encoder.layers.{i}.self_attn."
            for kind in ("weight", "bias"):
                parts = [state.pop(f"{attention}{part}_proj.{kind}") for part in _PARTS]
                state[f"{attention}qkv.{kind}"] = torch.cat(parts)
        self.p = {name: tensor.clone().requires_grad_() for name, tensor in state.items()}
        self.optimizer = torch.optim.AdamW(self.p.values(), **optimizer, fused=True)

    def step(self, x, noise):
        """A step of training on x (B, L, N) with the arrays of `common.pretraining_noise`; the loss before it."""
        loss = self.backward(x, noise)
        self.optimizer.step()
        return loss

    def backward(self, x, noise):
        """The loss for each masked step; the gradients are its."""
        self.optimizer.zero_grad(set_to_none=True)
        noise = {name: torch.from_numpy(values) for name, values in noise.items()}
        loss = self._loss(torch.from_numpy(x), noise) / int(noise["steps"].sum())
        loss.backward()
        return loss.item()

    def gradients(self):
        """{checkpoint name: float32 array}."""
        found = {}
        for name, tensor in self.p.items():
            if ".qkv." in name:
                for part, grad in zip(_PARTS, tensor.grad.chunk(3), strict=True):
                    found[name.replace("qkv", f"{part}_proj")] = grad.contiguous().numpy()
            else:
                found[name] = tensor.grad.contiguous().numpy()
        return found

    # ---- the network --------------------------------------------------------------------------------

    def _linear(self, x, name):
        return F.linear(x, self.p[name + ".weight"], self.p[name + ".bias"])

    def _norm(self, x, name):
        return F.layer_norm(x, x.shape[-1:], self.p[name + ".weight"], self.p[name + ".bias"])

    def _drop(self, x):
        return F.dropout(x, self.dropout) if self.dropout else x

    def _features(self, x):
        """(B, L, N) -> (B, T, K); two-dimensional convolutions, since channels-last exists only for them."""
        x = x.unsqueeze(2).contiguous(memory_format=torch.channels_last)
        for i, (_, _, stride) in enumerate(conv_layers(self.config)):
            name = f"feature_extractor.conv_layers.{i}."
            weight = self.p[name + "0.weight"].unsqueeze(2)
            x = F.conv2d(x, weight.contiguous(memory_format=torch.channels_last), stride=(1, stride))
            if i == 0:
                x = F.group_norm(x, x.shape[1], self.p[name + "2.weight"], self.p[name + "2.bias"])
            x = F.gelu(x)
        return x.squeeze(2).transpose(1, 2)

    def _positions(self, x):
        v, taps = self.p[_V], self.config["conv_pos"]
        weight = (v * (self.p[_G] / v.norm(dim=(0, 1), keepdim=True))).unsqueeze(2)
        weight = weight.contiguous(memory_format=torch.channels_last)
        src = x.transpose(1, 2).unsqueeze(2)
        y = F.conv2d(src, weight, self.p[_POS + "bias"], padding=(0, taps // 2), groups=self.config["conv_pos_groups"])
        y = y[..., : y.shape[-1] - (1 - taps % 2)].squeeze(2).transpose(1, 2)
        return x + F.gelu(y)

    def _layer(self, x, i):
        name = f"encoder.layers.{i}."
        batch, tokens, width = x.shape
        heads = self.config["encoder_attention_heads"]
        qkv = self._linear(x, name + "self_attn.qkv").view(batch, tokens, 3, heads, width // heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout)
        y = y.transpose(1, 2).reshape(batch, tokens, width)
        x = self._norm(x + self._drop(self._linear(y, name + "self_attn.out_proj")), name + "self_attn_layer_norm")
        y = self._linear(F.gelu(self._linear(x, name + "fc1")), name + "fc2")
        return self._norm(x + self._drop(y), name + "final_layer_norm")

    def _encode(self, normed, steps):
        x = self._linear(normed, "post_extract_proj") if "post_extract_proj.weight" in self.p else normed
        x = torch.where(steps.unsqueeze(-1), self.p["mask_emb"], self._drop(x))
        x = self._drop(self._norm(self._positions(x), "encoder.layer_norm"))
        for i in range(self.config["encoder_layers"]):
            x = self._layer(x, i)
        return x

    # ---- the loss -----------------------------------------------------------------------------------

    def _quantize(self, x, gumbel):
        """x (R, K) -> quantized rows, codes (R, G), perplexity of the mean probabilities."""
        groups, entries = self.config["latent_groups"], self.config["latent_vars"]
        logits = self._linear(x, "quantizer.weight_proj").view(-1, groups, entries)
        mean = logits.softmax(dim=-1).mean(dim=0)
        perplexity = torch.exp(-(mean * torch.log(mean + 1e-7)).sum(dim=-1)).sum()
        noisy = logits + gumbel.view_as(logits)
        codes, soft = noisy.argmax(dim=-1), (noisy / 2.0).softmax(dim=-1)
        hard = F.one_hot(codes, entries).to(soft.dtype) - soft.detach() + soft
        entry = self.p["quantizer.vars"].view(groups, entries, -1)
        return torch.bmm(hard.transpose(0, 1), entry).transpose(0, 1).reshape(len(x), -1), codes, perplexity

    def _loss(self, x, noise):
        steps, negatives = noise["steps"], noise["negatives"].long()
        rows, codes_in_all = int(steps.sum()), self.config["latent_groups"] * self.config["latent_vars"]
        features = self._features(x)
        features = features * 0.1 + features.detach() * 0.9  # feature_grad_mult
        penalty = features.square().mean()
        normed = self._norm(features, "layer_norm")
        quantized, codes, perplexity = self._quantize(self._drop(normed[steps]), noise["gumbel"])
        y = F.normalize(self._linear(quantized, "project_q"), dim=-1)
        with self.autocast:
            encoded = self._encode(normed, steps)
        encoded = encoded.float()
        prediction = F.normalize(self._linear(encoded[steps], "final_proj"), dim=-1)
        candidates = torch.cat([torch.arange(rows).unsqueeze(1), negatives], dim=1)
        logits = torch.bmm(y[candidates], prediction.unsqueeze(-1)).squeeze(-1) / 0.1
        same = (codes[negatives] == codes.unsqueeze(1)).all(dim=-1)
        logits = logits.masked_fill(F.pad(same, (1, 0)), -math.inf)
        contrast = F.cross_entropy(logits, torch.zeros(rows, dtype=torch.long), reduction="sum")
        diversity = 0.1 * rows * (codes_in_all - perplexity) / codes_in_all
        pooled = encoded.sum(dim=1) / (encoded != 0).sum(dim=1)
        pooled = pooled / pooled.detach().norm(dim=-1, keepdim=True)
        similarity = pooled[0::2] @ pooled[1::2].T / 0.1
        own = torch.arange(len(similarity))
        cmsc = 0.5 * (F.cross_entropy(similarity, own) + F.cross_entropy(similarity.T, own))
        return contrast + diversity + 10 * rows * penalty + rows * cmsc

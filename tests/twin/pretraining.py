"""The loss of pretraining: masking, quantizer, contrastive loss, diversity, penalty, CMSC.

What the gradient must not see is a constant that is computed once: the choice of a code (the soft choice stands for it:
straight-through), the norms of CMSC's features, the number of entries that a mean is taken over.  Given the constants
of a point, `loss` is a smooth function around it, whose finite differences are what a backward must give.
"""

import numpy as np

from .layers import conv1d, f64, gelu, layer_norm, linear
from .losses import sigmoid
from .network import _conv_norm, _Encoder, _encoder, token_padding

SETTINGS = {"logit_temp": 0.1, "temp": 2.0, "diversity": 0.1, "penalty": 10.0, "cmsc": 1.0, "cmsc_temp": 0.1}


def softmax(x):
    x = np.exp(x - x.max(axis=-1, keepdims=True))
    return x / x.sum(axis=-1, keepdims=True)


def perplexity(p):
    """exp of the entropy of each row of p (G, V), summed over the groups."""
    return np.exp(-(p * np.log(p + 1e-7)).sum(axis=-1)).sum()


def quantize(logits, entries, noise, temp, fixed):
    """logits (R, G, V), entries (G, V, d), noise (R, G, V) or None -> (rows (R, G d), codes (R, G)).

    The rows are the chosen entries; their gradient is that of the mean of the entries with weights
    softmax((logits + noise) / temp).
    """
    noisy = logits if noise is None else logits + noise
    codes = noisy.argmax(axis=-1)
    hard = np.eye(logits.shape[-1])[codes]
    soft = softmax(noisy / temp)
    if noise is not None:
        hard = hard + soft - fixed.setdefault("soft", soft)
    return np.einsum("rgv,gvd->rgd", hard, entries).reshape(len(logits), -1), codes


def cosines(predictions, candidates):
    """(R, D) and (R, n, D) -> (R, n)."""
    norms = np.linalg.norm(predictions, axis=-1)[:, None] * np.linalg.norm(candidates, axis=-1)
    return np.einsum("rd,rnd->rn", predictions, candidates) / norms


def infonce(logits):
    """Sum of -log softmax at the first of the candidates."""
    largest = logits.max(axis=1, keepdims=True)
    return (largest[:, 0] + np.log(np.exp(logits - largest).sum(axis=1)) - logits[:, 0]).sum()


def binary(logits):
    """Cross entropy of logistic units: 1 at the first candidate, 0 at the others; -inf costs nothing."""
    return np.logaddexp(0, -logits[:, 0]).sum() + np.logaddexp(0, logits[:, 1:]).sum()


def cmsc(features, ids, second, temp, fixed):
    """features (B, C) -> mean over pairs of half of -log softmax over rows and half of that over columns."""
    norms = fixed.setdefault("norms", np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-8))
    unit, second = features / norms, np.asarray(second, dtype=bool)
    similarity = unit[~second] @ unit[second].T / temp
    target = np.asarray(ids)[~second][:, None] == np.asarray(ids)[second][None]
    if not target.any():
        return 0.0
    return -0.5 * np.log(softmax(similarity))[target].mean() - 0.5 * np.log(softmax(similarity.T))[target.T].mean()


def _features(config, p, source):
    x = f64(source)
    for i, (_, _, stride) in enumerate(config["conv_feature_layers"]):
        name = f"feature_extractor.conv_layers.{i}.0"
        x = conv1d(x, p[name + ".weight"], p.get(name + ".bias"), stride)
        if norm := _conv_norm(config, i):
            x = norm[1](x, p[norm[0] + ".weight"], p[norm[0] + ".bias"])
        x = gelu(x)
    return x.swapaxes(1, 2)


def _targets(config, p, quantized):
    y = linear(quantized, p["project_q.weight"], p["project_q.bias"])
    if config["target_glu"]:
        y = linear(y, p["target_glu.0.weight"], p["target_glu.0.bias"])
        width = config["final_dim"]
        y = y[..., :width] * sigmoid(y[..., width:])
    return y


def codebook_codes(combinations, groups, entries):
    """Combinations (count, R) -> codes (count, R, G): digits, the first group's in front."""
    return np.stack([combinations // entries ** (groups - 1 - g) % entries for g in range(groups)], axis=-1)


def _contrast(config, p, normed, x, noise, settings, fixed, out):
    """The contrastive loss and the diversity; normed (B, T, K), x (B, T, C)."""
    steps, groups, entries = noise["steps"], config["latent_groups"], config["latent_vars"]
    src = normed[steps] * noise.get("features", 1.0)
    logits = linear(src, p["quantizer.weight_proj.weight"], p["quantizer.weight_proj.bias"])
    logits = logits.reshape(-1, groups, entries)
    rows, book = len(logits), f64(p["quantizer.vars"]).reshape(groups, entries, -1)
    quantized, codes = quantize(logits, book, noise.get("gumbel"), settings["temp"], fixed)
    clean = softmax(logits)
    out["prob_perplexity"] = perplexity(clean.mean(axis=0))
    out["code_perplexity"] = perplexity(np.eye(entries)[logits.argmax(axis=-1)].mean(axis=0))
    y = _targets(config, p, quantized)
    negatives = noise["negatives"]
    candidates, same = y[negatives], (codes[negatives] == codes[:, None]).all(axis=-1)
    if "codebook" in noise:
        more = codebook_codes(noise["codebook"], groups, entries).swapaxes(0, 1)  # (R, count, G)
        further = _targets(config, p, book[np.arange(groups), more].reshape(rows, more.shape[1], -1))
        candidates = np.concatenate([candidates, further], axis=1)
        same = np.concatenate([same, (more == codes[:, None]).all(axis=-1)], axis=1)
    predictions = linear(x[steps], p["final_proj.weight"], p["final_proj.bias"])
    logits = cosines(predictions, np.concatenate([y[:, None], candidates], axis=1)) / settings["logit_temp"]
    logits[:, 1:][same] = -np.inf
    out["codes"], out["logits"] = codes, logits
    out["contrastive"] = binary(logits) if settings.get("binary") else infonce(logits)
    total = groups * entries
    out["diversity"] = settings["diversity"] * rows * (total - out["prob_perplexity"]) / total
    largest = logits.max(axis=1)
    out["correct"] = int(((logits[:, 0] == largest) & (logits[:, 0] != logits.min(axis=1))).sum())
    return rows


def loss(config, params, source, noise, settings=SETTINGS, padding_mask=None, fixed=None):
    """The loss of a batch of pretraining and its parts.

    Parameters
    ----------
    config, params : of a pretraining model.  source : (B, L, N).  padding_mask : (B, L, N) bool or None.
    noise : "steps" (B, T) bool, as many in each row, "negatives" (R, n), and where wanted "gumbel" (R, G, V),
        "codebook" (count, R), "channels" (B, C) bool, "ids" and "second" (B); factors of dropout "features" (R, K),
        "input" and
        those of `network.forward`.  Without "steps" CMSC alone.
    settings : as `SETTINGS`; "binary" for the loss without infonce, "predicted_only" for steps that are not masked.
    fixed : dict that takes the constants, or brings them.

    Returns
    -------
    dict: "loss", the parts "contrastive", "diversity", "penalty", "cmsc", the sample size "rows", "codes", "logits".
    """
    p, fixed, out = _Encoder(params), {} if fixed is None else fixed, dict.fromkeys(PARTS, 0.0)
    features = _features(config, p, source)
    normed = layer_norm(features, p["layer_norm.weight"], p["layer_norm.bias"])
    x = normed
    if p.get("post_extract_proj.weight") is not None:
        x = linear(x, p["post_extract_proj.weight"], p["post_extract_proj.bias"])
    x = x * noise.get("input", 1.0)
    if "steps" in noise and not settings.get("predicted_only"):
        x = np.where(noise["steps"][..., None], f64(p["mask_emb"]), x)
    if "channels" in noise:
        x = np.where(noise["channels"][:, None], 0.0, x)
    padding = token_padding(padding_mask, config["conv_feature_layers"])
    x = _encoder(config, p, x, padding, noise, {})
    if padding is not None:
        x = np.where(padding[..., None], 0.0, x)
    if "steps" in noise:
        rows = _contrast(config, p, normed, x, noise, settings, fixed, out)
        out["penalty"] = settings["penalty"] * rows * np.mean(features**2)
    else:
        ids, second = np.asarray(noise["ids"]), np.asarray(noise["second"], dtype=bool)
        rows = int((ids[~second][:, None] == ids[second][None]).sum())
    if "ids" in noise:
        pooled = x.sum(axis=1) / fixed.setdefault("count", (x != 0).sum(axis=1))
        each = cmsc(pooled, noise["ids"], noise["second"], settings["cmsc_temp"], fixed)
        out["cmsc"] = settings["cmsc"] * rows * each
    out["rows"], out["loss"] = rows, sum(out[name] for name in PARTS)
    return out


PARTS = ("contrastive", "diversity", "penalty", "cmsc")

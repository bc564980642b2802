"""Problems for whole networks: weights, signals, labels and dropout masks, and the gradients of the float64 twin."""

import numpy as np
import twin
import weights

B = 3
RATES = {
    "dropout": 0.1,
    "attention_dropout": 0.15,
    "activation_dropout": 0.2,
    "dropout_input": 0.25,
    "final_dropout": 0.3,
}
NONE = dict.fromkeys(RATES, 0.0)
# The place in the network of each mask and the setting that drops there.
PLACES = {
    "input": "dropout_input",
    "encoder": "dropout",
    "final": "final_dropout",
    "attention": "attention_dropout",
    "activation": "activation_dropout",
    "residual1": "dropout",
    "residual2": "dropout",
}


def tokens(config, samples):
    return int(twin.network.token_counts(samples, config["conv_feature_layers"]))


def problem(tag):
    """Weights, signals, a padding mask and labels of a variant."""
    config = weights.VARIANTS[tag]
    samples = 400 if config["conv_pos"] < 100 else 1100
    samples = max(samples, 16 * int(np.prod([stride for _, _, stride in config["conv_feature_layers"]])))
    params = weights.weights(weights.parameters(config))
    x = weights.signal(f"gradients of {tag}", B, config["in_d"], samples)
    mask = weights.padding(B, config["in_d"], samples, [samples, samples // 2, 3 * samples // 4])
    x[mask] = 0  # what stands under the padding does not count
    rng = np.random.default_rng(5)
    y = rng.integers(0, 2, (B, config["num_labels"])).astype(np.float32)
    y[0] = rng.uniform(size=config["num_labels"])
    pos_weight = rng.uniform(0.5, 4, config["num_labels"]).astype(np.float32)
    return config, params, x, mask, y, pos_weight


def masks_for(config, samples, rates, seed=0, batch=B):
    """Masks for all places whose rate is above 0."""
    rng, steps = np.random.default_rng(seed), tokens(config, samples)
    width, hidden = config["encoder_embed_dim"], config["encoder_ffn_embed_dim"]
    inside = {
        "attention": (batch, config["encoder_attention_heads"], steps, steps),
        "activation": (batch, steps, hidden),
        "residual1": (batch, steps, width),
        "residual2": (batch, steps, width),
    }
    shapes = dict.fromkeys(("input", "encoder", "final"), (batch, steps, width))
    for i in range(config["encoder_layers"]):
        shapes |= {f"layer{i}.{place}": shape for place, shape in inside.items()}
    drop = {name: rates[PLACES[name.split(".")[-1]]] for name in shapes}
    return {name: rng.uniform(size=shape) >= drop[name] for name, shape in shapes.items() if drop[name] > 0}


def factors(masks, rates):
    """The masks as the twin takes them."""
    keep = {name: mask / (1 - rates[PLACES[name.split(".")[-1]]]) for name, mask in masks.items() if name != "layers"}
    return keep | {f"layer{i}": int(runs) for i, runs in enumerate(masks.get("layers", ()))}


def twin_gradients(problem, mask=None, keep=None, feature_grad_mult=1.0):
    config, params, x, _, y, pos_weight = problem
    trace = twin.forward(config, params, x, mask, keep)
    diff_logits = twin.bce_with_logits_backward(trace["logits"], y, pos_weight)
    diff = twin.backward(config, params, x, diff_logits, mask, keep, feature_grad_mult, trace)
    return twin.bce_with_logits(trace["logits"], y, pos_weight), diff

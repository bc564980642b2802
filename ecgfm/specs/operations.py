"""How many operations a segment takes, by kind; what a share of the processor's peak is counted in."""

from __future__ import annotations

from .architecture import Architecture

__all__ = ["operations"]


def operations(model: Architecture, samples: int) -> dict[str, int]:
    """Operations of one segment: a multiply and an add for each weight that meets a value.

    Norms, GELU, softmax and sums are left out (below 1 %), and the heads of pretraining. The positional convolution
    is counted with all its taps at each token.

    Parameters
    ----------
    model : Architecture
    samples : int
        Length of the segment.

    Returns
    -------
    dict
        ``convolutions``, ``linear`` and ``attention`` (its two products of activations).
    """
    width, hidden, steps = model.encoder_embed_dim, model.encoder_ffn_embed_dim, model.steps(samples)
    channels, convolutions, tokens = model.in_d, 0, steps[-1]
    for (out, kernel, _), count in zip(model.conv_feature_layers, steps):
        convolutions += count * out * channels * kernel
        channels = out
    convolutions += tokens * width * (width // model.conv_pos_groups) * model.conv_pos
    linear = model.encoder_layers * tokens * (4 * width * width + 2 * width * hidden)
    linear += tokens * channels * width if channels != width else 0
    linear += width * model.num_labels if model.kind == "classifier" and model.num_labels else 0
    attention = model.encoder_layers * 2 * tokens * tokens * width
    return {"convolutions": 2 * convolutions, "linear": 2 * linear, "attention": 2 * attention}

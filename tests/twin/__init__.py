"""ECG-FM in float64 NumPy: every layer as a function, and beside each forward its backward.

The twin is the oracle of the C kernels.  It is written from the equations of the network, for clearness first and
speed second: a forward is a pure function of its inputs, a backward takes the gradient of the output followed by the
inputs of the forward and computes again what it needs.  Inputs of any dtype are taken as float64.

Letters: B segments, L leads, N samples, T tokens, C width, H heads, D = C / H, F feed-forward width, K features of
the last convolution, Y labels.
"""

from .attention import self_attention, self_attention_backward, transformer_layer, transformer_layer_backward
from .layers import (
    EPS,
    conv1d,
    conv1d_backward,
    conv_pos,
    conv_pos_backward,
    gelu,
    gelu_backward,
    group_norm,
    group_norm_backward,
    layer_norm,
    layer_norm_backward,
    linear,
    linear_backward,
    normal_cdf,
    pool,
    pool_backward,
    weight_norm,
    weight_norm_backward,
)
from .losses import asymmetric, bce_with_logits, bce_with_logits_backward, sigmoid
from .network import backward, forward, token_counts, token_padding

__all__ = [
    "EPS",
    "backward",
    "asymmetric",
    "bce_with_logits",
    "bce_with_logits_backward",
    "conv1d",
    "conv1d_backward",
    "conv_pos",
    "conv_pos_backward",
    "forward",
    "gelu",
    "gelu_backward",
    "group_norm",
    "group_norm_backward",
    "layer_norm",
    "layer_norm_backward",
    "linear",
    "linear_backward",
    "normal_cdf",
    "pool",
    "pool_backward",
    "self_attention",
    "self_attention_backward",
    "sigmoid",
    "token_counts",
    "token_padding",
    "transformer_layer",
    "transformer_layer_backward",
    "weight_norm",
    "weight_norm_backward",
]

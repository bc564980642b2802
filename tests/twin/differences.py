"""Gradients by central finite differences, to check a backward that was written by hand.

With float64 and a step of 6e-6 (the cube root of the rounding unit) a smooth function of scale 1 comes out with a
relative error near 1e-10; the checks ask for 1e-7.
"""

import numpy as np

STEP = 6e-6


def gradient(function, x):
    """Gradient of a scalar function at the array x, one entry at a time."""
    x = np.array(x, dtype=np.float64)
    out = np.empty_like(x)
    for index in np.ndindex(x.shape):
        there = x[index]
        x[index] = there + STEP
        above = function(x)
        x[index] = there - STEP
        out[index] = (above - function(x)) / (2 * STEP)
        x[index] = there
    return out


def slope(function, x, direction):
    """Derivative of a scalar function at the array x along a direction."""
    x = np.asarray(x, dtype=np.float64)
    return (function(x + STEP * direction) - function(x - STEP * direction)) / (2 * STEP)

/* Elementary functions as plain C that the compiler turns into vector code for each instruction set. */
#ifndef ECG_LAYERS_ELEMENTARY_H
#define ECG_LAYERS_ELEMENTARY_H

#include <stdint.h>
#include <string.h>

#include "../base/kernel.h"

/* exp(x) to 1e-7 relative, for x in [-87, 88] alone. Cody-Waite reduction x = n ln 2 + r, |r| <= 0.347, and a Taylor
 * polynomial of degree 7 (its remainder there is below 6e-9). */
ECG_INLINE float ecg_exp_within(float x)
{
    const float magic = 12582912.f; /* 1.5 * 2^23: adding and subtracting rounds to an integer */
    float n = (x * 1.44269504f + magic) - magic;
    float r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    float p = 1.f / 5040;
    p = p * r + 1.f / 720;
    p = p * r + 1.f / 120;
    p = p * r + 1.f / 24;
    p = p * r + 1.f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.f;
    p = p * r + 1.f;
    int32_t bits = ((int32_t)n + 127) << 23;
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

/* exp(x); below -87 it is clamped (1.6e-38), so that the result is never denormal. What it is multiplied by should not
 * make it so: a compiler computes the clamped product for all lanes of a vector, and denormal numbers are some hundred
 * times slower. */
ECG_INLINE float ecg_exp(float x)
{
    return ecg_exp_within(x < -87.f ? -87.f : x);
}

/* Phi(-|x|), the normal distribution function's lower half: erfc(t) / 2 with t = |x| / sqrt 2, as
 * exp(-t^2) P(1 / (1 + 0.35 t)). P of degree 10 was fitted here to exp(t^2) erfc(t) on [0, 10] with the smallest
 * largest relative error (7e-9). t is at most 9.1, where the result is 3.5e-38, so that it is never denormal. */
ECG_INLINE float ecg_phi_argument(float x)
{
    float t = (x < 0.f ? -x : x) * 0.70710678f;
    return t > 9.1f ? 9.1f : t;
}

/* Of that argument t and e = exp(-t^2). */
ECG_INLINE float ecg_phi_lower_of(float t, float e)
{
    float q = 1.f / (1.f + 0.35f * t);
    float p = 0.03840135321724551f;
    p = p * q - 0.1589299142950687f;
    p = p * q + 0.1814650504213689f;
    p = p * q - 0.027710743798375924f;
    p = p * q + 0.08702298561660295f;
    p = p * q + 0.14603992094374424f;
    p = p * q + 0.15118696828389316f;
    p = p * q + 0.18790223489355667f;
    p = p * q + 0.19713837444898435f;
    p = p * q + 0.19748377739194392f;
    return 0.5f * p * q * e;
}

ECG_INLINE float ecg_phi_lower(float x)
{
    float t = ecg_phi_argument(x);
    return ecg_phi_lower_of(t, ecg_exp_within(-t * t));
}

ECG_INLINE float ecg_gelu(float x)
{
    float tail = x * ecg_phi_lower(x);
    return x > 0.f ? x - tail : tail;
}

#endif

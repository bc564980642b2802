#include "layers.h"

#include "elementary.h"
#include "parallel.h"

ECG_KERNEL void ecg_gelu_piece(float *dst, const float *src, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        dst[i] = ecg_gelu(src[i]);
}

void ecg_gelu_forward(float *dst, const float *src, int64_t n)
{
#pragma omp parallel for schedule(static) if (n > ECG_SERIAL_ELEMENTS)
    for (int64_t i = 0; i < n; i += ECG_PIECE)
        ecg_gelu_piece(dst + i, src + i, n - i < ECG_PIECE ? n - i : ECG_PIECE);
}

/* d gelu / dx = Phi(x) + x phi(x). */
ECG_KERNEL static void gelu_backward(float *diff_src, const float *diff_dst, const float *src, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float x = src[i], t = ecg_phi_argument(x), e = ecg_exp_within(-t * t), lower = ecg_phi_lower_of(t, e);
        diff_src[i] = diff_dst[i] * ((x > 0.f ? 1.f - lower : lower) + x * 0.39894228f * e);
    }
}

/* exp(-x^2 / 2) is a factor of both Phi and phi. */
ECG_KERNEL static void gelu_again(float *dst, float *slope, const float *src, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float x = src[i], t = ecg_phi_argument(x), e = ecg_exp_within(-t * t);
        float lower = ecg_phi_lower_of(t, e), tail = x * lower;
        dst[i] = x > 0.f ? x - tail : tail;
        slope[i] = (x > 0.f ? 1.f - lower : lower) + x * 0.39894228f * e;
    }
}

void ecg_gelu_again(float *dst, float *slope, const float *src, const ecg_dropout_mask *mask, int64_t n)
{
#pragma omp parallel for schedule(static) if (n > ECG_SERIAL_ELEMENTS)
    for (int64_t i = 0; i < n; i += ECG_PIECE) {
        int64_t count = n - i < ECG_PIECE ? n - i : ECG_PIECE;
        gelu_again(dst + i, slope + i, src + i, count);
        if (mask->keep) {
            ecg_dropout_piece(dst + i, dst + i, mask->keep + i, mask->scale, count);
            ecg_dropout_piece(slope + i, slope + i, mask->keep + i, mask->scale, count);
        }
    }
}

void ecg_gelu_backward(float *diff_src, const float *diff_dst, const float *src, int64_t n)
{
#pragma omp parallel for schedule(static) if (n > ECG_SERIAL_ELEMENTS)
    for (int64_t i = 0; i < n; i += ECG_PIECE)
        gelu_backward(diff_src + i, diff_dst + i, src + i, n - i < ECG_PIECE ? n - i : ECG_PIECE);
}

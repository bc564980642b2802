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

/* Where a piece of a result is computed: where it will lie, or in `wide`, for another type. */
static float *place_of(float *wide, ecg_dtype type, void *dst, int64_t at)
{
    return type == ECG_F32 ? (float *)dst + at : wide;
}

void ecg_gelu_dropout(void *dst, const void *src, ecg_dtype type, const ecg_dropout_mask *mask, int64_t n)
{
#pragma omp parallel for schedule(static) if (n > ECG_SERIAL_ELEMENTS)
    for (int64_t i = 0; i < n; i += ECG_PIECE) {
        int64_t count = n - i < ECG_PIECE ? n - i : ECG_PIECE;
        float wide[ECG_PIECE], *to = place_of(wide, type, dst, i);
        ecg_gelu_piece(to, ecg_load_piece(wide, type, src, i, count), count);
        if (mask->keep)
            ecg_dropout_piece(to, to, mask->keep + i, mask->scale, count);
        ecg_store_piece(type, dst, i, to, count);
    }
}

void ecg_gelu_again(void *dst, void *slope, const void *src, ecg_dtype type, const ecg_dropout_mask *mask, int64_t n)
{
#pragma omp parallel for schedule(static) if (n > ECG_SERIAL_ELEMENTS)
    for (int64_t i = 0; i < n; i += ECG_PIECE) {
        int64_t count = n - i < ECG_PIECE ? n - i : ECG_PIECE;
        float wide[2][ECG_PIECE], *to = place_of(wide[0], type, dst, i), *slopes = place_of(wide[1], type, slope, i);
        gelu_again(to, slopes, ecg_load_piece(wide[1], type, src, i, count), count);
        if (mask->keep) {
            ecg_dropout_piece(to, to, mask->keep + i, mask->scale, count);
            ecg_dropout_piece(slopes, slopes, mask->keep + i, mask->scale, count);
        }
        ecg_store_piece(type, dst, i, to, count);
        ecg_store_piece(type, slope, i, slopes, count);
    }
}

void ecg_gelu_backward(float *diff_src, const float *diff_dst, const float *src, int64_t n)
{
#pragma omp parallel for schedule(static) if (n > ECG_SERIAL_ELEMENTS)
    for (int64_t i = 0; i < n; i += ECG_PIECE)
        gelu_backward(diff_src + i, diff_dst + i, src + i, n - i < ECG_PIECE ? n - i : ECG_PIECE);
}

#include "layers.h"

#include <math.h>
#include <string.h>

#include "../base/kernel.h"
#include "parallel.h"

ECG_KERNEL void ecg_add_piece(float *dst, const float *src, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        dst[i] += src[i];
}

ECG_KERNEL void ecg_multiply_piece(float *dst, const float *src, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        dst[i] *= src[i];
}

void ecg_add_forward(float *dst, const float *src, int64_t n)
{
#pragma omp parallel for schedule(static) if (n > ECG_SERIAL_ELEMENTS)
    for (int64_t i = 0; i < n; i += ECG_PIECE)
        ecg_add_piece(dst + i, src + i, n - i < ECG_PIECE ? n - i : ECG_PIECE);
}

ECG_KERNEL static void scale(float *dst, float factor, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        dst[i] *= factor;
}

void ecg_scale(float *dst, float factor, int64_t n)
{
#pragma omp parallel for schedule(static) if (n > ECG_SERIAL_ELEMENTS)
    for (int64_t i = 0; i < n; i += ECG_PIECE)
        scale(dst + i, factor, n - i < ECG_PIECE ? n - i : ECG_PIECE);
}

void ecg_zero_padding(float *dst, const int64_t *valid, int64_t B, int64_t T, int64_t C)
{
    if (!valid)
        return;
    for (int64_t b = 0; b < B; b++)
        memset(dst + (b * T + valid[b]) * C, 0, (size_t)((T - valid[b]) * C) * sizeof *dst);
}

#define TILE 32

void ecg_transpose(float *dst, const float *src, int64_t B, int64_t rows, int64_t columns)
{
    int64_t tiles = (columns + TILE - 1) / TILE;
#pragma omp parallel for schedule(static) collapse(2) if (B * rows * columns > ECG_SERIAL_ELEMENTS)
    for (int64_t b = 0; b < B; b++) {
        for (int64_t tile = 0; tile < tiles; tile++) {
            int64_t begin = tile * TILE, end = begin + TILE < columns ? begin + TILE : columns;
            const float *from = src + b * rows * columns;
            float *to = dst + b * rows * columns;
            for (int64_t r = 0; r < rows; r++) {
                for (int64_t c = begin; c < end; c++)
                    to[c * rows + r] = from[r * columns + c];
            }
        }
    }
}

/* x - x is 0 for a finite x and NaN otherwise, so one sum over a piece tells whether to look closer. */
ECG_KERNEL static float not_finite_sum(const float *src, int64_t n)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += src[i] - src[i];
    return sum;
}

int64_t ecg_first_not_finite(const float *src, int64_t n)
{
    for (int64_t i = 0; i < n; i += ECG_PIECE) {
        int64_t length = n - i < ECG_PIECE ? n - i : ECG_PIECE;
        if (not_finite_sum(src + i, length) == 0.f)
            continue;
        for (int64_t j = i; j < i + length; j++) {
            if (!isfinite(src[j]))
                return j;
        }
    }
    return -1;
}

ECG_KERNEL double ecg_square_sum(const float *gradients, int64_t n)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += (double)gradients[i] * gradients[i];
    return sum;
}

#include "layers.h"

#include "../base/kernel.h"
#include "parallel.h"

ECG_KERNEL static void pool_piece(float *dst, const float *src, int64_t T, int64_t C, int64_t n)
{
    double sum[ECG_COLUMNS] = {0}, count[ECG_COLUMNS] = {0};
    for (int64_t t = 0; t < T; t++) {
#pragma omp simd
        for (int64_t c = 0; c < n; c++) {
            sum[c] += src[t * C + c];
            count[c] += src[t * C + c] != 0.f;
        }
    }
    for (int64_t c = 0; c < n; c++)
        dst[c] = (float)(sum[c] / count[c]);
}

void ecg_pool_forward(float *dst, const float *src, int64_t B, int64_t T, int64_t C)
{
    int64_t pieces = (C + ECG_COLUMNS - 1) / ECG_COLUMNS;
#pragma omp parallel for schedule(static) collapse(2) if (B * T * C > ECG_SERIAL_ELEMENTS)
    for (int64_t b = 0; b < B; b++) {
        for (int64_t piece = 0; piece < pieces; piece++) {
            int64_t c = piece * ECG_COLUMNS, n = C - c < ECG_COLUMNS ? C - c : ECG_COLUMNS;
            pool_piece(dst + b * C + c, src + b * T * C + c, T, C, n);
        }
    }
}

ECG_KERNEL static void pool_backward_piece(float *diff_src, const float *diff_dst, const float *src, int64_t T,
                                           int64_t C, int64_t n)
{
    double count[ECG_COLUMNS] = {0};
    float each[ECG_COLUMNS];
    for (int64_t t = 0; t < T; t++) {
#pragma omp simd
        for (int64_t c = 0; c < n; c++)
            count[c] += src[t * C + c] != 0.f;
    }
    for (int64_t c = 0; c < n; c++)
        each[c] = (float)(diff_dst[c] / count[c]);
    for (int64_t t = 0; t < T; t++) {
        for (int64_t c = 0; c < n; c++)
            diff_src[t * C + c] = each[c];
    }
}

void ecg_pool_backward(float *diff_src, const float *diff_dst, const float *src, int64_t B, int64_t T, int64_t C)
{
    int64_t pieces = (C + ECG_COLUMNS - 1) / ECG_COLUMNS;
#pragma omp parallel for schedule(static) collapse(2) if (B * T * C > ECG_SERIAL_ELEMENTS)
    for (int64_t b = 0; b < B; b++) {
        for (int64_t piece = 0; piece < pieces; piece++) {
            int64_t c = piece * ECG_COLUMNS, n = C - c < ECG_COLUMNS ? C - c : ECG_COLUMNS, at = b * T * C + c;
            pool_backward_piece(diff_src + at, diff_dst + b * C + c, src + at, T, C, n);
        }
    }
}

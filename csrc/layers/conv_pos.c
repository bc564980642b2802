#include "layers.h"

#include <math.h>

#include "../base/kernel.h"
#include "parallel.h"

ECG_KERNEL static void weight_norm_piece(float *dst, const float *v, const float *g, int64_t rows, int64_t K, int64_t n)
{
    double squares[ECG_COLUMNS] = {0};
    float factor[ECG_COLUMNS];
    for (int64_t r = 0; r < rows; r++) {
#pragma omp simd
        for (int64_t k = 0; k < n; k++)
            squares[k] += (double)v[r * K + k] * v[r * K + k];
    }
    for (int64_t k = 0; k < n; k++)
        factor[k] = (float)(g[k] / sqrt(squares[k]));
    for (int64_t r = 0; r < rows; r++) {
#pragma omp simd
        for (int64_t k = 0; k < n; k++)
            dst[r * K + k] = v[r * K + k] * factor[k];
    }
}

void ecg_weight_norm_forward(float *dst, const float *v, const float *g, int64_t O, int64_t S, int64_t K)
{
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < K; k += ECG_COLUMNS)
        weight_norm_piece(dst + k, v + k, g + k, O * S, K, K - k < ECG_COLUMNS ? K - k : ECG_COLUMNS);
}

/* With W = g v / |v|, |v| the norm of a tap: d g = sum(d W v) / |v| and d v = g / |v| (d W - v sum(d W v) / |v|^2). */
ECG_KERNEL static void weight_norm_backward_piece(float *diff_v, float *diff_g, const float *diff_dst, const float *v,
                                                  const float *g, int64_t rows, int64_t K, int64_t n)
{
    double squares[ECG_COLUMNS] = {0}, products[ECG_COLUMNS] = {0};
    float factor[ECG_COLUMNS], share[ECG_COLUMNS];
    for (int64_t r = 0; r < rows; r++) {
#pragma omp simd
        for (int64_t k = 0; k < n; k++) {
            squares[k] += (double)v[r * K + k] * v[r * K + k];
            products[k] += (double)diff_dst[r * K + k] * v[r * K + k];
        }
    }
    for (int64_t k = 0; k < n; k++) {
        if (diff_g)
            diff_g[k] += (float)(products[k] / sqrt(squares[k]));
        factor[k] = (float)(g[k] / sqrt(squares[k]));
        share[k] = (float)(products[k] / squares[k]);
    }
    for (int64_t r = 0; diff_v && r < rows; r++) {
#pragma omp simd
        for (int64_t k = 0; k < n; k++)
            diff_v[r * K + k] += factor[k] * (diff_dst[r * K + k] - v[r * K + k] * share[k]);
    }
}

void ecg_weight_norm_backward(float *diff_v, float *diff_g, const float *diff_dst, const float *v, const float *g,
                              int64_t O, int64_t S, int64_t K)
{
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < K; k += ECG_COLUMNS)
        weight_norm_backward_piece(diff_v ? diff_v + k : NULL, diff_g ? diff_g + k : NULL, diff_dst + k, v + k, g + k,
                                   O * S, K, K - k < ECG_COLUMNS ? K - k : ECG_COLUMNS);
}

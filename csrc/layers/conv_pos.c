#include "layers.h"

#include <math.h>
#include <string.h>

#include "../base/kernel.h"
#include "parallel.h"

ECG_KERNEL static void weight_norm_piece(float *dst, float *factors, const float *v, const float *g, int64_t rows,
                                         int64_t K, int64_t n)
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
    if (factors)
        memcpy(factors, factor, (size_t)n * sizeof *factors);
    for (int64_t r = 0; r < rows; r++) {
#pragma omp simd
        for (int64_t k = 0; k < n; k++)
            dst[r * K + k] = v[r * K + k] * factor[k];
    }
}

void ecg_weight_norm_forward(float *dst, float *factors, const float *v, const float *g, int64_t O, int64_t S,
                             int64_t K)
{
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < K; k += ECG_COLUMNS)
        weight_norm_piece(dst + k, factors ? factors + k : NULL, v + k, g + k, O * S, K,
                          K - k < ECG_COLUMNS ? K - k : ECG_COLUMNS);
}

ECG_KERNEL static void tap_norms_piece(float *dst, const float *v, int64_t rows, int64_t K, int64_t n)
{
    double squares[ECG_COLUMNS] = {0};
    for (int64_t r = 0; r < rows; r++) {
#pragma omp simd
        for (int64_t k = 0; k < n; k++)
            squares[k] += (double)v[r * K + k] * v[r * K + k];
    }
    for (int64_t k = 0; k < n; k++)
        dst[k] = (float)sqrt(squares[k]);
}

void ecg_tap_norms(float *dst, const float *v, int64_t O, int64_t S, int64_t K)
{
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < K; k += ECG_COLUMNS)
        tap_norms_piece(dst + k, v + k, O * S, K, K - k < ECG_COLUMNS ? K - k : ECG_COLUMNS);
}

/* Row r of v and row r + quarter and so on share the bytes of row r of the steps, two bits each. */
ECG_KERNEL static bool steps_row(uint8_t *steps, int shift, const float *w, const float *factors, const float *v,
                                 int64_t K)
{
    uint32_t beyond = 0;
#pragma omp simd reduction(| : beyond)
    for (int64_t k = 0; k < K; k++) {
        float nearest = w[k] / factors[k];
        uint32_t from, to;
        memcpy(&from, &nearest, sizeof from);
        memcpy(&to, v + k, sizeof to);
        uint32_t step = to - from + 1;
        beyond |= step > 2;
        steps[k] = (uint8_t)(steps[k] | (step & 3) << shift);
    }
    return !beyond;
}

ECG_KERNEL static void undo_row(float *v, const uint8_t *steps, int shift, const float *w, const float *factors,
                                int64_t K)
{
#pragma omp simd
    for (int64_t k = 0; k < K; k++) {
        float nearest = w[k] / factors[k];
        uint32_t bits;
        memcpy(&bits, &nearest, sizeof bits);
        bits += (uint32_t)(steps[k] >> shift & 3) - 1;
        memcpy(v + k, &bits, sizeof bits);
    }
}

bool ecg_weight_norm_steps(uint8_t *steps, const float *dst, const float *factors, const float *v, int64_t O, int64_t S,
                           int64_t K)
{
    int64_t rows = O * S, quarter = (rows + 3) / 4;
    int beyond = 0;
#pragma omp parallel for schedule(static) reduction(| : beyond)
    for (int64_t q = 0; q < quarter; q++) {
        memset(steps + q * K, 0, (size_t)K);
        for (int64_t i = 0; i < 4 && i * quarter + q < rows; i++) {
            int64_t at = (i * quarter + q) * K;
            beyond |= !steps_row(steps + q * K, (int)(2 * i), dst + at, factors, v + at, K);
        }
    }
    return !beyond;
}

void ecg_weight_norm_undo(float *v, const float *dst, const float *factors, const uint8_t *steps, int64_t O, int64_t S,
                          int64_t K)
{
    int64_t rows = O * S, quarter = (rows + 3) / 4;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++)
        undo_row(v + r * K, steps + r % quarter * K, (int)(2 * (r / quarter)), dst + r * K, factors, K);
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

#include "layers.h"

#include <math.h>
#include <stdbool.h>

#include "../base/kernel.h"
#include "parallel.h"

/* One row: dst = (s - mean) / sqrt(var + eps) * weight + bias with s = src + residual, in passes over a
 * row that stays in the first-level cache. */
ECG_KERNEL static void layer_norm_row(float *dst, float *normalized, float *rstd_out, const float *src,
                                      const float *residual, const float *weight, const float *bias, int64_t C)
{
    float total = 0, squares = 0;
    if (residual) {
#pragma omp simd reduction(+ : total)
        for (int64_t c = 0; c < C; c++) {
            float s = src[c] + residual[c];
            dst[c] = s;
            total += s;
        }
    } else {
#pragma omp simd reduction(+ : total)
        for (int64_t c = 0; c < C; c++) {
            dst[c] = src[c];
            total += src[c];
        }
    }
    float mean = total / (float)C;
#pragma omp simd reduction(+ : squares)
    for (int64_t c = 0; c < C; c++) {
        float d = dst[c] - mean;
        squares += d * d;
    }
    float rstd = 1.f / sqrtf(squares / (float)C + ECG_NORM_EPS);
    if (normalized) {
        *rstd_out = rstd;
#pragma omp simd
        for (int64_t c = 0; c < C; c++)
            normalized[c] = (dst[c] - mean) * rstd;
    }
#pragma omp simd
    for (int64_t c = 0; c < C; c++)
        dst[c] = (dst[c] - mean) * rstd * weight[c] + bias[c];
}

void ecg_layer_norm_rows(float *dst, const ecg_operand *also, const ecg_norm_kept *kept, const ecg_product_rows *src,
                         const float *residual, const ecg_norm *norm, int64_t M, int64_t C)
{
    bool keep = kept && kept->normalized;
#pragma omp parallel for schedule(static) if (M * C > ECG_SERIAL_ELEMENTS)
    for (int64_t m = 0; m < M; m++) {
        layer_norm_row(dst + m * C, keep ? kept->normalized + m * C : NULL, keep ? kept->rstd + m : NULL,
                       ecg_finished_row(src, m, C), residual ? residual + m * C : NULL, norm->weight, norm->bias, C);
        if (also && also->type != ECG_F32)
            ecg_store_row(also, m, dst + m * C, C);
    }
}

void ecg_layer_norm_forward(float *dst, const ecg_norm_kept *kept, const float *src, const float *residual,
                            const float *weight, const float *bias, int64_t M, int64_t C)
{
    const ecg_norm norm = {(float *)weight, (float *)bias};
    ecg_layer_norm_rows(dst, NULL, kept, &(const ecg_product_rows){.data = (float *)src}, residual, &norm, M, C);
}

/* One row: with g = diff_dst * weight and x = normalized, rstd * (g - mean(g) - x mean(g x)). */
ECG_KERNEL static void layer_norm_backward_row(float *diff_src, const float *diff_dst, const float *normalized,
                                               float rstd, const float *weight, int64_t C)
{
    float total = 0, product = 0;
#pragma omp simd reduction(+ : total, product)
    for (int64_t c = 0; c < C; c++) {
        float g = diff_dst[c] * weight[c];
        total += g;
        product += g * normalized[c];
    }
    total /= (float)C;
    product /= (float)C;
#pragma omp simd
    for (int64_t c = 0; c < C; c++)
        diff_src[c] = rstd * (diff_dst[c] * weight[c] - total - normalized[c] * product);
}

/* Adds the sums over the rows of diff_dst * normalized and of diff_dst for n channels. */
ECG_KERNEL static void norm_parameters_piece(float *diff_weight, float *diff_bias, const float *diff_dst,
                                             const float *normalized, int64_t M, int64_t C, int64_t n)
{
    double products[ECG_COLUMNS] = {0}, sums[ECG_COLUMNS] = {0};
    for (int64_t m = 0; m < M; m++) {
#pragma omp simd
        for (int64_t c = 0; c < n; c++) {
            products[c] += diff_dst[m * C + c] * normalized[m * C + c];
            sums[c] += diff_dst[m * C + c];
        }
    }
    for (int64_t c = 0; diff_weight && c < n; c++)
        diff_weight[c] += (float)products[c];
    for (int64_t c = 0; diff_bias && c < n; c++)
        diff_bias[c] += (float)sums[c];
}

static void norm_parameters_backward(float *diff_weight, float *diff_bias, const float *diff_dst,
                                     const float *normalized, int64_t M, int64_t C)
{
    if (!diff_weight && !diff_bias)
        return;
#pragma omp parallel for schedule(static) if (M * C > ECG_SERIAL_ELEMENTS)
    for (int64_t c = 0; c < C; c += ECG_COLUMNS)
        norm_parameters_piece(diff_weight ? diff_weight + c : NULL, diff_bias ? diff_bias + c : NULL, diff_dst + c,
                              normalized + c, M, C, C - c < ECG_COLUMNS ? C - c : ECG_COLUMNS);
}

void ecg_layer_norm_backward(float *diff_src, float *diff_weight, float *diff_bias, const float *diff_dst,
                             const ecg_norm_kept *kept, const float *weight, int64_t M, int64_t C)
{
    norm_parameters_backward(diff_weight, diff_bias, diff_dst, kept->normalized, M, C);
    if (!diff_src)
        return;
#pragma omp parallel for schedule(static) if (M * C > ECG_SERIAL_ELEMENTS)
    for (int64_t m = 0; m < M; m++)
        layer_norm_backward_row(diff_src + m * C, diff_dst + m * C, kept->normalized + m * C, kept->rstd[m], weight, C);
}

ECG_KERNEL static void restore_row(float *dst, const float *normalized, const float *weight, const float *bias,
                                   int64_t C)
{
#pragma omp simd
    for (int64_t c = 0; c < C; c++)
        dst[c] = normalized[c] * weight[c] + bias[c];
}

void ecg_norm_restore(float *dst, const float *normalized, const float *weight, const float *bias, int64_t M, int64_t C)
{
#pragma omp parallel for schedule(static) if (M * C > ECG_SERIAL_ELEMENTS)
    for (int64_t m = 0; m < M; m++)
        restore_row(dst + m * C, normalized + m * C, weight, bias, C);
}

/* The channels c0 .. c0+n-1 of one segment; sums over time in double, since there are thousands of terms.
 * The mean is subtracted before the scaling, which may be by 316 where a channel hardly moves; what its
 * rounding to float leaves is put right in the shift. */
ECG_KERNEL static void group_norm_piece(float *dst, float *normalized, float *rstd, const float *src,
                                        const float *weight, const float *bias, int64_t T, int64_t C, int64_t n)
{
    double sum[ECG_COLUMNS] = {0}, squares[ECG_COLUMNS] = {0};
    float mean[ECG_COLUMNS], scale[ECG_COLUMNS], shift[ECG_COLUMNS];
    for (int64_t t = 0; t < T; t++) {
#pragma omp simd
        for (int64_t c = 0; c < n; c++)
            sum[c] += src[t * C + c];
    }
    for (int64_t c = 0; c < n; c++)
        sum[c] /= (double)T;
    for (int64_t t = 0; t < T; t++) {
#pragma omp simd
        for (int64_t c = 0; c < n; c++) {
            double d = src[t * C + c] - sum[c];
            squares[c] += d * d;
        }
    }
    for (int64_t c = 0; c < n; c++) {
        double inverse = 1 / sqrt(squares[c] / (double)T + (double)ECG_NORM_EPS), factor = weight[c] * inverse;
        if (rstd)
            rstd[c] = (float)inverse;
        mean[c] = (float)sum[c];
        scale[c] = (float)factor;
        shift[c] = (float)(bias[c] - (sum[c] - mean[c]) * factor);
    }
    for (int64_t t = 0; t < T; t++) {
        if (normalized) {
#pragma omp simd
            for (int64_t c = 0; c < n; c++)
                normalized[t * C + c] = (src[t * C + c] - mean[c]) * rstd[c];
        }
#pragma omp simd
        for (int64_t c = 0; c < n; c++)
            dst[t * C + c] = (src[t * C + c] - mean[c]) * scale[c] + shift[c];
    }
}

void ecg_group_norm_forward(float *dst, const ecg_norm_kept *kept, const float *src, const float *weight,
                            const float *bias, int64_t B, int64_t T, int64_t C)
{
    int64_t pieces = (C + ECG_COLUMNS - 1) / ECG_COLUMNS;
    bool keep = kept && kept->normalized;
#pragma omp parallel for schedule(static) collapse(2)
    for (int64_t b = 0; b < B; b++) {
        for (int64_t piece = 0; piece < pieces; piece++) {
            int64_t c = piece * ECG_COLUMNS, n = C - c < ECG_COLUMNS ? C - c : ECG_COLUMNS, at = b * T * C + c;
            group_norm_piece(dst + at, keep ? kept->normalized + at : NULL, keep ? kept->rstd + b * C + c : NULL,
                             src + at, weight + c, bias + c, T, C, n);
        }
    }
}

/* n channels of one segment, as layer_norm_backward_row but over time. */
ECG_KERNEL static void group_norm_backward_piece(float *diff_src, const float *diff_dst, const float *normalized,
                                                 const float *rstd, const float *weight, int64_t T, int64_t C,
                                                 int64_t n)
{
    double total[ECG_COLUMNS] = {0}, product[ECG_COLUMNS] = {0};
    for (int64_t t = 0; t < T; t++) {
#pragma omp simd
        for (int64_t c = 0; c < n; c++) {
            total[c] += diff_dst[t * C + c];
            product[c] += diff_dst[t * C + c] * normalized[t * C + c];
        }
    }
    for (int64_t t = 0; t < T; t++) {
#pragma omp simd
        for (int64_t c = 0; c < n; c++)
            diff_src[t * C + c] = rstd[c] * weight[c] *
                                  (diff_dst[t * C + c] - (float)(total[c] / (double)T) -
                                   normalized[t * C + c] * (float)(product[c] / (double)T));
    }
}

void ecg_group_norm_backward(float *diff_src, float *diff_weight, float *diff_bias, const float *diff_dst,
                             const ecg_norm_kept *kept, const float *weight, int64_t B, int64_t T, int64_t C)
{
    int64_t pieces = (C + ECG_COLUMNS - 1) / ECG_COLUMNS;
    norm_parameters_backward(diff_weight, diff_bias, diff_dst, kept->normalized, B * T, C);
#pragma omp parallel for schedule(static) collapse(2)
    for (int64_t b = 0; b < B; b++) {
        for (int64_t piece = 0; piece < pieces; piece++) {
            int64_t c = piece * ECG_COLUMNS, n = C - c < ECG_COLUMNS ? C - c : ECG_COLUMNS, at = b * T * C + c;
            group_norm_backward_piece(diff_src + at, diff_dst + at, kept->normalized + at, kept->rstd + b * C + c,
                                      weight + c, T, C, n);
        }
    }
}

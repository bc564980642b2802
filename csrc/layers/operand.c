/* Between matrix products of a lower precision: what one left becomes what the next one takes, in one pass. */
#include <math.h>
#include <string.h>

#include "../base/convert.h"
#include "elementary.h"
#include "layers.h"
#include "parallel.h"

const float *ecg_load_piece(float *wide, ecg_dtype type, const void *src, int64_t at, int64_t n)
{
    if (type == ECG_F32)
        return (const float *)src + at;
    ecg_from_bf16(wide, (const uint16_t *)src + at, n);
    return wide;
}

void ecg_store_piece(ecg_dtype type, void *dst, int64_t at, const float *src, int64_t n)
{
    if (type == ECG_BF16)
        ecg_to_bf16((uint16_t *)dst + at, src, n);
    else if (src != (float *)dst + at)
        memcpy((float *)dst + at, src, (size_t)n * sizeof *src);
}

void ecg_store_row(const ecg_operand *dst, int64_t row, const float *src, int64_t n)
{
    switch (dst->type) {
    case ECG_BF16:
        ecg_to_bf16((uint16_t *)dst->data + row * n, src, n);
        break;
    case ECG_U8:
        ecg_to_u8((uint8_t *)dst->data + row * n, dst->scale + row, dst->shift + row, src, dst->factors, n);
        break;
    default:
        if (src != (float *)dst->data + row * n)
            memcpy((float *)dst->data + row * n, src, (size_t)n * sizeof *src);
    }
}

/* What is left of a row: its scale, and shift times the sums of the weights. */
ECG_KERNEL static void finish(float *dst, const float *src, float scale, float shift, const float *sums,
                              const float *bias, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        dst[i] = src[i] * scale + (shift * sums[i] + bias[i]);
}

ECG_KERNEL static void finish_gelu(float *dst, const float *src, float scale, float shift, const float *sums,
                                   const float *bias, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        dst[i] = ecg_gelu(src[i] * scale + (shift * sums[i] + bias[i]));
}

const float *ecg_finished_row(const ecg_product_rows *src, int64_t row, int64_t n)
{
    float *values = src->data + row * n;
    if (src->scale)
        finish(values, values, src->scale[row], src->shift[row], src->sums, src->bias, n);
    return values;
}

void ecg_finish_piece(float *dst, const ecg_product_rows *src, int64_t row, int64_t column, int64_t N, int64_t count)
{
    finish(dst, src->data + row * N + column, src->scale[row], src->shift[row], src->sums + column, src->bias + column,
           count);
}

static void convert_row(const ecg_operand *dst, const ecg_product_rows *src, bool with_gelu, int64_t row, int64_t n)
{
    const float *from = src->data + row * n;
    float *to = dst->type == ECG_F32 ? (float *)dst->data + row * n : src->data + row * n;
    if (src->scale)
        (with_gelu ? finish_gelu : finish)(to, from, src->scale[row], src->shift[row], src->sums, src->bias, n);
    else if (with_gelu)
        ecg_gelu_piece(to, from, n);
    else
        to = src->data + row * n;
    ecg_store_row(dst, row, to, n);
}

void ecg_convert_rows(const ecg_operand *dst, const ecg_product_rows *src, bool with_gelu, int64_t M, int64_t N)
{
#pragma omp parallel for schedule(static) if (M * N > ECG_SERIAL_ELEMENTS)
    for (int64_t row = 0; row < M; row++)
        convert_row(dst, src, with_gelu, row, N);
}

void ecg_smoothing(float *factors, const float *weights, const float *magnitudes, int64_t N, int64_t K)
{
    double logarithms = 0;
    for (int64_t k = 0; k < K; k++) {
        float largest = 0;
        for (int64_t n = 0; magnitudes && n < N; n++)
            largest = fmaxf(largest, fabsf(weights[n * K + k]));
        /* A column that is all 0, or that nothing ever enters, has no say. */
        bool counts = largest > 0 && magnitudes[k] > 0;
        factors[k] = counts ? sqrtf(largest / magnitudes[k]) : 1.f;
        logarithms += log(factors[k]);
    }
    float mean = (float)exp(logarithms / (double)K);
    for (int64_t k = 0; k < K; k++)
        factors[k] /= mean;
}

ecg_operand ecg_operand_for(const ecg_linear *weights, const ecg_operand *rows)
{
    ecg_operand chosen = *rows;
    chosen.factors = weights && weights->packed ? weights->packed->factors : NULL;
    return chosen;
}

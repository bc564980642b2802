/* Between matrix products of a lower precision: what one left becomes what the next one takes, in one pass. */
#include <string.h>

#include "../base/convert.h"
#include "elementary.h"
#include "layers.h"
#include "parallel.h"

void ecg_store_row(const ecg_operand *dst, int64_t row, const float *src, int64_t n)
{
    switch (dst->type) {
    case ECG_BF16:
        ecg_to_bf16((uint16_t *)dst->data + row * n, src, n);
        break;
    case ECG_S8:
        dst->scale[row] = ecg_to_s8((int8_t *)dst->data + row * n, src, n);
        break;
    default:
        if (src != (float *)dst->data + row * n)
            memcpy((float *)dst->data + row * n, src, (size_t)n * sizeof *src);
    }
}

ECG_KERNEL static void finish(float *dst, const float *src, float scale, const float *bias, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        dst[i] = src[i] * scale + bias[i];
}

ECG_KERNEL static void finish_gelu(float *dst, const float *src, float scale, const float *bias, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        dst[i] = ecg_gelu(src[i] * scale + bias[i]);
}

ECG_KERNEL static void gelu(float *dst, const float *src, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        dst[i] = ecg_gelu(src[i]);
}

const float *ecg_finished_row(const ecg_product_rows *src, int64_t row, int64_t n)
{
    float *values = src->data + row * n;
    if (src->scale)
        finish(values, values, src->scale[row], src->bias, n);
    return values;
}

static void convert_row(const ecg_operand *dst, const ecg_product_rows *src, bool with_gelu, int64_t row, int64_t n)
{
    const float *from = src->data + row * n;
    float *to = dst->type == ECG_F32 ? (float *)dst->data + row * n : src->data + row * n;
    if (src->scale)
        (with_gelu ? finish_gelu : finish)(to, from, src->scale[row], src->bias, n);
    else if (with_gelu)
        gelu(to, from, n);
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

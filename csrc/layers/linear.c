#include "layers.h"

#include <string.h>

#include "../base/kernel.h"
#include "../base/threads.h"
#include "parallel.h"
#include "products.h"

void ecg_enlarge(ecg_work_sizes *sizes, size_t packed, size_t scratch)
{
    sizes->packed = packed > sizes->packed ? packed : sizes->packed;
    sizes->scratch = scratch > sizes->scratch ? scratch : sizes->scratch;
}

void ecg_linear_free(ecg_linear_ops *ops)
{
    ecg_fresh_free(&ops->forward);
    ecg_fresh_free(&ops->backward);
    ecg_op_free(&ops->gradient);
    ecg_op_free(&ops->first);
}

ecg_status ecg_linear_plan(ecg_linear_ops *ops, const ecg_linear *weights, const ecg_linear_spec *spec, bool backward,
                           ecg_after after)
{
    ops->spec = *spec;
    ops->widened = ecg_widens(spec->weights);
    if (ops->widened) {
        ops->fresh = !weights->packed, ops->trains = backward, ops->after = after, ops->threads = ecg_threads();
        return ECG_OK;
    }
    if (weights->packed)
        ECG_TRY(ecg_op_linear(&ops->forward.run, weights->packed, spec));
    else
        ECG_TRY(ecg_fresh_linear(&ops->forward, spec));
    if (!backward)
        return ECG_OK;
    ECG_TRY(ecg_fresh_linear_backward(&ops->backward, spec, after));
    ECG_TRY(ecg_op_linear_gradient(&ops->gradient, spec, true));
    return ecg_op_linear_gradient(&ops->first, spec, false);
}

void ecg_linear_sizes(const ecg_linear_ops *ops, ecg_work_sizes *sizes)
{
    const ecg_linear_spec *s = &ops->spec;
    if (ops->widened) {
        ecg_enlarge(sizes, ops->fresh ? ecg_panel_bytes(s->K, s->N) : 0, ecg_wide_scratch(ops->threads));
        ecg_enlarge(sizes, ops->trains ? ecg_panel_bytes(s->N, s->K) : 0, 0);
        ecg_enlarge(sizes, ops->trains ? ecg_panel_bytes(s->M, s->K) : 0, 0);
    }
    ecg_enlarge(sizes, 0, ops->forward.run.scratch_bytes); /* of packed weights */
    ecg_enlarge(sizes, ops->forward.packed_bytes, ops->forward.scratch_bytes);
    ecg_enlarge(sizes, ops->backward.packed_bytes, ops->backward.scratch_bytes);
    ecg_enlarge(sizes, 0, ops->gradient.scratch_bytes);
    ecg_enlarge(sizes, 0, ops->first.scratch_bytes);
}

ecg_linear_spec ecg_linear_spec_of(ecg_dtype type, ecg_dtype dst_type, int64_t M, int64_t K, int64_t N)
{
    bool scaled = type == ECG_U8;
    ecg_dtype weights = scaled ? ECG_S8 : type, dst = scaled ? ECG_F32 : dst_type;
    return (ecg_linear_spec){M, K, N, .src = type, .weights = weights, .dst = dst, .bias = !scaled};
}

ecg_product_rows ecg_product_of(float *raw, const ecg_operand *src, const ecg_linear *weights)
{
    if (!src->scale)
        return (ecg_product_rows){.data = raw};
    return (ecg_product_rows){raw, src->scale, src->shift, weights->packed->sums, weights->bias};
}

ecg_status ecg_linear_rows(const ecg_operand *dst, const ecg_operand *src, float *raw, bool gelu,
                           const ecg_linear *weights, ecg_linear_ops *ops, const ecg_work *work)
{
    const ecg_linear_spec *spec = &ops->spec;
    if (spec->dst == dst->type && spec->gelu == gelu && !src->scale)
        return ecg_linear_forward(dst->data, src->data, weights, ops, work);
    ECG_TRY(ecg_linear_forward(raw, src->data, weights, ops, work));
    const ecg_product_rows left = ecg_product_of(raw, src, weights);
    ecg_convert_rows(dst, &left, gelu, spec->M, spec->N);
    return ECG_OK;
}

ecg_status ecg_linear_pack(ecg_packed *dst, const float *src, const ecg_linear_spec *spec)
{
    if (!ecg_widens(spec->weights))
        return ecg_pack_linear(dst, src, spec);
    ecg_packed made = {.rows = spec->N, .columns = spec->K, .bytes = ecg_panel_bytes(spec->K, spec->N)};
    ECG_TRY(ecg_alloc(&made.data, made.bytes));
    ecg_pack_bf16(made.data, src, ECG_F32, true, spec->K, spec->N);
    ecg_packed_free(dst);
    *dst = made;
    return ECG_OK;
}

ecg_status ecg_linear_unpack(float *dst, const ecg_packed *packed)
{
    if (packed->desc)
        return ecg_unpack(dst, packed);
    ecg_unpack_bf16(dst, packed->data, packed->columns, packed->rows);
    return ECG_OK;
}

static void widened_forward(void *dst, const void *src, const ecg_linear *weights, const ecg_linear_ops *ops,
                            const ecg_work *work)
{
    const ecg_linear_spec *s = &ops->spec;
    if (!weights->packed)
        ecg_pack_bf16(work->packed, weights->weight, ECG_F32, true, s->K, s->N);
    const ecg_wide_product product = {.M = s->M,
                                      .K = s->K,
                                      .N = s->N,
                                      .left = src,
                                      .panels = weights->packed ? weights->packed->data : work->packed,
                                      .dst = dst,
                                      .type = s->dst,
                                      .bias = s->bias ? weights->bias : NULL,
                                      .gelu = s->gelu,
                                      .after = s->after};
    ecg_wide_run(&product, ops->threads, work->scratch);
}

static void widened_backward(void *diff_src, const void *factor, const ecg_linear *diff, const void *diff_dst,
                             const void *src, const ecg_linear *weights, const ecg_linear_ops *ops,
                             const ecg_work *work)
{
    const ecg_linear_spec *s = &ops->spec;
    const ecg_wide_product gradient = {.M = s->N,
                                       .K = s->M,
                                       .N = s->K,
                                       .left = diff_dst,
                                       .transposed = true,
                                       .panels = work->packed,
                                       .dst = diff->weight,
                                       .after = work->overwrite ? ECG_WRITE : ECG_ADD};
    const ecg_wide_product source = {.M = s->M,
                                     .K = s->N,
                                     .N = s->K,
                                     .left = diff_dst,
                                     .panels = work->packed,
                                     .dst = diff_src,
                                     .type = s->diff_src,
                                     .after = ops->after,
                                     .factor = factor};
    if (diff->weight) {
        ecg_pack_bf16(work->packed, src, ECG_BF16, false, s->M, s->K);
        ecg_wide_run(&gradient, ops->threads, work->scratch);
    }
    if (!diff_src)
        return;
    ecg_pack_bf16(work->packed, weights->weight, ECG_F32, false, s->N, s->K);
    ecg_wide_run(&source, ops->threads, work->scratch);
}

ecg_status ecg_linear_forward(void *dst, const void *src, const ecg_linear *weights, ecg_linear_ops *ops,
                              const ecg_work *work)
{
    if (ops->widened) {
        widened_forward(dst, src, weights, ops, work);
        return ECG_OK;
    }
    if (weights->packed)
        return ecg_op_run(&ops->forward.run, work->stream, dst, src, weights->packed, weights->bias, work->scratch);
    return ecg_fresh_run(&ops->forward, work->stream, dst, src, weights->weight, weights->bias, work->packed,
                         work->scratch);
}

ECG_KERNEL static void column_sums(float *dst, const float *src, int64_t M, int64_t N, int64_t n)
{
    double sums[ECG_COLUMNS] = {0};
    for (int64_t m = 0; m < M; m++) {
#pragma omp simd
        for (int64_t c = 0; c < n; c++)
            sums[c] += src[m * N + c];
    }
    for (int64_t c = 0; c < n; c++)
        dst[c] += (float)sums[c];
}

ECG_KERNEL static void column_sums_bf16(float *dst, const uint16_t *src, int64_t M, int64_t N, int64_t n)
{
    double sums[ECG_COLUMNS] = {0};
    for (int64_t m = 0; m < M; m++) {
#pragma omp simd
        for (int64_t c = 0; c < n; c++) {
            uint32_t bits = (uint32_t)src[m * N + c] << 16;
            float value;
            memcpy(&value, &bits, sizeof value);
            sums[c] += value;
        }
    }
    for (int64_t c = 0; c < n; c++)
        dst[c] += (float)sums[c];
}

void ecg_bias_backward(float *diff_bias, const void *diff_dst, ecg_dtype type, int64_t M, int64_t N)
{
    if (!diff_bias)
        return;
#pragma omp parallel for schedule(static) if (M * N > ECG_SERIAL_ELEMENTS)
    for (int64_t c = 0; c < N; c += ECG_COLUMNS) {
        int64_t n = N - c < ECG_COLUMNS ? N - c : ECG_COLUMNS;
        if (type == ECG_BF16)
            column_sums_bf16(diff_bias + c, (const uint16_t *)diff_dst + c, M, N, n);
        else
            column_sums(diff_bias + c, (const float *)diff_dst + c, M, N, n);
    }
}

ecg_status ecg_linear_backward(void *diff_src, const ecg_linear *diff, const void *diff_dst, const void *src,
                               const ecg_linear *weights, ecg_linear_ops *ops, const ecg_work *work)
{
    return ecg_linear_backward_times(diff_src, NULL, diff, diff_dst, src, weights, ops, work);
}

ecg_status ecg_linear_backward_times(void *diff_src, const void *factor, const ecg_linear *diff, const void *diff_dst,
                                     const void *src, const ecg_linear *weights, ecg_linear_ops *ops,
                                     const ecg_work *work)
{
    ecg_op *gradient = work->overwrite ? &ops->first : &ops->gradient;
    ecg_bias_backward(diff->bias, diff_dst, ops->spec.weights, ops->spec.M, ops->spec.N);
    if (ops->widened) {
        widened_backward(diff_src, factor, diff, diff_dst, src, weights, ops, work);
        return ECG_OK;
    }
    if (diff->weight)
        ECG_TRY(ecg_op_product_run(gradient, work->stream, diff->weight, diff_dst, src, work->scratch));
    if (!diff_src)
        return ECG_OK;
    return ecg_fresh_run(&ops->backward, work->stream, diff_src, diff_dst, weights->weight, factor, work->packed,
                         work->scratch);
}

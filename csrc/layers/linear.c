#include "layers.h"

#include "../base/kernel.h"
#include "parallel.h"

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

ecg_status ecg_linear_forward(void *dst, const void *src, const ecg_linear *weights, ecg_linear_ops *ops,
                              const ecg_work *work)
{
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

void ecg_bias_backward(float *diff_bias, const float *diff_dst, int64_t M, int64_t N)
{
    if (!diff_bias)
        return;
#pragma omp parallel for schedule(static) if (M * N > ECG_SERIAL_ELEMENTS)
    for (int64_t c = 0; c < N; c += ECG_COLUMNS)
        column_sums(diff_bias + c, diff_dst + c, M, N, N - c < ECG_COLUMNS ? N - c : ECG_COLUMNS);
}

ecg_status ecg_linear_backward(float *diff_src, const ecg_linear *diff, const float *diff_dst, const float *src,
                               const ecg_linear *weights, ecg_linear_ops *ops, const ecg_work *work)
{
    return ecg_linear_backward_times(diff_src, NULL, diff, diff_dst, src, weights, ops, work);
}

ecg_status ecg_linear_backward_times(float *diff_src, const float *factor, const ecg_linear *diff,
                                     const float *diff_dst, const float *src, const ecg_linear *weights,
                                     ecg_linear_ops *ops, const ecg_work *work)
{
    ecg_op *gradient = work->overwrite ? &ops->first : &ops->gradient;
    ecg_bias_backward(diff->bias, diff_dst, ops->spec.M, ops->spec.N);
    if (diff->weight)
        ECG_TRY(ecg_op_product_run(gradient, work->stream, diff->weight, diff_dst, src, work->scratch));
    if (!diff_src)
        return ECG_OK;
    return ecg_fresh_run(&ops->backward, work->stream, diff_src, diff_dst, weights->weight, factor, work->packed,
                         work->scratch);
}

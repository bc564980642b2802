#include "layers.h"

#include <math.h>
#include <string.h>

#include "../base/convert.h"
#include "../base/threads.h"
#include "elementary.h"
#include "parallel.h"

ECG_KERNEL static void softmax_row(float *row, float scale, int64_t n)
{
    float largest = row[0], sum = 0;
#pragma omp simd reduction(max : largest)
    for (int64_t i = 0; i < n; i++)
        largest = row[i] > largest ? row[i] : largest;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) {
        float e = ecg_exp((row[i] - largest) * scale);
        row[i] = e;
        sum += e;
    }
    float inverse = 1.f / sum;
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        row[i] *= inverse;
}

/* In place, in pieces: what is written lies before what is still to be read. */
static void narrow_row(float *row, int64_t n)
{
    uint16_t piece[128];
    for (int64_t i = 0; i < n; i += 128) {
        int64_t count = n - i < 128 ? n - i : 128;
        ecg_to_bf16(piece, row + i, count);
        memcpy((uint16_t *)row + i, piece, (size_t)count * sizeof *piece);
    }
}

void ecg_softmax_forward(float *scores, const int64_t *valid, ecg_dtype type, float scale, int64_t B, int64_t H,
                         int64_t T)
{
#pragma omp parallel for schedule(static) if (B * H * T * T > ECG_SERIAL_ELEMENTS)
    for (int64_t row = 0; row < B * H * T; row++) {
        int64_t n = valid ? valid[row / (H * T)] : T;
        softmax_row(scores + row * T, scale, n);
        memset(scores + row * T + n, 0, (size_t)(T - n) * sizeof *scores);
        if (type == ECG_BF16)
            narrow_row(scores + row * T, T);
    }
}

ECG_KERNEL static void softmax_backward_row(float *diff, const float *weights, float scale, int64_t n)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += diff[i] * weights[i];
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        diff[i] = weights[i] * (diff[i] - sum) * scale;
}

void ecg_softmax_backward(float *diff, const float *weights, float scale, int64_t B, int64_t H, int64_t T)
{
#pragma omp parallel for schedule(static) if (B * H * T * T > ECG_SERIAL_ELEMENTS)
    for (int64_t row = 0; row < B * H * T; row++)
        softmax_backward_row(diff + row * T, weights + row * T, scale, T);
}

static void head_mean_row(float *dst, const float *weights, ecg_dtype type, int64_t H, int64_t T)
{
    float wide[128];
    memset(dst, 0, (size_t)T * sizeof *dst);
    for (int64_t h = 0; h < H; h++) {
        const float *row = weights + h * T * T;
        for (int64_t i = 0; i < T; i += 128) {
            int64_t count = T - i < 128 ? T - i : 128;
            if (type == ECG_BF16)
                ecg_from_bf16(wide, (const uint16_t *)row + i, count);
            ecg_add_piece(dst + i, type == ECG_BF16 ? wide : row + i, count);
        }
    }
    for (int64_t i = 0; i < T; i++)
        dst[i] /= (float)H;
}

void ecg_head_mean_forward(float *dst, const float *weights, ecg_dtype type, int64_t stride, int64_t B, int64_t H,
                           int64_t T)
{
#pragma omp parallel for schedule(static) collapse(2) if (B * H * T * T > ECG_SERIAL_ELEMENTS)
    for (int64_t b = 0; b < B; b++) {
        for (int64_t t = 0; t < T; t++)
            head_mean_row(dst + b * stride + t * T, weights + (b * H * T + t) * T, type, H, T);
    }
}

/* Segments of one product: as few as keep all threads busy, so that what one step writes is still in the cache
 * when the next one reads it. A divisor of B. */
static int64_t segments_at_once(int64_t B, int64_t H)
{
    int64_t n = 1, wanted = 4 * (int64_t)ecg_threads();
    while (n < B && (B % n || n * H < wanted))
        n++;
    return n;
}

ecg_status ecg_attention_plan(ecg_attention_ops *ops, int64_t segments, int64_t H, int64_t T, int64_t D, ecg_dtype type,
                              ecg_dtype dst, bool backward)
{
    int64_t C = H * D, B = segments_at_once(segments, H), step = (int64_t)(sizeof(float) / ecg_dtypes[type].size);
    /* (B, H, rows, columns) views: of the maps, of the heads' output, and of the fused rows. */
    const ecg_view maps = {{H * T * T, T * T, T, 1}, ECG_F32}, maps_transposed = {{H * T * T, T * T, 1, T}, ECG_F32};
    const ecg_view weights = {{step * H * T * T, step * T * T, step * T, 1}, type};
    const ecg_view heads = {{T * C, D, C, 1}, dst}, fused = {{T * 3 * C, D, 3 * C, 1}, type};
    const ecg_view fused_transposed = {{T * 3 * C, D, 1, 3 * C}, type};
    const ecg_matmul_spec scores = {B, H, T, D, T, fused, fused_transposed, maps};
    const ecg_matmul_spec context = {B, H, T, T, D, weights, fused, heads};
    const ecg_matmul_spec diff_weights = {B, H, T, D, T, heads, fused_transposed, maps};
    const ecg_matmul_spec diff_value = {B, H, T, T, D, maps_transposed, heads, fused};
    const ecg_matmul_spec diff_query = {B, H, T, T, D, maps, fused, fused};
    const ecg_matmul_spec diff_key = {B, H, T, T, D, maps_transposed, fused, fused};
    ops->B = B, ops->H = H, ops->T = T, ops->D = D, ops->type = type, ops->dst = dst;
    ops->repeats = segments / B;
    ops->stride = backward ? 0 : B * H * T * T;
    ECG_TRY(ecg_op_matmul(&ops->scores, &scores));
    ECG_TRY(ecg_op_matmul(&ops->context, &context));
    if (!backward)
        return ECG_OK;
    ECG_TRY(ecg_op_matmul(&ops->diff_weights, &diff_weights));
    ECG_TRY(ecg_op_matmul(&ops->diff_value, &diff_value));
    ECG_TRY(ecg_op_matmul(&ops->diff_query, &diff_query));
    return ecg_op_matmul(&ops->diff_key, &diff_key);
}

void ecg_attention_free(ecg_attention_ops *ops)
{
    ecg_op_free(&ops->scores);
    ecg_op_free(&ops->context);
    ecg_op_free(&ops->diff_weights);
    ecg_op_free(&ops->diff_value);
    ecg_op_free(&ops->diff_query);
    ecg_op_free(&ops->diff_key);
}

void ecg_attention_sizes(const ecg_attention_ops *ops, ecg_work_sizes *sizes)
{
    const ecg_op *all[] = {&ops->scores,     &ops->context,    &ops->diff_weights,
                           &ops->diff_value, &ops->diff_query, &ops->diff_key};
    for (int i = 0; i < 6; i++)
        ecg_enlarge(sizes, 0, all[i]->scratch_bytes);
}

static float scale_of(const ecg_attention_ops *ops)
{
    return 1.f / sqrtf((float)ops->D);
}

/* The part of a mask that belongs to segments from `begin` on, n entries a segment. */
static ecg_dropout_mask part_of(const ecg_dropout_mask *mask, int64_t begin, int64_t n)
{
    ecg_dropout_mask part = *mask;
    if (part.keep)
        part.keep += begin * n;
    return part;
}

/* The attention weights of one product, whose first segment is b; returns those after dropout. */
static ecg_status make_weights(const float **dst, float *weights, float *dropped, const void *query, const void *key,
                               const int64_t *valid, int64_t b, const ecg_dropout_mask *part, ecg_attention_ops *ops,
                               const ecg_work *work)
{
    int64_t B = ops->B, H = ops->H, T = ops->T;
    ECG_TRY(ecg_op_product_run(&ops->scores, work->stream, weights, query, key, work->scratch));
    ecg_softmax_forward(weights, valid ? valid + b : NULL, ops->type, scale_of(ops), B, H, T);
    ecg_dropout(dropped, weights, part, B * H * T * T);
    *dst = part->keep ? dropped : weights;
    return ECG_OK;
}

ecg_status ecg_attention_forward(void *context, float *weights, float *dropped, bool whole, const void *qkv,
                                 const int64_t *valid, const ecg_dropout_mask *mask, ecg_attention_ops *ops,
                                 const ecg_work *work)
{
    int64_t B = ops->B, H = ops->H, T = ops->T, C = H * ops->D, maps = H * T * T;
    size_t width = (size_t)C * ecg_dtypes[ops->type].size, dst_width = (size_t)C * ecg_dtypes[ops->dst].size;
    for (int64_t b = 0; b < B * ops->repeats; b += B) {
        const char *rows = (const char *)qkv + (size_t)(b * T * 3) * width;
        char *dst = (char *)context + (size_t)(b * T) * dst_width;
        const float *kept;
        int64_t at = whole ? b / B * ops->stride : 0;
        ecg_dropout_mask part = part_of(mask, b, maps);
        ECG_TRY(make_weights(&kept, weights + at, dropped + at, rows, rows + width, valid, b, &part, ops, work));
        ECG_TRY(ecg_op_product_run(&ops->context, work->stream, dst, kept, rows + 2 * width, work->scratch));
    }
    return ECG_OK;
}

ecg_status ecg_attention_backward(float *diff_qkv, float *weights, float *dropped, float *diff_weights,
                                  const float *diff_context, const float *qkv, const int64_t *valid,
                                  const ecg_dropout_mask *mask, ecg_attention_ops *ops, const ecg_work *work)
{
    int64_t B = ops->B, H = ops->H, T = ops->T, C = H * ops->D, maps = H * T * T;
    for (int64_t b = 0; b < B * ops->repeats; b += B) {
        const float *rows = qkv + b * T * 3 * C, *diff_dst = diff_context + b * T * C, *kept;
        float *diff_rows = diff_qkv + b * T * 3 * C, *diff = diff_weights;
        ecg_dropout_mask part = part_of(mask, b, maps);
        ECG_TRY(make_weights(&kept, weights, dropped, rows, rows + C, valid, b, &part, ops, work));
        ECG_TRY(ecg_op_product_run(&ops->diff_value, work->stream, diff_rows + 2 * C, kept, diff_dst, work->scratch));
        ECG_TRY(ecg_op_product_run(&ops->diff_weights, work->stream, diff, diff_dst, rows + 2 * C, work->scratch));
        ecg_dropout(diff, diff, &part, B * maps);
        ecg_softmax_backward(diff, weights, scale_of(ops), B, H, T);
        ECG_TRY(ecg_op_product_run(&ops->diff_query, work->stream, diff_rows, diff, rows + C, work->scratch));
        ECG_TRY(ecg_op_product_run(&ops->diff_key, work->stream, diff_rows + C, diff, rows, work->scratch));
    }
    return ECG_OK;
}

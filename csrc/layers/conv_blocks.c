#include "conv_blocks.h"

#include <string.h>

#include "../base/memory.h"
#include "blocks.h"
#include "layers.h"

/* The terms of one sum, and the rows that one thread works on at a time. */
#define TERMS 32
#define ROWS 64

/* Below so many terms there is little to gain. */
#define LEAST_TERMS 256

bool ecg_is_conv_blocks(const ecg_conv_spec *s)
{
    return s->src == ECG_F32 && s->weights == ECG_F32 && s->dst == ECG_F32 && s->groups == 1 && !s->pad_left &&
           !s->pad_right && !s->gelu && s->src_channels * s->kernel >= LEAST_TERMS;
}

/* Term k of an element: channel k % I at tap k / I, so that the terms of a row lie one behind another in the source. */
static int64_t place_of(int64_t k, const ecg_conv_spec *s)
{
    return k % s->src_channels * s->kernel + k / s->src_channels;
}

/* Where the terms from k on lie: (whole panels, terms, 32). */
static float *terms_at(const ecg_packed *packed, int64_t k)
{
    return (float *)packed->data + k * ecg_whole_panels(packed->rows);
}

ecg_status ecg_pack_conv_blocks(ecg_packed *dst, const float *src, const ecg_conv_spec *s)
{
    ecg_status status = ECG_OK;
    int64_t O = s->dst_channels, K = s->src_channels * s->kernel;
    ecg_packed made = {.rows = O, .columns = K, .bytes = (size_t)(K * ecg_whole_panels(O)) * sizeof *src};
    float *rows = NULL;
    ECG_TRY_GOTO(ecg_alloc((void **)&rows, (size_t)(O * TERMS) * sizeof *rows));
    ECG_TRY_GOTO(ecg_alloc(&made.data, made.bytes));
    for (int64_t k = 0; k < K; k += TERMS) {
        int64_t terms = K - k < TERMS ? K - k : TERMS;
        for (int64_t i = 0; i < O * terms; i++)
            rows[i] = src[i / terms * K + place_of(k + i % terms, s)];
        ecg_pack_panels_transposed(terms_at(&made, k), rows, terms, terms, O);
    }
    ecg_packed_free(dst);
    *dst = made;
    made = (ecg_packed){0};
fail:
    ecg_packed_free(&made);
    ecg_free(rows);
    return status;
}

void ecg_unpack_conv_blocks(float *dst, const ecg_packed *packed, const ecg_conv_spec *s)
{
    int64_t O = packed->rows, K = packed->columns;
    for (int64_t i = 0; i < O * K; i++) {
        int64_t o = i / K, k = i % K, first = k / TERMS * TERMS, terms = K - first < TERMS ? K - first : TERMS;
        const float *panel = terms_at(packed, first) + o / ECG_PANEL * terms * ECG_PANEL;
        dst[o * K + place_of(k, s)] = panel[(k - first) * ECG_PANEL + o % ECG_PANEL];
    }
}

/* Rows of the result from `dst` on; `src` is where the first begins, each is `step` elements further on. */
static void forward_rows(float *dst, const float *src, int64_t step, const ecg_packed *weights, const float *bias,
                         int64_t rows)
{
    float left[ROWS * TERMS] __attribute__((aligned(64)));
    int64_t O = weights->rows, K = weights->columns;
    for (int64_t k = 0; k < K; k += TERMS) {
        int64_t terms = K - k < TERMS ? K - k : TERMS;
        for (int64_t m = 0; m < rows; m++)
            memcpy(left + m * TERMS, src + m * step + k, (size_t)terms * sizeof *left);
        ecg_block_product(dst, O, (ecg_left){left, TERMS, 1}, terms_at(weights, k), rows, terms, O,
                          k ? ECG_SUMS_ADDED : ECG_SUMS_NEW);
    }
    for (int64_t m = 0; bias && m < rows; m++)
        ecg_add_piece(dst + m * O, bias, O);
}

void ecg_conv_blocks_forward(float *dst, const float *src, const ecg_packed *weights, const float *bias,
                             const ecg_conv_spec *s)
{
    int64_t steps = ecg_conv_dst_steps(s), step = s->stride * s->src_channels;
#pragma omp parallel for schedule(dynamic) collapse(2)
    for (int64_t b = 0; b < s->batch; b++) {
        for (int64_t t = 0; t < steps; t += ROWS)
            forward_rows(dst + (b * steps + t) * s->dst_channels, src + b * s->src_steps * s->src_channels + t * step,
                         step, weights, bias, steps - t < ROWS ? steps - t : ROWS);
    }
}

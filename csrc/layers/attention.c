#include "attention.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "../base/convert.h"
#include "../base/threads.h"
#include "blocks.h"
#include "elementary.h"

/* The queries of a block. */
#define QUERIES 32

/* What one thread works in, for one head. */
typedef struct {
    float *rows;    /* (T, D): keys or values, where they come in another form, as float32 */
    float *keys;    /* key^T (D, T) as panels */
    float *values;  /* value (T, D) as panels */
    float *query;   /* (QUERIES, D): the block's queries / sqrt(D); then its context, where that has another type */
    float *weights; /* (QUERIES, T whole panels) */
    float *dropped; /* the same, after dropout */
    /* Of the backward: */
    float *values_transposed; /* value^T (D, T) as panels */
    float *key_rows;          /* key (T, D) as panels */
    float *query_rows;        /* the block's queries / sqrt(D) (QUERIES, D) as panels */
    float *diff_rows;         /* the block's gradient of the context (QUERIES, D) as panels */
    float *diff_weights;      /* (QUERIES, T whole panels) */
    float *diff_key;          /* (T, D) */
    float *diff_value;        /* (T, D) */
    float *diff_query;        /* (QUERIES, D), where it has another type */
} head_work;

/* Whether query, key and value can be used where they lie. */
static bool is_plain(const ecg_attention_shape *shape)
{
    return shape->type == ECG_F32 && !shape->scaled;
}

/* Lays the work out in the arena; with base NULL to measure. */
static head_work lay_out(ecg_arena *arena, const ecg_attention_shape *shape, bool backward)
{
    int64_t T = shape->T, D = shape->D, wide_T = ecg_whole_panels(T), wide_D = ecg_whole_panels(D);
    head_work work = {.keys = ecg_arena_tensor(arena, ECG_F32, wide_T, D, 1),
                      .query = ecg_arena_tensor(arena, ECG_F32, QUERIES, D, 1),
                      .weights = ecg_arena_tensor(arena, ECG_F32, QUERIES, wide_T, 1)};
    if (!is_plain(shape))
        work.rows = ecg_arena_tensor(arena, ECG_F32, T, D, 1);
    if (!backward) {
        work.values = ecg_arena_tensor(arena, ECG_F32, T, wide_D, 1);
        work.dropped = work.weights;
        return work;
    }
    work.dropped = ecg_arena_tensor(arena, ECG_F32, QUERIES, wide_T, 1);
    work.values_transposed = ecg_arena_tensor(arena, ECG_F32, wide_T, D, 1);
    work.key_rows = ecg_arena_tensor(arena, ECG_F32, T, wide_D, 1);
    work.query_rows = ecg_arena_tensor(arena, ECG_F32, QUERIES, wide_D, 1);
    work.diff_rows = ecg_arena_tensor(arena, ECG_F32, QUERIES, wide_D, 1);
    work.diff_weights = ecg_arena_tensor(arena, ECG_F32, QUERIES, wide_T, 1);
    work.diff_key = ecg_arena_tensor(arena, ECG_F32, T, D, 1);
    work.diff_value = ecg_arena_tensor(arena, ECG_F32, T, D, 1);
    if (!is_plain(shape))
        work.diff_query = ecg_arena_tensor(arena, ECG_F32, QUERIES, D, 1);
    return work;
}

/* The bytes of one thread's work. */
static int64_t bytes_of(const ecg_attention_shape *shape, bool backward)
{
    ecg_arena arena = {0};
    lay_out(&arena, shape, backward);
    return arena.overflow ? -1 : (int64_t)arena.peak;
}

int64_t ecg_attention_scratch(const ecg_attention_shape *shape, bool backward)
{
    int64_t bytes = bytes_of(shape, backward), total;
    return ecg_product(&total, 2, (const int64_t[]){bytes, shape->threads}) ? total : -1;
}

/* This thread's work. */
static head_work own_work(void *scratch, const ecg_attention_shape *shape, bool backward)
{
    ecg_arena arena = {.base = (unsigned char *)scratch + omp_get_thread_num() * bytes_of(shape, backward)};
    return lay_out(&arena, shape, backward);
}

static int threads_of(const ecg_attention_shape *shape)
{
    return ecg_threads() < shape->threads ? ecg_threads() : shape->threads;
}

/* ---- rows ---- */

ECG_KERNEL static void scale_row(float *dst, const float *src, float scale, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        dst[i] = src[i] * scale;
}

/* row = softmax of row (n). */
ECG_KERNEL static void softmax_row(float *row, int64_t n)
{
    float largest = row[0], sum = 0;
#pragma omp simd reduction(max : largest)
    for (int64_t i = 0; i < n; i++)
        largest = row[i] > largest ? row[i] : largest;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) {
        float x = row[i] - largest, e = ecg_exp_within(x < -80.f ? -80.f : x); /* e / sum is not denormal */
        row[i] = e;
        sum += e;
    }
    float inverse = 1.f / sum;
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        row[i] *= inverse;
}

/* diff of the weights (n) becomes that of the scores. */
ECG_KERNEL static void softmax_backward_row(float *diff, const float *weights, int64_t n)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += diff[i] * weights[i];
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        diff[i] = weights[i] * (diff[i] - sum);
}

/* Of one row of head h: the mean over the heads, when the last has been here. */
ECG_KERNEL static void add_to_mean(float *mean, const float *weights, int64_t h, int64_t H, int64_t n)
{
    float divisor = h == H - 1 ? (float)H : 1.f;
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        mean[i] = ((h ? mean[i] : 0.f) + weights[i]) / divisor;
}

/* Row t of query (part 0), key (1) or value (2) of a head, where it lies or as float32 in `wide` (D). */
static const float *row_of(const ecg_product_rows *qkv, const ecg_attention_shape *shape, int64_t part, int64_t b,
                           int64_t h, int64_t t, float *wide)
{
    int64_t row = b * shape->T + t, column = (part * shape->H + h) * shape->D,
            at = row * 3 * shape->H * shape->D + column;
    if (is_plain(shape))
        return qkv->data + at;
    if (shape->scaled)
        ecg_finish_piece(wide, qkv, row, column, 3 * shape->H * shape->D, shape->D);
    else
        ecg_from_bf16(wide, (const uint16_t *)qkv->data + at, shape->D);
    return wide;
}

/* The first n rows of key or value, and how far they lie apart. */
static const float *rows_of(const ecg_product_rows *qkv, const ecg_attention_shape *shape, int64_t part, int64_t b,
                            int64_t h, int64_t n, float *wide, int64_t *stride)
{
    *stride = is_plain(shape) ? 3 * shape->H * shape->D : shape->D;
    for (int64_t t = 0; wide && t < n; t++)
        row_of(qkv, shape, part, b, h, t, wide + t * shape->D);
    return wide ? wide : row_of(qkv, shape, part, b, h, 0, NULL);
}

/* ---- a block of queries ---- */

/* Where a block is: queries t .. t + count - 1 of head h of segment b, and its n keys. */
typedef struct {
    int64_t b, h, t, count, n;
} block;

/* work->weights = the attention weights of a block; work->query = its queries / sqrt(D). */
static void make_weights(const head_work *work, const ecg_product_rows *qkv, const block *at,
                         const ecg_attention_shape *shape)
{
    int64_t D = shape->D, stride = ecg_whole_panels(shape->T);
    float scale = 1.f / sqrtf((float)D);
    for (int64_t i = 0; i < at->count; i++)
        scale_row(work->query + i * D, row_of(qkv, shape, 0, at->b, at->h, at->t + i, work->query + i * D), scale, D);
    ecg_block_product(work->weights, stride, (ecg_left){work->query, D, 1}, work->keys, at->count, D,
                      ecg_whole_panels(at->n), false);
    for (int64_t i = 0; i < at->count; i++)
        softmax_row(work->weights + i * stride, at->n);
}

/* dst = rows of a block (n entries each) after dropout; the same rows where nothing is dropped. */
static const float *drop(float *dst, const float *src, const ecg_dropout_mask *mask, const block *at,
                         const ecg_attention_shape *shape)
{
    int64_t stride = ecg_whole_panels(shape->T), row = (at->b * shape->H + at->h) * shape->T + at->t;
    if (!mask->keep)
        return src;
    for (int64_t i = 0; i < at->count; i++)
        ecg_dropout_piece(dst + i * stride, src + i * stride, mask->keep + (row + i) * shape->T, mask->scale, at->n);
    return dst;
}

static void show(const ecg_attention_maps *maps, const head_work *work, const block *at,
                 const ecg_attention_shape *shape)
{
    int64_t T = shape->T;
    for (int64_t i = 0; i < at->count; i++) {
        float *mean = maps->mean + at->b * maps->stride + (at->t + i) * T;
        add_to_mean(mean, work->weights + i * ecg_whole_panels(T), at->h, shape->H, at->n);
        memset(mean + at->n, 0, (size_t)(T - at->n) * sizeof *mean);
    }
}

/* The context of a block from its weights. */
static void make_context(void *context, const head_work *work, const float *weights, const block *at,
                         const ecg_attention_shape *shape)
{
    int64_t D = shape->D, C = shape->H * D, first = (at->b * shape->T + at->t) * C + at->h * D;
    bool direct = shape->dst == ECG_F32;
    float *dst = direct ? (float *)context + first : work->query;
    ecg_block_product(dst, direct ? C : D, (ecg_left){weights, ecg_whole_panels(shape->T), 1}, work->values, at->count,
                      at->n, D, false);
    for (int64_t i = 0; !direct && i < at->count; i++)
        ecg_to_bf16((uint16_t *)context + first + i * C, dst + i * D, D);
}

/* ---- a head ---- */

/* The forward of queries begin .. end - 1 of head h of segment b. */
static void attend(void *context, const ecg_attention_maps *maps, const head_work *work, const ecg_product_rows *qkv,
                   const int64_t *valid, const ecg_dropout_mask *mask, int64_t b, int64_t h, int64_t begin, int64_t end,
                   const ecg_attention_shape *shape)
{
    int64_t stride, D = shape->D, n = valid ? valid[b] : shape->T;
    const float *keys = rows_of(qkv, shape, 1, b, h, n, work->rows, &stride);
    ecg_pack_panels_transposed(work->keys, keys, stride, D, n);
    const float *values = rows_of(qkv, shape, 2, b, h, n, work->rows, &stride);
    ecg_pack_panels(work->values, values, stride, n, D);
    for (int64_t t = begin; t < end; t += QUERIES) {
        const block at = {b, h, t, end - t < QUERIES ? end - t : QUERIES, n};
        make_weights(work, qkv, &at, shape);
        if (maps->mean)
            show(maps, work, &at, shape);
        make_context(context, work, drop(work->dropped, work->weights, mask, &at, shape), &at, shape);
    }
}

/* Into how many parts the queries of a head are divided: as few as give each thread two pieces of work. */
static int64_t parts_of(int64_t pieces, const ecg_attention_shape *shape)
{
    int64_t blocks = (shape->T + QUERIES - 1) / QUERIES, parts = 1;
    while (parts < blocks && pieces * parts < 2 * shape->threads)
        parts++;
    return parts;
}

void ecg_attention_forward(void *context, const ecg_attention_maps *maps, const ecg_product_rows *qkv,
                           const int64_t *valid, const ecg_dropout_mask *mask, const ecg_attention_shape *shape,
                           void *scratch)
{
    /* A piece of work is a part of a head, or of all heads, where their mean is wanted: one thread adds it up. */
    int64_t heads = maps->mean ? shape->H : 1, pieces = shape->B * shape->H / heads, parts = parts_of(pieces, shape);
    int64_t blocks = (shape->T + QUERIES - 1) / QUERIES;
#pragma omp parallel num_threads(threads_of(shape))
    {
        const head_work work = own_work(scratch, shape, false);
#pragma omp for schedule(dynamic)
        for (int64_t piece = 0; piece < pieces * parts; piece++) {
            int64_t first = piece / parts * heads, part = piece % parts, end = blocks * (part + 1) / parts * QUERIES;
            for (int64_t head = first; head < first + heads; head++)
                attend(context, maps, &work, qkv, valid, mask, head / shape->H, head % shape->H,
                       blocks * part / parts * QUERIES, end < shape->T ? end : shape->T, shape);
        }
    }
}

/* The backward of a block: the gradient of its queries, from element `first` on, and its part of those of keys and
 * values. */
static void block_backward(void *diff_qkv, int64_t first, const head_work *work, const float *diff_context,
                           const ecg_product_rows *qkv, const ecg_dropout_mask *mask, const block *at,
                           const ecg_attention_shape *shape)
{
    int64_t D = shape->D, C = shape->H * D, stride = ecg_whole_panels(shape->T), n = at->n, count = at->count;
    const float *diff = diff_context + (at->b * shape->T + at->t) * C + at->h * D;
    bool add = at->t > 0, plain = is_plain(shape);
    float *diff_query = plain ? (float *)diff_qkv + first : work->diff_query;
    int64_t query_stride = plain ? 3 * C : D;
    make_weights(work, qkv, at, shape);
    const float *weights = drop(work->dropped, work->weights, mask, at, shape);
    ecg_pack_panels(work->diff_rows, diff, C, count, D);
    ecg_block_product(work->diff_value, D, (ecg_left){weights, 1, stride}, work->diff_rows, n, count, D, add);
    ecg_block_product(work->diff_weights, stride, (ecg_left){diff, C, 1}, work->values_transposed, count, D,
                      ecg_whole_panels(n), false);
    drop(work->diff_weights, work->diff_weights, mask, at, shape);
    for (int64_t i = 0; i < count; i++)
        softmax_backward_row(work->diff_weights + i * stride, work->weights + i * stride, n);
    ecg_block_product(diff_query, query_stride, (ecg_left){work->diff_weights, stride, 1}, work->key_rows, count, n, D,
                      false);
    for (int64_t i = 0; i < count; i++) {
        float *row = diff_query + i * query_stride;
        scale_row(row, row, 1.f / sqrtf((float)D), D);
        ecg_store_piece(shape->type, diff_qkv, first + i * 3 * C, row, D);
    }
    ecg_pack_panels(work->query_rows, work->query, D, count, D);
    ecg_block_product(work->diff_key, D, (ecg_left){work->diff_weights, 1, stride}, work->query_rows, n, count, D, add);
}

/* Rows of a head's gradient of keys or values from element `first` on; 0 beyond the n that count. */
static void store_rows(void *dst, int64_t first, const float *src, int64_t n, const ecg_attention_shape *shape)
{
    static const float zeros[ECG_PANEL];
    int64_t D = shape->D, stride = 3 * shape->H * D;
    for (int64_t t = 0; t < shape->T; t++, first += stride) {
        if (t < n)
            ecg_store_piece(shape->type, dst, first, src + t * D, D);
        for (int64_t i = 0; t >= n && i < D; i += ECG_PANEL)
            ecg_store_piece(shape->type, dst, first + i, zeros, D - i < ECG_PANEL ? D - i : ECG_PANEL);
    }
}

void ecg_attention_backward(void *diff_qkv, const float *diff_context, const void *data, const int64_t *valid,
                            const ecg_dropout_mask *mask, const ecg_attention_shape *shape, void *scratch)
{
    const ecg_product_rows qkv = {.data = (float *)data};
    int64_t T = shape->T, D = shape->D, H = shape->H, C = H * D;
#pragma omp parallel num_threads(threads_of(shape))
    {
        const head_work work = own_work(scratch, shape, true);
#pragma omp for schedule(dynamic)
        for (int64_t head = 0; head < shape->B * H; head++) {
            int64_t b = head / H, h = head % H, n = valid ? valid[b] : T, first = b * T * 3 * C + h * D, stride;
            const float *values = rows_of(&qkv, shape, 2, b, h, n, work.rows, &stride);
            ecg_pack_panels_transposed(work.values_transposed, values, stride, D, n);
            const float *keys = rows_of(&qkv, shape, 1, b, h, n, work.rows, &stride);
            ecg_pack_panels_transposed(work.keys, keys, stride, D, n);
            ecg_pack_panels(work.key_rows, keys, stride, n, D);
            for (int64_t t = 0; t < T; t += QUERIES) {
                const block at = {b, h, t, T - t < QUERIES ? T - t : QUERIES, n};
                block_backward(diff_qkv, first + t * 3 * C, &work, diff_context, &qkv, mask, &at, shape);
            }
            store_rows(diff_qkv, first + C, work.diff_key, n, shape);
            store_rows(diff_qkv, first + 2 * C, work.diff_value, n, shape);
        }
    }
}

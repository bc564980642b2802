/* Tests of the kernels without Python, to be built with the address and undefined-behaviour sanitizers.
 * Every buffer is an allocation of its exact size, so that a read or write beside it is found; results are
 * compared with plain loops in double. Prints the failed checks and returns how many there were (at most 99). */
#include <math.h>

#include "../../csrc/base/convert.h"
#include "../../csrc/base/memory.h"
#include "../../csrc/base/peak.h"
#include "../../csrc/base/threads.h"
#include "../../csrc/layers/attention.h"
#include "../../csrc/layers/blocks.h"
#include "../../csrc/layers/conv_blocks.h"
#include "../../csrc/layers/elementary.h"
#include "../../csrc/layers/layers.h"
#include "../../csrc/engine/passes.h"
#include "../../csrc/signal/signal.h"
#include "check.h"
#include "model.h"

/* ---- elementary functions ---- */

static double normal_cdf(double x)
{
    return 0.5 * erfc(-x * sqrt(0.5));
}

static void test_exp(void)
{
    for (double x = -87; x < 88; x += 0.00731) {
        double expected = exp((double)(float)x), error = fabs(ecg_exp((float)x) - expected) / expected;
        CHECK(error < 2e-7, "exp(%g) is off by %g", x, error);
    }
    CHECK(ecg_exp(-1e30f) >= 0 && ecg_exp(-1e30f) < 2e-38f, "exp of a very negative number");
    CHECK(ecg_exp(0.f) == 1.f, "exp(0)");
}

static void test_gelu(void)
{
    int64_t n = 40001;
    float *x = floats(n), *y = floats(n);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(i - n / 2) * 1e-3f;
    ecg_gelu_forward(y, x, n);
    for (int64_t i = 0; i < n; i++) {
        double expected = x[i] * normal_cdf(x[i]);
        /* x / sqrt 2 and its square are rounded (2.5e-7 together), which the exponential turns into a relative error. */
        double limit = (4e-7 + 2.5e-7 * x[i] * x[i] / 2) * fabs(expected) + 1e-36;
        CHECK(fabs(y[i] - expected) <= limit, "gelu(%g) = %g, not %g", x[i], y[i], expected);
    }
    free(x);
    free(y);
}

/* ---- norms ---- */

static void test_layer_norm(void)
{
    const int64_t rows[] = {1, 3, 50}, widths[] = {1, 2, 7, 32, 33, 768, 1024};
    for (int r = 0; r < COUNT(rows); r++) {
        for (int w = 0; w < COUNT(widths); w++) {
            int64_t M = rows[r], C = widths[w];
            float *src = numbers(M * C, 2, 0.5f), *residual = numbers(M * C, 1, 0), *dst = floats(M * C);
            float *weight = numbers(C, 0.2f, 1), *bias = numbers(C, 0.1f, 0);
            for (int with = 0; with < 2; with++) {
                ecg_layer_norm_forward(dst, NULL, src, with ? residual : NULL, weight, bias, M, C);
                for (int64_t m = 0; m < M; m++) {
                    double mean = 0, variance = 0;
                    for (int64_t c = 0; c < C; c++)
                        mean += (src[m * C + c] + (with ? residual[m * C + c] : 0.)) / (double)C;
                    for (int64_t c = 0; c < C; c++)
                        variance += pow(src[m * C + c] + (with ? residual[m * C + c] : 0.) - mean, 2) / (double)C;
                    for (int64_t c = 0; c < C; c++) {
                        double s = src[m * C + c] + (with ? residual[m * C + c] : 0.);
                        double expected = (s - mean) / sqrt(variance + 1e-5) * weight[c] + bias[c];
                        /* One value's own rounding is magnified by 1 / sqrt(eps) where a row has no variance. */
                        double limit = C == 1 ? 1e-4 : 4e-6 / fmin(1, sqrt(variance));
                        CHECK(fabs(dst[m * C + c] - expected) < limit, "M %d C %d", (int)M, (int)C);
                    }
                }
            }
            ecg_layer_norm_forward(src, NULL, src, residual, weight, bias, M, C); /* in place */
            CHECK(memcmp(src, dst, (size_t)(M * C) * sizeof *dst) == 0, "in place, M %d C %d", (int)M, (int)C);
            free(src), free(residual), free(dst), free(weight), free(bias);
        }
    }
}

static void test_group_norm(void)
{
    const int64_t times[] = {1, 2, 37, 1250}, widths[] = {1, 31, 32, 33, 256};
    for (int t = 0; t < COUNT(times); t++) {
        for (int w = 0; w < COUNT(widths); w++) {
            int64_t B = 2, T = times[t], C = widths[w];
            float *src = numbers(B * T * C, 1, 3), *dst = floats(B * T * C);
            float *weight = numbers(C, 0.2f, 1), *bias = numbers(C, 0.1f, 0);
            ecg_group_norm_forward(dst, NULL, src, weight, bias, B, T, C);
            for (int64_t i = 0; i < B * C; i++) {
                const float *column = src + i / C * T * C + i % C;
                double mean = 0, variance = 0, worst = 0;
                for (int64_t k = 0; k < T; k++)
                    mean += column[k * C] / (double)T;
                for (int64_t k = 0; k < T; k++)
                    variance += pow(column[k * C] - mean, 2) / (double)T;
                for (int64_t k = 0; k < T; k++) {
                    double expected = (column[k * C] - mean) / sqrt(variance + 1e-5) * weight[i % C] + bias[i % C];
                    worst = fmax(worst, fabs(dst[i / C * T * C + i % C + k * C] - expected));
                }
                CHECK(worst < 4e-6, "T %d C %d: %g", (int)T, (int)C, worst);
            }
            ecg_group_norm_forward(src, NULL, src, weight, bias, B, T, C);
            CHECK(memcmp(src, dst, (size_t)(B * T * C) * sizeof *dst) == 0, "in place");
            free(src), free(dst), free(weight), free(bias);
        }
    }
}

static void test_weight_norm(void)
{
    const int64_t taps[] = {1, 2, 15, 32, 33, 128};
    for (int i = 0; i < COUNT(taps); i++) {
        int64_t O = 6, S = 5, K = taps[i];
        float *v = numbers(O * S * K, 1, 0), *g = numbers(K, 1, 2), *dst = floats(O * S * K);
        float *norms = floats(K);
        ecg_weight_norm_forward(dst, NULL, v, g, O, S, K);
        ecg_tap_norms(norms, v, O, S, K);
        for (int64_t k = 0; k < K; k++) {
            double norm = 0;
            for (int64_t r = 0; r < O * S; r++)
                norm += (double)v[r * K + k] * v[r * K + k];
            CHECK(fabs(norms[k] - sqrt(norm)) < 1e-6, "the norm of tap %d is %g", (int)k, norms[k]);
            for (int64_t r = 0; r < O * S; r++)
                CHECK(fabs(dst[r * K + k] - g[k] * v[r * K + k] / sqrt(norm)) < 1e-6, "K %d", (int)K);
        }
        free(v), free(g), free(dst), free(norms);
    }
}

/* v is had back to the bit, whatever its scale and that of g: at powers of two, at 0 and below the smallest normal
 * number; or it is said that it is not. */
static void test_weight_norm_undone(void)
{
    const float scales[] = {1, 1e-3f, 777, 1e-18f, 1e18f, 1e-38f, 0, INFINITY};
    for (int i = 0; i < COUNT(scales) * COUNT(scales); i++) {
        const int64_t O = 7, S = 9, K = 33;
        float scale = scales[i % COUNT(scales)], gain = scales[i / COUNT(scales)];
        float *v = numbers(O * S * K, 1, 0), *g = numbers(K, 1, 2), *dst = floats(O * S * K), *back = floats(O * S * K);
        float *factors = floats(K);
        uint8_t *steps = malloc(ECG_STEPS_BYTES(O, S, K));
        for (int64_t j = 0; j < O * S * K; j++)
            v[j] = (j % 5 == 0 ? ldexpf(j % 2 ? 1 : -1, (int)(j % 7)) : j % 11 == 0 ? 0 : v[j]) * scale;
        for (int64_t k = 0; k < K; k++)
            g[k] *= gain;
        ecg_weight_norm_forward(dst, factors, v, g, O, S, K);
        bool found = ecg_weight_norm_steps(steps, dst, factors, v, O, S, K);
        bool plain = scale > 0 && scale < 1e19f && scale > 1e-19f && gain > 0 && gain < 1e19f && gain > 1e-19f;
        CHECK(found || !plain, "no way back at %g, %g", scale, gain);
        ecg_weight_norm_undo(back, dst, factors, steps, O, S, K);
        CHECK(!found || memcmp(back, v, (size_t)(O * S * K) * sizeof *v) == 0, "another v at %g, %g", scale, gain);
        ecg_weight_norm_undo(dst, dst, factors, steps, O, S, K);
        CHECK(memcmp(back, dst, (size_t)(O * S * K) * sizeof *v) == 0, "in place");
        free(v), free(g), free(dst), free(back), free(factors), free(steps);
    }
}

/* ---- rows ---- */

static void test_rows(void)
{
    const int64_t sizes[] = {1, 2, 31, 33, 4095, 4096, 4097, 20000};
    for (int i = 0; i < COUNT(sizes); i++) {
        int64_t n = sizes[i];
        float *x = numbers(n, 1, 0), *y = numbers(n, 1, 0), *sum = copy(y, n);
        ecg_add_forward(sum, x, n);
        for (int64_t k = 0; k < n; k++)
            CHECK(sum[k] == y[k] + x[k], "add, n %d", (int)n);
        CHECK(ecg_first_not_finite(x, n) == -1, "n %d", (int)n);
        x[n - 1] = NAN;
        CHECK(ecg_first_not_finite(x, n) == n - 1, "NaN at the end, n %d", (int)n);
        x[n / 2] = -INFINITY;
        CHECK(ecg_first_not_finite(x, n) == n / 2, "infinity, n %d", (int)n);
        x[0] = INFINITY;
        CHECK(ecg_first_not_finite(x, n) == 0, "infinity at the start, n %d", (int)n);
        free(x), free(y), free(sum);
    }
    const int64_t shapes[][3] = {{1, 1, 1}, {2, 3, 5}, {1, 12, 2500}, {3, 33, 31}, {2, 64, 32}};
    for (int i = 0; i < COUNT(shapes); i++) {
        int64_t B = shapes[i][0], R = shapes[i][1], C = shapes[i][2];
        float *src = numbers(B * R * C, 1, 0), *dst = floats(B * R * C);
        ecg_transpose(dst, src, B, R, C);
        for (int64_t k = 0; k < B * R * C; k++) {
            int64_t b = k / (R * C), r = k / C % R, c = k % C;
            CHECK(dst[(b * C + c) * R + r] == src[k], "transpose %d %d %d", (int)B, (int)R, (int)C);
        }
        free(src), free(dst);
    }
}

static void test_padding_and_pooling(void)
{
    const int64_t widths[] = {1, 31, 32, 33, 768};
    const int64_t valid[3] = {5, 1, 3};
    for (int i = 0; i < COUNT(widths); i++) {
        int64_t B = 3, T = 5, C = widths[i];
        float *x = numbers(B * T * C, 1, 2), *before = copy(x, B * T * C), *pooled = floats(B * C);
        ecg_zero_padding(x, NULL, B, T, C);
        CHECK(memcmp(x, before, (size_t)(B * T * C) * sizeof *x) == 0, "no padding");
        ecg_zero_padding(x, valid, B, T, C);
        ecg_pool_forward(pooled, x, B, T, C);
        for (int64_t b = 0; b < B; b++) {
            for (int64_t c = 0; c < C; c++) {
                double sum = 0;
                for (int64_t t = 0; t < T; t++) {
                    int64_t k = (b * T + t) * C + c;
                    CHECK(x[k] == (t < valid[b] ? before[k] : 0), "padding");
                    sum += x[k];
                }
                CHECK(fabs(pooled[b * C + c] - sum / (double)valid[b]) < 1e-6, "pooling, C %d", (int)C);
            }
        }
        memset(x, 0, (size_t)(B * T * C) * sizeof *x);
        ecg_pool_forward(pooled, x, B, T, C);
        CHECK(isnan(pooled[0]), "a channel of zeros has no mean");
        free(x), free(before), free(pooled);
    }
}

/* ---- oneDNN ---- */

static void test_linear(void)
{
    const int64_t shapes[][3] = {{1, 1, 1}, {2, 3, 5}, {7, 33, 17}, {156, 64, 192}, {1, 768, 17}};
    ecg_stream *stream;
    CHECK(ecg_stream_create(&stream) == ECG_OK, "stream");
    for (int i = 0; i < COUNT(shapes); i++) {
        int64_t M = shapes[i][0], K = shapes[i][1], N = shapes[i][2];
        float *src = numbers(M * K, 1, 0), *weights = numbers(N * K, 1, 0), *bias = numbers(N, 1, 0);
        float *dst = floats(M * N), *back = floats(N * K);
        ecg_packed packed = {0};
        ecg_op op = {0};
        CHECK(ecg_pack_linear(&packed, weights, ECG_LINEAR(1248, K, N)) == ECG_OK, "%s", ecg_message());
        CHECK(ecg_unpack(back, &packed) == ECG_OK, "%s", ecg_message());
        CHECK(memcmp(back, weights, (size_t)(N * K) * sizeof *back) == 0, "packing loses bits");
        CHECK(ecg_op_linear(&op, &packed, ECG_LINEAR(M, K, N)) == ECG_OK, "%s", ecg_message());
        CHECK(!strstr(op.implementation, "ref"), "a fallback: %s", op.implementation);
        void *scratch = get(op.scratch_bytes);
        CHECK(ecg_op_run(&op, stream, dst, src, &packed, bias, scratch) == ECG_OK, "%s", ecg_message());
        for (int64_t k = 0; k < M * N; k++) {
            double sum = bias[k % N];
            for (int64_t j = 0; j < K; j++)
                sum += (double)src[k / N * K + j] * weights[k % N * K + j];
            CHECK(fabs(dst[k] - sum) < 2e-5, "M %d K %d N %d", (int)M, (int)K, (int)N);
        }
        ecg_op_free(&op);
        ecg_op_free(&op); /* twice does no harm */
        ecg_packed_free(&packed);
        free(scratch), free(src), free(weights), free(bias), free(dst), free(back);
    }
    ecg_stream_destroy(stream);
    ecg_stream_destroy(NULL);
}

static void check_conv(ecg_stream *stream, ecg_conv_spec s, bool with_bias)
{
    s.bias = with_bias;
    int64_t I = s.src_channels / s.groups, O = s.dst_channels, T = ecg_conv_dst_steps(&s);
    float *src = numbers(s.batch * s.src_steps * s.src_channels, 1, 0), *weights = numbers(O * I * s.kernel, 1, 0);
    float *bias = numbers(O, 1, 0), *dst = floats(s.batch * T * O), *back = floats(O * I * s.kernel);
    ecg_packed packed = {0};
    ecg_op op = {0};
    CHECK(ecg_pack_conv(&packed, weights, &s) == ECG_OK, "%s", ecg_message());
    CHECK(ecg_unpack(back, &packed) == ECG_OK, "%s", ecg_message());
    CHECK(memcmp(back, weights, (size_t)(O * I * s.kernel) * sizeof *back) == 0, "packing loses bits");
    CHECK(ecg_op_conv(&op, &packed, &s) == ECG_OK, "%s", ecg_message());
    void *scratch = get(op.scratch_bytes);
    CHECK(ecg_op_run(&op, stream, dst, src, &packed, with_bias ? bias : NULL, scratch) == ECG_OK, "%s", ecg_message());
    for (int64_t k = 0; k < s.batch * T * O; k++) {
        int64_t b = k / (T * O), t = k / O % T, o = k % O, group = o / (O / s.groups);
        double sum = with_bias ? bias[o] : 0;
        for (int64_t j = 0; j < s.kernel; j++) {
            int64_t from = t * s.stride + j - s.pad_left;
            for (int64_t c = 0; from >= 0 && from < s.src_steps && c < I; c++)
                sum += (double)src[(b * s.src_steps + from) * s.src_channels + group * I + c] *
                       weights[(o * I + c) * s.kernel + j];
        }
        CHECK(fabs(dst[k] - sum) < 1e-4, "%s: %g, not %g", op.implementation, dst[k], sum);
    }
    ecg_op_free(&op);
    ecg_packed_free(&packed);
    free(scratch), free(src), free(weights), free(bias), free(dst), free(back);
}

static void test_conv(void)
{
    ecg_stream *stream;
    CHECK(ecg_stream_create(&stream) == ECG_OK, "stream");
    const int64_t shapes[][9] = {
        {2, 50, 12, 16, 1, 2, 2, 0, 0},  {1, 7, 3, 5, 1, 7, 1, 0, 0},    {3, 20, 16, 9, 1, 3, 2, 0, 0},
        {2, 11, 16, 16, 4, 16, 1, 8, 7}, {1, 4, 32, 32, 1, 15, 1, 7, 7}, {1, 1, 32, 32, 32, 128, 1, 64, 63},
        {2, 9, 33, 33, 3, 5, 1, 2, 2},
    };
    for (int i = 0; i < COUNT(shapes); i++) {
        const int64_t *n = shapes[i];
        ecg_conv_spec spec = {.batch = n[0],
                              .src_steps = n[1],
                              .src_channels = n[2],
                              .dst_channels = n[3],
                              .groups = n[4],
                              .kernel = n[5],
                              .stride = n[6],
                              .pad_left = n[7],
                              .pad_right = n[8]};
        check_conv(stream, spec, true);
        check_conv(stream, spec, false);
    }
    ecg_stream_destroy(stream);
}

/* ---- products of blocks ---- */

static void check_block(int64_t M, int64_t K, int64_t N, bool transposed, ecg_sums sums)
{
    int64_t stride = N + 3, wide = ecg_whole_panels(N);
    float *left = numbers(M * K, 1, 0), *right = numbers(K * N, 1, 0), *panels = floats(wide * K);
    float *dst = numbers(M * stride, 1, 0), *before = copy(dst, M * stride), *swapped = floats(M * K);
    for (int64_t i = 0; i < M * K; i++)
        swapped[i % K * M + i / K] = left[i];
    if (transposed) {
        float *rows = floats(K * N);
        for (int64_t i = 0; i < K * N; i++)
            rows[i % N * K + i / N] = right[i];
        ecg_pack_panels_transposed(panels, rows, K, K, N);
        free(rows);
    } else {
        ecg_pack_panels(panels, right, N, K, N);
    }
    for (int64_t i = 0; i < wide * K; i++) {
        int64_t n = i / (K * ECG_PANEL) * ECG_PANEL + i % ECG_PANEL, k = i / ECG_PANEL % K;
        CHECK(panels[i] == (n < N ? right[k * N + n] : 0), "panel entry %d", (int)i);
    }
    for (int along = 0; along < 2; along++) { /* the left factor by rows, and by columns */
        float *found = copy(before, M * stride);
        ecg_left factor = along ? (ecg_left){swapped, 1, M} : (ecg_left){left, K, 1};
        ecg_block_product(found, stride, factor, panels, M, K, N, sums);
        for (int64_t m = 0; m < M; m++) {
            for (int64_t n = 0; n < stride; n++) {
                double sum = n >= N || sums != ECG_SUMS_NEW ? before[m * stride + n] : 0;
                for (int64_t k = 0; n < N && k < K; k++)
                    sum += (double)left[m * K + k] * right[k * N + n];
                CHECK(fabs(found[m * stride + n] - sum) <= (n < N ? 2e-7 * (double)(K + 1) : 0),
                      "%d x %d x %d: (%d, %d)", (int)M, (int)K, (int)N, (int)m, (int)n);
            }
        }
        free(found);
    }
    free(left), free(right), free(panels), free(dst), free(before), free(swapped);
}

static void test_blocks(void)
{
    const int64_t shapes[][3] = {{1, 1, 1},     {3, 5, 31},  {7, 4, 32}, {8, 3, 33},
                                 {13, 64, 156}, {32, 2, 64}, {39, 9, 70}};
    for (int i = 0; i < COUNT(shapes) * 6; i++)
        check_block(shapes[i / 6][0], shapes[i / 6][1], shapes[i / 6][2], i % 2, (ecg_sums)(i / 2 % 3));
}

/* Convolutions as products of blocks: near those in double, nearer than one sum of all terms, and the same bits for a
 * segment alone. */
static void check_conv_blocks(const ecg_conv_spec *s, bool with_bias)
{
    int64_t I = s->src_channels, O = s->dst_channels, T = ecg_conv_dst_steps(s), K = I * s->kernel;
    int64_t size = s->src_steps * I;
    float *src = numbers(s->batch * size, 1, 0), *weights = numbers(O * K, 1, 0), *bias = numbers(O, 1, 0);
    float *dst = floats(s->batch * T * O), *back = floats(O * K), *alone = floats(T * O);
    ecg_packed packed = {0};
    double error = 0, of_one_sum = 0;
    CHECK(ecg_is_conv_blocks(s), "this one runs otherwise");
    CHECK(ecg_pack_conv_blocks(&packed, weights, s) == ECG_OK, "%s", ecg_message());
    ecg_unpack_conv_blocks(back, &packed, s);
    CHECK(memcmp(back, weights, (size_t)(O * K) * sizeof *back) == 0, "packing loses bits");
    ecg_conv_blocks_forward(dst, src, &packed, with_bias ? bias : NULL, s);
    for (int64_t i = 0; i < s->batch * T * O; i++) {
        int64_t o = i % O;
        const float *from = src + i / (T * O) * size + i / O % T * s->stride * I;
        double sum = 0;
        float one = 0;
        for (int64_t k = 0; k < K; k++) {
            sum += (double)from[k] * weights[o * K + k % I * s->kernel + k / I];
            one = fmaf(from[k], weights[o * K + k % I * s->kernel + k / I], one);
        }
        of_one_sum += pow(one - sum, 2);
        sum += with_bias ? bias[o] : 0;
        CHECK(fabs(dst[i] - sum) < 4e-5, "%g, not %g", dst[i], sum);
        error += pow(dst[i] - sum, 2);
    }
    CHECK(with_bias || K < 500 || sqrt(error) < 0.55 * sqrt(of_one_sum), "%g of %g", sqrt(error), sqrt(of_one_sum));
    ecg_conv_spec single = *s;
    single.batch = 1;
    ecg_conv_blocks_forward(alone, src + (s->batch - 1) * size, &packed, with_bias ? bias : NULL, &single);
    CHECK(memcmp(alone, dst + (s->batch - 1) * T * O, (size_t)(T * O) * sizeof *dst) == 0, "other bits alone");
    ecg_packed_free(&packed);
    free(src), free(weights), free(bias), free(dst), free(back), free(alone);
}

static void test_conv_blocks(void)
{
    /* batch, src_steps, src_channels, dst_channels, kernel, stride */
    const int64_t shapes[][6] = {{2, 40, 256, 256, 2, 2},
                                 {3, 9, 130, 33, 2, 1},
                                 {2, 141, 90, 7, 3, 2},
                                 {1, 5, 67, 1, 5, 1},
                                 {2, 150, 64, 40, 4, 9}};
    for (int i = 0; i < COUNT(shapes); i++) {
        const int64_t *n = shapes[i];
        ecg_conv_spec spec = {.batch = n[0],
                              .src_steps = n[1],
                              .src_channels = n[2],
                              .dst_channels = n[3],
                              .groups = 1,
                              .kernel = n[4],
                              .stride = n[5]};
        check_conv_blocks(&spec, true);
        check_conv_blocks(&spec, false);
        spec.pad_left = 1;
        CHECK(!ecg_is_conv_blocks(&spec), "padding");
    }
}

/* ---- attention ---- */

/* Context (B, T, C) and the mean of the weights over heads (B, T, T), in double. */
static void expect_attention(double *context, double *mean, const float *qkv, const int64_t *valid,
                             const ecg_attention_shape *s)
{
    int64_t T = s->T, D = s->D, C = s->H * D;
    double *p = get((size_t)T * sizeof *p);
    memset(mean, 0, (size_t)(s->B * T * T) * sizeof *mean);
    for (int64_t row = 0; row < s->B * s->H * T; row++) {
        int64_t b = row / (s->H * T), h = row / T % s->H, t = row % T;
        const float *base = qkv + b * T * 3 * C + h * D;
        double total = 0, largest = -1e300;
        for (int64_t k = 0; k < T; k++) {
            p[k] = 0;
            for (int64_t d = 0; d < D; d++)
                p[k] += (double)base[t * 3 * C + d] * base[k * 3 * C + C + d] / sqrt((double)D);
            largest = k < valid[b] ? fmax(largest, p[k]) : largest;
        }
        for (int64_t k = 0; k < T; k++)
            total += p[k] = k < valid[b] ? exp(p[k] - largest) : 0;
        for (int64_t k = 0; k < T; k++)
            mean[(b * T + t) * T + k] += p[k] / total / (double)s->H;
        for (int64_t d = 0; d < D; d++) {
            double sum = 0;
            for (int64_t k = 0; k < T; k++)
                sum += p[k] / total * base[k * 3 * C + 2 * C + d];
            context[(b * T + t) * C + h * D + d] = sum;
        }
    }
    free(p);
}

/* `size`: how large queries, keys and values are; scores grow with its square. */
static void check_attention(ecg_attention_shape shape, float size)
{
    int64_t B = shape.B, T = shape.T, C = shape.H * shape.D, n = B * T * C, *valid = get((size_t)B * sizeof *valid);
    bool rounded = shape.type == ECG_BF16;
    float *qkv = numbers(3 * n, size, 0), *map = floats(B * T * T), *context = floats(n), *first = floats(n);
    double *expected = get((size_t)n * sizeof *expected), *mean = get((size_t)(B * T * T) * sizeof *mean);
    uint16_t *narrow = get((size_t)(3 * n) * sizeof *narrow);
    ecg_to_bf16(narrow, qkv, 3 * n);
    if (rounded)
        ecg_from_bf16(qkv, narrow, 3 * n);
    for (int64_t b = 0; b < B; b++)
        valid[b] = b ? (T + 1) / 2 : T;
    ecg_product_rows rows = {.data = rounded ? (float *)narrow : copy(qkv, 3 * n)};
    if (shape.scaled) { /* what a product left, and the values of that */
        rows.scale = numbers(B * T, 0.1f, 1), rows.shift = numbers(B * T, 1, 0);
        rows.sums = numbers(3 * C, 1, 0), rows.bias = numbers(3 * C, 1, 0);
        for (int64_t i = 0; i < 3 * n; i++) {
            int64_t row = i / (3 * C), c = i % (3 * C);
            qkv[i] = rows.data[i] * rows.scale[row] + (rows.shift[row] * rows.sums[c] + rows.bias[c]);
        }
    }
    expect_attention(expected, mean, qkv, valid, &shape);
    for (int run = 0; run < 6; run++) { /* with other threads, and with maps or without: the same bits */
        const ecg_attention_maps maps = {.mean = run % 2 ? map : NULL, .stride = T * T};
        const ecg_dropout_mask none = {0};
        ecg_set_threads(shape.threads = 1 + run / 2);
        void *scratch = get((size_t)ecg_attention_scratch(&shape, false));
        ecg_attention_forward(context, &maps, &rows, valid, &none, &shape, scratch);
        free(scratch);
        size_t bytes = (size_t)n * ecg_dtypes[shape.dst].size;
        CHECK(run == 0 || memcmp(context, first, bytes) == 0, "run %d differs", run);
        memcpy(first, context, bytes);
    }
    if (shape.dst == ECG_BF16)
        ecg_from_bf16(first, (const uint16_t *)context, n);
    for (int64_t i = 0; i < n; i++)
        CHECK(fabs(first[i] - expected[i]) < (shape.dst == ECG_BF16 ? size / 256 : 2e-6 * (1 + size * size)),
              "context");
    for (int64_t i = 0; i < B * T * T; i++)
        CHECK(fabs(map[i] - mean[i]) < 1e-6 * (1 + size * size) && (mean[i] > 0 || map[i] == 0), "map");
    free((void *)rows.scale), free((void *)rows.shift), free((void *)rows.sums), free((void *)rows.bias);
    free(rounded ? NULL : rows.data), free(valid), free(qkv), free(map), free(context), free(first), free(expected);
    free(mean), free(narrow);
}

static void test_attention(void)
{
    const int64_t shapes[][4] = {{1, 1, 1, 1},   {2, 3, 5, 4},    {1, 4, 33, 8},
                                 {2, 2, 64, 33}, {3, 1, 131, 70}, {2, 12, 20, 64}};
    for (int i = 0; i < COUNT(shapes) * 4; i++) {
        const int64_t *n = shapes[i / 4], kind = i % 4;
        ecg_attention_shape shape = {n[0], n[1], n[2], n[3], .scaled = kind == 3};
        shape.type = kind == 1 || kind == 2 ? ECG_BF16 : ECG_F32;
        shape.dst = kind == 2 ? ECG_BF16 : ECG_F32;
        check_attention(shape, 2);
        check_attention(shape, 9); /* one weight is nearly 1 */
    }
    const ecg_attention_shape huge = {1, 1, INT64_MAX / 8, 64, ECG_F32, ECG_F32, .threads = 2};
    CHECK(ecg_attention_scratch(&huge, false) < 0, "more memory than there can be");
}

/* ---- sizes ---- */

static void test_sizes(void)
{
    int64_t product;
    CHECK(ecg_product(&product, 3, (int64_t[]){3, 5, 7}) && product == 105, "product");
    CHECK(!ecg_product(&product, 2, (int64_t[]){INT64_MAX, 2}), "an overflow is not seen");
    CHECK(!ecg_product(&product, 2, (int64_t[]){-1, 2}), "a negative size is not seen");
    ecg_arena arena = {0};
    CHECK(!ecg_arena_take(&arena, 10, 4) && arena.peak == 64 && !arena.overflow, "measuring");
    ecg_arena_take(&arena, INT64_MAX, 8);
    CHECK(arena.overflow, "an overflow of the arena is not seen");
}

/* ---- the model ---- */

static void test_model(void)
{
    const int64_t lengths[] = {16, 17, 100, 1203};
    ecg_config configs[4] = {small_config(), small_config(), small_config(), small_config()};
    configs[1].norm_first = configs[1].conv_bias = configs[1].extractor_layer_norm = true;
    configs[2].convs[3].channels = 32; /* as wide as the encoder: no projection */
    configs[2].conv_pos = 15;
    configs[3].C = 33, configs[3].H = 3, configs[3].F = 7, configs[3].conv_pos_groups = 11, configs[3].labels = 1;
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < COUNT(lengths); j++) {
            int64_t B = 3, N = lengths[j], steps[ECG_MAX_CONVS + 1];
            ecg_config_steps(&configs[i], N, steps);
            int64_t T = steps[configs[i].conv_count], valid[3] = {N, 16, N / 2 > 16 ? N / 2 : 16};
            float *logits = floats(B * configs[i].labels), *tokens = floats(B * T * configs[i].C);
            float *attention = floats(B * configs[i].layers * T * T);
            CHECK(whole_path(&configs[i], ECG_FLOAT32, B, N, valid, logits, tokens, attention) == ECG_OK, "%s",
                  ecg_message());
            for (int64_t k = 0; k < B * configs[i].labels; k++)
                CHECK(isfinite(logits[k]), "config %d, N %d", i, (int)N);
            free(logits), free(tokens), free(attention);
        }
    }
}

typedef struct {
    int left, seen; /* asks until the answer is to stop */
} patience;

static ecg_status ask(void *context)
{
    patience *p = context;
    p->seen++;
    return p->left-- > 0 ? ECG_OK : ecg_fail(ECG_INTERRUPTED, "enough");
}

/* Segments that threads share: the same bits as on one thread, and an end as soon as the caller wants one. */
static void test_shares(void)
{
    ecg_config c = small_config();
    ecg_model model;
    state = 77;
    CHECK(ecg_model_create(&model, &c, ECG_FLOAT32) == ECG_OK && fill(&model) == ECG_OK, "%s", ecg_message());
    int64_t B = 7, N = 203, T = ecg_config_tokens(&c, N);
    float *src = numbers(B * c.leads * N, 1, 0), *logits = floats(B * c.labels), *tokens = floats(B * T * c.C);
    float *expected = floats(B * c.labels), *rows = floats(B * T * c.C);
    ecg_request request = {.B = B, .N = N, .src = src, .logits = expected, .outputs = {.tokens = rows, .layer = -1}};
    ecg_set_threads(1);
    CHECK(ecg_model_forward(&model, &request) == ECG_OK, "%s", ecg_message());
    ecg_set_threads(2);
    request.logits = logits, request.outputs.tokens = tokens;
    ecg_status status = ECG_INTERRUPTED;
    for (int looks = 0; status == ECG_INTERRUPTED && looks < 100; looks++) {
        patience p = {looks, 0};
        request.outputs.poll = (ecg_poll){ask, &p};
        status = ecg_model_forward(&model, &request);
        CHECK(status == ECG_OK || (p.seen == looks + 1 && strcmp(ecg_message(), "enough") == 0), "%s", ecg_message());
    }
    CHECK(status == ECG_OK && memcmp(logits, expected, (size_t)(B * c.labels) * sizeof *logits) == 0, "logits");
    CHECK(memcmp(tokens, rows, (size_t)(B * T * c.C) * sizeof *tokens) == 0, "tokens");
    free(src), free(logits), free(tokens), free(expected), free(rows);
    ecg_model_free(&model);
}

/* Places in a block: groups together in the order of their parts, nothing overlaps, each group is aligned. */
static void check_places(const ecg_table *table)
{
    int64_t *offsets = get((size_t)table->count * sizeof *offsets), end;
    bool *chosen = get((size_t)table->count * sizeof *chosen);
    for (int64_t i = 0; i < table->count; i++)
        chosen[i] = !(table->parameters[i].flags & ECG_P_EXTRACTOR);
    end = ecg_table_place(table, offsets, chosen, false, ecg_table_place(table, offsets, chosen, true, 0));
    uint8_t *taken = get((size_t)end);
    memset(taken, 0, (size_t)end);
    for (int64_t i = 0; i < table->count; i++) {
        const ecg_parameter *p = &table->parameters[i], *first = &table->parameters[p->first];
        CHECK(offsets[i] >= 0 && offsets[i] + p->count <= end, "%s lies outside", p->name);
        for (int64_t k = 0; k < p->count; k++)
            CHECK(!taken[offsets[i] + k]++, "%s lies on another", p->name);
        CHECK(offsets[i] - offsets[p->first] == (p->part - first->part) * p->count, "%s is out of its group", p->name);
        CHECK(p->part || offsets[i] % 16 == 0, "%s is not aligned", p->name);
        CHECK(first->layer == p->layer && first->field == p->field && first->flags == p->flags, "group of %s", p->name);
    }
    free(offsets), free(chosen), free(taken);
}

static bool not_zero(const void *memory, size_t bytes)
{
    const uint8_t *at = memory;
    for (size_t i = 0; i < bytes; i++) {
        if (at[i])
            return true;
    }
    return false;
}

/* What a row says is so: each tensor has a pointer of its own, a group one for all. */
static void test_rows_of_the_table(void)
{
    for (int kind = 0; kind < ECG_KINDS; kind++) {
        ecg_config config = small_config();
        config.kind = (ecg_kind)kind, config.conv_bias = config.extractor_layer_norm = kind != ECG_ENCODER;
        config.latent_vars = 3, config.latent_groups = 2, config.final_dim = 6, config.target_glu = true;
        ecg_table table;
        ecg_network network;
        const ecg_head_rows *rows = ecg_rows_of(ecg_head_of(config.kind));
        CHECK(ecg_table_create(&table, &config, rows) == ECG_OK, "%s", ecg_message());
        check_places(&table);
        int64_t matrices = 0, layer_matrices = 0;
        for (int64_t i = 0; i < table.count; i++) {
            const ecg_parameter *p = &table.parameters[i];
            float value;
            CHECK(ecg_network_create(&network, &config, rows) == ECG_OK, "%s", ecg_message());
            bool in_head = p->flags & ECG_P_HEAD, in_layer = p->flags & ECG_P_LAYER, front = p->part == 0;
            size_t layers = (size_t)config.layers * sizeof *network.layers, head = rows ? rows->weights : 0;
            ecg_network before = network;
            ecg_network_connect(&network, p, &value);
            CHECK(not_zero(network.layers, layers) == (in_layer && front), "place of %s", p->name);
            CHECK(not_zero(network.head, head) == in_head, "place of %s", p->name);
            CHECK((memcmp(&before, &network, sizeof network) != 0) == (!in_layer && !in_head), "place of %s", p->name);
            ecg_network_free(&network);
            matrices += (p->flags & ECG_P_MATRIX) != 0;
            layer_matrices += (p->flags & ECG_P_LAYER) && (p->flags & ECG_P_MATRIX);
            CHECK(!(p->flags & ECG_P_PACKED) || p->ndim >= 2, "%s is packed", p->name);
        }
        const int64_t of_heads[ECG_KINDS] = {0, 1, 4};
        CHECK(layer_matrices == 6 * config.layers, "%d matrices of layers", (int)layer_matrices);
        CHECK(matrices == layer_matrices + 1 + of_heads[kind], "%d matrices", (int)matrices);
        ecg_table_free(&table);
    }
}

/* The k-th allocation fails, for every k: an error, no leak (the sanitizer looks at exit), no crash. */
static void test_failing_allocations(void)
{
    ecg_config config = small_config();
    float logits[25];
    ecg_status status = ECG_NO_MEMORY;
    int k = 0;
    while (status != ECG_OK && k < 1000) {
        ecg_fail_allocation(++k);
        status = whole_path(&config, ECG_FLOAT32, 5, 64, NULL, logits, NULL, NULL);
        CHECK(status == ECG_OK || status == ECG_NO_MEMORY, "allocation %d: %s", k, ecg_message());
    }
    ecg_fail_allocation(0);
    CHECK(k > 20 && k < 1000, "%d allocations", k);
}

static void test_refusals(void)
{
    ecg_config config = small_config();
    ecg_model model;
    ecg_plan *plan;
    CHECK(ecg_model_create(&model, &config, ECG_FLOAT32) == ECG_OK, "%s", ecg_message());
    CHECK(ecg_model_finish(&model) == ECG_BAD_STATE, "nothing was set");
    CHECK(fill(&model) == ECG_OK, "%s", ecg_message());
    CHECK(ecg_plan_create(&plan, &config, &model.network, 1, 15, 1, NULL) == ECG_BAD_ARGUMENT, "too short");
    CHECK(ecg_plan_create(&plan, &config, &model.network, 0, 100, 1, NULL) == ECG_BAD_ARGUMENT, "no segment");
    CHECK(ecg_plan_create(&plan, &config, &model.network, INT64_MAX / 4, 100, 1, NULL) == ECG_NO_MEMORY, "overflow");
    CHECK(ecg_plan_create(&plan, &config, &model.network, 1, INT64_MAX / 4, 1, NULL) == ECG_NO_MEMORY, "overflow");
    ecg_model_free(&model);

    struct {
        int64_t *field, value;
    } wrong[] = {
        {&config.layers, 0},
        {&config.C, 0},
        {&config.C, INT64_MAX},
        {&config.H, 5},
        {&config.H, 0},
        {&config.F, -1},
        {&config.leads, 0},
        {&config.conv_count, 0},
        {&config.conv_count, ECG_MAX_CONVS + 1},
        {&config.conv_pos, 0},
        {&config.conv_pos_groups, 3},
        {&config.conv_pos_groups, 0},
        {&config.labels, 0},
        {&config.convs[1].kernel, 0},
        {&config.convs[1].stride, 0},
        {&config.convs[1].channels, INT64_MAX},
    };
    for (int i = 0; i < COUNT(wrong); i++) {
        int64_t right = *wrong[i].field;
        *wrong[i].field = wrong[i].value;
        CHECK(ecg_config_check(&config) == ECG_BAD_CONFIG, "wrong value %d is accepted", i);
        *wrong[i].field = right;
    }
    CHECK(ecg_config_check(&config) == ECG_OK, "%s", ecg_message());
}

/* ---- whole recordings ---- */

static void check_recording(int64_t N, int64_t M, int64_t leads, int64_t size)
{
    double *x = get((size_t)(N * leads) * sizeof *x), *y = get((size_t)(M * leads) * sizeof *y);
    double *mean = get((size_t)leads * sizeof *mean), *std = get((size_t)leads * sizeof *std);
    int64_t *nans = get((size_t)leads * sizeof *nans), n = M / size;
    bool *constant = get((size_t)leads * sizeof *constant);
    float *segments = floats(n * leads * size);
    for (int64_t i = 0; i < N * leads; i++)
        x[i] = i % leads == 0 ? 0.7 : 3 + uniform();
    ecg_moments_double(mean, std, nans, constant, x, N, leads);
    CHECK(constant[0] && nans[0] == 0 && fabs(mean[0] - 0.7) < 1e-12, "a constant lead");
    CHECK(leads == 1 || constant[leads - 1] == (N == 1), "a lead with change");
    ecg_resample_double(y, x, (ecg_reading){N, M, 0, M}, leads);
    for (int64_t first = 0, count = 1; first < M; first += count, count = count % 5 + 1) { /* in parts */
        ecg_reading part = {N, M, first, first + count < M ? count : M - first};
        int64_t begin, end;
        ecg_reading_reach(&begin, &end, part);
        CHECK(0 <= begin && begin < end && end <= N, "samples %lld to %lld", (long long)begin, (long long)end);
        size_t size_of_part = (size_t)(part.count * leads) * sizeof *y,
               needed = (size_t)((end - begin) * leads) * sizeof *x;
        double *z = get(size_of_part), *samples = get(needed); /* their own memory: the sanitizer sees a step beyond */
        memcpy(samples, x + begin * leads, needed);
        ecg_resample_double(z, samples, part, leads);
        CHECK(memcmp(z, y + first * leads, size_of_part) == 0, "a part differs from the whole");
        free(z), free(samples);
    }
    for (int64_t l = 0; l < leads; l++) {
        CHECK(y[l] == x[l], "the first sample");
        CHECK(M == 1 || fabs(y[(M - 1) * leads + l] - x[(N - 1) * leads + l]) < 1e-12, "the last sample");
    }
    CHECK(ecg_standardise(y, mean, std, M, leads, leads % 2 ? 1e-8 : 0, leads % 2, ECG_CONSTANT_ZERO) == ECG_OK, "%s",
          ecg_message());
    CHECK(std[0] == 0 && y[0] == 0 && y[(M - 1) * leads] == 0, "a constant lead becomes zero");
    ecg_cut(segments, y, n, size, leads);
    for (int64_t i = 0; i < n * size; i++)
        for (int64_t l = 0; l < leads; l++)
            CHECK(segments[(i / size * leads + l) * size + i % size] == (float)y[i * leads + l], "sample %d", (int)i);
    free(x), free(y), free(mean), free(std), free(nans), free(constant), free(segments);
}

static void test_recordings(void)
{
    const int64_t sizes[][2] = {{1, 1},     {1, 5},    {2, 1},     {2, 9},  {100, 100},
                                {100, 125}, {100, 50}, {257, 500}, {257, 3}};
    for (int i = 0; i < COUNT(sizes); i++)
        for (int64_t leads = 1; leads < 14; leads += 6)
            check_recording(sizes[i][0], sizes[i][1], leads, 7);
}

/* ---- threads and memory that are not there ---- */

static void test_expectations(void)
{
    CHECK(ecg_threads_prove(1) == ECG_OK && ecg_threads_prove(3) == ECG_OK, "%s", ecg_message());
    CHECK(ecg_expect_memory(1 << 20) == ECG_OK, "%s", ecg_message());
    CHECK(ecg_expect_memory((size_t)1 << 62) == ECG_NO_MEMORY, "2^62 bytes");
}

static void test_peaks(void)
{
    for (int type = 0; type < ECG_DTYPES; type++) {
        double peak = 0;
        ecg_status status = ecg_measure_peak(&peak, 2, 0, type);
        CHECK(status == ECG_OK ? peak > 0 : status == ECG_BAD_ARGUMENT && type != ECG_F32, "peak of type %d", type);
    }
    double peak = 0;
    CHECK(ecg_measure_peak(&peak, 1, 0, ECG_DTYPES) == ECG_BAD_ARGUMENT, "the peak of no type");
}

int main(void)
{
    ecg_set_threads(2);
    CHECK(ecg_threads_begin(NULL) == ECG_OK, "two threads");
    test_expectations();
    test_peaks();
    test_exp();
    test_gelu();
    test_layer_norm();
    test_group_norm();
    test_weight_norm();
    test_weight_norm_undone();
    test_rows();
    test_padding_and_pooling();
    test_linear();
    test_conv();
    test_blocks();
    test_conv_blocks();
    test_attention();
    test_sizes();
    test_model();
    test_shares();
    test_rows_of_the_table();
    test_failing_allocations();
    test_refusals();
    test_recordings();
    return finish();
}

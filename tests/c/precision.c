/* Tests of what runs in bfloat16 and int8, without Python and under the sanitizers: conversions, rows between products,
 * products, whole models. Results are compared with plain loops in double. */
#include <math.h>

#include "../../csrc/base/convert.h"
#include "../../csrc/base/threads.h"
#include "../../csrc/layers/elementary.h"
#include "../../csrc/layers/products.h"
#include "check.h"
#include "model.h"

static float wide(uint16_t upper)
{
    uint32_t bits = (uint32_t)upper << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Each upper half with lower halves around the middle: to the nearest, and to even between two. */
static void test_bf16(void)
{
    const uint32_t lower[] = {0, 1, 0x7fff, 0x8000, 0x8001, 0xffff};
    int64_t n = 65536;
    float *src = floats(n), *back = floats(n);
    uint16_t *dst = get((size_t)n * sizeof *dst);
    for (int l = 0; l < COUNT(lower); l++) {
        for (int64_t i = 0; i < n; i++) {
            uint32_t bits = (uint32_t)i << 16 | lower[l];
            memcpy(src + i, &bits, sizeof bits);
        }
        ecg_to_bf16(dst, src, n);
        ecg_from_bf16(back, dst, n);
        for (int64_t i = 0; i < n; i++) {
            CHECK(isnan(src[i]) ? isnan(back[i]) : 1, "NaN %llx", (unsigned long long)i);
            if (isnan(src[i]))
                continue;
            bool up = lower[l] > 0x8000 || (lower[l] == 0x8000 && (i & 1));
            CHECK(dst[i] == (uint16_t)(i + up), "%a became %x", src[i], dst[i]);
            CHECK(memcmp(&back[i], &(float){wide(dst[i])}, sizeof(float)) == 0, "%x back", dst[i]);
        }
    }
    free(src), free(dst), free(back);
}

static void test_s8_and_u8(void)
{
    const int64_t lengths[] = {1, 2, 15, 16, 33, 768};
    for (int l = 0; l < COUNT(lengths) * 5; l++) {
        int64_t n = lengths[l / 5];
        int kind = l % 5; /* plain, with factors, all equal, tiny, one-sided */
        float *src = numbers(n, kind == 3 ? 1e-30f : 3, kind == 4 ? 40 : 0), *factors = numbers(n, 0.5f, 1);
        float scale, shift, ones[768];
        int8_t *signs = get((size_t)n);
        uint8_t *steps = get((size_t)n);
        for (int64_t i = 0; i < 768; i++)
            ones[i] = 1;
        for (int64_t i = 0; i < n && kind == 2; i++)
            src[i] = 0.7f;
        int64_t sum = 0;
        double least = 1e30, most = -1e30, largest = 0;
        for (int64_t i = 0; i < n; i++) {
            double value = (double)src[i] * (kind == 1 ? factors[i] : 1.f);
            least = fmin(least, value), most = fmax(most, value), largest = fmax(largest, fabs(value));
        }
        scale = ecg_to_s8(signs, src, kind == 1 ? factors : ones, n);
        CHECK(fabs(scale - largest / 127) <= 1e-6 * scale, "the scale %g of %g", scale, largest);
        for (int64_t i = 0; i < n; i++) {
            double value = (double)src[i] * (kind == 1 ? factors[i] : 1.f);
            CHECK(fabs(value - (double)scale * signs[i]) <= 0.5001 * scale, "%g is %d of %g", value, signs[i], scale);
            CHECK(signs[i] != -128, "a number of -128");
            sum += signs[i];
        }
        CHECK(ecg_sum_s8(signs, n) == sum, "a sum of %d", (int)sum);
        ecg_to_u8(steps, &scale, &shift, src, kind == 1 ? factors : NULL, n);
        CHECK(fabs(scale - (most - least) / 255) <= 1e-6 * fabs(scale) + 1e-37, "the scale %g", scale);
        for (int64_t i = 0; i < n; i++) {
            double value = (double)src[i] * (kind == 1 ? factors[i] : 1.f), found = (double)scale * steps[i] + shift;
            CHECK(fabs(value - found) <= 0.501 * scale + 1e-7 * fabs(value), "%g became %g", value, found);
        }
        free(src), free(factors), free(signs), free(steps);
    }
}

/* A scale whose inverse float32 can't hold: zeros, not what infinity times 0 gives. */
static void test_denormal(void)
{
    const float src[3] = {1e-39f, 0, -1e-40f}, ones[3] = {1, 1, 1};
    int8_t signs[3] = {9, 9, 9};
    uint8_t steps[3] = {9, 9, 9};
    float scale, shift;
    CHECK(ecg_to_s8(signs, src, ones, 3) == 0, "a scale");
    ecg_to_u8(steps, &scale, &shift, src, NULL, 3);
    CHECK(scale == 0 && shift == src[2], "%g, %g", scale, shift);
    for (int i = 0; i < 3; i++)
        CHECK(signs[i] == 0 && steps[i] == 0, "%d and %d", signs[i], steps[i]);
}

/* The types of operands. */
static const ecg_dtype types[] = {ECG_F32, ECG_BF16, ECG_U8};

/* A row's value in an operand. */
static double value_of(const ecg_operand *rows, int64_t m, int64_t k, int64_t K)
{
    int64_t i = m * K + k;
    if (rows->type == ECG_BF16)
        return wide(((uint16_t *)rows->data)[i]);
    if (rows->type == ECG_F32)
        return ((float *)rows->data)[i];
    double value = (double)((uint8_t *)rows->data)[i] * rows->scale[m] + rows->shift[m];
    return value / (rows->factors ? rows->factors[k] : 1.f);
}

static ecg_operand new_rows(ecg_dtype type, int64_t M, int64_t K)
{
    return (ecg_operand){.type = type,
                         .data = get((size_t)(M * K) * ecg_dtypes[type].size),
                         .scale = type == ECG_U8 ? floats(M) : NULL,
                         .shift = type == ECG_U8 ? floats(M) : NULL};
}

static void free_rows(ecg_operand *rows)
{
    free(rows->data);
    free(rows->scale);
    free(rows->shift);
}

/* Half a step of an operand at a value of a row that spans `range`. */
static double step(ecg_dtype type, double value, double range)
{
    if (type == ECG_F32)
        return 1e-6 * (1 + fabs(value));
    return type == ECG_BF16 ? fabs(value) / 256 + 1e-30 : 0.51 * range / 255;
}

static void check_rows(const ecg_operand *rows, const double *expected, int64_t M, int64_t N)
{
    for (int64_t m = 0; m < M; m++) {
        double least = 1e30, most = -1e30;
        for (int64_t n = 0; n < N; n++) {
            double value = expected[m * N + n] * (rows->factors ? rows->factors[n] : 1.f);
            least = fmin(least, value), most = fmax(most, value);
        }
        for (int64_t n = 0; n < N; n++) {
            double value = expected[m * N + n];
            double limit = step(rows->type, value, most - least) + 2e-6 * (1 + fabs(value) + (most - least));
            limit /= rows->factors ? rows->factors[n] : 1;
            CHECK(fabs(value_of(rows, m, n, N) - value) <= limit, "type %d, (%d, %d): %g, not %g", rows->type, (int)m,
                  (int)n, value_of(rows, m, n, N), value);
        }
    }
}

static void test_convert_rows(void)
{
    const int64_t rows[] = {1, 3, 40}, widths[] = {1, 7, 33, 768};
    for (int r = 0; r < COUNT(rows) * COUNT(widths); r++) {
        int64_t M = rows[r % COUNT(rows)], N = widths[r / COUNT(rows)];
        for (int kind = 0; kind < COUNT(types) * 8; kind++) {
            bool scaled = kind / COUNT(types) & 1, gelu = kind / COUNT(types) & 2, smooth = kind / COUNT(types) & 4;
            float *src = numbers(M * N, 2, 0), *scale = numbers(M, 0.5f, 1), *bias = numbers(N, 1, 0);
            float *factors = numbers(N, 0.5f, 1), *shift = numbers(M, 2, 0), *sums = numbers(N, 1, 0);
            double *expected = get((size_t)(M * N) * sizeof *expected);
            ecg_operand dst = new_rows(types[kind % COUNT(types)], M, N);
            dst.factors = smooth && dst.type == ECG_U8 ? factors : NULL;
            for (int64_t i = 0; i < M * N; i++) {
                double x = src[i];
                if (scaled)
                    x = x * scale[i / N] + (double)shift[i / N] * sums[i % N] + bias[i % N];
                expected[i] = gelu ? x * 0.5 * erfc(-x * sqrt(0.5)) : x;
            }
            ecg_product_rows left = {src, scaled ? scale : NULL, shift, sums, bias};
            ecg_convert_rows(&dst, &left, gelu, M, N);
            check_rows(&dst, expected, M, N);
            free(src), free(scale), free(bias), free(factors), free(shift), free(sums), free(expected);
            free_rows(&dst);
        }
    }
}

static void test_layer_norm_rows(void)
{
    int64_t M = 37, C = 65;
    for (int kind = 0; kind < COUNT(types) * 2; kind++) {
        bool scaled = kind >= COUNT(types);
        float *src = numbers(M * C, 2, 0.5f), *x = numbers(M * C, 1, 0), *scale = numbers(M, 0.5f, 1);
        float *bias = numbers(C, 1, 0), *weight = numbers(C, 0.2f, 1), *beta = numbers(C, 0.1f, 0);
        float *shift = numbers(M, 1, 0), *sums = numbers(C, 1, 0);
        double *expected = get((size_t)(M * C) * sizeof *expected);
        ecg_operand also = new_rows(types[kind % COUNT(types)], M, C);
        for (int64_t m = 0; m < M; m++) {
            double mean = 0, square = 0, *row = expected + m * C;
            for (int64_t c = 0; c < C; c++) {
                double s = src[m * C + c];
                if (scaled)
                    s = s * scale[m] + (double)shift[m] * sums[c] + bias[c];
                row[c] = s + x[m * C + c];
                mean += row[c] / (double)C;
            }
            for (int64_t c = 0; c < C; c++)
                square += (row[c] - mean) * (row[c] - mean) / (double)C;
            for (int64_t c = 0; c < C; c++)
                row[c] = (row[c] - mean) / sqrt(square + 1e-5) * weight[c] + beta[c];
        }
        ecg_product_rows left = {src, scaled ? scale : NULL, shift, sums, bias};
        ecg_layer_norm_rows(x, &also, NULL, &left, x, &(const ecg_norm){weight, beta}, M, C);
        if (also.type != ECG_F32)
            check_rows(&also, expected, M, C);
        check_rows(&(const ecg_operand){.data = x}, expected, M, C);
        free(src), free(x), free(scale), free(bias), free(weight), free(beta), free(shift), free(sums), free(expected);
        free_rows(&also);
    }
}

/* A product of each type against double on what it takes. */
static void check_linear(ecg_dtype type, int64_t M, int64_t K, int64_t N)
{
    float *x = numbers(M * K, 1, 0), *w = numbers(N * K, 0.3f, 0), *bias = numbers(N, 1, 0), *factors = floats(K);
    float *raw = floats(M * N), *magnitudes = numbers(K, 0.5f, 1);
    ecg_linear_spec spec = ecg_linear_spec_of(type, ECG_F32, M, K, N);
    ecg_packed packed = {0};
    ecg_linear weights = {.bias = bias, .packed = &packed};
    ecg_linear_ops ops = {0};
    ecg_work work = {0};
    ecg_work_sizes sizes = {0};
    ecg_operand src = new_rows(type, M, K), dst = {.data = raw};
    ecg_smoothing(factors, w, magnitudes, N, K);
    ecg_status status = type == ECG_U8 ? ecg_pack_s8(&packed, w, factors, &spec) : ecg_linear_pack(&packed, w, &spec);
    CHECK(status == ECG_OK, "%s", ecg_message());
    src.factors = type == ECG_U8 ? factors : NULL;
    ecg_convert_rows(&src, &(const ecg_product_rows){.data = x}, false, M, K);
    CHECK(ecg_stream_create(&work.stream) == ECG_OK, "%s", ecg_message());
    CHECK(ecg_linear_plan(&ops, &weights, &spec, false, ECG_WRITE) == ECG_OK, "%s", ecg_message());
    ecg_linear_sizes(&ops, &sizes);
    CHECK(ecg_alloc(&work.scratch, sizes.scratch + 1) == ECG_OK, "%s", ecg_message());
    CHECK(ecg_linear_rows(&dst, &src, raw, false, &weights, &ops, &work) == ECG_OK, "%s", ecg_message());
    CHECK(ecg_linear_unpack(w, &packed) == ECG_OK, "%s", ecg_message());
    for (int64_t m = 0; m < M; m++) {
        for (int64_t n = 0; n < N; n++) {
            double expected = bias[n], size = 1;
            for (int64_t k = 0; k < K; k++) {
                expected += value_of(&src, m, k, K) * w[n * K + k];
                size += fabs(value_of(&src, m, k, K) * w[n * K + k]);
            }
            /* uint8 * int8 sums reach 255 * 127 * K, of which float32 keeps 24 bits; the shift takes most away again. */
            double rounding = type == ECG_U8 ? 3e-7 * 255 * src.scale[m] * (double)K * 0.5 : 0;
            CHECK(fabs(raw[m * N + n] - expected) < 1e-6 * size + rounding, "type %d (%d, %d, %d): %g, not %g", type,
                  (int)M, (int)K, (int)N, raw[m * N + n], expected);
        }
    }
    ecg_stream_destroy(work.stream);
    ecg_linear_free(&ops);
    ecg_packed_free(&packed);
    ecg_free(work.scratch);
    free_rows(&src);
    free(x), free(w), free(bias), free(factors), free(raw), free(magnitudes);
}

static void test_linear(void)
{
    const int64_t shapes[][3] = {{1, 1, 1}, {3, 7, 5}, {156, 32, 48}, {5, 33, 17}, {64, 256, 96}};
    for (int i = 0; i < COUNT(shapes) * COUNT(types); i++) {
        const int64_t *shape = shapes[i / COUNT(types)];
        ecg_dtype type = types[i % COUNT(types)];
        for (int widened = 0; widened < (type == ECG_BF16 ? 2 : 1); widened++) {
            ecg_widen(widened);
            if (widened || ecg_dtype_supported(type == ECG_U8 ? ECG_S8 : type))
                check_linear(type, shape[0], shape[1], shape[2]);
        }
        ecg_widen(-1);
    }
}

static void test_smoothing(void)
{
    const float weights[] = {1, 0, 4, -2, 0, 1}, magnitudes[] = {1, 1, 16}; /* (2, 3) */
    float factors[3], ones[3];
    ecg_smoothing(factors, weights, magnitudes, 2, 3);
    ecg_smoothing(ones, weights, NULL, 2, 3);
    CHECK(fabs(factors[0] / factors[2] - sqrt(2) / sqrt(4.0 / 16)) < 1e-5, "%g %g", factors[0], factors[2]);
    CHECK(fabs((double)factors[0] * factors[1] * factors[2] - 1) < 1e-5, "their mean is not 1");
    for (int i = 0; i < 3; i++)
        CHECK(ones[i] == 1, "nothing is known and the factor is %g", ones[i]);
}

/* v and g of the positional convolution packed in a type, and had back: to the bit, or as what is computed with. */
static void test_positions(void)
{
    const ecg_dtype held[] = {ECG_F32, ECG_BF16};
    ecg_config config = small_config();
    const ecg_config *c = &config;
    int64_t S = c->C / c->conv_pos_groups, n = c->C * S * c->conv_pos;
    for (int i = 0; i < 2 * COUNT(held); i++) {
        ecg_conv_spec spec = ecg_positions_spec(c, held[i / 2], 1, 20);
        ecg_positions positions = {0}, again = {0};
        float *v = numbers(n, 1, 0), *g = numbers(c->conv_pos, 0.2f, 2), *back = floats(n), *twice = floats(n);
        if (i % 2)
            g[3] = 0; /* of which nothing leads back to v */
        if (ecg_dtype_supported(held[i / 2])) {
            CHECK(ecg_positions_hold(&positions, c, back) == ECG_OK, "%s", ecg_message());
            CHECK(ecg_positions_pack(&positions, c, &spec, v, g) == ECG_OK, "%s", ecg_message());
            CHECK(ecg_positions_v(&positions, c, back) == ECG_OK, "%s", ecg_message());
            CHECK((positions.v != NULL) == (i % 2 == 1), "v is held beside what is packed");
            CHECK((positions.norms != NULL) == (i == 2), "norms in type %d", held[i / 2]);
        }
        if (positions.norms) {
            ecg_weight_norm_forward(twice, NULL, v, g, c->C, S, c->conv_pos);
            for (int64_t j = 0; j < n; j++)
                CHECK(fabs(back[j] - twice[j]) <= fabs(twice[j]) / 256, "%g became %g", twice[j], back[j]);
            for (int64_t k = 0; k < c->conv_pos; k++)
                CHECK(fabs(positions.norms[k] / g[k] - 1) < 4e-3, "a norm of %g is %g", g[k], positions.norms[k]);
            CHECK(ecg_positions_pack(&again, c, &spec, back, positions.norms) == ECG_OK, "%s", ecg_message());
            CHECK(ecg_positions_v(&again, c, twice) == ECG_OK, "%s", ecg_message());
            CHECK(memcmp(twice, back, (size_t)n * sizeof *back) == 0, "rounding what is rounded changes it");
        } else if (positions.packed.data) {
            CHECK(memcmp(v, back, (size_t)n * sizeof *back) == 0, "another v");
        }
        ecg_positions_free(&positions), ecg_positions_free(&again);
        free(v), free(g), free(back), free(twice);
    }
}

static void test_models(void)
{
    ecg_config configs[4] = {small_config(), small_config(), small_config(), small_config()};
    configs[1].norm_first = configs[1].conv_bias = configs[1].extractor_layer_norm = true;
    configs[2].convs[3].channels = 32; /* as wide as the encoder: no projection */
    configs[2].conv_pos = 15;
    configs[3].C = 33, configs[3].H = 3, configs[3].F = 7, configs[3].conv_pos_groups = 11, configs[3].labels = 1;
    for (int i = 0; i < 4 * ECG_PRECISIONS; i++) {
        const ecg_config *c = &configs[i % 4];
        int64_t B = 3, N = 203, steps[ECG_MAX_CONVS + 1], valid[3] = {203, 16, 101};
        ecg_config_steps(c, N, steps);
        int64_t T = steps[c->conv_count];
        float *logits = floats(B * c->labels), *tokens = floats(B * T * c->C), *maps = floats(B * c->layers * T * T);
        if (ecg_precision_supported((ecg_precision_name)(i / 4)))
            CHECK(whole_path(c, (ecg_precision_name)(i / 4), B, N, valid, logits, tokens, maps) == ECG_OK, "%s",
                  ecg_message());
        free(logits), free(tokens), free(maps);
    }
}

static void test_failing_allocations(void)
{
    ecg_config config = small_config();
    float logits[25];
    ecg_status status = ECG_NO_MEMORY;
    int k = 0;
    while (ecg_precision_supported(ECG_INT8) && status != ECG_OK && k < 1000) {
        ecg_fail_allocation(++k);
        status = whole_path(&config, ECG_INT8, 5, 64, NULL, logits, NULL, NULL);
        CHECK(status == ECG_OK || status == ECG_NO_MEMORY, "allocation %d: %s", k, ecg_message());
    }
    ecg_fail_allocation(0);
    CHECK(k < 1000, "%d allocations", k);
}

int main(void)
{
    ecg_set_threads(2);
    CHECK(ecg_threads_begin(NULL) == ECG_OK, "two threads");
    test_bf16();
    test_s8_and_u8();
    test_denormal();
    test_convert_rows();
    test_layer_norm_rows();
    test_linear();
    test_smoothing();
    test_positions();
    test_models();
    test_failing_allocations();
    return finish();
}

/* Tests of training in bfloat16, without Python and under the sanitizers: products in both ways in which they are made,
 * attention, GELU, whole trainers. Products are compared with plain loops in double on the same rounded factors. */
#include <math.h>

#include "../../csrc/base/convert.h"
#include "../../csrc/layers/attention.h"
#include "../../csrc/layers/products.h"
#include "trainer.h"

/* A number in bfloat16 has 8 bits. */
#define ROUNDING (1.0 / 256)

/* dst (n) = src rounded; src becomes what they stand for. */
static uint16_t *rounded(float *src, int64_t n)
{
    uint16_t *dst = get((size_t)n * sizeof *dst);
    ecg_to_bf16(dst, src, n);
    ecg_from_bf16(src, dst, n);
    return dst;
}

static float value_of(const void *data, ecg_dtype type, int64_t i)
{
    float wide;
    return *ecg_load_piece(&wide, type, data, i, 1);
}

static double gelu(double x)
{
    return x * 0.5 * (1 + erf(x / sqrt(2)));
}

/* ---- products ---- */

static void check_product(const int64_t *shape, int transposed, ecg_dtype type, ecg_after after, bool gelus,
                          bool biased)
{
    int64_t M = shape[0], K = shape[1], N = shape[2];
    float *left = numbers(M * K, 1, 0), *right = numbers(K * N, 1, 0), *bias = numbers(N, 1, 0);
    float *dst = numbers(M * N, 1, 0), *factor = numbers(M * N, 1, 0);
    uint16_t *narrow = rounded(left, M * K), *narrow_dst = rounded(dst, M * N), *narrow_factor = rounded(factor, M * N);
    float *before = copy(dst, M * N);
    void *panels, *scratch, *to = type == ECG_F32 ? (void *)dst : narrow_dst;
    CHECK(ecg_alloc(&panels, ecg_panel_bytes(K, N)) == ECG_OK && ecg_alloc(&scratch, ecg_wide_scratch(2)) == ECG_OK,
          "%s", ecg_message());
    ecg_pack_bf16(panels, right, ECG_F32, transposed & 2, K, N);
    free(rounded(right, K * N));
    const ecg_wide_product product = {M,
                                      K,
                                      N,
                                      narrow,
                                      transposed & 1,
                                      panels,
                                      to,
                                      type,
                                      biased ? bias : NULL,
                                      gelus,
                                      after,
                                      type == ECG_F32 ? (const void *)factor : narrow_factor};
    ecg_wide_run(&product, 2, scratch);
    for (int64_t i = 0; i < M * N; i++) {
        int64_t m = i / N, n = i % N;
        double sum = biased ? bias[n] : 0, size = 1;
        for (int64_t k = 0; k < K; k++) {
            double term =
                (double)left[transposed & 1 ? k * M + m : m * K + k] * right[transposed & 2 ? n * K + k : k * N + n];
            sum += term, size += fabs(term);
        }
        sum = gelus ? gelu(sum) : sum;
        sum = after == ECG_ADD ? sum + before[i] : after == ECG_MULTIPLY ? sum * factor[i] : sum;
        double limit = 1e-6 * size + (type == ECG_BF16 ? ROUNDING * fabs(sum) : 0);
        CHECK(fabs(value_of(to, type, i) - sum) < limit, "(%d, %d, %d): %g, not %g", (int)M, (int)K, (int)N,
              value_of(to, type, i), sum);
    }
    ecg_free(panels), ecg_free(scratch);
    free(left), free(right), free(bias), free(dst), free(factor), free(narrow), free(narrow_dst), free(narrow_factor);
    free(before);
}

static void test_products(void)
{
    const int64_t shapes[][3] = {{1, 1, 1}, {7, 3, 33}, {130, 5, 31}, {9, 257, 64}, {131, 70, 290}};
    for (int i = 0; i < COUNT(shapes) * 8; i++) {
        int kind = i % 8;
        check_product(shapes[i / 8], kind % 4, kind & 1 ? ECG_BF16 : ECG_F32, (ecg_after)(kind % 3), kind & 4,
                      kind & 2);
    }
}

/* Rows of bfloat16 as panels, and back. */
static void test_panels(void)
{
    const int64_t shapes[][2] = {{1, 1}, {65, 33}, {3, 100}};
    for (int i = 0; i < COUNT(shapes); i++) {
        int64_t K = shapes[i][0], N = shapes[i][1];
        float *src = numbers(K * N, 1, 0), *back = floats(K * N);
        uint16_t *narrow = rounded(src, K * N), *panels = get(ecg_panel_bytes(K, N)),
                 *other = get(ecg_panel_bytes(K, N));
        ecg_pack_bf16(panels, narrow, ECG_BF16, false, K, N);
        ecg_pack_bf16(other, src, ECG_F32, false, K, N);
        CHECK(memcmp(panels, other, ecg_panel_bytes(K, N)) == 0, "(%d, %d)", (int)K, (int)N);
        ecg_unpack_bf16(back, panels, K, N);
        for (int64_t k = 0; k < K * N; k++)
            CHECK(back[k % N * K + k / N] == src[k], "entry %d", (int)k);
        free(src), free(back), free(narrow), free(panels), free(other);
    }
}

/* ---- a linear layer ---- */

static void check_linear(int64_t M, int64_t K, int64_t N, ecg_dtype diff_type)
{
    ecg_after after = diff_type == ECG_BF16 ? ECG_MULTIPLY : ECG_ADD;
    ecg_linear weights = {.weight = numbers(N * K, 1, 0), .bias = numbers(N, 1, 0)};
    ecg_linear diffs = {.weight = numbers(N * K, 0, 1), .bias = numbers(N, 0, 2)};
    float *src = numbers(M * K, 1, 0), *diff_dst = numbers(M * N, 1, 0), *diff = numbers(M * K, 1, 0);
    float *factor = numbers(M * K, 1, 0), *before = copy(diff, M * K), *exact = copy(weights.weight, N * K);
    uint16_t *narrow = rounded(src, M * K), *narrow_diff = rounded(diff_dst, M * N), *slopes = rounded(factor, M * K);
    uint16_t *dst = get((size_t)(M * N) * sizeof *dst), *to = get((size_t)(M * K) * sizeof *to);
    ecg_linear_spec spec = ecg_linear_spec_of(ECG_BF16, ECG_BF16, M, K, N);
    ecg_linear_ops ops = {0};
    ecg_work_sizes sizes = {0};
    ecg_work work = {0};
    spec.diff_src = diff_type;
    free(rounded(exact, N * K));
    CHECK(ecg_linear_plan(&ops, &weights, &spec, true, after) == ECG_OK, "%s", ecg_message());
    ecg_linear_sizes(&ops, &sizes);
    CHECK(ecg_stream_create(&work.stream) == ECG_OK && ecg_alloc(&work.packed, sizes.packed + 1) == ECG_OK &&
              ecg_alloc(&work.scratch, sizes.scratch + 1) == ECG_OK,
          "%s", ecg_message());
    CHECK(ecg_linear_forward(dst, narrow, &weights, &ops, &work) == ECG_OK, "%s", ecg_message());
    CHECK((after == ECG_ADD
               ? ecg_linear_backward(diff, &diffs, narrow_diff, narrow, &weights, &ops, &work)
               : ecg_linear_backward_times(to, slopes, &diffs, narrow_diff, narrow, &weights, &ops, &work)) == ECG_OK,
          "%s", ecg_message());
    for (int64_t i = 0; i < M * N; i++) {
        double sum = weights.bias[i % N];
        for (int64_t k = 0; k < K; k++)
            sum += (double)src[i / N * K + k] * exact[i % N * K + k];
        CHECK(fabs(value_of(dst, ECG_BF16, i) - sum) < ROUNDING * fabs(sum) + 1e-5, "forward %d", (int)i);
    }
    for (int64_t i = 0; i < M * K; i++) {
        double sum = 0, found = after == ECG_ADD ? diff[i] : value_of(to, ECG_BF16, i);
        for (int64_t n = 0; n < N; n++)
            sum += (double)diff_dst[i / K * N + n] * exact[n * K + i % K];
        sum = after == ECG_ADD ? sum + before[i] : sum * factor[i];
        CHECK(fabs(found - sum) < (after == ECG_ADD ? 0 : ROUNDING) * fabs(sum) + 1e-5, "diff_src %d", (int)i);
    }
    for (int64_t i = 0; i < N * K + N; i++) {
        double sum = i < N * K ? 1 : 2;
        for (int64_t m = 0; m < M; m++)
            sum += (double)diff_dst[m * N + (i < N * K ? i / K : i - N * K)] * (i < N * K ? src[m * K + i % K] : 1);
        CHECK(fabs((i < N * K ? diffs.weight[i] : diffs.bias[i - N * K]) - sum) < 1e-5, "gradient %d", (int)i);
    }
    ecg_linear_free(&ops);
    ecg_stream_destroy(work.stream);
    ecg_free(work.packed), ecg_free(work.scratch);
    free(weights.weight), free(weights.bias), free(diffs.weight), free(diffs.bias), free(src), free(diff_dst);
    free(diff), free(factor), free(before), free(exact), free(narrow), free(narrow_diff), free(slopes), free(dst),
        free(to);
}

static void test_linear(void)
{
    const int64_t shapes[][3] = {{1, 1, 1}, {5, 7, 3}, {33, 16, 40}};
    for (int i = 0; i < COUNT(shapes) * 4; i++) {
        const int64_t *shape = shapes[i / 4];
        ecg_widen(i & 1);
        if (i & 1 || ecg_dtype_supported(ECG_BF16))
            check_linear(shape[0], shape[1], shape[2], i & 2 ? ECG_BF16 : ECG_F32);
    }
    ecg_widen(-1);
}

/* ---- attention and GELU: what float32 gives of the same rounded rows, rounded ---- */

static void check_attention(int64_t T, int64_t D, int64_t valid, bool dropped)
{
    int64_t C = 2 * D, n = T * C, maps = 2 * T * T;
    ecg_attention_shape shape = {1, 2, T, D, ECG_F32, ECG_F32, .threads = ecg_threads()};
    ecg_attention_shape lower = {1, 2, T, D, ECG_BF16, ECG_BF16, .threads = ecg_threads()};
    float *qkv = numbers(3 * n, 2, 0), *diff_dst = numbers(n, 1, 0), *diff = floats(3 * n);
    uint16_t *narrow = rounded(qkv, 3 * n), *found = get((size_t)(3 * n) * sizeof *found);
    uint8_t *keep = get((size_t)maps);
    for (int64_t i = 0; i < maps; i++)
        keep[i] = i % 5 != 0;
    const ecg_dropout_mask mask = {.scale = 1.25f, .keep = dropped ? keep : NULL};
    void *scratch = get((size_t)ecg_attention_scratch(&shape, true));
    void *lower_scratch = get((size_t)ecg_attention_scratch(&lower, true));
    ecg_attention_backward(diff, diff_dst, qkv, &valid, &mask, &shape, scratch);
    ecg_attention_backward(found, diff_dst, narrow, &valid, &mask, &lower, lower_scratch);
    free(rounded(diff, 3 * n));
    for (int64_t i = 0; i < 3 * n; i++)
        CHECK(value_of(found, ECG_BF16, i) == diff[i], "entry %d", (int)i);
    free(scratch), free(lower_scratch), free(qkv), free(diff_dst), free(diff), free(narrow), free(found), free(keep);
}

static void test_attention(void)
{
    const int64_t shapes[][3] = {{1, 1, 1}, {5, 3, 5}, {33, 4, 33}, {34, 40, 20}, {7, 2, 4}};
    for (int i = 0; i < COUNT(shapes) * 2; i++)
        check_attention(shapes[i / 2][0], shapes[i / 2][1], shapes[i / 2][2], i % 2);
}

static void test_gelu(void)
{
    int64_t n = 5000;
    float *src = numbers(n, 4, 0), *expected = floats(n), *slopes = floats(n);
    uint16_t *narrow = rounded(src, n), *dst = get((size_t)n * 2), *again = get((size_t)n * 2);
    uint8_t *keep = get((size_t)n);
    for (int64_t i = 0; i < n; i++)
        keep[i] = i % 3 != 0;
    for (int masked = 0; masked < 2; masked++) {
        const ecg_dropout_mask mask = {.scale = 1.5f, .keep = masked ? keep : NULL};
        uint16_t *slope = get((size_t)n * 2);
        memcpy(slope, narrow, (size_t)n * 2);
        ecg_gelu_again(expected, slopes, src, ECG_F32, &mask, n);
        ecg_gelu_dropout(dst, narrow, ECG_BF16, &mask, n);
        ecg_gelu_again(again, slope, slope, ECG_BF16, &mask, n);
        free(rounded(expected, n)), free(rounded(slopes, n));
        for (int64_t i = 0; i < n; i++) {
            CHECK(value_of(again, ECG_BF16, i) == expected[i] && value_of(slope, ECG_BF16, i) == slopes[i], "entry %d",
                  (int)i);
            CHECK(fabsf(value_of(dst, ECG_BF16, i) - expected[i]) <= fabsf(expected[i]) * 0.0079f, "GELU %d", (int)i);
        }
        free(slope);
    }
    free(src), free(expected), free(slopes), free(narrow), free(dst), free(again), free(keep);
}

/* ---- whole trainers ---- */

static double norm_of(const float *x, const float *y, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += pow((double)x[i] - (y ? y[i] : 0), 2);
    return sqrt(sum);
}

/* The gradients of a batch, a copy. */
static float *gradients_of(const ecg_config *config, ecg_training training, const batch *b,
                           ecg_precision_name precision)
{
    ecg_trainer t;
    ecg_label_sums sums = {0};
    training.precision = precision;
    CHECK(make_trainer(&t, config, &training, 1) == ECG_OK && accumulate(&t, &sums, b, 0) == ECG_OK, "%s",
          ecg_message());
    float *found = copy(t.blocks[ECG_GRADIENTS], t.sizes[ECG_GRADIENTS]);
    ecg_trainer_free(&t);
    return found;
}

/* Gradients stay near those of float32, in all variants; what is computed again is the same to the bit. */
static void check_trainer(int variant, int widened)
{
    ecg_config config = small_config();
    config.norm_first = variant & 1;
    const ecg_training plain = {.rates = {0.1, 0.1, 0.1, 0.1, 0.1, 0.2}},
                       again = {.rates = plain.rates, .recompute = true};
    ecg_trainer t;
    CHECK(make_trainer(&t, &config, &plain, 1) == ECG_OK, "%s", ecg_message());
    int64_t n = t.sizes[ECG_GRADIENTS];
    batch b = make_batch(&config, 3, 163, variant & 2);
    ecg_widen(widened);
    float *exact = gradients_of(&config, plain, &b, ECG_FLOAT32),
          *found = gradients_of(&config, plain, &b, ECG_BFLOAT16);
    float *same = gradients_of(&config, again, &b, ECG_BFLOAT16);
    CHECK(memcmp(found, same, (size_t)n * sizeof *same) == 0, "variant %d: not the same again", variant);
    double distance = norm_of(found, exact, n) / norm_of(exact, NULL, n);
    /* Each factor is off by 2^-9 of itself at most; a few layers add some of that up. */
    CHECK(distance > 1e-5 && distance < 0.02, "variant %d: off by %g", variant, distance);
    ecg_widen(-1);
    ecg_trainer_free(&t);
    free_batch(&b);
    free(exact), free(found), free(same);
}

static void test_trainers(void)
{
    for (int variant = 0; variant < 8; variant++) {
        if (variant & 4 || ecg_dtype_supported(ECG_BF16))
            check_trainer(variant & 3, variant >> 2);
    }
}

int main(void)
{
    ecg_set_threads(2);
    CHECK(ecg_threads_begin(NULL) == ECG_OK, "two threads");
    test_products();
    test_panels();
    test_linear();
    test_attention();
    test_gelu();
    test_trainers();
    return finish();
}

/* Tests of training without Python, to be built with the address and undefined-behaviour sanitizers: noise, loss, Adam,
 * the backward of each layer against central differences of its formula in double, and whole trainers. Prints the
 * failed checks and returns how many there were (at most 99). */
#include <math.h>

#include "../../csrc/base/memory.h"
#include "../../csrc/base/threads.h"
#include "../../csrc/layers/attention.h"
#include "../../csrc/engine/trainer.h"
#include "../../csrc/heads/classifier.h"
#include "../../csrc/heads/contrastive.h"
#include "../../csrc/losses/ntxent.h"
#include "check.h"
#include "trainer.h"

/* ---- random numbers ---- */

static void test_philox(void)
{
    /* Published by the generator's authors for ten rounds: counter, key, result. */
    const uint32_t vectors[][10] = {
        {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
        {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0x408f276d, 0x41c83b0e, 0xa20bc7c6,
         0x6d5451fd},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09, 0x94fdcceb, 0x5001e420,
         0x24126ea1},
    };
    for (int i = 0; i < COUNT(vectors); i++) {
        const uint32_t *v = vectors[i];
        uint32_t got[4];
        ecg_stream_key key = {.seed = v[4], .rank = v[5], .update = v[3]};
        ecg_philox(got, &key, (ecg_draw)(v[2] & 0xFF), v[2] >> 8, v[1], v[0]);
        for (int w = 0; w < 4; w++)
            CHECK(got[w] == v[6 + w], "vector %d word %d: %08x", i, w, got[w]);
    }
}

static double share(const uint8_t *a, const uint8_t *b, int64_t n)
{
    int64_t both = 0;
    for (int64_t i = 0; i < n; i++)
        both += !a[i] && !b[i];
    return (double)both / (double)n;
}

/* Whether a share of n lies within five standard errors of p. */
static bool near(double found, double p, int64_t n)
{
    return fabs(found - p) <= 5 * sqrt(p * (1 - p) / (double)n);
}

static void test_draws(void)
{
    const double rates[] = {0, 0.05, 0.1, 0.5, 0.9};
    int64_t n = 100003;
    uint8_t *base = get((size_t)n), *other = get((size_t)n);
    ecg_stream_key key = {.seed = 3, .update = 7};
    for (int i = 0; i < COUNT(rates); i++) {
        ecg_draw_keep(base, n, rates[i], &key, ECG_DRAW_ACTIVATION, 2, 4);
        CHECK(near(share(base, base, n), rates[i], n), "rate %g: %g", rates[i], share(base, base, n));
        for (int64_t k = 0; k < n; k++)
            CHECK(base[k] <= 1, "a mask holds 0 and 1");
    }
    ecg_draw_keep(base, n, 0.5, &key, ECG_DRAW_ACTIVATION, 2, 4);
    for (int change = 0; change < 6; change++) { /* none, then one part of the place at a time */
        ecg_stream_key changed = {.seed = key.seed + (change == 1), .rank = change == 2, .update = 7u + (change == 3)};
        ecg_draw_keep(other, n, 0.5, &changed, change == 4 ? ECG_DRAW_RESIDUAL : ECG_DRAW_ACTIVATION, 2 + (change == 5),
                      4);
        CHECK(change == 0 ? memcmp(base, other, (size_t)n) == 0 : near(share(base, other, n), 0.25, n), "%d", change);
    }
    ecg_draw_keep(other, n, 0.5, &key, ECG_DRAW_ACTIVATION, 2, 5);
    CHECK(near(share(base, other, n), 0.25, n), "another row");
    for (int64_t length = 1; length < 1200; length += 37) { /* the start of a longer one, and no more */
        uint8_t *part = get((size_t)length);
        ecg_draw_keep(part, length, 0.5, &key, ECG_DRAW_ACTIVATION, 2, 4);
        CHECK(memcmp(part, base, (size_t)length) == 0, "length %d", (int)length);
        free(part);
    }
    double sum = 0;
    for (int64_t layer = 0; layer < 4000; layer++) {
        double u = ecg_uniform(&key, ECG_DRAW_LAYER, layer);
        CHECK(u >= 0 && u < 1, "%g", u);
        sum += u / 4000;
    }
    CHECK(fabs(sum - 0.5) < 5 * sqrt(1. / 12 / 4000), "mean %g", sum);
    free(base), free(other);
}

/* ---- loss and Adam ---- */

static double bce(double z, double y, double weight)
{
    return -(weight * y * log(1 / (1 + exp(-z))) + (1 - y) * log(1 / (1 + exp(z))));
}

static void test_bce(void)
{
    int64_t B = 7, Y = 3;
    for (int with = 0; with < 2; with++) {
        float *logits = numbers(B * Y, 6, 0), *labels = numbers(B * Y, 0.5f, 0.5f), *diff = floats(B * Y);
        float *weight = with ? numbers(Y, 1, 2) : NULL;
        for (int64_t k = 0; k < B * Y; k += 2)
            labels[k] = k % 4 ? 1 : 0;
        ecg_label_sums sums = {.loss = 10, .rows = 100};
        double expected = 10;
        ecg_weighed_loss loss = {.loss = &ecg_bce, .positive = weight};
        ecg_labelled_forward(&sums, &loss, logits, labels, B, Y);
        ecg_labelled_backward(diff, &loss, logits, labels, B, Y);
        for (int64_t k = 0; k < B * Y; k++) {
            double w = with ? weight[k % Y] : 1, h = 1e-5;
            double slope = (bce(logits[k] + h, labels[k], w) - bce(logits[k] - h, labels[k], w)) / (2 * h);
            expected += bce(logits[k], labels[k], w);
            CHECK(fabs(diff[k] - slope) < 1e-6, "%g, not %g", diff[k], slope);
        }
        CHECK(fabs(sums.loss - expected) < 1e-9, "%g, not %g", sums.loss, expected);
        CHECK(sums.rows == 100 + B && sums.count == B * Y, "counts are added");
        free(logits), free(labels), free(diff), free(weight);
    }
    const float logits[] = {1, -1, 1, -1, 0, 1000, -1000, 2}, labels[] = {1, 0, 0, 1, 0, 1, 0, 1};
    float diff[8];
    ecg_label_sums sums = {0};
    const ecg_weighed_loss plain = {.loss = &ecg_bce};
    ecg_labelled_forward(&sums, &plain, logits, labels, 4, 2);
    CHECK(sums.correct == 6 && sums.exact == 3 && sums.true_positive == 3, "%d correct", (int)sums.correct);
    CHECK(sums.false_positive == 1 && sums.false_negative == 1, "false ones");
    const float extreme[] = {1000, -1000}, wrong[] = {0, 1};
    sums.loss = 0;
    ecg_labelled_forward(&sums, &plain, extreme, wrong, 1, 2);
    ecg_labelled_backward(diff, &plain, extreme, wrong, 1, 2);
    CHECK(sums.loss == 2000 && diff[0] == 1 && diff[1] == -1, "%g %g %g", sums.loss, diff[0], diff[1]);
}

/* The derivative of each loss by differences of its value; what neither is defined at is left out. */
static void test_slopes(void)
{
    const ecg_label_loss *const all[] = {&ecg_bce, &ecg_asymmetric, &ecg_mse};
    const ecg_loss_settings settings[] = {{0, 0, 0},     {2, 2, 0},   {1, 4, 0.05}, {0, 4, 0.05},
                                          {0.5, 0.5, 0}, {3, 0, 0.2}, {0, 0.7, 0.1}};
    const double zs[] = {-30, -8, -3, -2.9, -1.4, -1e-3, 0, 0.2, 1, 5, 8, 30}, ys[] = {0, 1, 0.3};
    for (int l = 0; l < COUNT(all); l++)
        for (int s = 0; s < COUNT(settings); s++)
            for (int i = 0; i < COUNT(zs); i++)
                for (int k = 0; k < COUNT(ys); k++) {
                    double z = zs[i], y = ys[k], h = 1e-5;
                    double above = all[l]->value(z + h, y, 2.5, 0.75, &settings[s]);
                    double below = all[l]->value(z - h, y, 2.5, 0.75, &settings[s]);
                    double slope = all[l]->slope(z, y, 2.5, 0.75, &settings[s]), found = (above - below) / (2 * h);
                    CHECK(fabs(slope - found) < 1e-7 * fmax(1, fabs(found)), "%s %d at %g of %g: %.10g, not %.10g",
                          all[l]->name, s, z, y, slope, found);
                }
}

/* Logits of +-1e4: losses and slopes are what they tend to, not NaN or infinity. */
static void test_extreme_logits(void)
{
    const ecg_loss_settings settings[] = {{0, 0, 0}, {2, 2, 0}, {1, 4, 0.05}, {0.5, 0.25, 0}};
    for (int s = 0; s < COUNT(settings); s++) {
        const ecg_loss_settings *own = &settings[s];
        double slope = own->clip > 0 ? 0 : 1;
        double most = own->clip > 0 ? -log(own->clip) * pow(1 - own->clip, own->gamma_negative) : 1e4;
        double value = ecg_asymmetric.value(1e4, 0, 1, 1, own);
        CHECK(fabs(value - most) < 1e-12 * most, "%g, not %g", value, most);
        CHECK(ecg_asymmetric.value(-1e4, 1, 1, 1, own) == 1e4, "a positive that is missed");
        CHECK(ecg_asymmetric.value(1e4, 1, 1, 1, own) == 0 && ecg_asymmetric.value(-1e4, 0, 1, 1, own) == 0, "right");
        CHECK(ecg_asymmetric.slope(1e4, 0, 1, 1, own) == slope, "%g", ecg_asymmetric.slope(1e4, 0, 1, 1, own));
        CHECK(ecg_asymmetric.slope(-1e4, 1, 1, 1, own) == -1, "%g", ecg_asymmetric.slope(-1e4, 1, 1, 1, own));
        CHECK(ecg_asymmetric.slope(1e4, 1, 1, 1, own) == 0 && ecg_asymmetric.slope(-1e4, 0, 1, 1, own) == 0, "flat");
    }
    const ecg_loss_settings none = {0, 0, 0}, focal = {2, 2, 0};
    for (double z = -20; z <= 20; z += 0.5) {
        double p = 1 / (1 + exp(-z)), all = ecg_bce.value(z, 0.4, 1.5, 0.5, &none);
        CHECK(fabs(ecg_asymmetric.value(z, 0.4, 1.5, 0.5, &none) - all) < 1e-12 * all, "without focus it is bce");
        CHECK(fabs(ecg_asymmetric.value(z, 1, 1, 1, &focal) + (1 - p) * (1 - p) * log(p)) < 1e-9, "focal at %g", z);
    }
    CHECK(ecg_mse.value(1e4, -1e4, 1, 1, &none) == 4e8 && ecg_mse.slope(1e4, -1e4, 1, 1, &none) == 4e4, "mse");
}

/* Labels that are not known have no loss and no gradient and are not counted; rows have weights. */
static void test_unknown_labels(void)
{
    const float logits[] = {1, -1, 2, 0.5f, -3, 1}, labels[] = {1, NAN, NAN, NAN, 0, 1}, rows[] = {2, 5, 0.5f};
    const double known[] = {1, 0, 0, 0, 0.5, 0.5}, weights[] = {2, 0, 0, 0, 0.5, 0.5};
    const ecg_label_loss *const all[] = {&ecg_bce, &ecg_asymmetric, &ecg_mse};
    for (int l = 0; l < COUNT(all); l++) {
        ecg_weighed_loss loss = {.loss = all[l], .settings = {1, 2, 0.1}, .row = rows};
        ecg_label_sums sums = {0};
        float diff[6];
        double expected = 0;
        ecg_labelled_forward(&sums, &loss, logits, labels, 3, 2);
        ecg_labelled_backward(diff, &loss, logits, labels, 3, 2);
        for (int k = 0; k < 6; k++) {
            double slope = known[k] > 0 ? weights[k] * all[l]->slope(logits[k], labels[k], 1, 1, &loss.settings) : 0;
            expected += known[k] > 0 ? weights[k] * all[l]->value(logits[k], labels[k], 1, 1, &loss.settings) : 0;
            CHECK(diff[k] == (float)slope, "%s %d: %g, not %g", all[l]->name, k, diff[k], slope);
        }
        CHECK(fabs(sums.loss - expected) < 1e-12, "%g, not %g", sums.loss, expected);
        CHECK(sums.count == 3 && sums.rows == 2 && sums.weight == 3, "%d cells", (int)sums.count);
        CHECK(sums.correct == (all[l]->counts ? 3 : 0) && sums.exact == (all[l]->counts ? 2 : 0), "right ones");
        CHECK(all[l]->counts || sums.absolute == 0.5 * 3, "%g", sums.absolute);
    }
    CHECK(ecg_label_loss_named("mse") == &ecg_mse && !ecg_label_loss_named("none"), "names");
}

static void test_adam(void)
{
    int64_t n = 37;
    ecg_adam adam = {.lr = 1e-2, .beta1 = 0.9, .beta2 = 0.98, .eps = 1e-6, .weight_decay = 0.1};
    float *p = numbers(n, 1, 0), *m = numbers(n, 0, 0), *v = numbers(n, 0, 0);
    double *p64 = get(37 * sizeof(double)), m64[37] = {0}, v64[37] = {0};
    for (int64_t i = 0; i < n; i++)
        p64[i] = p[i];
    for (int64_t step = 1; step <= 10; step++) {
        float *g = numbers(n, 3, 0);
        double squares = 0, rate = adam.lr * sqrt(1 - pow(adam.beta2, step)) / (1 - pow(adam.beta1, step));
        ecg_adam_step(p, m, v, g, n, step, 0.25, &adam);
        for (int64_t i = 0; i < n; i++) {
            double scaled = 0.25 * g[i];
            squares += (double)g[i] * g[i];
            p64[i] -= adam.lr * adam.weight_decay * p64[i];
            m64[i] = adam.beta1 * m64[i] + (1 - adam.beta1) * scaled;
            v64[i] = adam.beta2 * v64[i] + (1 - adam.beta2) * scaled * scaled;
            p64[i] -= rate * m64[i] / (sqrt(v64[i]) + adam.eps);
            CHECK(fabs(p[i] - p64[i]) < 2e-6 && fabs(m[i] - m64[i]) < 1e-6 && fabs(v[i] - v64[i]) < 1e-6, "%d", (int)i);
        }
        CHECK(fabs(ecg_square_sum(g, n) - squares) < 1e-9 * squares, "squares");
        free(g);
    }
    free(p), free(m), free(v), free(p64);
}

/* NT-Xent as its definition says, in double. */
static double ntxent(const double *x, const int64_t *ids, double temp, int64_t B, int64_t C)
{
    double loss = 0, places = 0;
    for (int64_t a = 0; a < B; a++) {
        double s[8], sum = 0;
        for (int64_t b = 0; b < B; b++) {
            double dot = 0, aa = 0, bb = 0;
            for (int64_t c = 0; c < C; c++)
                dot += x[a * C + c] * x[b * C + c], aa += pow(x[a * C + c], 2), bb += pow(x[b * C + c], 2);
            s[b] = dot / sqrt(aa * bb) / temp;
            sum += b != a ? exp(s[b]) : 0;
        }
        for (int64_t b = 0; b < B; b++) {
            if (a != b && ids[a] == ids[b])
                loss += log(sum) - s[b], places++;
        }
    }
    return places > 0 ? loss / places : 0;
}

static void test_ntxent(void)
{
    const int64_t id_sets[][8] = {{0, 0, 1, 1, 2, 2, 3, 3}, {5, 7, 5, 7, 9, 9, 5, 8}, {1, 2, 3, 4, 5, 6, 7, 8}};
    for (int set = 0; set < COUNT(id_sets); set++) {
        int64_t B = 8, C = 5;
        const int64_t *ids = id_sets[set];
        float *x = numbers(B * C, 1, 0), *diff = floats(B * C);
        double *work = get(64 * sizeof *work), *x64 = get(40 * sizeof *x64), h = 1e-5;
        for (int64_t i = 0; i < B * C; i++)
            x64[i] = x[i];
        double loss = ecg_ntxent(diff, work, x, ids, NULL, 0.1, 3, B, C), expected = ntxent(x64, ids, 0.1, B, C);
        CHECK(fabs(loss - expected) < 1e-9 * (1 + expected), "%g, not %g", loss, expected);
        CHECK(ecg_ntxent(NULL, work, x, ids, NULL, 0.1, 3, B, C) == loss, "without a gradient");
        for (int64_t i = 0; i < B * C; i++) {
            double there = x64[i];
            x64[i] = there + h;
            double above = ntxent(x64, ids, 0.1, B, C);
            x64[i] = there - h;
            double slope = 3 * (above - ntxent(x64, ids, 0.1, B, C)) / (2 * h);
            x64[i] = there;
            CHECK(fabs(diff[i] - slope) < 1e-5 * (1 + fabs(slope)), "entry %d: %g, not %g", (int)i, diff[i], slope);
        }
        free(x), free(diff), free(work), free(x64);
    }
}

/* ---- layers ---- */

/* A layer as a formula: dst from up to three arrays, in double. */
typedef void (*formula)(double *dst, double *const src[3], const int64_t *dims);

static double weighted(formula f, double *const src[3], const int64_t *dims, const float *diff_dst, int64_t n)
{
    double *dst = get((size_t)n * sizeof *dst), sum = 0;
    f(dst, src, dims);
    for (int64_t i = 0; i < n; i++)
        sum += dst[i] * diff_dst[i];
    free(dst);
    return sum;
}

/* Compares gradients (NULL: not looked at), to which a backward added `before`, with differences of the formula. */
static void check_gradients(const char *name, formula f, const int64_t *dims, const float *const src[3],
                            const int64_t counts[3], const float *diff_dst, int64_t n, const float *const diff[3],
                            const float before[3], double limit)
{
    double *values[3] = {NULL}, h = 1e-5;
    for (int s = 0; s < 3; s++) {
        values[s] = get((size_t)counts[s] * sizeof(double));
        for (int64_t i = 0; i < counts[s]; i++)
            values[s][i] = src[s][i];
    }
    for (int s = 0; s < 3; s++) {
        for (int64_t i = 0; diff[s] && i < counts[s]; i++) {
            double there = values[s][i];
            values[s][i] = there + h;
            double above = weighted(f, values, dims, diff_dst, n);
            values[s][i] = there - h;
            double slope = (above - weighted(f, values, dims, diff_dst, n)) / (2 * h);
            values[s][i] = there;
            CHECK(fabs(diff[s][i] - before[s] - slope) < limit * (1 + fabs(slope)), "%s, input %d, entry %d: %g not %g",
                  name, s, (int)i, diff[s][i] - before[s], slope);
        }
    }
    for (int s = 0; s < 3; s++)
        free(values[s]);
}

static void normalize(double *dst, const double *src, int64_t count, int64_t stride, double weight, double bias)
{
    double mean = 0, variance = 0;
    for (int64_t i = 0; i < count; i++)
        mean += src[i * stride] / (double)count;
    for (int64_t i = 0; i < count; i++)
        variance += pow(src[i * stride] - mean, 2) / (double)count;
    for (int64_t i = 0; i < count; i++)
        dst[i * stride] = (src[i * stride] - mean) / sqrt(variance + 1e-5) * weight + bias;
}

/* dims: M, C. */
static void layer_norm(double *dst, double *const src[3], const int64_t *dims)
{
    for (int64_t m = 0; m < dims[0]; m++) {
        normalize(dst + m * dims[1], src[0] + m * dims[1], dims[1], 1, 1, 0);
        for (int64_t c = 0; c < dims[1]; c++)
            dst[m * dims[1] + c] = dst[m * dims[1] + c] * src[1][c] + src[2][c];
    }
}

/* dims: B, T, C. */
static void group_norm(double *dst, double *const src[3], const int64_t *dims)
{
    for (int64_t b = 0; b < dims[0]; b++)
        for (int64_t c = 0; c < dims[2]; c++)
            normalize(dst + b * dims[1] * dims[2] + c, src[0] + b * dims[1] * dims[2] + c, dims[1], dims[2], src[1][c],
                      src[2][c]);
}

static void test_norms(void)
{
    const int64_t shapes[][3] = {{1, 3, 2}, {2, 5, 7}, {2, 4, 33}};
    for (int i = 0; i < COUNT(shapes); i++) {
        const int64_t *d = shapes[i], C = d[2], M = d[0] * d[1], n = M * C, rows[2] = {M, C};
        for (int group = 0; group < 2; group++) {
            float *src = numbers(n, 1, 0.5f), *weight = numbers(C, 0.2f, 1), *bias = numbers(C, 1, 0), *dst = floats(n);
            float *diff_dst = numbers(n, 1, 0), *diff_src = floats(n), *restored = floats(n);
            float *diff_weight = numbers(C, 0, 2), *diff_bias = numbers(C, 0, -3);
            ecg_norm_kept kept = {floats(n), floats(group ? d[0] * C : M)};
            if (group) {
                ecg_group_norm_forward(dst, &kept, src, weight, bias, d[0], d[1], C);
                ecg_group_norm_backward(diff_src, diff_weight, diff_bias, diff_dst, &kept, weight, d[0], d[1], C);
            } else {
                ecg_layer_norm_forward(dst, &kept, src, NULL, weight, bias, M, C);
                ecg_layer_norm_backward(diff_src, diff_weight, diff_bias, diff_dst, &kept, weight, M, C);
            }
            check_gradients(group ? "group norm" : "layer norm", group ? group_norm : layer_norm, group ? d : rows,
                            (const float *const[]){src, weight, bias}, (const int64_t[]){n, C, C}, diff_dst, n,
                            (const float *const[]){diff_src, diff_weight, diff_bias}, (const float[]){0, 2, -3}, 3e-5);
            ecg_norm_restore(restored, kept.normalized, weight, bias, M, C);
            for (int64_t k = 0; k < n; k++)
                CHECK(fabs(restored[k] - dst[k]) < 1e-6, "restored");
            free(src), free(weight), free(bias), free(dst), free(diff_dst), free(diff_src), free(restored);
            free(diff_weight), free(diff_bias), free(kept.normalized), free(kept.rstd);
        }
    }
}

/* dims: n. */
static void gelu(double *dst, double *const src[3], const int64_t *dims)
{
    for (int64_t i = 0; i < dims[0]; i++)
        dst[i] = src[0][i] * 0.5 * erfc(-src[0][i] * sqrt(0.5));
}

/* One segment of two heads. dims: T, D, valid; src: qkv (T, 6D), what the weights are multiplied by (2, T, T). */
static void attention(double *dst, double *const src[3], const int64_t *dims)
{
    int64_t T = dims[0], D = dims[1], C = 2 * D;
    double *p = get((size_t)T * sizeof *p);
    for (int64_t i = 0; i < 2 * T; i++) {
        int64_t h = i / T, t = i % T;
        const double *rows = src[0] + h * D;
        double total = 0;
        for (int64_t k = 0; k < dims[2]; k++) {
            double score = 0;
            for (int64_t d = 0; d < D; d++)
                score += rows[t * 3 * C + d] * rows[k * 3 * C + C + d];
            total += p[k] = exp(score / sqrt((double)D));
        }
        for (int64_t d = 0; d < D; d++) {
            dst[t * C + h * D + d] = 0;
            for (int64_t k = 0; k < dims[2]; k++)
                dst[t * C + h * D + d] += p[k] / total * src[1][i * T + k] * rows[k * 3 * C + 2 * C + d];
        }
    }
    free(p);
}

static void check_attention(int64_t T, int64_t D, int64_t valid, bool dropped)
{
    int64_t C = 2 * D, n = T * C, maps = 2 * T * T;
    ecg_attention_shape shape = {1, 2, T, D, ECG_F32, ECG_F32, .threads = ecg_threads()};
    float *qkv = numbers(3 * n, 2, 0), *diff_dst = numbers(n, 1, 0), *diff = numbers(3 * n, 1, 0),
          *factors = floats(maps);
    uint8_t *keep = get((size_t)maps);
    for (int64_t i = 0; i < maps; i++) {
        keep[i] = i % 5 != 0;
        factors[i] = !dropped ? 1 : keep[i] ? 1.25f : 0;
    }
    const ecg_dropout_mask mask = {.scale = 1.25f, .keep = dropped ? keep : NULL};
    void *scratch = get((size_t)ecg_attention_scratch(&shape, true));
    ecg_attention_backward(diff, diff_dst, qkv, &valid, &mask, &shape, scratch);
    check_gradients("attention", attention, (const int64_t[]){T, D, valid}, (const float *const[]){qkv, factors, qkv},
                    (const int64_t[]){3 * n, maps, 0}, diff_dst, n, (const float *const[]){diff, NULL, NULL},
                    (const float[3]){0}, 5e-6);
    free(scratch), free(qkv), free(diff_dst), free(diff), free(factors), free(keep);
}

static void test_attention(void)
{
    const int64_t shapes[][3] = {{1, 1, 1}, {5, 3, 5}, {33, 4, 33}, {34, 5, 20}, {7, 40, 4}, {65, 2, 33}};
    for (int i = 0; i < COUNT(shapes) * 2; i++)
        check_attention(shapes[i / 2][0], shapes[i / 2][1], shapes[i / 2][2], i % 2);
}

/* dims: B, T, C; no entry is 0. */
static void pool(double *dst, double *const src[3], const int64_t *dims)
{
    for (int64_t i = 0; i < dims[0] * dims[2]; i++) {
        dst[i] = 0;
        for (int64_t t = 0; t < dims[1]; t++)
            dst[i] += src[0][(i / dims[2] * dims[1] + t) * dims[2] + i % dims[2]] / (double)dims[1];
    }
}

/* `diff` is the gradient of GELU at src for diff_dst: the slope in place of src gives the same, with a mask too. */
static void check_gelu_again(const float *src, const float *diff_dst, const float *diff, int64_t n)
{
    uint8_t *keep = get((size_t)n);
    float *dst = floats(n), *expected = floats(n);
    for (int64_t i = 0; i < n; i++)
        keep[i] = i % 3 != 0;
    ecg_gelu_forward(expected, src, n);
    for (int masked = 0; masked < 2; masked++) {
        ecg_dropout_mask mask = {.scale = 1.5f, .keep = masked ? keep : NULL};
        float *slope = copy(src, n);
        ecg_gelu_again(dst, slope, slope, ECG_F32, &mask, n);
        for (int64_t i = 0; i < n; i++) {
            float factor = masked ? (keep[i] ? 1.5f : 0.f) : 1.f;
            CHECK(dst[i] == expected[i] * factor, "GELU of entry %d", (int)i);
            CHECK(fabsf(slope[i] * diff_dst[i] - diff[i] * factor) < 1e-6f, "slope of entry %d", (int)i);
        }
        free(slope);
    }
    free(keep), free(dst), free(expected);
}

static void test_gelu_pool(void)
{
    const float none[3] = {0};
    for (int64_t T = 1; T < 40; T += 6) {
        int64_t C = 3, n = 2 * T * T, m = 2 * T * C;
        float *src = numbers(n, 3, 0), *diff_dst = numbers(n, 1, 0), *diff = floats(n);
        const float *inputs[3] = {src, src, src}, *outputs[3] = {diff};
        ecg_gelu_backward(diff, diff_dst, src, n);
        check_gradients("gelu", gelu, &n, inputs, (const int64_t[]){n, 0, 0}, diff_dst, n, outputs, none, 2e-6);
        check_gelu_again(src, diff_dst, diff, n);

        float *x = numbers(m, 0.4f, 1), *diff_x = floats(m), *diff_pooled = numbers(2 * C, 1, 0);
        ecg_pool_backward(diff_x, diff_pooled, x, 2, T, C);
        check_gradients("pool", pool, (const int64_t[]){2, T, C}, (const float *const[]){x, x, x},
                        (const int64_t[]){m, 0, 0}, diff_pooled, 2 * C, (const float *const[]){diff_x, NULL, NULL},
                        none, 2e-6);
        free(src), free(diff_dst), free(diff), free(x), free(diff_x), free(diff_pooled);
    }
}

/* dims: rows, taps: src v, g. */
static void weight_norm(double *dst, double *const src[3], const int64_t *dims)
{
    for (int64_t k = 0; k < dims[1]; k++) {
        double sum = 0;
        for (int64_t r = 0; r < dims[0]; r++)
            sum += pow(src[0][r * dims[1] + k], 2);
        for (int64_t r = 0; r < dims[0]; r++)
            dst[r * dims[1] + k] = src[1][k] * src[0][r * dims[1] + k] / sqrt(sum);
    }
}

/* dims: M, K, N: src x, weight, bias. */
static void linear(double *dst, double *const src[3], const int64_t *dims)
{
    for (int64_t i = 0; i < dims[0] * dims[2]; i++) {
        dst[i] = src[2][i % dims[2]];
        for (int64_t k = 0; k < dims[1]; k++)
            dst[i] += src[0][i / dims[2] * dims[1] + k] * src[1][i % dims[2] * dims[1] + k];
    }
}

static void test_weight_norm(void)
{
    const int64_t taps[] = {1, 2, 15, 33};
    for (int i = 0; i < COUNT(taps); i++) {
        int64_t O = 4, S = 3, K = taps[i], n = O * S * K, dims[2] = {O * S, K};
        float *v = numbers(n, 1, 0), *g = numbers(K, 1, 2), *diff_dst = numbers(n, 1, 0);
        float *diff_v = numbers(n, 0, 1), *diff_g = numbers(K, 0, -2);
        ecg_weight_norm_backward(diff_v, diff_g, diff_dst, v, g, O, S, K);
        check_gradients("weight norm", weight_norm, dims, (const float *const[]){v, g, g}, (const int64_t[]){n, K, 0},
                        diff_dst, n, (const float *const[]){diff_v, diff_g, NULL}, (const float[]){1, -2, 0}, 5e-6);
        free(v), free(g), free(diff_dst), free(diff_v), free(diff_g);
    }
}

/* `diff` and `diffs` (which began at 1) are of ECG_WRITE: added, multiplied, and the weight's gradient overwritten. */
static void check_afters(const float *src, const float *diff_dst, const float *diff, const ecg_linear *diffs,
                         const ecg_linear *weights, const int64_t *shape, const ecg_work *plain)
{
    int64_t M = shape[0], K = shape[1], N = shape[2];
    float *factor = numbers(M * K, 1, 0);
    for (int after = ECG_ADD; after <= ECG_MULTIPLY; after++) {
        ecg_linear_ops ops = {0};
        ecg_work_sizes sizes = {0};
        ecg_work work = {.stream = plain->stream, .overwrite = true};
        float *dst = copy(factor, M * K);
        ecg_linear own = {.weight = numbers(N * K, 0, 7), .bias = numbers(N, 0, 2)};
        CHECK(ecg_linear_plan(&ops, weights, ECG_LINEAR(M, K, N), true, after) == ECG_OK, "%s", ecg_message());
        ecg_linear_sizes(&ops, &sizes);
        CHECK(ecg_alloc(&work.packed, sizes.packed + 1) == ECG_OK, "%s", ecg_message());
        CHECK(ecg_alloc(&work.scratch, sizes.scratch + 1) == ECG_OK, "%s", ecg_message());
        CHECK((after == ECG_ADD
                   ? ecg_linear_backward(dst, &own, diff_dst, src, weights, &ops, &work)
                   : ecg_linear_backward_times(dst, factor, &own, diff_dst, src, weights, &ops, &work)) == ECG_OK,
              "%s", ecg_message());
        for (int64_t i = 0; i < M * K; i++) {
            float expected = after == ECG_ADD ? factor[i] + diff[i] : factor[i] * diff[i];
            CHECK(fabsf(dst[i] - expected) < 1e-5f, "entry %d", (int)i);
        }
        for (int64_t i = 0; i < N * K; i++)
            CHECK(fabsf(own.weight[i] - (diffs->weight[i] - 1)) < 1e-5f, "gradient %d of a weight", (int)i);
        for (int64_t i = 0; i < N; i++)
            CHECK(own.bias[i] == diffs->bias[i], "gradient %d of a bias", (int)i);
        ecg_linear_free(&ops);
        ecg_free(work.packed), ecg_free(work.scratch);
        free(dst), free(own.weight), free(own.bias);
    }
    free(factor);
}

static void test_linear(void)
{
    const int64_t shapes[][3] = {{1, 1, 1}, {5, 7, 3}, {33, 16, 32}};
    for (int i = 0; i < COUNT(shapes); i++) {
        int64_t M = shapes[i][0], K = shapes[i][1], N = shapes[i][2];
        float *src = numbers(M * K, 1, 0), *diff_dst = numbers(M * N, 1, 0);
        float *dst = floats(M * N), *diff = floats(M * K);
        ecg_linear weights = {.weight = numbers(N * K, 1, 0), .bias = numbers(N, 1, 0)};
        ecg_linear diffs = {.weight = numbers(N * K, 0, 1), .bias = numbers(N, 0, 2)};
        ecg_linear_ops ops = {0};
        ecg_work_sizes sizes = {0};
        ecg_work work = {0};
        CHECK(ecg_linear_plan(&ops, &weights, ECG_LINEAR(M, K, N), true, ECG_WRITE) == ECG_OK, "%s", ecg_message());
        ecg_linear_sizes(&ops, &sizes);
        CHECK(ecg_stream_create(&work.stream) == ECG_OK && ecg_alloc(&work.packed, sizes.packed + 1) == ECG_OK &&
                  ecg_alloc(&work.scratch, sizes.scratch + 1) == ECG_OK,
              "%s", ecg_message());
        CHECK(ecg_linear_forward(dst, src, &weights, &ops, &work) == ECG_OK, "%s", ecg_message());
        CHECK(ecg_linear_backward(diff, &diffs, diff_dst, src, &weights, &ops, &work) == ECG_OK, "%s", ecg_message());
        check_gradients("linear", linear, shapes[i], (const float *const[]){src, weights.weight, weights.bias},
                        (const int64_t[]){M * K, N * K, N}, diff_dst, M * N,
                        (const float *const[]){diff, diffs.weight, diffs.bias}, (const float[]){0, 1, 2}, 1e-5);
        check_afters(src, diff_dst, diff, &diffs, &weights, shapes[i], &work);
        ecg_linear_free(&ops);
        ecg_stream_destroy(work.stream);
        ecg_free(work.packed), ecg_free(work.scratch);
        free(src), free(diff_dst), free(dst), free(diff);
        free(weights.weight), free(weights.bias), free(diffs.weight), free(diffs.bias);
    }
}

/* ---- whole trainers ---- */

/* The loss of one batch; the gradients are dropped. */
static double loss_of(ecg_trainer *t, const batch *b)
{
    ecg_label_sums sums = {0};
    CHECK(accumulate(t, &sums, b, 0) == ECG_OK, "%s", ecg_message());
    t->accumulating = false;
    return sums.loss;
}

/* The loss changes along the gradient of each tensor as that gradient says; float32 leaves a few per thousand. */
static void check_slopes(ecg_trainer *t, const batch *b, int variant)
{
    ecg_label_sums sums = {0};
    CHECK(accumulate(t, &sums, b, 0) == ECG_OK, "%s", ecg_message());
    t->accumulating = false;
    int64_t n = t->sizes[ECG_GRADIENTS];
    float *gradients = copy(t->blocks[ECG_GRADIENTS], n);
    int checked = 0;
    for (int64_t i = 0; i < t->table.count; i++) {
        const ecg_parameter *p = &t->table.parameters[i];
        if (!t->chosen.trained[i])
            continue;
        float *values = ecg_trainer_tensor(t, ECG_PARAMETERS, i), *old = copy(values, p->count);
        const float *g = gradients + t->chosen.offsets[i];
        double norm = sqrt(ecg_square_sum(g, p->count)), side[2], h = 0.005 / norm;
        if (norm > 0.5) { /* below, the loss's own rounding is too large a part */
            for (int s = 0; s < 2; s++) {
                for (int64_t k = 0; k < p->count; k++)
                    values[k] = (float)(old[k] + (s ? h : -h) * g[k] / norm);
                side[s] = loss_of(t, b);
            }
            double slope = (side[1] - side[0]) / (2 * h);
            CHECK(fabs(slope - norm) < 0.02 * norm, "variant %d, %s: %g, not %g", variant, p->name, norm, slope);
            checked++;
        }
        memcpy(values, old, (size_t)p->count * sizeof *old);
        free(old);
    }
    CHECK(checked >= 20, "variant %d: %d tensors", variant, checked);
    free(gradients);
}

static const ecg_dropout_rates DROPOUT = {0.1, 0.1, 0.1, 0.1, 0.1, 0.2};

static void test_trainers(void)
{
    const int variants[] = {0, 1, 2, 3, 4, 7, 8, 13}; /* bits: pre-norm, extractor norms, recomputing, no projection */
    for (int i = 0; i < COUNT(variants); i++) {
        int variant = variants[i];
        ecg_config config = small_config();
        config.norm_first = variant & 1;
        config.extractor_layer_norm = config.conv_bias = (variant & 2) != 0;
        if (variant & 8) /* as wide as the encoder: no projection; an odd kernel */
            config.convs[3].channels = 32, config.conv_pos = 15;
        ecg_training training = {.recompute = (variant & 4) != 0};
        if (variant & 4)
            training.rates = DROPOUT;
        ecg_trainer t;
        CHECK(make_trainer(&t, &config, &training, 1) == ECG_OK, "%s", ecg_message());
        batch b = make_batch(&config, 2, 163, variant & 1);
        check_slopes(&t, &b, variant);
        ecg_trainer_free(&t);
        free_batch(&b);
    }
}

/* Several passes, shapes and updates; the loss falls; without the extractor nothing of it moves. */
static void test_updates(void)
{
    ecg_config config = small_config();
    ecg_training training = {.rates = DROPOUT};
    ecg_adam adam = {.lr = 1e-2, .beta1 = 0.9, .beta2 = 0.98, .eps = 1e-8, .weight_decay = 0.01};
    ecg_trainer t;
    CHECK(make_trainer(&t, &config, &training, 0) == ECG_OK, "%s", ecg_message());
    int64_t frozen = t.sizes[ECG_PARAMETERS] - t.sizes[ECG_GRADIENTS];
    float *extractor = copy(t.blocks[ECG_PARAMETERS] + t.sizes[ECG_GRADIENTS], frozen);
    batch large = make_batch(&config, 4, 6000, true), small = make_batch(&config, 2, 300, false);
    CHECK(ecg_pass_segments(&t.config, large.N, ECG_TRAINING_ROWS) < large.B, "more than one pass");
    double first = 0, last = 0, gnorm;
    bool applied;
    for (int i = 0; i < 20; i++) {
        ecg_label_sums sums = {0};
        CHECK(accumulate(&t, &sums, &large, 0) == ECG_OK && accumulate(&t, &sums, &small, 4) == ECG_OK, "%s",
              ecg_message());
        CHECK(sums.rows == 6, "rows");
        CHECK(ecg_trainer_update(&t, &adam, (double)sums.count, 1, false, &gnorm, &applied) == ECG_OK && applied &&
                  gnorm > 0,
              "%s", ecg_message());
        *(i ? &last : &first) = sums.loss;
    }
    CHECK(last < 0.9 * first, "from %g to %g", first, last);
    CHECK(frozen > 0 && memcmp(extractor, t.blocks[ECG_PARAMETERS] + t.sizes[ECG_GRADIENTS],
                               (size_t)frozen * sizeof *extractor) == 0,
          "the extractor is frozen");
    CHECK(ecg_trainer_update(&t, &adam, 1, 0, false, &gnorm, &applied) == ECG_BAD_STATE, "nothing was accumulated");
    free(extractor);
    free_batch(&large), free_batch(&small);
    ecg_trainer_free(&t);
}

/* The k-th allocation fails, for every k, in making a trainer and in a step: an error, no leak, and it goes on. */
static void test_failing_allocations(void)
{
    ecg_config config = small_config();
    ecg_training training = {.rates = DROPOUT, .recompute = true};
    batch b = make_batch(&config, 2, 300, true);
    ecg_trainer t;
    ecg_status status = ECG_NO_MEMORY;
    int k = 0, made = 0;
    while (status != ECG_OK && k < 1000) {
        ecg_fail_allocation(++k);
        status = make_trainer(&t, &config, &training, 1);
        CHECK(status == ECG_OK || status == ECG_NO_MEMORY, "allocation %d: %s", k, ecg_message());
    }
    ecg_fail_allocation(0);
    made = k;
    double expected = loss_of(&t, &b);
    ecg_trainer_free(&t);
    CHECK(make_trainer(&t, &config, &training, 1) == ECG_OK, "%s", ecg_message());
    for (status = ECG_NO_MEMORY, k = 0; status != ECG_OK && k < 1000;) {
        ecg_label_sums sums = {0};
        ecg_fail_allocation(++k);
        status = accumulate(&t, &sums, &b, 0);
        CHECK(status == ECG_OK || status == ECG_NO_MEMORY, "allocation %d: %s", k, ecg_message());
        CHECK(status != ECG_OK || sums.loss == expected, "allocation %d: %.17g, not %.17g", k, sums.loss, expected);
        CHECK(t.accumulating == (status == ECG_OK), "allocation %d", k);
    }
    ecg_fail_allocation(0);
    CHECK(made > 5 && made < 1000 && k > 5 && k < 1000, "%d and %d allocations", made, k);
    free_batch(&b);
    ecg_trainer_free(&t);
}

/* Heads that compare rows, in one call and in two, and with every allocation failing once. */
static void check_pairs(const ecg_head_type *head)
{
    ecg_config config = small_config();
    config.kind = ECG_PRETRAINING, config.labels = 0;
    config.latent_vars = 3, config.latent_groups = 2, config.final_dim = 6;
    ecg_training training = {.rates = DROPOUT, .frozen = ECG_P_HEAD};
    batch b = make_batch(&config, 4, 65, false);
    const int64_t ids[4] = {3, 3, 8, 8};
    const uint8_t second[4] = {0, 1, 0, 1};
    ecg_pretrain_batch pairs = {.settings = {.cmsc = 1, .cmsc_temp = 0.1}, .ids = ids, .second = second};
    ecg_pretrain_sums sums = {0}, halves = {0};
    ecg_step step = {.B = b.B,
                     .N = b.N,
                     .src = b.src,
                     .batch = &pairs,
                     .sums = &sums,
                     .threads = ecg_threads(),
                     .noise = {.key = {.seed = 1}},
                     .backward = true};
    ecg_trainer t;
    ecg_status status = ECG_NO_MEMORY;
    const float *rows;
    int k = 0;
    CHECK(ecg_trainer_create(&t, &config, head, &training, 1, NULL) == ECG_OK, "%s", ecg_message());
    fill_trainer(&t);
    while (status != ECG_OK && k < 1000) {
        sums = (ecg_pretrain_sums){0};
        ecg_fail_allocation(++k);
        status = ecg_trainer_run(&t, &step);
        CHECK(status == ECG_OK || status == ECG_NO_MEMORY, "allocation %d: %s", k, ecg_message());
        CHECK(t.accumulating == (status == ECG_OK), "allocation %d", k);
    }
    ecg_fail_allocation(0);
    CHECK(k > 5 && k < 1000 && sums.rows == 2 && sums.cmsc > 0, "%d allocations, a loss of %g", k, sums.cmsc);
    float *whole = copy(t.blocks[ECG_GRADIENTS], t.sizes[ECG_GRADIENTS]);
    t.accumulating = false, step.sums = &halves;
    CHECK(ecg_trainer_run_forward(&t, &step, &rows) == ECG_OK && rows && ecg_trainer_waits(&t), "%s", ecg_message());
    float *features = copy(rows, b.B * config.C);
    ecg_company all = {.rows = b.B, .size = 2, .features = features, .ids = ids, .second = second};
    CHECK(ecg_trainer_run_backward(&t, &all, &step.poll) == ECG_OK, "%s", ecg_message());
    CHECK(halves.cmsc == sums.cmsc, "%g, not %g", halves.cmsc, sums.cmsc);
    CHECK(memcmp(whole, t.blocks[ECG_GRADIENTS], (size_t)t.sizes[ECG_GRADIENTS] * sizeof *whole) == 0, "gradients");
    CHECK(ecg_trainer_run_backward(&t, &all, &step.poll) == ECG_BAD_STATE, "twice");
    CHECK(ecg_trainer_run_forward(&t, &step, &rows) == ECG_OK, "%s", ecg_message());
    ecg_trainer_drop(&t);
    CHECK(!ecg_trainer_waits(&t) && !t.accumulating, "dropped");
    free(whole), free(features);
    free_batch(&b);
    ecg_trainer_free(&t);
}

static void test_pairs(void)
{
    check_pairs(&ecg_head_contrastive);
    check_pairs(&ecg_head_simclr);
}

static ecg_status refuse(void *context)
{
    return --*(int *)context < 0 ? ecg_fail(ECG_INTERRUPTED, "interrupted") : ECG_OK;
}

/* Interrupted between any two layers, forward or back: nothing is left of the batch. */
static void test_interruption(void)
{
    ecg_config config = small_config();
    ecg_training training = {0};
    batch b = make_batch(&config, 2, 65, false);
    ecg_trainer t;
    CHECK(make_trainer(&t, &config, &training, 1) == ECG_OK, "%s", ecg_message());
    double expected = loss_of(&t, &b);
    ecg_status status = ECG_INTERRUPTED;
    int looks = -1;
    while (status == ECG_INTERRUPTED && looks < 100) {
        int left = ++looks;
        ecg_label_sums sums = {0};
        ecg_labelled labelled = {.labels = b.labels, .loss = {.loss = &ecg_bce, .positive = b.pos_weight}};
        ecg_step step = step_of(&b, &labelled, &sums);
        step.poll = (ecg_poll){refuse, &left};
        status = ecg_trainer_run(&t, &step);
        CHECK(t.accumulating == (status == ECG_OK), "after %d looks", looks);
    }
    CHECK(status == ECG_OK && looks == 4, "%d looks", looks); /* two layers, forward and back */
    t.accumulating = false;
    CHECK(loss_of(&t, &b) == expected, "goes on");
    free_batch(&b);
    ecg_trainer_free(&t);
}

static bool is_above(void *context, const char *name)
{
    return strncmp(name, "proj.", 5) == 0 || strstr(name, context) != NULL;
}

/* Frozen parts, also with adapters: kept rows give the same bits as their signals; each allocation fails once. */
static void check_frozen(ecg_choice choice, int64_t stage, ecg_dtype type)
{
    ecg_config config = small_config();
    ecg_training training = {.rates = DROPOUT};
    training.rates.final_dropout = 0; /* of a padded segment it may leave nothing to take the mean of */
    batch b = make_batch(&config, 5, 65, true);
    int64_t T = ecg_config_tokens(&config, b.N);
    void *rows = calloc((size_t)(b.B * T * config.C), sizeof(float));
    ecg_trainer t;
    ecg_status status = ECG_NO_MEMORY;
    int k = 0;
    while (status != ECG_OK && k < 1000) {
        ecg_fail_allocation(++k);
        status = ecg_trainer_create(&t, &config, &ecg_head_classifier, &training, 1, &choice);
        CHECK(status == ECG_OK || status == ECG_NO_MEMORY, "allocation %d: %s", k, ecg_message());
    }
    ecg_fail_allocation(0);
    CHECK(k > 5 && k < 1000 && t.training.first == stage, "%d allocations, stage %lld", k, (long long)t.training.first);
    fill_trainer(&t);
    ecg_trainer_take_bases(&t);
    ecg_trainer_merge(&t);
    ecg_label_sums sums = {0}, kept = {0};
    ecg_labelled labelled = {.labels = b.labels, .loss = {.loss = &ecg_bce, .positive = b.pos_weight}};
    ecg_step step = step_of(&b, &labelled, &sums);
    CHECK(ecg_trainer_run(&t, &step) == ECG_OK, "%s", ecg_message());
    float *gradients = copy(t.blocks[ECG_GRADIENTS], t.sizes[ECG_EXP_AVG]);
    t.accumulating = false;
    CHECK(ecg_trainer_below(&t, &step, rows, type, false) == ECG_OK, "%s", ecg_message());
    step.src = NULL, step.rows = rows, step.rows_type = type, step.sums = &kept;
    CHECK(ecg_trainer_run(&t, &step) == ECG_OK, "%s", ecg_message());
    size_t bytes = (size_t)t.sizes[ECG_EXP_AVG] * sizeof *gradients;
    if (type == ECG_F32)
        CHECK(sums.loss == kept.loss && memcmp(gradients, t.blocks[ECG_GRADIENTS], bytes) == 0, "kept rows");
    CHECK(fabs(sums.loss - kept.loss) < 0.02 * sums.loss, "%g, not %g", kept.loss, sums.loss);
    double norm;
    bool applied;
    const ecg_adam adam = {1e-3, 0.9, 0.98, 1e-8, 0};
    CHECK(ecg_trainer_update(&t, &adam, 10, 0, false, &norm, &applied) == ECG_OK && applied, "%s", ecg_message());
    free(gradients), free(rows);
    free_batch(&b);
    ecg_trainer_free(&t);
}

static void test_frozen(void)
{
    check_frozen((ecg_choice){is_above, "encoder.layers.1.", 0, 0}, 2, ECG_F32);
    check_frozen((ecg_choice){is_above, "encoder.layers.1.", 0, 0}, 2, ECG_BF16);
    check_frozen((ecg_choice){is_above, "nothing else", 0, 0}, 3, ECG_F32);
    check_frozen((ecg_choice){is_above, ".adapter_", 2, 0}, 1, ECG_F32);
    check_frozen((ecg_choice){is_above, ".adapter_", 3, 1}, 2, ECG_F32);
    ecg_config config = small_config();
    ecg_training training = {0};
    ecg_trainer t;
    ecg_choice choice = {is_above, ".adapter_", config.C + 1, 0};
    CHECK(ecg_trainer_create(&t, &config, &ecg_head_classifier, &training, 1, &choice) == ECG_BAD_CONFIG, "rank");
}

/* No operation of a full-size network in training runs oneDNN's slow reference code. */
static void test_implementations(void)
{
    ecg_config config = {.kind = ECG_CLASSIFIER,
                         .layers = 1,
                         .C = 768,
                         .F = 3072,
                         .H = 12,
                         .leads = 12,
                         .conv_count = 4,
                         .convs = {{256, 2, 2}, {256, 2, 2}, {256, 2, 2}, {256, 2, 2}},
                         .conv_pos = 128,
                         .conv_pos_groups = 16,
                         .labels = 17};
    ecg_training training = {0};
    ecg_network network;
    ecg_plan *plan;
    char text[8192], *line;
    ecg_text cut = {text, sizeof text};
    int lines = 0;
    CHECK(ecg_network_create(&network, &config, NULL) == ECG_OK, "%s", ecg_message());
    CHECK(ecg_plan_create(&plan, &config, &network, 2, 2500, 2, &training) == ECG_OK, "%s", ecg_message());
    ecg_plan_describe(plan, &cut);
    for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        const char *implementation = strchr(line, ' ');
        CHECK(implementation && strncmp(implementation + 1, "ref", 3) != 0, "%s", line);
        lines++;
    }
    CHECK(lines >= 29, "%d operations", lines);
    ecg_plan_free(plan);
    ecg_network_free(&network);
}

int main(void)
{
    ecg_set_threads(2);
    CHECK(ecg_threads_begin(NULL) == ECG_OK, "two threads");
    test_philox();
    test_draws();
    test_bce();
    test_slopes();
    test_extreme_logits();
    test_unknown_labels();
    test_adam();
    test_ntxent();
    test_norms();
    test_gelu_pool();
    test_attention();
    test_weight_norm();
    test_linear();
    test_trainers();
    test_updates();
    test_failing_allocations();
    test_pairs();
    test_interruption();
    test_frozen();
    test_implementations();
    return finish();
}

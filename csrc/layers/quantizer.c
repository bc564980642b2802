#include "layers.h"

#include <math.h>
#include <string.h>

#include "parallel.h"

/* dst = softmax((src + noise) * factor), noise may be NULL. */
static void softmax(float *dst, const float *src, const float *noise, float factor, int64_t n)
{
    float largest = -INFINITY;
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        dst[i] = (src[i] + (noise ? noise[i] : 0)) * factor;
        largest = dst[i] > largest ? dst[i] : largest;
    }
    for (int64_t i = 0; i < n; i++) {
        dst[i] = expf(dst[i] - largest);
        sum += dst[i];
    }
    for (int64_t i = 0; i < n; i++)
        dst[i] = (float)(dst[i] / sum);
}

static int32_t largest_of(const float *src, const float *noise, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++) {
        if (src[i] + (noise ? noise[i] : 0) > src[best] + (noise ? noise[best] : 0))
            best = i;
    }
    return (int32_t)best;
}

/* exp of the entropy of p, as the original computes it. */
static double perplexity(const double *p, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += p[i] * log(p[i] + 1e-7);
    return exp(-sum);
}

void ecg_entries_forward(float *dst, const int32_t *codes, const float *vars, const ecg_quantizer_shape *shape)
{
    int64_t G = shape->G, d = shape->D / G;
    for (int64_t r = 0; r < shape->R * G; r++)
        memcpy(dst + r * d, vars + (r % G * shape->V + codes[r]) * d, (size_t)d * sizeof *dst);
}

void ecg_entries_backward(float *diff_vars, const float *diff_dst, const int32_t *codes,
                          const ecg_quantizer_shape *shape)
{
    int64_t G = shape->G, d = shape->D / G;
    for (int64_t r = 0; r < shape->R * G; r++) {
        float *entry = diff_vars + (r % G * shape->V + codes[r]) * d;
        for (int64_t k = 0; k < d; k++)
            entry[k] += diff_dst[r * d + k];
    }
}

void ecg_quantizer_forward(float *dst, ecg_quantizer_kept *kept, const float *logits, const float *noise,
                           const float *vars, double temp, const ecg_quantizer_shape *shape)
{
    int64_t R = shape->R, G = shape->G, V = shape->V;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < R * G; r++) {
        const float *z = logits + r * V, *g = noise ? noise + r * V : NULL;
        softmax(kept->clean + r * V, z, NULL, 1.f, V);
        if (g)
            softmax(kept->soft + r * V, z, g, (float)(1 / temp), V);
        kept->codes[r] = largest_of(z, g, V);
    }
    ecg_entries_forward(dst, kept->codes, vars, shape);
    memset(kept->mean, 0, (size_t)(G * V) * sizeof *kept->mean);
    memset(kept->hard, 0, (size_t)(G * V) * sizeof *kept->hard);
    for (int64_t r = 0; r < R * G; r++) {
        for (int64_t v = 0; v < V; v++)
            kept->mean[r % G * V + v] += kept->clean[r * V + v] / (double)R;
        kept->hard[r % G * V + largest_of(logits + r * V, NULL, V)] += 1 / (double)R;
    }
    kept->prob_perplexity = kept->code_perplexity = 0;
    for (int64_t g = 0; g < G; g++) {
        kept->prob_perplexity += perplexity(kept->mean + g * V, V);
        kept->code_perplexity += perplexity(kept->hard + g * V, V);
    }
}

/* diff_z of one row of softmax p for the gradient of p: factor * p (diff - sum(diff p)), added. */
static void add_softmax_backward(float *diff_z, const float *p, const float *diff, float factor, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)diff[i] * p[i];
    for (int64_t i = 0; i < n; i++)
        diff_z[i] += factor * p[i] * (diff[i] - (float)sum);
}

void ecg_quantizer_backward(float *diff_logits, float *diff_vars, float *work, const float *diff_dst,
                            double diff_perplexity, const ecg_quantizer_kept *kept, const float *vars, double temp,
                            const ecg_quantizer_shape *shape)
{
    int64_t R = shape->R, G = shape->G, V = shape->V, d = shape->D / G;
    float *diff_mean = work; /* (G, V): of the perplexity by the mean probabilities, for each row */
    for (int64_t g = 0; g < G; g++) {
        double value = perplexity(kept->mean + g * V, V) * diff_perplexity / (double)R;
        for (int64_t v = 0; v < V; v++) {
            double p = kept->mean[g * V + v];
            diff_mean[g * V + v] = (float)(-value * (log(p + 1e-7) + p / (p + 1e-7)));
        }
    }
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < R * G; r++) {
        float *diff_z = diff_logits + r * V, *diff_soft = work + G * V + r * V;
        for (int64_t v = 0; v < V; v++) { /* straight through: the soft choice stands for the hard one */
            double dot = 0;
            for (int64_t k = 0; k < d; k++)
                dot += (double)diff_dst[r * d + k] * vars[(r % G * V + v) * d + k];
            diff_soft[v] = (float)dot;
            diff_z[v] = 0;
        }
        add_softmax_backward(diff_z, kept->soft + r * V, diff_soft, (float)(1 / temp), V);
        add_softmax_backward(diff_z, kept->clean + r * V, diff_mean + r % G * V, 1.f, V);
    }
    ecg_entries_backward(diff_vars, diff_dst, kept->codes, shape);
}

/* ---- gated linear unit ---- */

void ecg_glu_forward(float *dst, const float *src, int64_t R, int64_t D)
{
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < R; r++) {
        for (int64_t k = 0; k < D; k++)
            dst[r * D + k] = src[r * 2 * D + k] / (1 + expf(-src[r * 2 * D + D + k]));
    }
}

void ecg_glu_backward(float *diff_src, const float *diff_dst, const float *src, int64_t R, int64_t D)
{
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < R; r++) {
        for (int64_t k = 0; k < D; k++) {
            float gate = 1 / (1 + expf(-src[r * 2 * D + D + k])), diff = diff_dst[r * D + k];
            diff_src[r * 2 * D + k] = diff * gate;
            diff_src[r * 2 * D + D + k] = diff * src[r * 2 * D + k] * gate * (1 - gate);
        }
    }
}

#include "infonce.h"

#include <string.h>

#include "cosine.h"

#define COLUMNS 32

static float dot(const float *a, const float *b, int64_t n)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* The row of the candidate; candidate 0 is the positive. */
static int64_t candidate(const int32_t *negatives, int64_t r, int64_t j, const ecg_infonce_shape *shape)
{
    if (j == 0)
        return r;
    return j <= shape->negatives ? negatives[r * shape->negatives + j - 1] : (j - shape->negatives) * shape->R + r;
}

static int64_t candidates(const ecg_infonce_shape *shape)
{
    return 1 + shape->negatives + shape->extra;
}

/* -log softmax of the first of n logits. */
static double one_of_many(const float *row, double largest, int64_t n)
{
    double sum = 0;
    for (int64_t j = 0; j < n; j++)
        sum += exp(row[j] - largest);
    return largest + log(sum) - row[0];
}

/* log(1 + exp(-s x)) summed, s = 1 for the first logit and -1 for the others; -inf costs those nothing. */
static double yes_or_no(const float *row, int64_t n)
{
    double sum = 0;
    for (int64_t j = 0; j < n; j++) {
        double x = j == 0 ? -row[j] : row[j];
        sum += fmax(x, 0) + log1p(exp(-fabs(x)));
    }
    return sum;
}

void ecg_infonce_forward(ecg_infonce_sums *sums, float *logits, float *norms, const float *predictions,
                         const float *targets, const int32_t *codes, const int32_t *negatives,
                         const ecg_infonce_shape *shape)
{
    int64_t R = shape->R, D = shape->D, n = candidates(shape), P = R * (1 + shape->extra), correct = 0;
    double loss = 0;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < R + P; r++)
        norms[r] = (float)ecg_cosine_norm(r < R ? predictions + r * D : targets + (r - R) * D, D);
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < R; r++) {
        for (int64_t j = 0; j < n; j++) {
            int64_t c = candidate(negatives, r, j, shape);
            size_t bytes = (size_t)shape->G * sizeof *codes;
            bool same = j > 0 && memcmp(codes + r * shape->G, codes + c * shape->G, bytes) == 0;
            float cosine = dot(predictions + r * D, targets + c * D, D) / (norms[r] * norms[R + c]);
            logits[r * n + j] = same ? -INFINITY : (float)(cosine / shape->temp);
        }
    }
    for (int64_t r = 0; r < R; r++) { /* in order, so that the sum does not depend on the threads */
        const float *row = logits + r * n;
        double largest = row[0], smallest = row[0];
        for (int64_t j = 1; j < n; j++) {
            largest = fmax(largest, row[j]);
            smallest = fmin(smallest, row[j]);
        }
        loss += shape->binary ? yes_or_no(row, n) : one_of_many(row, largest, n);
        correct += row[0] == largest && row[0] != smallest;
    }
    sums->loss += loss;
    sums->correct += correct;
}

/* diff = (diff_unit - unit (unit . diff_unit)) / norm with unit = x / norm, in place. */
static void through_norm(float *diff, const float *x, float norm, int64_t n)
{
    double along = 0;
    for (int64_t i = 0; i < n; i++)
        along += (double)diff[i] * x[i] / norm;
    for (int64_t i = 0; i < n; i++)
        diff[i] = (float)((diff[i] - x[i] / norm * along) / norm);
}

/* logits become the gradient of the cosines. */
static void logits_backward(float *logits, const ecg_infonce_shape *shape)
{
    int64_t n = candidates(shape);
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < shape->R; r++) {
        float *row = logits + r * n, largest = row[0];
        double sum = 0;
        for (int64_t j = 1; j < n; j++)
            largest = row[j] > largest ? row[j] : largest;
        for (int64_t j = 0; j < n; j++)
            sum += exp((double)row[j] - largest);
        for (int64_t j = 0; j < n; j++) {
            double p = shape->binary ? 1 / (1 + exp(-(double)row[j])) : exp((double)row[j] - largest) / sum;
            row[j] = (float)((p - (j == 0)) / shape->temp);
        }
    }
}

void ecg_infonce_backward(float *diff_predictions, float *diff_targets, float *logits, const float *norms,
                          const float *predictions, const float *targets, const int32_t *negatives,
                          const ecg_infonce_shape *shape)
{
    int64_t R = shape->R, D = shape->D, n = candidates(shape), P = R * (1 + shape->extra);
    memset(diff_predictions, 0, (size_t)(R * D) * sizeof *diff_predictions);
    memset(diff_targets, 0, (size_t)(P * D) * sizeof *diff_targets);
    logits_backward(logits, shape);
    /* A thread takes some columns of all rows: no two write to the same place, and the order is fixed. */
#pragma omp parallel for schedule(static)
    for (int64_t begin = 0; begin < D; begin += COLUMNS) {
        int64_t width = D - begin < COLUMNS ? D - begin : COLUMNS;
        for (int64_t r = 0; r < R; r++) {
            for (int64_t j = 0; j < n; j++) {
                int64_t c = candidate(negatives, r, j, shape);
                float d = logits[r * n + j], by_target = d / norms[R + c], by_prediction = d / norms[r];
                for (int64_t k = begin; k < begin + width; k++) {
                    diff_predictions[r * D + k] += by_target * targets[c * D + k];
                    diff_targets[c * D + k] += by_prediction * predictions[r * D + k];
                }
            }
        }
    }
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < R + P; r++) {
        if (r < R)
            through_norm(diff_predictions + r * D, predictions + r * D, norms[r], D);
        else
            through_norm(diff_targets + (r - R) * D, targets + (r - R) * D, norms[r], D);
    }
}

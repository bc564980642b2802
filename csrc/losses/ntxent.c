#include "ntxent.h"

#include <string.h>

#include "cosine.h"

/* work[a, b] = cosine / temp. */
static void similarities(double *work, const float *features, double temp, int64_t B, int64_t C)
{
    for (int64_t a = 0; a < B; a++) {
        double norm = ecg_cosine_norm(features + a * C, C);
        for (int64_t b = 0; b < B; b++) {
            double dot = 0;
            for (int64_t c = 0; c < C; c++)
                dot += (double)features[a * C + c] * features[b * C + c];
            work[a * B + b] = dot / (norm * ecg_cosine_norm(features + b * C, C) * temp);
        }
    }
}

/* log of the sum of exp over the other rows. */
static double log_sum(const double *row, int64_t a, int64_t B)
{
    double largest = -INFINITY, sum = 0;
    for (int64_t b = 0; b < B; b++)
        largest = b != a ? fmax(largest, row[b]) : largest;
    for (int64_t b = 0; b < B; b++)
        sum += b != a ? exp(row[b] - largest) : 0;
    return largest + log(sum);
}

/* diff[a] += each * d s[a, b] / d features[a]. */
static void add_gradient(float *diff, const float *own, const float *other, double similarity, double temp, double each,
                         int64_t C)
{
    double norm = ecg_cosine_norm(own, C), by_other = each / (norm * ecg_cosine_norm(other, C) * temp);
    double by_own = norm > ECG_SMALLEST_NORM ? each * similarity / (norm * norm) : 0;
    for (int64_t c = 0; c < C; c++)
        diff[c] += (float)(by_other * other[c] - by_own * own[c]);
}

double ecg_ntxent(float *diff, double *work, const float *features, const int64_t *ids, const uint8_t *second,
                  double temp, double factor, int64_t B, int64_t C)
{
    int64_t places = 0;
    double loss = 0;
    (void)second;
    if (diff)
        memset(diff, 0, (size_t)(B * C) * sizeof *diff);
    for (int64_t a = 0; a < B; a++) {
        for (int64_t b = 0; b < B; b++)
            places += a != b && ids[a] == ids[b];
    }
    similarities(work, features, temp, B, C);
    for (int64_t a = 0; a < B && places; a++) {
        const float *own = features + a * C;
        double total = log_sum(work + a * B, a, B);
        int64_t partners = 0;
        for (int64_t b = 0; b < B; b++) {
            if (a != b && ids[a] == ids[b]) {
                loss += (total - work[a * B + b]) / (double)places;
                partners++;
            }
        }
        for (int64_t b = 0; diff && b < B; b++) {
            if (a == b)
                continue;
            double s = work[a * B + b], d = (double)partners * exp(s - total) - (ids[a] == ids[b]);
            double each = factor * d / (double)places;
            add_gradient(diff + a * C, own, features + b * C, s, temp, each, C);
            add_gradient(diff + b * C, features + b * C, own, s, temp, each, C);
        }
    }
    return loss;
}

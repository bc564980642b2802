#include "cmsc.h"

#include <string.h>

#include "cosine.h"

/* log of the sum of exp over the partners of row a: those of the other segment. */
static double log_sum(const double *similarity, const uint8_t *second, int64_t a, int64_t B)
{
    double largest = -INFINITY, sum = 0;
    for (int64_t b = 0; b < B; b++)
        largest = second[b] != second[a] ? fmax(largest, similarity[a * B + b]) : largest;
    for (int64_t b = 0; b < B; b++)
        sum += second[b] != second[a] ? exp(similarity[a * B + b] - largest) : 0;
    return largest + log(sum);
}

int64_t ecg_cmsc_places(const int64_t *ids, const uint8_t *second, int64_t B)
{
    int64_t places = 0;
    for (int64_t a = 0; a < B; a++) {
        for (int64_t b = 0; b < B; b++)
            places += !second[a] && second[b] && ids[a] == ids[b];
    }
    return places;
}

double ecg_cmsc(float *diff, double *work, const float *features, const int64_t *ids, const uint8_t *second,
                double temp, double factor, int64_t B, int64_t C)
{
    double loss = 0;
    int64_t places = ecg_cmsc_places(ids, second, B);
    if (diff)
        memset(diff, 0, (size_t)(B * C) * sizeof *diff);
    for (int64_t a = 0; a < B; a++) {
        double norm_a = ecg_cosine_norm(features + a * C, C);
        for (int64_t b = 0; b < B; b++) {
            double dot = 0, norm_b = ecg_cosine_norm(features + b * C, C);
            for (int64_t c = 0; c < C; c++)
                dot += (double)features[a * C + c] * features[b * C + c];
            work[a * B + b] = dot / (norm_a * norm_b * temp);
        }
    }
    if (places == 0)
        return 0;
    for (int64_t a = 0; a < B; a++) { /* rows of both segments: softmax over rows, and over columns */
        double total = log_sum(work, second, a, B);
        int64_t partners = 0;
        for (int64_t b = 0; b < B; b++) {
            if (second[b] != second[a] && ids[a] == ids[b]) {
                loss += 0.5 * (total - work[a * B + b]) / (double)places;
                partners++;
            }
        }
        for (int64_t b = 0; diff && b < B; b++) {
            if (second[b] == second[a])
                continue;
            double d = (double)partners * exp(work[a * B + b] - total) - (ids[a] == ids[b]);
            double each =
                0.5 * factor * d /
                ((double)places * temp * ecg_cosine_norm(features + a * C, C) * ecg_cosine_norm(features + b * C, C));
            for (int64_t c = 0; c < C; c++) {
                diff[a * C + c] += (float)(each * features[b * C + c]);
                diff[b * C + c] += (float)(each * features[a * C + c]);
            }
        }
    }
    return loss;
}

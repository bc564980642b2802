#include "bce.h"

#include <math.h>
#include <stdbool.h>

void ecg_bce_forward(ecg_bce_sums *sums, const float *logits, const float *labels, const float *pos_weight, int64_t B,
                     int64_t Y)
{
    for (int64_t b = 0; b < B; b++) {
        bool exact = true;
        for (int64_t i = 0; i < Y; i++) {
            double z = logits[b * Y + i], y = labels[b * Y + i], weight = pos_weight ? pos_weight[i] : 1;
            double tail = log1p(exp(-fabs(z))); /* of -log p and -log(1 - p) */
            bool positive = z > 0, correct = (positive ? 1 : 0) == y;
            sums->loss += weight * y * (tail + fmax(-z, 0)) + (1 - y) * (tail + fmax(z, 0));
            sums->correct += correct;
            sums->true_positive += positive && y != 0;
            sums->false_positive += positive && y == 0;
            sums->false_negative += !positive && y != 0;
            exact = exact && correct;
        }
        sums->exact += exact;
    }
    sums->rows += B;
    sums->count += B * Y;
}

void ecg_bce_backward(float *diff_logits, const float *logits, const float *labels, const float *pos_weight, int64_t B,
                      int64_t Y)
{
    for (int64_t k = 0; k < B * Y; k++) {
        double p = 1 / (1 + exp(-(double)logits[k])), y = labels[k], weight = pos_weight ? pos_weight[k % Y] : 1;
        diff_logits[k] = (float)((1 - y) * p - weight * y * (1 - p));
    }
}

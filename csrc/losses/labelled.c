#include "labelled.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

static const ecg_label_loss *const losses[] = {&ecg_bce, &ecg_asymmetric, &ecg_mse};

const ecg_label_loss *ecg_label_loss_named(const char *name)
{
    for (size_t i = 0; i < sizeof losses / sizeof *losses; i++) {
        if (strcmp(losses[i]->name, name) == 0)
            return losses[i];
    }
    return NULL;
}

static double at(const float *weights, int64_t i)
{
    return weights ? (double)weights[i] : 1;
}

void ecg_labelled_forward(ecg_label_sums *sums, const ecg_weighed_loss *loss, const float *logits, const float *labels,
                          int64_t B, int64_t Y)
{
    for (int64_t b = 0; b < B; b++) {
        bool exact = true, known = false;
        for (int64_t i = 0; i < Y; i++) {
            double z = logits[b * Y + i], y = labels[b * Y + i], row = at(loss->row, b);
            bool positive = z > 0, correct = (positive ? 1 : 0) == y;
            if (isnan(y))
                continue;
            known = true;
            sums->loss += row * loss->loss->value(z, y, at(loss->positive, i), at(loss->negative, i), &loss->settings);
            sums->weight += row;
            sums->count++;
            if (!loss->loss->counts) {
                sums->absolute += row * fabs(z - y);
                continue;
            }
            sums->correct += correct;
            sums->true_positive += positive && y != 0;
            sums->false_positive += positive && y == 0;
            sums->false_negative += !positive && y != 0;
            exact = exact && correct;
        }
        sums->rows += known;
        sums->exact += known && exact && loss->loss->counts;
    }
}

void ecg_labelled_backward(float *diff_logits, const ecg_weighed_loss *loss, const float *logits, const float *labels,
                           int64_t B, int64_t Y)
{
    for (int64_t b = 0; b < B; b++) {
        for (int64_t i = 0; i < Y; i++) {
            double z = logits[b * Y + i], y = labels[b * Y + i], slope = 0;
            if (!isnan(y))
                slope = loss->loss->slope(z, y, at(loss->positive, i), at(loss->negative, i), &loss->settings);
            diff_logits[b * Y + i] = (float)(at(loss->row, b) * slope);
        }
    }
}

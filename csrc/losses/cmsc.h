/* Contrastive multi-segment coding: the two segments of a patient belong together. */
#ifndef ECG_LOSSES_CMSC_H
#define ECG_LOSSES_CMSC_H

#include <stdint.h>

/* The places (a, b) of a row of segment 0 and one of segment 1 whose ids are equal. */
int64_t ecg_cmsc_places(const int64_t *ids,    /* (B) */
                        const uint8_t *second, /* (B) */
                        int64_t B);

/* With the features of a row divided by their norm (a constant for the gradient), s = F0 F1^T / temp between the rows
 * whose segment is 0 and those whose segment is 1: the mean over the places where the ids are equal of half of -log
 * softmax over rows and half of the same over columns. diff, if not NULL, becomes the gradient times `factor`.
 * `work` holds B * B doubles. 0 where there is no such place. */
double ecg_cmsc(float *diff,           /* (B, C) or NULL */
                double *work,          /* (B, B) */
                const float *features, /* (B, C) */
                const int64_t *ids,    /* (B) */
                const uint8_t *second, /* (B): 1 for a row of segment 1 */
                double temp, double factor, int64_t B, int64_t C);

#endif

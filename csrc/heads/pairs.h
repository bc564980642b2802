/* Segments that are compared with each other: their tokens pooled over time, and a loss of the similarities. */
#ifndef ECG_HEADS_PAIRS_H
#define ECG_HEADS_PAIRS_H

#include "head.h"

/* A loss of B rows, of which ids and `second` say what belongs together; diff becomes its gradient times `factor`.
 * `work` holds B * B doubles. */
typedef double (*ecg_pair_loss)(float *diff,           /* (B, C) or NULL */
                                double *work,          /* (B, B) */
                                const float *features, /* (B, C) */
                                const int64_t *ids,    /* (B) */
                                const uint8_t *second, /* (B) */
                                double temp, double factor, int64_t B, int64_t C);

typedef struct {
    const int64_t *ids;          /* (B) */
    const uint8_t *second;       /* (B) */
    double weight, temp;         /* of the loss */
    int64_t size;                /* sample size of the batch */
    float *pooled, *diff_pooled; /* (B, C) */
    double *similarity;          /* (B, B) */
} ecg_pairs;

void ecg_pairs_lay_out(ecg_pairs *pairs, ecg_arena *arena, int64_t B, int64_t C);

/* The loss of this batch, weighted and times its sample size, and the gradient of its rows: compared with the rows of
 * all ranks, or of this batch where `all` is NULL. */
ecg_status ecg_pairs_compare(double *loss, ecg_pairs *pairs, ecg_pair_loss function, const ecg_company *all, int64_t B,
                             int64_t C);

#endif

/* Binary cross entropy with logits, summed over all cells. */
#ifndef ECG_LOSSES_BCE_H
#define ECG_LOSSES_BCE_H

#include <stdint.h>

/* Sums over the cells of a batch; a prediction is positive where the logit is above 0. */
typedef struct {
    double loss;
    int64_t count;                                         /* cells */
    int64_t correct;                                       /* cells whose prediction equals the label */
    int64_t rows, exact;                                   /* rows; those of which every cell is correct */
    int64_t true_positive, false_positive, false_negative; /* a label is positive unless it is 0 */
} ecg_bce_sums;

/* loss = sum of -(pos_weight y log(p) + (1 - y) log(1 - p)), p the logistic function of the logit. Adds to `sums`. */
void ecg_bce_forward(ecg_bce_sums *sums, const float *logits, /* (B, Y) */
                     const float *labels,                     /* (B, Y) in [0, 1] */
                     const float *pos_weight,                 /* (Y) or NULL for 1 */
                     int64_t B, int64_t Y);

void ecg_bce_backward(float *diff_logits,      /* (B, Y) */
                      const float *logits,     /* (B, Y) */
                      const float *labels,     /* (B, Y) */
                      const float *pos_weight, /* (Y) or NULL */
                      int64_t B, int64_t Y);

#endif

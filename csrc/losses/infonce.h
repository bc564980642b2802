/* The contrastive loss of wav2vec 2.0: which candidate belongs to a prediction? */
#ifndef ECG_LOSSES_INFONCE_H
#define ECG_LOSSES_INFONCE_H

#include <stdint.h>

typedef struct {
    int64_t R, D;       /* predictions, their width */
    int64_t negatives;  /* of each prediction */
    int64_t G;          /* code groups */
    double temp;        /* cosines are divided by it */
} ecg_infonce_shape;

typedef struct {
    double loss;     /* sum over the predictions of -log softmax of candidate 0 */
    int64_t correct; /* predictions whose largest logit is candidate 0 while not all are equal */
} ecg_infonce_sums;

/* logits[r, 0] = cos(prediction r, target r) / temp, logits[r, 1 + j] the same with target negatives[r, j], or -inf
 * where that has the same codes as target r. */
void ecg_infonce_forward(ecg_infonce_sums *sums, float *logits, /* (R, 1 + negatives) */
                         float *norms,                          /* (2, R): of predictions and targets, kept */
                         const float *predictions,              /* (R, D) */
                         const float *targets,                  /* (R, D) */
                         const int32_t *codes,                  /* (R, G) */
                         const int32_t *negatives,              /* (R, negatives), each in 0..R-1 */
                         const ecg_infonce_shape *shape);

/* logits becomes the gradient of the cosines on the way. */
void ecg_infonce_backward(float *diff_predictions, /* (R, D) */
                          float *diff_targets,     /* (R, D) */
                          float *logits,           /* (R, 1 + negatives) */
                          const float *norms,      /* (2, R) */
                          const float *predictions, const float *targets, const int32_t *negatives,
                          const ecg_infonce_shape *shape);

#endif

/* The contrastive loss of wav2vec 2.0: which candidate belongs to a prediction? */
#ifndef ECG_LOSSES_INFONCE_H
#define ECG_LOSSES_INFONCE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int64_t R, D;      /* predictions, their width */
    int64_t negatives; /* of each prediction, among the R targets of the predictions */
    int64_t extra;     /* of each prediction, besides those: target R + j R + r is the j-th of prediction r */
    int64_t G;         /* code groups */
    double temp;       /* cosines are divided by it */
    bool binary;       /* not one choice among the candidates, but one of yes and no for each */
} ecg_infonce_shape;

/* n = 1 + negatives + extra candidates; P = R (1 + extra) targets. */

typedef struct {
    double loss;     /* sum over the predictions of -log softmax of candidate 0; binary: the cross entropy of logistic
                        units over all candidates, of which the first should be 1 and the others 0 */
    int64_t correct; /* predictions whose largest logit is candidate 0 while not all are equal */
} ecg_infonce_sums;

/* logits[r, 0] = cos(prediction r, target r) / temp, logits[r, 1 + j] the same with target negatives[r, j] and then
 * with the extra ones, or -inf where that has the same codes as target r. */
void ecg_infonce_forward(ecg_infonce_sums *sums, float *logits, /* (R, n) */
                         float *norms,                          /* (R + P): of predictions and targets, kept */
                         const float *predictions,              /* (R, D) */
                         const float *targets,                  /* (P, D) */
                         const int32_t *codes,                  /* (P, G) */
                         const int32_t *negatives,              /* (R, negatives), each in 0..R-1 */
                         const ecg_infonce_shape *shape);

/* logits becomes the gradient of the cosines on the way. */
void ecg_infonce_backward(float *diff_predictions, /* (R, D) */
                          float *diff_targets,     /* (P, D) */
                          float *logits,           /* (R, n) */
                          const float *norms,      /* (R + P) */
                          const float *predictions, const float *targets, const int32_t *negatives,
                          const ecg_infonce_shape *shape);

#endif

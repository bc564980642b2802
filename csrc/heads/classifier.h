/* The classifier: pooling over time and one linear layer; binary cross entropy with logits. */
#ifndef ECG_HEADS_CLASSIFIER_H
#define ECG_HEADS_CLASSIFIER_H

#include "../losses/bce.h"
#include "head.h"

typedef struct {
    ecg_linear proj; /* (Y, C) */
} ecg_classifier_weights;

/* Its batch; its sums are ecg_bce_sums. */
typedef struct {
    const float *labels;     /* (B, Y); NULL for the logits alone */
    const float *pos_weight; /* (Y) or NULL */
    float *logits;           /* (B, Y), out; or NULL */
} ecg_labelled;

#endif

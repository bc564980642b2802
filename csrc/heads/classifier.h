/* The classifier: pooling over time and one linear layer; a loss of outputs that have labels. */
#ifndef ECG_HEADS_CLASSIFIER_H
#define ECG_HEADS_CLASSIFIER_H

#include "../losses/labelled.h"
#include "head.h"

typedef struct {
    ecg_linear proj; /* (Y, C) */
} ecg_classifier_weights;

/* Its batch; its sums are ecg_label_sums. */
typedef struct {
    const float *labels;   /* (B, Y); NULL for the logits alone */
    ecg_weighed_loss loss; /* of labels */
    float *logits;         /* (B, Y), out; or NULL */
} ecg_labelled;

#endif

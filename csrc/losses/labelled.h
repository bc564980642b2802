/* Losses of outputs (B, Y) that have labels: a loss is a value and a slope of a cell, and a row of a table. What is
 * weighed, left out and counted is the same for all. To add one: its file here, its row in labelled.c. */
#ifndef ECG_LOSSES_LABELLED_H
#define ECG_LOSSES_LABELLED_H

#include <stdbool.h>
#include <stdint.h>

/* What the losses of a cell may depend on beside its logit and its label. */
typedef struct {
    double gamma_positive, gamma_negative; /* of the asymmetric loss: focusing */
    double clip;                           /* of the asymmetric loss: what a negative's probability is lowered by */
} ecg_loss_settings;

/* The loss of a cell as a function of its output z, and its derivative. y is its label; `positive` and `negative` weigh
 * the two terms of a label that is a probability, `negative` alone that of a number. */
typedef struct {
    const char *name;
    bool counts; /* labels are probabilities, and a prediction is positive where the logit is above 0 */
    double (*value)(double z, double y, double positive, double negative, const ecg_loss_settings *settings);
    double (*slope)(double z, double y, double positive, double negative, const ecg_loss_settings *settings);
} ecg_label_loss;

extern const ecg_label_loss ecg_bce, ecg_asymmetric, ecg_mse;

/* The loss of this name; NULL if there is none. */
const ecg_label_loss *ecg_label_loss_named(const char *name);

/* A loss with its settings and weights; NULL for weights of 1. */
typedef struct {
    const ecg_label_loss *loss;
    ecg_loss_settings settings;
    const float *positive; /* (Y) of the term of a positive label */
    const float *negative; /* (Y) of the term of a negative one, or of a number */
    const float *row;      /* (B) */
} ecg_weighed_loss;

/* Sums over the cells of a batch whose label is known. */
typedef struct {
    double loss;
    double weight;       /* of the rows, a cell each; without weights the cells */
    double absolute;     /* differences of output and label, where labels are numbers */
    int64_t count;       /* cells */
    int64_t correct;     /* cells whose prediction equals the label */
    int64_t rows, exact; /* rows with a known label; those with every one correct */
    int64_t true_positive, false_positive, false_negative; /* a label is positive unless it is 0 */
} ecg_label_sums;

/* Adds to `sums`. A label that is NaN is not known: its cell has no loss and is not counted. */
void ecg_labelled_forward(ecg_label_sums *sums, const ecg_weighed_loss *loss, const float *logits, /* (B, Y) */
                          const float *labels,                                                     /* (B, Y) */
                          int64_t B, int64_t Y);

/* The gradient of the summed loss; 0 where the label is NaN. */
void ecg_labelled_backward(float *diff_logits, /* (B, Y) */
                           const ecg_weighed_loss *loss, const float *logits, const float *labels, int64_t B,
                           int64_t Y);

#endif

/* Pretraining: W2V + CMSC on one batch, forward and backward. */
#ifndef ECG_MODEL_PRETRAIN_H
#define ECG_MODEL_PRETRAIN_H

#include "../losses/cmsc.h"
#include "../losses/infonce.h"
#include "trainer.h"

/* Weights and constants of the loss, under the original's names. */
typedef struct {
    double logit_temp, temp;   /* of the cosines; of the quantizer */
    double diversity, penalty; /* loss_weights */
    double cmsc, cmsc_temp;    /* weight (0: none) and temperature */
    double dropout_features;
    bool binary;         /* the form of the contrastive loss without infonce */
    bool predicted_only; /* the steps are predicted, but not masked */
} ecg_pretrain_settings;

/* The rows of all ranks, for CMSC that compares them; this rank's B rows stand at `offset`. */
typedef struct {
    int64_t rows, offset;
    int64_t size;                                   /* sample size of all ranks together */
    const int64_t *ids;                             /* (rows) */
    const uint8_t *second;                          /* (rows) */
    ecg_status (*gather)(void *context, float *dst, /* (rows, C) */
                         const float *own);         /* (B, C) */
    void *context;
} ecg_company;

typedef struct {
    int64_t B, N;
    const float *src;         /* (B, L, N) */
    const int64_t *valid;     /* (B) or NULL */
    const uint8_t *steps;     /* (B, T): masked steps, as many in each row; NULL for CMSC alone */
    const uint8_t *channels;  /* (B, C) or NULL */
    const int32_t *negatives; /* (R, count), rows of the R = B * masked steps */
    int64_t negative_count;
    const int32_t *codebook; /* (codebook_count, R): further negatives, each one of the V^G combinations of entries */
    int64_t codebook_count;
    const float *gumbel;        /* (R, G, V), or NULL for none (validation) */
    const int64_t *ids;         /* (B): whose segment; NULL without CMSC */
    const uint8_t *second;      /* (B): 1 for the second segment of a pair */
    const ecg_company *company; /* NULL: CMSC compares the rows of this batch */
} ecg_pretrain_batch;

/* The parts of the loss, weighted and summed; rows is the sample size: R, or for CMSC alone its pairs. */
typedef struct {
    double contrastive, diversity, penalty, cmsc;
    double prob_perplexity, code_perplexity;
    int64_t rows, correct;
} ecg_pretrain_sums;

/* What a test may look at; NULL for what it does not want. */
typedef struct {
    int32_t *codes; /* (R, G) */
    float *logits;  /* (R, 1 + negative_count + codebook_count) */
} ecg_pretrain_trace;

/* Adds the gradients to the trainer's (with `backward`), as ecg_trainer_accumulate does. */
ecg_status ecg_pretrain_accumulate(ecg_trainer *trainer, ecg_pretrain_sums *sums, const ecg_pretrain_batch *batch,
                                   const ecg_pretrain_settings *settings, bool backward,
                                   const ecg_pretrain_trace *trace, ecg_noise *noise, int threads,
                                   ecg_status (*poll)(void *context), void *context);

#endif

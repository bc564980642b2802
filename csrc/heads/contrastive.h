/* Pretraining: the contrastive loss of wav2vec 2.0 on masked steps (quantizer, projections), CMSC on pairs, or both. */
#ifndef ECG_HEADS_CONTRASTIVE_H
#define ECG_HEADS_CONTRASTIVE_H

#include "../losses/infonce.h"
#include "head.h"

typedef struct {
    float *mask_emb, *vars;                 /* (C); (G, V, D/G) */
    ecg_linear code, project_q, glu, final; /* quantizer.weight_proj, project_q, target_glu.0, final_proj */
} ecg_contrastive_weights;

/* The rows of a pretraining checkpoint; heads that add nothing to it have the same. */
void ecg_put_contrastive_rows(ecg_table_builder *builder, const ecg_config *config, bool front);

/* Weights and constants of the loss, under the original's names. */
typedef struct {
    double logit_temp, temp;   /* of the cosines; of the quantizer */
    double diversity, penalty; /* loss_weights */
    double cmsc, cmsc_temp;    /* weight (0: none) and temperature */
    double dropout_features;
    bool binary;         /* the form of the contrastive loss without infonce */
    bool predicted_only; /* the steps are predicted, but not masked */
} ecg_pretrain_settings;

typedef struct {
    ecg_pretrain_settings settings;
    const uint8_t *steps;     /* (B, T): masked steps, as many in each row; NULL for CMSC alone */
    const uint8_t *channels;  /* (B, C) or NULL */
    const int32_t *negatives; /* (R, count), rows of the R = B * masked steps */
    int64_t negative_count;
    const int32_t *codebook; /* (codebook_count, R): further negatives, each one of the V^G combinations of entries */
    int64_t codebook_count;
    const float *gumbel;   /* (R, G, V), or NULL for none (validation) */
    const int64_t *ids;    /* (B): whose segment; NULL without CMSC */
    const uint8_t *second; /* (B): 1 for the second segment of a pair */
    /* What a test may look at; NULL for what it does not want. */
    int32_t *codes; /* (R, G) */
    float *logits;  /* (R, 1 + negative_count + codebook_count) */
} ecg_pretrain_batch;

/* The parts of the loss, weighted and summed; rows is the sample size: R, or for pairs alone their number. */
typedef struct {
    double contrastive, diversity, penalty, cmsc;
    double prob_perplexity, code_perplexity;
    int64_t rows, correct;
} ecg_pretrain_sums;

#endif

/* What stays from a forward to its backward; and the options of training that decide how much that is. */
#ifndef ECG_NETWORK_KEEP_H
#define ECG_NETWORK_KEEP_H

#include "../base/memory.h"
#include "network.h"

/* The probabilities of dropout, under the names of the original's configuration; 0 where there is none. */
typedef struct {
    double dropout, attention_dropout, activation_dropout, dropout_input, final_dropout;
    double encoder_layerdrop; /* of leaving a whole layer out */
} ecg_dropout_rates;

typedef struct {
    ecg_dropout_rates rates;
    unsigned frozen; /* tensors with any of these flags (ECG_P_...) are not trained: the head's, the extractor's */
    bool recompute;  /* keep the inputs of the encoder layers only and compute their inside again */
    /* Stages of the encoder before this one run as in inference: nothing of them is trained or dropped, they keep
     * nothing, and the backward ends behind them. */
    int64_t first;
    const bool *still; /* (layers): nothing of the layer is trained, so nothing is dropped in it; NULL for none */
    ecg_precision_name precision; /* of the encoder layers' products, float32 or bfloat16 */
} ecg_training;

/* The encoder in stages: 0 is what comes before its layers, 1 + i layer i; in pre-norm order its norm is the last. */
static inline int64_t ecg_stages(const ecg_config *config)
{
    return 1 + config->layers + config->norm_first;
}

/* Which one a tensor of the encoder belongs to. */
int64_t ecg_stage_of(const ecg_config *config, const ecg_parameter *parameter);

/* Dropout of one forward: drawn for (key, row first_row + b), or the masks that are given (1 = kept, row-major;
 * NULL where it is drawn), from their row given_row on; for ECG_DRAW_LAYER an entry a layer, 1 = it runs. */
typedef struct {
    ecg_stream_key key;
    int64_t first_row, given_row;
    const uint8_t *(*given)(void *context, ecg_draw draw, int64_t layer);
    void *context;
} ecg_noise;

/* Draws a mask of B rows of n entries, or takes it from the caller; nothing where nothing is dropped. */
void ecg_make_mask(const ecg_dropout_mask *mask, const ecg_noise *noise, int64_t B, int64_t n, ecg_draw draw,
                   int64_t layer);

/* What a conv block keeps: its norm, or, where it has none, the output of the convolution. */
typedef struct {
    ecg_norm_kept norm; /* (B, steps, channels), (B, channels) or (B * steps) */
    float *hidden;      /* (B, steps, channels), before GELU */
} ecg_conv_kept;

typedef struct {
    ecg_training training;
    bool extractor; /* gradients of the conv blocks, too */
    ecg_conv_kept convs[ECG_MAX_CONVS];
    ecg_norm_kept feature_norm, encoder_norm;  /* (M, K), (M); (M, C), (M) */
    float *pos_src, *pos_hidden;               /* (M, C): input of the positional branch; before its GELU */
    float *diff_pos_weights;                   /* (C, C/groups, conv_pos) */
    ecg_dropout_mask input_mask, encoder_mask; /* (M, C) */
    ecg_transformer_kept *layers;              /* (layers): all the same memory with `recompute` */
    float **layer_src;                         /* (layers) of (M, C): with `recompute`; else of the first one that is
                                                  trained, where what comes before it is not */
    float *layer_rows;                         /* (M, C): a layer's input, restored */
    float *replay;                             /* (M, C): a layer's stream while it is computed again */
    bool *runs;                                /* (layers): false for a layer that was dropped */
    bool overwrite;                            /* the layers' matrices have no gradient yet: write, don't add */
    const ecg_noise *noise;                    /* of the last forward */
} ecg_keep;

ecg_status ecg_keep_create(ecg_keep **dst, const ecg_config *config, const ecg_training *training);
void ecg_keep_free(ecg_keep *keep);

/* The first encoder layer that the backward comes to; `layers` where that is none. */
static inline int64_t ecg_first_layer(const ecg_keep *keep, const ecg_config *config)
{
    int64_t first = keep->training.first > 0 ? keep->training.first - 1 : 0;
    return first < config->layers ? first : config->layers;
}

/* Sizes of what is kept: B segments, steps[i] steps before conv block i. */
typedef struct {
    const ecg_config *config;
    int64_t B, T;
    const int64_t *steps;
    ecg_transformer_types types;
} ecg_keep_shape;

/* Takes the memory of all but the encoder layers, and of those. */
void ecg_keep_lay_out(ecg_keep *keep, ecg_arena *arena, const ecg_keep_shape *shape);
void ecg_keep_lay_out_layers(ecg_keep *keep, ecg_arena *arena, const ecg_keep_shape *shape);

#endif

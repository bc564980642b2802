/* The inside of a workspace, for the files that run it. */
#ifndef ECG_MODEL_WORKSPACE_H
#define ECG_MODEL_WORKSPACE_H

#include "../base/memory.h"
#include "../base/threads.h"
#include "model.h"

/* A convolution and its backward; `fresh` where the weights change, `packed` where they don't. */
typedef struct {
    ecg_conv_spec spec;
    ecg_op packed;
    ecg_fresh_op fresh, backward, gradient;
} ecg_conv_ops;

/* What a conv block keeps: its norm, or, where it has none, the output of the convolution. */
typedef struct {
    ecg_norm_kept norm; /* (B, steps, channels), (B, channels) or (B * steps) */
    float *hidden;      /* (B, steps, channels), before GELU */
} ecg_conv_kept;

struct ecg_workspace {
    ecg_config config;
    int64_t B, N, T;
    int threads;
    int64_t steps[ECG_MAX_CONVS + 1];
    ecg_transformer_shape shape;
    bool trains;
    bool fresh; /* the weights may change from run to run */
    ecg_training training;
    ecg_work_sizes sizes;

    ecg_conv_ops convs[ECG_MAX_CONVS], pos;
    ecg_linear_ops post, proj;
    ecg_transformer_ops ops;

    ecg_arena arena;
    void *owned;               /* the arena's memory, where it is the workspace's own */
    ecg_transformer_work work; /* work.base: stream, packed and scratch memory of all operations */
    float *x;                  /* (B, T, C): the stream through the encoder; then its gradient */
    float *pooled;             /* (B, C) */
    int64_t *tokens;           /* (B): valid tokens */
    const int64_t *valid;      /* tokens, or NULL where no row is padded */
    float *source;             /* (B, N, L) */
    float *ping, *pong;        /* outputs of even and odd conv blocks; their gradients */
    float *features;           /* (B, T, K): in ping or pong */
    float *conv_rows;          /* room for a conv feature: a backward's, a trace's */
    float *pos_weights;        /* (C, C/groups, conv_pos): g v / |v|, where it changes */
    float *diff_pos_weights;   /* the same shape */

    /* Kept for the backward. Without one there is a single entry of `kept`. */
    ecg_conv_kept conv_kept[ECG_MAX_CONVS];
    ecg_norm_kept feature_norm, encoder_norm;              /* (M, K), (M); (M, C), (M) */
    float *pos_src, *pos_hidden;                           /* (M, C): input of the positional branch; before its GELU */
    ecg_dropout_mask input_mask, encoder_mask, final_mask; /* (M, C) */
    ecg_transformer_kept *kept;                            /* (layers) or (1) */
    float **layer_src;                                     /* (layers) of (M, C), with `recompute` */
    float *layer_rows;                                     /* (M, C): a layer's input, restored */
    bool *runs;                                            /* (layers): false for a layer that was dropped */
    float *replay;                                         /* (M, C): a layer's stream while it is computed again */
    float *diff_pooled;                                    /* (B, C) */
    bool overwrite;         /* the layers' matrices have no gradient yet: write, don't add */
    const ecg_noise *noise; /* of the last forward; NULL where nothing is dropped */
};

/* What layer i keeps. */
static inline const ecg_transformer_kept *ecg_kept(const ecg_workspace *w, int64_t layer)
{
    return &w->kept[w->trains && !w->training.recompute ? layer : 0];
}

/* The rows of the batch. */
static inline int64_t ecg_rows(const ecg_workspace *w)
{
    return w->B * w->T;
}

/* Segments of one positional convolution whose weights are packed once: one where the groups keep all threads
 * busy, since oneDNN then blocks base's 48 channels a group by 48, not by 32. */
static inline int64_t ecg_positions_batch(const ecg_config *config, int64_t B)
{
    return config->conv_pos_groups >= ecg_threads() ? 1 : B;
}

/* dst (R, n) = the masked rows of src (M, n), one after another; and dst (M, n) += src (R, n) at those rows. */
void ecg_gather_masked(float *dst, const float *src, const uint8_t *steps, int64_t M, int64_t n);
void ecg_scatter_masked(float *dst, const float *src, const uint8_t *steps, int64_t M, int64_t n);

/* Draws or takes the masks of layer i. */
void ecg_layer_masks(ecg_workspace *w, int64_t layer);

/* dst (M, C) = the input of the layer after layer i, or of the first one where i is -1, in post-norm order. */
void ecg_restore_stream(const ecg_workspace *w, const ecg_network *network, int64_t layer, float *dst);

#endif

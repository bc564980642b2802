/* A network ready for inference: weights packed for the processor, and workspaces that run them.
 * A model is written while it is being loaded and const afterwards; a workspace belongs to one call at
 * a time, so several threads may run one model, each in a workspace of its own. */
#ifndef ECG_MODEL_MODEL_H
#define ECG_MODEL_MODEL_H

#include "../layers/layers.h"
#include "../network/network.h"

typedef struct {
    ecg_config config;
    ecg_table table;
    /* What stays as it is stored (biases, norms, conv_pos's g and v) lies in one block; offsets[i] is where
     * parameter i starts, -1 for one that is packed. */
    float *plain;
    int64_t *offsets;
    bool *set;
    bool ready;
    /* Weights are packed when all of their group are there; `staging` collects query, key and value meanwhile. Both
     * have an entry a row, and use that of a group's first. */
    float **staging;
    ecg_packed *packed;
    ecg_packed pos;      /* conv_pos's weights, made of g and v */
    ecg_network network; /* where all of this is */
} ecg_model;

/* An empty model of a configuration: kind ECG_ENCODER or ECG_CLASSIFIER. Free it with ecg_model_free. */
ecg_status ecg_model_create(ecg_model *model, const ecg_config *config);
void ecg_model_free(ecg_model *model);

/* Takes a copy of parameter `index` of the table: src holds its `count` elements. */
ecg_status ecg_model_set(ecg_model *model, int64_t index, const float *src);

/* Gives parameter `index` back, to the bit. */
ecg_status ecg_model_get(const ecg_model *model, int64_t index, float *dst);

/* Checks that every parameter is set and prepares what is derived from them. */
ecg_status ecg_model_finish(ecg_model *model);

/* ---- forward.c: the one forward ---- */

/* The probabilities of dropout, under the names of the original's configuration; 0 where there is none. */
typedef struct {
    double dropout, attention_dropout, activation_dropout, dropout_input, final_dropout;
    double encoder_layerdrop; /* of leaving a whole layer out */
} ecg_dropout_rates;

/* What a backward needs to be kept. */
typedef struct {
    ecg_dropout_rates rates;
    unsigned
        frozen; /* tensors with any of these flags (ECG_P_...) are not trained; head's and extractor's are looked at */
    bool recompute; /* keep the inputs of the encoder layers only and compute their inside again */
} ecg_training;

static inline bool ecg_trains_extractor(const ecg_training *training)
{
    return !(training->frozen & ECG_P_EXTRACTOR);
}

/* A plan and its memory for batches of B segments of N samples on a number of threads. */
typedef struct ecg_workspace ecg_workspace;

/* A workspace with memory of its own, for a forward alone. */
ecg_status ecg_workspace_create(ecg_workspace **dst, const ecg_config *config, const ecg_network *network, int64_t B,
                                int64_t N, int threads);

/* A workspace whose memory is the caller's: plan, then place before each forward that follows a change of the
 * memory's place or use, on at least ecg_workspace_bytes aligned bytes. training is NULL where no backward runs. */
ecg_status ecg_workspace_plan(ecg_workspace **dst, const ecg_config *config, const ecg_network *network, int64_t B,
                              int64_t N, int threads, const ecg_training *training);
void ecg_workspace_place(ecg_workspace *workspace, void *memory);

void ecg_workspace_free(ecg_workspace *workspace);
size_t ecg_workspace_bytes(const ecg_workspace *workspace);

/* Writes one line per prepared operation ("name implementation") into dst, cut at size. */
void ecg_workspace_describe(const ecg_workspace *workspace, char *dst, size_t size);

/* Dropout of one forward: drawn for (key, row first_row + b), or the masks that are given (1 = kept, row-major;
 * NULL where it is drawn), from their row given_row on; for ECG_DRAW_LAYER an entry a layer, 1 = it runs. */
typedef struct {
    ecg_stream_key key;
    int64_t first_row, given_row;
    const uint8_t *(*given)(void *context, ecg_draw draw, int64_t layer);
    void *context;
} ecg_noise;

/* Masking in pretraining, between the projection and the positional convolution. */
typedef struct {
    const uint8_t *steps;      /* (B, T): 1 = the step becomes mask_emb; as many in each row */
    const uint8_t *channels;   /* (B, C): 1 = the channel becomes 0 at all steps, or NULL */
    bool predicted_only;       /* the steps stay as they are: only their features are wanted */
    float *targets;            /* (R, K): the normed features of the masked steps, out */
    double penalty;            /* mean of the squared conv features, out */
    const float *diff_targets; /* (R, K): for the backward */
    double diff_penalty;       /* d loss / d penalty */
} ecg_masking;

/* What a call wants back; NULL for what it does not. */
typedef struct {
    float *logits;    /* (B, Y), classifier only */
    float *embedding; /* (B, C): `tokens` pooled over time */
    float *tokens;    /* (B, T, C): of encoder layer `layer`, or the encoder's output where that is -1 */
    float *attention; /* (B, layers, T, T): attention weights averaged over heads */
    int64_t layer;
    ecg_masking *masking; /* pretraining only */
    /* Called between layers; anything but ECG_OK ends the forward. */
    ecg_status (*poll)(void *context);
    /* For tests: called with each intermediate result, named as the reference data name it. */
    ecg_status (*trace)(void *context, const char *name, const float *data, int ndim, const int64_t *shape);
    void *context;
} ecg_outputs;

/* One forward of the workspace's B segments. valid[b] = the number of samples of segment b that are not
 * padding, or valid NULL where nothing is padded. noise is NULL where nothing is dropped. */
ecg_status ecg_forward(const ecg_network *network, ecg_workspace *workspace, const float *src, /* (B, L, N) */
                       const int64_t *valid,                                                   /* (B) or NULL */
                       const ecg_noise *noise, const ecg_outputs *outputs);

/* ---- backward.c ---- */

/* Adds the gradients of the parameters, for the last forward through the workspace, to the places that `diff`
 * names; with head_only those of the output layer alone. The gradient that enters the conv blocks is multiplied
 * by feature_grad_mult. */
ecg_status ecg_backward(const ecg_network *diff, const ecg_network *network, ecg_workspace *workspace,
                        const float *diff_logits, /* (B, Y) */
                        bool head_only, double feature_grad_mult, ecg_status (*poll)(void *context), void *context);

/* The same below the heads: the workspace's stream holds the gradient of the encoder's output. masking is that of
 * the forward, or NULL. */
ecg_status ecg_backward_encoder(const ecg_network *diff, const ecg_network *network, ecg_workspace *workspace,
                                const ecg_masking *masking, double feature_grad_mult, ecg_status (*poll)(void *context),
                                void *context);

#endif

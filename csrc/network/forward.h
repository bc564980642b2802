/* The encoder: one forward, and its backward, which any head may use. */
#ifndef ECG_NETWORK_FORWARD_H
#define ECG_NETWORK_FORWARD_H

#include "entry.h"

/* Called between layers; anything but ECG_OK ends the computation. */
typedef struct {
    ecg_status (*call)(void *context); /* or NULL */
    void *context;
} ecg_poll;

/* Places in the encoder where a head may look at what passes, change it, and add to its gradient. */
typedef enum {
    ECG_AT_FEATURES, /* (B, T, K): what the conv blocks give */
    ECG_AT_NORMED,   /* (B, T, K): the same after layer_norm */
    ECG_AT_STREAM    /* (B, T, C): before the positional convolution */
} ecg_seam;

typedef struct {
    void *context;
    void (*forward)(void *context, ecg_seam seam, float *data);
    /* diff is the gradient there. At the features, which are computed again, `data` holds them and is free for any
     * use; elsewhere it is NULL. The features are passed only where the conv blocks are trained. */
    void (*backward)(void *context, ecg_seam seam, float *diff, float *data);
} ecg_seams;

/* What a call wants to see on the way; NULL for what it does not. */
typedef struct {
    float *embedding; /* (B, C): `tokens` pooled over time */
    float *tokens;    /* (B, T, C): of encoder layer `layer`, or the encoder's output where that is -1 */
    float *attention; /* (B, layers, T, T): attention weights averaged over heads */
    int64_t layer;
    const ecg_seams *seams;
    ecg_entry entry; /* where the forward begins or ends, where that is not the signal or the encoder's output */
    ecg_poll poll;
    /* For tests: called with each intermediate result, named as the reference data name it. */
    ecg_status (*trace)(void *context, const char *name, const float *data, int ndim, const int64_t *shape);
    void *trace_context;
} ecg_outputs;

/* What the encoder gives a head. A backward of the head puts the gradient of `output` in its place. */
typedef struct {
    float *output; /* (B, T, C), 0 at padded rows */
    int64_t B, T, C;
    ecg_stream *stream; /* for the head's operations */
} ecg_encoded;

/* One forward of the plan's B segments. valid[b] = the number of samples of segment b that are not padding, or valid
 * NULL where nothing is padded. noise is NULL where nothing is kept for a backward; what it points at stays until the
 * backward has run. */
ecg_status ecg_encode(ecg_encoded *dst, const ecg_network *network, ecg_plan *plan, const float *src, /* (B, L, N) */
                      const int64_t *valid,                                                           /* (B) or NULL */
                      const ecg_noise *noise, const ecg_outputs *outputs);

/* From the gradient of the last forward's output, which is in its place, adds the gradients of the parameters to the
 * places that `diff` names. The gradient that enters the conv blocks is multiplied by feature_grad_mult. */
ecg_status ecg_encode_backward(const ecg_network *diff, const ecg_network *network, ecg_plan *plan,
                               const ecg_seams *seams, /* those of the forward, or NULL */
                               double feature_grad_mult, const ecg_poll *poll);

/* Draws or takes the dropout masks of encoder layer i. */
void ecg_layer_masks(ecg_plan *plan, int64_t layer);

static inline ecg_status ecg_poll_call(const ecg_poll *poll)
{
    return poll->call ? poll->call(poll->context) : ECG_OK;
}

#endif

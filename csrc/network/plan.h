/* A plan: prepared operations and working memory for batches of one shape on a number of threads. */
#ifndef ECG_NETWORK_PLAN_H
#define ECG_NETWORK_PLAN_H

#include "keep.h"

/* A convolution and its backward; `fresh` where the weights change; where they don't, `packed`, or as products of
 * blocks. */
typedef struct {
    ecg_conv_spec spec;
    bool blocks;
    ecg_op packed;
    ecg_fresh_op fresh, backward, gradient;
} ecg_conv_ops;

/* Used by one call at a time. */
typedef struct {
    ecg_config config;
    int64_t B, N, T;
    int threads;
    int64_t steps[ECG_MAX_CONVS + 1];
    ecg_transformer_shape shape;
    bool fresh; /* the weights may change from run to run */
    ecg_precision precision;
    ecg_work_sizes sizes;

    ecg_conv_ops convs[ECG_MAX_CONVS], pos;
    ecg_linear_ops post;
    ecg_transformer_ops ops;

    ecg_arena arena;
    ecg_transformer_work work;  /* work.base: stream, packed and scratch memory of all operations */
    float *x;                   /* (B, T, C): the stream through the encoder; then its gradient */
    int64_t *tokens;            /* (B): valid tokens */
    const int64_t *valid;       /* tokens, or NULL where no row is padded */
    float *source;              /* (B, N, L) */
    ecg_operand position_rows;  /* (B T, C): as the positional convolution takes them, where that is no float32 */
    float *ping, *pong;         /* outputs of even and odd conv blocks; their gradients */
    float *features;            /* (B, T, K): in ping or pong */
    float *conv_rows;           /* room for a conv feature of a backward */
    float *pos_weights;         /* (C, C/groups, conv_pos): g v / |v|, where it changes */
    ecg_transformer_kept layer; /* what an encoder layer leaves behind, where nothing is kept */
    ecg_keep *keep;             /* what is kept for a backward; NULL where none runs */
} ecg_plan;

/* A plan whose memory is the caller's: create, then place before each forward that follows a change of the memory's
 * place or use, on at least ecg_plan_memory aligned bytes. training is NULL where no backward runs. */
ecg_status ecg_plan_create(ecg_plan **dst, const ecg_config *config, const ecg_network *network, int64_t B, int64_t N,
                           int threads, const ecg_training *training);
void ecg_plan_place(ecg_plan *plan, void *memory);
void ecg_plan_free(ecg_plan *plan);
size_t ecg_plan_memory(const ecg_plan *plan);

/* Bytes that the plan holds itself: weights in other layouts. */
size_t ecg_plan_own(const ecg_plan *plan);

/* Convolutions of a batch: conv block i on so many steps, and the positional one, in a type and with a float32 result;
 * of another type it has GELU in it. */
ecg_conv_spec ecg_block_spec(const ecg_config *config, int64_t i, int64_t B, int64_t steps);
ecg_conv_spec ecg_positions_spec(const ecg_config *config, ecg_dtype type, int64_t B, int64_t T);

/* Segments of one positional convolution whose weights are packed once: one where the groups keep all threads
 * busy, since oneDNN then blocks base's 48 channels a group by 48, not by 32. */
int64_t ecg_positions_batch(const ecg_config *config, int64_t B);

/* The rows of the batch. */
static inline int64_t ecg_rows(const ecg_plan *plan)
{
    return plan->B * plan->T;
}

/* What layer i leaves behind. */
static inline const ecg_transformer_kept *ecg_kept(const ecg_plan *plan, int64_t layer)
{
    if (!plan->keep)
        return &plan->layer;
    return &plan->keep->layers[layer];
}

/* What is kept of what comes before the encoder layers; NULL for nothing. */
static inline ecg_keep *ecg_front_kept(const ecg_plan *plan)
{
    return plan->keep && plan->keep->training.first == 0 ? plan->keep : NULL;
}

/* ---- describe.c ---- */

/* Text that is cut at its end. */
typedef struct {
    char *end;
    size_t room;
} ecg_text;

/* One line per prepared operation: "name implementation". */
void ecg_plan_describe(const ecg_plan *plan, ecg_text *dst);
void ecg_describe_linear(ecg_text *dst, const char *name, const ecg_linear_ops *ops);

#endif

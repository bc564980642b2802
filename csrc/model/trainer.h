/* A network that is being trained: parameters, gradients and both moments of Adam, one flat block each with
 * the same offsets. Used by one call at a time. */
#ifndef ECG_MODEL_TRAINER_H
#define ECG_MODEL_TRAINER_H

#include "../losses/bce.h"
#include "adam.h"
#include "model.h"

typedef enum { ECG_PARAMETERS, ECG_GRADIENTS, ECG_EXP_AVG, ECG_EXP_AVG_SQ, ECG_BLOCKS } ecg_block;

/* Plans that are kept for later calls; all of them share one piece of memory. */
#define ECG_TRAINER_PLANS 6

typedef struct {
    ecg_workspace *workspace;
    int64_t B, N;
    int threads;
    bool trains;
    uint64_t used; /* when, counted in uses */
} ecg_trainer_plan;

/* Neighbouring elements of one tensor: what a thread takes at a time. */
typedef struct {
    int64_t tensor, begin, count;
    double squares;
} ecg_piece;

typedef struct {
    ecg_config config;
    ecg_table table;
    ecg_training training;
    double feature_grad_mult; /* 0: the conv blocks are frozen */
    int64_t *offsets;         /* (table.count): in elements; tensors without a gradient lie at the end */
    bool *trained;            /* (table.count): has a gradient and moments */
    int64_t *steps;           /* (table.count): Adam steps that the tensor has seen */
    int64_t sizes[ECG_BLOCKS];
    float *blocks[ECG_BLOCKS];
    ecg_network parameters, gradients;
    ecg_piece *pieces;
    int64_t piece_count;
    bool accumulating; /* false: the next batch starts from gradients of 0 */
    ecg_trainer_plan plans[ECG_TRAINER_PLANS];
    uint64_t uses;
    void *memory;
    size_t memory_bytes;
    void *heads; /* what the heads of pretraining work in */
    size_t heads_bytes;
    float *logits, *diff_logits; /* (rows, Y) of one pass */
    int64_t logits_rows;
} ecg_trainer;

ecg_status ecg_trainer_create(ecg_trainer *trainer, const ecg_config *config, const ecg_training *training,
                              double feature_grad_mult);
void ecg_trainer_free(ecg_trainer *trainer);

/* Where tensor i is in a block; NULL where it has no place in it. */
float *ecg_trainer_tensor(const ecg_trainer *trainer, ecg_block block, int64_t index);

/* One batch: adds its loss to `sums` and its gradients to those there are. `threads` as of ecg_threads_begin. With
 * head_only the encoder gets none. On failure the gradients count as none. */
ecg_status ecg_trainer_accumulate(ecg_trainer *trainer, ecg_bce_sums *sums, const float *src, /* (B, L, N) */
                                  const int64_t *valid,                                       /* (B) or NULL */
                                  const float *labels,                                        /* (B, Y) */
                                  const float *pos_weight,                                    /* (Y) or NULL */
                                  int64_t B, int64_t N, bool head_only, ecg_noise *noise, int threads,
                                  ecg_status (*poll)(void *context), void *context);

/* Ends the accumulation: gradients / denominator, clipped to clip_norm if that is above 0, go into one step of Adam,
 * unless their norm (*gnorm, before clipping) is not finite: then nothing changes and *applied is false. */
ecg_status ecg_trainer_update(ecg_trainer *trainer, const ecg_adam *adam, double denominator, double clip_norm,
                              bool head_only, double *gnorm, bool *applied);

/* The network as it is, without dropout: as ecg_forward, B segments at once. */
ecg_status ecg_trainer_forward(ecg_trainer *trainer, const float *src, const int64_t *valid, int64_t B, int64_t N,
                               int threads, const ecg_outputs *outputs);

/* A plan for this shape, placed on the trainer's memory. */
ecg_status ecg_trainer_plan_for(ecg_trainer *trainer, ecg_workspace **dst, int64_t B, int64_t N, int threads,
                                bool trains);

/* Starts an accumulation with gradients of 0, unless one is going on. */
void ecg_trainer_begin(ecg_trainer *trainer);

/* How many segments of N samples one pass takes. */
int64_t ecg_trainer_pass(const ecg_trainer *trainer, int64_t N);

#endif

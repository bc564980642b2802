/* A network that is being trained: parameters, gradients and both moments of Adam, one flat block each with
 * the same offsets. Used by one call at a time. */
#ifndef ECG_ENGINE_TRAINER_H
#define ECG_ENGINE_TRAINER_H

#include "adam.h"
#include "adapters.h"
#include "choose.h"
#include "runner.h"

typedef enum { ECG_PARAMETERS, ECG_GRADIENTS, ECG_EXP_AVG, ECG_EXP_AVG_SQ, ECG_BLOCKS } ecg_block;

/* Runners that are kept for later calls; all of them share one piece of memory. */
#define ECG_TRAINER_RUNNERS 6

/* Neighbouring elements of one tensor: what a thread takes at a time. */
typedef struct {
    int64_t tensor, begin, count;
    double squares;
} ecg_piece;

/* One batch. */
typedef struct {
    int64_t B, N;
    const float *src; /* (B, L, N), or NULL: then the rows that enter the first stage that is trained */
    const void *rows; /* (B, T, C), as ecg_trainer_below gives them */
    ecg_dtype rows_type;
    const int64_t *valid; /* (B) or NULL */
    const void *batch;    /* what the head takes besides */
    void *sums;           /* what the head adds to */
    ecg_noise noise;
    int threads; /* as of ecg_threads_begin */
    bool backward;
    bool head_only; /* the encoder gets no gradients */
    ecg_poll poll;
} ecg_step;

/* A part of a batch on its way from forward to backward. */
typedef struct {
    ecg_step step;
    ecg_head_task task;
    ecg_runner *runner; /* NULL: there is none */
    ecg_encoded encoded;
    bool overwrite; /* gradients of the layers' matrices: there are none yet */
} ecg_pass;

typedef struct {
    ecg_config config;
    const ecg_head_type *head;
    ecg_table table;
    ecg_training training;
    double feature_grad_mult; /* 0: the conv blocks are frozen */
    ecg_chosen chosen;        /* what is trained, and where it lies */
    int64_t *steps;           /* (table.count): Adam steps that the tensor has seen */
    double *rates;            /* (table.count): what the learning rate is multiplied by */
    ecg_adapter *adapters;    /* (adapter_count) */
    int64_t adapter_count;
    int64_t sizes[ECG_BLOCKS];
    float *blocks[ECG_BLOCKS];
    ecg_network parameters, gradients;
    ecg_piece *pieces;
    int64_t piece_count;
    bool accumulating; /* false: the next batch starts from gradients of 0 */
    ecg_runner runners[ECG_TRAINER_RUNNERS];
    uint64_t used[ECG_TRAINER_RUNNERS]; /* when, counted in uses */
    uint64_t uses;
    void *memory;
    size_t memory_bytes;
    ecg_pass pass; /* the one at hand */
} ecg_trainer;

/* The choice is of what feature_grad_mult and training->frozen leave; NULL for all of it. It names adapters, too. */
ecg_status ecg_trainer_create(ecg_trainer *trainer, const ecg_config *config, const ecg_head_type *head,
                              const ecg_training *training, double feature_grad_mult, const ecg_choice *choice);
void ecg_trainer_free(ecg_trainer *trainer);

/* Takes the weights that have adapters as their bases, of which W = base + B A is made. */
void ecg_trainer_take_bases(ecg_trainer *trainer);

/* Makes the weights that have adapters anew. */
void ecg_trainer_merge(ecg_trainer *trainer);

/* Where tensor i is in a block; NULL where it has no place in it. */
float *ecg_trainer_tensor(const ecg_trainer *trainer, ecg_block block, int64_t index);

/* One batch: the head adds to its sums; with step->backward the gradients are added to those there are. A batch that
 * the head refuses changes nothing; on any other failure the gradients count as none. */
ecg_status ecg_trainer_run(ecg_trainer *trainer, const ecg_step *step);

/* What lies below all that is trained, without dropout: the rows of the step's signals that enter the first stage of
 * which something is trained; pooled over time, (B, C), where that is the encoder's output and `pooled`. Those enter a
 * step as segments of one token. Refused where nothing lies below. */
ecg_status ecg_trainer_below(ecg_trainer *trainer, const ecg_step *step, void *dst, ecg_dtype type, bool pooled);

/* ecg_trainer_run in two halves, for a head whose rows are compared with those of other ranks: *rows (B, C) are this
 * rank's, NULL where the batch has none. Any call between them, but for reading arrays, drops the first half. */
ecg_status ecg_trainer_run_forward(ecg_trainer *trainer, const ecg_step *step, const float **rows);
ecg_status ecg_trainer_run_backward(ecg_trainer *trainer, const ecg_company *all, const ecg_poll *poll);

/* Whether a first half waits for its second; and dropping it. */
bool ecg_trainer_waits(const ecg_trainer *trainer);
void ecg_trainer_drop(ecg_trainer *trainer);

/* Ends the accumulation: gradients / denominator, clipped to clip_norm if that is above 0, go into one step of Adam,
 * unless their norm (*gnorm, before clipping) is not finite: then nothing changes and *applied is false. */
ecg_status ecg_trainer_update(ecg_trainer *trainer, const ecg_adam *adam, double denominator, double clip_norm,
                              bool head_only, double *gnorm, bool *applied);

/* Starts an accumulation with gradients of 0, unless one is going on. */
void ecg_trainer_begin(ecg_trainer *trainer);

#endif

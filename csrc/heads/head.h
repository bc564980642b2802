/* A head: what turns the encoder's output into a loss, or into outputs, and back into its gradient. A type of heads is
 * a struct of functions; each head owns what it prepares and says how much memory it works in. To add one: its file
 * here, its loss in losses/, its entry in the table of head.c. */
#ifndef ECG_HEADS_HEAD_H
#define ECG_HEADS_HEAD_H

#include "../network/forward.h"

/* One batch, or a pass of it, as a head sees it. */
typedef struct {
    const ecg_config *config;
    const ecg_network *network;
    const ecg_training *training; /* NULL where no backward runs */
    const ecg_noise *noise;       /* NULL where nothing is dropped */
    int64_t B, T;
    int64_t first;     /* rows of the batch before these */
    const void *batch; /* what the head takes: a type of its own */
    void *sums;        /* what it adds to: a type of its own, NULL for nothing */
} ecg_head_task;

/* The rows of all ranks, for a loss that compares them; this rank's B rows are at `offset`. */
typedef struct {
    int64_t rows, offset;
    int64_t size;          /* sample size of all ranks together */
    const float *features; /* (rows, C) */
    const int64_t *ids;    /* (rows) */
    const uint8_t *second; /* (rows) */
} ecg_company;

/* The front of each head's state. */
typedef struct {
    ecg_work work;
    const ecg_head_task *task; /* the batch at hand */
} ecg_head_state;

/* The functions take the state. Those that are NULL have nothing to do. */
typedef struct {
    const char *name;
    ecg_kind kind;      /* of the networks that it is a head of */
    ecg_head_rows rows; /* its parameters */
    size_t size;        /* bytes of its state, which begins as zeros */
    bool splits;        /* rows of a batch don't know of each other: it may run in passes */
    /* Refuses a batch that can't be right, before anything changes. */
    ecg_status (*check)(const ecg_head_task *task);
    /* Prepares operations for batches of this shape, once for each shape; enlarges `sizes` to what they need. */
    ecg_status (*plan)(void *head, ecg_work_sizes *sizes);
    /* Takes the memory that it works in. */
    void (*lay_out)(void *head, ecg_arena *arena);
    /* What it does in the encoder, in both directions, as ecg_seams. */
    void (*at_seam)(void *head, ecg_seam seam, float *data);
    void (*at_seam_backward)(void *head, ecg_seam seam, float *diff, float *data);
    ecg_status (*forward)(void *head, const ecg_encoded *encoded);
    /* Rows (B, C) of this batch that are compared with each other, NULL for none; and their loss, over the rows of all
     * ranks or, with `all` NULL, of this batch. Between forward and backward. */
    const float *(*compared)(void *head);
    ecg_status (*compare)(void *head, const ecg_company *all);
    /* Puts the gradient of the encoder's output in its place and adds those of the head's parameters to diff->head. */
    ecg_status (*backward)(void *head, const ecg_encoded *encoded, const ecg_network *diff);
    void (*free)(void *head);
    void (*describe)(const void *head, ecg_text *dst);
} ecg_head_type;

extern const ecg_head_type ecg_head_classifier, ecg_head_contrastive, ecg_head_simclr;

/* All types of heads: a head is added here. */
extern const ecg_head_type *const ecg_heads[];
extern const int ecg_head_count;

/* The type of this name, and the first one of a kind; NULL if there is none. */
const ecg_head_type *ecg_head_named(const char *name);
const ecg_head_type *ecg_head_of(ecg_kind kind);

/* What of a type goes into the table of parameters; NULL for none. */
static inline const ecg_head_rows *ecg_rows_of(const ecg_head_type *type)
{
    return type ? &type->rows : NULL;
}

/* A head of some type; a zeroed struct is none, for which all of these do nothing. */
typedef struct {
    const ecg_head_type *type;
    void *state;
    ecg_work_sizes sizes;
    ecg_arena arena;
    ecg_seams seams;
} ecg_head;

ecg_status ecg_head_create(ecg_head *head, const ecg_head_type *type);
void ecg_head_free(ecg_head *head);

/* Turns to a batch, which stays until the backward has run: prepares for its shape; then arena.peak aligned bytes are
 * to be given to it before the forward. */
ecg_status ecg_head_plan(ecg_head *head, const ecg_head_task *task);
void ecg_head_place(ecg_head *head, void *memory);

ecg_status ecg_head_forward(ecg_head *head, const ecg_encoded *encoded);

/* What it does in the encoder; NULL for nothing. */
const ecg_seams *ecg_head_seams(const ecg_head *head);

#endif

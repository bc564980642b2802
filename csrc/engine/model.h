/* A network ready for inference: weights packed for the processor, and the runners that compute with them. A model is
 * written while it is being loaded; once it is finished, any number of threads may run it. */
#ifndef ECG_ENGINE_MODEL_H
#define ECG_ENGINE_MODEL_H

#include "pool.h"
#include "positions.h"

/* Int8 weights of a group, until all are there. */
typedef struct {
    int8_t *data;            /* (parts N, K) */
    float *scales, *factors; /* (parts N), (K) */
} ecg_numbers;

typedef struct {
    ecg_config config;
    const ecg_head_type *head; /* NULL for an encoder alone */
    ecg_table table;
    /* What stays as it is stored (biases, norms, conv_pos's g) lies in one block; offsets[i] is where
     * parameter i starts, -1 for one that is packed. */
    float *plain;
    int64_t *offsets;
    bool *set;
    bool ready;
    _Atomic bool was_run;
    /* Weights are packed when all of their group are there; `staging` collects query, key and value meanwhile. Both
     * have an entry a row, and use that of a group's first. */
    float **staging;
    ecg_numbers *numbers; /* the same of what is set in int8 */
    float *spare;         /* a stack of spare_count elements that is not in use, or NULL */
    int64_t spare_count;
    ecg_packed *packed;
    ecg_positions positions; /* conv_pos's weights, made of g and v */
    ecg_network network;     /* where all of this is */
    ecg_pool pool;
} ecg_model;

/* An empty model of a configuration: kind ECG_ENCODER or ECG_CLASSIFIER, in a precision that the processor supports.
 * Free it with ecg_model_free. */
ecg_status ecg_model_create(ecg_model *model, const ecg_config *config, ecg_precision_name precision);
void ecg_model_free(ecg_model *model);

/* Takes a copy of parameter `index` of the table: src holds its `count` elements. Not once it was run. */
ecg_status ecg_model_set(ecg_model *model, int64_t index, const float *src);

/* Gives parameter `index` back: to the bit, or, where it is packed in another type than float32, rounded to that. */
ecg_status ecg_model_get(const ecg_model *model, int64_t index, float *dst);

/* The type in which parameter `index` is held. */
ecg_dtype ecg_model_type(const ecg_model *model, int64_t index);

/* The same of one that is held in int8 (N, K): the numbers, the scales of its rows and the factors of its columns; see
 * ecg_packed. All of a group are set so, or none, and the factors of a group are the same. */
ecg_status ecg_model_set_numbers(ecg_model *model, int64_t index, const int8_t *numbers, /* (N, K) */
                                 const float *scales, const float *factors);             /* (N), (K) */
ecg_status ecg_model_get_numbers(const ecg_model *model, int64_t index, int8_t *numbers, float *scales, float *factors);

/* Checks that every parameter is set and prepares what is derived from them. */
ecg_status ecg_model_finish(ecg_model *model);

#endif

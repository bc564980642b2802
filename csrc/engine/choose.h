/* What of a network is trained: which tensors, which stages of the encoder the backward comes to, and where the tensors
 * lie in the blocks. */
#ifndef ECG_ENGINE_CHOOSE_H
#define ECG_ENGINE_CHOOSE_H

#include "../heads/head.h"

/* Says of a tensor whether it is trained; without a function all are. */
typedef struct {
    bool (*trains)(void *context, const char *name);
    void *context;
    int64_t rank, adapted; /* of the adapters, 0 for none, and the first layer that has them */
} ecg_choice;

typedef struct {
    bool *trained;    /* (tensors): it has moments, and an update changes it */
    bool *gradients;  /* (tensors): it has a place among the gradients; so has all of a group of which one is trained */
    bool *still;      /* (layers): nothing of the encoder layer is trained */
    int64_t *offsets; /* (tensors): in the blocks, in elements; what has no gradient lies at the end */
    /* Of what has moments; with that whose gradient is for an adapter; of all. */
    int64_t moments, elements, all;
} ecg_chosen;

/* Chooses, and tells `training`: its `first` and `still`, which lies in dst, and whether the extractor is frozen. A
 * choice with which the head can't train is refused. The caller frees dst with ecg_chosen_free, in any case. */
ecg_status ecg_choose(ecg_chosen *dst, ecg_training *training, const ecg_table *table, const ecg_config *config,
                      const ecg_head_type *head, const ecg_choice *choice);
void ecg_chosen_free(ecg_chosen *chosen);

#endif

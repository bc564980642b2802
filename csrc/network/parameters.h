/* The one table of a network's parameters, in the order of the original's checkpoints. A row says all of a tensor: its
 * name, shape and initial values, where its pointer is, what kind of tensor it is. Everything that walks over
 * parameters (allocation, packing, loading, training, tests) loops over this table and looks at the row alone. */
#ifndef ECG_NETWORK_PARAMETERS_H
#define ECG_NETWORK_PARAMETERS_H

#include "config.h"

typedef enum {
    ECG_INIT_ZEROS,
    ECG_INIT_ONES,
    ECG_INIT_NORMAL,  /* mean 0, standard deviation `scale` */
    ECG_INIT_UNIFORM, /* -scale .. scale */
    ECG_INIT_UNIT,    /* 0 .. 1 */
    ECG_INIT_TAP_NORM /* norm of conv_pos's v for each tap */
} ecg_init;

/* What a tensor is; a row has any number of these. */
enum {
    ECG_P_LAYER = 1,     /* of an encoder layer */
    ECG_P_MATRIX = 2,    /* the weight of a linear layer: packed for inference */
    ECG_P_CONV = 4,      /* the weight of a conv block: packed for inference */
    ECG_P_EXTRACTOR = 8, /* of the conv blocks */
    ECG_P_HEAD = 16,     /* of a head: not of the encoder */
    ECG_P_MASK = 32,     /* what masked steps become */
    ECG_P_SEGMENTS = 64, /* a row of its layer is a segment, not a token */
};
#define ECG_P_PACKED (ECG_P_MATRIX | ECG_P_CONV)

typedef struct {
    char name[96];
    int ndim;
    int64_t shape[3];
    int64_t count; /* elements */
    int64_t layer; /* of the encoder or of the extractor; 0 elsewhere */
    ecg_init init;
    double scale;
    unsigned flags;
    /* Where its pointer is: an offset in ecg_network, or with ECG_P_LAYER in the weights of that layer. Tensors that
     * have the same place form a group and lie behind each other in memory, as query, key and value do: this is number
     * `part` of `parts` tensors of one shape, and `first` the row in which the group begins. */
    size_t field;
    int64_t part, parts, first;
} ecg_parameter;

typedef struct {
    ecg_parameter *parameters; /* (count) */
    int64_t count;
    int64_t elements; /* of all tensors together */
} ecg_table;

/* Builds the table of a configuration (which it checks). The caller frees it with ecg_table_free. */
ecg_status ecg_table_create(ecg_table *table, const ecg_config *config);
void ecg_table_free(ecg_table *table);

/* Gives the tensors i with chosen[i] == wanted their places in a block after `end`, groups together, each aligned:
 * offsets[i] in elements. Returns where the block ends. */
int64_t ecg_table_place(const ecg_table *table, int64_t *offsets, /* (count) */
                        const bool *chosen,                       /* (count) */
                        bool wanted, int64_t end);

#endif

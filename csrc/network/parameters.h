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
    ECG_P_POS_V = 128,   /* conv_pos's v: packed for inference together with g */
    ECG_P_POS_G = 256,   /* conv_pos's g */
    ECG_P_ADAPTER = 512, /* of a low-rank adapter: it has no place in a struct, `first` is the weight it is added to */
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
    /* Where its pointer is: an offset in ecg_network, with ECG_P_LAYER in the weights of that layer, with ECG_P_HEAD in
     * those of the head. Tensors that have the same place form a group and lie behind each other in memory, as query,
     * key and value do: this is number `part` of `parts` tensors of one shape, and `first` the row in which the group
     * begins. */
    size_t field;
    int64_t part, parts, first;
} ecg_parameter;

typedef struct {
    ecg_parameter *parameters; /* (count) */
    int64_t count;
    int64_t elements; /* of all tensors together */
} ecg_table;

/* ---- how a table is built ---- */

/* Appends rows; without `parameters` it only counts. */
typedef struct {
    ecg_parameter *parameters;
    int64_t count, capacity;
    const char *prefix; /* of all names */
    bool overflow;
} ecg_table_builder;

typedef struct {
    int ndim;
    int64_t shape[3];
} ecg_dims;

#define ECG_DIMS1(a) ((ecg_dims){1, {a, 0, 0}})
#define ECG_DIMS2(a, b) ((ecg_dims){2, {a, b, 0}})
#define ECG_DIMS3(a, b, c) ((ecg_dims){3, {a, b, c}})

/* Appends `row`, of which name, shape, count and `first` are filled in. */
void ecg_put(ecg_table_builder *builder, ecg_parameter row, ecg_dims shape, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* A linear layer whose ecg_linear is at `field`, with PyTorch's default: weight and bias uniform in +-1/sqrt(src). */
void ecg_put_linear(ecg_table_builder *builder, size_t field, unsigned flags, int64_t dst, int64_t src,
                    const char *name);

/* What a head adds to the table. */
typedef struct {
    const char *encoder_prefix; /* of the names of the encoder's tensors */
    size_t weights;             /* bytes of the struct in which the head's places are */
    /* Its rows, those before the encoder's (front) or those after them. */
    void (*put)(ecg_table_builder *builder, const ecg_config *config, bool front);
} ecg_head_rows;

/* Builds the table of a configuration (which it checks) and a head, NULL for the encoder alone. The caller frees it
 * with ecg_table_free. */
ecg_status ecg_table_create(ecg_table *table, const ecg_config *config, const ecg_head_rows *head);
void ecg_table_free(ecg_table *table);

/* The same with adapters of a rank for the queries and values of the encoder layers from `layer` on: rows at the end, A
 * (rank, C) and B (C, rank) of each in turn. */
ecg_status ecg_table_create_adapted(ecg_table *table, const ecg_config *config, const ecg_head_rows *head, int64_t rank,
                                    int64_t layer);

/* Gives the tensors i with chosen[i] == wanted their places in a block after `end`, groups together, each aligned:
 * offsets[i] in elements. Returns where the block ends. */
int64_t ecg_table_place(const ecg_table *table, int64_t *offsets, /* (count) */
                        const bool *chosen,                       /* (count) */
                        bool wanted, int64_t end);

#endif

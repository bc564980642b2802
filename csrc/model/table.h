/* The configuration of a network and the one table of its parameters: name, shape, initial values and
 * role of each tensor, in the order of the original's checkpoints. Everything that walks over
 * parameters (allocation, loading, saving, counting, tests) walks over this table. */
#ifndef ECG_MODEL_TABLE_H
#define ECG_MODEL_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "../base/status.h"

#define ECG_MAX_CONVS 16

typedef enum {
    ECG_ENCODER,    /* the encoder alone: a pretraining checkpoint without its heads */
    ECG_CLASSIFIER, /* names start with "encoder.", then proj */
    ECG_PRETRAINING /* the encoder, mask_emb, quantizer, project_q, [target_glu], final_proj */
} ecg_kind;

typedef struct {
    int64_t channels, kernel, stride;
} ecg_conv_spec;

/* In brackets the original's key. */
typedef struct {
    ecg_kind kind;
    int64_t layers;            /* [encoder_layers] */
    int64_t C, F, H;           /* [encoder_embed_dim], [encoder_ffn_embed_dim], [encoder_attention_heads] */
    bool norm_first;           /* [layer_norm_first] */
    bool extractor_layer_norm; /* [extractor_mode] is layer_norm, not default */
    bool conv_bias;            /* [conv_bias] */
    int64_t leads;             /* [in_d] */
    int64_t conv_count;        /* [conv_feature_layers] */
    ecg_conv_spec convs[ECG_MAX_CONVS];
    int64_t conv_pos, conv_pos_groups;
    int64_t labels;                                            /* [num_labels], classifier only */
    int64_t latent_vars, latent_groups, latent_dim, final_dim; /* pretraining only */
    bool target_glu;
} ecg_config;

/* Checks every number of the configuration; ECG_BAD_CONFIG names the key. */
ecg_status ecg_config_check(const ecg_config *config);

/* Width of the conv features, K. */
int64_t ecg_config_features(const ecg_config *config);

/* Steps after each conv layer for N samples: steps[0] = N, steps[conv_count] = T; 0 where there are none. */
void ecg_config_steps(const ecg_config *config, int64_t N, int64_t steps[ECG_MAX_CONVS + 1]);

/* The smallest N that gives one token. */
int64_t ecg_config_min_samples(const ecg_config *config);

typedef enum {
    ECG_QUERY_WEIGHT,
    ECG_QUERY_BIAS,
    ECG_KEY_WEIGHT,
    ECG_KEY_BIAS,
    ECG_VALUE_WEIGHT,
    ECG_VALUE_BIAS,
    ECG_OUT_WEIGHT,
    ECG_OUT_BIAS,
    ECG_NORM1_WEIGHT,
    ECG_NORM1_BIAS,
    ECG_FC1_WEIGHT,
    ECG_FC1_BIAS,
    ECG_FC2_WEIGHT,
    ECG_FC2_BIAS,
    ECG_NORM2_WEIGHT,
    ECG_NORM2_BIAS,
    ECG_ENCODER_NORM_WEIGHT,
    ECG_ENCODER_NORM_BIAS,
    ECG_CONV_WEIGHT,
    ECG_CONV_BIAS,
    ECG_CONV_NORM_WEIGHT,
    ECG_CONV_NORM_BIAS,
    ECG_POST_WEIGHT,
    ECG_POST_BIAS,
    ECG_POS_BIAS,
    ECG_POS_G,
    ECG_POS_V,
    ECG_FEATURE_NORM_WEIGHT,
    ECG_FEATURE_NORM_BIAS,
    ECG_PROJ_WEIGHT,
    ECG_PROJ_BIAS,
    ECG_MASK_EMB,
    ECG_VARS,
    ECG_CODE_WEIGHT,
    ECG_CODE_BIAS,
    ECG_PROJECT_Q_WEIGHT,
    ECG_PROJECT_Q_BIAS,
    ECG_GLU_WEIGHT,
    ECG_GLU_BIAS,
    ECG_FINAL_PROJ_WEIGHT,
    ECG_FINAL_PROJ_BIAS
} ecg_role;

typedef enum {
    ECG_INIT_ZEROS,
    ECG_INIT_ONES,
    ECG_INIT_NORMAL,  /* mean 0, standard deviation `scale` */
    ECG_INIT_UNIFORM, /* -scale .. scale */
    ECG_INIT_UNIT,    /* 0 .. 1 */
    ECG_INIT_TAP_NORM /* norm of conv_pos's v for each tap */
} ecg_init;

typedef struct {
    char name[96];
    int ndim;
    int64_t shape[3];
    int64_t count; /* elements */
    ecg_role role;
    int64_t layer; /* of the encoder or of the extractor; 0 elsewhere */
    ecg_init init;
    double scale;
} ecg_parameter;

typedef struct {
    ecg_parameter *parameters; /* (count) */
    int64_t count;
    int64_t elements; /* of all tensors together */
} ecg_table;

/* Builds the table of a configuration (which it checks). The caller frees it with ecg_table_free. */
ecg_status ecg_table_create(ecg_table *table, const ecg_config *config);
void ecg_table_free(ecg_table *table);

#endif

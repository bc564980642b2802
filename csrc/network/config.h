/* The configuration of a network, and the one table of its keys: name, place, type and limits of each. Everything that
 * walks over keys (parsing, checking, tests) walks over this table. */
#ifndef ECG_NETWORK_CONFIG_H
#define ECG_NETWORK_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../base/status.h"

#define ECG_MAX_CONVS 16

typedef enum {
    ECG_ENCODER,     /* the encoder alone: a pretraining checkpoint without its heads */
    ECG_CLASSIFIER,  /* names start with "encoder.", then proj */
    ECG_PRETRAINING, /* the encoder, mask_emb, quantizer, project_q, [target_glu], final_proj */
    ECG_KINDS
} ecg_kind;

extern const char *const ecg_kind_names[ECG_KINDS];

/* A block of the conv feature extractor. */
typedef struct {
    int64_t channels, kernel, stride;
} ecg_conv_block;

typedef struct {
    ecg_kind kind;
    int64_t layers, C, F, H;
    bool norm_first, extractor_layer_norm, conv_bias;
    int64_t leads;
    int64_t conv_count;
    ecg_conv_block convs[ECG_MAX_CONVS];
    int64_t conv_pos, conv_pos_groups;
    int64_t labels;
    int64_t latent_vars, latent_groups, latent_dim, final_dim;
    bool target_glu;
} ecg_config;

/* What a key holds; in brackets the type of its field. */
typedef enum {
    ECG_KEY_WHOLE,  /* a whole number [int64_t] */
    ECG_KEY_TRUTH,  /* true or false; false where it is absent [bool] */
    ECG_KEY_CHOICE, /* one of two words [bool: the second] */
    ECG_KEY_BLOCKS  /* the conv blocks */
} ecg_key_type;

typedef struct {
    const char *key; /* the original's name */
    size_t field;    /* offset in ecg_config */
    ecg_key_type type;
    unsigned kinds;         /* which kinds of networks have it: a bit 1 << kind each */
    int64_t least, most;    /* of a whole number */
    size_t whole;           /* offset of the number that it must divide, and be no larger than; 0: none */
    const char *whole_key;  /* the name of that number */
    const char *choices[2]; /* of a choice */
} ecg_config_key;

extern const ecg_config_key ecg_config_keys[];
extern const int ecg_config_key_count;

/* Whether networks of the configuration's kind have the key. */
bool ecg_config_has(const ecg_config *config, const ecg_config_key *key);

/* Checks every number of the configuration; ECG_BAD_CONFIG names the key. */
ecg_status ecg_config_check(const ecg_config *config);

/* Width of the conv features, K. */
int64_t ecg_config_features(const ecg_config *config);

/* Width of a quantized row. */
int64_t ecg_config_latent(const ecg_config *config);

/* Steps after each conv layer for N samples: steps[0] = N, steps[conv_count] = T; 0 where there are none. */
void ecg_config_steps(const ecg_config *config, int64_t N, int64_t steps[ECG_MAX_CONVS + 1]);

/* The tokens of N samples, T. */
int64_t ecg_config_tokens(const ecg_config *config, int64_t N);

/* The smallest N that gives one token. */
int64_t ecg_config_min_samples(const ecg_config *config);

#endif

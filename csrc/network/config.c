#include "config.h"

const char *const ecg_kind_names[ECG_KINDS] = {"encoder", "classifier", "pretraining"};

#define ALL (1u << ECG_ENCODER | 1u << ECG_CLASSIFIER | 1u << ECG_PRETRAINING)
#define LABELLED (1u << ECG_CLASSIFIER)
#define PRETRAINED (1u << ECG_PRETRAINING)
#define WIDTH "encoder_embed_dim"

/* clang-format off */
#define WHOLE(name, member, which, smallest, largest) \
    {.key = name, .field = offsetof(ecg_config, member), .type = ECG_KEY_WHOLE, .kinds = which, .least = smallest, \
     .most = largest}
#define PART(name, member, which, largest, of, of_key) \
    {.key = name, .field = offsetof(ecg_config, member), .type = ECG_KEY_WHOLE, .kinds = which, .least = 1, \
     .most = largest, .whole = offsetof(ecg_config, of), .whole_key = of_key}
#define TRUTH(name, member, which) \
    {.key = name, .field = offsetof(ecg_config, member), .type = ECG_KEY_TRUTH, .kinds = which}

const ecg_config_key ecg_config_keys[] = {
    WHOLE("encoder_layers", layers, ALL, 1, 1000),
    WHOLE(WIDTH, C, ALL, 1, 32768),
    WHOLE("encoder_ffn_embed_dim", F, ALL, 1, 131072),
    PART("encoder_attention_heads", H, ALL, 32768, C, WIDTH),
    TRUTH("layer_norm_first", norm_first, ALL),
    TRUTH("conv_bias", conv_bias, ALL),
    WHOLE("in_d", leads, ALL, 1, 1024),
    {.key = "extractor_mode", .field = offsetof(ecg_config, extractor_layer_norm), .type = ECG_KEY_CHOICE, .kinds = ALL,
     .choices = {"default", "layer_norm"}},
    {.key = "conv_feature_layers", .field = offsetof(ecg_config, convs), .type = ECG_KEY_BLOCKS, .kinds = ALL},
    WHOLE("conv_pos", conv_pos, ALL, 1, 4096),
    PART("conv_pos_groups", conv_pos_groups, ALL, 32768, C, WIDTH),
    WHOLE("num_labels", labels, LABELLED, 1, 1000000),
    WHOLE("latent_vars", latent_vars, PRETRAINED, 1, 1000000),
    WHOLE("latent_groups", latent_groups, PRETRAINED, 1, 1024),
    WHOLE("latent_dim", latent_dim, PRETRAINED, 0, 32768),
    WHOLE("final_dim", final_dim, PRETRAINED, 1, 32768),
    TRUTH("target_glu", target_glu, PRETRAINED),
};
/* clang-format on */

const int ecg_config_key_count = sizeof ecg_config_keys / sizeof *ecg_config_keys;

static ecg_status in_range(const char *key, int64_t value, int64_t least, int64_t most)
{
    if (value >= least && value <= most)
        return ECG_OK;
    return ecg_fail(ECG_BAD_CONFIG, "%s is %lld, it must lie in %lld..%lld", key, (long long)value, (long long)least,
                    (long long)most);
}

static ecg_status divides(const char *part_key, int64_t part, const char *whole_key, int64_t whole)
{
    if (whole % part == 0)
        return ECG_OK;
    return ecg_fail(ECG_BAD_CONFIG, "%s (%lld) must be a multiple of %s (%lld)", whole_key, (long long)whole, part_key,
                    (long long)part);
}

static ecg_status check_blocks(const ecg_config *config)
{
    ECG_TRY(in_range("the number of conv_feature_layers", config->conv_count, 1, ECG_MAX_CONVS));
    for (int64_t i = 0; i < config->conv_count; i++) {
        const ecg_conv_block *block = &config->convs[i];
        ECG_TRY(in_range("a channel count of conv_feature_layers", block->channels, 1, 32768));
        ECG_TRY(in_range("a kernel of conv_feature_layers", block->kernel, 1, 4096));
        ECG_TRY(in_range("a stride of conv_feature_layers", block->stride, 1, 4096));
    }
    return ECG_OK;
}

bool ecg_config_has(const ecg_config *config, const ecg_config_key *key)
{
    return key->kinds >> config->kind & 1;
}

static int64_t number_at(const ecg_config *config, size_t field)
{
    return *(const int64_t *)((const char *)config + field);
}

ecg_status ecg_config_check(const ecg_config *config)
{
    for (int i = 0; i < ecg_config_key_count; i++) {
        const ecg_config_key *key = &ecg_config_keys[i];
        if (!ecg_config_has(config, key))
            continue;
        if (key->type == ECG_KEY_BLOCKS)
            ECG_TRY(check_blocks(config));
        if (key->type != ECG_KEY_WHOLE)
            continue;
        int64_t value = number_at(config, key->field), whole = key->whole ? number_at(config, key->whole) : 0;
        ECG_TRY(in_range(key->key, value, key->least, key->whole ? whole : key->most));
        if (key->whole)
            ECG_TRY(divides(key->key, value, key->whole_key, whole));
    }
    if (config->kind != ECG_PRETRAINING)
        return ECG_OK;
    return divides("latent_groups", config->latent_groups, config->latent_dim ? "latent_dim" : "final_dim",
                   ecg_config_latent(config));
}

int64_t ecg_config_features(const ecg_config *config)
{
    return config->convs[config->conv_count - 1].channels;
}

int64_t ecg_config_latent(const ecg_config *config)
{
    return config->latent_dim ? config->latent_dim : config->final_dim;
}

void ecg_config_steps(const ecg_config *config, int64_t N, int64_t steps[ECG_MAX_CONVS + 1])
{
    steps[0] = N;
    for (int64_t i = 0; i < config->conv_count; i++) {
        const ecg_conv_block *conv = &config->convs[i];
        steps[i + 1] = steps[i] < conv->kernel ? 0 : (steps[i] - conv->kernel) / conv->stride + 1;
    }
}

int64_t ecg_config_tokens(const ecg_config *config, int64_t N)
{
    int64_t steps[ECG_MAX_CONVS + 1];
    ecg_config_steps(config, N, steps);
    return steps[config->conv_count];
}

int64_t ecg_config_min_samples(const ecg_config *config)
{
    int64_t steps = 1;
    for (int64_t i = config->conv_count - 1; i >= 0; i--) {
        int64_t span;
        if (__builtin_mul_overflow(steps - 1, config->convs[i].stride, &span) ||
            __builtin_add_overflow(span, config->convs[i].kernel, &steps))
            return INT64_MAX;
    }
    return steps;
}

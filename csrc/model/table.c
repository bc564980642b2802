#include "table.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../base/memory.h"

/* ---- configuration --------------------------------------------------------------------------- */

static ecg_status in_range(const char *key, int64_t value, int64_t smallest, int64_t largest)
{
    if (value >= smallest && value <= largest)
        return ECG_OK;
    return ecg_fail(ECG_BAD_CONFIG, "%s is %lld, it must lie in %lld..%lld", key, (long long)value, (long long)smallest,
                    (long long)largest);
}

static ecg_status divides(const char *part_key, int64_t part, const char *whole_key, int64_t whole)
{
    if (whole % part == 0)
        return ECG_OK;
    return ecg_fail(ECG_BAD_CONFIG, "%s (%lld) must be a multiple of %s (%lld)", whole_key, (long long)whole, part_key,
                    (long long)part);
}

ecg_status ecg_config_check(const ecg_config *config)
{
    ECG_TRY(in_range("encoder_layers", config->layers, 1, 1000));
    ECG_TRY(in_range("encoder_embed_dim", config->C, 1, 32768));
    ECG_TRY(in_range("encoder_ffn_embed_dim", config->F, 1, 131072));
    ECG_TRY(in_range("encoder_attention_heads", config->H, 1, config->C));
    ECG_TRY(divides("encoder_attention_heads", config->H, "encoder_embed_dim", config->C));
    ECG_TRY(in_range("in_d", config->leads, 1, 1024));
    ECG_TRY(in_range("the number of conv_feature_layers", config->conv_count, 1, ECG_MAX_CONVS));
    for (int64_t i = 0; i < config->conv_count; i++) {
        ECG_TRY(in_range("a channel count of conv_feature_layers", config->convs[i].channels, 1, 32768));
        ECG_TRY(in_range("a kernel of conv_feature_layers", config->convs[i].kernel, 1, 4096));
        ECG_TRY(in_range("a stride of conv_feature_layers", config->convs[i].stride, 1, 4096));
    }
    ECG_TRY(in_range("conv_pos", config->conv_pos, 1, 4096));
    ECG_TRY(in_range("conv_pos_groups", config->conv_pos_groups, 1, config->C));
    ECG_TRY(divides("conv_pos_groups", config->conv_pos_groups, "encoder_embed_dim", config->C));
    if (config->kind == ECG_CLASSIFIER)
        ECG_TRY(in_range("num_labels", config->labels, 1, 1000000));
    if (config->kind == ECG_PRETRAINING) {
        ECG_TRY(in_range("latent_vars", config->latent_vars, 1, 1000000));
        ECG_TRY(in_range("latent_groups", config->latent_groups, 1, 1024));
        ECG_TRY(in_range("latent_dim", config->latent_dim, 0, 32768));
        ECG_TRY(in_range("final_dim", config->final_dim, 1, 32768));
        int64_t width = config->latent_dim ? config->latent_dim : config->final_dim;
        ECG_TRY(
            divides("latent_groups", config->latent_groups, config->latent_dim ? "latent_dim" : "final_dim", width));
    }
    return ECG_OK;
}

int64_t ecg_config_features(const ecg_config *config)
{
    return config->convs[config->conv_count - 1].channels;
}

void ecg_config_steps(const ecg_config *config, int64_t N, int64_t steps[ECG_MAX_CONVS + 1])
{
    steps[0] = N;
    for (int64_t i = 0; i < config->conv_count; i++) {
        const ecg_conv_spec *conv = &config->convs[i];
        steps[i + 1] = steps[i] < conv->kernel ? 0 : (steps[i] - conv->kernel) / conv->stride + 1;
    }
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

/* ---- table ----------------------------------------------------------------------------------- */

/* Appends parameters; without `parameters` it only counts. */
typedef struct {
    ecg_parameter *parameters;
    int64_t count, capacity;
    const char *prefix;
    bool overflow;
} builder;

typedef struct {
    int ndim;
    int64_t shape[3];
} dims;

static void put(builder *b, ecg_role role, int64_t layer, ecg_init init, double scale, dims shape, const char *format,
                ...)
{
    int64_t count;
    if (!ecg_product(&count, shape.ndim, shape.shape))
        b->overflow = true;
    if (b->parameters && b->count < b->capacity) {
        ecg_parameter *p = &b->parameters[b->count];
        *p = (ecg_parameter){.ndim = shape.ndim,
                             .count = count,
                             .role = role,
                             .layer = layer,
                             .init = init,
                             .scale = scale};
        memcpy(p->shape, shape.shape, sizeof p->shape);
        int used = snprintf(p->name, sizeof p->name, "%s", b->prefix);
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(p->name + used, sizeof p->name - (size_t)used, format, arguments);
        va_end(arguments);
    }
    b->count++;
}

#define DIMS1(a) ((dims){1, {a, 0, 0}})
#define DIMS2(a, b) ((dims){2, {a, b, 0}})
#define DIMS3(a, b, c) ((dims){3, {a, b, c}})

/* A linear layer of the encoder: weights N(0, 0.02), bias 0. */
static void put_encoder_linear(builder *b, ecg_role weight, int64_t layer, int64_t dst, int64_t src, const char *name)
{
    put(b, weight, layer, ECG_INIT_NORMAL, 0.02, DIMS2(dst, src), "encoder.layers.%lld.%s.weight", (long long)layer,
        name);
    put(b, weight + 1, layer, ECG_INIT_ZEROS, 0, DIMS1(dst), "encoder.layers.%lld.%s.bias", (long long)layer, name);
}

/* A linear layer with PyTorch's default: weight and bias uniform in +-1/sqrt(src). */
static void put_linear(builder *b, ecg_role weight, int64_t dst, int64_t src, const char *name)
{
    double bound = 1 / sqrt((double)src);
    put(b, weight, 0, ECG_INIT_UNIFORM, bound, DIMS2(dst, src), "%s.weight", name);
    put(b, weight + 1, 0, ECG_INIT_UNIFORM, bound, DIMS1(dst), "%s.bias", name);
}

static void put_norm(builder *b, ecg_role weight, int64_t layer, int64_t n, const char *name)
{
    put(b, weight, layer, ECG_INIT_ONES, 0, DIMS1(n), "%s.weight", name);
    put(b, weight + 1, layer, ECG_INIT_ZEROS, 0, DIMS1(n), "%s.bias", name);
}

static void put_transformer_layer(builder *b, const ecg_config *c, int64_t layer)
{
    char norm[64];
    put_encoder_linear(b, ECG_KEY_WEIGHT, layer, c->C, c->C, "self_attn.k_proj");
    put_encoder_linear(b, ECG_VALUE_WEIGHT, layer, c->C, c->C, "self_attn.v_proj");
    put_encoder_linear(b, ECG_QUERY_WEIGHT, layer, c->C, c->C, "self_attn.q_proj");
    put_encoder_linear(b, ECG_OUT_WEIGHT, layer, c->C, c->C, "self_attn.out_proj");
    snprintf(norm, sizeof norm, "encoder.layers.%lld.self_attn_layer_norm", (long long)layer);
    put_norm(b, ECG_NORM1_WEIGHT, layer, c->C, norm);
    put_encoder_linear(b, ECG_FC1_WEIGHT, layer, c->F, c->C, "fc1");
    put_encoder_linear(b, ECG_FC2_WEIGHT, layer, c->C, c->F, "fc2");
    snprintf(norm, sizeof norm, "encoder.layers.%lld.final_layer_norm", (long long)layer);
    put_norm(b, ECG_NORM2_WEIGHT, layer, c->C, norm);
}

static void put_extractor(builder *b, const ecg_config *c)
{
    int64_t channels = c->leads;
    for (int64_t i = 0; i < c->conv_count; i++) {
        const ecg_conv_spec *conv = &c->convs[i];
        double fan_in = (double)(channels * conv->kernel);
        char norm[64];
        put(b, ECG_CONV_WEIGHT, i, ECG_INIT_NORMAL, sqrt(2 / fan_in), DIMS3(conv->channels, channels, conv->kernel),
            "feature_extractor.conv_layers.%lld.0.weight", (long long)i);
        if (c->conv_bias)
            put(b, ECG_CONV_BIAS, i, ECG_INIT_UNIFORM, 1 / sqrt(fan_in), DIMS1(conv->channels),
                "feature_extractor.conv_layers.%lld.0.bias", (long long)i);
        snprintf(norm, sizeof norm, "feature_extractor.conv_layers.%lld.2%s", (long long)i,
                 c->extractor_layer_norm ? ".1" : "");
        if (c->extractor_layer_norm || i == 0)
            put_norm(b, ECG_CONV_NORM_WEIGHT, i, conv->channels, norm);
        channels = conv->channels;
    }
}

static void put_encoder(builder *b, const ecg_config *c)
{
    int64_t K = ecg_config_features(c);
    for (int64_t i = 0; i < c->layers; i++)
        put_transformer_layer(b, c, i);
    put_norm(b, ECG_ENCODER_NORM_WEIGHT, 0, c->C, "encoder.layer_norm");
    put_extractor(b, c);
    if (K != c->C)
        put_linear(b, ECG_POST_WEIGHT, c->C, K, "post_extract_proj");
    put(b, ECG_POS_BIAS, 0, ECG_INIT_ZEROS, 0, DIMS1(c->C), "conv_pos.pos_conv.0.bias");
    put(b, ECG_POS_G, 0, ECG_INIT_TAP_NORM, 0, DIMS3(1, 1, c->conv_pos),
        "conv_pos.pos_conv.0.parametrizations.weight.original0");
    put(b, ECG_POS_V, 0, ECG_INIT_NORMAL, sqrt(4.0 / (double)(c->conv_pos * c->C)),
        DIMS3(c->C, c->C / c->conv_pos_groups, c->conv_pos), "conv_pos.pos_conv.0.parametrizations.weight.original1");
    put_norm(b, ECG_FEATURE_NORM_WEIGHT, 0, K, "layer_norm");
}

static void put_pretraining_heads(builder *b, const ecg_config *c)
{
    int64_t K = ecg_config_features(c), codes = c->latent_groups * c->latent_vars;
    int64_t width = c->latent_dim ? c->latent_dim : c->final_dim;
    put(b, ECG_VARS, 0, ECG_INIT_UNIT, 0, DIMS3(1, codes, width / c->latent_groups), "quantizer.vars");
    put(b, ECG_CODE_WEIGHT, 0, ECG_INIT_NORMAL, 1, DIMS2(codes, K), "quantizer.weight_proj.weight");
    put(b, ECG_CODE_BIAS, 0, ECG_INIT_ZEROS, 0, DIMS1(codes), "quantizer.weight_proj.bias");
    put_linear(b, ECG_PROJECT_Q_WEIGHT, c->final_dim, width, "project_q");
    if (c->target_glu)
        put_linear(b, ECG_GLU_WEIGHT, 2 * c->final_dim, c->final_dim, "target_glu.0");
    put_linear(b, ECG_FINAL_PROJ_WEIGHT, c->final_dim, c->C, "final_proj");
}

static void put_all(builder *b, const ecg_config *c)
{
    b->count = 0;
    b->prefix = c->kind == ECG_CLASSIFIER ? "encoder." : "";
    if (c->kind == ECG_PRETRAINING)
        put(b, ECG_MASK_EMB, 0, ECG_INIT_UNIT, 0, DIMS1(c->C), "mask_emb");
    put_encoder(b, c);
    if (c->kind == ECG_PRETRAINING)
        put_pretraining_heads(b, c);
    if (c->kind == ECG_CLASSIFIER) {
        b->prefix = "";
        put(b, ECG_PROJ_WEIGHT, 0, ECG_INIT_UNIFORM, sqrt(6.0 / (double)(c->C + c->labels)), DIMS2(c->labels, c->C),
            "proj.weight");
        put(b, ECG_PROJ_BIAS, 0, ECG_INIT_ZEROS, 0, DIMS1(c->labels), "proj.bias");
    }
}

ecg_status ecg_table_create(ecg_table *table, const ecg_config *config)
{
    builder b = {0};
    *table = (ecg_table){0};
    ECG_TRY(ecg_config_check(config));
    put_all(&b, config);
    b.capacity = b.count;
    ECG_TRY(ecg_alloc((void **)&b.parameters, (size_t)b.capacity * sizeof *b.parameters));
    put_all(&b, config);
    for (int64_t i = 0; i < b.count && !b.overflow; i++)
        b.overflow = __builtin_add_overflow(table->elements, b.parameters[i].count, &table->elements);
    if (b.overflow || table->elements > INT64_MAX / 16) {
        ecg_free(b.parameters);
        *table = (ecg_table){0};
        return ecg_fail(ECG_BAD_CONFIG, "the configuration describes more parameters than fit into memory");
    }
    table->parameters = b.parameters;
    table->count = b.count;
    return ECG_OK;
}

void ecg_table_free(ecg_table *table)
{
    ecg_free(table->parameters);
    *table = (ecg_table){0};
}

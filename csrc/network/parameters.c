#include "parameters.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../base/memory.h"
#include "network.h"

/* Appends rows; without `parameters` it only counts. */
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

#define DIMS1(a) ((dims){1, {a, 0, 0}})
#define DIMS2(a, b) ((dims){2, {a, b, 0}})
#define DIMS3(a, b, c) ((dims){3, {a, b, c}})

/* Where tensors are, what they are, and how they begin. */
#define AT(member) offsetof(ecg_network, member)
#define AT_LAYER(member) offsetof(ecg_transformer_weights, member)
#define INIT(distribution, ...) .init = ECG_INIT_##distribution, .scale = (__VA_ARGS__ + 0)

/* Appends `row`, whose name and shape are still to be filled in. */
static void put(builder *b, ecg_parameter row, dims shape, const char *format, ...)
{
    if (!ecg_product(&row.count, shape.ndim, shape.shape))
        b->overflow = true;
    if (b->parameters && b->count < b->capacity) {
        row.ndim = shape.ndim;
        memcpy(row.shape, shape.shape, sizeof row.shape);
        row.parts = row.parts ? row.parts : 1;
        row.first = b->count;
        for (int64_t i = b->count - 1; i >= 0 && row.parts > 1 && b->parameters[i].layer == row.layer; i--)
            row.first = b->parameters[i].field == row.field ? i : row.first;
        va_list arguments;
        va_start(arguments, format);
        int used = snprintf(row.name, sizeof row.name, "%s", b->prefix);
        vsnprintf(row.name + used, sizeof row.name - (size_t)used, format, arguments);
        va_end(arguments);
        b->parameters[b->count] = row;
    }
    b->count++;
}

/* A linear layer of the encoder, number `part` of `parts` in its place: weights N(0, 0.02), bias 0. */
static void put_encoder_linear(builder *b, int64_t layer, size_t field, int64_t part, int64_t parts, int64_t dst,
                               int64_t src, const char *name)
{
    ecg_parameter weight = {.field = field,
                            .flags = ECG_P_LAYER | ECG_P_MATRIX,
                            .layer = layer,
                            .part = part,
                            .parts = parts,
                            INIT(NORMAL, 0.02)};
    ecg_parameter bias = {.field = field + offsetof(ecg_linear, bias),
                          .flags = ECG_P_LAYER,
                          .layer = layer,
                          .part = part,
                          .parts = parts,
                          INIT(ZEROS, )};
    put(b, weight, DIMS2(dst, src), "encoder.layers.%lld.%s.weight", (long long)layer, name);
    put(b, bias, DIMS1(dst), "encoder.layers.%lld.%s.bias", (long long)layer, name);
}

/* A linear layer with PyTorch's default: weight and bias uniform in +-1/sqrt(src). */
static void put_linear(builder *b, size_t field, unsigned flags, int64_t dst, int64_t src, const char *name)
{
    ecg_parameter row = {.field = field, .flags = flags | ECG_P_MATRIX, INIT(UNIFORM, 1 / sqrt((double)src))};
    put(b, row, DIMS2(dst, src), "%s.weight", name);
    row.flags = flags, row.field += offsetof(ecg_linear, bias);
    put(b, row, DIMS1(dst), "%s.bias", name);
}

static void put_norm(builder *b, size_t field, unsigned flags, int64_t layer, int64_t n, const char *name)
{
    ecg_parameter row = {.field = field, .flags = flags, .layer = layer, INIT(ONES, )};
    put(b, row, DIMS1(n), "%s.weight", name);
    row.init = ECG_INIT_ZEROS, row.field += offsetof(ecg_norm, bias);
    put(b, row, DIMS1(n), "%s.bias", name);
}

static void put_transformer_layer(builder *b, const ecg_config *c, int64_t layer)
{
    char norm[64];
    put_encoder_linear(b, layer, AT_LAYER(qkv), 1, 3, c->C, c->C, "self_attn.k_proj");
    put_encoder_linear(b, layer, AT_LAYER(qkv), 2, 3, c->C, c->C, "self_attn.v_proj");
    put_encoder_linear(b, layer, AT_LAYER(qkv), 0, 3, c->C, c->C, "self_attn.q_proj");
    put_encoder_linear(b, layer, AT_LAYER(out), 0, 1, c->C, c->C, "self_attn.out_proj");
    snprintf(norm, sizeof norm, "encoder.layers.%lld.self_attn_layer_norm", (long long)layer);
    put_norm(b, AT_LAYER(norm1), ECG_P_LAYER, layer, c->C, norm);
    put_encoder_linear(b, layer, AT_LAYER(fc1), 0, 1, c->F, c->C, "fc1");
    put_encoder_linear(b, layer, AT_LAYER(fc2), 0, 1, c->C, c->F, "fc2");
    snprintf(norm, sizeof norm, "encoder.layers.%lld.final_layer_norm", (long long)layer);
    put_norm(b, AT_LAYER(norm2), ECG_P_LAYER, layer, c->C, norm);
}

static void put_extractor(builder *b, const ecg_config *c)
{
    int64_t channels = c->leads;
    for (int64_t i = 0; i < c->conv_count; i++) {
        const ecg_conv_block *conv = &c->convs[i];
        double fan_in = (double)(channels * conv->kernel);
        char norm[64];
        ecg_parameter weight = {.field = AT(convs[i].weight),
                                .flags = ECG_P_EXTRACTOR | ECG_P_CONV,
                                .layer = i,
                                INIT(NORMAL, sqrt(2 / fan_in))};
        ecg_parameter bias = {.field = AT(convs[i].bias),
                              .flags = ECG_P_EXTRACTOR,
                              .layer = i,
                              INIT(UNIFORM, 1 / sqrt(fan_in))};
        put(b, weight, DIMS3(conv->channels, channels, conv->kernel), "feature_extractor.conv_layers.%lld.0.weight",
            (long long)i);
        if (c->conv_bias)
            put(b, bias, DIMS1(conv->channels), "feature_extractor.conv_layers.%lld.0.bias", (long long)i);
        snprintf(norm, sizeof norm, "feature_extractor.conv_layers.%lld.2%s", (long long)i,
                 c->extractor_layer_norm ? ".1" : "");
        if (c->extractor_layer_norm || i == 0)
            put_norm(b, AT(conv_norms[i]), ECG_P_EXTRACTOR, i, conv->channels, norm);
        channels = conv->channels;
    }
}

static void put_encoder(builder *b, const ecg_config *c)
{
    int64_t K = ecg_config_features(c), taps = c->conv_pos;
    for (int64_t i = 0; i < c->layers; i++)
        put_transformer_layer(b, c, i);
    put_norm(b, AT(encoder_norm), 0, 0, c->C, "encoder.layer_norm");
    put_extractor(b, c);
    if (K != c->C)
        put_linear(b, AT(post), 0, c->C, K, "post_extract_proj");
    put(b, (ecg_parameter){.field = AT(pos_bias), INIT(ZEROS, )}, DIMS1(c->C), "conv_pos.pos_conv.0.bias");
    put(b, (ecg_parameter){.field = AT(pos_g), INIT(TAP_NORM, )}, DIMS3(1, 1, taps),
        "conv_pos.pos_conv.0.parametrizations.weight.original0");
    put(b, (ecg_parameter){.field = AT(pos_v), INIT(NORMAL, sqrt(4.0 / (double)(taps * c->C)))},
        DIMS3(c->C, c->C / c->conv_pos_groups, taps), "conv_pos.pos_conv.0.parametrizations.weight.original1");
    put_norm(b, AT(feature_norm), 0, 0, K, "layer_norm");
}

static void put_pretraining_heads(builder *b, const ecg_config *c)
{
    int64_t K = ecg_config_features(c), codes = c->latent_groups * c->latent_vars, width = ecg_config_latent(c);
    put(b, (ecg_parameter){.field = AT(vars), .flags = ECG_P_HEAD, INIT(UNIT, )},
        DIMS3(1, codes, width / c->latent_groups), "quantizer.vars");
    put(b, (ecg_parameter){.field = AT(code.weight), .flags = ECG_P_HEAD | ECG_P_MATRIX, INIT(NORMAL, 1)},
        DIMS2(codes, K), "quantizer.weight_proj.weight");
    put(b, (ecg_parameter){.field = AT(code.bias), .flags = ECG_P_HEAD, INIT(ZEROS, )}, DIMS1(codes),
        "quantizer.weight_proj.bias");
    put_linear(b, AT(project_q), ECG_P_HEAD, c->final_dim, width, "project_q");
    if (c->target_glu)
        put_linear(b, AT(glu), ECG_P_HEAD, 2 * c->final_dim, c->final_dim, "target_glu.0");
    put_linear(b, AT(final), ECG_P_HEAD, c->final_dim, c->C, "final_proj");
}

static void put_classifier(builder *b, const ecg_config *c)
{
    ecg_parameter weight = {.field = AT(proj.weight),
                            .flags = ECG_P_HEAD | ECG_P_MATRIX | ECG_P_SEGMENTS,
                            INIT(UNIFORM, sqrt(6.0 / (double)(c->C + c->labels)))};
    put(b, weight, DIMS2(c->labels, c->C), "proj.weight");
    put(b, (ecg_parameter){.field = AT(proj.bias), .flags = ECG_P_HEAD, INIT(ZEROS, )}, DIMS1(c->labels), "proj.bias");
}

static void put_all(builder *b, const ecg_config *c)
{
    b->count = 0;
    b->prefix = c->kind == ECG_CLASSIFIER ? "encoder." : "";
    if (c->kind == ECG_PRETRAINING)
        put(b, (ecg_parameter){.field = AT(mask_emb), .flags = ECG_P_HEAD | ECG_P_MASK, INIT(UNIT, )}, DIMS1(c->C),
            "mask_emb");
    put_encoder(b, c);
    b->prefix = "";
    if (c->kind == ECG_PRETRAINING)
        put_pretraining_heads(b, c);
    if (c->kind == ECG_CLASSIFIER)
        put_classifier(b, c);
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

int64_t ecg_table_place(const ecg_table *table, int64_t *offsets, const bool *chosen, bool wanted, int64_t end)
{
    for (int64_t i = 0; i < table->count; i++) {
        const ecg_parameter *p = &table->parameters[i], *first = &table->parameters[p->first];
        if (chosen[i] != wanted)
            continue;
        if (p->first == i) { /* room for the whole group */
            offsets[i] = end + p->part * p->count;
            end = (end + p->parts * p->count + 15) & ~(int64_t)15;
        } else {
            offsets[i] = offsets[p->first] + (p->part - first->part) * p->count;
        }
    }
    return end;
}

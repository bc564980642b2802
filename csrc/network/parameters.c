#include "parameters.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../base/memory.h"
#include "network.h"

#define AT(member) offsetof(ecg_network, member)
#define AT_LAYER(member) offsetof(ecg_transformer_weights, member)

void ecg_put(ecg_table_builder *b, ecg_parameter row, ecg_dims shape, const char *format, ...)
{
    if (!ecg_product(&row.count, shape.ndim, shape.shape))
        b->overflow = true;
    if (b->parameters && b->count < b->capacity) {
        row.ndim = shape.ndim;
        memcpy(row.shape, shape.shape, sizeof row.shape);
        row.parts = row.parts ? row.parts : 1;
        row.first = b->count;
        for (int64_t i = b->count - 1; i >= 0 && row.parts > 1 && b->parameters[i].layer == row.layer; i--) {
            const ecg_parameter *p = &b->parameters[i];
            row.first = p->field == row.field && p->flags == row.flags ? i : row.first;
        }
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
static void put_encoder_linear(ecg_table_builder *b, int64_t layer, size_t field, int64_t part, int64_t parts,
                               int64_t dst, int64_t src, const char *name)
{
    ecg_parameter weight = {.field = field,
                            .flags = ECG_P_LAYER | ECG_P_MATRIX,
                            .layer = layer,
                            .part = part,
                            .parts = parts,
                            .init = ECG_INIT_NORMAL,
                            .scale = 0.02};
    ecg_parameter bias = {.field = field + offsetof(ecg_linear, bias),
                          .flags = ECG_P_LAYER,
                          .layer = layer,
                          .part = part,
                          .parts = parts,
                          .init = ECG_INIT_ZEROS};
    ecg_put(b, weight, ECG_DIMS2(dst, src), "encoder.layers.%lld.%s.weight", (long long)layer, name);
    ecg_put(b, bias, ECG_DIMS1(dst), "encoder.layers.%lld.%s.bias", (long long)layer, name);
}

void ecg_put_linear(ecg_table_builder *b, size_t field, unsigned flags, int64_t dst, int64_t src, const char *name)
{
    ecg_parameter row = {.field = field,
                         .flags = flags | ECG_P_MATRIX,
                         .init = ECG_INIT_UNIFORM,
                         .scale = 1 / sqrt((double)src)};
    ecg_put(b, row, ECG_DIMS2(dst, src), "%s.weight", name);
    row.flags = flags, row.field += offsetof(ecg_linear, bias);
    ecg_put(b, row, ECG_DIMS1(dst), "%s.bias", name);
}

static void put_norm(ecg_table_builder *b, size_t field, unsigned flags, int64_t layer, int64_t n, const char *name)
{
    ecg_parameter row = {.field = field, .flags = flags, .layer = layer, .init = ECG_INIT_ONES};
    ecg_put(b, row, ECG_DIMS1(n), "%s.weight", name);
    row.init = ECG_INIT_ZEROS, row.field += offsetof(ecg_norm, bias);
    ecg_put(b, row, ECG_DIMS1(n), "%s.bias", name);
}

static void put_transformer_layer(ecg_table_builder *b, const ecg_config *c, int64_t layer)
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

static void put_extractor(ecg_table_builder *b, const ecg_config *c)
{
    int64_t channels = c->leads;
    for (int64_t i = 0; i < c->conv_count; i++) {
        const ecg_conv_block *conv = &c->convs[i];
        double fan_in = (double)(channels * conv->kernel);
        char norm[64];
        ecg_parameter weight = {.field = AT(convs[i].weight),
                                .flags = ECG_P_EXTRACTOR | ECG_P_CONV,
                                .layer = i,
                                .init = ECG_INIT_NORMAL,
                                .scale = sqrt(2 / fan_in)};
        ecg_parameter bias = {.field = AT(convs[i].bias),
                              .flags = ECG_P_EXTRACTOR,
                              .layer = i,
                              .init = ECG_INIT_UNIFORM,
                              .scale = 1 / sqrt(fan_in)};
        ecg_put(b, weight, ECG_DIMS3(conv->channels, channels, conv->kernel),
                "feature_extractor.conv_layers.%lld.0.weight", (long long)i);
        if (c->conv_bias)
            ecg_put(b, bias, ECG_DIMS1(conv->channels), "feature_extractor.conv_layers.%lld.0.bias", (long long)i);
        snprintf(norm, sizeof norm, "feature_extractor.conv_layers.%lld.2%s", (long long)i,
                 c->extractor_layer_norm ? ".1" : "");
        if (c->extractor_layer_norm || i == 0)
            put_norm(b, AT(conv_norms[i]), ECG_P_EXTRACTOR, i, conv->channels, norm);
        channels = conv->channels;
    }
}

static void put_encoder(ecg_table_builder *b, const ecg_config *c)
{
    int64_t K = ecg_config_features(c), taps = c->conv_pos;
    for (int64_t i = 0; i < c->layers; i++)
        put_transformer_layer(b, c, i);
    put_norm(b, AT(encoder_norm), 0, 0, c->C, "encoder.layer_norm");
    put_extractor(b, c);
    if (K != c->C)
        ecg_put_linear(b, AT(post), 0, c->C, K, "post_extract_proj");
    ecg_put(b, (ecg_parameter){.field = AT(pos_bias), .init = ECG_INIT_ZEROS}, ECG_DIMS1(c->C),
            "conv_pos.pos_conv.0.bias");
    ecg_put(b, (ecg_parameter){.field = AT(pos_g), .flags = ECG_P_POS_G, .init = ECG_INIT_TAP_NORM},
            ECG_DIMS3(1, 1, taps), "conv_pos.pos_conv.0.parametrizations.weight.original0");
    ecg_parameter v = {.field = AT(pos_v),
                       .flags = ECG_P_POS_V,
                       .init = ECG_INIT_NORMAL,
                       .scale = sqrt(4.0 / (double)(taps * c->C))};
    ecg_put(b, v, ECG_DIMS3(c->C, c->C / c->conv_pos_groups, taps),
            "conv_pos.pos_conv.0.parametrizations.weight.original1");
    put_norm(b, AT(feature_norm), 0, 0, K, "layer_norm");
}

/* What a table is made of. */
typedef struct {
    const ecg_config *config;
    const ecg_head_rows *head;
    int64_t rank, adapted; /* of adapters, and the first layer that has them; rank 0: there are none */
} content;

static void put_adapters(ecg_table_builder *b, const content *from)
{
    static const char *const names[2] = {"q_proj", "v_proj"};
    int64_t C = from->config->C, rows = b->count;
    for (int64_t i = from->adapted; from->rank && i < from->config->layers; i++) {
        for (int part = 0; part < 2; part++) {
            ecg_parameter a = {.flags = ECG_P_LAYER | ECG_P_ADAPTER,
                               .layer = i,
                               .init = ECG_INIT_UNIFORM,
                               .scale = 1 / sqrt((double)C)};
            ecg_parameter zeros = {.flags = a.flags, .layer = i, .init = ECG_INIT_ZEROS};
            ecg_put(b, a, ECG_DIMS2(from->rank, C), "encoder.layers.%lld.self_attn.%s.adapter_a", (long long)i,
                    names[part]);
            ecg_put(b, zeros, ECG_DIMS2(C, from->rank), "encoder.layers.%lld.self_attn.%s.adapter_b", (long long)i,
                    names[part]);
        }
    }
    for (int64_t row = 0; b->parameters && row < rows; row++) { /* find their weights */
        const ecg_parameter *p = &b->parameters[row];
        int64_t place = rows + ((p->layer - from->adapted) * 2 + (p->part == 2)) * 2;
        if (p->flags == (ECG_P_LAYER | ECG_P_MATRIX) && p->parts == 3 && p->part != 1 && place >= rows &&
            place < b->count)
            b->parameters[place].first = b->parameters[place + 1].first = row;
    }
}

static void put_all(ecg_table_builder *b, const content *from)
{
    const ecg_head_rows *head = from->head;
    b->count = 0;
    b->prefix = "";
    if (head)
        head->put(b, from->config, true);
    b->prefix = head ? head->encoder_prefix : "";
    put_encoder(b, from->config);
    b->prefix = "";
    if (head)
        head->put(b, from->config, false);
    b->prefix = head ? head->encoder_prefix : "";
    put_adapters(b, from);
}

static ecg_status create(ecg_table *table, const content *from)
{
    ecg_table_builder b = {0};
    *table = (ecg_table){0};
    ECG_TRY(ecg_config_check(from->config));
    put_all(&b, from);
    b.capacity = b.count;
    ECG_TRY(ecg_alloc((void **)&b.parameters, (size_t)b.capacity * sizeof *b.parameters));
    put_all(&b, from);
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

ecg_status ecg_table_create(ecg_table *table, const ecg_config *config, const ecg_head_rows *head)
{
    return create(table, &(const content){.config = config, .head = head});
}

ecg_status ecg_table_create_adapted(ecg_table *table, const ecg_config *config, const ecg_head_rows *head, int64_t rank,
                                    int64_t layer)
{
    *table = (ecg_table){0};
    if (rank < 0 || rank > config->C || layer < 0)
        return ecg_fail(ECG_BAD_CONFIG, "adapters of rank %lld for a width of %lld", (long long)rank,
                        (long long)config->C);
    return create(table, &(const content){config, head, rank, layer});
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
        if (p->first == i || p->flags & ECG_P_ADAPTER) { /* room for the whole group */
            offsets[i] = end + p->part * p->count;
            end = (end + p->parts * p->count + 15) & ~(int64_t)15;
        } else {
            offsets[i] = offsets[p->first] + (p->part - first->part) * p->count;
        }
    }
    return end;
}

/* The weights of a model: set one by one in any order, packed as soon as they are complete. */
#include <string.h>

#include "workspace.h"

/* Packed layouts are chosen for this batch; they serve every other one. */
#define NOMINAL_BATCH 8
#define NOMINAL_SAMPLES 2500

static bool is_packed(ecg_role role)
{
    switch (role) {
    case ECG_QUERY_WEIGHT:
    case ECG_KEY_WEIGHT:
    case ECG_VALUE_WEIGHT:
    case ECG_OUT_WEIGHT:
    case ECG_FC1_WEIGHT:
    case ECG_FC2_WEIGHT:
    case ECG_CONV_WEIGHT:
    case ECG_POST_WEIGHT:
    case ECG_PROJ_WEIGHT:
    case ECG_QUERY_BIAS: /* lives in qkv_bias */
    case ECG_KEY_BIAS:
    case ECG_VALUE_BIAS:
        return true;
    default:
        return false;
    }
}

static int64_t nominal_samples(const ecg_config *config)
{
    int64_t smallest = ecg_config_min_samples(config);
    return smallest > NOMINAL_SAMPLES ? smallest : NOMINAL_SAMPLES;
}

static ecg_conv_shape nominal_conv(const ecg_config *config, int64_t layer)
{
    int64_t steps[ECG_MAX_CONVS + 1];
    ecg_config_steps(config, nominal_samples(config), steps);
    return (ecg_conv_shape){.batch = NOMINAL_BATCH,
                            .src_steps = steps[layer],
                            .src_channels = layer ? config->convs[layer - 1].channels : config->leads,
                            .dst_channels = config->convs[layer].channels,
                            .groups = 1,
                            .kernel = config->convs[layer].kernel,
                            .stride = config->convs[layer].stride};
}

static int64_t nominal_tokens(const ecg_config *config)
{
    int64_t steps[ECG_MAX_CONVS + 1];
    ecg_config_steps(config, nominal_samples(config), steps);
    return steps[config->conv_count];
}

/* Points the fields of what is packed. */
static void connect_packed(ecg_model *model)
{
    const ecg_config *c = &model->config;
    ecg_network *n = &model->network;
    for (int64_t i = 0; i < c->layers; i++) {
        n->layers[i].qkv.packed = &model->layers[i].qkv;
        n->layers[i].qkv.bias = model->qkv_bias + i * 3 * c->C;
        n->layers[i].out.packed = &model->layers[i].out;
        n->layers[i].fc1.packed = &model->layers[i].fc1;
        n->layers[i].fc2.packed = &model->layers[i].fc2;
    }
    for (int64_t i = 0; i < c->conv_count; i++)
        n->convs[i].packed = &model->convs[i];
    n->post.packed = &model->post;
    n->proj.packed = &model->proj;
    n->pos_packed = &model->pos;
}

ecg_status ecg_model_create(ecg_model *model, const ecg_config *config)
{
    ecg_status status = ECG_OK;
    int64_t C = config->C, plain = 0;
    memset(model, 0, sizeof *model);
    ECG_TRY(ecg_table_create(&model->table, config));
    model->config = *config;
    int64_t count = model->table.count;
    ECG_TRY_GOTO(ecg_alloc((void **)&model->offsets, (size_t)count * sizeof *model->offsets));
    ECG_TRY_GOTO(ecg_alloc((void **)&model->set, (size_t)count * sizeof *model->set));
    memset(model->set, 0, (size_t)count * sizeof *model->set);
    for (int64_t i = 0; i < count; i++) {
        const ecg_parameter *p = &model->table.parameters[i];
        model->offsets[i] = is_packed(p->role) ? -1 : plain;
        if (!is_packed(p->role))
            plain += (p->count + 15) & ~(int64_t)15;
    }
    ECG_TRY_GOTO(ecg_alloc((void **)&model->plain, (size_t)plain * sizeof *model->plain));
    ECG_TRY_GOTO(ecg_alloc((void **)&model->qkv_bias, (size_t)(config->layers * 3 * C) * sizeof *model->qkv_bias));
    ECG_TRY_GOTO(ecg_alloc((void **)&model->staging, (size_t)config->layers * sizeof *model->staging));
    memset(model->staging, 0, (size_t)config->layers * sizeof *model->staging);
    ECG_TRY_GOTO(ecg_alloc((void **)&model->layers, (size_t)config->layers * sizeof *model->layers));
    memset(model->layers, 0, (size_t)config->layers * sizeof *model->layers);
    ECG_TRY_GOTO(ecg_network_create(&model->network, config));
    for (int64_t i = 0; i < count; i++) {
        if (model->offsets[i] >= 0)
            ecg_network_connect(&model->network, &model->table.parameters[i], model->plain + model->offsets[i]);
    }
    connect_packed(model);
    return ECG_OK;
fail:
    ecg_model_free(model);
    return status;
}

void ecg_model_free(ecg_model *model)
{
    for (int64_t i = 0; model->layers && i < model->config.layers; i++) {
        ecg_packed_free(&model->layers[i].qkv);
        ecg_packed_free(&model->layers[i].out);
        ecg_packed_free(&model->layers[i].fc1);
        ecg_packed_free(&model->layers[i].fc2);
    }
    for (int64_t i = 0; model->staging && i < model->config.layers; i++)
        ecg_free(model->staging[i]);
    for (int i = 0; i < ECG_MAX_CONVS; i++)
        ecg_packed_free(&model->convs[i]);
    ecg_packed_free(&model->post);
    ecg_packed_free(&model->pos);
    ecg_packed_free(&model->proj);
    ecg_network_free(&model->network);
    ecg_free(model->layers);
    ecg_free(model->staging);
    ecg_free(model->qkv_bias);
    ecg_free(model->plain);
    ecg_free(model->offsets);
    ecg_free(model->set);
    ecg_table_free(&model->table);
    memset(model, 0, sizeof *model);
}

/* Which third of the stacked rows a query, key or value tensor is. */
static int64_t qkv_part(ecg_role role)
{
    if (role == ECG_QUERY_WEIGHT || role == ECG_QUERY_BIAS)
        return 0;
    return role == ECG_KEY_WEIGHT || role == ECG_KEY_BIAS ? 1 : 2;
}

/* Where parameter `role` of `layer` is in the table; it is there. */
static int64_t find(const ecg_model *model, ecg_role role, int64_t layer)
{
    int64_t i = 0;
    while (model->table.parameters[i].role != role || model->table.parameters[i].layer != layer)
        i++;
    return i;
}

/* Puts one of the three weights into the stack and packs it when the other two are there. */
static ecg_status set_qkv(ecg_model *model, const ecg_parameter *p, const float *src)
{
    int64_t C = model->config.C, rows = NOMINAL_BATCH * nominal_tokens(&model->config);
    float **stack = &model->staging[p->layer];
    ecg_packed *packed = &model->layers[p->layer].qkv;
    if (!*stack) {
        ECG_TRY(ecg_alloc((void **)stack, (size_t)(3 * C * C) * sizeof **stack));
        if (packed->data)
            ECG_TRY(ecg_unpack(*stack, packed));
    }
    memcpy(*stack + qkv_part(p->role) * C * C, src, (size_t)(C * C) * sizeof *src);
    ecg_role others[3] = {ECG_QUERY_WEIGHT, ECG_KEY_WEIGHT, ECG_VALUE_WEIGHT};
    for (int i = 0; i < 3; i++) {
        if (others[i] != p->role && !model->set[find(model, others[i], p->layer)])
            return ECG_OK;
    }
    ECG_TRY(ecg_pack_linear(packed, *stack, 3 * C, C, rows));
    ecg_free(*stack);
    *stack = NULL;
    return ECG_OK;
}

static ecg_status set_packed(ecg_model *model, const ecg_parameter *p, const float *src)
{
    const ecg_config *c = &model->config;
    int64_t rows = NOMINAL_BATCH * nominal_tokens(c);
    ecg_conv_shape conv;
    switch (p->role) {
    case ECG_QUERY_WEIGHT:
    case ECG_KEY_WEIGHT:
    case ECG_VALUE_WEIGHT:
        return set_qkv(model, p, src);
    case ECG_QUERY_BIAS:
    case ECG_KEY_BIAS:
    case ECG_VALUE_BIAS:
        memcpy(model->qkv_bias + (p->layer * 3 + qkv_part(p->role)) * c->C, src, (size_t)c->C * sizeof *src);
        return ECG_OK;
    case ECG_OUT_WEIGHT:
        return ecg_pack_linear(&model->layers[p->layer].out, src, c->C, c->C, rows);
    case ECG_FC1_WEIGHT:
        return ecg_pack_linear(&model->layers[p->layer].fc1, src, c->F, c->C, rows);
    case ECG_FC2_WEIGHT:
        return ecg_pack_linear(&model->layers[p->layer].fc2, src, c->C, c->F, rows);
    case ECG_CONV_WEIGHT:
        conv = nominal_conv(c, p->layer);
        return ecg_pack_conv(&model->convs[p->layer], src, &conv);
    case ECG_POST_WEIGHT:
        return ecg_pack_linear(&model->post, src, c->C, ecg_config_features(c), rows);
    default: /* ECG_PROJ_WEIGHT */
        return ecg_pack_linear(&model->proj, src, c->labels, c->C, NOMINAL_BATCH);
    }
}

ecg_status ecg_model_set(ecg_model *model, int64_t index, const float *src)
{
    if (index < 0 || index >= model->table.count)
        return ecg_fail(ECG_BAD_ARGUMENT, "there is no parameter %lld", (long long)index);
    const ecg_parameter *p = &model->table.parameters[index];
    if (model->offsets[index] >= 0)
        memcpy(model->plain + model->offsets[index], src, (size_t)p->count * sizeof *src);
    else
        ECG_TRY(set_packed(model, p, src));
    model->set_count += !model->set[index];
    model->set[index] = true;
    model->ready = false;
    return ECG_OK;
}

static ecg_status get_qkv(const ecg_model *model, const ecg_parameter *p, float *dst)
{
    int64_t C = model->config.C;
    float *stack = NULL;
    ECG_TRY(ecg_alloc((void **)&stack, (size_t)(3 * C * C) * sizeof *stack));
    ecg_status status = ecg_unpack(stack, &model->layers[p->layer].qkv);
    if (status == ECG_OK)
        memcpy(dst, stack + qkv_part(p->role) * C * C, (size_t)(C * C) * sizeof *dst);
    ecg_free(stack);
    return status;
}

ecg_status ecg_model_get(const ecg_model *model, int64_t index, float *dst)
{
    if (index < 0 || index >= model->table.count || !model->ready)
        return ecg_fail(ECG_BAD_STATE, "there is no parameter %lld or the model is not loaded", (long long)index);
    const ecg_parameter *p = &model->table.parameters[index];
    int64_t C = model->config.C;
    switch (p->role) {
    case ECG_QUERY_WEIGHT:
    case ECG_KEY_WEIGHT:
    case ECG_VALUE_WEIGHT:
        return get_qkv(model, p, dst);
    case ECG_QUERY_BIAS:
    case ECG_KEY_BIAS:
    case ECG_VALUE_BIAS:
        memcpy(dst, model->qkv_bias + (p->layer * 3 + qkv_part(p->role)) * C, (size_t)C * sizeof *dst);
        return ECG_OK;
    case ECG_OUT_WEIGHT:
        return ecg_unpack(dst, &model->layers[p->layer].out);
    case ECG_FC1_WEIGHT:
        return ecg_unpack(dst, &model->layers[p->layer].fc1);
    case ECG_FC2_WEIGHT:
        return ecg_unpack(dst, &model->layers[p->layer].fc2);
    case ECG_CONV_WEIGHT:
        return ecg_unpack(dst, &model->convs[p->layer]);
    case ECG_POST_WEIGHT:
        return ecg_unpack(dst, &model->post);
    case ECG_PROJ_WEIGHT:
        return ecg_unpack(dst, &model->proj);
    default:
        memcpy(dst, model->plain + model->offsets[index], (size_t)p->count * sizeof *dst);
        return ECG_OK;
    }
}

ecg_status ecg_model_finish(ecg_model *model)
{
    const ecg_config *c = &model->config;
    int64_t C = c->C, groups = c->conv_pos_groups, k = c->conv_pos;
    for (int64_t i = 0; i < model->table.count; i++) {
        if (!model->set[i])
            return ecg_fail(ECG_BAD_STATE, "the parameter %s is not set", model->table.parameters[i].name);
    }
    const float *v = model->plain + model->offsets[find(model, ECG_POS_V, 0)];
    const float *g = model->plain + model->offsets[find(model, ECG_POS_G, 0)];
    float *weights = NULL;
    ECG_TRY(ecg_alloc((void **)&weights, (size_t)(C * (C / groups) * k) * sizeof *weights));
    ecg_weight_norm_forward(weights, v, g, C, C / groups, k);
    ecg_conv_shape shape = {.batch = ecg_positions_batch(c, NOMINAL_BATCH),
                            .src_steps = nominal_tokens(c),
                            .src_channels = C,
                            .dst_channels = C,
                            .groups = groups,
                            .kernel = k,
                            .stride = 1,
                            .pad_left = k / 2,
                            .pad_right = k % 2 ? k / 2 : k / 2 - 1};
    ecg_status status = ecg_pack_conv(&model->pos, weights, &shape);
    ecg_free(weights);
    model->ready = status == ECG_OK;
    return status;
}

/* The weights of a model: set one by one in any order, packed as soon as they are complete. */
#include <string.h>

#include "workspace.h"

/* Packed layouts are chosen for this batch; they serve every other one. */
#define NOMINAL_BATCH 8
#define NOMINAL_SAMPLES 2500

static int64_t nominal_samples(const ecg_config *config)
{
    int64_t smallest = ecg_config_min_samples(config);
    return smallest > NOMINAL_SAMPLES ? smallest : NOMINAL_SAMPLES;
}

static ecg_conv_spec nominal_conv(const ecg_config *config, int64_t layer)
{
    int64_t steps[ECG_MAX_CONVS + 1];
    ecg_config_steps(config, nominal_samples(config), steps);
    return (ecg_conv_spec){.batch = NOMINAL_BATCH,
                           .src_steps = steps[layer],
                           .src_channels = layer ? config->convs[layer - 1].channels : config->leads,
                           .dst_channels = config->convs[layer].channels,
                           .groups = 1,
                           .kernel = config->convs[layer].kernel,
                           .stride = config->convs[layer].stride};
}

static int64_t nominal_tokens(const ecg_config *config)
{
    return ecg_config_tokens(config, nominal_samples(config));
}

static ecg_status allocate(void **dst, int64_t count, size_t size)
{
    ECG_TRY(ecg_alloc(dst, (size_t)count * size));
    memset(*dst, 0, (size_t)count * size);
    return ECG_OK;
}

/* Gives what stays as it is stored its places in one block. */
static ecg_status place_plain(ecg_model *model)
{
    const ecg_table *table = &model->table;
    for (int64_t i = 0; i < table->count; i++) {
        model->offsets[i] = -1;
        model->set[i] = !(table->parameters[i].flags & ECG_P_PACKED);
    }
    int64_t size = ecg_table_place(table, model->offsets, model->set, true, 0);
    memset(model->set, 0, (size_t)table->count * sizeof *model->set);
    return ecg_alloc((void **)&model->plain, (size_t)size * sizeof *model->plain);
}

ecg_status ecg_model_create(ecg_model *model, const ecg_config *config)
{
    ecg_status status = ECG_OK;
    memset(model, 0, sizeof *model);
    ECG_TRY(ecg_table_create(&model->table, config));
    model->config = *config;
    int64_t count = model->table.count;
    ECG_TRY_GOTO(allocate((void **)&model->offsets, count, sizeof *model->offsets));
    ECG_TRY_GOTO(allocate((void **)&model->set, count, sizeof *model->set));
    ECG_TRY_GOTO(allocate((void **)&model->staging, count, sizeof *model->staging));
    ECG_TRY_GOTO(allocate((void **)&model->packed, count, sizeof *model->packed));
    ECG_TRY_GOTO(place_plain(model));
    ECG_TRY_GOTO(ecg_network_create(&model->network, config));
    for (int64_t i = 0; i < count; i++) {
        const ecg_parameter *p = &model->table.parameters[i];
        if (p->flags & ECG_P_PACKED)
            ecg_network_connect_packed(&model->network, p, &model->packed[p->first]);
        else
            ecg_network_connect(&model->network, p, model->plain + model->offsets[i]);
    }
    model->network.pos_packed = &model->pos;
    return ECG_OK;
fail:
    ecg_model_free(model);
    return status;
}

void ecg_model_free(ecg_model *model)
{
    for (int64_t i = 0; i < model->table.count; i++) {
        if (model->packed)
            ecg_packed_free(&model->packed[i]);
        if (model->staging)
            ecg_free(model->staging[i]);
    }
    ecg_packed_free(&model->pos);
    ecg_network_free(&model->network);
    ecg_free(model->packed);
    ecg_free(model->staging);
    ecg_free(model->plain);
    ecg_free(model->offsets);
    ecg_free(model->set);
    ecg_table_free(&model->table);
    memset(model, 0, sizeof *model);
}

/* Packs the weights of a whole group: (parts * N, K), or those of a convolution. */
static ecg_status pack(ecg_model *model, const ecg_parameter *p, const float *src)
{
    const ecg_config *c = &model->config;
    ecg_packed *packed = &model->packed[p->first];
    if (p->flags & ECG_P_CONV) {
        ecg_conv_spec conv = nominal_conv(c, p->layer);
        return ecg_pack_conv(packed, src, &conv);
    }
    int64_t rows = p->flags & ECG_P_SEGMENTS ? NOMINAL_BATCH : NOMINAL_BATCH * nominal_tokens(c);
    return ecg_pack_linear(packed, src, ECG_LINEAR(rows, p->shape[1], p->parts * p->shape[0]));
}

/* Whether all tensors of a group but this one are set. */
static bool others_set(const ecg_model *model, int64_t index)
{
    const ecg_parameter *p = &model->table.parameters[index];
    int64_t found = 0;
    for (int64_t i = p->first; i < model->table.count && found < p->parts; i++) {
        if (model->table.parameters[i].first != p->first)
            continue;
        if (i != index && !model->set[i])
            return false;
        found++;
    }
    return true;
}

/* Puts one weight of a group into the stack and packs it when the others are there. */
static ecg_status set_part(ecg_model *model, int64_t index, const float *src)
{
    const ecg_parameter *p = &model->table.parameters[index];
    const ecg_packed *packed = &model->packed[p->first];
    float **stack = &model->staging[p->first];
    if (!*stack) {
        ECG_TRY(ecg_alloc((void **)stack, (size_t)(p->parts * p->count) * sizeof **stack));
        if (packed->data)
            ECG_TRY(ecg_unpack(*stack, packed));
    }
    memcpy(*stack + p->part * p->count, src, (size_t)p->count * sizeof *src);
    if (!others_set(model, index))
        return ECG_OK;
    ECG_TRY(pack(model, p, *stack));
    ecg_free(*stack);
    *stack = NULL;
    return ECG_OK;
}

ecg_status ecg_model_set(ecg_model *model, int64_t index, const float *src)
{
    if (index < 0 || index >= model->table.count)
        return ecg_fail(ECG_BAD_ARGUMENT, "there is no parameter %lld", (long long)index);
    const ecg_parameter *p = &model->table.parameters[index];
    if (model->offsets[index] >= 0)
        memcpy(model->plain + model->offsets[index], src, (size_t)p->count * sizeof *src);
    else
        ECG_TRY(p->parts > 1 ? set_part(model, index, src) : pack(model, p, src));
    model->set[index] = true;
    model->ready = false;
    return ECG_OK;
}

static ecg_status get_part(const ecg_model *model, const ecg_parameter *p, float *dst)
{
    float *stack = NULL;
    ECG_TRY(ecg_alloc((void **)&stack, (size_t)(p->parts * p->count) * sizeof *stack));
    ecg_status status = ecg_unpack(stack, &model->packed[p->first]);
    if (status == ECG_OK)
        memcpy(dst, stack + p->part * p->count, (size_t)p->count * sizeof *dst);
    ecg_free(stack);
    return status;
}

ecg_status ecg_model_get(const ecg_model *model, int64_t index, float *dst)
{
    if (index < 0 || index >= model->table.count || !model->ready)
        return ecg_fail(ECG_BAD_STATE, "there is no parameter %lld or the model is not loaded", (long long)index);
    const ecg_parameter *p = &model->table.parameters[index];
    if (model->offsets[index] < 0)
        return p->parts > 1 ? get_part(model, p, dst) : ecg_unpack(dst, &model->packed[p->first]);
    memcpy(dst, model->plain + model->offsets[index], (size_t)p->count * sizeof *dst);
    return ECG_OK;
}

ecg_status ecg_model_finish(ecg_model *model)
{
    const ecg_config *c = &model->config;
    int64_t C = c->C, groups = c->conv_pos_groups, k = c->conv_pos;
    for (int64_t i = 0; i < model->table.count; i++) {
        if (!model->set[i])
            return ecg_fail(ECG_BAD_STATE, "the parameter %s is not set", model->table.parameters[i].name);
    }
    float *weights = NULL;
    ECG_TRY(ecg_alloc((void **)&weights, (size_t)(C * (C / groups) * k) * sizeof *weights));
    ecg_weight_norm_forward(weights, model->network.pos_v, model->network.pos_g, C, C / groups, k);
    ecg_conv_spec shape = {.batch = ecg_positions_batch(c, NOMINAL_BATCH),
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

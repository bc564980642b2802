#include "model.h"

#include <string.h>

#include "../base/threads.h"
#include "../heads/classifier.h"

/* ---- weights: set one by one in any order, packed as soon as they are complete ---- */

/* Packed layouts are chosen for this batch; they serve every other one. */
#define NOMINAL_BATCH 8
#define NOMINAL_SAMPLES 2500

static int64_t nominal_samples(const ecg_config *config)
{
    int64_t smallest = ecg_config_min_samples(config);
    return smallest > NOMINAL_SAMPLES ? smallest : NOMINAL_SAMPLES;
}

static int64_t nominal_tokens(const ecg_config *config)
{
    return ecg_config_tokens(config, nominal_samples(config));
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

ecg_status ecg_model_create(ecg_model *model, const ecg_config *config, ecg_precision_name precision)
{
    ecg_status status = ECG_OK;
    memset(model, 0, sizeof *model);
    model->config = *config;
    model->head = ecg_head_of(config->kind);
    ECG_TRY(ecg_table_create(&model->table, config, ecg_rows_of(model->head)));
    int64_t count = model->table.count;
    ECG_TRY_GOTO(ecg_alloc_zeros((void **)&model->offsets, count, sizeof *model->offsets));
    ECG_TRY_GOTO(ecg_alloc_zeros((void **)&model->set, count, sizeof *model->set));
    ECG_TRY_GOTO(ecg_alloc_zeros((void **)&model->staging, count, sizeof *model->staging));
    ECG_TRY_GOTO(ecg_alloc_zeros((void **)&model->packed, count, sizeof *model->packed));
    ECG_TRY_GOTO(place_plain(model));
    ECG_TRY_GOTO(ecg_network_create(&model->network, config, ecg_rows_of(model->head)));
    model->network.precision = ecg_precision_of(precision);
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
    ecg_pool_free(&model->pool);
    for (int64_t i = 0; i < model->table.count; i++) {
        if (model->packed)
            ecg_packed_free(&model->packed[i]);
        if (model->staging)
            ecg_free(model->staging[i]);
    }
    ecg_packed_free(&model->pos);
    ecg_network_free(&model->network);
    ecg_free(model->packed);
    ecg_free(model->spare);
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
        int64_t steps[ECG_MAX_CONVS + 1];
        ecg_config_steps(c, nominal_samples(c), steps);
        ecg_conv_spec conv = ecg_block_spec(c, model->network.precision.conv, p->layer, NOMINAL_BATCH, steps[p->layer]);
        return ecg_pack_conv(packed, src, &conv);
    }
    bool segments = p->flags & ECG_P_SEGMENTS; /* few rows, and the last layer: always float32 */
    ecg_dtype type = segments ? ECG_F32 : model->network.precision.rows.linear;
    int64_t rows = segments ? NOMINAL_BATCH : NOMINAL_BATCH * nominal_tokens(c);
    ecg_linear_spec spec = ecg_linear_spec_of(type, type, rows, p->shape[1], p->parts * p->shape[0]);
    return ecg_pack_linear(packed, src, &spec);
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

/* A stack of `count` elements: the one that the layer before left, if it is as large, for new memory has to be
 * cleared by the system, which takes longer than all else that is done with it. */
static ecg_status take_stack(ecg_model *model, float **stack, int64_t count)
{
    if (!model->spare || model->spare_count != count)
        return ecg_alloc((void **)stack, (size_t)count * sizeof **stack);
    *stack = model->spare;
    model->spare = NULL;
    return ECG_OK;
}

/* Puts one weight of a group into the stack and packs it when the others are there. */
static ecg_status set_part(ecg_model *model, int64_t index, const float *src)
{
    const ecg_parameter *p = &model->table.parameters[index];
    const ecg_packed *packed = &model->packed[p->first];
    float **stack = &model->staging[p->first];
    if (!*stack) {
        ECG_TRY(take_stack(model, stack, p->parts * p->count));
        if (packed->data)
            ECG_TRY(ecg_unpack(*stack, packed));
    }
    memcpy(*stack + p->part * p->count, src, (size_t)p->count * sizeof *src);
    if (!others_set(model, index))
        return ECG_OK;
    ECG_TRY(pack(model, p, *stack));
    ecg_free(model->spare);
    model->spare = *stack;
    model->spare_count = p->parts * p->count;
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
    ecg_free(model->spare);
    model->spare = NULL;
    ECG_TRY(ecg_alloc((void **)&weights, (size_t)(C * (C / groups) * k) * sizeof *weights));
    ecg_weight_norm_forward(weights, model->network.pos_v, model->network.pos_g, C, C / groups, k);
    ecg_conv_spec spec = ecg_positions_spec(c, model->network.precision.conv, ecg_positions_batch(c, NOMINAL_BATCH),
                                            nominal_tokens(c));
    ecg_status status = ecg_pack_conv(&model->pos, weights, &spec);
    ecg_free(weights);
    model->ready = status == ECG_OK;
    return status;
}

/* ---- runs ---- */

/* Takes an idle runner of this shape, or makes one, for the number of threads that it sets for the calling thread:
 * oneDNN plans for the number that OpenMP would use, and packs with it. */
static ecg_status take(ecg_model *model, ecg_lease *dst, int64_t B, int64_t N)
{
    int threads;
    ecg_status status = ECG_OK;
    *dst = (ecg_lease){0};
    ECG_TRY(ecg_threads_begin(&threads));
    if (ecg_pool_take(&model->pool, dst, B, N, threads))
        return ECG_OK;
    if (!model->ready)
        return ecg_fail(ECG_BAD_STATE, "the model is not loaded completely");
    model->was_run = true;
    ECG_TRY_GOTO(ecg_runner_create(&dst->runner, &model->config, &model->network, model->head, B, N, threads, NULL));
    return ECG_OK;
fail:
    ecg_lease_free(dst);
    return status;
}

/* Turns a runner to a pass and gives it memory; the shape says how much, so that it is allocated once. */
static ecg_status prepare(ecg_lease *lease, const ecg_head_task *task)
{
    size_t bytes;
    ECG_TRY(ecg_runner_plan(&lease->runner, task, &bytes));
    if (!lease->memory)
        ECG_TRY(ecg_alloc(&lease->memory, bytes));
    lease->bytes = bytes + ecg_plan_own(lease->runner.plan);
    ecg_runner_place(&lease->runner, lease->memory);
    return ECG_OK;
}

/* *at + rows of `size` elements, or NULL. */
static float *rows_of(float *array, int64_t row, int64_t size)
{
    return array ? array + row * size : NULL;
}

/* Segments `first` to first + B of a request. */
static ecg_status run_pass(ecg_model *model, const ecg_request *request, int64_t first, int64_t B)
{
    const ecg_config *c = &model->config;
    int64_t N = request->N, T = ecg_config_tokens(c, N);
    ecg_labelled batch = {.logits = request->logits};
    ecg_head_task task = {.config = c, .network = &model->network, .B = B, .T = T, .first = first, .batch = &batch};
    ecg_outputs outputs = request->outputs;
    ecg_encoded encoded;
    ecg_lease lease;
    outputs.embedding = rows_of(outputs.embedding, first, c->C);
    outputs.tokens = rows_of(outputs.tokens, first, T * c->C);
    outputs.attention = rows_of(outputs.attention, first, c->layers * T * T);
    ECG_TRY(take(model, &lease, B, N));
    ecg_status status = prepare(&lease, &task);
    if (status == ECG_OK)
        status = ecg_runner_forward(&lease.runner, &encoded, &model->network, request->src + first * c->leads * N,
                                    request->valid ? request->valid + first : NULL, NULL, &outputs);
    if (lease.memory)
        ecg_pool_give_back(&model->pool, &lease);
    else
        ecg_lease_free(&lease);
    return status;
}

ecg_status ecg_model_forward(ecg_model *model, const ecg_request *request)
{
    int64_t pass =
        request->outputs.trace ? request->B : ecg_pass_segments(&model->config, request->N, ECG_INFERENCE_ROWS);
    for (int64_t first = 0; first < request->B; first += pass)
        ECG_TRY(run_pass(model, request, first, request->B - first < pass ? request->B - first : pass));
    return ECG_OK;
}

ecg_status ecg_model_describe(ecg_model *model, int64_t B, int64_t N, char *dst, size_t size)
{
    ecg_head_task task = {.config = &model->config, .network = &model->network, .B = B};
    ecg_text text = {dst, size};
    ecg_lease lease;
    size_t bytes;
    task.T = ecg_config_tokens(&model->config, N);
    ECG_TRY(take(model, &lease, B, N));
    ecg_status status = ecg_runner_plan(&lease.runner, &task, &bytes);
    if (status == ECG_OK)
        ecg_plan_describe(lease.runner.plan, &text);
    if (status == ECG_OK && model->head)
        model->head->describe(lease.runner.head.state, &text);
    if (lease.memory)
        ecg_pool_give_back(&model->pool, &lease);
    else
        ecg_lease_free(&lease);
    return status;
}

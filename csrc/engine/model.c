#include "model.h"

#include <math.h>
#include <string.h>

#include "../layers/conv_blocks.h"

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
        model->set[i] = !(table->parameters[i].flags & (ECG_P_PACKED | ECG_P_POS_V));
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
    ECG_TRY_GOTO(ecg_alloc_zeros((void **)&model->numbers, count, sizeof *model->numbers));
    ECG_TRY_GOTO(ecg_alloc_zeros((void **)&model->packed, count, sizeof *model->packed));
    ECG_TRY_GOTO(place_plain(model));
    ECG_TRY_GOTO(ecg_network_create(&model->network, config, ecg_rows_of(model->head)));
    model->network.precision = ecg_precision_of(precision);
    for (int64_t i = 0; i < count; i++) {
        const ecg_parameter *p = &model->table.parameters[i];
        if (p->flags & ECG_P_PACKED)
            ecg_network_connect_packed(&model->network, p, &model->packed[p->first]);
        else if (model->offsets[i] >= 0)
            ecg_network_connect(&model->network, p, model->plain + model->offsets[i]);
    }
    model->network.pos_packed = &model->positions.packed;
    return ECG_OK;
fail:
    ecg_model_free(model);
    return status;
}

static void free_numbers(ecg_numbers *numbers)
{
    ecg_free(numbers->data);
    ecg_free(numbers->scales);
    ecg_free(numbers->factors);
    *numbers = (ecg_numbers){0};
}

void ecg_model_free(ecg_model *model)
{
    ecg_pool_free(&model->pool);
    for (int64_t i = 0; i < model->table.count; i++) {
        if (model->packed)
            ecg_packed_free(&model->packed[i]);
        if (model->staging)
            ecg_free(model->staging[i]);
        if (model->numbers)
            free_numbers(&model->numbers[i]);
    }
    ecg_positions_free(&model->positions);
    ecg_network_free(&model->network);
    ecg_free(model->packed);
    ecg_free(model->spare);
    ecg_free(model->staging);
    ecg_free(model->numbers);
    ecg_free(model->plain);
    ecg_free(model->offsets);
    ecg_free(model->set);
    ecg_table_free(&model->table);
    memset(model, 0, sizeof *model);
}

/* What a linear layer is packed for. */
static ecg_linear_spec linear_spec(const ecg_model *model, const ecg_parameter *p)
{
    const ecg_config *c = &model->config;
    ecg_dtype type = p->flags & ECG_P_LAYER ? model->network.precision.rows.linear : ECG_F32;
    int64_t rows = p->flags & ECG_P_SEGMENTS ? NOMINAL_BATCH : NOMINAL_BATCH * nominal_tokens(c);
    return ecg_linear_spec_of(type, type, rows, p->shape[1], p->parts * p->shape[0]);
}

/* Whether what stands at a place of the plain block is set. */
static bool is_set(const ecg_model *model, const float *place)
{
    for (int64_t i = 0; i < model->table.count; i++) {
        if (model->offsets[i] >= 0 && model->plain + model->offsets[i] == place)
            return model->set[i];
    }
    return false;
}

/* How large the columns of a norm's output are: within three standard deviations of its mean. */
static ecg_status norm_magnitudes(float *dst, const ecg_model *model, const ecg_norm *norm, int64_t K)
{
    if (!is_set(model, norm->weight) || !is_set(model, norm->bias))
        return ecg_fail(ECG_BAD_STATE, "int8 weights are set after the norms whose output they take");
    for (int64_t k = 0; k < K; k++)
        dst[k] = 3.f * fabsf(norm->weight[k]) + fabsf(norm->bias[k]);
    return ECG_OK;
}

static ecg_status quantise(ecg_model *model, const ecg_parameter *p, const float *src, const ecg_linear_spec *spec)
{
    ecg_status status = ECG_OK;
    const ecg_norm *norm = ecg_network_source_norm(&model->network, &model->config, p);
    float *factors = NULL, *magnitudes = NULL;
    ECG_TRY_GOTO(ecg_alloc((void **)&factors, (size_t)spec->K * sizeof *factors));
    ECG_TRY_GOTO(ecg_alloc((void **)&magnitudes, (size_t)spec->K * sizeof *magnitudes));
    if (norm)
        ECG_TRY_GOTO(norm_magnitudes(magnitudes, model, norm, spec->K));
    ecg_smoothing(factors, src, norm ? magnitudes : NULL, spec->N, spec->K);
    ECG_TRY_GOTO(ecg_pack_s8(&model->packed[p->first], src, factors, spec));
fail:
    ecg_free(factors);
    ecg_free(magnitudes);
    return status;
}

/* What a conv block is packed for. */
static ecg_conv_spec conv_spec(const ecg_model *model, const ecg_parameter *p)
{
    int64_t steps[ECG_MAX_CONVS + 1];
    ecg_config_steps(&model->config, nominal_samples(&model->config), steps);
    return ecg_block_spec(&model->config, p->layer, NOMINAL_BATCH, steps[p->layer]);
}

/* Packs the weights of a whole group: (parts * N, K), or those of a convolution. */
static ecg_status pack(ecg_model *model, const ecg_parameter *p, const float *src)
{
    ecg_packed *packed = &model->packed[p->first];
    if (p->flags & ECG_P_CONV) {
        ecg_conv_spec conv = conv_spec(model, p);
        return ecg_is_conv_blocks(&conv) ? ecg_pack_conv_blocks(packed, src, &conv) : ecg_pack_conv(packed, src, &conv);
    }
    ecg_linear_spec spec = linear_spec(model, p);
    return spec.weights == ECG_S8 ? quantise(model, p, src, &spec) : ecg_linear_pack(packed, src, &spec);
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
            ECG_TRY(ecg_linear_unpack(*stack, packed));
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

/* Packs the positional convolution once v and g are set; `v` NULL is the one that is there. */
static ecg_status set_positions(ecg_model *model, const float *v)
{
    const ecg_config *c = &model->config;
    ecg_positions *positions = &model->positions;
    const float *g = model->network.pos_g;
    float *held = NULL;
    ecg_conv_spec spec = ecg_positions_spec(c, model->network.precision.positions,
                                            ecg_positions_batch(c, NOMINAL_BATCH), nominal_tokens(c));
    if (!is_set(model, g))
        return v ? ecg_positions_hold(positions, c, v) : ECG_OK;
    if (!v && !positions->v && !positions->packed.data)
        return ECG_OK;
    if (!v)
        ECG_TRY(ecg_alloc((void **)&held, (size_t)(c->C * (c->C / c->conv_pos_groups) * c->conv_pos) * sizeof *held));
    ecg_status status = v ? ECG_OK : ecg_positions_v(positions, c, held);
    if (status == ECG_OK)
        status = ecg_positions_pack(positions, c, &spec, v ? v : held, g);
    ecg_free(held);
    return status;
}

ecg_status ecg_model_set(ecg_model *model, int64_t index, const float *src)
{
    if (index < 0 || index >= model->table.count)
        return ecg_fail(ECG_BAD_ARGUMENT, "there is no parameter %lld", (long long)index);
    const ecg_parameter *p = &model->table.parameters[index];
    if (model->numbers[p->first].data)
        return ecg_fail(ECG_BAD_STATE, "others of the group of %s are set in int8", p->name);
    model->ready = false;
    if (p->flags & ECG_P_POS_V)
        ECG_TRY(set_positions(model, src));
    else if (model->offsets[index] >= 0)
        memcpy(model->plain + model->offsets[index], src, (size_t)p->count * sizeof *src);
    else
        ECG_TRY(p->parts > 1 ? set_part(model, index, src) : pack(model, p, src));
    model->set[index] = true;
    return p->flags & ECG_P_POS_G ? set_positions(model, NULL) : ECG_OK;
}

static ecg_status get_conv(const ecg_model *model, const ecg_parameter *p, float *dst)
{
    ecg_conv_spec conv = conv_spec(model, p);
    if (!ecg_is_conv_blocks(&conv))
        return ecg_unpack(dst, &model->packed[p->first]);
    ecg_unpack_conv_blocks(dst, &model->packed[p->first], &conv);
    return ECG_OK;
}

static ecg_status get_part(const ecg_model *model, const ecg_parameter *p, float *dst)
{
    float *stack = NULL;
    ECG_TRY(ecg_alloc((void **)&stack, (size_t)(p->parts * p->count) * sizeof *stack));
    ecg_status status = ecg_linear_unpack(stack, &model->packed[p->first]);
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
    if (p->flags & ECG_P_POS_V)
        return ecg_positions_v(&model->positions, &model->config, dst);
    if (p->flags & ECG_P_CONV)
        return get_conv(model, p, dst);
    if (model->offsets[index] < 0)
        return p->parts > 1 ? get_part(model, p, dst) : ecg_linear_unpack(dst, &model->packed[p->first]);
    const float *norms = p->flags & ECG_P_POS_G ? model->positions.norms : NULL;
    memcpy(dst, norms ? norms : model->plain + model->offsets[index], (size_t)p->count * sizeof *dst);
    return ECG_OK;
}

/* ---- weights as they are held in int8 ---- */

ecg_dtype ecg_model_type(const ecg_model *model, int64_t index)
{
    const ecg_parameter *p = &model->table.parameters[index];
    if (p->flags & ECG_P_POS_V && model->positions.norms)
        return model->network.precision.positions;
    return p->flags & ECG_P_MATRIX ? linear_spec(model, p).weights : ECG_F32;
}

static ecg_status refuse_other_types(const ecg_model *model, int64_t index)
{
    if (index >= 0 && index < model->table.count && ecg_model_type(model, index) == ECG_S8)
        return ECG_OK;
    return ecg_fail(ECG_BAD_ARGUMENT, "parameter %lld is not held in int8", (long long)index);
}

static ecg_status alloc_numbers(ecg_numbers *dst, const ecg_linear_spec *spec)
{
    ECG_TRY(ecg_alloc((void **)&dst->data, (size_t)(spec->N * spec->K)));
    ECG_TRY(ecg_alloc((void **)&dst->scales, (size_t)spec->N * sizeof *dst->scales));
    return ecg_alloc((void **)&dst->factors, (size_t)spec->K * sizeof *dst->factors);
}

ecg_status ecg_model_set_numbers(ecg_model *model, int64_t index, const int8_t *numbers, const float *scales,
                                 const float *factors)
{
    ECG_TRY(refuse_other_types(model, index));
    const ecg_parameter *p = &model->table.parameters[index];
    const ecg_linear_spec spec = linear_spec(model, p);
    ecg_numbers *stack = &model->numbers[p->first];
    int64_t N = p->shape[0], K = p->shape[1];
    if (model->staging[p->first] || model->ready)
        return ecg_fail(ECG_BAD_STATE, "%s or others of its group are set in float32", p->name);
    if (p->parts == 1) {
        ECG_TRY(ecg_pack_numbers(&model->packed[index], numbers, scales, factors, &spec));
        model->set[index] = true;
        return ECG_OK;
    }
    if (stack->data && memcmp(stack->factors, factors, (size_t)K * sizeof *factors) != 0)
        return ecg_fail(ECG_BAD_ARGUMENT, "the factors of %s are not those of its group", p->name);
    if (!stack->data && alloc_numbers(stack, &spec) != ECG_OK) {
        free_numbers(stack);
        return ECG_NO_MEMORY;
    }
    memcpy(stack->data + p->part * N * K, numbers, (size_t)(N * K));
    memcpy(stack->scales + p->part * N, scales, (size_t)N * sizeof *scales);
    memcpy(stack->factors, factors, (size_t)K * sizeof *factors);
    model->set[index] = true;
    if (!others_set(model, index))
        return ECG_OK;
    ecg_status status = ecg_pack_numbers(&model->packed[p->first], stack->data, stack->scales, stack->factors, &spec);
    free_numbers(stack);
    return status;
}

ecg_status ecg_model_get_numbers(const ecg_model *model, int64_t index, int8_t *numbers, float *scales, float *factors)
{
    ECG_TRY(refuse_other_types(model, index));
    const ecg_parameter *p = &model->table.parameters[index];
    const ecg_packed *packed = &model->packed[p->first];
    int64_t N = p->shape[0], K = p->shape[1];
    int8_t *stack = NULL;
    if (!model->ready)
        return ecg_fail(ECG_BAD_STATE, "the model is not loaded");
    ECG_TRY(ecg_alloc((void **)&stack, (size_t)(packed->rows * packed->columns)));
    ecg_status status = ecg_unpack_numbers(stack, packed);
    if (status == ECG_OK)
        memcpy(numbers, stack + p->part * N * K, (size_t)(N * K));
    memcpy(scales, packed->scales + p->part * N, (size_t)N * sizeof *scales);
    memcpy(factors, packed->factors, (size_t)K * sizeof *factors);
    ecg_free(stack);
    return status;
}

ecg_status ecg_model_finish(ecg_model *model)
{
    for (int64_t i = 0; i < model->table.count; i++) {
        if (!model->set[i])
            return ecg_fail(ECG_BAD_STATE, "the parameter %s is not set", model->table.parameters[i].name);
    }
    if (!model->positions.packed.data) /* memory ran out when they were set */
        ECG_TRY(set_positions(model, NULL));
    ecg_free(model->spare);
    model->spare = NULL;
    ecg_trim_heap();
    model->ready = true;
    return ECG_OK;
}

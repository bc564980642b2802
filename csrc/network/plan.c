#include "plan.h"

#include "../base/threads.h"
#include "../layers/conv_blocks.h"

static void *take(ecg_plan *p, int64_t a, int64_t b, int64_t c)
{
    return ecg_arena_tensor(&p->arena, ECG_F32, a, b, c);
}

/* Room for (rows, columns) as products of a type take them; none in float32, which needs no other copy. */
static ecg_operand take_operand(ecg_plan *p, ecg_dtype type, int64_t rows, int64_t columns)
{
    ecg_operand taken = {.type = type};
    if (type == ECG_F32)
        return taken;
    taken.data = ecg_arena_tensor(&p->arena, type, rows, columns, 1);
    if (type == ECG_U8) {
        taken.scale = take(p, rows, 1, 1);
        taken.shift = take(p, rows, 1, 1);
    }
    return taken;
}

/* Room for what comes before the encoder layers. */
static void take_front(ecg_plan *p)
{
    const ecg_config *c = &p->config;
    ecg_keep *keep = ecg_front_kept(p);
    int64_t largest = 0, group = c->C / c->conv_pos_groups, M = ecg_elements(p->B, p->T, 1);
    if (!p->keep || !p->keep->extractor)
        p->source = take(p, p->B, p->N, c->leads);
    p->position_rows = take_operand(p, p->precision.positions, M, c->C);
    for (int64_t parity = 0; parity < 2; parity++) {
        int64_t size = 0;
        for (int64_t i = 0; i < c->conv_count; i++) {
            int64_t n = ecg_elements(p->B, p->steps[i + 1], c->convs[i].channels);
            p->arena.overflow |= n < 0;
            if ((keep || i % 2 == parity) && n > size)
                size = n;
        }
        *(parity ? &p->pong : &p->ping) = take(p, size, 1, 1);
        largest = size > largest ? size : largest;
    }
    if (keep)
        p->conv_rows = take(p, largest, 1, 1);
    if (p->fresh)
        p->pos_weights = take(p, c->C, group, c->conv_pos);
    if (keep)
        keep->diff_pos_weights = take(p, c->C, group, c->conv_pos);
}

/* Room for an encoder layer without a backward; what is not needed at the same time shares memory. */
static void take_layer(ecg_plan *p)
{
    const ecg_config *c = &p->config;
    int64_t M = ecg_elements(p->B, p->T, 1);
    ecg_transformer_types types = p->precision.rows;
    size_t shared = p->arena.used;
    p->layer.qkv = ecg_arena_tensor(&p->arena, types.attention, M, 3 * c->C, 1);
    p->layer.context = take(p, M, c->C, 1);
    if (types.linear == ECG_U8)
        p->work.context_rows = take_operand(p, ECG_U8, M, c->C);
    p->arena.used = shared;
    p->work.hidden_rows = take_operand(p, types.linear, M, c->F);
    if (types.linear == ECG_BF16)
        p->layer.hidden = p->work.hidden_rows.data;
    else
        p->work.activated = p->layer.hidden = take(p, M, c->F, 1);
}

/* Room for an encoder layer in both directions. */
static void take_layer_and_backward(ecg_plan *p)
{
    const ecg_config *c = &p->config;
    int64_t M = ecg_elements(p->B, p->T, 1);
    ecg_transformer_types types = p->precision.rows;
    size_t shared = p->arena.used;
    p->work.diff_qkv = ecg_arena_tensor(&p->arena, types.attention, M, 3 * c->C, 1);
    p->work.diff_context = take(p, M, c->C, 1);
    p->arena.used = shared;
    p->work.hidden_rows = take_operand(p, types.linear, M, c->F);
    if (types.linear == ECG_F32)
        p->work.activated = take(p, M, c->F, 1);
    p->work.diff_hidden = ecg_arena_tensor(&p->arena, types.linear, M, c->F, 1);
}

/* Lays out the arena; runs once to measure and once to place. */
static void lay_out(ecg_plan *p)
{
    const ecg_config *c = &p->config;
    ecg_keep_shape shape = {c, p->B, p->T, p->steps, p->precision.rows};
    ecg_arena *a = &p->arena;
    a->used = 0;
    p->work.base.scratch = ecg_arena_take(a, (int64_t)p->sizes.scratch, 1);
    p->work.base.packed = ecg_arena_take(a, (int64_t)p->sizes.packed, 1);
    p->x = take(p, p->B, p->T, c->C);
    p->work.branch = take(p, p->B, p->T, c->C);
    p->work.x_rows = take_operand(p, p->precision.rows.linear, ecg_elements(p->B, p->T, 1), c->C);
    p->tokens = ecg_arena_take(a, p->B, sizeof *p->tokens);
    if (p->keep) {
        p->work.rows = take(p, p->B, p->T, c->C);
        p->work.diff_rows = take_operand(p, p->precision.rows.linear, ecg_elements(p->B, p->T, 1), c->C);
        if (p->keep->extractor)
            p->source = take(p, p->B, p->N, c->leads);
        ecg_keep_lay_out(p->keep, a, &shape);
    }
    size_t shared = a->used; /* by what comes before the encoder layers, in both directions, and by them */
    take_front(p);
    a->used = shared;
    if (p->keep) {
        ecg_keep_lay_out_layers(p->keep, a, &shape);
        take_layer_and_backward(p);
    } else {
        take_layer(p);
    }
}

ecg_conv_spec ecg_block_spec(const ecg_config *c, int64_t i, int64_t B, int64_t steps)
{
    return (ecg_conv_spec){.batch = B,
                           .src_steps = steps,
                           .src_channels = i ? c->convs[i - 1].channels : c->leads,
                           .dst_channels = c->convs[i].channels,
                           .groups = 1,
                           .kernel = c->convs[i].kernel,
                           .stride = c->convs[i].stride,
                           .bias = c->conv_bias};
}

ecg_conv_spec ecg_positions_spec(const ecg_config *c, ecg_dtype type, int64_t B, int64_t T)
{
    int64_t k = c->conv_pos;
    return (ecg_conv_spec){.src = type,
                           .weights = type,
                           .gelu = type != ECG_F32,
                           .batch = B,
                           .src_steps = T,
                           .src_channels = c->C,
                           .dst_channels = c->C,
                           .groups = c->conv_pos_groups,
                           .kernel = k,
                           .stride = 1,
                           .pad_left = k / 2,
                           .pad_right = k % 2 ? k / 2 : k / 2 - 1,
                           .bias = true};
}

int64_t ecg_positions_batch(const ecg_config *config, int64_t B)
{
    return config->conv_pos_groups >= ecg_threads() ? 1 : B;
}

/* Prepares a convolution; on fresh weights with the gradient of the weights, added or written, and of the source. */
static ecg_status plan_conv(ecg_conv_ops *ops, const ecg_packed *packed, bool gradient, bool diff_src, bool add,
                            ecg_work_sizes *sizes)
{
    ops->blocks = packed && ecg_is_conv_blocks(&ops->spec);
    if (ops->blocks)
        return ECG_OK;
    if (packed) {
        ECG_TRY(ecg_op_conv(&ops->packed, packed, &ops->spec));
        ecg_enlarge(sizes, 0, ops->packed.scratch_bytes);
        return ECG_OK;
    }
    ECG_TRY(ecg_fresh_conv(&ops->fresh, &ops->spec));
    if (gradient)
        ECG_TRY(ecg_fresh_conv_gradient(&ops->gradient, &ops->spec, add));
    if (diff_src)
        ECG_TRY(ecg_fresh_conv_backward(&ops->backward, &ops->spec));
    ecg_enlarge(sizes, ops->fresh.packed_bytes, ops->fresh.scratch_bytes);
    ecg_enlarge(sizes, ops->backward.packed_bytes, ops->backward.scratch_bytes);
    ecg_enlarge(sizes, ops->gradient.packed_bytes, ops->gradient.scratch_bytes);
    return ECG_OK;
}

/* Prepares all operations. */
static ecg_status plan_ops(ecg_plan *p, const ecg_network *network)
{
    ecg_work_sizes *sizes = &p->sizes;
    const ecg_config *c = &p->config;
    bool backward = p->keep != NULL, front = ecg_front_kept(p) != NULL, extractor = backward && p->keep->extractor;
    for (int64_t i = 0; i < c->conv_count; i++) {
        p->convs[i].spec = ecg_block_spec(c, i, p->B, p->steps[i]);
        ECG_TRY(plan_conv(&p->convs[i], network->convs[i].packed, extractor, extractor && i > 0, true, sizes));
    }
    int64_t K = ecg_config_features(c);
    if (K != c->C) {
        ECG_TRY(ecg_linear_plan(&p->post, &network->post, ECG_LINEAR(ecg_rows(p), K, c->C), front, ECG_WRITE));
        ecg_linear_sizes(&p->post, sizes);
    }
    p->pos.spec = ecg_positions_spec(c, p->precision.positions, p->fresh ? p->B : ecg_positions_batch(c, p->B), p->T);
    ECG_TRY(plan_conv(&p->pos, network->pos_packed, front, front, false, sizes));
    ECG_TRY(ecg_transformer_plan(&p->ops, &network->layers[0], &p->shape, backward));
    ecg_transformer_sizes(&p->ops, sizes);
    return ECG_OK;
}

static ecg_status too_large(int64_t B, int64_t N)
{
    return ecg_fail(ECG_NO_MEMORY, "a batch of %lld segments of %lld samples is too large", (long long)B, (long long)N);
}

/* oneDNN counts rows and steps in 32 bits in places. */
static ecg_status check_batch(const ecg_config *c, int64_t B, int64_t N)
{
    int64_t least = ecg_config_min_samples(c), elements = ecg_elements(B, N, c->leads);
    if (B < 1 || N < least)
        return ecg_fail(ECG_BAD_ARGUMENT, "a batch of %lld segments of %lld samples; the least is 1 of %lld samples",
                        (long long)B, (long long)N, (long long)least);
    return elements < 0 || elements > INT32_MAX ? too_large(B, N) : ECG_OK;
}

ecg_status ecg_plan_create(ecg_plan **dst, const ecg_config *c, const ecg_network *network, int64_t B, int64_t N,
                           int threads, const ecg_training *training)
{
    ecg_status status = ECG_OK;
    ecg_plan *p = NULL;
    *dst = NULL;
    ECG_TRY(check_batch(c, B, N));
    ECG_TRY(ecg_alloc_zeros((void **)&p, 1, sizeof *p));
    p->config = *c;
    p->B = B, p->N = N, p->threads = threads;
    p->fresh = network->pos_packed == NULL;
    ecg_config_steps(c, N, p->steps);
    p->T = p->steps[c->conv_count];
    p->precision = network->precision;
    p->shape = (ecg_transformer_shape){B, p->T, c->C, c->H, c->F, c->norm_first, p->precision.rows};
    if (training)
        ECG_TRY_GOTO(ecg_keep_create(&p->keep, c, training));
    lay_out(p); /* refuses sizes that overflow before anything is made of them */
    if (p->arena.overflow || p->arena.peak > PTRDIFF_MAX) {
        status = too_large(B, N);
        goto fail;
    }
    ECG_TRY_GOTO(ecg_stream_create(&p->work.base.stream));
    ECG_TRY_GOTO(plan_ops(p, network));
    p->arena.peak = 0;
    lay_out(p);
    *dst = p;
    return ECG_OK;
fail:
    ecg_plan_free(p);
    return status;
}

void ecg_plan_place(ecg_plan *p, void *memory)
{
    p->arena.base = memory;
    lay_out(p);
}

static void free_conv(ecg_conv_ops *ops)
{
    ecg_op_free(&ops->packed);
    ecg_fresh_free(&ops->fresh);
    ecg_fresh_free(&ops->backward);
    ecg_fresh_free(&ops->gradient);
}

void ecg_plan_free(ecg_plan *p)
{
    if (!p)
        return;
    for (int i = 0; i < ECG_MAX_CONVS; i++)
        free_conv(&p->convs[i]);
    free_conv(&p->pos);
    ecg_linear_free(&p->post);
    ecg_transformer_ops_free(&p->ops);
    ecg_stream_destroy(p->work.base.stream);
    ecg_keep_free(p->keep);
    ecg_free(p);
}

size_t ecg_plan_memory(const ecg_plan *p)
{
    return p->arena.peak;
}

size_t ecg_plan_own(const ecg_plan *p)
{
    size_t bytes = p->pos.packed.own.bytes;
    for (int i = 0; i < ECG_MAX_CONVS; i++)
        bytes += p->convs[i].packed.own.bytes;
    return bytes;
}

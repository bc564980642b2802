/* A workspace: prepared operations for one batch shape, and one arena for all that they read and write. */
#include "workspace.h"

#include <stdio.h>
#include <string.h>

static int64_t elements(int64_t a, int64_t b, int64_t c)
{
    int64_t size;
    return ecg_product(&size, 3, (int64_t[]){a, b, c}) ? size : -1;
}

static float *take(ecg_workspace *w, int64_t a, int64_t b, int64_t c)
{
    return ecg_arena_take(&w->arena, elements(a, b, c), sizeof(float));
}

/* The output of conv block i. */
static int64_t conv_elements(const ecg_workspace *w, int64_t i)
{
    return elements(w->B, w->steps[i + 1], w->config.convs[i].channels);
}

static void take_mask(ecg_workspace *w, ecg_dropout_mask *mask, double p, int64_t a, int64_t b, int64_t c)
{
    *mask = (ecg_dropout_mask){.p = p, .scale = (float)(1 / (1 - p))};
    if (p > 0)
        mask->keep = ecg_arena_take(&w->arena, elements(a, b, c), 1);
}

static void take_norm(ecg_workspace *w, ecg_norm_kept *kept, int64_t rows, int64_t C, int64_t statistics)
{
    kept->normalized = take(w, rows, C, 1);
    kept->rstd = take(w, statistics, 1, 1);
}

/* What one encoder layer keeps for its backward. */
static void take_kept_layer(ecg_workspace *w, ecg_transformer_kept *kept)
{
    const ecg_config *c = &w->config;
    const ecg_dropout_rates *p = &w->training.rates;
    int64_t M = elements(w->B, w->T, 1);
    kept->qkv = take(w, M, 3 * c->C, 1);
    kept->context = take(w, M, c->C, 1);
    kept->hidden = take(w, M, c->F, 1);
    take_norm(w, &kept->norm1, M, c->C, M);
    take_norm(w, &kept->norm2, M, c->C, M);
    take_mask(w, &kept->attention_mask, p->attention_dropout, elements(w->B, c->H, 1), w->T, w->T);
    take_mask(w, &kept->activation_mask, p->activation_dropout, M, c->F, 1);
    take_mask(w, &kept->out_mask, p->dropout, M, c->C, 1);
    take_mask(w, &kept->residual_mask, p->dropout, M, c->C, 1);
}

static void take_kept_convs(ecg_workspace *w)
{
    const ecg_config *c = &w->config;
    w->source = take(w, w->B, w->N, c->leads);
    for (int64_t i = 0; i < c->conv_count; i++) {
        ecg_conv_kept *kept = &w->conv_kept[i];
        int64_t rows = elements(w->B, w->steps[i + 1], 1), channels = c->convs[i].channels;
        if (c->extractor_layer_norm)
            take_norm(w, &kept->norm, rows, channels, rows);
        else if (i == 0)
            take_norm(w, &kept->norm, rows, channels, elements(w->B, channels, 1));
        else
            kept->hidden = take(w, rows, channels, 1);
    }
}

/* What stays from the forward to the backward. */
static void take_kept(ecg_workspace *w)
{
    const ecg_config *c = &w->config;
    const ecg_dropout_rates *p = &w->training.rates;
    int64_t M = elements(w->B, w->T, 1);
    w->work.rows = take(w, M, c->C, 1);
    w->layer_rows = take(w, M, c->C, 1);
    w->diff_pooled = take(w, w->B, c->C, 1);
    w->pos_src = take(w, M, c->C, 1);
    w->pos_hidden = take(w, M, c->C, 1);
    take_norm(w, &w->feature_norm, M, ecg_config_features(c), M);
    take_norm(w, &w->encoder_norm, M, c->C, M);
    take_mask(w, &w->input_mask, p->dropout_input, M, c->C, 1);
    take_mask(w, &w->encoder_mask, p->dropout, M, c->C, 1);
    take_mask(w, &w->final_mask, p->final_dropout, M, c->C, 1);
    if (ecg_trains_extractor(&w->training))
        take_kept_convs(w);
}

static int64_t kept_layers(const ecg_workspace *w)
{
    return w->trains && !w->training.recompute ? w->config.layers : 1;
}

/* What stays from the forward to the backward of the encoder layers. */
static void take_kept_layers(ecg_workspace *w)
{
    const ecg_config *c = &w->config;
    int64_t M = elements(w->B, w->T, 1);
    for (int64_t i = 0; i < kept_layers(w); i++)
        take_kept_layer(w, &w->kept[i]);
    for (int64_t i = 0; w->training.recompute && i < c->layers; i++)
        w->layer_src[i] = take(w, M, c->C, 1);
    if (w->training.recompute)
        w->replay = take(w, M, c->C, 1);
}

/* Room for what comes before the encoder layers. */
static void take_front(ecg_workspace *w)
{
    const ecg_config *c = &w->config;
    int64_t largest = 0, group = c->C / c->conv_pos_groups;
    if (!w->trains || !ecg_trains_extractor(&w->training))
        w->source = take(w, w->B, w->N, c->leads);
    for (int64_t parity = 0; parity < 2; parity++) {
        int64_t size = 0;
        for (int64_t i = 0; i < c->conv_count; i++) {
            int64_t n = conv_elements(w, i);
            w->arena.overflow |= n < 0;
            if ((w->trains || i % 2 == parity) && n > size)
                size = n;
        }
        *(parity ? &w->pong : &w->ping) = take(w, size, 1, 1);
        largest = size > largest ? size : largest;
    }
    w->conv_rows = take(w, largest, 1, 1);
    if (w->fresh)
        w->pos_weights = take(w, c->C, group, c->conv_pos);
    if (w->trains)
        w->diff_pos_weights = take(w, c->C, group, c->conv_pos);
}

/* Room for an encoder layer; what is not needed at the same time shares memory. */
static void take_layer_work(ecg_workspace *w)
{
    const ecg_config *c = &w->config;
    int64_t M = elements(w->B, w->T, 1), heads = elements(w->B, c->H, 1);
    ecg_transformer_kept *kept = w->kept;
    size_t shared = w->arena.used;
    if (!w->trains) {
        kept->qkv = take(w, M, 3 * c->C, 1);
        kept->context = take(w, M, c->C, 1);
        w->work.dropped = kept->weights = take(w, heads, w->T, w->T);
        w->arena.used = shared;
        w->work.activated = kept->hidden = take(w, M, c->F, 1);
        return;
    }
    if (w->ops.attention.B) /* is planned */
        heads = elements(w->ops.attention.B, c->H, 1);
    w->work.diff_qkv = take(w, M, 3 * c->C, 1);
    w->work.diff_context = take(w, M, c->C, 1);
    w->work.diff_weights = take(w, heads, w->T, w->T);
    float *weights = take(w, heads, w->T, w->T);
    for (int64_t i = 0; i < kept_layers(w); i++)
        kept[i].weights = weights;
    w->work.dropped = w->training.rates.attention_dropout > 0 ? take(w, heads, w->T, w->T) : weights;
    w->arena.used = shared;
    w->work.activated = take(w, M, c->F, 1);
    w->work.diff_hidden = take(w, M, c->F, 1);
}

/* Lays out the arena; runs once to measure and once to place. */
static void lay_out(ecg_workspace *w)
{
    ecg_arena *a = &w->arena;
    a->used = 0;
    w->work.base.scratch = ecg_arena_take(a, (int64_t)w->sizes.scratch, 1);
    w->work.base.packed = ecg_arena_take(a, (int64_t)w->sizes.packed, 1);
    w->x = take(w, w->B, w->T, w->config.C);
    w->work.branch = take(w, w->B, w->T, w->config.C);
    w->pooled = take(w, w->B, w->config.C, 1);
    w->tokens = ecg_arena_take(a, w->B, sizeof *w->tokens);
    if (w->trains)
        take_kept(w);
    size_t shared = a->used; /* by what comes before the encoder layers, in both directions, and by them */
    take_front(w);
    a->used = shared;
    if (w->trains)
        take_kept_layers(w);
    take_layer_work(w);
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static ecg_status plan_conv(ecg_conv_ops *ops, const ecg_packed *packed, bool gradient, bool diff_src, bool add,
                            ecg_work_sizes *sizes)
{
    if (packed) {
        ECG_TRY(ecg_op_conv(&ops->packed, packed, &ops->spec));
        sizes->scratch = larger(sizes->scratch, ops->packed.scratch_bytes);
        return ECG_OK;
    }
    ECG_TRY(ecg_fresh_conv(&ops->fresh, &ops->spec));
    if (gradient)
        ECG_TRY(ecg_fresh_conv_gradient(&ops->gradient, &ops->spec, add));
    if (diff_src)
        ECG_TRY(ecg_fresh_conv_backward(&ops->backward, &ops->spec));
    const ecg_fresh_op *all[3] = {&ops->fresh, &ops->backward, &ops->gradient};
    for (int i = 0; i < 3; i++) {
        sizes->packed = larger(sizes->packed, all[i]->packed_bytes);
        sizes->scratch = larger(sizes->scratch, all[i]->scratch_bytes);
    }
    return ECG_OK;
}

/* Prepares all operations. */
static ecg_status plan_ops(ecg_workspace *w, const ecg_network *network)
{
    ecg_work_sizes *sizes = &w->sizes;
    const ecg_config *c = &w->config;
    int64_t channels = c->leads, k = c->conv_pos, M = w->B * w->T;
    bool extractor = w->trains && ecg_trains_extractor(&w->training);
    for (int64_t i = 0; i < c->conv_count; i++) {
        w->convs[i].spec = (ecg_conv_spec){.batch = w->B,
                                           .src_steps = w->steps[i],
                                           .src_channels = channels,
                                           .dst_channels = c->convs[i].channels,
                                           .groups = 1,
                                           .kernel = c->convs[i].kernel,
                                           .stride = c->convs[i].stride,
                                           .bias = c->conv_bias};
        ECG_TRY(plan_conv(&w->convs[i], network->convs[i].packed, extractor, extractor && i > 0, true, sizes));
        channels = c->convs[i].channels;
    }
    if (channels != c->C) {
        ECG_TRY(ecg_linear_plan(&w->post, &network->post, ECG_LINEAR(M, channels, c->C), w->trains, ECG_WRITE));
        ecg_linear_sizes(&w->post, sizes);
    }
    w->pos.spec = (ecg_conv_spec){.batch = w->fresh ? w->B : ecg_positions_batch(c, w->B),
                                  .src_steps = w->T,
                                  .src_channels = c->C,
                                  .dst_channels = c->C,
                                  .groups = c->conv_pos_groups,
                                  .kernel = k,
                                  .stride = 1,
                                  .pad_left = k / 2,
                                  .pad_right = k % 2 ? k / 2 : k / 2 - 1,
                                  .bias = true};
    ECG_TRY(plan_conv(&w->pos, network->pos_packed, w->trains, w->trains, false, sizes));
    if (c->kind == ECG_CLASSIFIER) {
        ECG_TRY(ecg_linear_plan(&w->proj, &network->proj, ECG_LINEAR(w->B, c->C, c->labels), w->trains, ECG_WRITE));
        ecg_linear_sizes(&w->proj, sizes);
    }
    ECG_TRY(ecg_transformer_plan(&w->ops, &network->layers[0], &w->shape, w->trains));
    ecg_transformer_sizes(&w->ops, sizes);
    return ECG_OK;
}

/* The arrays over layers. */
static ecg_status create_arrays(ecg_workspace *w)
{
    size_t layers = (size_t)w->config.layers;
    ECG_TRY(ecg_alloc((void **)&w->kept, layers * sizeof *w->kept));
    memset(w->kept, 0, layers * sizeof *w->kept);
    ECG_TRY(ecg_alloc((void **)&w->runs, layers * sizeof *w->runs));
    memset(w->runs, 1, layers * sizeof *w->runs);
    ECG_TRY(ecg_alloc((void **)&w->layer_src, layers * sizeof *w->layer_src));
    return ECG_OK;
}

/* oneDNN counts rows and steps in 32 bits in places. */
static bool fits_onednn(const ecg_config *c, int64_t B, int64_t N)
{
    int64_t elements;
    return ecg_product(&elements, 3, (int64_t[]){B, N, c->leads}) && elements <= INT32_MAX;
}

ecg_status ecg_workspace_plan(ecg_workspace **dst, const ecg_config *config, const ecg_network *network, int64_t B,
                              int64_t N, int threads, const ecg_training *training)
{
    const ecg_config *c = config;
    ecg_status status = ECG_OK;
    ecg_workspace *w = NULL;
    *dst = NULL;
    if (B < 1 || N < ecg_config_min_samples(c))
        return ecg_fail(ECG_BAD_ARGUMENT, "a batch of %lld segments of %lld samples; the least is 1 of %lld samples",
                        (long long)B, (long long)N, (long long)ecg_config_min_samples(c));
    if (!fits_onednn(c, B, N))
        return ecg_fail(ECG_NO_MEMORY, "a batch of %lld segments of %lld samples is too large", (long long)B,
                        (long long)N);
    ECG_TRY(ecg_alloc((void **)&w, sizeof *w));
    memset(w, 0, sizeof *w);
    w->config = *config;
    w->B = B;
    w->N = N;
    w->threads = threads;
    w->trains = training != NULL;
    w->fresh = network->pos_packed == NULL;
    if (training)
        w->training = *training;
    ecg_config_steps(c, N, w->steps);
    w->T = w->steps[c->conv_count];
    w->shape = (ecg_transformer_shape){.B = B, .T = w->T, .C = c->C, .H = c->H, .F = c->F, .norm_first = c->norm_first};
    ECG_TRY_GOTO(create_arrays(w));
    lay_out(w); /* refuses sizes that overflow before anything is made of them */
    if (w->arena.overflow || w->arena.peak > PTRDIFF_MAX) {
        status = ecg_fail(ECG_NO_MEMORY, "a batch of %lld segments of %lld samples is too large", (long long)B,
                          (long long)N);
        goto fail;
    }
    ECG_TRY_GOTO(ecg_stream_create(&w->work.base.stream));
    ECG_TRY_GOTO(plan_ops(w, network));
    lay_out(w);
    *dst = w;
    return ECG_OK;
fail:
    ecg_workspace_free(w);
    return status;
}

void ecg_workspace_place(ecg_workspace *w, void *memory)
{
    w->arena.base = memory;
    lay_out(w);
}

ecg_status ecg_workspace_create(ecg_workspace **dst, const ecg_config *config, const ecg_network *network, int64_t B,
                                int64_t N, int threads)
{
    ECG_TRY(ecg_workspace_plan(dst, config, network, B, N, threads, NULL));
    ecg_status status = ecg_alloc(&(*dst)->owned, (*dst)->arena.peak);
    if (status != ECG_OK) {
        ecg_workspace_free(*dst);
        *dst = NULL;
        return status;
    }
    ecg_workspace_place(*dst, (*dst)->owned);
    return ECG_OK;
}

static void conv_ops_free(ecg_conv_ops *ops)
{
    ecg_op_free(&ops->packed);
    ecg_fresh_free(&ops->fresh);
    ecg_fresh_free(&ops->backward);
    ecg_fresh_free(&ops->gradient);
}

void ecg_workspace_free(ecg_workspace *w)
{
    if (!w)
        return;
    for (int i = 0; i < ECG_MAX_CONVS; i++)
        conv_ops_free(&w->convs[i]);
    conv_ops_free(&w->pos);
    ecg_linear_free(&w->post);
    ecg_linear_free(&w->proj);
    ecg_transformer_ops_free(&w->ops);
    ecg_stream_destroy(w->work.base.stream);
    ecg_free(w->owned);
    ecg_free(w->kept);
    ecg_free(w->runs);
    ecg_free(w->layer_src);
    ecg_free(w);
}

size_t ecg_workspace_bytes(const ecg_workspace *w)
{
    size_t bytes = w->arena.peak + w->pos.packed.own.bytes;
    for (int i = 0; i < ECG_MAX_CONVS; i++)
        bytes += w->convs[i].packed.own.bytes;
    return bytes;
}

/* ---- which code runs --------------------------------------------------------------------------- */

/* Text that is cut at its end. */
typedef struct {
    char *end;
    size_t room;
} text;

static void describe(text *t, const char *name, const char *part, const ecg_op *op)
{
    if (!op->primitive)
        return;
    int n = snprintf(t->end, t->room, "%s%s %s\n", name, part, op->implementation);
    if (n > 0) {
        size_t used = (size_t)n < t->room ? (size_t)n : t->room;
        t->end += used;
        t->room -= used;
    }
}

static void describe_conv(text *t, const char *name, const ecg_conv_ops *ops)
{
    describe(t, name, "", &ops->packed);
    describe(t, name, "", &ops->fresh.run);
    describe(t, name, "_backward", &ops->backward.run);
    describe(t, name, "_gradient", &ops->gradient.run);
}

static void describe_linear(text *t, const char *name, const ecg_linear_ops *ops)
{
    describe(t, name, "", &ops->forward.run);
    describe(t, name, "_backward", &ops->backward.run);
    describe(t, name, "_gradient", &ops->gradient);
}

void ecg_workspace_describe(const ecg_workspace *w, char *dst, size_t size)
{
    char name[32];
    text t = {dst, size};
    if (size)
        *dst = 0;
    for (int i = 0; i < ECG_MAX_CONVS; i++) {
        snprintf(name, sizeof name, "conv%d", i);
        describe_conv(&t, name, &w->convs[i]);
    }
    describe_linear(&t, "post_extract_proj", &w->post);
    describe_conv(&t, "conv_pos", &w->pos);
    describe_linear(&t, "qkv", &w->ops.qkv);
    describe(&t, "attention_scores", "", &w->ops.attention.scores);
    describe(&t, "attention_context", "", &w->ops.attention.context);
    describe(&t, "attention_diff_weights", "", &w->ops.attention.diff_weights);
    describe(&t, "attention_diff_value", "", &w->ops.attention.diff_value);
    describe(&t, "attention_diff_query", "", &w->ops.attention.diff_query);
    describe(&t, "attention_diff_key", "", &w->ops.attention.diff_key);
    describe_linear(&t, "out_proj", &w->ops.out);
    describe_linear(&t, "fc1", &w->ops.fc1);
    describe_linear(&t, "fc2", &w->ops.fc2);
    describe_linear(&t, "proj", &w->proj);
}

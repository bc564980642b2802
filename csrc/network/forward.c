/* The one forward: inference and training run the same layers; what differs is what is kept. */
#include "forward.h"

#include <stdio.h>
#include <string.h>

#include "../layers/conv_blocks.h"

/* What the steps of one forward share. */
typedef struct {
    const ecg_network *network;
    ecg_plan *p;
    const ecg_outputs *out;
    int64_t layer;
} forward;

static ecg_status trace(const forward *f, const char *name, const float *data, int ndim, const int64_t *shape)
{
    return f->out->trace ? f->out->trace(f->out->trace_context, name, data, ndim, shape) : ECG_OK;
}

static void at_seam(const forward *f, ecg_seam seam, float *data)
{
    if (f->out->seams)
        f->out->seams->forward(f->out->seams->context, seam, data);
}

/* Traces (B, T, channels). */
static ecg_status trace_rows(const forward *f, const char *name, const float *data, int64_t channels)
{
    return trace(f, name, data, 3, (int64_t[]){f->p->B, f->p->T, channels});
}

/* Traces the output of a conv layer, (B, steps, channels). */
static ecg_status trace_conv(const forward *f, int64_t layer, const char *suffix, const float *data)
{
    char name[32];
    snprintf(name, sizeof name, "conv%lld%s", (long long)layer, suffix);
    return trace(f, name, data, 3, (int64_t[]){f->p->B, f->p->steps[layer + 1], f->p->config.convs[layer].channels});
}

/* ---- dropout ---- */

void ecg_layer_masks(ecg_plan *p, int64_t layer)
{
    const ecg_config *c = &p->config;
    const ecg_transformer_kept *kept = ecg_kept(p, layer);
    const ecg_noise *noise = p->keep ? p->keep->noise : NULL;
    ecg_make_mask(&kept->attention_mask, noise, p->B, c->H * p->T * p->T, ECG_DRAW_ATTENTION, layer);
    ecg_make_mask(&kept->out_mask, noise, p->B, p->T * c->C, ECG_DRAW_ATTENTION_OUT, layer);
    ecg_make_mask(&kept->activation_mask, noise, p->B, p->T * c->F, ECG_DRAW_ACTIVATION, layer);
    ecg_make_mask(&kept->residual_mask, noise, p->B, p->T * c->C, ECG_DRAW_RESIDUAL, layer);
}

/* Draws a mask of the stream (M, C) and drops. */
static void drop(const ecg_plan *p, const ecg_dropout_mask *mask, ecg_draw draw)
{
    ecg_make_mask(mask, p->keep->noise, p->B, p->T * p->config.C, draw, 0);
    ecg_dropout(p->x, p->x, mask, ecg_rows(p) * p->config.C);
}

/* Which layers run: those whose draw is above encoder_layerdrop. */
static void choose_layers(const ecg_plan *p)
{
    const bool *still = p->keep->training.still;
    double rate = p->keep->training.rates.encoder_layerdrop;
    const ecg_noise *noise = p->keep->noise;
    const uint8_t *given = rate > 0 && noise->given ? noise->given(noise->context, ECG_DRAW_LAYER, 0) : NULL;
    for (int64_t i = 0; i < p->config.layers; i++) {
        bool drawn = given ? given[i] != 0 : rate <= 0 || ecg_uniform(&noise->key, ECG_DRAW_LAYER, i) > rate;
        p->keep->runs[i] = drawn || (still && still[i]);
    }
}

/* ---- before the encoder layers ---- */

static ecg_status conv_forward(ecg_plan *p, ecg_conv_ops *ops, void *dst, const void *src, const float *weight,
                               const ecg_packed *packed, const float *bias)
{
    const ecg_work *work = &p->work.base;
    if (ops->blocks) {
        ecg_conv_blocks_forward(dst, src, packed, bias, &ops->spec);
        return ECG_OK;
    }
    if (packed)
        return ecg_op_run(&ops->packed, work->stream, dst, src, packed, bias, work->scratch);
    return ecg_fresh_run(&ops->fresh, work->stream, dst, src, weight, bias, work->packed, work->scratch);
}

/* The conv feature extractor: src (B, L, N) -> p->features (B, T, K). */
static ecg_status extract(const forward *f, const float *src)
{
    const ecg_network *network = f->network;
    ecg_plan *p = f->p;
    const ecg_config *c = &p->config;
    const float *from = p->source;
    ecg_transpose(p->source, src, p->B, c->leads, p->N);
    for (int64_t i = 0; i < c->conv_count; i++) {
        const ecg_linear *conv = &network->convs[i];
        const ecg_norm *norm = &network->conv_norms[i];
        const ecg_conv_kept *block = p->keep ? &p->keep->convs[i] : NULL;
        const ecg_norm_kept *kept = block ? &block->norm : NULL;
        int64_t steps = p->steps[i + 1], channels = c->convs[i].channels;
        float *to = i % 2 ? p->pong : p->ping, *hidden = block && block->hidden ? block->hidden : to;
        ECG_TRY(conv_forward(p, &p->convs[i], hidden, from, conv->weight, conv->packed, conv->bias));
        ECG_TRY(trace_conv(f, i, "_raw", hidden));
        if (c->extractor_layer_norm)
            ecg_layer_norm_forward(hidden, kept, hidden, NULL, norm->weight, norm->bias, p->B * steps, channels);
        else if (i == 0)
            ecg_group_norm_forward(hidden, kept, hidden, norm->weight, norm->bias, p->B, steps, channels);
        ecg_gelu_forward(to, hidden, p->B * steps * channels);
        ECG_TRY(trace_conv(f, i, "", to));
        from = p->features = to;
    }
    return ECG_OK;
}

/* branch = GELU(positional convolution of p->x). */
static ecg_status embed_positions(const forward *f)
{
    const ecg_network *network = f->network;
    ecg_plan *p = f->p;
    const ecg_config *c = &p->config;
    int64_t n = ecg_rows(p) * c->C;
    ecg_keep *keep = ecg_front_kept(p);
    float *hidden = keep ? keep->pos_hidden : p->work.branch;
    const char *src = (const char *)(p->precision.positions == ECG_F32 ? p->x : p->position_rows.data);
    size_t width = (size_t)c->C * ecg_dtypes[p->precision.positions].size;
    if (p->precision.positions != ECG_F32)
        ecg_convert_rows(&p->position_rows, &(const ecg_product_rows){.data = p->x}, false, ecg_rows(p), c->C);
    if (keep)
        memcpy(keep->pos_src, p->x, (size_t)n * sizeof *p->x);
    if (p->fresh)
        ecg_weight_norm_forward(p->pos_weights, NULL, network->pos_v, network->pos_g, c->C, c->C / c->conv_pos_groups,
                                c->conv_pos);
    for (int64_t b = 0; b < p->B; b += p->pos.spec.batch) {
        int64_t row = b * p->T;
        ECG_TRY(conv_forward(p, &p->pos, hidden + row * c->C, src + (size_t)row * width, p->pos_weights,
                             network->pos_packed, network->pos_bias));
    }
    if (!p->pos.spec.gelu)
        ecg_gelu_forward(p->work.branch, hidden, n);
    return trace_rows(f, "conv_pos", p->work.branch, c->C);
}

/* p->features (B, T, K) -> p->x (B, T, C), the input of the first encoder layer. */
static ecg_status embed(const forward *f)
{
    const ecg_network *network = f->network;
    ecg_plan *p = f->p;
    ecg_keep *keep = ecg_front_kept(p);
    const ecg_config *c = &p->config;
    int64_t M = ecg_rows(p), K = ecg_config_features(c), C = c->C;
    bool project = K != C;
    float *normed = project ? p->features : p->x;
    at_seam(f, ECG_AT_FEATURES, p->features);
    ecg_layer_norm_forward(normed, keep ? &keep->feature_norm : NULL, p->features, NULL, network->feature_norm.weight,
                           network->feature_norm.bias, M, K);
    ECG_TRY(trace_rows(f, "layer_norm", normed, K));
    at_seam(f, ECG_AT_NORMED, normed);
    if (project) {
        ECG_TRY(ecg_linear_forward(p->x, normed, &network->post, &p->post, &p->work.base));
        ECG_TRY(trace_rows(f, "post_extract_proj", p->x, C));
    }
    if (keep)
        drop(p, &keep->input_mask, ECG_DRAW_INPUT);
    at_seam(f, ECG_AT_STREAM, p->x);
    ECG_TRY(embed_positions(f));
    ecg_add_forward(p->x, p->work.branch, M * C);
    ecg_zero_padding(p->x, p->valid, p->B, p->T, C);
    if (!c->norm_first) {
        const ecg_operand next = ecg_operand_for(&network->layers[0].qkv, &p->work.x_rows);
        ecg_layer_norm_rows(p->x, &next, keep ? &keep->encoder_norm : NULL, &(const ecg_product_rows){.data = p->x},
                            NULL, &network->encoder_norm, M, C);
        ECG_TRY(trace_rows(f, "encoder_layer_norm", p->x, C));
    }
    if (keep) {
        drop(p, &keep->encoder_mask, ECG_DRAW_ENCODER);
        if (keep->encoder_mask.keep && !c->norm_first && p->work.x_rows.type != ECG_F32)
            ecg_convert_rows(&p->work.x_rows, &(const ecg_product_rows){.data = p->x}, false, M, C);
    }
    return ECG_OK;
}

/* ---- the encoder layers ---- */

/* Called inside a transformer layer: traces what its attention gives. */
static ecg_status trace_attention(void *context, const ecg_transformer_work *work)
{
    const forward *f = context;
    char name[48];
    snprintf(name, sizeof name, "layer%lld_attn_out", (long long)f->layer);
    return trace_rows(f, name, work->branch, f->p->config.C);
}

/* Copies x with padded rows as 0 to the tokens and pools it, if this is what the caller asked for. */
static void give_tokens(const forward *f)
{
    ecg_plan *p = f->p;
    int64_t C = p->config.C;
    float *tokens = f->out->tokens ? f->out->tokens : p->work.branch;
    memcpy(tokens, p->x, (size_t)(ecg_rows(p) * C) * sizeof *tokens);
    ecg_zero_padding(tokens, p->valid, p->B, p->T, C);
    if (f->out->embedding)
        ecg_pool_forward(f->out->embedding, tokens, p->B, p->T, C);
}

static ecg_status run_layer(forward *f)
{
    ecg_plan *p = f->p;
    if (p->keep && p->keep->layer_src[f->layer])
        memcpy(p->keep->layer_src[f->layer], p->x, (size_t)(ecg_rows(p) * p->config.C) * sizeof *p->x);
    if (p->keep && !p->keep->runs[f->layer])
        return ECG_OK;
    ecg_layer_masks(p, f->layer);
    const ecg_transformer_weights *weights = &f->network->layers[f->layer];
    const ecg_linear *next = f->layer + 1 < p->config.layers ? &weights[1].qkv : NULL;
    int64_t map = p->T * p->T;
    const ecg_transformer_view view = {
        .maps.mean = f->out->attention ? f->out->attention + f->layer * map : NULL,
        .maps.stride = p->config.layers * map,
        .after_attention = f->out->trace ? trace_attention : NULL,
        .context = f,
    };
    return ecg_transformer_forward(p->x, p->valid, weights, next, &p->ops, ecg_kept(p, f->layer), &p->work, &p->shape,
                                   &view);
}

static ecg_status run_layers(forward *f)
{
    ecg_plan *p = f->p;
    const ecg_config *c = &p->config;
    const ecg_norm *norm = &f->network->encoder_norm;
    const ecg_entry *entry = &f->out->entry;
    int64_t end = ecg_entry_end(entry, c), stages = ecg_stages(c);
    bool from_output = entry->from && entry->stage == stages, to_output = !entry->to || entry->stage == stages;
    char name[32];
    if (p->keep)
        choose_layers(p);
    for (f->layer = ecg_entry_first(entry); f->layer < end; f->layer++) {
        ECG_TRY(ecg_poll_call(&f->out->poll));
        ECG_TRY(run_layer(f));
        snprintf(name, sizeof name, "layer%lld", (long long)f->layer);
        ECG_TRY(trace_rows(f, name, p->x, c->C));
        if (f->layer == f->out->layer)
            give_tokens(f);
    }
    if (!to_output)
        return ECG_OK;
    if (c->norm_first && !from_output) {
        ecg_layer_norm_forward(p->x, p->keep ? &p->keep->encoder_norm : NULL, p->x, NULL, norm->weight, norm->bias,
                               ecg_rows(p), c->C);
        ECG_TRY(trace_rows(f, "encoder_layer_norm", p->x, c->C));
    }
    ecg_zero_padding(p->x, p->valid, p->B, p->T, c->C);
    return trace_rows(f, "encoder_out", p->x, c->C);
}

/* The valid tokens of each row from its valid samples; p->valid NULL where no row is padded. */
static ecg_status count_tokens(ecg_plan *p, const int64_t *samples)
{
    const ecg_config *c = &p->config;
    int64_t steps[ECG_MAX_CONVS + 1];
    p->valid = NULL;
    for (int64_t b = 0; samples && b < p->B; b++) {
        ecg_config_steps(c, samples[b], steps);
        if (samples[b] > p->N || steps[c->conv_count] < 1)
            return ecg_fail(ECG_BAD_SIGNAL, "row %lld has %lld valid samples, at least %lld are needed for a token",
                            (long long)b, (long long)samples[b], (long long)ecg_config_min_samples(c));
        p->tokens[b] = steps[c->conv_count];
        if (samples[b] < p->N)
            p->valid = p->tokens;
    }
    return ECG_OK;
}

ecg_status ecg_encode(ecg_encoded *dst, const ecg_network *network, ecg_plan *p, const float *src, const int64_t *valid,
                      const ecg_noise *noise, const ecg_outputs *outputs)
{
    const ecg_config *c = &p->config;
    forward f = {.network = network, .p = p, .out = outputs};
    if (outputs->layer < -1 || outputs->layer >= c->layers)
        return ecg_fail(ECG_BAD_ARGUMENT, "there is no layer %lld, the encoder has %lld", (long long)outputs->layer,
                        (long long)c->layers);
    if (p->keep && !noise)
        return ecg_fail(ECG_BAD_ARGUMENT, "a plan with a backward needs the key of its noise");
    if (p->keep)
        p->keep->noise = noise;
    ECG_TRY(count_tokens(p, valid));
    if (outputs->entry.from) {
        ecg_rows_enter(p, network, &outputs->entry);
    } else {
        ECG_TRY(extract(&f, src));
        ECG_TRY(embed(&f));
    }
    ECG_TRY(run_layers(&f));
    if (outputs->entry.to)
        ecg_rows_leave(p, &outputs->entry);
    if (outputs->layer < 0 && (outputs->tokens || outputs->embedding))
        give_tokens(&f);
    *dst = (ecg_encoded){.output = p->x, .B = p->B, .T = p->T, .C = c->C, .stream = p->work.base.stream};
    return ECG_OK;
}

/* The one forward: inference and training run the same layers; what differs is what is kept. */
#include <stdio.h>
#include <string.h>

#include "adam.h"
#include "workspace.h"

/* What the steps of one forward share. */
typedef struct {
    const ecg_network *network;
    ecg_workspace *w;
    const ecg_outputs *out;
    int64_t layer;
} forward;

static ecg_status poll(const forward *f)
{
    return f->out->poll ? f->out->poll(f->out->context) : ECG_OK;
}

static ecg_status trace(const forward *f, const char *name, const float *data, int ndim, const int64_t *shape)
{
    return f->out->trace ? f->out->trace(f->out->context, name, data, ndim, shape) : ECG_OK;
}

/* Traces (B, T, channels). */
static ecg_status trace_rows(const forward *f, const char *name, const float *data, int64_t channels)
{
    return trace(f, name, data, 3, (int64_t[]){f->w->B, f->w->T, channels});
}

/* Traces the output of a conv layer, (B, steps, channels) here and (B, channels, steps) in the trace. */
static ecg_status trace_conv(const forward *f, int64_t layer, const char *suffix, const float *data)
{
    char name[32];
    int64_t steps = f->w->steps[layer + 1], channels = f->w->config.convs[layer].channels;
    if (!f->out->trace)
        return ECG_OK;
    snprintf(name, sizeof name, "conv%lld%s", (long long)layer, suffix);
    ecg_transpose(f->w->conv_rows, data, f->w->B, steps, channels);
    return trace(f, name, f->w->conv_rows, 3, (int64_t[]){f->w->B, channels, steps});
}

/* ---- dropout ---- */

/* Draws a mask of n entries a row, or takes it from the caller. */
static void make_mask(const ecg_workspace *w, const ecg_dropout_mask *mask, int64_t n, ecg_draw draw, int64_t layer)
{
    const ecg_noise *noise = w->noise;
    if (!mask->keep)
        return;
    const uint8_t *given = noise->given ? noise->given(noise->context, draw, layer) : NULL;
    if (given)
        memcpy(mask->keep, given + noise->given_row * n, (size_t)(w->B * n));
    else
        ecg_dropout_draw(mask, w->B, n, &noise->key, draw, layer, noise->first_row);
}

void ecg_layer_masks(ecg_workspace *w, int64_t layer)
{
    const ecg_config *c = &w->config;
    const ecg_transformer_kept *kept = ecg_kept(w, layer);
    make_mask(w, &kept->attention_mask, c->H * w->T * w->T, ECG_DRAW_ATTENTION, layer);
    make_mask(w, &kept->out_mask, w->T * c->C, ECG_DRAW_ATTENTION_OUT, layer);
    make_mask(w, &kept->activation_mask, w->T * c->F, ECG_DRAW_ACTIVATION, layer);
    make_mask(w, &kept->residual_mask, w->T * c->C, ECG_DRAW_RESIDUAL, layer);
}

/* Draws a mask of the stream (M, C) and drops. */
static void drop(const ecg_workspace *w, const ecg_dropout_mask *mask, ecg_draw draw)
{
    make_mask(w, mask, w->T * w->config.C, draw, 0);
    ecg_dropout(w->x, w->x, mask, ecg_rows(w) * w->config.C);
}

/* Which layers run: all, or those whose draw is above encoder_layerdrop. */
static void choose_layers(ecg_workspace *w)
{
    double p = w->trains ? w->training.rates.encoder_layerdrop : 0;
    const ecg_noise *noise = w->noise;
    const uint8_t *given = p > 0 && noise->given ? noise->given(noise->context, ECG_DRAW_LAYER, 0) : NULL;
    for (int64_t i = 0; i < w->config.layers; i++) {
        if (p > 0)
            w->runs[i] = given ? given[i] != 0 : ecg_uniform(&noise->key, ECG_DRAW_LAYER, i) > p;
        else
            w->runs[i] = true;
    }
}

/* ---- before the encoder layers ---- */

static ecg_status conv_forward(ecg_workspace *w, ecg_conv_ops *ops, float *dst, const float *src, const float *weight,
                               const ecg_packed *packed, const float *bias)
{
    const ecg_work *work = &w->work.base;
    if (packed)
        return ecg_op_run(&ops->packed, work->stream, dst, src, packed, bias, work->scratch);
    return ecg_fresh_run(&ops->fresh, work->stream, dst, src, weight, bias, work->packed, work->scratch);
}

/* The conv feature extractor: src (B, L, N) -> w->features (B, T, K). */
static ecg_status extract(const forward *f, const float *src)
{
    const ecg_network *network = f->network;
    ecg_workspace *w = f->w;
    const ecg_config *c = &w->config;
    const float *from = w->source;
    ecg_transpose(w->source, src, w->B, c->leads, w->N);
    for (int64_t i = 0; i < c->conv_count; i++) {
        const ecg_linear *conv = &network->convs[i];
        const ecg_norm *norm = &network->conv_norms[i];
        const ecg_norm_kept *kept = &w->conv_kept[i].norm;
        int64_t steps = w->steps[i + 1], channels = c->convs[i].channels;
        float *to = i % 2 ? w->pong : w->ping, *hidden = w->conv_kept[i].hidden ? w->conv_kept[i].hidden : to;
        ECG_TRY(conv_forward(w, &w->convs[i], hidden, from, conv->weight, conv->packed, conv->bias));
        ECG_TRY(trace_conv(f, i, "_raw", hidden));
        if (c->extractor_layer_norm)
            ecg_layer_norm_forward(hidden, kept, hidden, NULL, norm->weight, norm->bias, w->B * steps, channels);
        else if (i == 0)
            ecg_group_norm_forward(hidden, kept, hidden, norm->weight, norm->bias, w->B, steps, channels);
        ecg_gelu_forward(to, hidden, w->B * steps * channels);
        ECG_TRY(trace_conv(f, i, "", to));
        from = w->features = to;
    }
    return ECG_OK;
}

/* branch = GELU(positional convolution of w->x). */
static ecg_status embed_positions(const forward *f)
{
    const ecg_network *network = f->network;
    ecg_workspace *w = f->w;
    const ecg_config *c = &w->config;
    int64_t n = ecg_rows(w) * c->C;
    float *hidden = w->trains ? w->pos_hidden : w->work.branch;
    if (w->trains)
        memcpy(w->pos_src, w->x, (size_t)n * sizeof *w->x);
    if (w->fresh)
        ecg_weight_norm_forward(w->pos_weights, network->pos_v, network->pos_g, c->C, c->C / c->conv_pos_groups,
                                c->conv_pos);
    for (int64_t b = 0; b < w->B; b += w->pos.spec.batch) {
        int64_t at = b * w->T * c->C;
        ECG_TRY(
            conv_forward(w, &w->pos, hidden + at, w->x + at, w->pos_weights, network->pos_packed, network->pos_bias));
    }
    ecg_gelu_forward(w->work.branch, hidden, n);
    return trace_rows(f, "conv_pos", w->work.branch, c->C);
}

void ecg_gather_masked(float *dst, const float *src, const uint8_t *steps, int64_t M, int64_t n)
{
    for (int64_t m = 0; m < M; m++) {
        if (steps[m]) {
            memcpy(dst, src + m * n, (size_t)n * sizeof *dst);
            dst += n;
        }
    }
}

/* Masked steps of w->x become the embedding of the mask, then masked channels 0. */
static void apply_masks(const ecg_workspace *w, const ecg_masking *masking, const float *mask_emb)
{
    int64_t C = w->config.C;
    for (int64_t m = 0; m < ecg_rows(w); m++) {
        const uint8_t *channels = masking->channels ? masking->channels + m / w->T * C : NULL;
        if (masking->steps[m] && !masking->predicted_only)
            memcpy(w->x + m * C, mask_emb, (size_t)C * sizeof *mask_emb);
        for (int64_t c = 0; channels && c < C; c++)
            w->x[m * C + c] = channels[c] ? 0 : w->x[m * C + c];
    }
}

/* w->features (B, T, K) -> w->x (B, T, C), the input of the first encoder layer. */
static ecg_status embed(const forward *f)
{
    const ecg_network *network = f->network;
    ecg_workspace *w = f->w;
    const ecg_config *c = &w->config;
    int64_t M = ecg_rows(w), K = ecg_config_features(c), C = c->C;
    bool project = K != C;
    float *normed = project ? w->features : w->x;
    ecg_masking *masking = f->out->masking;
    if (masking)
        masking->penalty = ecg_square_sum(w->features, M * K) / (double)(M * K);
    ecg_layer_norm_forward(normed, &w->feature_norm, w->features, NULL, network->feature_norm.weight,
                           network->feature_norm.bias, M, K);
    ECG_TRY(trace_rows(f, "layer_norm", normed, K));
    if (masking)
        ecg_gather_masked(masking->targets, normed, masking->steps, M, K);
    if (project) {
        ECG_TRY(ecg_linear_forward(w->x, normed, &network->post, &w->post, &w->work.base));
        ECG_TRY(trace_rows(f, "post_extract_proj", w->x, C));
    }
    drop(w, &w->input_mask, ECG_DRAW_INPUT);
    if (masking)
        apply_masks(w, masking, network->mask_emb);
    ECG_TRY(embed_positions(f));
    ecg_add_forward(w->x, w->work.branch, M * C);
    ecg_zero_padding(w->x, w->valid, w->B, w->T, C);
    if (!c->norm_first) {
        ecg_layer_norm_forward(w->x, &w->encoder_norm, w->x, NULL, network->encoder_norm.weight,
                               network->encoder_norm.bias, M, C);
        ECG_TRY(trace_rows(f, "encoder_layer_norm", w->x, C));
    }
    drop(w, &w->encoder_mask, ECG_DRAW_ENCODER);
    return ECG_OK;
}

/* ---- the encoder layers ---- */

/* Called inside a transformer layer: gives what was asked for of its attention. */
static ecg_status after_attention(void *context, const ecg_transformer_work *work, const ecg_transformer_kept *kept)
{
    const forward *f = context;
    const ecg_config *c = &f->w->config;
    int64_t T = f->w->T;
    char name[48];
    if (f->out->attention)
        ecg_head_mean_forward(f->out->attention + f->layer * T * T, kept->weights, c->layers * T * T, f->w->B, c->H, T);
    snprintf(name, sizeof name, "layer%lld_attn_out", (long long)f->layer);
    return trace_rows(f, name, work->branch, c->C);
}

/* Copies x with padded rows as 0 to the tokens and pools it, if this is what the caller asked for. */
static void give_tokens(const forward *f)
{
    ecg_workspace *w = f->w;
    int64_t C = w->config.C;
    float *tokens = f->out->tokens ? f->out->tokens : w->work.branch;
    memcpy(tokens, w->x, (size_t)(ecg_rows(w) * C) * sizeof *tokens);
    ecg_zero_padding(tokens, w->valid, w->B, w->T, C);
    if (f->out->embedding)
        ecg_pool_forward(f->out->embedding, tokens, w->B, w->T, C);
}

static ecg_status run_layer(forward *f, ecg_after_attention after)
{
    ecg_workspace *w = f->w;
    if (!w->runs[f->layer])
        return ECG_OK;
    if (w->replay)
        memcpy(w->layer_src[f->layer], w->x, (size_t)(ecg_rows(w) * w->config.C) * sizeof *w->x);
    ecg_layer_masks(w, f->layer);
    return ecg_transformer_forward(w->x, w->valid, &f->network->layers[f->layer], &w->ops, ecg_kept(w, f->layer),
                                   &w->work, &w->shape, after, f);
}

static ecg_status encode(forward *f)
{
    ecg_workspace *w = f->w;
    const ecg_config *c = &w->config;
    const ecg_norm *norm = &f->network->encoder_norm;
    ecg_after_attention after = f->out->attention || f->out->trace ? after_attention : NULL;
    char name[32];
    choose_layers(w);
    for (f->layer = 0; f->layer < c->layers; f->layer++) {
        ECG_TRY(poll(f));
        ECG_TRY(run_layer(f, after));
        snprintf(name, sizeof name, "layer%lld", (long long)f->layer);
        ECG_TRY(trace_rows(f, name, w->x, c->C));
        if (f->layer == f->out->layer)
            give_tokens(f);
    }
    if (c->norm_first) {
        ecg_layer_norm_forward(w->x, &w->encoder_norm, w->x, NULL, norm->weight, norm->bias, ecg_rows(w), c->C);
        ECG_TRY(trace_rows(f, "encoder_layer_norm", w->x, c->C));
    }
    ecg_zero_padding(w->x, w->valid, w->B, w->T, c->C);
    return trace_rows(f, "encoder_out", w->x, c->C);
}

/* The valid tokens of each row from its valid samples; w->valid NULL where no row is padded. */
static ecg_status count_tokens(ecg_workspace *w, const int64_t *samples)
{
    const ecg_config *c = &w->config;
    int64_t steps[ECG_MAX_CONVS + 1];
    w->valid = NULL;
    for (int64_t b = 0; samples && b < w->B; b++) {
        ecg_config_steps(c, samples[b], steps);
        if (samples[b] > w->N || steps[c->conv_count] < 1)
            return ecg_fail(ECG_BAD_SIGNAL, "row %lld has %lld valid samples, at least %lld are needed for a token",
                            (long long)b, (long long)samples[b], (long long)ecg_config_min_samples(c));
        w->tokens[b] = steps[c->conv_count];
        if (samples[b] < w->N)
            w->valid = w->tokens;
    }
    return ECG_OK;
}

ecg_status ecg_forward(const ecg_network *network, ecg_workspace *w, const float *src, const int64_t *valid,
                       const ecg_noise *noise, const ecg_outputs *outputs)
{
    const ecg_config *c = &w->config;
    forward f = {.network = network, .w = w, .out = outputs};
    if (outputs->layer < -1 || outputs->layer >= c->layers)
        return ecg_fail(ECG_BAD_ARGUMENT, "there is no layer %lld, the encoder has %lld", (long long)outputs->layer,
                        (long long)c->layers);
    if (w->trains && !noise)
        return ecg_fail(ECG_BAD_ARGUMENT, "a workspace that trains needs the key of its noise");
    w->noise = noise;
    ECG_TRY(count_tokens(w, valid));
    ECG_TRY(extract(&f, src));
    ECG_TRY(embed(&f));
    ECG_TRY(encode(&f));
    if (outputs->layer < 0 && (outputs->tokens || outputs->embedding))
        give_tokens(&f);
    if (c->kind == ECG_CLASSIFIER && outputs->logits) {
        drop(w, &w->final_mask, ECG_DRAW_FINAL);
        ecg_pool_forward(w->pooled, w->x, w->B, w->T, c->C);
        ECG_TRY(ecg_linear_forward(outputs->logits, w->pooled, &network->proj, &w->proj, &w->work.base));
    }
    return ECG_OK;
}

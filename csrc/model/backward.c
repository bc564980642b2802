/* The backward of the forward that a workspace ran last. */
#include <string.h>

#include "workspace.h"

/* What the steps of one backward share. */
typedef struct {
    const ecg_network *diff, *network;
    ecg_workspace *w;
    const ecg_masking *masking;
} backward;

void ecg_restore_stream(const ecg_workspace *w, const ecg_network *network, int64_t layer, float *dst)
{
    int64_t M = ecg_rows(w), C = w->config.C;
    while (layer >= 0 && !w->runs[layer])
        layer--;
    const ecg_norm *norm = layer >= 0 ? &network->layers[layer].norm2 : &network->encoder_norm;
    const ecg_norm_kept *kept = layer >= 0 ? &ecg_kept(w, layer)->norm2 : &w->encoder_norm;
    ecg_norm_restore(dst, kept->normalized, norm->weight, norm->bias, M, C);
    if (layer < 0)
        ecg_dropout(dst, dst, &w->encoder_mask, M * C);
}

/* One encoder layer: w->x holds the gradient. */
static ecg_status layer_backward(const backward *b, int64_t layer)
{
    ecg_workspace *w = b->w;
    const ecg_transformer_weights *weights = &b->network->layers[layer];
    const ecg_transformer_kept *kept = ecg_kept(w, layer);
    const float *src = w->layer_rows;
    if (w->replay) { /* fill what was not kept */
        src = w->layer_src[layer];
        memcpy(w->replay, src, (size_t)(ecg_rows(w) * w->config.C) * sizeof *src);
        ecg_layer_masks(w, layer);
        ECG_TRY(ecg_transformer_forward(w->replay, w->valid, weights, &w->ops, kept, &w->work, &w->shape, NULL, NULL));
    } else if (!w->shape.norm_first) {
        ecg_restore_stream(w, b->network, layer - 1, w->layer_rows);
    }
    w->work.base.overwrite = w->overwrite;
    ecg_status status = ecg_transformer_backward(w->x, src, w->valid, &b->diff->layers[layer], weights, &w->ops, kept,
                                                 &w->work, &w->shape);
    w->work.base.overwrite = false;
    return status;
}

/* A layer that did not run: where its matrices have no gradient yet, it is 0. */
static void no_layer_backward(const backward *b, int64_t layer)
{
    const ecg_transformer_weights *diff = &b->diff->layers[layer];
    size_t square = (size_t)(b->w->config.C * b->w->config.C), wide = (size_t)(b->w->config.C * b->w->config.F);
    if (!b->w->overwrite)
        return;
    memset(diff->qkv.weight, 0, 3 * square * sizeof(float));
    memset(diff->out.weight, 0, square * sizeof(float));
    memset(diff->fc1.weight, 0, wide * sizeof(float));
    memset(diff->fc2.weight, 0, wide * sizeof(float));
}

static void encoder_norm_backward(const backward *b)
{
    ecg_workspace *w = b->w;
    ecg_layer_norm_backward(w->x, b->diff->encoder_norm.weight, b->diff->encoder_norm.bias, w->x, &w->encoder_norm,
                            b->network->encoder_norm.weight, ecg_rows(w), w->config.C);
}

/* The positional branch: adds to w->x, which holds the gradient of the sum, that of the branch's input. */
static ecg_status positions_backward(const backward *b)
{
    ecg_workspace *w = b->w;
    const ecg_config *c = &w->config;
    const ecg_network *network = b->network;
    const ecg_work *work = &w->work.base;
    int64_t M = ecg_rows(w), C = c->C, group = C / c->conv_pos_groups, k = c->conv_pos;
    float *diff_hidden = w->work.branch, *diff_src = w->work.rows;
    ecg_gelu_backward(diff_hidden, w->x, w->pos_hidden, M * C);
    ecg_bias_backward(b->diff->pos_bias, diff_hidden, M, C);
    ECG_TRY(ecg_fresh_conv_gradient_run(&w->pos.gradient, work->stream, w->diff_pos_weights, diff_hidden, w->pos_src,
                                        work->packed, work->scratch));
    ecg_weight_norm_backward(b->diff->pos_v, b->diff->pos_g, w->diff_pos_weights, network->pos_v, network->pos_g, C,
                             group, k);
    ecg_weight_norm_forward(w->pos_weights, network->pos_v, network->pos_g, C, group, k);
    ECG_TRY(ecg_fresh_run(&w->pos.backward, work->stream, diff_src, diff_hidden, w->pos_weights, NULL, work->packed,
                          work->scratch));
    ecg_add_forward(w->x, diff_src, M * C);
    return ECG_OK;
}

/* Of the masked steps in w->x: to the embedding of the mask, and no further. */
static void masks_backward(const backward *b)
{
    const ecg_masking *masking = b->masking;
    int64_t C = b->w->config.C;
    for (int64_t m = 0; m < ecg_rows(b->w); m++) {
        const uint8_t *channels = masking->channels ? masking->channels + m / b->w->T * C : NULL;
        float *row = b->w->x + m * C;
        for (int64_t c = 0; c < C; c++) {
            bool masked = masking->steps[m] && !masking->predicted_only;
            float diff = channels && channels[c] ? 0 : row[c];
            if (masked)
                b->diff->mask_emb[c] += diff;
            row[c] = masked ? 0 : diff;
        }
    }
}

void ecg_scatter_masked(float *dst, const float *src, const uint8_t *steps, int64_t M, int64_t n)
{
    for (int64_t m = 0; m < M; m++) {
        if (steps[m]) {
            ecg_add_forward(dst + m * n, src, n);
            src += n;
        }
    }
}

/* From w->x, the gradient of the projection's output, to that of the conv features, in w->ping. */
static ecg_status projection_backward(const backward *b)
{
    ecg_workspace *w = b->w;
    const ecg_network *network = b->network;
    int64_t M = ecg_rows(w), K = ecg_config_features(&w->config);
    float *diff_normed = w->x;
    bool features = ecg_trains_extractor(&w->training);
    if (w->post.spec.M) {
        ecg_norm_restore(w->conv_rows, w->feature_norm.normalized, network->feature_norm.weight,
                         network->feature_norm.bias, M, K);
        ECG_TRY(
            ecg_linear_backward(w->ping, &b->diff->post, w->x, w->conv_rows, &network->post, &w->post, &w->work.base));
        diff_normed = w->ping;
    }
    if (b->masking)
        ecg_scatter_masked(diff_normed, b->masking->diff_targets, b->masking->steps, M, K);
    ecg_layer_norm_backward(features ? w->ping : NULL, b->diff->feature_norm.weight, b->diff->feature_norm.bias,
                            diff_normed, &w->feature_norm, network->feature_norm.weight, M, K);
    return ECG_OK;
}

/* dst (B, steps, channels) = what block i puts into its GELU. */
static void restore_hidden(const backward *b, int64_t i, float *dst)
{
    ecg_workspace *w = b->w;
    const ecg_conv_kept *kept = &w->conv_kept[i];
    const ecg_norm *norm = &b->network->conv_norms[i];
    int64_t rows = w->B * w->steps[i + 1], channels = w->config.convs[i].channels;
    if (kept->hidden)
        memcpy(dst, kept->hidden, (size_t)(rows * channels) * sizeof *dst);
    else
        ecg_norm_restore(dst, kept->norm.normalized, norm->weight, norm->bias, rows, channels);
}

/* Adds the gradient of the penalty on the features, which are computed again, to w->ping. */
static void penalty_backward(const backward *b)
{
    ecg_workspace *w = b->w;
    int64_t n = ecg_rows(w) * ecg_config_features(&w->config);
    restore_hidden(b, w->config.conv_count - 1, w->conv_rows);
    ecg_gelu_forward(w->conv_rows, w->conv_rows, n);
    ecg_scale(w->conv_rows, (float)(2 * b->masking->diff_penalty / (double)n), n);
    ecg_add_forward(w->ping, w->conv_rows, n);
}

/* The conv blocks, from the gradient of the features in w->ping. */
static ecg_status extractor_backward(const backward *b)
{
    ecg_workspace *w = b->w;
    const ecg_config *c = &w->config;
    const ecg_work *work = &w->work.base;
    float *diff = w->ping, *other = w->pong;
    for (int64_t i = c->conv_count - 1; i >= 0; i--) {
        int64_t steps = w->steps[i + 1], channels = c->convs[i].channels, rows = w->B * steps;
        const ecg_norm *norm = &b->network->conv_norms[i], *diff_norm = &b->diff->conv_norms[i];
        const ecg_norm_kept *kept = &w->conv_kept[i].norm;
        const float *src = w->source;
        restore_hidden(b, i, w->conv_rows);
        ecg_gelu_backward(diff, diff, w->conv_rows, rows * channels);
        if (c->extractor_layer_norm)
            ecg_layer_norm_backward(diff, diff_norm->weight, diff_norm->bias, diff, kept, norm->weight, rows, channels);
        else if (i == 0)
            ecg_group_norm_backward(diff, diff_norm->weight, diff_norm->bias, diff, kept, norm->weight, w->B, steps,
                                    channels);
        if (c->conv_bias)
            ecg_bias_backward(b->diff->convs[i].bias, diff, rows, channels);
        if (i > 0) {
            restore_hidden(b, i - 1, w->conv_rows);
            ecg_gelu_forward(w->conv_rows, w->conv_rows, w->B * w->steps[i] * c->convs[i - 1].channels);
            src = w->conv_rows;
        }
        ECG_TRY(ecg_fresh_conv_gradient_run(&w->convs[i].gradient, work->stream, b->diff->convs[i].weight, diff, src,
                                            work->packed, work->scratch));
        if (i > 0) {
            ECG_TRY(ecg_fresh_run(&w->convs[i].backward, work->stream, other, diff, b->network->convs[i].weight, NULL,
                                  work->packed, work->scratch));
            float *swap = diff;
            diff = other;
            other = swap;
        }
    }
    return ECG_OK;
}

ecg_status ecg_backward_encoder(const ecg_network *diff, const ecg_network *network, ecg_workspace *w,
                                const ecg_masking *masking, double feature_grad_mult, ecg_status (*poll)(void *context),
                                void *context)
{
    const ecg_config *c = &w->config;
    backward b = {diff, network, w, masking};
    int64_t n = ecg_rows(w) * c->C;
    ecg_zero_padding(w->x, w->valid, w->B, w->T, c->C);
    if (c->norm_first)
        encoder_norm_backward(&b);
    for (int64_t i = c->layers - 1; i >= 0; i--) {
        if (poll)
            ECG_TRY(poll(context));
        if (w->runs[i])
            ECG_TRY(layer_backward(&b, i));
        else
            no_layer_backward(&b, i);
    }
    ecg_dropout(w->x, w->x, &w->encoder_mask, n);
    if (!c->norm_first)
        encoder_norm_backward(&b);
    ecg_zero_padding(w->x, w->valid, w->B, w->T, c->C);
    ECG_TRY(positions_backward(&b));
    if (masking)
        masks_backward(&b);
    ecg_dropout(w->x, w->x, &w->input_mask, n);
    ECG_TRY(projection_backward(&b));
    if (!ecg_trains_extractor(&w->training))
        return ECG_OK;
    if (masking)
        penalty_backward(&b);
    ecg_scale(w->ping, (float)feature_grad_mult, ecg_rows(w) * ecg_config_features(c));
    return extractor_backward(&b);
}

ecg_status ecg_backward(const ecg_network *diff, const ecg_network *network, ecg_workspace *w, const float *diff_logits,
                        bool head_only, double feature_grad_mult, ecg_status (*poll)(void *context), void *context)
{
    const ecg_config *c = &w->config;
    if (!w->trains)
        return ecg_fail(ECG_BAD_STATE, "this workspace keeps nothing for a backward");
    ECG_TRY(ecg_linear_backward(w->diff_pooled, &diff->proj, diff_logits, w->pooled, &network->proj, &w->proj,
                                &w->work.base));
    if (head_only)
        return ECG_OK;
    ecg_pool_backward(w->x, w->diff_pooled, w->x, w->B, w->T, c->C);
    ecg_dropout(w->x, w->x, &w->final_mask, ecg_rows(w) * c->C);
    return ecg_backward_encoder(diff, network, w, NULL, feature_grad_mult, poll, context);
}

/* The backward of the forward that a plan ran last. */
#include <string.h>

#include "forward.h"

/* What the steps of one backward share. */
typedef struct {
    const ecg_network *diff, *network;
    ecg_plan *p;
    ecg_keep *keep;
    const ecg_seams *seams;
} backward;

static void at_seam(const backward *b, ecg_seam seam, float *diff, float *data)
{
    if (b->seams)
        b->seams->backward(b->seams->context, seam, diff, data);
}

/* dst (M, C) = the input of the layer after layer i, or of the first one where i is -1, in post-norm order. */
static void restore_stream(const backward *b, int64_t layer, float *dst)
{
    const ecg_keep *keep = b->keep;
    int64_t M = ecg_rows(b->p), C = b->p->config.C, first = ecg_first_layer(keep, &b->p->config);
    while (layer >= first && !keep->runs[layer])
        layer--;
    if (layer < first && keep->training.first > 0) { /* what comes before it kept nothing */
        memcpy(dst, keep->layer_src[first], (size_t)(M * C) * sizeof *dst);
        return;
    }
    const ecg_norm *norm = layer >= 0 ? &b->network->layers[layer].norm2 : &b->network->encoder_norm;
    const ecg_norm_kept *kept = layer >= 0 ? &ecg_kept(b->p, layer)->norm2 : &keep->encoder_norm;
    ecg_norm_restore(dst, kept->normalized, norm->weight, norm->bias, M, C);
    if (layer < 0)
        ecg_dropout(dst, dst, &keep->encoder_mask, M * C);
}

/* One encoder layer: p->x holds the gradient. */
static ecg_status layer_backward(const backward *b, int64_t layer)
{
    ecg_plan *p = b->p;
    const ecg_transformer_weights *weights = &b->network->layers[layer];
    const ecg_transformer_kept *kept = ecg_kept(p, layer);
    const float *src = b->keep->layer_rows;
    if (b->keep->replay) { /* fill what was not kept */
        src = b->keep->layer_src[layer];
        memcpy(b->keep->replay, src, (size_t)(ecg_rows(p) * p->config.C) * sizeof *src);
        ecg_layer_masks(p, layer);
        if (!p->shape.norm_first && p->work.x_rows.type != ECG_F32)
            ecg_convert_rows(&p->work.x_rows, &(const ecg_product_rows){.data = b->keep->replay}, false, ecg_rows(p),
                             p->config.C);
        ECG_TRY(ecg_transformer_forward(b->keep->replay, p->valid, weights, NULL, &p->ops, kept, &p->work, &p->shape,
                                        &(const ecg_transformer_view){0}));
    } else if (!p->shape.norm_first) {
        restore_stream(b, layer - 1, b->keep->layer_rows);
    }
    p->work.base.overwrite = b->keep->overwrite;
    p->work.ends = !p->shape.norm_first && b->keep->training.first == layer + 1; /* before it stands a norm else */
    ecg_status status = ecg_transformer_backward(p->x, src, p->valid, &b->diff->layers[layer], weights, &p->ops, kept,
                                                 &p->work, &p->shape);
    p->work.base.overwrite = false;
    return status;
}

/* A layer that did not run: where its matrices have no gradient yet, it is 0. */
static void no_layer_backward(const backward *b, int64_t layer)
{
    const ecg_transformer_weights *diff = &b->diff->layers[layer];
    size_t square = (size_t)(b->p->config.C * b->p->config.C), wide = (size_t)(b->p->config.C * b->p->config.F);
    const struct {
        float *data;
        size_t count;
    } matrices[] = {
        {diff->qkv.weight, 3 * square},
        {diff->out.weight, square},
        {diff->fc1.weight, wide},
        {diff->fc2.weight, wide},
    };
    for (size_t i = 0; b->keep->overwrite && i < sizeof matrices / sizeof *matrices; i++) {
        if (matrices[i].data)
            memset(matrices[i].data, 0, matrices[i].count * sizeof(float));
    }
}

static void encoder_norm_backward(const backward *b)
{
    ecg_plan *p = b->p;
    ecg_layer_norm_backward(p->x, b->diff->encoder_norm.weight, b->diff->encoder_norm.bias, p->x,
                            &b->keep->encoder_norm, b->network->encoder_norm.weight, ecg_rows(p), p->config.C);
}

/* The positional branch: adds to p->x, which holds the gradient of the sum, that of the branch's input. */
static ecg_status positions_backward(const backward *b)
{
    ecg_plan *p = b->p;
    const ecg_config *c = &p->config;
    const ecg_network *network = b->network;
    const ecg_work *work = &p->work.base;
    int64_t M = ecg_rows(p), C = c->C, group = C / c->conv_pos_groups, k = c->conv_pos;
    float *diff_hidden = p->work.branch, *diff_src = p->work.rows;
    ecg_gelu_backward(diff_hidden, p->x, b->keep->pos_hidden, M * C);
    ecg_bias_backward(b->diff->pos_bias, diff_hidden, ECG_F32, M, C);
    ECG_TRY(ecg_fresh_conv_gradient_run(&p->pos.gradient, work->stream, b->keep->diff_pos_weights, diff_hidden,
                                        b->keep->pos_src, work->packed, work->scratch));
    ecg_weight_norm_backward(b->diff->pos_v, b->diff->pos_g, b->keep->diff_pos_weights, network->pos_v, network->pos_g,
                             C, group, k);
    ecg_weight_norm_forward(p->pos_weights, NULL, network->pos_v, network->pos_g, C, group, k);
    ECG_TRY(ecg_fresh_run(&p->pos.backward, work->stream, diff_src, diff_hidden, p->pos_weights, NULL, work->packed,
                          work->scratch));
    ecg_add_forward(p->x, diff_src, M * C);
    return ECG_OK;
}

/* From p->x, the gradient of the projection's output, to that of the conv features, in p->ping. */
static ecg_status projection_backward(const backward *b)
{
    ecg_plan *p = b->p;
    const ecg_network *network = b->network;
    int64_t M = ecg_rows(p), K = ecg_config_features(&p->config);
    float *diff_normed = p->x;
    bool features = b->keep->extractor;
    if (p->post.spec.M) {
        ecg_norm_restore(p->conv_rows, b->keep->feature_norm.normalized, network->feature_norm.weight,
                         network->feature_norm.bias, M, K);
        ECG_TRY(
            ecg_linear_backward(p->ping, &b->diff->post, p->x, p->conv_rows, &network->post, &p->post, &p->work.base));
        diff_normed = p->ping;
    }
    at_seam(b, ECG_AT_NORMED, diff_normed, NULL);
    ecg_layer_norm_backward(features ? p->ping : NULL, b->diff->feature_norm.weight, b->diff->feature_norm.bias,
                            diff_normed, &b->keep->feature_norm, network->feature_norm.weight, M, K);
    return ECG_OK;
}

/* dst (B, steps, channels) = what block i puts into its GELU. */
static void restore_hidden(const backward *b, int64_t i, float *dst)
{
    ecg_plan *p = b->p;
    const ecg_conv_kept *kept = &b->keep->convs[i];
    const ecg_norm *norm = &b->network->conv_norms[i];
    int64_t rows = p->B * p->steps[i + 1], channels = p->config.convs[i].channels;
    if (kept->hidden)
        memcpy(dst, kept->hidden, (size_t)(rows * channels) * sizeof *dst);
    else
        ecg_norm_restore(dst, kept->norm.normalized, norm->weight, norm->bias, rows, channels);
}

/* The conv blocks, from the gradient of the features in p->ping. */
static ecg_status extractor_backward(const backward *b)
{
    ecg_plan *p = b->p;
    const ecg_config *c = &p->config;
    const ecg_work *work = &p->work.base;
    float *diff = p->ping, *other = p->pong;
    for (int64_t i = c->conv_count - 1; i >= 0; i--) {
        int64_t steps = p->steps[i + 1], channels = c->convs[i].channels, rows = p->B * steps;
        const ecg_norm *norm = &b->network->conv_norms[i], *diff_norm = &b->diff->conv_norms[i];
        const ecg_norm_kept *kept = &b->keep->convs[i].norm;
        const float *src = p->source;
        restore_hidden(b, i, p->conv_rows);
        ecg_gelu_backward(diff, diff, p->conv_rows, rows * channels);
        if (c->extractor_layer_norm)
            ecg_layer_norm_backward(diff, diff_norm->weight, diff_norm->bias, diff, kept, norm->weight, rows, channels);
        else if (i == 0)
            ecg_group_norm_backward(diff, diff_norm->weight, diff_norm->bias, diff, kept, norm->weight, p->B, steps,
                                    channels);
        if (c->conv_bias)
            ecg_bias_backward(b->diff->convs[i].bias, diff, ECG_F32, rows, channels);
        if (i > 0) {
            restore_hidden(b, i - 1, p->conv_rows);
            ecg_gelu_forward(p->conv_rows, p->conv_rows, p->B * p->steps[i] * c->convs[i - 1].channels);
            src = p->conv_rows;
        }
        if (b->diff->convs[i].weight)
            ECG_TRY(ecg_fresh_conv_gradient_run(&p->convs[i].gradient, work->stream, b->diff->convs[i].weight, diff,
                                                src, work->packed, work->scratch));
        if (i > 0) {
            ECG_TRY(ecg_fresh_run(&p->convs[i].backward, work->stream, other, diff, b->network->convs[i].weight, NULL,
                                  work->packed, work->scratch));
            float *swap = diff;
            diff = other;
            other = swap;
        }
    }
    return ECG_OK;
}

ecg_status ecg_encode_backward(const ecg_network *diff, const ecg_network *network, ecg_plan *p, const ecg_seams *seams,
                               double feature_grad_mult, const ecg_poll *poll)
{
    const ecg_config *c = &p->config;
    ecg_keep *keep = p->keep;
    int64_t n = ecg_rows(p) * c->C;
    if (!keep)
        return ecg_fail(ECG_BAD_STATE, "this plan keeps nothing for a backward");
    backward b = {diff, network, p, keep, seams};
    ecg_zero_padding(p->x, p->valid, p->B, p->T, c->C);
    if (c->norm_first)
        encoder_norm_backward(&b);
    for (int64_t i = c->layers - 1; i >= ecg_first_layer(keep, c); i--) {
        ECG_TRY(ecg_poll_call(poll));
        if (keep->runs[i])
            ECG_TRY(layer_backward(&b, i));
        else
            no_layer_backward(&b, i);
    }
    if (keep->training.first > 0)
        return ECG_OK;
    ecg_dropout(p->x, p->x, &keep->encoder_mask, n);
    if (!c->norm_first)
        encoder_norm_backward(&b);
    ecg_zero_padding(p->x, p->valid, p->B, p->T, c->C);
    ECG_TRY(positions_backward(&b));
    at_seam(&b, ECG_AT_STREAM, p->x, NULL);
    ecg_dropout(p->x, p->x, &keep->input_mask, n);
    ECG_TRY(projection_backward(&b));
    if (!keep->extractor)
        return ECG_OK;
    int64_t features = ecg_rows(p) * ecg_config_features(c);
    if (seams) { /* the features again */
        restore_hidden(&b, c->conv_count - 1, p->conv_rows);
        ecg_gelu_forward(p->conv_rows, p->conv_rows, features);
        at_seam(&b, ECG_AT_FEATURES, p->ping, p->conv_rows);
    }
    ecg_scale(p->ping, (float)feature_grad_mult, features);
    return extractor_backward(&b);
}

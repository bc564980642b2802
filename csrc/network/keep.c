#include "keep.h"

#include <string.h>

void ecg_make_mask(const ecg_dropout_mask *mask, const ecg_noise *noise, int64_t B, int64_t n, ecg_draw draw,
                   int64_t layer)
{
    if (!mask->keep)
        return;
    const uint8_t *given = noise->given ? noise->given(noise->context, draw, layer) : NULL;
    if (given)
        memcpy(mask->keep, given + noise->given_row * n, (size_t)(B * n));
    else
        ecg_dropout_draw(mask, B, n, &noise->key, draw, layer, noise->first_row);
}

ecg_status ecg_keep_create(ecg_keep **dst, const ecg_config *config, const ecg_training *training)
{
    ecg_status status = ECG_OK;
    ecg_keep *keep;
    *dst = NULL;
    ECG_TRY(ecg_alloc_zeros((void **)&keep, 1, sizeof *keep));
    keep->training = *training;
    keep->extractor = !(training->frozen & ECG_P_EXTRACTOR);
    ECG_TRY_GOTO(ecg_alloc_zeros((void **)&keep->layers, config->layers, sizeof *keep->layers));
    ECG_TRY_GOTO(ecg_alloc_zeros((void **)&keep->runs, config->layers, sizeof *keep->runs));
    ECG_TRY_GOTO(ecg_alloc_zeros((void **)&keep->layer_src, config->layers, sizeof *keep->layer_src));
    *dst = keep;
    return ECG_OK;
fail:
    ecg_keep_free(keep);
    return status;
}

void ecg_keep_free(ecg_keep *keep)
{
    if (!keep)
        return;
    ecg_free(keep->layers);
    ecg_free(keep->runs);
    ecg_free(keep->layer_src);
    ecg_free(keep);
}

static void take_norm(ecg_arena *arena, ecg_norm_kept *kept, int64_t rows, int64_t C, int64_t statistics)
{
    kept->normalized = ecg_arena_tensor(arena, ECG_F32, rows, C, 1);
    kept->rstd = ecg_arena_tensor(arena, ECG_F32, statistics, 1, 1);
}

static void take_layer(ecg_arena *arena, ecg_transformer_kept *kept, const ecg_dropout_rates *p,
                       const ecg_keep_shape *shape)
{
    const ecg_config *c = shape->config;
    int64_t B = shape->B, T = shape->T, M = ecg_elements(B, T, 1);
    kept->qkv = ecg_arena_tensor(arena, ECG_F32, M, 3 * c->C, 1);
    kept->context = ecg_arena_tensor(arena, ECG_F32, M, c->C, 1);
    kept->hidden = ecg_arena_tensor(arena, ECG_F32, M, c->F, 1);
    take_norm(arena, &kept->norm1, M, c->C, M);
    take_norm(arena, &kept->norm2, M, c->C, M);
    ecg_take_mask(arena, &kept->attention_mask, p->attention_dropout, ecg_elements(B, c->H, 1), T, T);
    ecg_take_mask(arena, &kept->activation_mask, p->activation_dropout, M, c->F, 1);
    ecg_take_mask(arena, &kept->out_mask, p->dropout, M, c->C, 1);
    ecg_take_mask(arena, &kept->residual_mask, p->dropout, M, c->C, 1);
}

static void take_convs(ecg_keep *keep, ecg_arena *arena, const ecg_keep_shape *shape)
{
    const ecg_config *c = shape->config;
    for (int64_t i = 0; i < c->conv_count; i++) {
        ecg_conv_kept *kept = &keep->convs[i];
        int64_t rows = ecg_elements(shape->B, shape->steps[i + 1], 1), channels = c->convs[i].channels;
        if (c->extractor_layer_norm)
            take_norm(arena, &kept->norm, rows, channels, rows);
        else if (i == 0)
            take_norm(arena, &kept->norm, rows, channels, ecg_elements(shape->B, channels, 1));
        else
            kept->hidden = ecg_arena_tensor(arena, ECG_F32, rows, channels, 1);
    }
}

void ecg_keep_lay_out(ecg_keep *keep, ecg_arena *arena, const ecg_keep_shape *shape)
{
    const ecg_config *c = shape->config;
    const ecg_dropout_rates *p = &keep->training.rates;
    int64_t M = ecg_elements(shape->B, shape->T, 1);
    keep->layer_rows = ecg_arena_tensor(arena, ECG_F32, M, c->C, 1);
    keep->pos_src = ecg_arena_tensor(arena, ECG_F32, M, c->C, 1);
    keep->pos_hidden = ecg_arena_tensor(arena, ECG_F32, M, c->C, 1);
    take_norm(arena, &keep->feature_norm, M, ecg_config_features(c), M);
    take_norm(arena, &keep->encoder_norm, M, c->C, M);
    ecg_take_mask(arena, &keep->input_mask, p->dropout_input, M, c->C, 1);
    ecg_take_mask(arena, &keep->encoder_mask, p->dropout, M, c->C, 1);
    if (keep->extractor)
        take_convs(keep, arena, shape);
}

void ecg_keep_lay_out_layers(ecg_keep *keep, ecg_arena *arena, const ecg_keep_shape *shape)
{
    const ecg_config *c = shape->config;
    int64_t M = ecg_elements(shape->B, shape->T, 1);
    for (int64_t i = 0; i < ecg_keep_count(keep, c); i++)
        take_layer(arena, &keep->layers[i], &keep->training.rates, shape);
    if (!keep->training.recompute)
        return;
    for (int64_t i = 0; i < c->layers; i++)
        keep->layer_src[i] = ecg_arena_tensor(arena, ECG_F32, M, c->C, 1);
    keep->replay = ecg_arena_tensor(arena, ECG_F32, M, c->C, 1);
}

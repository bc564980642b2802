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

int64_t ecg_stage_of(const ecg_config *config, const ecg_parameter *p)
{
    if (p->flags & ECG_P_LAYER)
        return 1 + p->layer;
    bool last = config->norm_first && !(p->flags & ECG_P_HEAD) &&
                (p->field == offsetof(ecg_network, encoder_norm.weight) ||
                 p->field == offsetof(ecg_network, encoder_norm.bias));
    return last ? 1 + config->layers : 0;
}

ecg_status ecg_keep_create(ecg_keep **dst, const ecg_config *config, const ecg_training *training)
{
    ecg_status status = ECG_OK;
    ecg_keep *keep;
    *dst = NULL;
    ECG_TRY(ecg_alloc_zeros((void **)&keep, 1, sizeof *keep));
    keep->training = *training;
    keep->extractor = training->first == 0 && !(training->frozen & ECG_P_EXTRACTOR);
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

/* What a layer writes in any case. */
static void take_inside(ecg_arena *arena, ecg_transformer_kept *kept, const ecg_keep_shape *shape)
{
    const ecg_config *c = shape->config;
    int64_t M = ecg_elements(shape->B, shape->T, 1);
    kept->qkv = ecg_arena_tensor(arena, shape->types.attention, M, 3 * c->C, 1);
    kept->context = ecg_arena_tensor(arena, shape->types.linear, M, c->C, 1);
    kept->hidden = ecg_arena_tensor(arena, shape->types.linear, M, c->F, 1);
}

/* What only its backward needs. */
static void take_rest(ecg_arena *arena, ecg_transformer_kept *kept, const ecg_dropout_rates *p,
                      const ecg_keep_shape *shape)
{
    const ecg_config *c = shape->config;
    int64_t B = shape->B, T = shape->T, M = ecg_elements(B, T, 1);
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
    if (keep->training.first == 0) {
        keep->pos_src = ecg_arena_tensor(arena, ECG_F32, M, c->C, 1);
        keep->pos_hidden = ecg_arena_tensor(arena, ECG_F32, M, c->C, 1);
        take_norm(arena, &keep->feature_norm, M, ecg_config_features(c), M);
    }
    if (keep->training.first == 0 || c->norm_first)
        take_norm(arena, &keep->encoder_norm, M, c->C, M);
    if (keep->training.first == 0) {
        ecg_take_mask(arena, &keep->input_mask, p->dropout_input, M, c->C, 1);
        ecg_take_mask(arena, &keep->encoder_mask, p->dropout, M, c->C, 1);
    }
    if (keep->extractor)
        take_convs(keep, arena, shape);
}

/* What the layers keep from `first` on: each memory of its own, or all the same, which is filled again. */
static void take_layers(ecg_keep *keep, ecg_arena *arena, int64_t first, const ecg_keep_shape *shape)
{
    const ecg_dropout_rates none = {0}, *rates = &keep->training.rates;
    bool recompute = keep->training.recompute;
    ecg_transformer_kept kept = {0};
    for (int64_t i = first; i < shape->config->layers; i++) {
        bool still = keep->training.still && keep->training.still[i];
        if (i == first || !recompute) {
            take_inside(arena, &kept, shape);
            take_rest(arena, &kept, still && !recompute ? &none : rates, shape);
        }
        keep->layers[i] = kept;
        if (still) {
            const ecg_dropout_mask no_mask = {.scale = 1};
            ecg_transformer_kept *own = &keep->layers[i];
            own->attention_mask = own->activation_mask = own->out_mask = own->residual_mask = no_mask;
        }
    }
}

void ecg_keep_lay_out_layers(ecg_keep *keep, ecg_arena *arena, const ecg_keep_shape *shape)
{
    const ecg_config *c = shape->config;
    int64_t M = ecg_elements(shape->B, shape->T, 1), first = ecg_first_layer(keep, c);
    /* The input of the first one can't be restored from what the one before it keeps. */
    bool entered = keep->training.first > 0 && first < c->layers && !c->norm_first;
    ecg_transformer_kept inside = {0}; /* of the layers in front, which share it */
    take_layers(keep, arena, first, shape);
    if (first == c->layers) {
        take_inside(arena, &inside, shape);
    } else {
        const ecg_transformer_kept *shared = &keep->layers[first];
        inside.qkv = shared->qkv, inside.context = shared->context, inside.hidden = shared->hidden;
    }
    for (int64_t i = 0; i < first; i++)
        keep->layers[i] = inside;
    for (int64_t i = first; i < c->layers; i++) {
        if (keep->training.recompute || (entered && i == first))
            keep->layer_src[i] = ecg_arena_tensor(arena, ECG_F32, M, c->C, 1);
    }
    if (keep->training.recompute)
        keep->replay = ecg_arena_tensor(arena, ECG_F32, M, c->C, 1);
}

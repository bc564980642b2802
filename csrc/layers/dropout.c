#include "layers.h"

#include "../base/kernel.h"
#include "parallel.h"

ECG_KERNEL void ecg_dropout_piece(float *dst, const float *src, const uint8_t *keep, float scale, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        dst[i] = keep[i] ? src[i] * scale : 0.f;
}

void ecg_dropout(float *dst, const float *src, const ecg_dropout_mask *mask, int64_t n)
{
    if (!mask->keep)
        return;
#pragma omp parallel for schedule(static) if (n > ECG_SERIAL_ELEMENTS)
    for (int64_t i = 0; i < n; i += ECG_PIECE)
        ecg_dropout_piece(dst + i, src + i, mask->keep + i, mask->scale, n - i < ECG_PIECE ? n - i : ECG_PIECE);
}

void ecg_dropout_draw(const ecg_dropout_mask *mask, int64_t B, int64_t n, const ecg_stream_key *key, ecg_draw draw,
                      int64_t layer, int64_t first_row)
{
    if (!mask->keep)
        return;
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < B; b++)
        ecg_draw_keep(mask->keep + b * n, n, mask->p, key, draw, layer, first_row + b);
}

void ecg_take_mask(ecg_arena *arena, ecg_dropout_mask *mask, double p, int64_t a, int64_t b, int64_t c)
{
    *mask = (ecg_dropout_mask){.p = p, .scale = (float)(1 / (1 - p))};
    if (p > 0)
        mask->keep = ecg_arena_take(arena, ecg_elements(a, b, c), 1);
}

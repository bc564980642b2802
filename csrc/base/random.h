/* Counter-based random numbers: Philox 4x32 with ten rounds (Salmon et al., "Parallel random numbers: as
 * easy as 1, 2, 3", 2011). A number depends on its key and counter alone, not on who drew before. */
#ifndef ECG_BASE_RANDOM_H
#define ECG_BASE_RANDOM_H

#include <stdint.h>

/* What a stream of numbers is for; part of the counter, so that no two purposes share numbers. */
typedef enum {
    ECG_DRAW_INPUT,     /* dropout before the positional convolution */
    ECG_DRAW_ENCODER,   /* before the first layer */
    ECG_DRAW_ATTENTION, /* of the attention weights, a layer each */
    ECG_DRAW_ATTENTION_OUT,
    ECG_DRAW_ACTIVATION,
    ECG_DRAW_RESIDUAL,
    ECG_DRAW_FINAL,   /* before the pooling */
    ECG_DRAW_LAYER,   /* whether a layer runs */
    ECG_DRAW_FEATURES /* of the quantizer's input */
} ecg_draw;

/* Where in the training a draw is made. */
typedef struct {
    uint32_t seed, rank, update;
} ecg_stream_key;

/* Four independent 32-bit numbers for counter (block, row, purpose and layer, update) and key (seed, rank). */
void ecg_philox(uint32_t dst[4], const ecg_stream_key *key, ecg_draw draw, int64_t layer, int64_t row, int64_t block);

/* A uniform number in [0, 1) for (key, draw, layer). */
double ecg_uniform(const ecg_stream_key *key, ecg_draw draw, int64_t layer);

/* keep[i] = 1 with probability 1 - p, else 0, for the n entries of one row. p is rounded to a multiple of
 * 1/65536. */
void ecg_draw_keep(uint8_t *keep, /* (n) */
                   int64_t n, double p, const ecg_stream_key *key, ecg_draw draw, int64_t layer, int64_t row);

#endif

#include "random.h"

#include "kernel.h"

#define BLOCKS 64 /* counters that one pass computes side by side: vectors of any width fit */

/* Philox for `n` <= BLOCKS neighbouring counters; word w of block i lands in x[w][i]. */
ECG_KERNEL static void philox_blocks(uint32_t x[4][BLOCKS], uint32_t first, uint32_t row, uint32_t purpose,
                                     const ecg_stream_key *key)
{
    uint32_t k0 = key->seed, k1 = key->rank, update = key->update;
    for (int i = 0; i < BLOCKS; i++) {
        x[0][i] = first + (uint32_t)i;
        x[1][i] = row;
        x[2][i] = purpose;
        x[3][i] = update;
    }
    for (int round = 0; round < 10; round++) {
#pragma omp simd
        for (int i = 0; i < BLOCKS; i++) {
            uint64_t a = (uint64_t)0xD2511F53u * x[0][i], b = (uint64_t)0xCD9E8D57u * x[2][i];
            uint32_t y0 = (uint32_t)(b >> 32) ^ x[1][i] ^ k0, y2 = (uint32_t)(a >> 32) ^ x[3][i] ^ k1;
            x[1][i] = (uint32_t)b;
            x[3][i] = (uint32_t)a;
            x[0][i] = y0;
            x[2][i] = y2;
        }
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

static uint32_t purpose_of(ecg_draw draw, int64_t layer)
{
    return (uint32_t)draw | (uint32_t)layer << 8;
}

void ecg_philox(uint32_t dst[4], const ecg_stream_key *key, ecg_draw draw, int64_t layer, int64_t row, int64_t block)
{
    uint32_t x[4][BLOCKS];
    philox_blocks(x, (uint32_t)block, (uint32_t)row, purpose_of(draw, layer), key);
    for (int w = 0; w < 4; w++)
        dst[w] = x[w][0];
}

double ecg_uniform(const ecg_stream_key *key, ecg_draw draw, int64_t layer)
{
    uint32_t x[4];
    ecg_philox(x, key, draw, layer, 0, 0);
    return ((double)(x[0] >> 5) * 67108864.0 + (double)(x[1] >> 6)) / 9007199254740992.0;
}

void ecg_draw_keep(uint8_t *keep, int64_t n, double p, const ecg_stream_key *key, ecg_draw draw, int64_t layer,
                   int64_t row)
{
    uint32_t x[4][BLOCKS], threshold = (uint32_t)(p * 65536.0 + 0.5);
    for (int64_t first = 0; first < n; first += 8 * BLOCKS) { /* eight 16-bit numbers from a block */
        int64_t count = n - first < 8 * BLOCKS ? n - first : 8 * BLOCKS;
        philox_blocks(x, (uint32_t)(first / 8), (uint32_t)row, purpose_of(draw, layer), key);
        for (int64_t i = 0; i < count; i++) {
            uint32_t word = x[i / 2 % 4][i / 8];
            keep[first + i] = (uint8_t)((i % 2 ? word >> 16 : word & 0xFFFF) >= threshold);
        }
    }
}

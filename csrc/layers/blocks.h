/* Matrix products of blocks that stay in the cache, for the loops that are around them: serial, in float32. For where a
 * product is too small for a call of oneDNN, or what it gives is used at once. */
#ifndef ECG_LAYERS_BLOCKS_H
#define ECG_LAYERS_BLOCKS_H

#include <stdbool.h>
#include <stdint.h>

/* The columns of a panel. */
#define ECG_PANEL 32

/* n rounded up to whole panels. */
static inline int64_t ecg_whole_panels(int64_t n)
{
    return (n + ECG_PANEL - 1) / ECG_PANEL * ECG_PANEL;
}

/* dst = src as panels of columns: element (k, n) at (n / 32 * K + k) * 32 + n % 32, and 0 beyond column N. */
void ecg_pack_panels(float *dst,       /* (N / 32, K, 32), 64-byte aligned */
                     const float *src, /* (K, N), its rows `stride` apart */
                     int64_t stride, int64_t K, int64_t N);

/* The same of src^T. */
void ecg_pack_panels_transposed(float *dst,       /* (N / 32, K, 32), 64-byte aligned */
                                const float *src, /* (N, K), its rows `stride` apart */
                                int64_t stride, int64_t K, int64_t N);

/* The left factor of a product: element (m, k) at data[m * row + k * column]. */
typedef struct {
    const float *data;
    int64_t row, column;
} ecg_left;

/* What the sums of a product begin with: 0, or what is in dst; or they begin with 0 and are added to that, which rounds
 * less than one long sum. */
typedef enum { ECG_SUMS_NEW, ECG_SUMS_GO_ON, ECG_SUMS_ADDED } ecg_sums;

/* dst = left panels, or += that. Each element is a sum over k in order. */
void ecg_block_product(float *dst,                                         /* (M, N), its rows `stride` apart */
                       int64_t stride, ecg_left left, const float *panels, /* (N / 32, K, 32) of ecg_pack_panels */
                       int64_t M, int64_t K, int64_t N, ecg_sums sums);

#endif

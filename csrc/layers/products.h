/* Matrix products of bfloat16 in float32 arithmetic, for processors whose float32 instructions do more of them in the
 * same time than those of bfloat16: a block of a factor is widened on its way into the cache. A product of two bfloat16
 * is exact in float32, so only the order of the sums differs. A row of a result depends on its row of the left factor
 * alone, and not on the number of threads. */
#ifndef ECG_LAYERS_PRODUCTS_H
#define ECG_LAYERS_PRODUCTS_H

#include "operand.h"

#include "../onednn/ops.h"

/* Whether products of this type are made here. */
bool ecg_widens(ecg_dtype type);

/* For tests: 1 bfloat16 always, 0 never, -1 where the processor gains by it. */
void ecg_widen(int when);

/* The right factor (K, N) of a product as panels of 32 columns, 0 beyond column N: element (k, n) at
 * (n / 32 * K + k) * 32 + n % 32, in bfloat16. */
size_t ecg_panel_bytes(int64_t K, int64_t N);

/* dst = src as panels; the rows of src, (K, N) or, transposed, (N, K), are dense. */
void ecg_pack_bf16(uint16_t *dst, const void *src, ecg_dtype type, bool transposed, int64_t K, int64_t N);

/* src (N, K) = panels of its transpose. */
void ecg_unpack_bf16(float *dst, const uint16_t *panels, int64_t K, int64_t N);

/* dst (M, N) = [GELU of] (left (M, K) panels [+ bias]), then written, added, or written times a factor. */
typedef struct {
    int64_t M, K, N;
    const uint16_t *left; /* (M, K), or (K, M) with `transposed`; dense */
    bool transposed;
    const uint16_t *panels; /* (K, N) */
    void *dst;              /* (M, N) */
    ecg_dtype type;         /* of dst and factor, float32 or bfloat16 */
    const float *bias;      /* (N) or NULL */
    bool gelu;
    ecg_after after;
    const void *factor; /* (M, N) */
} ecg_wide_product;

/* The bytes that a product works in, on at most so many threads. */
size_t ecg_wide_scratch(int threads);
void ecg_wide_run(const ecg_wide_product *product, int threads, void *scratch);

#endif

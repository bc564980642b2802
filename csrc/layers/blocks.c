#include "blocks.h"

#include <string.h>

#include "../base/kernel.h"

/* Rows of the last columns, which go through a buffer. */
#define EDGE_ROWS 32

#define NAME(x) x##_plain
#define TARGET
#define WIDTH 16
#define ROWS 4
#include "blocks_tile.h"
#undef NAME
#undef TARGET
#undef WIDTH
#undef ROWS

#if defined(__x86_64__) && defined(__GNUC__)

#define NAME(x) x##_avx2
#define TARGET __attribute__((target("avx2,fma")))
#define WIDTH 32
#define ROWS 4
#include "blocks_tile.h"
#undef NAME
#undef TARGET
#undef WIDTH
#undef ROWS

#define NAME(x) x##_avx512
#define TARGET __attribute__((target("avx512f,fma")))
#define WIDTH 64
#define ROWS 8
#include "blocks_tile.h"
#undef NAME
#undef TARGET
#undef WIDTH
#undef ROWS

void ecg_block_product(float *dst, int64_t stride, ecg_left left, const float *panels, int64_t M, int64_t K, int64_t N,
                       ecg_sums sums)
{
    if (__builtin_cpu_supports("avx512f"))
        product_avx512(dst, stride, left, panels, M, K, N, sums);
    else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        product_avx2(dst, stride, left, panels, M, K, N, sums);
    else
        product_plain(dst, stride, left, panels, M, K, N, sums);
}

#else

void ecg_block_product(float *dst, int64_t stride, ecg_left left, const float *panels, int64_t M, int64_t K, int64_t N,
                       ecg_sums sums)
{
    product_plain(dst, stride, left, panels, M, K, N, sums);
}

#endif

/* A panel of K rows, `used` columns of which are filled. */
static void copy_panel(float *dst, const float *src, int64_t stride, int64_t K, int64_t used)
{
    for (int64_t k = 0; k < K; k++, dst += ECG_PANEL, src += stride) {
        if (used == ECG_PANEL) {
            memcpy(dst, src, ECG_PANEL * sizeof *dst);
        } else {
            memset(dst, 0, ECG_PANEL * sizeof *dst);
            memcpy(dst, src, (size_t)used * sizeof *dst);
        }
    }
}

void ecg_pack_panels(float *dst, const float *src, int64_t stride, int64_t K, int64_t N)
{
    for (int64_t n = 0; n < N; n += ECG_PANEL)
        copy_panel(dst + n * K, src + n, stride, K, N - n < ECG_PANEL ? N - n : ECG_PANEL);
}

typedef float quad __attribute__((vector_size(16)));

/* The first and the last two of each, by turns: a0 b0 a1 b1, and a2 b2 a3 b3. */
#define FIRST(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define LAST(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)

/* dst (4, 4), a part of a panel, = src^T. */
ECG_INLINE void transpose_quad(float *dst, const float *src, int64_t stride)
{
    quad rows[4];
    for (int i = 0; i < 4; i++)
        memcpy(&rows[i], src + i * stride, sizeof(quad));
    quad even[2] = {FIRST(rows[0], rows[2]), LAST(rows[0], rows[2])};
    quad odd[2] = {FIRST(rows[1], rows[3]), LAST(rows[1], rows[3])};
    for (int i = 0; i < 2; i++) {
        quad first = FIRST(even[i], odd[i]), last = LAST(even[i], odd[i]);
        memcpy(dst + 2 * i * ECG_PANEL, &first, sizeof first);
        memcpy(dst + (2 * i + 1) * ECG_PANEL, &last, sizeof last);
    }
}

/* `used` columns of a panel of src^T, whose rows lie `stride` apart. */
static void transpose_panel(float *dst, const float *src, int64_t stride, int64_t K, int64_t used)
{
    int64_t whole = used / 4 * 4, k = 0;
    for (; k + 4 <= K; k += 4) {
        for (int64_t n = 0; n < whole; n += 4)
            transpose_quad(dst + k * ECG_PANEL + n, src + n * stride + k, stride);
    }
    for (int64_t i = 0; i < K; i++) {
        for (int64_t n = i < k ? whole : 0; n < ECG_PANEL; n++)
            dst[i * ECG_PANEL + n] = n < used ? src[n * stride + i] : 0;
    }
}

void ecg_pack_panels_transposed(float *dst, const float *src, int64_t stride, int64_t K, int64_t N)
{
    for (int64_t n = 0; n < N; n += ECG_PANEL)
        transpose_panel(dst + n * K, src + n * stride, stride, K, N - n < ECG_PANEL ? N - n : ECG_PANEL);
}

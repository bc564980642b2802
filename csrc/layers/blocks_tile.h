/* The product of a block for one instruction set, included once for each by blocks.c. It expects NAME(x), TARGET (the
 * attribute that switches the instructions on), WIDTH (bytes of a vector) and ROWS (of a tile, a power of 2). A tile is
 * ROWS x 2 vectors of sums that stay in registers. */

typedef float NAME(vector) __attribute__((vector_size(WIDTH)));

#define LANES ((int64_t)(WIDTH / sizeof(float)))
#define TILE_INLINE static inline __attribute__((always_inline)) TARGET

/* dst (rows, 2 vectors) = left panel; `panel` and `dst` begin at the tile's first column. */
TILE_INLINE void NAME(tile)(int rows, float *dst, int64_t stride, const float *left, int64_t row, int64_t column,
                            const float *panel, int64_t K, ecg_sums how)
{
    NAME(vector) sums[ROWS][2];
#pragma GCC unroll 16
    for (int m = 0; m < rows; m++) {
        if (how == ECG_SUMS_GO_ON) {
            memcpy(&sums[m][0], dst + m * stride, WIDTH);
            memcpy(&sums[m][1], dst + m * stride + LANES, WIDTH);
        } else {
            sums[m][0] = sums[m][1] = (NAME(vector)){0};
        }
    }
    for (int64_t k = 0; k < K; k++) {
        NAME(vector) first, second;
        memcpy(&first, panel + k * ECG_PANEL, WIDTH);
        memcpy(&second, panel + k * ECG_PANEL + LANES, WIDTH);
#pragma GCC unroll 16
        for (int m = 0; m < rows; m++) {
            float factor = left[m * row + k * column];
            sums[m][0] += factor * first;
            sums[m][1] += factor * second;
        }
    }
    if (how == ECG_SUMS_ADDED) {
#pragma GCC unroll 16
        for (int m = 0; m < rows; m++) {
            NAME(vector) first, second;
            memcpy(&first, dst + m * stride, WIDTH);
            memcpy(&second, dst + m * stride + LANES, WIDTH);
            sums[m][0] += first, sums[m][1] += second;
        }
    }
#pragma GCC unroll 16
    for (int m = 0; m < rows; m++) {
        memcpy(dst + m * stride, &sums[m][0], WIDTH);
        memcpy(dst + m * stride + LANES, &sums[m][1], WIDTH);
    }
}

/* dst (M, 32) = left panel, a panel wide. */
TILE_INLINE void NAME(panel)(float *dst, int64_t stride, ecg_left left, const float *panel, int64_t M, int64_t K,
                             ecg_sums how)
{
    for (int64_t n = 0; n < ECG_PANEL; n += 2 * LANES) {
        const float *from = left.data, *part = panel + n;
        float *to = dst + n;
        int64_t m = 0;
        for (; m + ROWS <= M; m += ROWS)
            NAME(tile)(ROWS, to + m * stride, stride, from + m * left.row, left.row, left.column, part, K, how);
        if (ROWS > 4 && m + 4 <= M) {
            NAME(tile)
            (ROWS > 4 ? 4 : 1, to + m * stride, stride, from + m * left.row, left.row, left.column, part, K, how);
            m += 4;
        }
        for (; m < M; m++)
            NAME(tile)(1, to + m * stride, stride, from + m * left.row, left.row, left.column, part, K, how);
    }
}

TARGET static void NAME(product)(float *dst, int64_t stride, ecg_left left, const float *panels, int64_t M, int64_t K,
                                 int64_t N, ecg_sums how)
{
    float edge[EDGE_ROWS * ECG_PANEL] __attribute__((aligned(64)));
    int64_t n = 0;
    for (; n + ECG_PANEL <= N; n += ECG_PANEL)
        NAME(panel)(dst + n, stride, left, panels + n * K, M, K, how);
    for (int64_t m = 0; n < N && m < M; m += EDGE_ROWS) { /* the last columns, fewer than a panel has */
        int64_t rows = M - m < EDGE_ROWS ? M - m : EDGE_ROWS;
        ecg_left part = {left.data + m * left.row, left.row, left.column};
        for (int64_t i = 0; how != ECG_SUMS_NEW && i < rows; i++)
            memcpy(edge + i * ECG_PANEL, dst + (m + i) * stride + n, (size_t)(N - n) * sizeof *dst);
        NAME(panel)(edge, ECG_PANEL, part, panels + n * K, rows, K, how);
        for (int64_t i = 0; i < rows; i++)
            memcpy(dst + (m + i) * stride + n, edge + i * ECG_PANEL, (size_t)(N - n) * sizeof *dst);
    }
}

#undef LANES
#undef TILE_INLINE

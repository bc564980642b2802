#include "products.h"

#include <omp.h>
#include <string.h>

#include "../base/convert.h"
#include "../base/threads.h"
#include "blocks.h"
#include "layers.h"
#include "parallel.h"

/* What one thread works on: at most ROWS rows of the result and COLUMNS of its columns, TERMS terms of their sums at a
 * time. A panel of that many terms stays in the first-level cache, all of it in the second (measured: 80 to 84 % of
 * what the processor does, of which the products themselves take 94 %). */
#define ROWS 256
#define COLUMNS 384
#define TERMS 256

/* Rows of a panel that are turned at a time. */
#define TURNED 64

static int widening = -1;

void ecg_widen(int when)
{
    widening = when;
}

bool ecg_widens(ecg_dtype type)
{
    return type == ECG_BF16 && (widening < 0 ? !ecg_bfloat16_gains() : widening > 0);
}

/* ---- the right factor ---- */

size_t ecg_panel_bytes(int64_t K, int64_t N)
{
    return (size_t)(K * ecg_whole_panels(N)) * sizeof(uint16_t);
}

/* `rows` rows of bfloat16 of a panel whose first `used` columns are filled. */
static void copy_rows(uint16_t *dst, const uint16_t *src, int64_t stride, int64_t rows, int64_t used)
{
    for (int64_t k = 0; k < rows; k++, dst += ECG_PANEL, src += stride) {
        memset(dst, 0, ECG_PANEL * sizeof *dst);
        memcpy(dst, src, (size_t)used * sizeof *dst);
    }
}

void ecg_pack_bf16(uint16_t *dst, const void *src, ecg_dtype type, bool transposed, int64_t K, int64_t N)
{
    int64_t panels = ecg_whole_panels(N) / ECG_PANEL, pieces = (K + TURNED - 1) / TURNED;
#pragma omp parallel for schedule(static) collapse(2)
    for (int64_t panel = 0; panel < panels; panel++) {
        for (int64_t piece = 0; piece < pieces; piece++) {
            int64_t n = panel * ECG_PANEL, k = piece * TURNED, rows = K - k < TURNED ? K - k : TURNED;
            int64_t used = N - n < ECG_PANEL ? N - n : ECG_PANEL, from = transposed ? n * K + k : k * N + n;
            uint16_t *to = dst + (panel * K + k) * ECG_PANEL;
            float turned[TURNED * ECG_PANEL] __attribute__((aligned(64)));
            if (type == ECG_BF16) {
                copy_rows(to, (const uint16_t *)src + from, N, rows, used);
                continue;
            }
            if (transposed)
                ecg_pack_panels_transposed(turned, (const float *)src + from, K, rows, used);
            else
                ecg_pack_panels(turned, (const float *)src + from, N, rows, used);
            ecg_to_bf16(to, turned, rows * ECG_PANEL);
        }
    }
}

void ecg_unpack_bf16(float *dst, const uint16_t *panels, int64_t K, int64_t N)
{
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < N; n++) {
        for (int64_t k = 0; k < K; k++)
            ecg_from_bf16(dst + n * K + k, panels + (n / ECG_PANEL * K + k) * ECG_PANEL + n % ECG_PANEL, 1);
    }
}

/* ---- a product ---- */

/* What one thread works in. */
typedef struct {
    float left[ROWS * TERMS], panel[TERMS * ECG_PANEL], sums[ROWS * COLUMNS], factor[COLUMNS];
} product_work;

size_t ecg_wide_scratch(int threads)
{
    return (size_t)threads * sizeof(product_work);
}

/* Rows m .. m + rows - 1 and terms k .. k + terms - 1 of the left factor. */
static ecg_left widen_left(float *dst, const ecg_wide_product *p, int64_t m, int64_t rows, int64_t k, int64_t terms)
{
    if (p->transposed) {
        for (int64_t i = 0; i < terms; i++)
            ecg_from_bf16(dst + i * ROWS, p->left + (k + i) * p->M + m, rows);
        return (ecg_left){dst, 1, ROWS};
    }
    for (int64_t i = 0; i < rows; i++)
        ecg_from_bf16(dst + i * TERMS, p->left + (m + i) * p->K + k, terms);
    return (ecg_left){dst, TERMS, 1};
}

/* A row of sums becomes `columns` elements of the result from element `at` on. */
static void finish_row(const ecg_wide_product *p, float *sums, float *factor, int64_t n, int64_t at, int64_t columns)
{
    if (p->bias)
        ecg_add_piece(sums, p->bias + n, columns);
    if (p->gelu)
        ecg_gelu_piece(sums, sums, columns);
    if (p->after == ECG_ADD)
        ecg_add_piece(sums, ecg_load_piece(factor, p->type, p->dst, at, columns), columns);
    if (p->after == ECG_MULTIPLY)
        ecg_multiply_piece(sums, ecg_load_piece(factor, p->type, p->factor, at, columns), columns);
    ecg_store_piece(p->type, p->dst, at, sums, columns);
}

/* Rows m .. m + rows - 1 and columns n .. n + columns - 1 of the result; n begins a panel. */
static void make_block(const ecg_wide_product *p, product_work *work, int64_t m, int64_t rows, int64_t n,
                       int64_t columns)
{
    for (int64_t k = 0; k < p->K; k += TERMS) {
        int64_t terms = p->K - k < TERMS ? p->K - k : TERMS;
        ecg_left left = widen_left(work->left, p, m, rows, k, terms);
        for (int64_t j = 0; j < columns; j += ECG_PANEL) {
            ecg_from_bf16(work->panel, p->panels + ((n + j) / ECG_PANEL * p->K + k) * ECG_PANEL, terms * ECG_PANEL);
            ecg_block_product(work->sums + j, COLUMNS, left, work->panel, rows, terms, ECG_PANEL, k > 0);
        }
    }
    for (int64_t i = 0; i < rows; i++)
        finish_row(p, work->sums + i * COLUMNS, work->factor, n, (m + i) * p->N + n, columns);
}

static int64_t divided(int64_t n, int64_t by)
{
    return (n + by - 1) / by;
}

void ecg_wide_run(const ecg_wide_product *p, int threads, void *scratch)
{
    /* Rows in blocks as equal as can be, of whole tiles; columns in parts, two pieces of work for each thread. */
    int64_t blocks = divided(p->M, ROWS), rows = divided(divided(p->M, blocks), 8) * 8,
            panels = divided(p->N, ECG_PANEL);
    blocks = divided(p->M, rows);
    int64_t least = divided(2 * threads, blocks),
            parts = divided(p->N, COLUMNS) > least ? divided(p->N, COLUMNS) : least;
    int64_t width = divided(panels, parts) * ECG_PANEL;
    parts = divided(p->N, width);
#pragma omp parallel num_threads(ecg_threads() < threads ? ecg_threads() : threads)
    {
        product_work *work = (product_work *)scratch + omp_get_thread_num();
#pragma omp for schedule(dynamic) collapse(2)
        for (int64_t block = 0; block < blocks; block++) {
            for (int64_t part = 0; part < parts; part++) {
                int64_t m = block * rows, n = part * width;
                make_block(p, work, m, p->M - m < rows ? p->M - m : rows, n, p->N - n < width ? p->N - n : width);
            }
        }
    }
}

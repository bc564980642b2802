/* Rows between matrix products, in the type that the next product takes. Letters as in layers.h. */
#ifndef ECG_LAYERS_OPERAND_H
#define ECG_LAYERS_OPERAND_H

#include <stdbool.h>
#include <stdint.h>

#include "../base/dtype.h"

/* Rows as a matrix product takes them. */
typedef struct {
    ecg_dtype type;
    void *data; /* (M, N) */
    /* Of uint8: a value is (number * scale + shift of its row) / factor of its column. NULL for other types. */
    float *scale, *shift; /* (M) */
    const float *factors; /* (N), those of the weights that it is for; NULL: ones */
} ecg_operand;

/* What a matrix product left: where `scale` is not NULL, as with uint8, a value is data * scale[row] + shift[row] *
 * sums[column] + bias[column]. The functions that read it may work in its data. */
typedef struct {
    float *data;                /* (M, N) */
    const float *scale, *shift; /* (M) of the rows of the source, or NULL */
    const float *sums, *bias;   /* (N) of the weights, or NULL where those are */
} ecg_product_rows;

/* n elements of `type` from `at` on as float32: where they lie, or in `wide` (n). */
const float *ecg_load_piece(float *wide, ecg_dtype type, const void *src, int64_t at, int64_t n);

/* dst, of `type`, from `at` on = src (n). Nothing where src lies there already. */
void ecg_store_piece(ecg_dtype type, void *dst, int64_t at, const float *src, int64_t n);

/* Row `row` of dst = src (n). */
void ecg_store_row(const ecg_operand *dst, int64_t row, const float *src, int64_t n);

/* The values of a row of a product; they lie in its data. */
const float *ecg_finished_row(const ecg_product_rows *src, int64_t row, int64_t n);

/* dst = the values of `count` columns of a row from `column` on; the product has N columns and scales. */
void ecg_finish_piece(float *dst, const ecg_product_rows *src, int64_t row, int64_t column, int64_t N, int64_t count);

/* dst = src, or its GELU. A float32 dst may be src->data or leaves it as it is. */
void ecg_convert_rows(const ecg_operand *dst, const ecg_product_rows *src, bool gelu, int64_t M, int64_t N);

/* The factors by which columns of a source, of which `magnitudes` says how large they are, are multiplied before they
 * are rounded to int8, so that what is hard to round is shared between source and weights: 1 / sqrt(magnitude / largest
 * weight of the column), their geometric mean 1 (as SmoothQuant with alpha 1/2, https://arxiv.org/abs/2211.10438). */
void ecg_smoothing(float *factors,          /* (K) */
                   const float *weights,    /* (N, K) */
                   const float *magnitudes, /* (K), or NULL: nothing is known, the factors are ones */
                   int64_t N, int64_t K);

#endif

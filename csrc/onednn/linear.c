/* Linear layers: forward, gradient of the source, gradient of the weights. */
#include <string.h>

#include "../base/convert.h"
#include "../base/memory.h"
#include "internal.h"

/* Which primitive a linear layer is. With AVX-512 a matrix product is up to 6 % faster than an inner product
 * (one segment on one thread; the others 1 to 2 %); with AVX2 it falls to 50-90 % of what the processor does
 * at the 156 rows of one segment, where the inner product keeps 93-97 % (measured). */
static bool is_matmul(void)
{
    return (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core;
}

/* The terms of the first product of a linear layer: all K, or half of them (ECG_LONG_SUM). */
static int64_t first_terms(const ecg_linear_spec *s)
{
    bool two = s->K >= ECG_LONG_SUM && s->weights == ECG_F32 && s->after == ECG_WRITE && !s->gelu && !s->transposed;
    return two && is_matmul() ? s->K / 2 : s->K;
}

/* The spec of the second product, whose K is its own number of terms. */
static ecg_linear_spec rest_of(const ecg_linear_spec *s)
{
    ecg_linear_spec rest = *s;
    rest.K -= first_terms(s);
    rest.bias = false;
    rest.after = ECG_ADD;
    return rest;
}

/* The parts of a product over K of the layer's `row` terms; weights NULL lets oneDNN choose their layout. */
static ecg_status make_parts(op_parts *p, const_dnnl_memory_desc_t weights, const ecg_linear_spec *s, int64_t K,
                             int64_t row)
{
    ecg_status status = ECG_OK;
    bool matmul = is_matmul(), by_rows = matmul == s->transposed; /* the first dimension of `shape` is the outer one */
    const dnnl_dims_t shape = {matmul ? K : s->N, matmul ? s->N : K};
    int64_t outer = s->transposed ? s->N : row;
    ECG_TRY(begin_parts(p));
    ECG_TRY(make_strided(&p->src, s->src, 2, DIMS(s->M, K), DIMS(row, 1)));
    ECG_TRY(make_desc(&p->weights, s->weights, 2, shape, dnnl_format_tag_any));
    ECG_TRY(make_strided(&p->plain, s->weights == ECG_S8 ? ECG_S8 : ECG_F32, 2, shape,
                         DIMS(by_rows ? outer : 1, by_rows ? 1 : outer)));
    ECG_TRY(make_desc(&p->dst, s->dst, 2, DIMS(s->M, s->N), dnnl_ab));
    ECG_TRY(set_after(p->attributes, s->after, s->gelu, p->dst));
    if (s->weights == ECG_S8)
        DNNL(dnnl_primitive_attr_set_scales_mask(p->attributes, DNNL_ARG_WEIGHTS, matmul ? 2 : 1));
    if (s->bias && matmul)
        ECG_TRY(make_desc(&p->bias, ECG_F32, 2, DIMS(1, s->N), dnnl_ab));
    else if (s->bias)
        ECG_TRY(make_desc(&p->bias, ECG_F32, 1, DIMS(s->N), dnnl_a));
    weights = weights ? weights : p->weights;
    if (matmul)
        DNNL(dnnl_matmul_primitive_desc_create(&p->forward, engine, p->src, weights, p->bias, p->dst, p->attributes));
    else
        DNNL(dnnl_inner_product_forward_primitive_desc_create(&p->forward, engine, dnnl_forward_inference, p->src,
                                                              weights, p->bias, p->dst, p->attributes));
fail:
    return status;
}

/* Packs the weights of a product over K of `row` terms. */
static ecg_status pack_part(ecg_packed *dst, const void *src, const ecg_linear_spec *spec, int64_t K, int64_t row)
{
    op_parts p = {0};
    ecg_status status = make_parts(&p, NULL, spec, K, row);
    if (status == ECG_OK)
        status = pack_weights(dst, src, p.plain, weights_of(p.forward));
    dst->rows = spec->N, dst->columns = K;
    free_parts(&p);
    return status;
}

ecg_status ecg_pack_linear(ecg_packed *dst, const float *src, const ecg_linear_spec *spec)
{
    int64_t K = first_terms(spec);
    ECG_TRY(pack_part(dst, src, spec, K, spec->K));
    if (K == spec->K)
        return ECG_OK;
    const ecg_linear_spec rest = rest_of(spec);
    ECG_TRY(ecg_alloc_zeros((void **)&dst->rest, 1, sizeof *dst->rest));
    return pack_part(dst->rest, src + K, &rest, rest.K, spec->K);
}

/* *dst = a copy of n numbers. */
static ecg_status copy(float **dst, const float *src, int64_t n)
{
    ECG_TRY(ecg_alloc((void **)dst, (size_t)n * sizeof *src));
    memcpy(*dst, src, (size_t)n * sizeof *src);
    return ECG_OK;
}

ecg_status ecg_pack_numbers(ecg_packed *dst, const int8_t *numbers, const float *scales, const float *factors,
                            const ecg_linear_spec *spec)
{
    ecg_status status = ECG_OK;
    ecg_packed made = {0};
    ECG_TRY_GOTO(pack_part(&made, numbers, spec, spec->K, spec->K));
    ECG_TRY_GOTO(copy(&made.scales, scales, spec->N));
    ECG_TRY_GOTO(copy(&made.factors, factors, spec->K));
    ECG_TRY_GOTO(copy(&made.sums, scales, spec->N));
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < spec->N; n++)
        made.sums[n] *= (float)ecg_sum_s8(numbers + n * spec->K, spec->K);
    ecg_packed_free(dst);
    *dst = made;
    made = (ecg_packed){0};
fail:
    ecg_packed_free(&made);
    return status;
}

ecg_status ecg_pack_s8(ecg_packed *dst, const float *src, const float *factors, const ecg_linear_spec *spec)
{
    int64_t N = spec->N, K = spec->K;
    ecg_status status = ECG_OK;
    int8_t *numbers = NULL;
    float *scales = NULL, *row = NULL;
    ECG_TRY_GOTO(ecg_alloc((void **)&numbers, (size_t)(N * K)));
    ECG_TRY_GOTO(ecg_alloc((void **)&scales, (size_t)N * sizeof *scales));
    ECG_TRY_GOTO(ecg_alloc((void **)&row, (size_t)K * sizeof *row));
    for (int64_t k = 0; k < K; k++)
        row[k] = 1.f / factors[k];
    for (int64_t n = 0; n < N; n++)
        scales[n] = ecg_to_s8(numbers + n * K, src + n * K, row, K);
    ECG_TRY_GOTO(ecg_pack_numbers(dst, numbers, scales, factors, spec));
fail:
    ecg_free(numbers);
    ecg_free(scales);
    ecg_free(row);
    return status;
}

/* The fourth argument of an op of this spec. */
static op_operand operand_of(const ecg_linear_spec *s)
{
    if (s->weights == ECG_S8)
        return OP_SCALES;
    return s->bias ? OP_BIAS : s->after == ECG_MULTIPLY ? OP_FACTOR : OP_NONE;
}

static ecg_status op_part(ecg_op *op, const ecg_packed *weights, const ecg_linear_spec *spec, int64_t K, int64_t row)
{
    op_parts p = {0};
    ecg_status status = make_parts(&p, weights->desc, spec, K, row);
    if (status == ECG_OK)
        status = finish_forward(op, p.forward, operand_of(spec));
    free_parts(&p);
    return status;
}

ecg_status ecg_op_linear(ecg_op *op, const ecg_packed *weights, const ecg_linear_spec *spec)
{
    int64_t K = weights->columns;
    ECG_TRY(op_part(op, weights, spec, K, spec->K));
    if (!weights->rest)
        return ECG_OK;
    const ecg_linear_spec rest = rest_of(spec);
    op->rest_at = K;
    ECG_TRY(ecg_alloc_zeros((void **)&op->rest, 1, sizeof *op->rest));
    ECG_TRY(op_part(op->rest, weights->rest, &rest, rest.K, spec->K));
    if (op->rest->scratch_bytes > op->scratch_bytes)
        op->scratch_bytes = op->rest->scratch_bytes;
    return ECG_OK;
}

static ecg_status fresh_part(ecg_fresh_op *op, const ecg_linear_spec *spec, int64_t K, int64_t row)
{
    op_parts p = {0};
    ecg_status status = make_parts(&p, NULL, spec, K, row);
    if (status == ECG_OK)
        status = finish_forward(&op->run, p.forward, operand_of(spec));
    if (status == ECG_OK)
        status = finish_fresh(op, p.plain, weights_of(p.forward));
    free_parts(&p);
    return status;
}

ecg_status ecg_fresh_linear(ecg_fresh_op *op, const ecg_linear_spec *spec)
{
    int64_t K = first_terms(spec);
    ECG_TRY(fresh_part(op, spec, K, spec->K));
    if (K == spec->K)
        return ECG_OK;
    const ecg_linear_spec rest = rest_of(spec);
    op->run.rest_at = K;
    ECG_TRY(ecg_alloc_zeros((void **)&op->rest, 1, sizeof *op->rest));
    ECG_TRY(fresh_part(op->rest, &rest, rest.K, spec->K));
    if (op->rest->scratch_bytes > op->scratch_bytes)
        op->scratch_bytes = op->rest->scratch_bytes;
    if (op->rest->packed_bytes > op->packed_bytes)
        op->packed_bytes = op->rest->packed_bytes;
    return ECG_OK;
}

ecg_status ecg_fresh_linear_backward(ecg_fresh_op *op, const ecg_linear_spec *spec, ecg_after after)
{
    ecg_linear_spec back = {.M = spec->M,
                            .K = spec->N,
                            .N = spec->K,
                            .src = spec->weights,
                            .weights = spec->weights,
                            .dst = spec->diff_src,
                            .transposed = true,
                            .after = after};
    return ecg_fresh_linear(op, &back);
}

/* A matrix product with the gradient described as transposed and a sum into the destination: 80 to 84 % of
 * what the processor does, against 34 to 61 % of the inner product's own backward primitive. */
ecg_status ecg_op_linear_gradient(ecg_op *op, const ecg_linear_spec *spec, bool add)
{
    ecg_status status = ECG_OK;
    op_parts p = {0};
    ECG_TRY_GOTO(begin_parts(&p));
    ECG_TRY_GOTO(make_desc(&p.src, spec->weights, 2, DIMS(spec->N, spec->M), dnnl_ba)); /* diff_dst */
    ECG_TRY_GOTO(make_desc(&p.weights, spec->src, 2, DIMS(spec->M, spec->K), dnnl_ab));
    ECG_TRY_GOTO(make_desc(&p.dst, ECG_F32, 2, DIMS(spec->N, spec->K), dnnl_ab));
    ECG_TRY_GOTO(set_after(p.attributes, add ? ECG_ADD : ECG_WRITE, false, p.dst));
    DNNL(dnnl_matmul_primitive_desc_create(&p.forward, engine, p.src, p.weights, NULL, p.dst, p.attributes));
    ECG_TRY_GOTO(finish_forward(op, p.forward, OP_NONE));
fail:
    free_parts(&p);
    return status;
}

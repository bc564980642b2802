/* oneDNN behind one small interface: a prepared operation ("op") for each primitive that the network uses, made from a
 * spec (sizes and types), and weights packed into the layout that the processor likes. Nothing outside csrc/onednn sees
 * dnnl.h. All tensors are dense unless a comment says otherwise; weights come and go in float32, row-major. */
#ifndef ECG_ONEDNN_OPS_H
#define ECG_ONEDNN_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../base/dtype.h"
#include "../base/status.h"

/* The order in which operations run, one after another. Not shared between threads. */
typedef struct ecg_stream ecg_stream;
ecg_status ecg_stream_create(ecg_stream **dst);
void ecg_stream_destroy(ecg_stream *stream);

/* The version of the library in use, such as "3.2.0", and the instruction set that it uses. */
void ecg_onednn_version(char *dst, size_t size);
const char *ecg_onednn_isa(void);

/* ---- specs ---- */

/* What becomes of a result: it is written, added to what is there, or written times a factor of its shape. */
typedef enum { ECG_WRITE, ECG_ADD, ECG_MULTIPLY } ecg_after;

/* Whether the processor has instructions for products of this type. */
bool ecg_dtype_supported(ecg_dtype type);

/* Whether products of bfloat16 are faster than those of float32. With AVX-512 alone Intel's processors do half as many
 * of them in the same time (measured), AMD's twice as many. */
bool ecg_bfloat16_gains(void);

/* Sums over at least so many terms in float32 are made in two products, the second added to the first, since the
 * rounding of a sum grows with its length (relative, K = 3072: 5.8e-7 in one, 3.6e-7 in two, as MKL's; no slower). */
#define ECG_LONG_SUM 2048

/* dst (M, N) = [GELU of] (src (M, K) weights (N, K)^T [+ bias (N)]), a bias in float32. With int8 weights, which have
 * a scale for each of the N, src is uint8 and dst float32: the product of the numbers as they are times that scale. */
typedef struct {
    int64_t M, K, N;
    ecg_dtype src, weights, dst;
    ecg_dtype diff_src; /* of a backward; that of dst comes in the type of the weights */
    bool bias, gelu;
    bool transposed; /* the weights lie in memory as (K, N) */
    ecg_after after;
} ecg_linear_spec;

/* dst (batch, dst_steps, O) = grouped convolution over time of src (batch, src_steps, I) with weights (O, I/groups,
 * kernel) [+ bias (O)], then GELU where the spec says so. */
typedef struct {
    int64_t batch, src_steps, src_channels, dst_channels, groups, kernel, stride, pad_left, pad_right;
    ecg_dtype src, weights, dst;
    bool bias, gelu;
} ecg_conv_spec;

/* Steps of the result; at least 1 for a spec that an op can be made of. */
int64_t ecg_conv_dst_steps(const ecg_conv_spec *spec);

/* ---- weights that stay ---- */

/* Weights in the layout that oneDNN chose for them; owned. A zeroed struct is empty and may be freed. */
typedef struct ecg_packed {
    void *data;
    size_t bytes;
    void *desc;  /* dnnl_memory_desc_t of the packed layout */
    void *plain; /* dnnl_memory_desc_t of the row-major layout */
    /* Of int8 weights, else NULL: a weight is the number times the scale of its row, times the factor of its column,
     * by which what it is multiplied with is multiplied before it is rounded. */
    float *scales;  /* (rows) */
    float *factors; /* (columns) */
    float *sums;    /* (rows): of the numbers of a row, times its scale */
    int64_t rows, columns;
    struct ecg_packed *rest; /* of a linear layer in two products: the second half of the columns; else NULL */
} ecg_packed;

void ecg_packed_free(ecg_packed *packed);

/* dst = `src` packed for ops of this spec. The layout is best for its number of rows, or its batch; any other works. */
ecg_status ecg_pack_linear(ecg_packed *dst, const float *src, const ecg_linear_spec *spec);

/* The same of int8 weights. From float32, with the factors of the columns; or from numbers that were so made. */
ecg_status ecg_pack_s8(ecg_packed *dst, const float *src, /* (N, K) */
                       const float *factors,              /* (K) */
                       const ecg_linear_spec *spec);
ecg_status ecg_pack_numbers(ecg_packed *dst, const int8_t *numbers,    /* (N, K) */
                            const float *scales, const float *factors, /* (N), (K) */
                            const ecg_linear_spec *spec);

/* The numbers of int8 weights in row-major order. */
ecg_status ecg_unpack_numbers(int8_t *dst, const ecg_packed *packed); /* (N, K) */
ecg_status ecg_pack_conv(ecg_packed *dst, const float *src, const ecg_conv_spec *spec);

/* dst = the packed weights in row-major order again; to the bit, where they are float32, else as they were rounded. */
ecg_status ecg_unpack(float *dst, const ecg_packed *packed);

/* ---- operations ---- */

/* A prepared operation. A zeroed struct is empty and may be freed. Running it allocates nothing; it may not run on two
 * threads at once. `scratch` of its run functions is `scratch_bytes` long. A convolution for whose spec oneDNN has no
 * good code with the packed layout holds a copy in another one, so such an op belongs to the weights that it was made
 * with; a linear op runs with any weights of its spec. */
typedef struct ecg_op {
    void *primitive;
    ecg_packed own; /* empty in the usual case */
    void *memories[6];
    int arguments[6];
    int count;
    size_t scratch_bytes;
    char implementation[48];
    struct ecg_op *rest; /* the second product of a linear layer, which is added to the first; else NULL */
    int64_t rest_at;     /* its first term */
} ecg_op;

void ecg_op_free(ecg_op *op);

/* On packed weights. */
ecg_status ecg_op_linear(ecg_op *op, const ecg_packed *weights, const ecg_linear_spec *spec);
ecg_status ecg_op_conv(ecg_op *op, const ecg_packed *weights, const ecg_conv_spec *spec);

/* The run of either; bias is NULL where the op has none. */
ecg_status ecg_op_run(ecg_op *op, ecg_stream *stream, void *dst, const void *src, const ecg_packed *weights,
                      const void *bias, void *scratch);

/* diff_weights (N, K) float32 = diff_dst (M, N)^T src (M, K), or += with `add`. The spec is that of the forward. */
ecg_status ecg_op_linear_gradient(ecg_op *op, const ecg_linear_spec *spec, bool add);

/* The run of either of these two: `weights` is the src of a gradient, whose `src` is diff_dst. */
ecg_status ecg_op_product_run(ecg_op *op, ecg_stream *stream, void *dst, const void *src, const void *weights,
                              void *scratch);

/* ---- weights that change from step to step ---- */

/* An operation that packs its float32 weights on each run, into memory of the caller that is `packed_bytes` long.
 * A zeroed struct is empty and may be freed. */
typedef struct ecg_fresh_op {
    ecg_op pack, run;
    size_t packed_bytes;
    size_t scratch_bytes;      /* of both */
    struct ecg_fresh_op *rest; /* as that of an op; run.rest_at is its first term */
} ecg_fresh_op;

void ecg_fresh_free(ecg_fresh_op *op);

/* Forward, and diff_src of diff_dst; the spec is that of the forward. */
ecg_status ecg_fresh_linear(ecg_fresh_op *op, const ecg_linear_spec *spec);
ecg_status ecg_fresh_linear_backward(ecg_fresh_op *op, const ecg_linear_spec *spec, ecg_after after);
ecg_status ecg_fresh_conv(ecg_fresh_op *op, const ecg_conv_spec *spec);
ecg_status ecg_fresh_conv_backward(ecg_fresh_op *op, const ecg_conv_spec *spec);

/* The run of any of these; `operand` is the bias or the factor, NULL where the op has neither. */
ecg_status ecg_fresh_run(ecg_fresh_op *op, ecg_stream *stream, void *dst, const void *src, const float *weights,
                         const void *operand, void *packed, void *scratch);

/* diff_weights of a convolution, float32 and row-major: added to what is there, or in its place. */
ecg_status ecg_fresh_conv_gradient(ecg_fresh_op *op, const ecg_conv_spec *spec, bool add);
ecg_status ecg_fresh_conv_gradient_run(ecg_fresh_op *op, ecg_stream *stream, float *diff_weights, const void *diff_dst,
                                       const void *src, void *packed, void *scratch);

#endif

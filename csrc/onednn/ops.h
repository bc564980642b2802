/* oneDNN behind one small interface: a prepared operation ("op") for each primitive that the network
 * uses, and weights packed once into the layout that the processor likes. Nothing outside csrc/onednn
 * sees dnnl.h. All tensors are float32 and dense unless a comment says otherwise. */
#ifndef ECG_ONEDNN_OPS_H
#define ECG_ONEDNN_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../base/status.h"

/* The order in which operations run, one after another. Not shared between threads. */
typedef struct ecg_stream ecg_stream;
ecg_status ecg_stream_create(ecg_stream **dst);
void ecg_stream_destroy(ecg_stream *stream);

/* Weights in the layout that oneDNN chose for them; owned. A zeroed struct is empty and may be freed. */
typedef struct {
    void *data;
    size_t bytes;
    void *desc;  /* dnnl_memory_desc_t of the packed layout */
    void *plain; /* dnnl_memory_desc_t of the row-major layout */
} ecg_packed;

void ecg_packed_free(ecg_packed *packed);

/* dst = `src` packed for ecg_op_linear: src (N, K) row-major, as checkpoints store linear layers.
 * `rows` is the number of rows that the layout is best for; any number works. */
ecg_status ecg_pack_linear(ecg_packed *dst, const float *src, int64_t N, int64_t K, int64_t rows);

/* Shape of a one-dimensional grouped convolution over time, channels last. */
typedef struct {
    int64_t batch, src_steps, src_channels, dst_channels, groups, kernel, stride, pad_left, pad_right;
} ecg_conv_shape;

/* Steps of the result; at least 1 for a shape that an op can be made of. */
int64_t ecg_conv_dst_steps(const ecg_conv_shape *shape);

/* dst = `src` packed for ecg_op_conv: src (O, I/groups, kernel) row-major. */
ecg_status ecg_pack_conv(ecg_packed *dst, const float *src, const ecg_conv_shape *shape);

/* dst = the packed weights in row-major order again, to the bit. */
ecg_status ecg_unpack(float *dst, const ecg_packed *packed);

/* A prepared operation. A zeroed struct is empty and may be freed. Running it allocates nothing; it may
 * not run on two threads at once. `scratch` of its run functions is `scratch_bytes` long. A
 * convolution for whose shape oneDNN has no good code with the packed layout holds a copy in another one, so
 * such an op belongs to the weights that it was made with; a linear op runs with any weights of its shape. */
typedef struct {
    void *primitive;
    ecg_packed own; /* empty in the usual case */
    void *memories[6];
    int arguments[6];
    int count;
    size_t scratch_bytes;
    char implementation[48];
} ecg_op;

void ecg_op_free(ecg_op *op);

/* dst (M, N) = src (M, K) weights^T + bias (N), weights packed by ecg_pack_linear. */
ecg_status ecg_op_linear(ecg_op *op, const ecg_packed *weights, int64_t M, int64_t K, int64_t N);

/* dst (batch, dst_steps, O) = conv(src (batch, src_steps, I)) [+ bias (O)], weights packed by ecg_pack_conv. */
ecg_status ecg_op_conv(ecg_op *op, const ecg_packed *weights, const ecg_conv_shape *shape, bool bias);

/* Runs any op: `data` are its tensors in the order in which it was made, dst first. */
ecg_status ecg_op_execute(ecg_op *op, ecg_stream *stream, void *const *data, void *scratch);

/* The run of either of the two above; bias is NULL where the op has none. */
ecg_status ecg_op_run(ecg_op *op, ecg_stream *stream, float *dst, const float *src, const ecg_packed *weights,
                      const float *bias, void *scratch);

/* A batch of B x H matrix products on strided views: dst[b,h] (M, N) = src[b,h] (M, K) weights[b,h] (K, N).
 * Element (b, h, i, j) of each operand lies at base + b*s[0] + h*s[1] + i*s[2] + j*s[3]. */
typedef struct {
    int64_t B, H, M, K, N;
    int64_t src[4], weights[4], dst[4]; /* strides in elements */
} ecg_matmul_shape;

ecg_status ecg_op_matmul(ecg_op *op, const ecg_matmul_shape *shape);
ecg_status ecg_op_matmul_run(ecg_op *op, ecg_stream *stream, float *dst, const float *src, const float *weights,
                             void *scratch);

/* ---- training.c: weights that change from step to step ---- */

/* An operation that packs its weights on each run, into memory of the caller that is `packed_bytes` long.
 * A zeroed struct is empty and may be freed. */
typedef struct {
    ecg_op pack, run;
    size_t packed_bytes;
    size_t scratch_bytes; /* of both */
} ecg_fresh_op;

void ecg_fresh_free(ecg_fresh_op *op);

/* dst (M, N) = src (M, K) weights^T + bias, weights (N, K) row-major. */
ecg_status ecg_fresh_linear(ecg_fresh_op *op, int64_t M, int64_t K, int64_t N);

/* What becomes of a result: it is written, added to what is there, or written times a factor of its shape. */
typedef enum { ECG_WRITE, ECG_ADD, ECG_MULTIPLY } ecg_after;

/* diff_src (M, K) = diff_dst (M, N) weights, weights (N, K) row-major; or as `after` says. */
ecg_status ecg_fresh_linear_backward(ecg_fresh_op *op, int64_t M, int64_t K, int64_t N, ecg_after after);

/* The convolution of ecg_op_conv, weights (O, I/groups, kernel) row-major; and diff_src of diff_dst. */
ecg_status ecg_fresh_conv(ecg_fresh_op *op, const ecg_conv_shape *shape, bool bias);
ecg_status ecg_fresh_conv_backward(ecg_fresh_op *op, const ecg_conv_shape *shape);

/* The run of any of these; `operand` is the bias or the factor, NULL where the op has neither. */
ecg_status ecg_fresh_run(ecg_fresh_op *op, ecg_stream *stream, float *dst, const float *src, const float *weights,
                         const float *operand, void *packed, void *scratch);

/* diff_weights (N, K) = diff_dst (M, N)^T src (M, K), or += with `add`. */
ecg_status ecg_op_linear_gradient(ecg_op *op, int64_t M, int64_t K, int64_t N, bool add);
ecg_status ecg_op_linear_gradient_run(ecg_op *op, ecg_stream *stream, float *diff_weights, const float *diff_dst,
                                      const float *src, void *scratch);

/* diff_weights (O, I/groups, kernel) of a convolution, row-major: added to what is there, or in its place. */
ecg_status ecg_fresh_conv_gradient(ecg_fresh_op *op, const ecg_conv_shape *shape, bool add);
ecg_status ecg_fresh_conv_gradient_run(ecg_fresh_op *op, ecg_stream *stream, float *diff_weights, const float *diff_dst,
                                       const float *src, void *packed, void *scratch);

/* The version of the library in use, such as "3.2.0", and the instruction set that it uses. */
void ecg_onednn_version(char *dst, size_t size);
const char *ecg_onednn_isa(void);

#endif

/* What the files of this room share. */
#ifndef ECG_ONEDNN_INTERNAL_H
#define ECG_ONEDNN_INTERNAL_H

#include <oneapi/dnnl/dnnl.h>

#include "ops.h"

struct ecg_stream {
    dnnl_stream_t handle;
};

/* One engine for the process: it holds no threads and is valid after fork(). Use it after get_engine, which also
 * fails where there is not enough memory to make anything with it. */
extern dnnl_engine_t engine;
ecg_status get_engine(void);

/* dnnl_primitive_create, which is never begun with too little memory, and works again after memory ran out in it. */
ecg_status create_primitive(dnnl_primitive_t *dst, const_dnnl_primitive_desc_t desc);

/* The status and message of a oneDNN call that failed. */
ecg_status onednn_fail(dnnl_status_t status, const char *call);

/* Calls oneDNN; on failure keeps the message and jumps to `fail:` with `status` set. */
#define DNNL(call)                                     \
    do {                                               \
        dnnl_status_t dnnl_status_ = (call);           \
        if (dnnl_status_ != dnnl_success) {            \
            status = onednn_fail(dnnl_status_, #call); \
            goto fail;                                 \
        }                                              \
    } while (0)

/* Attributes: the caller's scratchpad, so that running an op allocates nothing. */
ecg_status make_attributes(dnnl_primitive_attr_t *dst);

/* The name of the implementation behind a primitive descriptor; empty if it has none. */
const char *implementation_of(const_dnnl_primitive_desc_t desc);

/* The descriptor of dst (M, N) = src (M, K) weights (N, K)^T [+ bias], and what becomes of it; weights NULL lets
 * oneDNN choose their layout. */
ecg_status linear_desc(dnnl_primitive_desc_t *dst, const_dnnl_memory_desc_t weights, int64_t M, int64_t K, int64_t N,
                       bool bias, ecg_after after);

/* Attributes with the post-op that `after` says, for a result of this descriptor. */
ecg_status set_after(dnnl_primitive_attr_t attributes, ecg_after after, const_dnnl_memory_desc_t dst);

/* The descriptor of a convolution over (batch, steps, channels); weights NULL lets oneDNN choose their layout. */
ecg_status conv_desc(dnnl_primitive_desc_t *dst, const_dnnl_memory_desc_t weights, const ecg_conv_shape *shape,
                     bool bias);

/* The row-major layout of a linear layer's weights (N, K), as its descriptor counts the axes; with `transposed`
 * that of weights that lie in memory as (K, N). */
ecg_status plain_linear_weights(dnnl_memory_desc_t *dst, int64_t K, int64_t N, bool transposed);

/* The row-major layout of a convolution's weights. */
ecg_status plain_conv_weights(dnnl_memory_desc_t *dst, const ecg_conv_shape *shape);

/* Adds a memory object without data for an argument of the op. */
ecg_status add_argument(ecg_op *op, int argument, const_dnnl_memory_desc_t desc);

typedef struct {
    int argument; /* DNNL_ARG_... */
    const_dnnl_memory_desc_t desc;
} ecg_argument;

/* Fills an op from a primitive descriptor; its data are the arguments in this order, then the scratchpad. */
ecg_status finish_op(ecg_op *op, const_dnnl_primitive_desc_t desc, const ecg_argument *arguments, int count);

/* The same for a forward primitive: dst, src, weights, [bias]. */
ecg_status finish_forward(ecg_op *op, const_dnnl_primitive_desc_t desc, bool bias);

#endif

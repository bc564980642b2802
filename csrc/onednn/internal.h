/* What the files of this room share. */
#ifndef ECG_ONEDNN_INTERNAL_H
#define ECG_ONEDNN_INTERNAL_H

#include <oneapi/dnnl/dnnl.h>

#include "ops.h"

struct ecg_stream {
    dnnl_stream_t handle;
};

/* ---- engine.c ---- */

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

/* ---- op.c: what an op is made of ---- */

typedef struct {
    dnnl_memory_desc_t src, weights, bias, dst; /* weights: in a layout that oneDNN may choose */
    dnnl_memory_desc_t plain;                   /* the row-major layout of the weights */
    dnnl_primitive_attr_t attributes;
    dnnl_primitive_desc_t forward, backward;
} op_parts;

/* Zeroes the parts and makes the attributes: the caller's scratchpad, so that running an op allocates nothing. Free
 * them in any case. */
ecg_status begin_parts(op_parts *parts);
void free_parts(op_parts *parts);

/* A tensor of a type in a layout. */
#define DIMS(...) ((const dnnl_dims_t){__VA_ARGS__})
ecg_status make_desc(dnnl_memory_desc_t *dst, ecg_dtype type, int ndim, const dnnl_dims_t dims, dnnl_format_tag_t tag);
ecg_status make_strided(dnnl_memory_desc_t *dst, ecg_dtype type, int ndim, const dnnl_dims_t dims,
                        const dnnl_dims_t strides);

/* Attributes with the post-op that `after` says, for a result of this descriptor, and GELU. */
ecg_status set_after(dnnl_primitive_attr_t attributes, ecg_after after, bool gelu, const_dnnl_memory_desc_t dst);

/* The layouts that a primitive descriptor has chosen. */
const_dnnl_memory_desc_t weights_of(const_dnnl_primitive_desc_t desc);

/* The name of the implementation behind a primitive descriptor; empty if it has none. */
const char *implementation_of(const_dnnl_primitive_desc_t desc);

typedef struct {
    int argument; /* DNNL_ARG_... */
    const_dnnl_memory_desc_t desc;
} op_argument;

/* Fills an op from a primitive descriptor; its data are the arguments in this order, then the scratchpad. */
ecg_status finish_op(ecg_op *op, const_dnnl_primitive_desc_t desc, const op_argument *arguments, int count);

/* The same for a forward primitive: dst, src, weights, and `operand`: OP_BIAS, OP_FACTOR of ECG_MULTIPLY, OP_SCALES of
 * the weights, or OP_NONE. */
typedef enum { OP_NONE, OP_BIAS, OP_FACTOR, OP_SCALES } op_operand;
ecg_status finish_forward(ecg_op *op, const_dnnl_primitive_desc_t desc, op_operand operand);

/* Completes a fresh op whose run is made: packing `plain` weights to what the run takes; or, of a gradient, the way
 * back. */
ecg_status finish_fresh(ecg_fresh_op *op, const_dnnl_memory_desc_t plain, const_dnnl_memory_desc_t packed);
ecg_status finish_gradient(ecg_fresh_op *op, const_dnnl_memory_desc_t plain, const_dnnl_memory_desc_t packed, bool add);

/* Packs `src` (row-major, of the type of `plain`) as `chosen` says; takes over neither descriptor. */
ecg_status pack_weights(ecg_packed *dst, const void *src, const_dnnl_memory_desc_t plain,
                        const_dnnl_memory_desc_t chosen);

/* Runs any op: `data` are its tensors in the order in which it was made. */
ecg_status execute_op(ecg_op *op, ecg_stream *stream, void *const *data, void *scratch);

#endif

/* Convolutions over time, channels last: forward, gradient of the source, gradient of the weights. */
#include <string.h>

#include "../base/memory.h"
#include "internal.h"

int64_t ecg_conv_dst_steps(const ecg_conv_spec *spec)
{
    int64_t span = spec->src_steps + spec->pad_left + spec->pad_right - spec->kernel;
    return span < 0 ? 0 : span / spec->stride + 1;
}

/* The strides and paddings, as all three descriptors take them. */
#define WINDOW(s) DIMS(s->stride), DIMS(0), DIMS(s->pad_left), DIMS(s->pad_right)

/* The parts of a convolution, for a forward alone or for its backward; weights NULL lets oneDNN choose their layout.
 * The channels-last layout is forced: left to itself oneDNN may take a fallback several times slower. */
static ecg_status make_parts(op_parts *p, const_dnnl_memory_desc_t weights, const ecg_conv_spec *s,
                             dnnl_prop_kind_t propagation)
{
    ecg_status status = ECG_OK;
    int64_t I = s->src_channels, O = s->dst_channels, groups = s->groups;
    int ndim = groups == 1 ? 3 : 4;
    const dnnl_dims_t grouped = {groups, O / groups, I / groups, s->kernel}, single = {O, I, s->kernel};
    const dnnl_dim_t *shape = groups == 1 ? single : grouped;
    ECG_TRY(begin_parts(p));
    ECG_TRY(make_desc(&p->src, s->src, 3, DIMS(s->batch, I, s->src_steps), dnnl_nwc));
    ECG_TRY(make_desc(&p->weights, s->weights, ndim, shape, dnnl_format_tag_any));
    ECG_TRY(make_desc(&p->plain, ECG_F32, ndim, shape, groups == 1 ? dnnl_abc : dnnl_abcd));
    if (s->bias && propagation == dnnl_forward_inference)
        ECG_TRY(make_desc(&p->bias, ECG_F32, 1, DIMS(O), dnnl_a));
    ECG_TRY(make_desc(&p->dst, s->dst, 3, DIMS(s->batch, O, ecg_conv_dst_steps(s)), dnnl_nwc));
    ECG_TRY(set_after(p->attributes, ECG_WRITE, s->gelu, p->dst));
    DNNL(dnnl_convolution_forward_primitive_desc_create(&p->forward, engine, propagation, dnnl_convolution_direct,
                                                        p->src, weights ? weights : p->weights, p->bias, p->dst,
                                                        WINDOW(s), p->attributes));
fail:
    return status;
}

ecg_status ecg_pack_conv(ecg_packed *dst, const float *src, const ecg_conv_spec *spec)
{
    op_parts p = {0};
    ecg_status status = make_parts(&p, NULL, spec, dnnl_forward_inference);
    if (status == ECG_OK)
        status = pack_weights(dst, src, p.plain, weights_of(p.forward));
    free_parts(&p);
    return status;
}

/* *dst = the weights in another layout, by way of the row-major one: oneDNN is slow between two packed ones. */
static ecg_status repack(ecg_packed *dst, const ecg_packed *weights, const_dnnl_memory_desc_t layout)
{
    void *rows = NULL;
    ecg_status status = ecg_alloc(&rows, dnnl_memory_desc_get_size(weights->plain));
    if (status == ECG_OK)
        status = ecg_unpack(rows, weights);
    if (status == ECG_OK)
        status = pack_weights(dst, rows, weights->plain, layout);
    ecg_free(rows);
    return status;
}

/* Fills a convolution. `free_choice` is its descriptor where oneDNN chooses the layout of
 * the weights, `packed` the one with the layout that they have. The choice may depend on the batch and the
 * number of threads (an AVX-512 convolution with 48 channels a group: 48 at once for one segment, 32 for
 * more), and a layout that is not the choice may lead to code that is a thousand times slower. */
static ecg_status finish_conv(ecg_op *op, const_dnnl_primitive_desc_t free_choice, const_dnnl_primitive_desc_t packed,
                              const ecg_packed *weights, bool bias)
{
    const_dnnl_memory_desc_t chosen = weights_of(free_choice);
    if (dnnl_memory_desc_equal(chosen, weights->desc) ||
        (packed && strcmp(implementation_of(packed), implementation_of(free_choice)) == 0))
        return finish_forward(op, packed ? packed : free_choice, bias ? OP_BIAS : OP_NONE);
    ecg_packed own = {0};
    ECG_TRY(repack(&own, weights, chosen));
    ecg_status status = finish_forward(op, free_choice, bias ? OP_BIAS : OP_NONE);
    if (status != ECG_OK)
        ecg_packed_free(&own);
    else
        op->own = own;
    return status;
}

ecg_status ecg_op_conv(ecg_op *op, const ecg_packed *weights, const ecg_conv_spec *spec)
{
    op_parts free_choice = {0}, packed = {0};
    ecg_status status = make_parts(&free_choice, NULL, spec, dnnl_forward_inference);
    if (status == ECG_OK && make_parts(&packed, weights->desc, spec, dnnl_forward_inference) == ECG_NO_MEMORY)
        status = ECG_NO_MEMORY;
    if (status == ECG_OK)
        status = finish_conv(op, free_choice.forward, packed.forward, weights, spec->bias);
    free_parts(&free_choice);
    free_parts(&packed);
    return status;
}

ecg_status ecg_fresh_conv(ecg_fresh_op *op, const ecg_conv_spec *spec)
{
    op_parts p = {0};
    ecg_status status = make_parts(&p, NULL, spec, dnnl_forward_inference);
    if (status == ECG_OK)
        status = finish_forward(&op->run, p.forward, spec->bias ? OP_BIAS : OP_NONE);
    if (status == ECG_OK)
        status = finish_fresh(op, p.plain, weights_of(p.forward));
    free_parts(&p);
    return status;
}

ecg_status ecg_fresh_conv_backward(ecg_fresh_op *op, const ecg_conv_spec *spec)
{
    ecg_status status = ECG_OK;
    op_parts p = {0};
    ECG_TRY_GOTO(make_parts(&p, NULL, spec, dnnl_forward_training));
    DNNL(dnnl_convolution_backward_data_primitive_desc_create(&p.backward, engine, dnnl_convolution_direct, p.src,
                                                              p.weights, p.dst, WINDOW(spec), p.forward, p.attributes));
    const_dnnl_memory_desc_t packed = weights_of(p.backward);
    op_argument arguments[3] = {{DNNL_ARG_DIFF_SRC, p.src}, {DNNL_ARG_DIFF_DST, p.dst}, {DNNL_ARG_WEIGHTS, packed}};
    ECG_TRY_GOTO(finish_op(&op->run, p.backward, arguments, 3));
    ECG_TRY_GOTO(finish_fresh(op, p.plain, packed));
fail:
    free_parts(&p);
    return status;
}

ecg_status ecg_fresh_conv_gradient(ecg_fresh_op *op, const ecg_conv_spec *spec, bool add)
{
    ecg_status status = ECG_OK;
    op_parts p = {0};
    ECG_TRY_GOTO(make_parts(&p, NULL, spec, dnnl_forward_training));
    DNNL(dnnl_convolution_backward_weights_primitive_desc_create(&p.backward, engine, dnnl_convolution_direct, p.src,
                                                                 p.weights, NULL, p.dst, WINDOW(spec), p.forward,
                                                                 p.attributes));
    const_dnnl_memory_desc_t packed = dnnl_primitive_desc_query_md(p.backward, dnnl_query_diff_weights_md, 0);
    op_argument arguments[3] = {{DNNL_ARG_DIFF_WEIGHTS, packed}, {DNNL_ARG_DIFF_DST, p.dst}, {DNNL_ARG_SRC, p.src}};
    ECG_TRY_GOTO(finish_op(&op->run, p.backward, arguments, 3));
    ECG_TRY_GOTO(finish_gradient(op, p.plain, packed, add));
fail:
    free_parts(&p);
    return status;
}

ecg_status ecg_fresh_conv_gradient_run(ecg_fresh_op *op, ecg_stream *stream, float *diff_weights, const void *diff_dst,
                                       const void *src, void *packed, void *scratch)
{
    ECG_TRY(execute_op(&op->run, stream, (void *const[]){packed, (void *)diff_dst, (void *)src}, scratch));
    return execute_op(&op->pack, stream, (void *const[]){diff_weights, packed}, scratch);
}

#include "internal.h"

#include <stdio.h>
#include <string.h>

#include "../base/memory.h"

/* ---- packed weights -------------------------------------------------------------------------- */

void ecg_packed_free(ecg_packed *packed)
{
    ecg_free(packed->data);
    if (packed->desc)
        dnnl_memory_desc_destroy(packed->desc);
    if (packed->plain)
        dnnl_memory_desc_destroy(packed->plain);
    memset(packed, 0, sizeof *packed);
}

/* dst_data in the layout dst = src_data in the layout src. */
static ecg_status reorder(const_dnnl_memory_desc_t dst, void *dst_data, const_dnnl_memory_desc_t src, void *src_data)
{
    ecg_status status = ECG_OK;
    dnnl_primitive_desc_t desc = NULL;
    dnnl_primitive_t primitive = NULL;
    dnnl_memory_t from = NULL, to = NULL;
    ecg_stream *stream = NULL;
    ECG_TRY_GOTO(ecg_stream_create(&stream));
    DNNL(dnnl_reorder_primitive_desc_create(&desc, src, engine, dst, engine, NULL));
    ECG_TRY_GOTO(create_primitive(&primitive, desc));
    DNNL(dnnl_memory_create(&from, src, engine, src_data));
    DNNL(dnnl_memory_create(&to, dst, engine, dst_data));
    dnnl_exec_arg_t arguments[2] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
    DNNL(dnnl_primitive_execute(primitive, stream->handle, 2, arguments));
    DNNL(dnnl_stream_wait(stream->handle));
fail:
    dnnl_memory_destroy(from);
    dnnl_memory_destroy(to);
    dnnl_primitive_destroy(primitive);
    dnnl_primitive_desc_destroy(desc);
    ecg_stream_destroy(stream);
    return status;
}

/* Packs `src` (row-major, `plain`) as `chosen` says; takes over neither descriptor. */
static ecg_status pack(ecg_packed *dst, const float *src, const_dnnl_memory_desc_t plain,
                       const_dnnl_memory_desc_t chosen)
{
    ecg_status status = ECG_OK;
    ecg_packed made = {0};
    DNNL(dnnl_memory_desc_clone((dnnl_memory_desc_t *)&made.desc, chosen));
    DNNL(dnnl_memory_desc_clone((dnnl_memory_desc_t *)&made.plain, plain));
    made.bytes = dnnl_memory_desc_get_size(chosen);
    ECG_TRY_GOTO(ecg_alloc(&made.data, made.bytes));
    ECG_TRY_GOTO(reorder(chosen, made.data, plain, (void *)src));
    ecg_packed_free(dst);
    *dst = made;
    return ECG_OK;
fail:
    ecg_packed_free(&made);
    return status;
}

ecg_status ecg_unpack(float *dst, const ecg_packed *packed)
{
    return reorder(packed->plain, dst, packed->desc, packed->data);
}

/* ---- primitives ------------------------------------------------------------------------------ */

ecg_status make_attributes(dnnl_primitive_attr_t *dst)
{
    ecg_status status = ECG_OK;
    DNNL(dnnl_primitive_attr_create(dst));
    DNNL(dnnl_primitive_attr_set_scratchpad_mode(*dst, dnnl_scratchpad_mode_user));
fail:
    return status;
}

/* Which primitive a linear layer is. With AVX-512 a matrix product is up to 6 % faster than an inner product
 * (one segment on one thread; the others 1 to 2 %); with AVX2 it falls to 50-90 % of what the processor does
 * at the 156 rows of one segment, where the inner product keeps 93-97 % (measured). */
static bool linear_is_matmul(void)
{
    return (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core;
}

ecg_status plain_linear_weights(dnnl_memory_desc_t *dst, int64_t K, int64_t N, bool transposed)
{
    ecg_status status = ECG_OK;
    if (linear_is_matmul())
        DNNL(dnnl_memory_desc_create_with_tag(dst, 2, (dnnl_dims_t){K, N}, dnnl_f32, transposed ? dnnl_ab : dnnl_ba));
    else
        DNNL(dnnl_memory_desc_create_with_tag(dst, 2, (dnnl_dims_t){N, K}, dnnl_f32, transposed ? dnnl_ba : dnnl_ab));
fail:
    return status;
}

ecg_status set_after(dnnl_primitive_attr_t attributes, ecg_after after, const_dnnl_memory_desc_t dst)
{
    ecg_status status = ECG_OK;
    dnnl_post_ops_t post_ops = NULL;
    if (after == ECG_WRITE)
        return ECG_OK;
    DNNL(dnnl_post_ops_create(&post_ops));
    if (after == ECG_ADD)
        DNNL(dnnl_post_ops_append_sum(post_ops, 1.f, 0, dnnl_data_type_undef));
    else
        DNNL(dnnl_post_ops_append_binary(post_ops, dnnl_binary_mul, dst));
    DNNL(dnnl_primitive_attr_set_post_ops(attributes, post_ops));
fail:
    dnnl_post_ops_destroy(post_ops);
    return status;
}

ecg_status linear_desc(dnnl_primitive_desc_t *dst, const_dnnl_memory_desc_t weights, int64_t M, int64_t K, int64_t N,
                       bool bias, ecg_after after)
{
    ecg_status status = ECG_OK;
    dnnl_memory_desc_t src_desc = NULL, any_desc = NULL, bias_desc = NULL, dst_desc = NULL;
    dnnl_primitive_attr_t attributes = NULL;
    bool matmul = linear_is_matmul();
    int64_t rows = matmul ? K : N, columns = matmul ? N : K;
    *dst = NULL;
    ECG_TRY(get_engine());
    ECG_TRY_GOTO(make_attributes(&attributes));
    DNNL(dnnl_memory_desc_create_with_tag(&src_desc, 2, (dnnl_dims_t){M, K}, dnnl_f32, dnnl_ab));
    DNNL(dnnl_memory_desc_create_with_tag(&any_desc, 2, (dnnl_dims_t){rows, columns}, dnnl_f32, dnnl_format_tag_any));
    DNNL(dnnl_memory_desc_create_with_tag(&dst_desc, 2, (dnnl_dims_t){M, N}, dnnl_f32, dnnl_ab));
    ECG_TRY_GOTO(set_after(attributes, after, dst_desc));
    if (matmul) {
        DNNL(dnnl_memory_desc_create_with_tag(&bias_desc, 2, (dnnl_dims_t){1, N}, dnnl_f32, dnnl_ab));
        DNNL(dnnl_matmul_primitive_desc_create(dst, engine, src_desc, weights ? weights : any_desc,
                                               bias ? bias_desc : NULL, dst_desc, attributes));
    } else {
        DNNL(dnnl_memory_desc_create_with_tag(&bias_desc, 1, (dnnl_dims_t){N}, dnnl_f32, dnnl_a));
        DNNL(dnnl_inner_product_forward_primitive_desc_create(dst, engine, dnnl_forward_inference, src_desc,
                                                              weights ? weights : any_desc, bias ? bias_desc : NULL,
                                                              dst_desc, attributes));
    }
fail:
    dnnl_memory_desc_destroy(src_desc);
    dnnl_memory_desc_destroy(any_desc);
    dnnl_memory_desc_destroy(bias_desc);
    dnnl_memory_desc_destroy(dst_desc);
    dnnl_primitive_attr_destroy(attributes);
    return status;
}

/* The descriptor of a convolution over (batch, steps, channels); weights NULL lets oneDNN choose. The
 * channels-last layout is forced: left to itself oneDNN may take a fallback several times slower. */
ecg_status conv_desc(dnnl_primitive_desc_t *dst, const_dnnl_memory_desc_t weights, const ecg_conv_shape *shape,
                     bool bias)
{
    ecg_status status = ECG_OK;
    dnnl_memory_desc_t src_desc = NULL, any_desc = NULL, bias_desc = NULL, dst_desc = NULL;
    dnnl_primitive_attr_t attributes = NULL;
    int64_t I = shape->src_channels, O = shape->dst_channels, groups = shape->groups;
    *dst = NULL;
    ECG_TRY(get_engine());
    ECG_TRY_GOTO(make_attributes(&attributes));
    DNNL(dnnl_memory_desc_create_with_tag(&src_desc, 3, (dnnl_dims_t){shape->batch, I, shape->src_steps}, dnnl_f32,
                                          dnnl_nwc));
    if (groups == 1)
        DNNL(dnnl_memory_desc_create_with_tag(&any_desc, 3, (dnnl_dims_t){O, I, shape->kernel}, dnnl_f32,
                                              dnnl_format_tag_any));
    else
        DNNL(dnnl_memory_desc_create_with_tag(&any_desc, 4,
                                              (dnnl_dims_t){groups, O / groups, I / groups, shape->kernel}, dnnl_f32,
                                              dnnl_format_tag_any));
    DNNL(dnnl_memory_desc_create_with_tag(&bias_desc, 1, (dnnl_dims_t){O}, dnnl_f32, dnnl_a));
    DNNL(dnnl_memory_desc_create_with_tag(&dst_desc, 3, (dnnl_dims_t){shape->batch, O, ecg_conv_dst_steps(shape)},
                                          dnnl_f32, dnnl_nwc));
    DNNL(dnnl_convolution_forward_primitive_desc_create(dst, engine, dnnl_forward_inference, dnnl_convolution_direct,
                                                        src_desc, weights ? weights : any_desc, bias ? bias_desc : NULL,
                                                        dst_desc, (dnnl_dims_t){shape->stride}, (dnnl_dims_t){0},
                                                        (dnnl_dims_t){shape->pad_left}, (dnnl_dims_t){shape->pad_right},
                                                        attributes));
fail:
    dnnl_memory_desc_destroy(src_desc);
    dnnl_memory_desc_destroy(any_desc);
    dnnl_memory_desc_destroy(bias_desc);
    dnnl_memory_desc_destroy(dst_desc);
    dnnl_primitive_attr_destroy(attributes);
    return status;
}

ecg_status ecg_pack_linear(ecg_packed *dst, const float *src, int64_t N, int64_t K, int64_t rows)
{
    ecg_status status = ECG_OK;
    dnnl_primitive_desc_t desc = NULL;
    dnnl_memory_desc_t plain = NULL;
    ECG_TRY_GOTO(linear_desc(&desc, NULL, rows, K, N, true, ECG_WRITE));
    ECG_TRY_GOTO(plain_linear_weights(&plain, K, N, false));
    ECG_TRY_GOTO(pack(dst, src, plain, dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0)));
fail:
    dnnl_memory_desc_destroy(plain);
    dnnl_primitive_desc_destroy(desc);
    return status;
}

int64_t ecg_conv_dst_steps(const ecg_conv_shape *shape)
{
    int64_t span = shape->src_steps + shape->pad_left + shape->pad_right - shape->kernel;
    return span < 0 ? 0 : span / shape->stride + 1;
}

ecg_status plain_conv_weights(dnnl_memory_desc_t *dst, const ecg_conv_shape *shape)
{
    ecg_status status = ECG_OK;
    int64_t I = shape->src_channels, O = shape->dst_channels, groups = shape->groups, k = shape->kernel;
    if (groups == 1)
        DNNL(dnnl_memory_desc_create_with_tag(dst, 3, (dnnl_dims_t){O, I, k}, dnnl_f32, dnnl_abc));
    else
        DNNL(dnnl_memory_desc_create_with_tag(dst, 4, (dnnl_dims_t){groups, O / groups, I / groups, k}, dnnl_f32,
                                              dnnl_abcd));
fail:
    return status;
}

ecg_status ecg_pack_conv(ecg_packed *dst, const float *src, const ecg_conv_shape *shape)
{
    ecg_status status = ECG_OK;
    dnnl_primitive_desc_t desc = NULL;
    dnnl_memory_desc_t plain = NULL;
    ECG_TRY_GOTO(conv_desc(&desc, NULL, shape, false));
    ECG_TRY_GOTO(plain_conv_weights(&plain, shape));
    ECG_TRY_GOTO(pack(dst, src, plain, dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0)));
fail:
    dnnl_memory_desc_destroy(plain);
    dnnl_primitive_desc_destroy(desc);
    return status;
}

/* ---- ops ------------------------------------------------------------------------------------- */

void ecg_op_free(ecg_op *op)
{
    for (int i = 0; i < op->count; i++)
        dnnl_memory_destroy(op->memories[i]);
    dnnl_primitive_destroy(op->primitive);
    ecg_packed_free(&op->own);
    memset(op, 0, sizeof *op);
}

ecg_status add_argument(ecg_op *op, int argument, const_dnnl_memory_desc_t desc)
{
    ecg_status status = ECG_OK;
    dnnl_memory_t memory = NULL;
    DNNL(dnnl_memory_create(&memory, desc, engine, DNNL_MEMORY_NONE));
    op->memories[op->count] = memory;
    op->arguments[op->count++] = argument;
fail:
    return status;
}

const char *implementation_of(const_dnnl_primitive_desc_t desc)
{
    const char *name = "";
    return dnnl_primitive_desc_query(desc, dnnl_query_impl_info_str, 0, (void *)&name) == dnnl_success ? name : "";
}

ecg_status finish_op(ecg_op *op, const_dnnl_primitive_desc_t desc, const ecg_argument *arguments, int count)
{
    ecg_status status = ECG_OK;
    ecg_op made = {0};
    dnnl_primitive_t primitive = NULL;
    const_dnnl_memory_desc_t scratchpad = dnnl_primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0);
    ECG_TRY_GOTO(create_primitive(&primitive, desc));
    made.primitive = primitive;
    for (int i = 0; i < count; i++)
        ECG_TRY_GOTO(add_argument(&made, arguments[i].argument, arguments[i].desc));
    ECG_TRY_GOTO(add_argument(&made, DNNL_ARG_SCRATCHPAD, scratchpad));
    made.scratch_bytes = dnnl_memory_desc_get_size(scratchpad);
    snprintf(made.implementation, sizeof made.implementation, "%s", implementation_of(desc));
    ecg_op_free(op);
    *op = made;
    return ECG_OK;
fail:
    ecg_op_free(&made);
    return status;
}

ecg_status finish_forward(ecg_op *op, const_dnnl_primitive_desc_t desc, bool bias)
{
    ecg_argument arguments[4] = {
        {DNNL_ARG_DST, dnnl_primitive_desc_query_md(desc, dnnl_query_dst_md, 0)},
        {DNNL_ARG_SRC, dnnl_primitive_desc_query_md(desc, dnnl_query_src_md, 0)},
        {DNNL_ARG_WEIGHTS, dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0)},
    };
    if (bias)
        arguments[3] = (ecg_argument){DNNL_ARG_BIAS, dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 1)};
    return finish_op(op, desc, arguments, bias ? 4 : 3);
}

ecg_status ecg_op_linear(ecg_op *op, const ecg_packed *weights, int64_t M, int64_t K, int64_t N)
{
    dnnl_primitive_desc_t desc = NULL;
    ecg_status status = linear_desc(&desc, weights->desc, M, K, N, true, ECG_WRITE);
    if (status == ECG_OK)
        status = finish_forward(op, desc, true);
    dnnl_primitive_desc_destroy(desc);
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
        status = pack(dst, rows, weights->plain, layout);
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
    const_dnnl_memory_desc_t chosen = dnnl_primitive_desc_query_md(free_choice, dnnl_query_weights_md, 0);
    if (dnnl_memory_desc_equal(chosen, weights->desc) ||
        (packed && strcmp(implementation_of(packed), implementation_of(free_choice)) == 0))
        return finish_forward(op, packed ? packed : free_choice, bias);
    ecg_packed own = {0};
    ECG_TRY(repack(&own, weights, chosen));
    ecg_status status = finish_forward(op, free_choice, bias);
    if (status != ECG_OK)
        ecg_packed_free(&own);
    else
        op->own = own;
    return status;
}

ecg_status ecg_op_conv(ecg_op *op, const ecg_packed *weights, const ecg_conv_shape *shape, bool bias)
{
    dnnl_primitive_desc_t free_choice = NULL, packed = NULL;
    ecg_status status = conv_desc(&free_choice, NULL, shape, bias);
    if (status == ECG_OK && conv_desc(&packed, weights->desc, shape, bias) == ECG_NO_MEMORY)
        status = ECG_NO_MEMORY;
    if (status == ECG_OK)
        status = finish_conv(op, free_choice, packed, weights, bias);
    dnnl_primitive_desc_destroy(free_choice);
    dnnl_primitive_desc_destroy(packed);
    return status;
}

static ecg_status strided_desc(dnnl_memory_desc_t *dst, int64_t B, int64_t H, int64_t rows, int64_t columns,
                               const int64_t strides[4])
{
    ecg_status status = ECG_OK;
    dnnl_dims_t all = {strides[0], strides[1], strides[2], strides[3]};
    DNNL(dnnl_memory_desc_create_with_strides(dst, 4, (dnnl_dims_t){B, H, rows, columns}, dnnl_f32, all));
fail:
    return status;
}

ecg_status ecg_op_matmul(ecg_op *op, const ecg_matmul_shape *shape)
{
    ecg_status status = ECG_OK;
    dnnl_memory_desc_t src_desc = NULL, weights_desc = NULL, dst_desc = NULL;
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_primitive_desc_t desc = NULL;
    int64_t B = shape->B, H = shape->H, M = shape->M, K = shape->K, N = shape->N;
    ECG_TRY(get_engine());
    ECG_TRY_GOTO(make_attributes(&attributes));
    ECG_TRY_GOTO(strided_desc(&src_desc, B, H, M, K, shape->src));
    ECG_TRY_GOTO(strided_desc(&weights_desc, B, H, K, N, shape->weights));
    ECG_TRY_GOTO(strided_desc(&dst_desc, B, H, M, N, shape->dst));
    DNNL(dnnl_matmul_primitive_desc_create(&desc, engine, src_desc, weights_desc, NULL, dst_desc, attributes));
    ECG_TRY_GOTO(finish_forward(op, desc, false));
fail:
    dnnl_memory_desc_destroy(src_desc);
    dnnl_memory_desc_destroy(weights_desc);
    dnnl_memory_desc_destroy(dst_desc);
    dnnl_primitive_attr_destroy(attributes);
    dnnl_primitive_desc_destroy(desc);
    return status;
}

ecg_status ecg_op_execute(ecg_op *op, ecg_stream *stream, void *const *data, void *scratch)
{
    ecg_status status = ECG_OK;
    dnnl_exec_arg_t arguments[6];
    for (int i = 0; i < op->count; i++) {
        DNNL(dnnl_memory_set_data_handle(op->memories[i], i + 1 < op->count ? data[i] : scratch));
        arguments[i] = (dnnl_exec_arg_t){op->arguments[i], op->memories[i]};
    }
    DNNL(dnnl_primitive_execute(op->primitive, stream->handle, op->count, arguments));
    DNNL(dnnl_stream_wait(stream->handle));
fail:
    return status;
}

ecg_status ecg_op_run(ecg_op *op, ecg_stream *stream, float *dst, const float *src, const ecg_packed *weights,
                      const float *bias, void *scratch)
{
    void *packed = op->own.data ? op->own.data : weights->data;
    return ecg_op_execute(op, stream, (void *const[]){dst, (void *)src, packed, (void *)bias}, scratch);
}

ecg_status ecg_op_matmul_run(ecg_op *op, ecg_stream *stream, float *dst, const float *src, const float *weights,
                             void *scratch)
{
    return ecg_op_execute(op, stream, (void *const[]){dst, (void *)src, (void *)weights}, scratch);
}

void ecg_onednn_version(char *dst, size_t size)
{
    const dnnl_version_t *version = dnnl_version();
    snprintf(dst, size, "%d.%d.%d", version->major, version->minor, version->patch);
}

const char *ecg_onednn_isa(void)
{
    switch (dnnl_get_effective_cpu_isa()) {
    case dnnl_cpu_isa_sse41:
        return "sse4.1";
    case dnnl_cpu_isa_avx:
        return "avx";
    case dnnl_cpu_isa_avx2:
        return "avx2";
    case dnnl_cpu_isa_avx2_vnni:
        return "avx2_vnni";
    case dnnl_cpu_isa_avx512_core:
        return "avx512_core";
    case dnnl_cpu_isa_avx512_core_vnni:
        return "avx512_core_vnni";
    case dnnl_cpu_isa_avx512_core_bf16:
        return "avx512_core_bf16";
    default:
        return "newer than avx512_core_bf16";
    }
}

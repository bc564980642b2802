/* Ops and packed weights of all kinds: what they are made of, and how they run. */
#include <stdio.h>
#include <string.h>

#include "../base/memory.h"
#include "internal.h"

/* ---- parts ---- */

static const dnnl_data_type_t types[ECG_DTYPES] =
    {[ECG_F32] = dnnl_f32, [ECG_BF16] = dnnl_bf16, [ECG_S8] = dnnl_s8, [ECG_U8] = dnnl_u8};

#define AMX ((unsigned)dnnl_cpu_isa_avx512_core_amx)

bool ecg_dtype_supported(ecg_dtype type)
{
    /* What oneDNN would use: the environment may bound it. Without these, bfloat16 runs in its reference code. */
    unsigned isa = dnnl_get_effective_cpu_isa(),
             needed[ECG_DTYPES] = {[ECG_BF16] = dnnl_cpu_isa_avx512_core_bf16, [ECG_S8] = dnnl_cpu_isa_avx2};
    return (isa & needed[type]) == needed[type] || (type == ECG_BF16 && isa == dnnl_cpu_isa_avx2_vnni_2);
}

bool ecg_bfloat16_gains(void)
{
    bool slow = false;
#if defined(__x86_64__) && defined(__GNUC__)
    slow = __builtin_cpu_is("intel") && (dnnl_get_effective_cpu_isa() & AMX) != AMX;
#endif
    return ecg_dtype_supported(ECG_BF16) && !slow;
}

ecg_status begin_parts(op_parts *parts)
{
    ecg_status status = ECG_OK;
    memset(parts, 0, sizeof *parts);
    ECG_TRY(get_engine());
    DNNL(dnnl_primitive_attr_create(&parts->attributes));
    DNNL(dnnl_primitive_attr_set_scratchpad_mode(parts->attributes, dnnl_scratchpad_mode_user));
fail:
    return status;
}

void free_parts(op_parts *p)
{
    dnnl_memory_desc_t descs[] = {p->src, p->weights, p->bias, p->dst, p->plain};
    for (size_t i = 0; i < sizeof descs / sizeof *descs; i++)
        dnnl_memory_desc_destroy(descs[i]);
    dnnl_primitive_attr_destroy(p->attributes);
    dnnl_primitive_desc_destroy(p->forward);
    dnnl_primitive_desc_destroy(p->backward);
}

ecg_status make_desc(dnnl_memory_desc_t *dst, ecg_dtype type, int ndim, const dnnl_dims_t dims, dnnl_format_tag_t tag)
{
    ecg_status status = ECG_OK;
    DNNL(dnnl_memory_desc_create_with_tag(dst, ndim, dims, types[type], tag));
fail:
    return status;
}

ecg_status make_strided(dnnl_memory_desc_t *dst, ecg_dtype type, int ndim, const dnnl_dims_t dims,
                        const dnnl_dims_t strides)
{
    ecg_status status = ECG_OK;
    DNNL(dnnl_memory_desc_create_with_strides(dst, ndim, dims, types[type], strides));
fail:
    return status;
}

ecg_status set_after(dnnl_primitive_attr_t attributes, ecg_after after, bool gelu, const_dnnl_memory_desc_t dst)
{
    ecg_status status = ECG_OK;
    dnnl_post_ops_t post_ops = NULL;
    if (after == ECG_WRITE && !gelu)
        return ECG_OK;
    DNNL(dnnl_post_ops_create(&post_ops));
    if (gelu)
        DNNL(dnnl_post_ops_append_eltwise(post_ops, dnnl_eltwise_gelu_erf, 0.f, 0.f));
    if (after == ECG_ADD)
        DNNL(dnnl_post_ops_append_sum(post_ops, 1.f, 0, dnnl_data_type_undef));
    else if (after == ECG_MULTIPLY)
        DNNL(dnnl_post_ops_append_binary(post_ops, dnnl_binary_mul, dst));
    DNNL(dnnl_primitive_attr_set_post_ops(attributes, post_ops));
fail:
    dnnl_post_ops_destroy(post_ops);
    return status;
}

const_dnnl_memory_desc_t weights_of(const_dnnl_primitive_desc_t desc)
{
    return dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0);
}

const char *implementation_of(const_dnnl_primitive_desc_t desc)
{
    const char *name = "";
    return dnnl_primitive_desc_query(desc, dnnl_query_impl_info_str, 0, (void *)&name) == dnnl_success ? name : "";
}

/* ---- packed weights ---- */

void ecg_packed_free(ecg_packed *packed)
{
    ecg_free(packed->data);
    ecg_free(packed->scales);
    ecg_free(packed->factors);
    ecg_free(packed->sums);
    if (packed->desc)
        dnnl_memory_desc_destroy(packed->desc);
    if (packed->plain)
        dnnl_memory_desc_destroy(packed->plain);
    if (packed->rest)
        ecg_packed_free(packed->rest);
    ecg_free(packed->rest);
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

ecg_status pack_weights(ecg_packed *dst, const void *src, const_dnnl_memory_desc_t plain,
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

ecg_status ecg_unpack_numbers(int8_t *dst, const ecg_packed *packed)
{
    return reorder(packed->plain, dst, packed->desc, packed->data);
}

/* Of int8: first the numbers, then times scales and factors. */
static ecg_status unpack_s8(float *dst, const ecg_packed *packed)
{
    int8_t *numbers = NULL;
    int64_t rows = packed->rows, columns = packed->columns;
    ECG_TRY(ecg_alloc((void **)&numbers, (size_t)(rows * columns)));
    ecg_status status = ecg_unpack_numbers(numbers, packed);
    for (int64_t i = 0; status == ECG_OK && i < rows * columns; i++)
        dst[i] = (float)numbers[i] * packed->scales[i / columns] * packed->factors[i % columns];
    ecg_free(numbers);
    return status;
}

ecg_status ecg_unpack(float *dst, const ecg_packed *packed)
{
    if (packed->scales)
        return unpack_s8(dst, packed);
    ECG_TRY(reorder(packed->plain, dst, packed->desc, packed->data));
    return packed->rest ? ecg_unpack(dst + packed->columns, packed->rest) : ECG_OK;
}

/* ---- ops ---- */

void ecg_op_free(ecg_op *op)
{
    for (int i = 0; i < op->count; i++)
        dnnl_memory_destroy(op->memories[i]);
    dnnl_primitive_destroy(op->primitive);
    ecg_packed_free(&op->own);
    if (op->rest)
        ecg_op_free(op->rest);
    ecg_free(op->rest);
    memset(op, 0, sizeof *op);
}

/* Adds a memory object without data for an argument of the op. */
static ecg_status add_argument(ecg_op *op, int argument, const_dnnl_memory_desc_t desc)
{
    ecg_status status = ECG_OK;
    dnnl_memory_t memory = NULL;
    DNNL(dnnl_memory_create(&memory, desc, engine, DNNL_MEMORY_NONE));
    op->memories[op->count] = memory;
    op->arguments[op->count++] = argument;
fail:
    return status;
}

ecg_status finish_op(ecg_op *op, const_dnnl_primitive_desc_t desc, const op_argument *arguments, int count)
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

ecg_status finish_forward(ecg_op *op, const_dnnl_primitive_desc_t desc, op_operand operand)
{
    ecg_status status = ECG_OK;
    dnnl_memory_desc_t scales = NULL;
    const_dnnl_memory_desc_t dst = dnnl_primitive_desc_query_md(desc, dnnl_query_dst_md, 0);
    if (operand == OP_SCALES) {
        const dnnl_dims_t *dims;
        int ndim;
        DNNL(dnnl_memory_desc_query(dst, dnnl_query_dims, (void *)&dims));
        DNNL(dnnl_memory_desc_query(dst, dnnl_query_ndims_s32, &ndim));
        ECG_TRY_GOTO(make_desc(&scales, ECG_F32, 1, DIMS((*dims)[ndim - 1]), dnnl_a));
    }
    const op_argument operands[] = {
        [OP_BIAS] = {DNNL_ARG_BIAS, dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 1)},
        [OP_FACTOR] = {DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1, dst},
        [OP_SCALES] = {DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS, scales},
    };
    const op_argument arguments[4] = {
        {DNNL_ARG_DST, dst},
        {DNNL_ARG_SRC, dnnl_primitive_desc_query_md(desc, dnnl_query_src_md, 0)},
        {DNNL_ARG_WEIGHTS, weights_of(desc)},
        operands[operand],
    };
    ECG_TRY_GOTO(finish_op(op, desc, arguments, operand == OP_NONE ? 3 : 4));
fail:
    dnnl_memory_desc_destroy(scales);
    return status;
}

ecg_status execute_op(ecg_op *op, ecg_stream *stream, void *const *data, void *scratch)
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

ecg_status ecg_op_run(ecg_op *op, ecg_stream *stream, void *dst, const void *src, const ecg_packed *weights,
                      const void *bias, void *scratch)
{
    void *packed = op->own.data ? op->own.data : weights->data;
    const void *operand = weights->scales ? weights->scales : bias;
    ECG_TRY(execute_op(op, stream, (void *const[]){dst, (void *)src, packed, (void *)operand}, scratch));
    if (!op->rest)
        return ECG_OK;
    return ecg_op_run(op->rest, stream, dst, (const float *)src + op->rest_at, weights->rest, NULL, scratch);
}

ecg_status ecg_op_product_run(ecg_op *op, ecg_stream *stream, void *dst, const void *src, const void *weights,
                              void *scratch)
{
    return execute_op(op, stream, (void *const[]){dst, (void *)src, (void *)weights}, scratch);
}

/* ---- weights that change from step to step ---- */

void ecg_fresh_free(ecg_fresh_op *op)
{
    ecg_op_free(&op->pack);
    ecg_op_free(&op->run);
    if (op->rest)
        ecg_fresh_free(op->rest);
    ecg_free(op->rest);
    memset(op, 0, sizeof *op);
}

/* op->pack: dst = src in another layout, with `add` dst += src; its data are dst, src. */
static ecg_status finish_with_reorder(ecg_fresh_op *op, const_dnnl_memory_desc_t dst, const_dnnl_memory_desc_t src,
                                      bool add)
{
    ecg_status status = ECG_OK;
    op_parts p = {0};
    ECG_TRY_GOTO(begin_parts(&p));
    ECG_TRY_GOTO(set_after(p.attributes, add ? ECG_ADD : ECG_WRITE, false, dst));
    DNNL(dnnl_reorder_primitive_desc_create(&p.forward, src, engine, dst, engine, p.attributes));
    ECG_TRY_GOTO(finish_op(&op->pack, p.forward, (op_argument[]){{DNNL_ARG_TO, dst}, {DNNL_ARG_FROM, src}}, 2));
    op->scratch_bytes = op->pack.scratch_bytes > op->run.scratch_bytes ? op->pack.scratch_bytes : op->run.scratch_bytes;
fail:
    free_parts(&p);
    return status;
}

ecg_status finish_fresh(ecg_fresh_op *op, const_dnnl_memory_desc_t plain, const_dnnl_memory_desc_t packed)
{
    op->packed_bytes = dnnl_memory_desc_get_size(packed);
    return finish_with_reorder(op, packed, plain, false);
}

ecg_status finish_gradient(ecg_fresh_op *op, const_dnnl_memory_desc_t plain, const_dnnl_memory_desc_t packed, bool add)
{
    op->packed_bytes = dnnl_memory_desc_get_size(packed);
    return finish_with_reorder(op, plain, packed, add);
}

ecg_status ecg_fresh_run(ecg_fresh_op *op, ecg_stream *stream, void *dst, const void *src, const float *weights,
                         const void *operand, void *packed, void *scratch)
{
    ECG_TRY(execute_op(&op->pack, stream, (void *const[]){packed, (void *)weights}, scratch));
    ECG_TRY(execute_op(&op->run, stream, (void *const[]){dst, (void *)src, packed, (void *)operand}, scratch));
    if (!op->rest)
        return ECG_OK;
    return ecg_fresh_run(op->rest, stream, dst, (const float *)src + op->run.rest_at, weights + op->run.rest_at, NULL,
                         packed, scratch);
}

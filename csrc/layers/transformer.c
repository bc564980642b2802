#include "transformer.h"

#include "../base/threads.h"

ecg_status ecg_transformer_plan(ecg_transformer_ops *ops, const ecg_transformer_weights *weights,
                                const ecg_transformer_shape *shape, bool backward)
{
    int64_t M = shape->B * shape->T, C = shape->C, F = shape->F;
    ecg_dtype linear = shape->types.linear, attention = shape->types.attention;
    ecg_dtype context = linear == ECG_U8 ? ECG_F32 : linear;    /* before it gets its scales */
    ecg_after branch = shape->norm_first ? ECG_WRITE : ECG_ADD; /* in post-norm order right to the residual's */
    ecg_linear_spec qkv = ecg_linear_spec_of(linear, attention, M, C, 3 * C);
    ecg_linear_spec out = ecg_linear_spec_of(linear, ECG_F32, M, C, C);
    ecg_linear_spec fc1 = ecg_linear_spec_of(linear, linear, M, C, F);
    ecg_linear_spec fc2 = ecg_linear_spec_of(linear, ECG_F32, M, F, C);
    fc1.gelu = linear == ECG_BF16 && weights->fc1.packed; /* before it is rounded; a trainer's runs all round first */
    fc2.diff_src = backward ? linear : ECG_F32;
    ECG_TRY(ecg_linear_plan(&ops->qkv, &weights->qkv, &qkv, backward, branch));
    ECG_TRY(ecg_linear_plan(&ops->out, &weights->out, &out, backward, ECG_WRITE));
    ECG_TRY(ecg_linear_plan(&ops->fc1, &weights->fc1, &fc1, backward, branch));
    ECG_TRY(ecg_linear_plan(&ops->fc2, &weights->fc2, &fc2, backward, ECG_MULTIPLY));
    ops->attention = (ecg_attention_shape){shape->B,  shape->H, shape->T,         C / shape->H,
                                           attention, context,  linear == ECG_U8, ecg_threads()};
    int64_t scratch = ecg_attention_scratch(&ops->attention, backward);
    if (scratch < 0)
        return ecg_fail(ECG_NO_MEMORY, "attention over %lld tokens does not fit in memory", (long long)shape->T);
    ops->attention_scratch = (size_t)scratch;
    return ECG_OK;
}

void ecg_transformer_ops_free(ecg_transformer_ops *ops)
{
    ecg_linear_free(&ops->qkv);
    ecg_linear_free(&ops->out);
    ecg_linear_free(&ops->fc1);
    ecg_linear_free(&ops->fc2);
}

void ecg_transformer_sizes(const ecg_transformer_ops *ops, ecg_work_sizes *sizes)
{
    ecg_linear_sizes(&ops->qkv, sizes);
    ecg_linear_sizes(&ops->out, sizes);
    ecg_linear_sizes(&ops->fc1, sizes);
    ecg_linear_sizes(&ops->fc2, sizes);
    ecg_enlarge(sizes, 0, ops->attention_scratch);
}

/* Rows of float32 as a linear layer takes them: they themselves, or `rows`, which hold the same. */
static ecg_operand operand_of(const float *values, const ecg_operand *rows)
{
    return rows->type == ECG_F32 ? (ecg_operand){.data = (float *)values} : *rows;
}

/* dst = norm(src + residual), and work->x_rows for the linear layer `next`. */
static void norm_forward(float *dst, const ecg_norm_kept *kept, const ecg_product_rows *src, const float *residual,
                         const ecg_norm *norm, const ecg_linear *next, const ecg_transformer_work *work,
                         const ecg_transformer_shape *shape)
{
    const ecg_operand rows = ecg_operand_for(next, &work->x_rows);
    ecg_layer_norm_rows(dst, &rows, kept, src, residual, norm, shape->B * shape->T, shape->C);
}

/* What the products of a branch leave, in work->branch; as it is where somebody looks at it. */
static ecg_product_rows branch_of(const ecg_operand *src, const ecg_linear *weights, const ecg_transformer_work *work,
                                  int64_t M, int64_t C, bool finished)
{
    ecg_product_rows left = ecg_product_of(work->branch, src, weights);
    if (!finished || !left.scale)
        return left;
    ecg_convert_rows(&(const ecg_operand){.data = work->branch}, &left, false, M, C);
    return (ecg_product_rows){.data = work->branch};
}

/* branch = fc2(dropout(gelu(fc1(src)))). */
static ecg_status feed_forward(ecg_product_rows *dst, const float *src, const ecg_transformer_weights *weights,
                               ecg_transformer_ops *ops, const ecg_transformer_kept *kept,
                               const ecg_transformer_work *work, const ecg_transformer_shape *shape)
{
    int64_t M = shape->B * shape->T;
    const ecg_operand rows = operand_of(src, &work->x_rows);
    const ecg_operand activated = operand_of(work->activated, &work->hidden_rows);
    const ecg_operand hidden = ecg_operand_for(&weights->fc2, &activated);
    if (hidden.type == ECG_BF16 && !ops->fc1.spec.gelu) {
        ECG_TRY(ecg_linear_forward(kept->hidden, rows.data, &weights->fc1, &ops->fc1, &work->base));
        ecg_gelu_dropout(hidden.data, kept->hidden, hidden.type, &kept->activation_mask, M * shape->F);
    } else {
        ECG_TRY(ecg_linear_rows(&hidden, &rows, kept->hidden, true, &weights->fc1, &ops->fc1, &work->base));
        ecg_dropout(work->activated, work->activated, &kept->activation_mask, M * shape->F);
    }
    ECG_TRY(ecg_linear_forward(work->branch, hidden.data, &weights->fc2, &ops->fc2, &work->base));
    *dst = branch_of(&hidden, &weights->fc2, work, M, shape->C, shape->norm_first);
    return ECG_OK;
}

/* branch = out(attention(qkv(src))). */
static ecg_status self_attention(ecg_product_rows *dst, const float *src, const int64_t *valid,
                                 const ecg_transformer_weights *weights, ecg_transformer_ops *ops,
                                 const ecg_transformer_kept *kept, const ecg_transformer_work *work,
                                 const ecg_transformer_shape *shape, const ecg_transformer_view *view)
{
    int64_t M = shape->B * shape->T, C = shape->C;
    const ecg_operand rows = operand_of(src, &work->x_rows);
    const ecg_product_rows qkv = ecg_product_of(kept->qkv, &rows, &weights->qkv);
    ecg_operand context = {.type = ops->attention.dst, .data = kept->context};
    ECG_TRY(ecg_linear_forward(kept->qkv, rows.data, &weights->qkv, &ops->qkv, &work->base));
    ecg_attention_forward(kept->context, &view->maps, &qkv, valid, &kept->attention_mask, &ops->attention,
                          work->base.scratch);
    if (shape->types.linear == ECG_U8) {
        context = ecg_operand_for(&weights->out, &work->context_rows);
        ecg_convert_rows(&context, &(const ecg_product_rows){.data = kept->context}, false, M, C);
    }
    ECG_TRY(ecg_linear_forward(work->branch, context.data, &weights->out, &ops->out, &work->base));
    *dst = branch_of(&context, &weights->out, work, M, C, view->after_attention || shape->norm_first);
    return ECG_OK;
}

ecg_status ecg_transformer_forward(float *x, const int64_t *valid, const ecg_transformer_weights *weights,
                                   const ecg_linear *next, ecg_transformer_ops *ops, const ecg_transformer_kept *kept,
                                   const ecg_transformer_work *work, const ecg_transformer_shape *shape,
                                   const ecg_transformer_view *view)
{
    int64_t n = shape->B * shape->T * shape->C;
    float *branch = work->branch, *src = shape->norm_first ? branch : x;
    const ecg_product_rows stream = {.data = x};
    ecg_product_rows left;

    if (shape->norm_first)
        norm_forward(branch, &kept->norm1, &stream, NULL, &weights->norm1, &weights->qkv, work, shape);
    ECG_TRY(self_attention(&left, src, valid, weights, ops, kept, work, shape, view));
    if (view->after_attention)
        ECG_TRY(view->after_attention(view->context, work));
    ecg_dropout(branch, branch, &kept->out_mask, n);

    if (shape->norm_first) {
        ecg_add_forward(x, branch, n);
        norm_forward(branch, &kept->norm2, &stream, NULL, &weights->norm2, &weights->fc1, work, shape);
    } else {
        norm_forward(x, &kept->norm1, &left, x, &weights->norm1, &weights->fc1, work, shape);
    }
    ECG_TRY(feed_forward(&left, src, weights, ops, kept, work, shape));
    ecg_dropout(branch, branch, &kept->residual_mask, n);

    if (shape->norm_first)
        ecg_add_forward(x, branch, n);
    else
        norm_forward(x, &kept->norm2, &left, x, &weights->norm2, next, work, shape);
    return ECG_OK;
}

/* Rows of float32 as the products of a backward take them: they themselves, or `rows`, which then hold them. */
static const void *for_product(const ecg_operand *rows, const float *src, int64_t M, int64_t C)
{
    if (rows->type == ECG_F32)
        return src;
    ecg_convert_rows(rows, &(const ecg_product_rows){.data = (float *)src}, false, M, C);
    return rows->data;
}

/* dst = the gradient of the feed-forward's input, whose norm is `norm`, from that of its output; added in post-norm
 * order. */
static ecg_status feed_forward_backward(float *dst, const float *diff_dst, const ecg_norm_kept *norm,
                                        const ecg_norm *norm_weights, const ecg_transformer_weights *diff,
                                        const ecg_transformer_weights *weights, ecg_transformer_ops *ops,
                                        const ecg_transformer_kept *kept, const ecg_transformer_work *work,
                                        const ecg_transformer_shape *shape)
{
    int64_t M = shape->B * shape->T, C = shape->C;
    const ecg_operand activated = operand_of(work->activated, &work->hidden_rows);
    const void *diff_rows = for_product(&work->diff_rows, diff_dst, M, C);
    ecg_gelu_again(activated.data, kept->hidden, kept->hidden, activated.type, &kept->activation_mask, M * shape->F);
    ECG_TRY(ecg_linear_backward_times(work->diff_hidden, kept->hidden, &diff->fc2, diff_rows, activated.data,
                                      &weights->fc2, &ops->fc2, &work->base));
    ecg_norm_restore(work->rows, norm->normalized, norm_weights->weight, norm_weights->bias, M, C);
    return ecg_linear_backward(dst, &diff->fc1, work->diff_hidden, for_product(&work->x_rows, work->rows, M, C),
                               &weights->fc1, &ops->fc1, &work->base);
}

/* dst = the gradient of `src`, the input of the attention, from that of its output; added in post-norm order. */
static ecg_status self_attention_backward(float *dst, const float *diff_dst, const float *src, const int64_t *valid,
                                          const ecg_transformer_weights *diff, const ecg_transformer_weights *weights,
                                          ecg_transformer_ops *ops, const ecg_transformer_kept *kept,
                                          const ecg_transformer_work *work, int64_t M, int64_t C)
{
    ECG_TRY(ecg_linear_backward(work->diff_context, &diff->out, for_product(&work->diff_rows, diff_dst, M, C),
                                kept->context, &weights->out, &ops->out, &work->base));
    ecg_attention_backward(work->diff_qkv, work->diff_context, kept->qkv, valid, &kept->attention_mask, &ops->attention,
                           work->base.scratch);
    return ecg_linear_backward(work->ends ? NULL : dst, &diff->qkv, work->diff_qkv,
                               for_product(&work->x_rows, src, M, C), &weights->qkv, &ops->qkv, &work->base);
}

/* Where the gradient that enters a branch is: diff itself, or what dropout leaves of it, in branch. */
static const float *through_dropout(const float *diff, const ecg_dropout_mask *mask, const ecg_transformer_work *work,
                                    int64_t n)
{
    ecg_dropout(work->branch, diff, mask, n);
    return mask->keep ? work->branch : diff;
}

ecg_status ecg_transformer_backward(float *diff, const float *src, const int64_t *valid,
                                    const ecg_transformer_weights *diff_weights, const ecg_transformer_weights *weights,
                                    ecg_transformer_ops *ops, const ecg_transformer_kept *kept,
                                    const ecg_transformer_work *work, const ecg_transformer_shape *shape)
{
    int64_t M = shape->B * shape->T, C = shape->C, n = M * C;
    const ecg_norm *norm1 = &weights->norm1, *norm2 = &weights->norm2;
    const ecg_norm *diff1 = &diff_weights->norm1, *diff2 = &diff_weights->norm2;
    const float *branch_diff;
    float *dst = shape->norm_first ? work->branch : diff;

    if (!shape->norm_first)
        ecg_layer_norm_backward(diff, diff2->weight, diff2->bias, diff, &kept->norm2, norm2->weight, M, C);
    branch_diff = through_dropout(diff, &kept->residual_mask, work, n);
    ECG_TRY(feed_forward_backward(dst, branch_diff, shape->norm_first ? &kept->norm2 : &kept->norm1,
                                  shape->norm_first ? norm2 : norm1, diff_weights, weights, ops, kept, work, shape));
    if (shape->norm_first) {
        ecg_layer_norm_backward(work->branch, diff2->weight, diff2->bias, work->branch, &kept->norm2, norm2->weight, M,
                                C);
        ecg_add_forward(diff, work->branch, n);
    }

    if (!shape->norm_first)
        ecg_layer_norm_backward(diff, diff1->weight, diff1->bias, diff, &kept->norm1, norm1->weight, M, C);
    branch_diff = through_dropout(diff, &kept->out_mask, work, n);
    if (shape->norm_first) {
        ecg_norm_restore(work->rows, kept->norm1.normalized, norm1->weight, norm1->bias, M, C);
        src = work->rows;
    }
    ECG_TRY(self_attention_backward(dst, branch_diff, src, valid, diff_weights, weights, ops, kept, work, M, C));
    if (shape->norm_first) {
        ecg_layer_norm_backward(work->branch, diff1->weight, diff1->bias, work->branch, &kept->norm1, norm1->weight, M,
                                C);
        ecg_add_forward(diff, work->branch, n);
    }
    return ECG_OK;
}

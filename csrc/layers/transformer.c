#include "layers.h"

ecg_status ecg_transformer_plan(ecg_transformer_ops *ops, const ecg_transformer_weights *weights,
                                const ecg_transformer_shape *shape, bool backward)
{
    int64_t M = shape->B * shape->T, C = shape->C, F = shape->F;
    ecg_after branch = shape->norm_first ? ECG_WRITE : ECG_ADD; /* in post-norm order right to the residual's */
    ECG_TRY(ecg_linear_plan(&ops->qkv, &weights->qkv, ECG_LINEAR(M, C, 3 * C), backward, branch));
    ECG_TRY(ecg_linear_plan(&ops->out, &weights->out, ECG_LINEAR(M, C, C), backward, ECG_WRITE));
    ECG_TRY(ecg_linear_plan(&ops->fc1, &weights->fc1, ECG_LINEAR(M, C, F), backward, branch));
    ECG_TRY(ecg_linear_plan(&ops->fc2, &weights->fc2, ECG_LINEAR(M, F, C), backward, ECG_MULTIPLY));
    return ecg_attention_plan(&ops->attention, shape->B, shape->H, shape->T, C / shape->H, backward);
}

void ecg_transformer_ops_free(ecg_transformer_ops *ops)
{
    ecg_linear_free(&ops->qkv);
    ecg_linear_free(&ops->out);
    ecg_linear_free(&ops->fc1);
    ecg_linear_free(&ops->fc2);
    ecg_attention_free(&ops->attention);
}

void ecg_transformer_sizes(const ecg_transformer_ops *ops, ecg_work_sizes *sizes)
{
    ecg_linear_sizes(&ops->qkv, sizes);
    ecg_linear_sizes(&ops->out, sizes);
    ecg_linear_sizes(&ops->fc1, sizes);
    ecg_linear_sizes(&ops->fc2, sizes);
    ecg_attention_sizes(&ops->attention, sizes);
}

static void norm_forward(float *dst, const ecg_norm_kept *kept, const float *src, const float *residual,
                         const ecg_norm *norm, const ecg_transformer_shape *shape)
{
    ecg_layer_norm_forward(dst, kept, src, residual, norm->weight, norm->bias, shape->B * shape->T, shape->C);
}

/* branch = fc2(dropout(gelu(fc1(src)))). */
static ecg_status feed_forward(const float *src, const ecg_transformer_weights *weights, ecg_transformer_ops *ops,
                               const ecg_transformer_kept *kept, const ecg_transformer_work *work, int64_t n)
{
    ECG_TRY(ecg_linear_forward(kept->hidden, src, &weights->fc1, &ops->fc1, &work->base));
    ecg_gelu_forward(work->activated, kept->hidden, n);
    ecg_dropout(work->activated, work->activated, &kept->activation_mask, n);
    return ecg_linear_forward(work->branch, work->activated, &weights->fc2, &ops->fc2, &work->base);
}

ecg_status ecg_transformer_forward(float *x, const int64_t *valid, const ecg_transformer_weights *weights,
                                   ecg_transformer_ops *ops, const ecg_transformer_kept *kept,
                                   const ecg_transformer_work *work, const ecg_transformer_shape *shape,
                                   ecg_after_attention after_attention, void *context)
{
    int64_t M = shape->B * shape->T, n = M * shape->C;
    float *branch = work->branch;
    const float *src = x;

    if (shape->norm_first) {
        norm_forward(branch, &kept->norm1, x, NULL, &weights->norm1, shape);
        src = branch;
    }
    ECG_TRY(ecg_linear_forward(kept->qkv, src, &weights->qkv, &ops->qkv, &work->base));
    ECG_TRY(ecg_attention_forward(kept->context, kept->weights, work->dropped, kept->qkv, valid, &kept->attention_mask,
                                  &ops->attention, &work->base));
    ECG_TRY(ecg_linear_forward(branch, kept->context, &weights->out, &ops->out, &work->base));
    if (after_attention)
        ECG_TRY(after_attention(context, work, kept));
    ecg_dropout(branch, branch, &kept->out_mask, n);

    src = x;
    if (shape->norm_first) {
        ecg_add_forward(x, branch, n);
        norm_forward(branch, &kept->norm2, x, NULL, &weights->norm2, shape);
        src = branch;
    } else {
        norm_forward(x, &kept->norm1, x, branch, &weights->norm1, shape);
    }
    ECG_TRY(feed_forward(src, weights, ops, kept, work, M * shape->F));
    ecg_dropout(branch, branch, &kept->residual_mask, n);

    if (shape->norm_first)
        ecg_add_forward(x, branch, n);
    else
        norm_forward(x, &kept->norm2, x, branch, &weights->norm2, shape);
    return ECG_OK;
}

/* dst = the gradient of the feed-forward's input, whose norm is `norm`, from that of its output; added in post-norm
 * order. */
static ecg_status feed_forward_backward(float *dst, const float *diff_dst, const ecg_norm_kept *norm,
                                        const ecg_norm *norm_weights, const ecg_transformer_weights *diff,
                                        const ecg_transformer_weights *weights, ecg_transformer_ops *ops,
                                        const ecg_transformer_kept *kept, const ecg_transformer_work *work,
                                        const ecg_transformer_shape *shape)
{
    int64_t M = shape->B * shape->T, n = M * shape->F;
    ecg_gelu_again(work->activated, kept->hidden, kept->hidden, &kept->activation_mask, n);
    ECG_TRY(ecg_linear_backward_times(work->diff_hidden, kept->hidden, &diff->fc2, diff_dst, work->activated,
                                      &weights->fc2, &ops->fc2, &work->base));
    ecg_norm_restore(work->rows, norm->normalized, norm_weights->weight, norm_weights->bias, M, shape->C);
    return ecg_linear_backward(dst, &diff->fc1, work->diff_hidden, work->rows, &weights->fc1, &ops->fc1, &work->base);
}

/* dst = the gradient of `src`, the input of the attention, from that of its output; added in post-norm order. */
static ecg_status self_attention_backward(float *dst, const float *diff_dst, const float *src, const int64_t *valid,
                                          const ecg_transformer_weights *diff, const ecg_transformer_weights *weights,
                                          ecg_transformer_ops *ops, const ecg_transformer_kept *kept,
                                          const ecg_transformer_work *work)
{
    ECG_TRY(ecg_linear_backward(work->diff_context, &diff->out, diff_dst, kept->context, &weights->out, &ops->out,
                                &work->base));
    ECG_TRY(ecg_attention_backward(work->diff_qkv, kept->weights, work->dropped, work->diff_weights, work->diff_context,
                                   kept->qkv, valid, &kept->attention_mask, &ops->attention, &work->base));
    return ecg_linear_backward(dst, &diff->qkv, work->diff_qkv, src, &weights->qkv, &ops->qkv, &work->base);
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
    ECG_TRY(self_attention_backward(dst, branch_diff, src, valid, diff_weights, weights, ops, kept, work));
    if (shape->norm_first) {
        ecg_layer_norm_backward(work->branch, diff1->weight, diff1->bias, work->branch, &kept->norm1, norm1->weight, M,
                                C);
        ecg_add_forward(diff, work->branch, n);
    }
    return ECG_OK;
}

/* Which code runs: the implementation that oneDNN chose for each operation. */
#include <stdio.h>

#include "plan.h"

static void add_line(ecg_text *dst, const char *name, const char *part, const char *implementation)
{
    int n = snprintf(dst->end, dst->room, "%s%s %s\n", name, part, implementation);
    if (n > 0) {
        size_t used = (size_t)n < dst->room ? (size_t)n : dst->room;
        dst->end += used;
        dst->room -= used;
    }
}

static void describe(ecg_text *dst, const char *name, const char *part, const ecg_op *op)
{
    if (op->primitive)
        add_line(dst, name, part, op->implementation);
}

static void describe_conv(ecg_text *dst, const char *name, const ecg_conv_ops *ops)
{
    if (ops->blocks)
        add_line(dst, name, "", "ecgfm:blocks");
    describe(dst, name, "", &ops->packed);
    describe(dst, name, "", &ops->fresh.run);
    describe(dst, name, "_backward", &ops->backward.run);
    describe(dst, name, "_gradient", &ops->gradient.run);
}

void ecg_describe_linear(ecg_text *dst, const char *name, const ecg_linear_ops *ops)
{
    if (ops->widened)
        add_line(dst, name, "", "ecgfm:bfloat16_as_float32");
    describe(dst, name, "", &ops->forward.run);
    describe(dst, name, "_backward", &ops->backward.run);
    describe(dst, name, "_gradient", &ops->gradient);
}

void ecg_plan_describe(const ecg_plan *p, ecg_text *dst)
{
    char name[32];
    if (dst->room)
        *dst->end = 0;
    for (int i = 0; i < ECG_MAX_CONVS; i++) {
        snprintf(name, sizeof name, "conv%d", i);
        describe_conv(dst, name, &p->convs[i]);
    }
    ecg_describe_linear(dst, "post_extract_proj", &p->post);
    describe_conv(dst, "conv_pos", &p->pos);
    ecg_describe_linear(dst, "qkv", &p->ops.qkv);
    ecg_describe_linear(dst, "out_proj", &p->ops.out);
    ecg_describe_linear(dst, "fc1", &p->ops.fc1);
    ecg_describe_linear(dst, "fc2", &p->ops.fc2);
}

#include "classifier.h"

#include <math.h>

typedef struct {
    ecg_head_state base;
    ecg_linear_ops proj;
    ecg_dropout_mask mask;       /* (B, T, C) */
    float *pooled, *diff_pooled; /* (B, C) */
    float *logits, *diff_logits; /* (B, Y) */
} classifier;

static void put_rows(ecg_table_builder *b, const ecg_config *c, bool front)
{
    ecg_parameter weight = {.field = offsetof(ecg_classifier_weights, proj.weight),
                            .flags = ECG_P_HEAD | ECG_P_MATRIX | ECG_P_SEGMENTS,
                            .init = ECG_INIT_UNIFORM,
                            .scale = sqrt(6.0 / (double)(c->C + c->labels))};
    ecg_parameter bias = {.field = offsetof(ecg_classifier_weights, proj.bias),
                          .flags = ECG_P_HEAD,
                          .init = ECG_INIT_ZEROS};
    if (front)
        return;
    ecg_put(b, weight, ECG_DIMS2(c->labels, c->C), "proj.weight");
    ecg_put(b, bias, ECG_DIMS1(c->labels), "proj.bias");
}

static const ecg_linear *proj_of(const ecg_network *network)
{
    return &((const ecg_classifier_weights *)network->head)->proj;
}

static ecg_status plan(void *head, ecg_work_sizes *sizes)
{
    classifier *h = head;
    const ecg_head_task *task = h->base.task;
    const ecg_config *c = task->config;
    if (h->proj.spec.M == task->B)
        return ECG_OK;
    ecg_linear_free(&h->proj);
    ECG_TRY(ecg_linear_plan(&h->proj, proj_of(task->network), ECG_LINEAR(task->B, c->C, c->labels),
                            task->training != NULL, ECG_WRITE));
    ecg_linear_sizes(&h->proj, sizes);
    return ECG_OK;
}

static void lay_out(void *head, ecg_arena *arena)
{
    classifier *h = head;
    const ecg_head_task *task = h->base.task;
    int64_t B = task->B, C = task->config->C, Y = task->config->labels;
    h->pooled = ecg_arena_tensor(arena, ECG_F32, B, C, 1);
    h->logits = ecg_arena_tensor(arena, ECG_F32, B, Y, 1);
    if (!task->training)
        return;
    h->diff_pooled = ecg_arena_tensor(arena, ECG_F32, B, C, 1);
    h->diff_logits = ecg_arena_tensor(arena, ECG_F32, B, Y, 1);
    ecg_take_mask(arena, &h->mask, task->training->rates.final_dropout, B, task->T, C);
}

static ecg_status forward(void *head, const ecg_encoded *encoded)
{
    classifier *h = head;
    const ecg_head_task *task = h->base.task;
    const ecg_labelled *batch = task->batch;
    int64_t B = encoded->B, T = encoded->T, C = encoded->C, Y = task->config->labels;
    float *x = encoded->output, *logits = batch->logits ? batch->logits + task->first * Y : h->logits;
    ecg_make_mask(&h->mask, task->noise, B, T * C, ECG_DRAW_FINAL, 0);
    ecg_dropout(x, x, &h->mask, B * T * C);
    ecg_pool_forward(h->pooled, x, B, T, C);
    ECG_TRY(ecg_linear_forward(logits, h->pooled, proj_of(task->network), &h->proj, &h->base.work));
    if (!batch->labels)
        return ECG_OK;
    const float *labels = batch->labels + task->first * Y;
    ecg_weighed_loss loss = batch->loss;
    loss.row = loss.row ? loss.row + task->first : NULL;
    ecg_labelled_forward(task->sums, &loss, logits, labels, B, Y);
    if (task->training)
        ecg_labelled_backward(h->diff_logits, &loss, logits, labels, B, Y);
    return ECG_OK;
}

static ecg_status backward(void *head, const ecg_encoded *encoded, const ecg_network *diff)
{
    classifier *h = head;
    float *x = encoded->output;
    ECG_TRY(ecg_linear_backward(h->diff_pooled, proj_of(diff), h->diff_logits, h->pooled,
                                proj_of(h->base.task->network), &h->proj, &h->base.work));
    ecg_pool_backward(x, h->diff_pooled, x, encoded->B, encoded->T, encoded->C);
    ecg_dropout(x, x, &h->mask, encoded->B * encoded->T * encoded->C);
    return ECG_OK;
}

static void free_classifier(void *head)
{
    ecg_linear_free(&((classifier *)head)->proj);
}

static void describe(const void *head, ecg_text *dst)
{
    ecg_describe_linear(dst, "proj", &((const classifier *)head)->proj);
}

const ecg_head_type ecg_head_classifier = {
    .name = "classifier",
    .kind = ECG_CLASSIFIER,
    .rows = {"encoder.", sizeof(ecg_classifier_weights), put_rows},
    .size = sizeof(classifier),
    .splits = true,
    .plan = plan,
    .lay_out = lay_out,
    .forward = forward,
    .backward = backward,
    .free = free_classifier,
    .describe = describe,
};

/* SimCLR: two views of each segment are found again among all. It adds no parameters to those of pretraining. */
#include "../losses/cmsc.h"
#include "../losses/ntxent.h"
#include "contrastive.h"
#include "pairs.h"

/* Its batch is an ecg_pretrain_batch without masked steps: ids, cmsc and cmsc_temp; its sums are ecg_pretrain_sums. */
typedef struct {
    ecg_head_state base;
    ecg_pairs pairs;
} simclr;

static ecg_status check(const ecg_head_task *task)
{
    const ecg_pretrain_batch *batch = task->batch;
    if (batch->steps || !batch->ids)
        return ecg_fail(ECG_BAD_ARGUMENT, "SimCLR takes ids of rows, and no masked steps");
    return ECG_OK;
}

static void lay_out(void *head, ecg_arena *arena)
{
    simclr *h = head;
    ecg_pairs_lay_out(&h->pairs, arena, h->base.task->B, h->base.task->config->C);
}

static ecg_status forward(void *head, const ecg_encoded *encoded)
{
    simclr *h = head;
    const ecg_pretrain_batch *batch = h->base.task->batch;
    h->pairs.ids = batch->ids, h->pairs.second = batch->second;
    h->pairs.weight = batch->settings.cmsc, h->pairs.temp = batch->settings.cmsc_temp;
    h->pairs.size = ecg_cmsc_places(batch->ids, batch->second, encoded->B);
    ((ecg_pretrain_sums *)h->base.task->sums)->rows += h->pairs.size;
    ecg_pool_forward(h->pairs.pooled, encoded->output, encoded->B, encoded->T, encoded->C);
    return ECG_OK;
}

static const float *compared(void *head)
{
    return ((simclr *)head)->pairs.pooled;
}

static ecg_status compare(void *head, const ecg_company *all)
{
    simclr *h = head;
    double loss;
    ECG_TRY(ecg_pairs_compare(&loss, &h->pairs, ecg_ntxent, all, h->base.task->B, h->base.task->config->C));
    ((ecg_pretrain_sums *)h->base.task->sums)->cmsc += loss;
    return ECG_OK;
}

static ecg_status backward(void *head, const ecg_encoded *encoded, const ecg_network *diff)
{
    (void)diff;
    ecg_pool_backward(encoded->output, ((simclr *)head)->pairs.diff_pooled, encoded->output, encoded->B, encoded->T,
                      encoded->C);
    return ECG_OK;
}

const ecg_head_type ecg_head_simclr = {
    .name = "simclr",
    .kind = ECG_PRETRAINING,
    .rows = {"", sizeof(ecg_contrastive_weights), ecg_put_contrastive_rows},
    .size = sizeof(simclr),
    .check = check,
    .lay_out = lay_out,
    .forward = forward,
    .compared = compared,
    .compare = compare,
    .backward = backward,
};

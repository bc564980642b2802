#include "head.h"

#include <string.h>

const ecg_head_type *const ecg_heads[] = {&ecg_head_classifier, &ecg_head_contrastive, &ecg_head_simclr};

const int ecg_head_count = sizeof ecg_heads / sizeof *ecg_heads;

const ecg_head_type *ecg_head_named(const char *name)
{
    for (int i = 0; i < ecg_head_count; i++) {
        if (strcmp(ecg_heads[i]->name, name) == 0)
            return ecg_heads[i];
    }
    return NULL;
}

const ecg_head_type *ecg_head_of(ecg_kind kind)
{
    for (int i = 0; i < ecg_head_count; i++) {
        if (ecg_heads[i]->kind == kind)
            return ecg_heads[i];
    }
    return NULL;
}

ecg_status ecg_head_create(ecg_head *head, const ecg_head_type *type)
{
    memset(head, 0, sizeof *head);
    if (!type)
        return ECG_OK;
    ECG_TRY(ecg_alloc_zeros(&head->state, 1, type->size));
    head->type = type;
    if (type->at_seam)
        head->seams = (ecg_seams){head->state, type->at_seam, type->at_seam_backward};
    return ECG_OK;
}

void ecg_head_free(ecg_head *head)
{
    if (head->type && head->type->free)
        head->type->free(head->state);
    ecg_free(head->state);
    memset(head, 0, sizeof *head);
}

static void lay_out(ecg_head *head)
{
    ecg_work *work = &((ecg_head_state *)head->state)->work;
    head->arena.used = 0;
    work->packed = ecg_arena_take(&head->arena, (int64_t)head->sizes.packed, 1);
    work->scratch = ecg_arena_take(&head->arena, (int64_t)head->sizes.scratch, 1);
    head->type->lay_out(head->state, &head->arena);
}

ecg_status ecg_head_plan(ecg_head *head, const ecg_head_task *task)
{
    if (!head->type)
        return ECG_OK;
    ((ecg_head_state *)head->state)->task = task;
    if (head->type->plan)
        ECG_TRY(head->type->plan(head->state, &head->sizes));
    head->arena = (ecg_arena){0};
    lay_out(head);
    if (head->arena.overflow)
        return ecg_fail(ECG_NO_MEMORY, "what the head of %lld segments works in is too large", (long long)task->B);
    return ECG_OK;
}

void ecg_head_place(ecg_head *head, void *memory)
{
    if (!head->type)
        return;
    head->arena.base = memory;
    lay_out(head);
}

ecg_status ecg_head_forward(ecg_head *head, const ecg_encoded *encoded)
{
    if (!head->type)
        return ECG_OK;
    ((ecg_head_state *)head->state)->work.stream = encoded->stream;
    return head->type->forward(head->state, encoded);
}

const ecg_seams *ecg_head_seams(const ecg_head *head)
{
    return head->seams.forward ? &head->seams : NULL;
}

#include "choose.h"

#include <string.h>

/* The stages and layers of which something is trained. */
static void look_at_stages(ecg_chosen *chosen, ecg_training *training, const ecg_table *table, const ecg_config *config)
{
    unsigned extractor = ECG_P_EXTRACTOR;
    training->first = ecg_stages(config);
    for (int64_t i = 0; i < config->layers; i++)
        chosen->still[i] = true;
    for (int64_t i = 0; i < table->count; i++) {
        const ecg_parameter *p = &table->parameters[i];
        int64_t stage = ecg_stage_of(config, p);
        if (!chosen->trained[i] || p->flags & ECG_P_HEAD)
            continue;
        if (stage < training->first)
            training->first = stage;
        if (p->flags & ECG_P_LAYER)
            chosen->still[p->layer] = false;
        extractor &= ~p->flags;
    }
    training->frozen |= extractor;
    training->still = chosen->still;
}

/* Adds the groups of tensors for which the test holds, but for those that are there: a group lies together. */
static void add_groups(bool *dst, const ecg_table *table, const bool *trained, bool adapted)
{
    for (int64_t i = 0; i < table->count; i++) {
        const ecg_parameter *p = &table->parameters[i];
        bool adapter = p->flags & ECG_P_ADAPTER;
        int64_t group = adapter ? i : p->first;
        if (!trained[i] || (adapted && !adapter))
            continue;
        if (adapted)
            group = table->parameters[p->first].first;
        for (int64_t j = 0; j < table->count; j++)
            dst[j] |=
                j == group || (!(table->parameters[j].flags & ECG_P_ADAPTER) && table->parameters[j].first == group);
    }
}

/* What is trained, then what has a gradient for the sake of an adapter, then the rest. */
static ecg_status place(ecg_chosen *chosen, const ecg_table *table)
{
    bool *part;
    ECG_TRY(ecg_alloc_zeros((void **)&part, table->count, sizeof *part));
    add_groups(chosen->gradients, table, chosen->trained, false);
    chosen->moments = ecg_table_place(table, chosen->offsets, chosen->gradients, true, 0);
    add_groups(part, table, chosen->trained, true);
    for (int64_t i = 0; i < table->count; i++)
        part[i] &= !chosen->gradients[i];
    chosen->elements = ecg_table_place(table, chosen->offsets, part, true, chosen->moments);
    for (int64_t i = 0; i < table->count; i++)
        chosen->gradients[i] |= part[i];
    chosen->all = ecg_table_place(table, chosen->offsets, chosen->gradients, false, chosen->elements);
    ecg_free(part);
    return ECG_OK;
}

ecg_status ecg_choose(ecg_chosen *chosen, ecg_training *training, const ecg_table *table, const ecg_config *config,
                      const ecg_head_type *head, const ecg_choice *choice)
{
    int64_t count = table->count;
    ECG_TRY(ecg_alloc_zeros((void **)&chosen->trained, count, sizeof *chosen->trained));
    ECG_TRY(ecg_alloc_zeros((void **)&chosen->gradients, count, sizeof *chosen->gradients));
    ECG_TRY(ecg_alloc_zeros((void **)&chosen->offsets, count, sizeof *chosen->offsets));
    ECG_TRY(ecg_alloc_zeros((void **)&chosen->still, config->layers, sizeof *chosen->still));
    for (int64_t i = 0; i < count; i++) {
        const ecg_parameter *p = &table->parameters[i];
        chosen->trained[i] =
            !(p->flags & training->frozen) && (!choice->trains || choice->trains(choice->context, p->name));
    }
    look_at_stages(chosen, training, table, config);
    if (training->first > 0 && head->at_seam)
        return ecg_fail(ECG_BAD_CONFIG, "the head %s needs all of the encoder to be trained", head->name);
    return place(chosen, table);
}

void ecg_chosen_free(ecg_chosen *chosen)
{
    ecg_free(chosen->trained);
    ecg_free(chosen->gradients);
    ecg_free(chosen->offsets);
    ecg_free(chosen->still);
    memset(chosen, 0, sizeof *chosen);
}

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
    for (int64_t i = 0; i < count; i++) { /* a group as one */
        for (int64_t j = 0; chosen->trained[i] && j < count; j++)
            chosen->gradients[j] |= table->parameters[j].first == table->parameters[i].first;
    }
    chosen->elements = ecg_table_place(table, chosen->offsets, chosen->gradients, true, 0);
    chosen->all = ecg_table_place(table, chosen->offsets, chosen->gradients, false, chosen->elements);
    return ECG_OK;
}

void ecg_chosen_free(ecg_chosen *chosen)
{
    ecg_free(chosen->trained);
    ecg_free(chosen->gradients);
    ecg_free(chosen->offsets);
    ecg_free(chosen->still);
    memset(chosen, 0, sizeof *chosen);
}

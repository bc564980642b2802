#include "entry.h"

#include <float.h>
#include <string.h>

#include "../base/convert.h"

int64_t ecg_entry_first(const ecg_entry *entry)
{
    return entry->from && entry->stage > 0 ? entry->stage - 1 : 0;
}

int64_t ecg_entry_end(const ecg_entry *entry, const ecg_config *config)
{
    return entry->to && entry->stage <= config->layers ? entry->stage - 1 : config->layers;
}

void ecg_rows_enter(ecg_plan *p, const ecg_network *network, const ecg_entry *entry)
{
    const ecg_config *c = &p->config;
    int64_t M = ecg_rows(p), C = c->C, first = ecg_entry_first(entry);
    if (entry->type == ECG_BF16) {
#pragma omp parallel for schedule(static)
        for (int64_t row = 0; row < M; row++)
            ecg_from_bf16(p->x + row * C, (const uint16_t *)entry->from + row * C, C);
    } else {
        memcpy(p->x, entry->from, (size_t)(M * C) * sizeof *p->x);
    }
    if (!c->norm_first && first < c->layers && p->work.x_rows.type != ECG_F32) { /* what the norm before it would do */
        const ecg_operand next = ecg_operand_for(&network->layers[first].qkv, &p->work.x_rows);
        ecg_convert_rows(&next, &(const ecg_product_rows){.data = p->x}, false, M, C);
    }
}

void ecg_rows_leave(const ecg_plan *p, const ecg_entry *entry)
{
    int64_t C = p->config.C, M = entry->pooled ? p->B : ecg_rows(p);
    float *rows = p->x;
    if (entry->pooled) {
        rows = p->work.branch;
        ecg_pool_forward(rows, p->x, p->B, p->T, C);
        for (int64_t i = 0; i < M * C; i++)
            rows[i] = rows[i] == 0.f ? FLT_MIN : rows[i];
    }
    if (entry->type != ECG_BF16) {
        memcpy(entry->to, rows, (size_t)(M * C) * sizeof *rows);
        return;
    }
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < M; row++)
        ecg_to_bf16((uint16_t *)entry->to + row * C, rows + row * C, C);
}

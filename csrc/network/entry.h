/* Rows that are kept between forwards: what enters a stage of the encoder of which all before it never changes. */
#ifndef ECG_NETWORK_ENTRY_H
#define ECG_NETWORK_ENTRY_H

#include "plan.h"

/* Rows (B, T, C) of float32 or bfloat16, before the stage, or the encoder's output where that is ecg_stages. */
typedef struct {
    int64_t stage;
    ecg_dtype type;
    const void *from; /* the forward begins with these, not with a signal; or NULL */
    void *to;         /* the forward ends there and leaves them here; or NULL */
    bool pooled;      /* `to` is (B, C): their means over time, none of which is 0, since 0 is what padding is */
} ecg_entry;

/* The encoder layers that run: from the first to before the end. */
int64_t ecg_entry_first(const ecg_entry *entry);
int64_t ecg_entry_end(const ecg_entry *entry, const ecg_config *config);

/* Puts the rows into the plan's stream. */
void ecg_rows_enter(ecg_plan *plan, const ecg_network *network, const ecg_entry *entry);

/* Leaves what is in the plan's stream. */
void ecg_rows_leave(const ecg_plan *plan, const ecg_entry *entry);

#endif

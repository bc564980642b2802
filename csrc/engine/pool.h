/* Idle runners of a model, each with memory of its own, which calls take and give back. */
#ifndef ECG_ENGINE_POOL_H
#define ECG_ENGINE_POOL_H

#include "runner.h"

#define ECG_POOL_RUNNERS 64               /* one a thread and shape where threads share a request */
#define ECG_POOL_BYTES ((size_t)64 << 20) /* that idle runners hold, unless a single one holds more */

typedef struct {
    ecg_runner runner;
    void *memory;
    size_t bytes;
} ecg_lease;

typedef struct {
    ecg_lease idle[ECG_POOL_RUNNERS]; /* oldest first */
    int count;
} ecg_pool;

void ecg_pool_free(ecg_pool *pool);

/* Takes an idle runner of this shape and number of threads; false if there is none. */
bool ecg_pool_take(ecg_pool *pool, ecg_lease *dst, int64_t B, int64_t N, int threads);

/* Gives a runner back; the oldest idle ones go when there are too many or they are too large. */
void ecg_pool_give_back(ecg_pool *pool, ecg_lease *lease);

void ecg_lease_free(ecg_lease *lease);

#endif

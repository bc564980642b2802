/* Idle runners of a model, each with memory of its own, which calls take and give back. */
#ifndef ECG_ENGINE_POOL_H
#define ECG_ENGINE_POOL_H

#include "runner.h"

#define ECG_POOL_RUNNERS 64 /* one a thread and shape where threads share a request */
/* Bytes that idle runners hold, unless a single one holds more: of all, and of those that ran side by side of each (a
 * segment of base takes about 5 MB), so that the next request finds them. */
#define ECG_POOL_BYTES ((size_t)64 << 20)
#define ECG_POOL_BYTES_EACH ((size_t)16 << 20)

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

/* Gives a runner back, one of `side_by_side` that ran beside each other; the oldest idle ones go when there are too
 * many or they are too large. */
void ecg_pool_give_back(ecg_pool *pool, ecg_lease *lease, int side_by_side);

void ecg_lease_free(ecg_lease *lease);

#endif

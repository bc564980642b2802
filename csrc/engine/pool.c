#include "pool.h"

#include <pthread.h>
#include <string.h>

/* One for all pools: it is held for some moves of a few structs. A fork waits for it. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void hold(void)
{
    pthread_mutex_lock(&lock);
}

static void let_go(void)
{
    pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void install_fork_handlers(void)
{
    pthread_atfork(hold, let_go, let_go);
}

void ecg_lease_free(ecg_lease *lease)
{
    ecg_runner_free(&lease->runner);
    ecg_free(lease->memory);
    *lease = (ecg_lease){0};
}

void ecg_pool_free(ecg_pool *pool)
{
    while (pool->count)
        ecg_lease_free(&pool->idle[--pool->count]);
}

/* Takes runner i out. */
static ecg_lease take_out(ecg_pool *pool, int i)
{
    ecg_lease lease = pool->idle[i];
    pool->count--;
    memmove(pool->idle + i, pool->idle + i + 1, (size_t)(pool->count - i) * sizeof *pool->idle);
    return lease;
}

bool ecg_pool_take(ecg_pool *pool, ecg_lease *dst, int64_t B, int64_t N, int threads)
{
    bool found = false;
    hold();
    for (int i = 0; i < pool->count && !found; i++) {
        found = ecg_runner_fits(&pool->idle[i].runner, B, N, threads, false);
        if (found)
            *dst = take_out(pool, i);
    }
    let_go();
    return found;
}

void ecg_pool_give_back(ecg_pool *pool, ecg_lease *lease, int side_by_side)
{
    size_t each = ECG_POOL_BYTES_EACH * (size_t)side_by_side, most = each > ECG_POOL_BYTES ? each : ECG_POOL_BYTES;
    ecg_lease dropped[ECG_POOL_RUNNERS];
    size_t bytes = lease->bytes;
    int count = 0;
    hold();
    for (int i = 0; i < pool->count; i++)
        bytes += pool->idle[i].bytes;
    while (pool->count == ECG_POOL_RUNNERS || (pool->count && bytes > most)) {
        bytes -= pool->idle[0].bytes;
        dropped[count++] = take_out(pool, 0);
    }
    pool->idle[pool->count++] = *lease;
    let_go();
    *lease = (ecg_lease){0};
    while (count)
        ecg_lease_free(&dropped[--count]);
}

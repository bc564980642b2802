#define _GNU_SOURCE
#include "threads.h"

#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

#include "memory.h"

static _Atomic int wanted = 1;
static _Atomic bool forked;
static _Thread_local bool alone;

static void after_fork_in_child(void)
{
    atomic_store(&forked, true);
}

__attribute__((constructor)) static void install_fork_handler(void)
{
    pthread_atfork(NULL, NULL, after_fork_in_child);
}

void ecg_set_threads(int n)
{
    atomic_store(&wanted, n < 1 ? 1 : n);
}

int ecg_threads(void)
{
    return alone || atomic_load(&forked) ? 1 : atomic_load(&wanted);
}

static void *wait_for(void *gate)
{
    pthread_mutex_lock(gate);
    pthread_mutex_unlock(gate);
    return NULL;
}

ecg_status ecg_threads_prove(int n)
{
    static _Thread_local int proven = 1; /* each thread has workers of its own */
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    pthread_t *threads;
    int started = 0;
    if (n <= proven)
        return ECG_OK;
    ECG_TRY(ecg_alloc((void **)&threads, (size_t)n * sizeof *threads));
    pthread_mutex_lock(&gate); /* keeps all of them alive until the last one is there */
    while (started < n - 1 && pthread_create(&threads[started], NULL, wait_for, &gate) == 0)
        started++;
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    ecg_free(threads);
    if (started < n - 1)
        return ecg_fail(ECG_NO_MEMORY, "%d of %d threads can run: set fewer (ECGFM_NUM_THREADS, --threads)",
                        started + 1, n);
    proven = n;
    return ECG_OK;
}

void ecg_threads_use(int n)
{
    omp_set_num_threads(n);
}

void ecg_threads_alone(bool on)
{
    alone = on;
}

ecg_status ecg_threads_begin(int *n)
{
    int wanted_now = ecg_threads();
    if (n)
        *n = wanted_now;
    ECG_TRY(ecg_threads_prove(wanted_now));
    omp_set_num_threads(wanted_now);
    return ECG_OK;
}

int ecg_processors(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    int n = CPU_COUNT(&set);
    return n < 1 ? 1 : n;
}

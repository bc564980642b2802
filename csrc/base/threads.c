#define _GNU_SOURCE
#include "threads.h"

#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "memory.h"

static _Atomic int wanted = 1;
static _Atomic bool forked;

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
    return atomic_load(&forked) ? 1 : atomic_load(&wanted);
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

void ecg_threads_use(void)
{
    omp_set_num_threads(ecg_threads());
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

/* Ten independent chains hide the latency of a fused multiply-add (4 cycles, two a cycle). One function
 * for each vector width, since a vector wider than the registers would be spilled to memory. */
#define MULTIPLY_ADD(name, bytes, isa)                                                                             \
    __attribute__((target(isa))) static double name(int64_t rounds, volatile float *sink)                          \
    {                                                                                                              \
        typedef float vector __attribute__((vector_size(bytes)));                                                  \
        vector zero = {0.f}, factor = zero + 0.999f, term = zero + 1e-9f;                                          \
        vector a = zero, b = zero, c = zero, d = zero, e = zero, f = zero, g = zero, h = zero, i = zero, j = zero; \
        for (int64_t k = 0; k < rounds; k++) {                                                                     \
            a = a * factor + term, b = b * factor + term, c = c * factor + term, d = d * factor + term;            \
            e = e * factor + term, f = f * factor + term, g = g * factor + term, h = h * factor + term;            \
            i = i * factor + term, j = j * factor + term;                                                          \
            __asm__ volatile("" : "+x"(a), "+x"(b), "+x"(c), "+x"(d), "+x"(e));                                    \
            __asm__ volatile("" : "+x"(f), "+x"(g), "+x"(h), "+x"(i), "+x"(j));                                    \
        }                                                                                                          \
        vector sum = a + b + c + d + e + f + g + h + i + j;                                                        \
        *sink = sum[0];                                                                                            \
        return (double)rounds * 10 * 2 * ((bytes) / 4);                                                            \
    }

MULTIPLY_ADD(multiply_add_512, 64, "avx512f")
MULTIPLY_ADD(multiply_add_256, 32, "avx2,fma")
MULTIPLY_ADD(multiply_add_128, 16, "sse2")

double ecg_measure_peak(int threads, double seconds)
{
    double (*multiply_add)(int64_t, volatile float *) = multiply_add_128;
    if (__builtin_cpu_supports("avx512f"))
        multiply_add = multiply_add_512;
    else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        multiply_add = multiply_add_256;
    double best = 0, end = omp_get_wtime() + seconds;
    threads = ecg_threads() == 1 ? 1 : threads;
    do {
        double operations = 0, start = omp_get_wtime();
#pragma omp parallel num_threads(threads) reduction(+ : operations)
        {
            volatile float sink;
            operations += multiply_add(1000000, &sink);
        }
        double rate = operations / (omp_get_wtime() - start);
        if (rate > best)
            best = rate;
    } while (omp_get_wtime() < end);
    return best;
}

/* What the programs of tests share: checks that are counted, numbers, exact allocations, a small network. */
#ifndef ECG_TESTS_CHECK_H
#define ECG_TESTS_CHECK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../csrc/network/config.h"

static int failures;

#define CHECK(condition, ...)                               \
    do {                                                    \
        if (!(condition)) {                                 \
            failures++;                                     \
            fprintf(stderr, "%s:%d: ", __func__, __LINE__); \
            fprintf(stderr, __VA_ARGS__);                   \
            fprintf(stderr, " [%s]\n", #condition);         \
        }                                                   \
    } while (0)

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

static uint64_t state = 88172645463325252u;

/* Uniform in (-1, 1). */
static float uniform(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (float)((double)(state >> 11) / (double)(1ull << 52) - 1.0);
}

static void *get(size_t bytes)
{
    void *memory = malloc(bytes ? bytes : 1);
    if (!memory)
        exit(100);
    return memory;
}

static float *floats(int64_t n)
{
    return get((size_t)n * sizeof(float));
}

/* n numbers in (-scale, scale) around `center`. */
static float *numbers(int64_t n, float scale, float center)
{
    float *x = floats(n);
    for (int64_t i = 0; i < n; i++)
        x[i] = center + scale * uniform();
    return x;
}

static inline float *copy(const float *x, int64_t n)
{
    return memcpy(floats(n), x, (size_t)n * sizeof *x);
}

static ecg_config small_config(void)
{
    return (ecg_config){.kind = ECG_CLASSIFIER,
                        .layers = 2,
                        .C = 32,
                        .F = 48,
                        .H = 4,
                        .leads = 12,
                        .conv_count = 4,
                        .convs = {{16, 2, 2}, {16, 2, 2}, {16, 2, 2}, {16, 2, 2}},
                        .conv_pos = 16,
                        .conv_pos_groups = 4,
                        .labels = 5};
}

/* Ends the program: says how many checks failed, which is its exit status. */
static int finish(void)
{
    fprintf(stderr, "%d checks failed\n", failures);
    return failures > 99 ? 99 : failures;
}

#endif

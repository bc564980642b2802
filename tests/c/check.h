/* What the programs of tests share: checks that are counted, numbers, exact allocations. */
#ifndef ECG_TESTS_CHECK_H
#define ECG_TESTS_CHECK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static float *copy(const float *x, int64_t n)
{
    return memcpy(floats(n), x, (size_t)n * sizeof *x);
}

#endif

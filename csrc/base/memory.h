/* Aligned memory, overflow-checked sizes, and an arena that is planned before it is allocated. */
#ifndef ECG_BASE_MEMORY_H
#define ECG_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dtype.h"
#include "status.h"

#define ECG_ALIGNMENT 64

/* *dst = the product of n factors; false on overflow or a negative factor. */
bool ecg_product(int64_t *dst, int n, const int64_t *factors);

/* 64-byte aligned memory, not initialised. The caller frees it with ecg_free, and with nothing else. */
ecg_status ecg_alloc(void **dst, size_t bytes);
void ecg_free(void *memory);

/* Gives the system back what lies free on the heap, where the C library can: it may keep tens of megabytes that nothing
 * asks for again. */
void ecg_trim_heap(void);

/* `count` elements of `size` bytes, all 0. */
ecg_status ecg_alloc_zeros(void **dst, int64_t count, size_t size);

/* Whether so many bytes could be had at this moment; nothing is taken. For what is about to call a library that
 * ends the process, or stays broken, when its own allocations fail. */
ecg_status ecg_expect_memory(size_t bytes);

/* For tests: the k-th allocation from now on fails (k = 1, 2, ...); 0 switches this off. */
void ecg_fail_allocation(int64_t k);

/* An arena hands out aligned pieces of one block. Layout code runs twice over the same arena: first
 * with base == NULL to measure (`peak` is then the size to allocate), then with the block. A failure
 * (overflow) is sticky in `overflow`, so that layout code needs no checks in between. */
typedef struct {
    unsigned char *base; /* NULL while measuring */
    size_t used;
    size_t peak;
    bool overflow;
} ecg_arena;

/* `count` elements of `size` bytes; NULL while measuring. */
void *ecg_arena_take(ecg_arena *arena, int64_t count, size_t size);

/* a * b * c, or -1 on overflow, which ecg_arena_take refuses. */
int64_t ecg_elements(int64_t a, int64_t b, int64_t c);

/* A tensor of a * b * c elements of a type. */
void *ecg_arena_tensor(ecg_arena *arena, ecg_dtype type, int64_t a, int64_t b, int64_t c);

#endif

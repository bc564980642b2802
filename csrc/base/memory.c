#define _GNU_SOURCE
#include "memory.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

static _Atomic int64_t allocations_until_failure;

bool ecg_product(int64_t *dst, int n, const int64_t *factors)
{
    int64_t product = 1;
    for (int i = 0; i < n; i++) {
        if (factors[i] < 0 || __builtin_mul_overflow(product, factors[i], &product))
            return false;
    }
    *dst = product;
    return true;
}

void ecg_fail_allocation(int64_t k)
{
    atomic_store(&allocations_until_failure, k);
}

/* Blocks of this size and more come from the system and go back to it, so that what loading a model needs for
 * a moment does not stay; and they may lie on huge pages, which spares the processor most address look-ups. */
#define MAPPED_BYTES ((size_t)1 << 20)
#define HUGE_PAGE ((size_t)2 << 20)
#define SMALL_PAGE ((size_t)4096)

/* Stands before each block. */
typedef union {
    size_t mapped; /* bytes of the mapping, or 0 for a block of the heap */
    unsigned char room[ECG_ALIGNMENT];
} header;

/* A mapping that starts where a huge page does: what lies before the first such place would be on small ones, of which
 * each costs the system a fault when it is first used. */
static void *map(size_t bytes)
{
    size_t more;
    if (__builtin_add_overflow(bytes, HUGE_PAGE, &more))
        return NULL;
    unsigned char *memory = mmap(NULL, more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    size_t before = -(uintptr_t)memory % HUGE_PAGE, kept = (bytes + SMALL_PAGE - 1) / SMALL_PAGE * SMALL_PAGE;
    if (before)
        munmap(memory, before);
    if (more > before + kept)
        munmap(memory + before + kept, more - before - kept);
    madvise(memory + before, bytes, MADV_HUGEPAGE); /* a hint: where it is refused, the pages are small */
    return memory + before;
}

ecg_status ecg_alloc(void **dst, size_t bytes)
{
    void *memory = NULL;
    size_t whole;
    *dst = NULL;
    if (atomic_load(&allocations_until_failure) > 0 && atomic_fetch_sub(&allocations_until_failure, 1) == 1)
        return ecg_fail(ECG_NO_MEMORY, "an allocation of %zu bytes was made to fail", bytes);
    if (!__builtin_add_overflow(bytes, sizeof(header), &whole)) {
        if (whole >= MAPPED_BYTES)
            memory = map(whole);
        else if (posix_memalign(&memory, ECG_ALIGNMENT, whole) != 0)
            memory = NULL;
    }
    if (!memory)
        return ecg_fail(ECG_NO_MEMORY, "%zu bytes of memory could not be had", bytes);
    ((header *)memory)->mapped = whole >= MAPPED_BYTES ? whole : 0;
    *dst = (header *)memory + 1;
    return ECG_OK;
}

ecg_status ecg_alloc_zeros(void **dst, int64_t count, size_t size)
{
    ECG_TRY(ecg_alloc(dst, (size_t)count * size));
    memset(*dst, 0, (size_t)count * size);
    return ECG_OK;
}

ecg_status ecg_expect_memory(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return ecg_fail(ECG_NO_MEMORY, "%zu bytes of memory could not be had", bytes);
    munmap(memory, bytes);
    return ECG_OK;
}

void ecg_free(void *memory)
{
    if (!memory)
        return;
    header *start = (header *)memory - 1;
    if (start->mapped)
        munmap(start, start->mapped);
    else
        free(start);
}

void ecg_trim_heap(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

void *ecg_arena_take(ecg_arena *arena, int64_t count, size_t size)
{
    size_t bytes, end;
    if (count < 0 || __builtin_mul_overflow((size_t)count, size, &bytes) ||
        __builtin_add_overflow(bytes, ECG_ALIGNMENT - 1, &bytes) ||
        __builtin_add_overflow(arena->used, bytes & ~(size_t)(ECG_ALIGNMENT - 1), &end)) {
        arena->overflow = true;
        return NULL;
    }
    void *piece = arena->base ? arena->base + arena->used : NULL;
    arena->used = end;
    if (end > arena->peak)
        arena->peak = end;
    return piece;
}

int64_t ecg_elements(int64_t a, int64_t b, int64_t c)
{
    int64_t size;
    return ecg_product(&size, 3, (int64_t[]){a, b, c}) ? size : -1;
}

void *ecg_arena_tensor(ecg_arena *arena, ecg_dtype type, int64_t a, int64_t b, int64_t c)
{
    return ecg_arena_take(arena, ecg_elements(a, b, c), ecg_dtypes[type].size);
}

#include "adapters.h"

#include "../base/kernel.h"
#include "../base/memory.h"

#define COLUMNS 64

ecg_status ecg_adapters_create(ecg_adapter **dst, int64_t *count, const ecg_table *table)
{
    *dst = NULL;
    *count = 0;
    for (int64_t i = 0; i < table->count; i++)
        *count += (table->parameters[i].flags & ECG_P_ADAPTER) != 0;
    *count /= 2;
    ecg_status status = ecg_alloc_zeros((void **)dst, *count, sizeof **dst);
    ecg_adapter *adapter = *dst;
    for (int64_t i = 0; i < table->count && status == ECG_OK && *count > 0; i++) {
        const ecg_parameter *p = &table->parameters[i];
        if (!(p->flags & ECG_P_ADAPTER))
            continue;
        *adapter = (ecg_adapter){.weight = p->first, .a = i, .b = i + 1, .rank = p->shape[0], .C = p->shape[1]};
        status = ecg_alloc_zeros((void **)&adapter->base, adapter->C * adapter->C, sizeof(float));
        adapter++, i++; /* B follows A */
    }
    return status;
}

void ecg_adapters_free(ecg_adapter *adapters, int64_t count)
{
    for (int64_t i = 0; adapters && i < count; i++)
        ecg_free(adapters[i].base);
    ecg_free(adapters);
}

/* n columns of row r of diff_a. */
ECG_KERNEL static void diff_a_piece(float *dst, const float *diff, const float *b, int64_t C, int64_t rank, int64_t n)
{
    double sums[COLUMNS] = {0};
    for (int64_t o = 0; o < C; o++) {
#pragma omp simd
        for (int64_t c = 0; c < n; c++)
            sums[c] += (double)b[o * rank] * diff[o * C + c];
    }
    for (int64_t c = 0; c < n; c++)
        dst[c] = (float)sums[c];
}

ECG_KERNEL static float dot(const float *a, const float *b, int64_t n)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += (double)a[i] * b[i];
    return (float)sum;
}

void ecg_adapter_backward(float *diff_a, float *diff_b, const float *diff, const float *a, const float *b,
                          const ecg_adapter *adapter)
{
    int64_t C = adapter->C, rank = adapter->rank;
#pragma omp parallel for schedule(static) collapse(2)
    for (int64_t r = 0; r < rank; r++) {
        for (int64_t c = 0; c < C; c += COLUMNS)
            diff_a_piece(diff_a + r * C + c, diff + c, b + r, C, rank, C - c < COLUMNS ? C - c : COLUMNS);
    }
#pragma omp parallel for schedule(static)
    for (int64_t o = 0; o < C; o++) {
        for (int64_t r = 0; r < rank; r++)
            diff_b[o * rank + r] = dot(diff + o * C, a + r * C, C);
    }
}

ECG_KERNEL static void merge_row(float *dst, const float *base, const float *a, const float *b, int64_t C, int64_t rank)
{
    for (int64_t c = 0; c < C; c++)
        dst[c] = base[c];
    for (int64_t r = 0; r < rank; r++) {
#pragma omp simd
        for (int64_t c = 0; c < C; c++)
            dst[c] += b[r] * a[r * C + c];
    }
}

void ecg_adapter_merge(float *weight, const float *a, const float *b, const ecg_adapter *adapter)
{
    int64_t C = adapter->C, rank = adapter->rank;
#pragma omp parallel for schedule(static)
    for (int64_t o = 0; o < C; o++)
        merge_row(weight + o * C, adapter->base + o * C, a, b + o * rank, C, rank);
}

/* Low-rank adapters: the weight of a query or a value is W = base + B A, of which A and B are trained and the base is
 * not. W itself stands among the parameters, so the rest of the network knows nothing of this; its gradient gives those
 * of A and B. */
#ifndef ECG_ENGINE_ADAPTERS_H
#define ECG_ENGINE_ADAPTERS_H

#include "../network/parameters.h"

/* One of them; the numbers are those of the tensors in the table. */
typedef struct {
    int64_t weight, a, b;
    int64_t rank, C;
    float *base; /* (C, C) */
} ecg_adapter;

/* Those of a table, in its order; *adapters (count) is the caller's, to be freed with ecg_adapters_free. */
ecg_status ecg_adapters_create(ecg_adapter **adapters, int64_t *count, const ecg_table *table);
void ecg_adapters_free(ecg_adapter *adapters, int64_t count);

/* diff_a (rank, C) = B^T diff, diff_b (C, rank) = diff A^T, of the gradient `diff` (C, C) of W. */
void ecg_adapter_backward(float *diff_a, float *diff_b, const float *diff, const float *a, const float *b,
                          const ecg_adapter *adapter);

/* weight (C, C) = base + B A. */
void ecg_adapter_merge(float *weight, const float *a, const float *b, const ecg_adapter *adapter);

#endif

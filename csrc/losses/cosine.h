/* What losses of cosines share. */
#ifndef ECG_LOSSES_COSINE_H
#define ECG_LOSSES_COSINE_H

#include <math.h>
#include <stdint.h>

#define ECG_SMALLEST_NORM 1e-8 /* as torch's cosine similarity */

static inline double ecg_cosine_norm(const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    return fmax(sqrt(sum), ECG_SMALLEST_NORM);
}

#endif

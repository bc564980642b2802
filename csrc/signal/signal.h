/* Whole recordings on their way to segments: moments of each lead, linear resampling, standardising, cutting.
 *
 * A recording is (N, leads), the sample slowest, as signal files have it. All sums run over the samples in order and
 * nothing is fused, so that results are those of NumPy on the transposed array, bit by bit. One thread. */
#ifndef ECG_SIGNAL_SIGNAL_H
#define ECG_SIGNAL_SIGNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "../base/status.h"

/* What becomes of a lead all of whose values are equal. */
typedef enum {
    ECG_CONSTANT_ZERO, /* zeros */
    ECG_CONSTANT_NAN,  /* NaN */
    ECG_CONSTANT_KEEP  /* what is left when its mean is taken out */
} ecg_constant;

/* Mean and population standard deviation of each lead, the number of its NaN, whether all its values are equal. */
void ecg_moments_double(double *mean,    // (leads)
                        double *std,     // (leads)
                        int64_t *nans,   // (leads)
                        bool *constant,  // (leads)
                        const double *x, // (N, leads)
                        int64_t N, int64_t leads);
void ecg_moments_float(float *mean, float *std, int64_t *nans, bool *constant, const float *x, int64_t N,
                       int64_t leads);

/* N samples become M: placed evenly on [0, M-1] and read at 0, 1, ..., M-1 by linear interpolation. M == N copies.
 * Of these readings the `count` from number `first` on are taken, so that a long recording is resampled in parts. */
typedef struct {
    int64_t N, M;         /* of the whole recording, before and after */
    int64_t first, count; /* first + count <= M */
} ecg_reading;

/* The samples that a reading needs: from `begin` to before `end`. */
void ecg_reading_reach(int64_t *begin, int64_t *end, ecg_reading reading);

void ecg_resample_double(double *dst,       // (count, leads)
                         const double *src, // (end - begin, leads)
                         ecg_reading reading, int64_t leads);
void ecg_resample_float(double *dst, const float *src, ecg_reading reading, int64_t leads);

/* Each lead minus its mean, divided by its standard deviation and `epsilon` (0 for a lead of equal values). With
 * `recentre` the deviation is that about the mean of what is left, which is no more than rounding away from 0. */
ecg_status ecg_standardise(double *x,    // (M, leads), in place
                           double *mean, // (leads), out
                           double *std,  // (leads), out
                           int64_t M, int64_t leads, double epsilon, bool recentre, ecg_constant strategy);

/* The first n * size samples as n segments. */
void ecg_cut(float *dst,      // (n, leads, size)
             const double *x, // (M, leads), M >= n * size
             int64_t n, int64_t size, int64_t leads);

#endif

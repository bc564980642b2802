#include "signal.h"

#include <math.h>

#include "../base/kernel.h"
#include "../base/memory.h"

/* A product and a sum are rounded each, on every processor. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("fp-contract=off")
#endif

/* ---- moments ---- */

/* The same text for both types; a lead's accumulator is of the type itself, as NumPy has it. */
#define MOMENTS(name, T, root)                                                                                        \
    ECG_INLINE void name##_rows(T *mean, T *std, int64_t *nans, bool *constant, const T *x, int64_t N, int64_t leads) \
    {                                                                                                                 \
        for (int64_t l = 0; l < leads; l++) {                                                                         \
            mean[l] = std[l] = 0;                                                                                     \
            nans[l] = 0;                                                                                              \
        }                                                                                                             \
        for (int64_t t = 0; t < N; t++)                                                                               \
            for (int64_t l = 0; l < leads; l++)                                                                       \
                mean[l] += x[t * leads + l];                                                                          \
        bool any = false;                                                                                             \
        for (int64_t l = 0; l < leads; l++) {                                                                         \
            any |= mean[l] != mean[l];                                                                                \
            mean[l] /= (T)N;                                                                                          \
        }                                                                                                             \
        for (int64_t t = 0; t < N; t++) {                                                                             \
            for (int64_t l = 0; l < leads; l++) {                                                                     \
                T centred = x[t * leads + l] - mean[l], square = centred * centred;                                   \
                std[l] += square;                                                                                     \
            }                                                                                                         \
        }                                                                                                             \
        for (int64_t l = 0; l < leads; l++) {                                                                         \
            std[l] = root(std[l] / (T)N);                                                                             \
            int64_t t = 1;                                                                                            \
            while (t < N && x[t * leads + l] == x[l])                                                                 \
                t++;                                                                                                  \
            constant[l] = t >= N && x[l] == x[l];                                                                     \
        }                                                                                                             \
        for (int64_t i = 0; any && i < N * leads; i++)                                                                \
            nans[i % leads] += x[i] != x[i];                                                                          \
    }                                                                                                                 \
    ECG_KERNEL void name(T *mean, T *std, int64_t *nans, bool *constant, const T *x, int64_t N, int64_t leads)        \
    {                                                                                                                 \
        if (leads == 12) {                                                                                            \
            T m[12], s[12]; /* its own memory: the sums stay in registers */                                          \
            int64_t n[12];                                                                                            \
            name##_rows(m, s, n, constant, x, N, 12);                                                                 \
            for (int l = 0; l < 12; l++) {                                                                            \
                mean[l] = m[l];                                                                                       \
                std[l] = s[l];                                                                                        \
                nans[l] = n[l];                                                                                       \
            }                                                                                                         \
        } else {                                                                                                      \
            name##_rows(mean, std, nans, constant, x, N, leads);                                                      \
        }                                                                                                             \
    }

MOMENTS(ecg_moments_double, double, sqrt)
MOMENTS(ecg_moments_float, float, sqrtf)

/* ---- resampling ---- */

/* Sample i lies at i * step, the last one at M - 1 exactly. */
ECG_INLINE double place(int64_t i, double step, int64_t M, int64_t N)
{
    return i == N - 1 ? (double)(M - 1) : (double)i * step;
}

/* Between the samples a and b = a + 1 with place(a) < t <= place(b); t = 0 counts to the first two. A difference is
 * taken in the type of the samples. One sample alone is what every reading gives. */
#define RESAMPLE(name, T)                                                                                         \
    ECG_INLINE void name##_rows(double *restrict dst, const T *restrict src, int64_t M, int64_t N, int64_t leads) \
    {                                                                                                             \
        double step = (double)(M - 1) / (double)(N - 1);                                                          \
        int64_t b = 1;                                                                                            \
        for (int64_t t = 0; t < M; t++) {                                                                         \
            while (b < N - 1 && place(b, step, M, N) < (double)t)                                                 \
                b++;                                                                                              \
            double left = place(b - 1, step, M, N), width = place(b, step, M, N) - left;                          \
            const T *lo = src + (b - 1) * leads, *hi = src + b * leads;                                           \
            double *out = dst + t * leads, reach = (double)t - left;                                              \
            for (int64_t l = 0; l < leads; l++) {                                                                 \
                T difference = hi[l] - lo[l];                                                                     \
                double slope = (double)difference / width, rise = slope * reach;                                  \
                out[l] = rise + (double)lo[l];                                                                    \
            }                                                                                                     \
        }                                                                                                         \
    }                                                                                                             \
    ECG_KERNEL void name(double *dst, const T *src, int64_t M, int64_t N, int64_t leads)                          \
    {                                                                                                             \
        if (M == N || N < 2 || M < 2) {                                                                           \
            for (int64_t i = 0; i < M * leads; i++)                                                               \
                dst[i] = (double)src[N < 2 ? i % leads : i];                                                      \
        } else if (leads == 12) {                                                                                 \
            name##_rows(dst, src, M, N, 12);                                                                      \
        } else {                                                                                                  \
            name##_rows(dst, src, M, N, leads);                                                                   \
        }                                                                                                         \
    }

RESAMPLE(ecg_resample_double, double)
RESAMPLE(ecg_resample_float, float)

/* ---- standardising ---- */

/* Takes the mean out of each lead and gives the population deviation of what is left, from its own mean: the way of
 * the reference. */
ECG_INLINE void centre_rows(double *restrict x, double *restrict mean, double *restrict again, double *restrict std,
                            int64_t M, int64_t leads)
{
    for (int64_t l = 0; l < leads; l++)
        mean[l] = again[l] = std[l] = 0;
    for (int64_t t = 0; t < M; t++)
        for (int64_t l = 0; l < leads; l++)
            mean[l] += x[t * leads + l];
    for (int64_t l = 0; l < leads; l++)
        mean[l] /= (double)M;
    for (int64_t t = 0; t < M; t++) {
        for (int64_t l = 0; l < leads; l++) {
            x[t * leads + l] -= mean[l];
            again[l] += x[t * leads + l];
        }
    }
    for (int64_t l = 0; l < leads; l++)
        again[l] /= (double)M;
    for (int64_t t = 0; t < M; t++) {
        for (int64_t l = 0; l < leads; l++) {
            double left = x[t * leads + l] - again[l], square = left * left;
            std[l] += square;
        }
    }
    for (int64_t l = 0; l < leads; l++)
        std[l] = sqrt(std[l] / (double)M);
}

ECG_INLINE void divide_rows(double *restrict x, const double *restrict by, int64_t M, int64_t leads)
{
    for (int64_t t = 0; t < M; t++)
        for (int64_t l = 0; l < leads; l++)
            x[t * leads + l] /= by[l];
}

ECG_KERNEL static void centre(double *x, double *mean, double *again, double *std, int64_t M, int64_t leads)
{
    if (leads != 12) {
        centre_rows(x, mean, again, std, M, leads);
        return;
    }
    double m[12], a[12], s[12];
    centre_rows(x, m, a, s, M, 12);
    for (int l = 0; l < 12; l++) {
        mean[l] = m[l];
        std[l] = s[l];
    }
}

ECG_KERNEL static void divide(double *x, const double *by, int64_t M, int64_t leads)
{
    if (leads == 12)
        divide_rows(x, by, M, 12);
    else
        divide_rows(x, by, M, leads);
}

static bool is_constant(const double *x, int64_t M, int64_t leads)
{
    for (int64_t t = 1; t < M; t++)
        if (x[t * leads] != x[0])
            return false;
    return x[0] == x[0];
}

ecg_status ecg_standardise(double *x, double *mean, double *std, int64_t M, int64_t leads, ecg_constant strategy)
{
    void *memory = NULL;
    ECG_TRY(ecg_alloc(&memory, (size_t)leads * (sizeof(double) + sizeof(bool))));
    double *by = memory;
    bool *constant = (bool *)(by + leads);
    for (int64_t l = 0; l < leads; l++)
        constant[l] = is_constant(x + l, M, leads);
    centre(x, mean, by, std, M, leads);
    for (int64_t l = 0; l < leads; l++) {
        constant[l] |= std[l] == 0;
        by[l] = constant[l] ? 1. : std[l];
        std[l] = constant[l] ? 0. : std[l];
    }
    divide(x, by, M, leads);
    for (int64_t l = 0; l < leads; l++) {
        if (!constant[l] || strategy == ECG_CONSTANT_KEEP)
            continue;
        for (int64_t t = 0; t < M; t++)
            x[t * leads + l] = strategy == ECG_CONSTANT_ZERO ? 0. : (double)NAN;
    }
    ecg_free(memory);
    return ECG_OK;
}

/* ---- cutting ---- */

enum { TILE = 32 }; /* samples: a tile of all leads stays in the first cache while it is turned */

void ecg_cut(float *dst, const double *x, int64_t n, int64_t size, int64_t leads)
{
    for (int64_t s = 0; s < n; s++) {
        float *segment = dst + s * leads * size;
        const double *from = x + s * size * leads;
        for (int64_t start = 0; start < size; start += TILE) {
            int64_t stop = start + TILE < size ? start + TILE : size;
            for (int64_t l = 0; l < leads; l++)
                for (int64_t t = start; t < stop; t++)
                    segment[l * size + t] = (float)from[t * leads + l];
        }
    }
}

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

/* The first sample from number 1 on that lies at t or behind it, or the last. */
static int64_t right_of(int64_t t, int64_t M, int64_t N)
{
    double step = (double)(M - 1) / (double)(N - 1);
    int64_t b = (int64_t)((double)t / step) - 2; /* never too far, whichever way the division rounds */
    b = b < 1 ? 1 : b > N - 1 ? N - 1 : b;
    while (b < N - 1 && place(b, step, M, N) < (double)t)
        b++;
    return b;
}

void ecg_reading_reach(int64_t *begin, int64_t *end, ecg_reading reading)
{
    int64_t M = reading.M, N = reading.N, last = reading.first + reading.count - 1;
    if (M == N || M < 2 || N < 2) {
        *begin = M == N ? reading.first : 0;
        *end = M == N ? last + 1 : 1;
    } else {
        *begin = right_of(reading.first, M, N) - 1;
        *end = right_of(last, M, N) + 1;
    }
}

/* Between the samples a and b = a + 1 with place(a) < t <= place(b); t = 0 counts to the first two. A difference is
 * taken in the type of the samples. One sample alone is what every reading gives. */
#define RESAMPLE(name, T)                                                                                  \
    ECG_INLINE void name##_rows(double *restrict dst, const T *restrict src, ecg_reading r, int64_t leads) \
    {                                                                                                      \
        double step = (double)(r.M - 1) / (double)(r.N - 1);                                               \
        int64_t begin, end;                                                                                \
        ecg_reading_reach(&begin, &end, r);                                                                \
        int64_t b = begin + 1;                                                                             \
        for (int64_t i = 0; i < r.count; i++) {                                                            \
            double t = (double)(r.first + i);                                                              \
            while (b < r.N - 1 && place(b, step, r.M, r.N) < t)                                            \
                b++;                                                                                       \
            double left = place(b - 1, step, r.M, r.N), width = place(b, step, r.M, r.N) - left;           \
            const T *lo = src + (b - 1 - begin) * leads, *hi = lo + leads;                                 \
            double *out = dst + i * leads, reach = t - left;                                               \
            for (int64_t l = 0; l < leads; l++) {                                                          \
                T difference = hi[l] - lo[l];                                                              \
                double slope = (double)difference / width, rise = slope * reach;                           \
                out[l] = rise + (double)lo[l];                                                             \
            }                                                                                              \
        }                                                                                                  \
    }                                                                                                      \
    ECG_KERNEL void name(double *dst, const T *src, ecg_reading r, int64_t leads)                          \
    {                                                                                                      \
        if (r.M == r.N || r.N < 2 || r.M < 2) {                                                            \
            for (int64_t i = 0; i < r.count * leads; i++)                                                  \
                dst[i] = (double)src[r.N < 2 ? i % leads : i];                                             \
        } else if (leads == 12) {                                                                          \
            name##_rows(dst, src, r, 12);                                                                  \
        } else {                                                                                           \
            name##_rows(dst, src, r, leads);                                                               \
        }                                                                                                  \
    }

RESAMPLE(ecg_resample_double, double)
RESAMPLE(ecg_resample_float, float)

/* ---- standardising ---- */

/* Takes the mean out of each lead and gives the population deviation of what is left: from 0, or, as the reference's
 * pipeline has it, from its own mean. */
ECG_INLINE void centre_rows(double *restrict x, double *restrict mean, double *restrict again, double *restrict std,
                            int64_t M, int64_t leads, bool recentre)
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
        again[l] = recentre ? again[l] / (double)M : 0.;
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

ECG_KERNEL static void centre(double *x, double *mean, double *again, double *std, int64_t M, int64_t leads,
                              bool recentre)
{
    if (leads != 12) {
        centre_rows(x, mean, again, std, M, leads, recentre);
        return;
    }
    double m[12], a[12], s[12];
    centre_rows(x, m, a, s, M, 12, recentre);
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

ecg_status ecg_standardise(double *x, double *mean, double *std, int64_t M, int64_t leads, double epsilon,
                           bool recentre, ecg_constant strategy)
{
    void *memory = NULL;
    ECG_TRY(ecg_alloc(&memory, (size_t)leads * (sizeof(double) + sizeof(bool))));
    double *by = memory;
    bool *constant = (bool *)(by + leads);
    for (int64_t l = 0; l < leads; l++)
        constant[l] = is_constant(x + l, M, leads);
    centre(x, mean, by, std, M, leads, recentre);
    for (int64_t l = 0; l < leads; l++) {
        constant[l] |= std[l] == 0;
        by[l] = constant[l] ? 1. : std[l] + epsilon;
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

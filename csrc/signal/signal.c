#include "signal.h"

#include <math.h>

#include "../base/memory.h"

/* The same text for both types; a lead's accumulator is of the type itself, as NumPy has it. */
#define MOMENTS(name, T, root)                                                                        \
    void name(T *mean, T *std, int64_t *nans, bool *constant, const T *x, int64_t N, int64_t leads)   \
    {                                                                                                 \
        for (int64_t l = 0; l < leads; l++) {                                                         \
            mean[l] = std[l] = 0;                                                                     \
            nans[l] = 0;                                                                              \
            constant[l] = N > 0;                                                                      \
        }                                                                                             \
        for (int64_t t = 0; t < N; t++) {                                                             \
            const T *row = x + t * leads;                                                             \
            for (int64_t l = 0; l < leads; l++) {                                                     \
                mean[l] += row[l];                                                                    \
                nans[l] += row[l] != row[l];                                                          \
            }                                                                                         \
        }                                                                                             \
        for (int64_t l = 0; l < leads; l++)                                                           \
            mean[l] /= (T)N;                                                                          \
        for (int64_t t = 0; t < N; t++) {                                                             \
            const T *row = x + t * leads;                                                             \
            for (int64_t l = 0; l < leads; l++) {                                                     \
                T centred = row[l] - mean[l], square = centred * centred;                             \
                std[l] += square;                                                                     \
                constant[l] &= row[l] == x[l];                                                        \
            }                                                                                         \
        }                                                                                             \
        for (int64_t l = 0; l < leads; l++)                                                           \
            std[l] = root(std[l] / (T)N);                                                             \
    }

MOMENTS(ecg_moments_double, double, sqrt)
MOMENTS(ecg_moments_float, float, sqrtf)

/* Sample i lies at i * step, the last one at M - 1 exactly. */
static double place(int64_t i, double step, int64_t M, int64_t N)
{
    return i == N - 1 ? (double)(M - 1) : (double)i * step;
}

/* Between the samples a and b = a + 1 with place(a) < t <= place(b); t = 0 counts to the first two. A difference is
 * taken in the type of the samples. One sample alone is what every reading gives. */
#define RESAMPLE(name, T)                                                                             \
    void name(double *dst, const T *src, int64_t M, int64_t N, int64_t leads)                         \
    {                                                                                                 \
        if (M == N || N < 2 || M < 2) {                                                                        \
            for (int64_t i = 0; i < M * leads; i++)                                                   \
                dst[i] = (double)src[N < 2 ? i % leads : i];                                          \
            return;                                                                                   \
        }                                                                                             \
        double step = (double)(M - 1) / (double)(N - 1);                                              \
        int64_t b = 1;                                                                                \
        for (int64_t t = 0; t < M; t++) {                                                             \
            while (b < N - 1 && place(b, step, M, N) < (double)t)                                     \
                b++;                                                                                  \
            double left = place(b - 1, step, M, N), width = place(b, step, M, N) - left;              \
            const T *lo = src + (b - 1) * leads, *hi = src + b * leads;                               \
            double *out = dst + t * leads, reach = (double)t - left;                                  \
            for (int64_t l = 0; l < leads; l++) {                                                     \
                T difference = hi[l] - lo[l];                                                         \
                double slope = (double)difference / width, rise = slope * reach;                      \
                out[l] = rise + (double)lo[l];                                                        \
            }                                                                                         \
        }                                                                                             \
    }

RESAMPLE(ecg_resample_double, double)
RESAMPLE(ecg_resample_float, float)

static void standardise_rows(double *x, const double *std, const bool *constant, int64_t M, int64_t leads,
                             ecg_constant strategy)
{
    for (int64_t t = 0; t < M; t++)
        for (int64_t l = 0; l < leads; l++)
            x[t * leads + l] /= std[l];
    for (int64_t l = 0; l < leads; l++) {
        if (!constant[l] || strategy == ECG_CONSTANT_KEEP)
            continue;
        for (int64_t t = 0; t < M; t++)
            x[t * leads + l] = strategy == ECG_CONSTANT_ZERO ? 0. : (double)NAN;
    }
}

ecg_status ecg_standardise(double *x, double *mean, double *std, int64_t M, int64_t leads, ecg_constant strategy)
{
    void *memory = NULL;
    ECG_TRY(ecg_alloc(&memory, (size_t)leads * (sizeof(double) + sizeof(int64_t) + 2 * sizeof(bool))));
    double *again = memory;
    int64_t *nans = (int64_t *)(again + leads);
    bool *constant = (bool *)(nans + leads), *centred = constant + leads;
    ecg_moments_double(mean, std, nans, constant, x, M, leads);
    for (int64_t t = 0; t < M; t++)
        for (int64_t l = 0; l < leads; l++)
            x[t * leads + l] -= mean[l];
    ecg_moments_double(again, std, nans, centred, x, M, leads); /* of what is centred, as the reference takes it */
    for (int64_t l = 0; l < leads; l++) {
        constant[l] |= std[l] == 0;
        again[l] = constant[l] ? 1. : std[l];
        std[l] = constant[l] ? 0. : std[l];
    }
    standardise_rows(x, again, constant, M, leads, strategy);
    ecg_free(memory);
    return ECG_OK;
}

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

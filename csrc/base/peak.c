#include "peak.h"

#include <immintrin.h>
#include <omp.h>
#include <stdint.h>

#include "threads.h"

#define CHAINS 12     /* independent ones hide the latency of an instruction: 4 to 6 cycles, two a cycle */
#define ROUNDS 200000 /* of a try: below a millisecond, so that some tries are not interrupted on a busy machine */

/* Makes a function of one instruction in one width, which adds products to twelve sums and returns the operations done.
 * A vector wider than the registers would be spilled to memory, so each width has a function of its own; the sums and
 * two factors fit the sixteen registers that all widths have. The empty assembly keeps the compiler from leaving out
 * sums that nobody reads and from knowing the factors. */
#define PRODUCTS(name, isa, vector, factor, products, step)                               \
    __attribute__((target(isa))) static double name(int64_t rounds)                       \
    {                                                                                     \
        factor a = {0}, b = {0};                                                          \
        vector c = {0}, d = {0}, e = {0}, f = {0}, g = {0}, h = {0};                      \
        vector i = {0}, j = {0}, k = {0}, l = {0}, m = {0}, n = {0};                      \
        __asm__ volatile("" : "+x"(a), "+x"(b));                                          \
        for (int64_t round = 0; round < rounds; round++) {                                \
            c = step(c), d = step(d), e = step(e), f = step(f), g = step(g), h = step(h); \
            i = step(i), j = step(j), k = step(k), l = step(l), m = step(m), n = step(n); \
            __asm__ volatile("" : "+x"(c), "+x"(d), "+x"(e), "+x"(f), "+x"(g), "+x"(h));  \
            __asm__ volatile("" : "+x"(i), "+x"(j), "+x"(k), "+x"(l), "+x"(m), "+x"(n));  \
        }                                                                                 \
        return 2.0 * CHAINS * (products) * (double)rounds;                                \
    }

#define MULTIPLY_ADD(sum) (sum) * a + b /* one instruction where there is one */
#define BFLOAT16_512(sum) _mm512_dpbf16_ps(sum, a, b)
#define INT8_512(sum) _mm512_dpbusd_epi32(sum, a, b)
#define INT8_256(sum) _mm256_dpbusd_avx_epi32(sum, a, b)

PRODUCTS(float32_512, "avx512f", __m512, __m512, 16, MULTIPLY_ADD)
PRODUCTS(float32_256, "avx2,fma", __m256, __m256, 8, MULTIPLY_ADD)
PRODUCTS(float32_128, "sse2", __m128, __m128, 4, MULTIPLY_ADD)
PRODUCTS(bfloat16_512, "avx512bf16", __m512, __m512bh, 32, BFLOAT16_512)
PRODUCTS(int8_512, "avx512vnni", __m512i, __m512i, 64, INT8_512)
PRODUCTS(int8_256, "avxvnni", __m256i, __m256i, 32, INT8_256)

typedef double (*products)(int64_t rounds);

/* The widest that the processor has; NULL if there is none. */
static products find(ecg_dtype type)
{
    switch (type) {
    case ECG_F32:
        if (__builtin_cpu_supports("avx512f"))
            return float32_512;
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? float32_256 : float32_128;
    case ECG_BF16:
        return __builtin_cpu_supports("avx512bf16") ? bfloat16_512 : NULL;
    case ECG_S8:
        if (__builtin_cpu_supports("avx512vnni"))
            return int8_512;
        return __builtin_cpu_supports("avxvnni") ? int8_256 : NULL;
    default:
        return NULL;
    }
}

ecg_status ecg_measure_peak(double *peak, int threads, double seconds, ecg_dtype type)
{
    products run = find(type);
    double end = omp_get_wtime() + seconds;
    if (!run)
        return ecg_fail(ECG_BAD_ARGUMENT, "this processor has no instruction that adds up products in %s",
                        (unsigned)type < ECG_DTYPES ? ecg_dtypes[type].name : "such a type");
    threads = ecg_threads() == 1 || threads < 1 ? 1 : threads;
    ECG_TRY(ecg_threads_prove(threads));
    *peak = 0;
    do {
        double operations = 0, start = omp_get_wtime();
#pragma omp parallel num_threads(threads) reduction(+ : operations)
        operations += run(ROUNDS);
        double rate = operations / (omp_get_wtime() - start);
        if (rate > *peak)
            *peak = rate;
    } while (omp_get_wtime() < end);
    return ECG_OK;
}

#include "convert.h"

#include <string.h>

#include "kernel.h"

ECG_KERNEL void ecg_to_bf16(uint16_t *dst, const float *src, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits, rounded;
        memcpy(&bits, src + i, sizeof bits);
        rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
        dst[i] = (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? bits >> 16 | 0x40 : rounded);
    }
}

ECG_KERNEL void ecg_from_bf16(float *dst, const uint16_t *src, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)src[i] << 16;
        memcpy(dst + i, &bits, sizeof bits);
    }
}

/* So many numbers of int8 that their sum fits into 32 bits. */
#define SUM_PIECE (1 << 23)

/* 1.5 * 2^23: adding it rounds to an integer, which the lowest bits then hold. */
#define MAGIC 12582912.f

ECG_INLINE int32_t rounded(float x)
{
    float shifted = x + MAGIC;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    return bits;
}

/* A scale and its inverse; both 0 where it is none, or so small that float32 can't hold the inverse. */
ECG_INLINE float usable(float scale, float *inverse)
{
    scale = scale > 1e-37f ? scale : 0.f;
    *inverse = scale > 0 ? 1.f / scale : 0.f;
    return scale;
}

ECG_KERNEL float ecg_to_s8(int8_t *dst, const float *src, const float *factors, int64_t n)
{
    float largest = 0;
#pragma omp simd reduction(max : largest)
    for (int64_t i = 0; i < n; i++) {
        float value = src[i] * factors[i], magnitude = value < 0 ? -value : value;
        largest = magnitude > largest ? magnitude : largest;
    }
    float inverse, scale = usable(largest / 127.f, &inverse);
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        dst[i] = (int8_t)rounded(src[i] * factors[i] * inverse);
    return scale;
}

ECG_KERNEL int64_t ecg_sum_s8(const int8_t *src, int64_t n)
{
    int64_t sum = 0;
    for (int64_t begin = 0; begin < n; begin += SUM_PIECE) {
        int32_t piece = 0, end = (int32_t)(n - begin < SUM_PIECE ? n - begin : SUM_PIECE);
#pragma omp simd reduction(+ : piece)
        for (int32_t i = 0; i < end; i++)
            piece += src[begin + i];
        sum += piece;
    }
    return sum;
}

ECG_KERNEL static void plain_to_u8(uint8_t *dst, float *scale, float *shift, const float *src, int64_t n)
{
    float least = src[0], most = src[0], inverse;
#pragma omp simd reduction(min : least) reduction(max : most)
    for (int64_t i = 0; i < n; i++) {
        least = src[i] < least ? src[i] : least;
        most = src[i] > most ? src[i] : most;
    }
    *scale = usable((most - least) / 255.f, &inverse);
    *shift = least;
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        dst[i] = (uint8_t)rounded((src[i] - least) * inverse);
}

ECG_KERNEL static void scaled_to_u8(uint8_t *dst, float *scale, float *shift, const float *src, const float *factors,
                                    int64_t n)
{
    float least = src[0] * factors[0], most = least, inverse;
#pragma omp simd reduction(min : least) reduction(max : most)
    for (int64_t i = 0; i < n; i++) {
        float value = src[i] * factors[i];
        least = value < least ? value : least;
        most = value > most ? value : most;
    }
    *scale = usable((most - least) / 255.f, &inverse);
    *shift = least;
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        dst[i] = (uint8_t)rounded((src[i] * factors[i] - least) * inverse);
}

void ecg_to_u8(uint8_t *dst, float *scale, float *shift, const float *src, const float *factors, int64_t n)
{
    if (factors)
        scaled_to_u8(dst, scale, shift, src, factors, n);
    else
        plain_to_u8(dst, scale, shift, src, n);
}

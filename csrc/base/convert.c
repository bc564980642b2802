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

/* 1.5 * 2^23: adding it rounds to an integer, which the lowest bits then hold. */
#define MAGIC 12582912.f

ECG_INLINE int8_t rounded(float x)
{
    float shifted = x + MAGIC;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    return (int8_t)bits;
}

ECG_INLINE float magnitude(float x)
{
    return x < 0 ? -x : x;
}

ECG_KERNEL static float plain_to_s8(int8_t *dst, const float *src, int64_t n)
{
    float largest = 0;
#pragma omp simd reduction(max : largest)
    for (int64_t i = 0; i < n; i++)
        largest = magnitude(src[i]) > largest ? magnitude(src[i]) : largest;
    float scale = largest / 127.f, inverse = scale > 0 ? 1.f / scale : 0.f;
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        dst[i] = rounded(src[i] * inverse);
    return scale;
}

ECG_KERNEL static float scaled_to_s8(int8_t *dst, const float *src, const float *factors, int64_t n)
{
    float largest = 0;
#pragma omp simd reduction(max : largest)
    for (int64_t i = 0; i < n; i++) {
        float value = magnitude(src[i] * factors[i]);
        largest = value > largest ? value : largest;
    }
    float scale = largest / 127.f, inverse = scale > 0 ? 1.f / scale : 0.f;
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        dst[i] = rounded(src[i] * factors[i] * inverse);
    return scale;
}

float ecg_to_s8(int8_t *dst, const float *src, const float *factors, int64_t n)
{
    return factors ? scaled_to_s8(dst, src, factors, n) : plain_to_s8(dst, src, n);
}

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

ECG_KERNEL float ecg_to_s8(int8_t *dst, const float *src, int64_t n)
{
    float largest = 0;
#pragma omp simd reduction(max : largest)
    for (int64_t i = 0; i < n; i++) {
        float magnitude = src[i] < 0 ? -src[i] : src[i];
        largest = magnitude > largest ? magnitude : largest;
    }
    float scale = largest / 127.f, inverse = scale > 0 ? 1.f / scale : 0.f;
    const float magic = 12582912.f; /* 1.5 * 2^23: adding it rounds to an integer, which its lowest bits hold */
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float shifted = src[i] * inverse + magic;
        int32_t bits;
        memcpy(&bits, &shifted, sizeof bits);
        dst[i] = (int8_t)bits;
    }
    return scale;
}

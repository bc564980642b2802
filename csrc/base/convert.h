/* The door between the types: float32 to the others, rounded to the nearest and to even between two. Serial; the
 * loops around them are parallel. */
#ifndef ECG_BASE_CONVERT_H
#define ECG_BASE_CONVERT_H

#include <stdint.h>

/* dst = src in bfloat16, the upper half of a float32. A NaN stays one. */
void ecg_to_bf16(uint16_t *dst, const float *src, int64_t n);
void ecg_from_bf16(float *dst, const uint16_t *src, int64_t n);

/* dst * scale = src factors within half a step of `scale`, which it returns: the largest magnitude / 127, 0 for all
 * zeros. */
float ecg_to_s8(int8_t *dst,          /* (n) */
                const float *src,     /* (n) */
                const float *factors, /* (n) */
                int64_t n);

/* The sum of n numbers. */
int64_t ecg_sum_s8(const int8_t *src, int64_t n);

/* dst * scale + shift = src factors within half a step of `scale`: the range / 255, 0 where all are equal; `shift` is
 * the least. */
void ecg_to_u8(uint8_t *dst, float *scale, float *shift, /* (n), one, one */
               const float *src,                         /* (n) */
               const float *factors,                     /* (n), or NULL for ones */
               int64_t n);

#endif

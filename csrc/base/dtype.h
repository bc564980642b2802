/* The types of tensors' elements: a row of the table each. */
#ifndef ECG_BASE_DTYPE_H
#define ECG_BASE_DTYPE_H

#include <stddef.h>

/* ECG_F32 is 0, so that a zeroed spec of an operation is one in float32. */
typedef enum { ECG_F32, ECG_BF16, ECG_S8, ECG_U8, ECG_DTYPES } ecg_dtype;

typedef struct {
    const char *name;
    size_t size; /* of an element, in bytes */
} ecg_dtype_traits;

extern const ecg_dtype_traits ecg_dtypes[ECG_DTYPES];

#endif

#include "dtype.h"

#include <stdint.h>

const ecg_dtype_traits ecg_dtypes[ECG_DTYPES] = {
    [ECG_F32] = {"float32", sizeof(float)},
    [ECG_BF16] = {"bfloat16", sizeof(uint16_t)},
    [ECG_S8] = {"int8", sizeof(int8_t)},
    [ECG_U8] = {"uint8", sizeof(uint8_t)},
};

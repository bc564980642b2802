#include "dtype.h"

const ecg_dtype_traits ecg_dtypes[ECG_DTYPES] = {
    [ECG_F32] = {"float32", sizeof(float)},
};

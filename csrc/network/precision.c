#include "precision.h"

#include <string.h>

/* In int8 the linear layers of the encoder alone. Float32 in all: the residual stream, norms and softmax; the output
 * layer; the conv blocks and the projection behind them, which are 1 to 2 % of the work and whose rounding all layers
 * after them would see (in bfloat16 they add half to the error). */
static const ecg_precision table[ECG_PRECISIONS] = {
    [ECG_FLOAT32] = {"float32", ECG_F32, ECG_F32, {.linear = ECG_F32, .attention = ECG_F32}},
    [ECG_BFLOAT16] = {"bfloat16", ECG_BF16, ECG_BF16, {.linear = ECG_BF16, .attention = ECG_BF16}},
    [ECG_INT8] = {"int8", ECG_S8, ECG_BF16, {.linear = ECG_U8, .attention = ECG_F32}},
};

ecg_precision ecg_precision_of(ecg_precision_name name)
{
    ecg_precision found = table[name];
    if (found.positions == ECG_BF16 && !ecg_bfloat16_gains())
        found.positions = ECG_F32;
    return found;
}

ecg_precision ecg_precision_of_training(ecg_precision_name name)
{
    ecg_precision found = table[name];
    found.positions = ECG_F32;
    return found;
}

ecg_precision_name ecg_precision_find(const char *name)
{
    int i = 0;
    while (i < ECG_PRECISIONS && strcmp(table[i].name, name) != 0)
        i++;
    return (ecg_precision_name)i;
}

bool ecg_precision_supported(ecg_precision_name name)
{
    return ecg_dtype_supported(table[name].needs);
}

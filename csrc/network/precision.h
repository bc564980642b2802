/* In which type each kind of operation runs: a precision is a row of the table. */
#ifndef ECG_NETWORK_PRECISION_H
#define ECG_NETWORK_PRECISION_H

#include <stdbool.h>

#include "../base/dtype.h"
#include "../layers/transformer.h"

typedef enum { ECG_FLOAT32, ECG_BFLOAT16, ECG_INT8, ECG_PRECISIONS } ecg_precision_name;

typedef struct {
    const char *name;
    ecg_dtype needs;            /* the type of which the processor must have products */
    ecg_dtype positions;        /* of the positional convolution; all sums are float32 */
    ecg_transformer_types rows; /* of the encoder layers */
} ecg_precision;

/* The precision as this processor runs it: where bfloat16 gains nothing, the positional convolution is float32. */
ecg_precision ecg_precision_of(ecg_precision_name name);

/* The same for a network that is trained: the encoder layers alone are in another type than float32. */
ecg_precision ecg_precision_of_training(ecg_precision_name name);

/* Finds a name; ECG_PRECISIONS if there is no such precision. */
ecg_precision_name ecg_precision_find(const char *name);

/* Whether the processor has what a precision needs. */
bool ecg_precision_supported(ecg_precision_name name);

#endif

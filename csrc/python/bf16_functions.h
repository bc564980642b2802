/* bfloat16 in arrays of uint16, for the module. */
#ifndef ECG_PYTHON_BF16_FUNCTIONS_H
#define ECG_PYTHON_BF16_FUNCTIONS_H

#include "common.h"

extern const char bf16_narrow_doc[], bf16_widen_doc[], bf16_sum_narrow_doc[];

PyObject *bf16_narrow(PyObject *self, PyObject *args);
PyObject *bf16_widen(PyObject *self, PyObject *args);
PyObject *bf16_sum_narrow(PyObject *self, PyObject *args);

#endif

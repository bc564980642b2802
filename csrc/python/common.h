/* What the files of the extension module share. */
#ifndef ECG_PYTHON_COMMON_H
#define ECG_PYTHON_COMMON_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define NPY_NO_DEPRECATED_API NPY_1_22_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL ecgfm_core_array_api
#ifndef ECG_IMPORT_ARRAY
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>

#include "../base/status.h"
#include "../network/config.h"

/* Raises the exception that fits the status with this thread's message; always returns NULL. */
PyObject *raise_status(ecg_status status);

/* Loads the exception classes of ecgfm.errors; -1 with an exception on failure. */
int load_errors(void);

/* A configuration from a dict of the original's keys and a kind ("encoder", "classifier", "pretraining").
 * Keys that don't describe the architecture are ignored; a missing or mistyped one raises ConfigError. */
int parse_config(ecg_config *dst, PyObject *dict, const char *kind);

/* Raises SignalError naming the first entry of x (B, L, N) that is not finite; -1 if there is one. */
int check_finite(PyArrayObject *x);

/* ecg_threads_begin with an exception: -1 if it failed. */
int begin_threads(int *n);

/* Looks at pending signals now and then while the GIL is released: poll_begin releases it, poll_end takes it
 * back, poll_signals is the callback in between, with the state as its context. */
typedef struct {
    PyThreadState *thread;
    double last;
} poll_state;

void poll_begin(poll_state *state);
void poll_end(poll_state *state);
ecg_status poll_signals(void *state);

extern PyTypeObject ModelType, TrainerType;

#endif

/* The module's functions on whole recordings. */
#ifndef ECG_PYTHON_SIGNAL_FUNCTIONS_H
#define ECG_PYTHON_SIGNAL_FUNCTIONS_H

#include <Python.h>

PyObject *signal_moments(PyObject *self, PyObject *object);
PyObject *signal_reach(PyObject *self, PyObject *args);
PyObject *signal_resample(PyObject *self, PyObject *args);
PyObject *signal_standardise(PyObject *self, PyObject *args);
PyObject *signal_cut(PyObject *self, PyObject *args);

#endif

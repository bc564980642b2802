/* Whole recordings: the functions `moments`, `condition` and `cut` of the module. */
#include "common.h"
#include "signal_functions.h"

#include <string.h>

#include "../base/memory.h"
#include "../signal/signal.h"

/* A recording (N, leads) of one of two types, dense; NULL with an exception if it is none. */
static PyArrayObject *recording(PyObject *object, bool may_be_float)
{
    PyArrayObject *array = (PyArrayObject *)object;
    if (!PyArray_Check(object) || PyArray_NDIM(array) != 2 || !PyArray_ISCARRAY_RO(array) ||
        !(PyArray_TYPE(array) == NPY_DOUBLE || (may_be_float && PyArray_TYPE(array) == NPY_FLOAT))) {
        PyErr_SetString(PyExc_TypeError, "the recording must be a dense (N, leads) array of float32 or float64");
        return NULL;
    }
    if (PyArray_DIM(array, 0) < 1 || PyArray_DIM(array, 1) < 1) {
        PyErr_SetString(PyExc_ValueError, "the recording is empty");
        return NULL;
    }
    return array;
}

/* (mean, std, nans, constant), arrays of one value per lead. */
PyObject *signal_moments(PyObject *self, PyObject *object)
{
    (void)self;
    PyArrayObject *x = recording(object, true);
    if (!x)
        return NULL;
    npy_intp N = PyArray_DIM(x, 0), leads = PyArray_DIM(x, 1);
    PyObject *mean = PyArray_SimpleNew(1, &leads, PyArray_TYPE(x));
    PyObject *std = PyArray_SimpleNew(1, &leads, PyArray_TYPE(x));
    PyObject *nans = PyArray_SimpleNew(1, &leads, NPY_INT64), *constant = PyArray_SimpleNew(1, &leads, NPY_BOOL);
    PyObject *result = NULL;
    if (!mean || !std || !nans || !constant)
        goto done;
    void *m = PyArray_DATA((PyArrayObject *)mean), *s = PyArray_DATA((PyArrayObject *)std);
    int64_t *count = PyArray_DATA((PyArrayObject *)nans);
    bool *same = PyArray_DATA((PyArrayObject *)constant);
    Py_BEGIN_ALLOW_THREADS;
    if (PyArray_TYPE(x) == NPY_DOUBLE)
        ecg_moments_double(m, s, count, same, PyArray_DATA(x), N, leads);
    else
        ecg_moments_float(m, s, count, same, PyArray_DATA(x), N, leads);
    Py_END_ALLOW_THREADS;
    result = PyTuple_Pack(4, mean, std, nans, constant);
done:
    Py_XDECREF(mean);
    Py_XDECREF(std);
    Py_XDECREF(nans);
    Py_XDECREF(constant);
    return result;
}

static int parse_strategy(ecg_constant *dst, const char *name)
{
    static const char *const names[] = {"zero", "nan", "constant"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(name, names[i]) == 0) {
            *dst = (ecg_constant)i;
            return 0;
        }
    }
    PyErr_Format(PyExc_ValueError, "%s is no strategy", name);
    return -1;
}

/* condition(x, samples, strategy): resampled to so many samples and, unless the strategy is None, standardised:
 * (x (samples, leads) float64, mean, std); mean and std are None if it is not. */
PyObject *signal_condition(PyObject *self, PyObject *args)
{
    PyObject *object, *mean = Py_None, *std = Py_None, *dst = NULL, *result = NULL;
    Py_ssize_t samples;
    const char *name;
    ecg_constant strategy = ECG_CONSTANT_ZERO;
    ecg_status status = ECG_OK;
    (void)self;
    if (!PyArg_ParseTuple(args, "Onz", &object, &samples, &name))
        return NULL;
    PyArrayObject *x = recording(object, true);
    if (!x || (name && parse_strategy(&strategy, name)))
        return NULL;
    if (samples < 1) {
        PyErr_SetString(PyExc_ValueError, "there must be at least one sample");
        return NULL;
    }
    npy_intp N = PyArray_DIM(x, 0), leads = PyArray_DIM(x, 1), shape[] = {samples, leads};
    dst = PyArray_SimpleNew(2, shape, NPY_DOUBLE);
    mean = name ? PyArray_SimpleNew(1, &leads, NPY_DOUBLE) : Py_NewRef(Py_None);
    std = name ? PyArray_SimpleNew(1, &leads, NPY_DOUBLE) : Py_NewRef(Py_None);
    if (!dst || !mean || !std)
        goto done;
    double *to = PyArray_DATA((PyArrayObject *)dst);
    double *m = name ? PyArray_DATA((PyArrayObject *)mean) : NULL;
    double *s = name ? PyArray_DATA((PyArrayObject *)std) : NULL;
    Py_BEGIN_ALLOW_THREADS;
    if (PyArray_TYPE(x) == NPY_DOUBLE)
        ecg_resample_double(to, PyArray_DATA(x), samples, N, leads);
    else
        ecg_resample_float(to, PyArray_DATA(x), samples, N, leads);
    if (name)
        status = ecg_standardise(to, m, s, samples, leads, strategy);
    Py_END_ALLOW_THREADS;
    result = status == ECG_OK ? PyTuple_Pack(3, dst, mean, std) : raise_status(status);
done:
    Py_XDECREF(dst);
    Py_XDECREF(mean);
    Py_XDECREF(std);
    return result;
}

/* cut(x, size): the segments of `size` samples that x (M, leads) holds, (n, leads, size) float32. */
PyObject *signal_cut(PyObject *self, PyObject *args)
{
    PyObject *object;
    Py_ssize_t size;
    (void)self;
    if (!PyArg_ParseTuple(args, "On", &object, &size))
        return NULL;
    PyArrayObject *x = recording(object, false);
    if (!x)
        return NULL;
    if (size < 1) {
        PyErr_SetString(PyExc_ValueError, "a segment has at least one sample");
        return NULL;
    }
    npy_intp leads = PyArray_DIM(x, 1), shape[] = {PyArray_DIM(x, 0) / size, leads, size};
    PyObject *dst = PyArray_SimpleNew(3, shape, NPY_FLOAT);
    if (!dst)
        return NULL;
    float *to = PyArray_DATA((PyArrayObject *)dst);
    Py_BEGIN_ALLOW_THREADS;
    ecg_cut(to, PyArray_DATA(x), shape[0], size, leads);
    Py_END_ALLOW_THREADS;
    return dst;
}

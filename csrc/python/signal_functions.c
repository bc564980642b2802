/* Whole recordings: the functions `moments`, `reach`, `resample`, `standardise` and `cut` of the module. */
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
    PyErr_Format(PyExc_ValueError, "%s is not a strategy", name);
    return -1;
}

/* The arguments (N, M, first, last) as a reading; -1 with an exception if they are none. */
static int parse_reading(ecg_reading *dst, const Py_ssize_t at[4])
{
    Py_ssize_t N = at[0], M = at[1], first = at[2], last = at[3];
    if (N < 1 || M < 1 || N > PY_SSIZE_T_MAX / 64 || M > PY_SSIZE_T_MAX / 64 || first < 0 || first >= last ||
        last > M) {
        PyErr_SetString(PyExc_ValueError, "there must be at least one sample, and a part of the recording to read");
        return -1;
    }
    *dst = (ecg_reading){N, M, first, last - first};
    return 0;
}

/* reach(N, M, first, last): the samples of N that the readings from `first` to before `last` of M need. */
PyObject *signal_reach(PyObject *self, PyObject *args)
{
    Py_ssize_t at[4];
    ecg_reading reading;
    int64_t begin, end;
    (void)self;
    if (!PyArg_ParseTuple(args, "nnnn", &at[0], &at[1], &at[2], &at[3]) || parse_reading(&reading, at))
        return NULL;
    ecg_reading_reach(&begin, &end, reading);
    return Py_BuildValue("LL", (long long)begin, (long long)end);
}

/* resample(x, N, M, first, last): these readings of M, (last - first, leads) float64, from the samples that they need:
 * x (end - begin, leads). */
PyObject *signal_resample(PyObject *self, PyObject *args)
{
    PyObject *object, *dst;
    Py_ssize_t at[4];
    ecg_reading reading;
    int64_t begin, end;
    (void)self;
    if (!PyArg_ParseTuple(args, "Onnnn", &object, &at[0], &at[1], &at[2], &at[3]))
        return NULL;
    PyArrayObject *x = recording(object, true);
    if (!x || parse_reading(&reading, at))
        return NULL;
    ecg_reading_reach(&begin, &end, reading);
    if (PyArray_DIM(x, 0) != end - begin) {
        PyErr_Format(PyExc_ValueError, "%zd samples where %lld are read", PyArray_DIM(x, 0), (long long)(end - begin));
        return NULL;
    }
    npy_intp leads = PyArray_DIM(x, 1), shape[] = {(npy_intp)reading.count, leads};
    dst = PyArray_SimpleNew(2, shape, NPY_DOUBLE);
    if (!dst)
        return NULL;
    double *to = PyArray_DATA((PyArrayObject *)dst);
    Py_BEGIN_ALLOW_THREADS;
    if (PyArray_TYPE(x) == NPY_DOUBLE)
        ecg_resample_double(to, PyArray_DATA(x), reading, leads);
    else
        ecg_resample_float(to, PyArray_DATA(x), reading, leads);
    Py_END_ALLOW_THREADS;
    return dst;
}

/* standardise(x, epsilon, recentre, strategy): x (N, leads) float64 in place; its (mean, std) before. */
PyObject *signal_standardise(PyObject *self, PyObject *args)
{
    PyObject *object, *mean = NULL, *std = NULL, *result = NULL;
    const char *name;
    double epsilon;
    int recentre;
    ecg_constant strategy;
    ecg_status status;
    (void)self;
    if (!PyArg_ParseTuple(args, "Odps", &object, &epsilon, &recentre, &name))
        return NULL;
    PyArrayObject *x = recording(object, false);
    if (!x || parse_strategy(&strategy, name))
        return NULL;
    if (PyArray_FailUnlessWriteable(x, "the recording") < 0)
        return NULL;
    npy_intp N = PyArray_DIM(x, 0), leads = PyArray_DIM(x, 1);
    mean = PyArray_SimpleNew(1, &leads, NPY_DOUBLE);
    std = PyArray_SimpleNew(1, &leads, NPY_DOUBLE);
    if (!mean || !std)
        goto done;
    double *m = PyArray_DATA((PyArrayObject *)mean), *s = PyArray_DATA((PyArrayObject *)std);
    Py_BEGIN_ALLOW_THREADS;
    status = ecg_standardise(PyArray_DATA(x), m, s, N, leads, epsilon, recentre, strategy);
    Py_END_ALLOW_THREADS;
    result = status == ECG_OK ? PyTuple_Pack(2, mean, std) : raise_status(status);
done:
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

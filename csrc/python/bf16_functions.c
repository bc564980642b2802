/* float32 as bfloat16 and back, for what is sent: the functions `narrow`, `widen` and `sum_narrow` of the module. */
#include "bf16_functions.h"
#include "common.h"

#include "../base/convert.h"

#define PIECE 8192

/* Two arrays of these types, dense, the second one writeable; -1 with an exception. */
static int parse(PyObject *args, PyArrayObject **src, int src_type, PyArrayObject **dst, int dst_type)
{
    if (!PyArg_ParseTuple(args, "O!O!", &PyArray_Type, src, &PyArray_Type, dst))
        return -1;
    if (PyArray_TYPE(*src) == src_type && PyArray_TYPE(*dst) == dst_type && PyArray_ISCARRAY_RO(*src) &&
        PyArray_ISCARRAY(*dst))
        return 0;
    PyErr_SetString(PyExc_TypeError, "bfloat16 is uint16, and arrays are dense");
    return -1;
}

static PyObject *sizes_differ(void)
{
    PyErr_SetString(PyExc_ValueError, "the sizes do not fit");
    return NULL;
}

PyObject *bf16_narrow(PyObject *self, PyObject *args)
{
    PyArrayObject *src, *dst;
    (void)self;
    if (parse(args, &src, NPY_FLOAT, &dst, NPY_UINT16))
        return NULL;
    int64_t n = PyArray_SIZE(src);
    const float *from = PyArray_DATA(src);
    uint16_t *to = PyArray_DATA(dst);
    if (n != PyArray_SIZE(dst))
        return sizes_differ();
    Py_BEGIN_ALLOW_THREADS;
#pragma omp parallel for schedule(static) if (n > PIECE)
    for (int64_t i = 0; i < n; i += PIECE)
        ecg_to_bf16(to + i, from + i, n - i < PIECE ? n - i : PIECE);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

PyObject *bf16_widen(PyObject *self, PyObject *args)
{
    PyArrayObject *src, *dst;
    (void)self;
    if (parse(args, &src, NPY_UINT16, &dst, NPY_FLOAT))
        return NULL;
    int64_t n = PyArray_SIZE(src);
    const uint16_t *from = PyArray_DATA(src);
    float *to = PyArray_DATA(dst);
    if (n != PyArray_SIZE(dst))
        return sizes_differ();
    Py_BEGIN_ALLOW_THREADS;
#pragma omp parallel for schedule(static) if (n > PIECE)
    for (int64_t i = 0; i < n; i += PIECE)
        ecg_from_bf16(to + i, from + i, n - i < PIECE ? n - i : PIECE);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

PyObject *bf16_sum_narrow(PyObject *self, PyObject *args)
{
    PyArrayObject *src, *dst;
    (void)self;
    if (parse(args, &src, NPY_UINT16, &dst, NPY_FLOAT))
        return NULL;
    int64_t n = PyArray_SIZE(dst), rows = PyArray_NDIM(src) == 2 ? PyArray_DIM(src, 0) : 0;
    const uint16_t *from = PyArray_DATA(src);
    float *to = PyArray_DATA(dst);
    if (rows < 1 || PyArray_DIM(src, 1) != n)
        return sizes_differ();
    Py_BEGIN_ALLOW_THREADS;
#pragma omp parallel for schedule(static) if (n > PIECE)
    for (int64_t i = 0; i < n; i += PIECE) {
        int64_t count = n - i < PIECE ? n - i : PIECE;
        float wide[PIECE];
        ecg_from_bf16(to + i, from + i, count);
        for (int64_t row = 1; row < rows; row++) {
            ecg_from_bf16(wide, from + row * n + i, count);
#pragma omp simd
            for (int64_t k = 0; k < count; k++)
                to[i + k] += wide[k];
        }
    }
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

const char bf16_narrow_doc[] = "narrow(src, dst, /)\n--\n\ndst, uint16, = src, float32, rounded to bfloat16.";
const char bf16_widen_doc[] = "widen(src, dst, /)\n--\n\ndst, float32, = src, bfloat16 in uint16.";
const char bf16_sum_narrow_doc[] =
    "sum_narrow(src, dst, /)\n--\n\ndst (n), float32, = the sum of the rows of src (R, n), bfloat16 in uint16.";

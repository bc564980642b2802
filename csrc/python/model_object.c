/* The type ecgfm._core.Model. */
#include "common.h"

#include <string.h>

#include "../base/convert.h"
#include "../base/threads.h"
#include "../engine/passes.h"

typedef struct {
    PyObject_HEAD
    ecg_model model;
} ModelObject;

static void model_dealloc(PyObject *object)
{
    ModelObject *self = (ModelObject *)object;
    ecg_model_free(&self->model);
    Py_TYPE(object)->tp_free(object);
}

/* Made whole or not at all, so that no method ever meets a model without a configuration. */
static PyObject *model_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"config", "kind", "precision", NULL};
    PyObject *dict;
    const char *kind, *name = "float32";
    ecg_config config;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "Os|s", names, &dict, &kind, &name) ||
        parse_config(&config, dict, kind))
        return NULL;
    ecg_precision_name precision = ecg_precision_find(name);
    if (precision == ECG_PRECISIONS || !ecg_precision_supported(precision)) {
        PyErr_Format(PyExc_ValueError, "the precision %s is not known, or this processor does not support it", name);
        return NULL;
    }
    if (config.kind == ECG_PRETRAINING) {
        PyErr_SetString(PyExc_ValueError, "a model is an encoder or a classifier");
        return NULL;
    }
    ModelObject *self = (ModelObject *)type->tp_alloc(type, 0); /* zeroed */
    if (!self)
        return NULL;
    ecg_status status = ecg_model_create(&self->model, &config, precision);
    if (status != ECG_OK) {
        Py_DECREF(self);
        return raise_status(status);
    }
    return (PyObject *)self;
}

/* The index of a parameter by name; -1 with KeyError. */
static int64_t find_parameter(ModelObject *self, const char *name)
{
    for (int64_t i = 0; i < self->model.table.count; i++) {
        if (strcmp(self->model.table.parameters[i].name, name) == 0)
            return i;
    }
    PyErr_Format(PyExc_KeyError, "the model has no parameter %s", name);
    return -1;
}

PyDoc_STRVAR(set_doc,
             "set($self, name, values, /)\n--\n\nCopy a float32 array of the parameter's shape into the model.");

static PyObject *model_set(PyObject *object, PyObject *args)
{
    ModelObject *self = (ModelObject *)object;
    const char *name;
    PyArrayObject *values;
    if (!PyArg_ParseTuple(args, "sO!", &name, &PyArray_Type, &values))
        return NULL;
    int64_t index = find_parameter(self, name);
    if (index < 0)
        return NULL;
    const ecg_parameter *p = &self->model.table.parameters[index];
    bool fits = PyArray_NDIM(values) == p->ndim;
    for (int i = 0; fits && i < p->ndim; i++)
        fits = PyArray_DIM(values, i) == p->shape[i];
    if (!fits || PyArray_TYPE(values) != NPY_FLOAT32 || !PyArray_ISCARRAY_RO(values)) {
        PyErr_Format(PyExc_ValueError, "%s takes a contiguous float32 array of the parameter's shape", name);
        return NULL;
    }
    if (self->model.was_run) {
        PyErr_SetString(PyExc_ValueError, "a model that has been run is not written to");
        return NULL;
    }
    if (begin_threads(NULL))
        return NULL;
    int64_t bad = ecg_first_not_finite(PyArray_DATA(values), p->count);
    ecg_status status = bad < 0 ? ecg_model_set(&self->model, index, PyArray_DATA(values))
                                : ecg_fail(ECG_BAD_ARGUMENT, "element %lld is not finite", (long long)bad);
    if (status != ECG_OK)
        return raise_status(status);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(get_doc, "get($self, name, /)\n--\n\nA copy of a parameter, to the bit as it was set.");

static PyObject *model_get(PyObject *object, PyObject *args)
{
    ModelObject *self = (ModelObject *)object;
    const char *name;
    npy_intp shape[3];
    if (!PyArg_ParseTuple(args, "s", &name))
        return NULL;
    int64_t index = find_parameter(self, name);
    if (index < 0)
        return NULL;
    const ecg_parameter *p = &self->model.table.parameters[index];
    for (int i = 0; i < p->ndim; i++)
        shape[i] = p->shape[i];
    PyObject *values = PyArray_SimpleNew(p->ndim, shape, NPY_FLOAT32);
    if (!values)
        return NULL;
    ecg_status status = ecg_threads_begin(NULL);
    if (status == ECG_OK)
        status = ecg_model_get(&self->model, index, PyArray_DATA((PyArrayObject *)values));
    if (status != ECG_OK) {
        Py_DECREF(values);
        return raise_status(status);
    }
    return values;
}

PyDoc_STRVAR(
    stored_doc,
    "stored($self, name, /)\n--\n\nA parameter as it is held: (values, None, None) in float32 or, as uint16, in\n"
    "bfloat16; in int8 (numbers (N, K), scales (N,), factors (K,)), of which number * scale * factor is a\n"
    "weight.");

static PyObject *stored_numbers(ModelObject *self, int64_t index)
{
    const ecg_parameter *p = &self->model.table.parameters[index];
    npy_intp shape[2] = {p->shape[0], p->shape[1]};
    PyObject *numbers = PyArray_SimpleNew(2, shape, NPY_INT8), *scales = PyArray_SimpleNew(1, shape, NPY_FLOAT32);
    PyObject *factors = PyArray_SimpleNew(1, shape + 1, NPY_FLOAT32);
    ecg_status status = ECG_OK;
    if (numbers && scales && factors)
        status = ecg_threads_begin(NULL);
    if (numbers && scales && factors && status == ECG_OK)
        status = ecg_model_get_numbers(&self->model, index, PyArray_DATA((PyArrayObject *)numbers),
                                       PyArray_DATA((PyArrayObject *)scales), PyArray_DATA((PyArrayObject *)factors));
    if (numbers && scales && factors && status == ECG_OK)
        return Py_BuildValue("NNN", numbers, scales, factors);
    Py_XDECREF(numbers);
    Py_XDECREF(scales);
    Py_XDECREF(factors);
    return status == ECG_OK ? NULL : raise_status(status);
}

/* float32 values that bfloat16 holds, as it holds them. */
static PyObject *upper_halves(PyObject *values)
{
    PyArrayObject *wide = (PyArrayObject *)values;
    PyObject *halves = PyArray_SimpleNew(PyArray_NDIM(wide), PyArray_DIMS(wide), NPY_UINT16);
    if (halves)
        ecg_to_bf16(PyArray_DATA((PyArrayObject *)halves), PyArray_DATA(wide), PyArray_SIZE(wide));
    Py_DECREF(values);
    return halves;
}

static PyObject *model_stored(PyObject *object, PyObject *args)
{
    ModelObject *self = (ModelObject *)object;
    const char *name;
    if (!PyArg_ParseTuple(args, "s", &name))
        return NULL;
    int64_t index = find_parameter(self, name);
    if (index < 0)
        return NULL;
    ecg_dtype type = ecg_model_type(&self->model, index);
    if (type == ECG_S8)
        return stored_numbers(self, index);
    PyObject *values = model_get(object, args);
    if (values && type == ECG_BF16)
        values = upper_halves(values);
    return values ? Py_BuildValue("NOO", values, Py_None, Py_None) : NULL;
}

PyDoc_STRVAR(set_stored_doc, "set_stored($self, name, numbers, scales, factors, /)\n--\n\n"
                             "Set a parameter that is held in int8 as stored() gives it.");

/* Whether an array is as wanted, else -1 with an exception. */
static int check_array(PyArrayObject *array, const char *what, int type, int ndim, const npy_intp *shape)
{
    if (PyArray_TYPE(array) == type && PyArray_ISCARRAY_RO(array) && PyArray_NDIM(array) == ndim &&
        PyArray_CompareLists((npy_intp *)shape, PyArray_DIMS(array), ndim))
        return 0;
    PyErr_Format(PyExc_ValueError, "%s are not of the type or shape of this parameter", what);
    return -1;
}

static PyObject *model_set_stored(PyObject *object, PyObject *args)
{
    ModelObject *self = (ModelObject *)object;
    const char *name;
    PyArrayObject *numbers, *scales, *factors;
    if (!PyArg_ParseTuple(args, "sO!O!O!", &name, &PyArray_Type, &numbers, &PyArray_Type, &scales, &PyArray_Type,
                          &factors))
        return NULL;
    int64_t index = find_parameter(self, name);
    if (index < 0)
        return NULL;
    const ecg_parameter *p = &self->model.table.parameters[index];
    npy_intp shape[2] = {p->shape[0], p->shape[1]};
    if (p->ndim != 2 || check_array(numbers, "the numbers", NPY_INT8, 2, shape) ||
        check_array(scales, "the scales", NPY_FLOAT32, 1, shape) ||
        check_array(factors, "the factors", NPY_FLOAT32, 1, shape + 1)) {
        if (!PyErr_Occurred())
            PyErr_Format(PyExc_ValueError, "%s is not held in int8", name);
        return NULL;
    }
    if (ecg_first_not_finite(PyArray_DATA(scales), shape[0]) >= 0 ||
        ecg_first_not_finite(PyArray_DATA(factors), shape[1]) >= 0) {
        PyErr_Format(PyExc_ValueError, "a scale or factor of %s is not finite", name);
        return NULL;
    }
    if (begin_threads(NULL))
        return NULL;
    ecg_status status =
        ecg_model_set_numbers(&self->model, index, PyArray_DATA(numbers), PyArray_DATA(scales), PyArray_DATA(factors));
    if (status != ECG_OK)
        return raise_status(status);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(finish_doc, "finish($self)\n--\n\nCheck that every parameter is set and make the model ready.");

static PyObject *model_finish(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    ecg_status status = ecg_threads_begin(NULL);
    if (status == ECG_OK)
        status = ecg_model_finish(&((ModelObject *)object)->model);
    if (status != ECG_OK)
        return raise_status(status);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(min_samples_doc, "min_samples($self)\n--\n\nThe shortest segment that gives a token, in samples.");

static PyObject *model_min_samples(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    return PyLong_FromLongLong(ecg_config_min_samples(&((ModelObject *)object)->model.config));
}

PyDoc_STRVAR(tokens_doc, "tokens($self, samples, /)\n--\n\nThe number of tokens of a segment of so many samples.");

static PyObject *model_tokens(PyObject *object, PyObject *args)
{
    long long N;
    if (!PyArg_ParseTuple(args, "L", &N))
        return NULL;
    return PyLong_FromLongLong(ecg_config_tokens(&((ModelObject *)object)->model.config, N));
}

PyDoc_STRVAR(describe_doc, "describe($self, batch, samples, /)\n--\n\n"
                           "Which implementation oneDNN chose for each operation, a line each.");

static PyObject *model_describe(PyObject *object, PyObject *args)
{
    ModelObject *self = (ModelObject *)object;
    long long B, N;
    char text[2048];
    if (!PyArg_ParseTuple(args, "LL", &B, &N))
        return NULL;
    ecg_status status = ecg_model_describe(&self->model, B, N, text, sizeof text);
    if (status != ECG_OK)
        return raise_status(status);
    return PyUnicode_FromString(text);
}

/* ---- forward ---------------------------------------------------------------------------------- */

/* One call: its arrays, and what the callbacks need to come back to Python. */
typedef struct {
    ModelObject *self;
    poll_state poll;
    PyObject *trace; /* dict or NULL */
    PyArrayObject *x, *valid;
    PyObject *logits, *embedding, *tokens, *attention;
} call;

static ecg_status keep_trace(void *context, const char *name, const float *data, int ndim, const int64_t *shape)
{
    call *c = context;
    npy_intp dims[4];
    int failed = 1;
    for (int i = 0; i < ndim; i++)
        dims[i] = shape[i];
    PyEval_RestoreThread(c->poll.thread);
    PyObject *array = PyArray_SimpleNew(ndim, dims, NPY_FLOAT32);
    if (array) {
        memcpy(PyArray_DATA((PyArrayObject *)array), data, (size_t)PyArray_NBYTES((PyArrayObject *)array));
        failed = PyDict_SetItemString(c->trace, name, array);
        Py_DECREF(array);
    }
    c->poll.thread = PyEval_SaveThread();
    return failed ? ecg_fail(ECG_INTERRUPTED, "the trace could not be kept") : ECG_OK;
}

static float *data_of(PyObject *array)
{
    return array ? PyArray_DATA((PyArrayObject *)array) : NULL;
}

static PyObject *new_array(int ndim, int64_t a, int64_t b, int64_t c, int64_t d)
{
    npy_intp shape[4] = {a, b, c, d};
    return PyArray_SimpleNew(ndim, shape, NPY_FLOAT32);
}

static ecg_status run(call *c, int64_t layer)
{
    ecg_request request = {.B = PyArray_DIM(c->x, 0),
                           .N = PyArray_DIM(c->x, 2),
                           .src = PyArray_DATA(c->x),
                           .valid = c->valid ? PyArray_DATA(c->valid) : NULL,
                           .logits = data_of(c->logits),
                           .outputs = {.embedding = data_of(c->embedding),
                                       .tokens = data_of(c->tokens),
                                       .attention = data_of(c->attention),
                                       .layer = layer,
                                       .poll = {poll_signals, &c->poll},
                                       .trace = c->trace ? keep_trace : NULL,
                                       .trace_context = c}};
    poll_begin(&c->poll);
    ecg_status status = ecg_model_forward(&c->self->model, &request);
    poll_end(&c->poll);
    return status;
}

/* Checks x and valid against the model; -1 with an exception. */
static int check_inputs(const call *c)
{
    const ecg_config *config = &c->self->model.config;
    if (PyArray_TYPE(c->x) != NPY_FLOAT32 || PyArray_NDIM(c->x) != 3 || !PyArray_ISCARRAY_RO(c->x) ||
        PyArray_DIM(c->x, 1) != config->leads || PyArray_DIM(c->x, 2) < ecg_config_min_samples(config)) {
        PyErr_Format(PyExc_ValueError, "x must be a contiguous float32 array (B, %lld, N) with N at least %lld",
                     (long long)config->leads, (long long)ecg_config_min_samples(config));
        return -1;
    }
    if (c->valid && (PyArray_TYPE(c->valid) != NPY_INT64 || PyArray_NDIM(c->valid) != 1 ||
                     !PyArray_ISCARRAY_RO(c->valid) || PyArray_DIM(c->valid, 0) != PyArray_DIM(c->x, 0))) {
        PyErr_SetString(PyExc_ValueError, "valid must be a contiguous int64 array (B,)");
        return -1;
    }
    return check_finite(c->x);
}

/* The answer: a dict of what was asked for, None for what was not. */
static PyObject *answer(const call *c)
{
#define OR_NONE(o) ((o) ? (o) : Py_None)
    return Py_BuildValue("{sOsOsOsOsO}", "logits", OR_NONE(c->logits), "embedding", OR_NONE(c->embedding), "tokens",
                         OR_NONE(c->tokens), "attention", OR_NONE(c->attention), "trace", OR_NONE(c->trace));
#undef OR_NONE
}

PyDoc_STRVAR(forward_doc,
             "forward($self, x, valid=None, *, layer=-1, tokens=False, attention=False, trace=False)\n--\n\n"
             "Run segments x (B, L, N); valid (B,) counts the samples that are not padding. Returns a dict\n"
             "of logits, embedding, tokens, attention, trace; None for what was not asked for.");

static PyObject *model_forward(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"x", "valid", "layer", "tokens", "attention", "trace", NULL};
    PyObject *valid = Py_None, *result = NULL;
    long long layer = -1;
    int tokens = 0, attention = 0, trace = 0;
    call c = {.self = (ModelObject *)object};
    const ecg_config *config = &c.self->model.config;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!|O$Lppp", names, &PyArray_Type, &c.x, &valid, &layer, &tokens,
                                     &attention, &trace))
        return NULL;
    if (valid != Py_None && !PyArray_Check(valid)) {
        PyErr_SetString(PyExc_TypeError, "valid must be an array or None");
        return NULL;
    }
    c.valid = valid == Py_None ? NULL : (PyArrayObject *)valid;
    if (check_inputs(&c))
        return NULL;
    int64_t B = PyArray_DIM(c.x, 0), T = ecg_config_tokens(config, PyArray_DIM(c.x, 2)), C = config->C;
    bool failed = config->kind == ECG_CLASSIFIER && !(c.logits = new_array(2, B, config->labels, 0, 0));
    failed = failed || !(c.embedding = new_array(2, B, C, 0, 0));
    failed = failed || (tokens && !(c.tokens = new_array(3, B, T, C, 0)));
    failed = failed || (attention && !(c.attention = new_array(4, B, config->layers, T, T)));
    failed = failed || (trace && !(c.trace = PyDict_New()));
    if (!failed) {
        ecg_status status = run(&c, layer);
        result = status == ECG_OK ? answer(&c) : raise_status(status);
    }
    Py_XDECREF(c.logits);
    Py_XDECREF(c.embedding);
    Py_XDECREF(c.tokens);
    Py_XDECREF(c.attention);
    Py_XDECREF(c.trace);
    return result;
}

static PyMethodDef model_methods[] = {
    {"set", model_set, METH_VARARGS, set_doc},
    {"get", model_get, METH_VARARGS, get_doc},
    {"stored", model_stored, METH_VARARGS, stored_doc},
    {"set_stored", model_set_stored, METH_VARARGS, set_stored_doc},
    {"finish", model_finish, METH_NOARGS, finish_doc},
    {"min_samples", model_min_samples, METH_NOARGS, min_samples_doc},
    {"tokens", model_tokens, METH_VARARGS, tokens_doc},
    {"describe", model_describe, METH_VARARGS, describe_doc},
    {"forward", (PyCFunction)(void (*)(void))model_forward, METH_VARARGS | METH_KEYWORDS, forward_doc},
    {NULL, NULL, 0, NULL},
};

PyTypeObject ModelType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "ecgfm._core.Model",
    .tp_basicsize = sizeof(ModelObject),
    .tp_dealloc = model_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "A network with packed weights: set every parameter, those of one dimension first, finish, then forward\n"
              "from any thread.",
    .tp_methods = model_methods,
    .tp_new = model_new,
};

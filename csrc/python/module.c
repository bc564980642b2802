/* The extension module ecgfm._core. */
#define ECG_IMPORT_ARRAY
#include "common.h"
#include "bf16_functions.h"
#include "signal_functions.h"

#include "../base/memory.h"
#include "../base/peak.h"
#include "../base/threads.h"
#include "../heads/head.h"
#include "../layers/products.h"
#include "../network/precision.h"
#include "../onednn/ops.h"

static PyObject *init_of(const ecg_parameter *p)
{
    static const char *const names[] = {"zeros", "ones", "normal", "uniform", "unit", "tap_norm"};
    return Py_BuildValue("(sd)", names[p->init], p->scale);
}

static PyObject *shape_of(const ecg_parameter *p)
{
    PyObject *shape = PyTuple_New(p->ndim);
    for (int i = 0; shape && i < p->ndim; i++) {
        PyObject *size = PyLong_FromLongLong(p->shape[i]);
        if (!size) {
            Py_CLEAR(shape);
            break;
        }
        PyTuple_SET_ITEM(shape, i, size);
    }
    return shape;
}

/* The table as a list; `with_init` adds the initial values as a third item. */
static PyObject *list_parameters(PyObject *config, const char *kind, bool with_init)
{
    ecg_config parsed;
    ecg_table table;
    if (parse_config(&parsed, config, kind))
        return NULL;
    ecg_status status = ecg_table_create(&table, &parsed, ecg_rows_of(ecg_head_of(parsed.kind)));
    if (status != ECG_OK)
        return raise_status(status);
    PyObject *list = PyList_New(table.count);
    for (int64_t i = 0; list && i < table.count; i++) {
        const ecg_parameter *p = &table.parameters[i];
        PyObject *item = with_init ? Py_BuildValue("(sNN)", p->name, shape_of(p), init_of(p))
                                   : Py_BuildValue("(sN)", p->name, shape_of(p));
        if (!item)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, i, item);
    }
    ecg_table_free(&table);
    return list;
}

PyDoc_STRVAR(parameters_doc, "parameters(config, kind, /)\n--\n\n"
                             "List of (name, shape) of every tensor of the network, in checkpoint order.");

static PyObject *parameters(PyObject *self, PyObject *args)
{
    PyObject *config;
    const char *kind;
    (void)self;
    if (!PyArg_ParseTuple(args, "Os", &config, &kind))
        return NULL;
    return list_parameters(config, kind, false);
}

PyDoc_STRVAR(initial_values_doc, "initial_values(config, kind, /)\n--\n\n"
                                 "List of (name, shape, (distribution, scale)): how each tensor starts.");

static PyObject *initial_values(PyObject *self, PyObject *args)
{
    PyObject *config;
    const char *kind;
    (void)self;
    if (!PyArg_ParseTuple(args, "Os", &config, &kind))
        return NULL;
    return list_parameters(config, kind, true);
}

PyDoc_STRVAR(
    architecture_keys_doc,
    "architecture_keys()\n--\n\n"
    "What the kernels read of a configuration: {key: (type, kinds, least, most, whole)}. The type is int, bool,\n"
    "str or tuple; kinds are those of networks that have the key; an int lies from least to most and divides\n"
    "the key `whole`, if that is not None.");

/* What an entry of architecture_keys says of a key. */
static PyObject *about_key(const ecg_config_key *key)
{
    static PyTypeObject *const types[] = {&PyLong_Type, &PyBool_Type, &PyUnicode_Type, &PyTuple_Type};
    PyObject *kinds = PyList_New(0);
    for (int kind = 0; kinds && kind < ECG_KINDS; kind++) {
        PyObject *name = key->kinds >> kind & 1 ? PyUnicode_FromString(ecg_kind_names[kind]) : NULL;
        if (key->kinds >> kind & 1 && (!name || PyList_Append(kinds, name) < 0))
            Py_CLEAR(kinds);
        Py_XDECREF(name);
    }
    return kinds ? Py_BuildValue("(ONLLz)", types[key->type], kinds, (long long)key->least, (long long)key->most,
                                 key->whole_key)
                 : NULL;
}

static PyObject *architecture_keys(PyObject *self, PyObject *ignored)
{
    (void)self, (void)ignored;
    PyObject *dict = PyDict_New();
    for (int i = 0; dict && i < ecg_config_key_count; i++) {
        PyObject *about = about_key(&ecg_config_keys[i]);
        if (!about || PyDict_SetItemString(dict, ecg_config_keys[i].key, about) < 0)
            Py_CLEAR(dict);
        Py_XDECREF(about);
    }
    return dict;
}

PyDoc_STRVAR(set_num_threads_doc, "set_num_threads(n, /)\n--\n\nThe number of threads of all later calls.");

static PyObject *set_num_threads(PyObject *self, PyObject *args)
{
    int n;
    (void)self;
    if (!PyArg_ParseTuple(args, "i", &n))
        return NULL;
    ecg_status status = ecg_threads_prove(n);
    if (status != ECG_OK)
        return raise_status(status);
    ecg_set_threads(n);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(get_num_threads_doc, "get_num_threads()\n--\n\nThe number of threads that a call made now would use.");

static PyObject *get_num_threads(PyObject *self, PyObject *ignored)
{
    (void)self, (void)ignored;
    return PyLong_FromLong(ecg_threads());
}

PyDoc_STRVAR(processors_doc, "processors()\n--\n\nThe number of processors that this process may run on.");

static PyObject *processors(PyObject *self, PyObject *ignored)
{
    (void)self, (void)ignored;
    return PyLong_FromLong(ecg_processors());
}

PyDoc_STRVAR(peak_flops_doc,
             "peak_flops(threads, seconds, precision='float32', /)\n--\n\n"
             "Measured operations per second of independent products in this precision; ValueError if it is not known\n"
             "or the processor has no instruction for it.");

static PyObject *peak_flops(PyObject *self, PyObject *args)
{
    int threads;
    double seconds, peak;
    const char *name = "float32";
    ecg_status status;
    (void)self;
    if (!PyArg_ParseTuple(args, "id|s", &threads, &seconds, &name))
        return NULL;
    ecg_precision_name precision = ecg_precision_find(name);
    if (precision == ECG_PRECISIONS)
        return PyErr_Format(PyExc_ValueError, "the precision %s is not known", name);
    if (begin_threads(NULL))
        return NULL;
    Py_BEGIN_ALLOW_THREADS;
    ecg_dtype type = ecg_precision_of(precision).needs;
    status = ecg_measure_peak(&peak, threads, seconds, ecg_widens(type) ? ECG_F32 : type);
    Py_END_ALLOW_THREADS;
    return status == ECG_OK ? PyFloat_FromDouble(peak) : raise_status(status);
}

PyDoc_STRVAR(onednn_doc, "onednn()\n--\n\n(version, instruction set) of the oneDNN library in use.");

static PyObject *onednn(PyObject *self, PyObject *ignored)
{
    char version[32];
    (void)self, (void)ignored;
    ecg_onednn_version(version, sizeof version);
    return Py_BuildValue("(ss)", version, ecg_onednn_isa());
}

PyDoc_STRVAR(fail_allocation_doc, "fail_allocation(k, /)\n--\n\n"
                                  "For tests: the k-th allocation from now on fails; 0 switches this off.");

static PyObject *fail_allocation(PyObject *self, PyObject *args)
{
    long long k;
    (void)self;
    if (!PyArg_ParseTuple(args, "L", &k))
        return NULL;
    ecg_fail_allocation(k);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(moments_doc, "moments(x, /)\n--\n\n"
                          "(mean, std, count of NaN, constant) of each lead of x (N, leads), float32 or float64.");
PyDoc_STRVAR(
    reach_doc,
    "reach(N, M, first, last, /)\n--\n\n"
    "Of N samples that are resampled to M: those that the readings from first to before last need, (begin, end).");
PyDoc_STRVAR(
    resample_doc,
    "resample(x, N, M, first, last, /)\n--\n\n"
    "These readings of M, (last - first, leads) float64, from the samples that they need: x (end - begin, leads).");
PyDoc_STRVAR(standardise_doc,
             "standardise(x, epsilon, recentre, strategy, /)\n--\n\n"
             "Standardise each lead of x (N, leads) float64 in place; returns its mean and deviation before.");
PyDoc_STRVAR(cut_doc, "cut(x, size, /)\n--\n\nThe segments of x (M, leads) float64: (n, leads, size) float32.");

PyDoc_STRVAR(precisions_doc, "precisions()\n--\n\nThe precisions of a Model that this processor supports.");

static PyObject *precisions(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    PyObject *list = PyList_New(0);
    for (int i = 0; list && i < ECG_PRECISIONS; i++) {
        if (!ecg_precision_supported((ecg_precision_name)i))
            continue;
        PyObject *name = PyUnicode_FromString(ecg_precision_of((ecg_precision_name)i).name);
        if (!name || PyList_Append(list, name))
            Py_CLEAR(list);
        Py_XDECREF(name);
    }
    return list;
}

static PyMethodDef methods[] = {
    {"parameters", parameters, METH_VARARGS, parameters_doc},
    {"initial_values", initial_values, METH_VARARGS, initial_values_doc},
    {"architecture_keys", architecture_keys, METH_NOARGS, architecture_keys_doc},
    {"set_num_threads", set_num_threads, METH_VARARGS, set_num_threads_doc},
    {"get_num_threads", get_num_threads, METH_NOARGS, get_num_threads_doc},
    {"processors", processors, METH_NOARGS, processors_doc},
    {"peak_flops", peak_flops, METH_VARARGS, peak_flops_doc},
    {"onednn", onednn, METH_NOARGS, onednn_doc},
    {"precisions", precisions, METH_NOARGS, precisions_doc},
    {"fail_allocation", fail_allocation, METH_VARARGS, fail_allocation_doc},
    {"moments", signal_moments, METH_O, moments_doc},
    {"reach", signal_reach, METH_VARARGS, reach_doc},
    {"resample", signal_resample, METH_VARARGS, resample_doc},
    {"standardise", signal_standardise, METH_VARARGS, standardise_doc},
    {"cut", signal_cut, METH_VARARGS, cut_doc},
    {"narrow", bf16_narrow, METH_VARARGS, bf16_narrow_doc},
    {"widen", bf16_widen, METH_VARARGS, bf16_widen_doc},
    {"sum_narrow", bf16_sum_narrow, METH_VARARGS, bf16_sum_narrow_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "ecgfm._core", "The C kernels of ecgfm.", -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__core(void)
{
    import_array();
    if (load_errors() || PyType_Ready(&ModelType) < 0 || PyType_Ready(&TrainerType) < 0)
        return NULL;
    PyObject *module = PyModule_Create(&definition);
    if (!module)
        return NULL;
    ecg_set_threads(ecg_processors());
    if (PyModule_AddObjectRef(module, "Model", (PyObject *)&ModelType) < 0 ||
        PyModule_AddObjectRef(module, "Trainer", (PyObject *)&TrainerType) < 0) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}

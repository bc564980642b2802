#include "common.h"

#include <string.h>
#include <time.h>

#include "../base/threads.h"
#include "../layers/layers.h"

/* Seconds between two looks at pending signals. */
#define POLL_SECONDS 0.05

static PyObject *config_error, *signal_error, *base_error;

int load_errors(void)
{
    PyObject *module = PyImport_ImportModule("ecgfm.errors");
    if (!module)
        return -1;
    config_error = PyObject_GetAttrString(module, "ConfigError");
    signal_error = PyObject_GetAttrString(module, "SignalError");
    base_error = PyObject_GetAttrString(module, "Error");
    Py_DECREF(module);
    return config_error && signal_error && base_error ? 0 : -1;
}

PyObject *raise_status(ecg_status status)
{
    PyObject *type = base_error;
    switch (status) {
    case ECG_INTERRUPTED:
        if (PyErr_Occurred())
            return NULL;
        type = PyExc_KeyboardInterrupt;
        break;
    case ECG_NO_MEMORY:
        type = PyExc_MemoryError;
        break;
    case ECG_BAD_CONFIG:
        type = config_error;
        break;
    case ECG_BAD_SIGNAL:
        type = signal_error;
        break;
    case ECG_ONEDNN:
        type = PyExc_RuntimeError;
        break;
    default:
        break;
    }
    PyErr_SetString(type, ecg_message());
    return NULL;
}

static int take_whole(int64_t *dst, PyObject *value, const char *key)
{
    if (!PyIndex_Check(value) || PyBool_Check(value)) {
        PyErr_Format(config_error, "%s must be an integer, not %R", key, value);
        return -1;
    }
    *dst = PyNumber_AsSsize_t(value, NULL); /* clips: a huge value fails the range check */
    return *dst == -1 && PyErr_Occurred() ? -1 : 0;
}

static int take_choice(bool *dst, PyObject *value, const ecg_config_key *key)
{
    const char *word = PyUnicode_Check(value) ? PyUnicode_AsUTF8(value) : "";
    if (!word)
        return -1;
    *dst = strcmp(word, key->choices[1]) == 0;
    if (*dst || strcmp(word, key->choices[0]) == 0)
        return 0;
    PyErr_Format(config_error, "%s must be '%s' or '%s', not %R", key->key, key->choices[0], key->choices[1], value);
    return -1;
}

static int take_blocks(ecg_config *dst, PyObject *value, const char *key)
{
    PyObject *convs = PySequence_Tuple(value); /* a copy: an item's __index__ may change the sequence */
    if (!convs)
        return -1;
    dst->conv_count = PyTuple_GET_SIZE(convs);
    for (int64_t i = 0; i < dst->conv_count && i < ECG_MAX_CONVS; i++) {
        PyObject *conv = PyTuple_GET_ITEM(convs, i);
        long long channels, kernel, stride;
        if (!PyTuple_Check(conv) || !PyArg_ParseTuple(conv, "LLL", &channels, &kernel, &stride)) {
            PyErr_Format(config_error, "each item of %s must be a tuple of three integers", key);
            Py_DECREF(convs);
            return -1;
        }
        dst->convs[i] = (ecg_conv_block){channels, kernel, stride};
    }
    Py_DECREF(convs);
    return 0;
}

static int take_key(ecg_config *dst, PyObject *dict, const ecg_config_key *key)
{
    PyObject *value = PyDict_GetItemString(dict, key->key);
    void *field = (char *)dst + key->field;
    if (!value && key->type == ECG_KEY_TRUTH)
        return 0;
    if (!value) {
        PyErr_Format(config_error, "the configuration lacks %s", key->key);
        return -1;
    }
    Py_INCREF(value); /* what reading it runs may take it out of the dict */
    int truth, failed = -1;
    switch (key->type) {
    case ECG_KEY_WHOLE:
        failed = take_whole(field, value, key->key);
        break;
    case ECG_KEY_TRUTH:
        truth = PyObject_IsTrue(value);
        *(bool *)field = truth > 0;
        failed = truth < 0 ? -1 : 0;
        break;
    case ECG_KEY_CHOICE:
        failed = take_choice(field, value, key);
        break;
    case ECG_KEY_BLOCKS:
        failed = take_blocks(dst, value, key->key);
        break;
    }
    Py_DECREF(value);
    return failed;
}

int parse_config(ecg_config *dst, PyObject *dict, const char *kind)
{
    int found = 0;
    *dst = (ecg_config){0};
    if (!PyDict_Check(dict)) {
        PyErr_SetString(PyExc_TypeError, "the configuration must be a dict");
        return -1;
    }
    while (found < ECG_KINDS && strcmp(kind, ecg_kind_names[found]) != 0)
        found++;
    if (found == ECG_KINDS) {
        PyErr_Format(config_error, "the kind must be encoder, classifier or pretraining, not %s", kind);
        return -1;
    }
    dst->kind = (ecg_kind)found;
    for (int i = 0; i < ecg_config_key_count; i++) {
        if (ecg_config_has(dst, &ecg_config_keys[i]) && take_key(dst, dict, &ecg_config_keys[i]))
            return -1;
    }
    ecg_status status = ecg_config_check(dst);
    if (status != ECG_OK) {
        raise_status(status);
        return -1;
    }
    return 0;
}

int begin_threads(int *n)
{
    ecg_status status = ecg_threads_begin(n);
    if (status == ECG_OK)
        return 0;
    raise_status(status);
    return -1;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void poll_begin(poll_state *state)
{
    state->last = now();
    state->thread = PyEval_SaveThread();
}

void poll_end(poll_state *state)
{
    PyEval_RestoreThread(state->thread);
}

ecg_status poll_signals(void *context)
{
    poll_state *state = context;
    double time = now();
    if (time - state->last < POLL_SECONDS)
        return ECG_OK;
    state->last = time;
    PyEval_RestoreThread(state->thread);
    int interrupted = PyErr_CheckSignals();
    state->thread = PyEval_SaveThread();
    return interrupted ? ecg_fail(ECG_INTERRUPTED, "interrupted") : ECG_OK;
}

int check_finite(PyArrayObject *x)
{
    int64_t index, L = PyArray_DIM(x, 1), N = PyArray_DIM(x, 2);
    const float *data = PyArray_DATA(x);
    Py_BEGIN_ALLOW_THREADS;
    index = ecg_first_not_finite(data, PyArray_SIZE(x));
    Py_END_ALLOW_THREADS;
    if (index < 0)
        return 0;
    raise_status(ecg_fail(ECG_BAD_SIGNAL, "x[%lld, %lld, %lld] (segment, lead, sample) is %s",
                          (long long)(index / (L * N)), (long long)(index / N % L), (long long)(index % N),
                          data[index] != data[index] ? "NaN" : "infinite"));
    return -1;
}

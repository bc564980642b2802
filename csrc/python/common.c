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

/* *dst = dict[key] as an integer. */
static int get_integer(int64_t *dst, PyObject *dict, const char *key)
{
    PyObject *value = PyDict_GetItemString(dict, key);
    if (!value) {
        PyErr_Format(config_error, "the configuration lacks %s", key);
        return -1;
    }
    if (!PyIndex_Check(value) || PyBool_Check(value)) {
        PyErr_Format(config_error, "%s must be an integer, not %R", key, value);
        return -1;
    }
    *dst = PyNumber_AsSsize_t(value, NULL); /* clips: a huge value fails the range check */
    return *dst == -1 && PyErr_Occurred() ? -1 : 0;
}

/* *dst = dict[key] as a truth value; an absent key is false. */
static int get_bool(bool *dst, PyObject *dict, const char *key)
{
    PyObject *value = PyDict_GetItemString(dict, key);
    int truth = value ? PyObject_IsTrue(value) : 0;
    *dst = truth > 0;
    return truth < 0 ? -1 : 0;
}

static int get_convs(ecg_config *dst, PyObject *dict)
{
    PyObject *value = PyDict_GetItemString(dict, "conv_feature_layers");
    if (!value) {
        PyErr_SetString(config_error, "the configuration lacks conv_feature_layers");
        return -1;
    }
    PyObject *convs = PySequence_Tuple(value); /* a copy: an item's __index__ may change the sequence */
    if (!convs)
        return -1;
    dst->conv_count = PyTuple_GET_SIZE(convs);
    for (int64_t i = 0; i < dst->conv_count && i < ECG_MAX_CONVS; i++) {
        PyObject *conv = PyTuple_GET_ITEM(convs, i);
        long long channels, kernel, stride;
        if (!PyTuple_Check(conv) || !PyArg_ParseTuple(conv, "LLL", &channels, &kernel, &stride)) {
            PyErr_SetString(config_error, "each item of conv_feature_layers must be a tuple of three integers");
            Py_DECREF(convs);
            return -1;
        }
        dst->convs[i] = (ecg_conv_spec){channels, kernel, stride};
    }
    Py_DECREF(convs);
    return 0;
}

static int get_extractor_mode(ecg_config *dst, PyObject *dict)
{
    PyObject *value = PyDict_GetItemString(dict, "extractor_mode");
    const char *mode = value && PyUnicode_Check(value) ? PyUnicode_AsUTF8(value) : "";
    if (!mode)
        return -1;
    dst->extractor_layer_norm = strcmp(mode, "layer_norm") == 0;
    if (dst->extractor_layer_norm || strcmp(mode, "default") == 0)
        return 0;
    PyErr_Format(config_error, "extractor_mode must be 'default' or 'layer_norm', not %R", value ? value : Py_None);
    return -1;
}

int parse_config(ecg_config *dst, PyObject *dict, const char *kind)
{
    *dst = (ecg_config){0};
    if (!PyDict_Check(dict)) {
        PyErr_SetString(PyExc_TypeError, "the configuration must be a dict");
        return -1;
    }
    if (strcmp(kind, "encoder") == 0)
        dst->kind = ECG_ENCODER;
    else if (strcmp(kind, "classifier") == 0)
        dst->kind = ECG_CLASSIFIER;
    else if (strcmp(kind, "pretraining") == 0)
        dst->kind = ECG_PRETRAINING;
    else {
        PyErr_Format(config_error, "the kind must be encoder, classifier or pretraining, not %s", kind);
        return -1;
    }
    if (get_integer(&dst->layers, dict, "encoder_layers") || get_integer(&dst->C, dict, "encoder_embed_dim") ||
        get_integer(&dst->F, dict, "encoder_ffn_embed_dim") || get_integer(&dst->H, dict, "encoder_attention_heads") ||
        get_bool(&dst->norm_first, dict, "layer_norm_first") || get_bool(&dst->conv_bias, dict, "conv_bias") ||
        get_integer(&dst->leads, dict, "in_d") || get_integer(&dst->conv_pos, dict, "conv_pos") ||
        get_integer(&dst->conv_pos_groups, dict, "conv_pos_groups") || get_extractor_mode(dst, dict) ||
        get_convs(dst, dict))
        return -1;
    if (dst->kind == ECG_CLASSIFIER && get_integer(&dst->labels, dict, "num_labels"))
        return -1;
    if (dst->kind == ECG_PRETRAINING &&
        (get_integer(&dst->latent_vars, dict, "latent_vars") ||
         get_integer(&dst->latent_groups, dict, "latent_groups") || get_integer(&dst->latent_dim, dict, "latent_dim") ||
         get_integer(&dst->final_dim, dict, "final_dim") || get_bool(&dst->target_glu, dict, "target_glu")))
        return -1;
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

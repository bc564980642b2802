/* What of a network is trained, as Python says it, and the rows of what lies below. */
#include "trainer_object.h"

#include <string.h>

/* Whether the set that the settings name has a tensor. */
static bool is_among(void *names, const char *name)
{
    PyObject *key = PyUnicode_FromString(name);
    int found = key ? PySet_Contains(names, key) : -1;
    Py_XDECREF(key);
    return found > 0;
}

int trainer_choice(ecg_choice *dst, PyObject *settings)
{
    PyObject *names = PyDict_GetItemString(settings, "trained");
    if (names && names != Py_None && !PyAnySet_Check(names)) {
        PyErr_SetString(PyExc_TypeError, "trained must be a set of names");
        return -1;
    }
    double rank, adapted;
    if (trainer_number(&rank, settings, "adapters", 0) || trainer_number(&adapted, settings, "adapted", 0))
        return -1;
    *dst = names && names != Py_None ? (ecg_choice){.trains = is_among, .context = names} : (ecg_choice){0};
    dst->rank = rank >= 0 && rank < 1e9 ? (int64_t)rank : -1; /* the table refuses what does not fit */
    dst->adapted = adapted >= 0 && adapted < 1e9 ? (int64_t)adapted : -1;
    return 0;
}

const char trainer_take_bases_doc[] =
    "take_bases($self)\n--\n\nTake the weights that have adapters as what the adapters are added to.";

PyObject *trainer_take_bases(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    TrainerObject *self = (TrainerObject *)object;
    if (trainer_begin(self))
        return NULL;
    ecg_trainer_take_bases(&self->trainer);
    self->busy = false;
    Py_RETURN_NONE;
}

const char trainer_merge_doc[] = "merge($self)\n--\n\nMake the weights that have adapters anew.";

PyObject *trainer_merge(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    TrainerObject *self = (TrainerObject *)object;
    if (begin_threads(NULL) || trainer_begin(self))
        return NULL;
    ecg_trainer_merge(&self->trainer);
    self->busy = false;
    Py_RETURN_NONE;
}

int trainer_rates(ecg_trainer *t, PyObject *settings)
{
    PyObject *rates = PyDict_GetItemString(settings, "rates");
    if (!rates || rates == Py_None)
        return 0;
    if (!PyDict_Check(rates)) {
        PyErr_SetString(PyExc_TypeError, "rates must be a dict");
        return -1;
    }
    for (int64_t i = 0; i < t->table.count; i++) {
        if (trainer_number(&t->rates[i], rates, t->table.parameters[i].name, 1))
            return -1;
    }
    return 0;
}

int trainer_input(trainer_call *c, PyObject *valid, long long samples)
{
    const ecg_config *config = &c->self->trainer.config;
    int type = PyArray_TYPE(c->x);
    if (samples == 0)
        return trainer_signals(c, valid);
    if (samples < ecg_config_min_samples(config) || samples > INT32_MAX ||
        (type != NPY_FLOAT32 && type != NPY_UINT16) || PyArray_NDIM(c->x) != 3 || !PyArray_ISCARRAY_RO(c->x) ||
        PyArray_DIM(c->x, 0) < 1 || PyArray_DIM(c->x, 1) != ecg_config_tokens(config, samples) ||
        PyArray_DIM(c->x, 2) != config->C) {
        PyErr_SetString(PyExc_ValueError, "rows must be a contiguous array (B, tokens, width) of float32 or uint16");
        return -1;
    }
    c->samples = samples;
    return trainer_valid_samples(c, valid);
}

/* The type that a name says; -1 with an exception. */
static int parse_type(ecg_dtype *dst, const char *name)
{
    *dst = strcmp(name, "bfloat16") == 0 ? ECG_BF16 : ECG_F32;
    if (*dst == ECG_BF16 || strcmp(name, "float32") == 0)
        return 0;
    PyErr_SetString(PyExc_ValueError, "rows are kept in float32 or bfloat16");
    return -1;
}

const char trainer_below_doc[] =
    "below($self, x, valid=None, dtype='float32', pooled=False)\n--\n\n"
    "The rows (B, tokens, width) that enter the first stage that is trained, float32 or, of bfloat16, uint16;\n"
    "pooled, of the encoder's output: (B, 1, width), which enter as segments of one token.";

PyObject *trainer_below(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"x", "valid", "dtype", "pooled", NULL};
    PyObject *valid = Py_None;
    const char *name = "float32";
    int pooled = 0, threads;
    ecg_dtype type;
    trainer_call c = {.self = (TrainerObject *)object};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!|Osp", names, &PyArray_Type, &c.x, &valid, &name, &pooled) ||
        trainer_signals(&c, valid) || parse_type(&type, name))
        return NULL;
    const ecg_config *config = &c.self->trainer.config;
    npy_intp tokens = pooled ? 1 : ecg_config_tokens(config, PyArray_DIM(c.x, 2));
    npy_intp shape[3] = {PyArray_DIM(c.x, 0), tokens, config->C};
    PyObject *rows = PyArray_SimpleNew(3, shape, type == ECG_BF16 ? NPY_UINT16 : NPY_FLOAT32);
    if (!rows || begin_threads(&threads) || trainer_begin(c.self)) {
        Py_XDECREF(rows);
        return NULL;
    }
    ecg_step step = trainer_step(&c, NULL, NULL, (ecg_stream_key){0}, 0);
    step.threads = threads;
    poll_begin(&c.poll);
    ecg_status status = ecg_trainer_below(&c.self->trainer, &step, PyArray_DATA((PyArrayObject *)rows), type, pooled);
    poll_end(&c.poll);
    c.self->busy = false;
    if (status == ECG_OK)
        return rows;
    Py_DECREF(rows);
    return raise_status(status);
}

/* The methods of ecgfm._core.Trainer for networks whose outputs have labels: accumulate and forward. */
#include "trainer_object.h"

#include "../heads/classifier.h"

static int check_classifier(const trainer_call *c)
{
    if (c->self->trainer.head == &ecg_head_classifier)
        return 0;
    PyErr_SetString(PyExc_ValueError, "this trainer is not that of a classifier");
    return -1;
}

/* *dst = the weights in an array (n,) of floats; NULL for None. */
static int parse_weights(const float **dst, PyObject *value, npy_intp n, const char *name)
{
    PyArrayObject *array = (PyArrayObject *)value;
    *dst = NULL;
    if (value == Py_None)
        return 0;
    if (!trainer_floats(array, 1) || PyArray_DIM(array, 0) != n) {
        PyErr_Format(PyExc_ValueError, "%s must be a contiguous float32 array of %lld", name, (long long)n);
        return -1;
    }
    *dst = PyArray_DATA(array);
    return 0;
}

/* What accumulate is told of the loss. */
typedef struct {
    const char *name;
    PyObject *positive, *negative, *row;
    ecg_loss_settings settings;
} loss_arguments;

/* Checks y (B, Y) and what is told of the loss. */
static int parse_labelled(ecg_labelled *dst, const trainer_call *c, const loss_arguments *told)
{
    int64_t B = PyArray_DIM(c->x, 0), Y = c->self->trainer.config.labels;
    const ecg_loss_settings *s = &told->settings;
    ecg_weighed_loss *loss = &dst->loss;
    if (!trainer_floats(c->y, 2) || PyArray_DIM(c->y, 0) != B || PyArray_DIM(c->y, 1) != Y) {
        PyErr_SetString(PyExc_ValueError, "y must be a contiguous float32 array (B, Y)");
        return -1;
    }
    *loss = (ecg_weighed_loss){.loss = ecg_label_loss_named(told->name), .settings = *s};
    if (!loss->loss) {
        PyErr_Format(PyExc_ValueError, "there is no loss %s", told->name);
        return -1;
    }
    if (!(s->gamma_positive >= 0 && s->gamma_negative >= 0 && s->clip >= 0 && s->clip < 1)) {
        PyErr_SetString(PyExc_ValueError, "a gamma must not be negative, the clip be at least 0 and below 1");
        return -1;
    }
    dst->labels = PyArray_DATA(c->y);
    return parse_weights(&loss->positive, told->positive, Y, "pos_weight") ||
                   parse_weights(&loss->negative, told->negative, Y, "neg_weight") ||
                   parse_weights(&loss->row, told->row, B, "row_weight")
               ? -1
               : 0;
}

const char trainer_accumulate_doc[] =
    "accumulate($self, x, y, valid=None, pos_weight=None, *, neg_weight=None, row_weight=None, loss='bce',\n"
    "           gamma_positive=0.0, gamma_negative=0.0, clip=0.0, seed=0, rank=0, update=0, first_row=0,\n"
    "           head_only=False, noise=None, samples=0)\n--\n\n"
    "Forward and backward of a batch; adds to the gradients. Returns logits and the sums of the loss.\n"
    "With samples x are rows as below() gives them, of segments so long.";

static PyObject *labelled_sums(const ecg_label_sums *s, PyObject *logits)
{
    return Py_BuildValue("{sNsdsdsdsLsLsLsLsLsLsL}", "logits", logits, "loss", s->loss, "weight", s->weight, "absolute",
                         s->absolute, "count", (long long)s->count, "correct", (long long)s->correct, "rows",
                         (long long)s->rows, "exact", (long long)s->exact, "true_positive", (long long)s->true_positive,
                         "false_positive", (long long)s->false_positive, "false_negative",
                         (long long)s->false_negative);
}

PyObject *trainer_accumulate(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] =
        {"x",    "y",    "valid", "pos_weight", "neg_weight", "row_weight", "loss",  "gamma_positive", "gamma_negative",
         "clip", "seed", "rank",  "update",     "first_row",  "head_only",  "noise", "samples",        NULL};
    PyObject *valid = Py_None, *masks = Py_None;
    unsigned int seed = 0, rank = 0, update = 0;
    long long first_row = 0, samples = 0;
    int head_only = 0;
    loss_arguments told = {"bce", Py_None, Py_None, Py_None, {0}};
    trainer_call c = {.self = (TrainerObject *)object};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!O!|OO$OOsdddIIILpOL", names, &PyArray_Type, &c.x, &PyArray_Type,
                                     &c.y, &valid, &told.positive, &told.negative, &told.row, &told.name,
                                     &told.settings.gamma_positive, &told.settings.gamma_negative, &told.settings.clip,
                                     &seed, &rank, &update, &first_row, &head_only, &masks, &samples))
        return NULL;
    ecg_labelled batch = {0};
    if (check_classifier(&c) || trainer_input(&c, valid, samples) || parse_labelled(&batch, &c, &told))
        return NULL;
    npy_intp shape[2] = {PyArray_DIM(c.x, 0), c.self->trainer.config.labels};
    PyObject *logits = PyArray_SimpleNew(2, shape, NPY_FLOAT32);
    int threads;
    if (!logits || trainer_masks(&c, masks) || begin_threads(&threads) || trainer_begin(c.self)) {
        trainer_end(&c);
        Py_XDECREF(logits);
        return NULL;
    }
    ecg_label_sums sums = {0};
    batch.logits = PyArray_DATA((PyArrayObject *)logits);
    ecg_step step = trainer_step(&c, &batch, &sums, (ecg_stream_key){seed, rank, update}, first_row);
    step.threads = threads, step.backward = true, step.head_only = head_only;
    poll_begin(&c.poll);
    ecg_status status = ecg_trainer_run(&c.self->trainer, &step);
    poll_end(&c.poll);
    c.self->busy = false;
    trainer_end(&c);
    if (status == ECG_OK)
        return labelled_sums(&sums, logits);
    Py_DECREF(logits);
    return raise_status(status);
}

const char trainer_forward_doc[] = "forward($self, x, valid=None, samples=0)\n--\n\n"
                                   "The logits (B, Y) of the network as it is, without dropout.";

PyObject *trainer_forward(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"x", "valid", "samples", NULL};
    PyObject *valid = Py_None;
    long long samples = 0;
    trainer_call c = {.self = (TrainerObject *)object};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!|OL", names, &PyArray_Type, &c.x, &valid, &samples) ||
        check_classifier(&c) || trainer_input(&c, valid, samples))
        return NULL;
    npy_intp shape[2] = {PyArray_DIM(c.x, 0), c.self->trainer.config.labels};
    PyObject *logits = PyArray_SimpleNew(2, shape, NPY_FLOAT32);
    int threads;
    if (!logits || begin_threads(&threads) || trainer_begin(c.self)) {
        Py_XDECREF(logits);
        return NULL;
    }
    ecg_labelled batch = {.logits = PyArray_DATA((PyArrayObject *)logits)};
    ecg_step step = trainer_step(&c, &batch, NULL, (ecg_stream_key){0}, 0);
    step.threads = threads;
    poll_begin(&c.poll);
    ecg_status status = ecg_trainer_run(&c.self->trainer, &step);
    poll_end(&c.poll);
    c.self->busy = false;
    if (status == ECG_OK)
        return logits;
    Py_DECREF(logits);
    return raise_status(status);
}

/* Trainer.pretrain and Trainer.finish: one batch of pretraining, whole or in two halves. */
#include "trainer_object.h"

#include <string.h>

#include "../heads/contrastive.h"

/* *dst = the data of an array of `n` items of a type; NULL, if that is allowed, for None. */
static int take_data(const void **dst, PyObject *value, int type, int64_t n, bool optional, const char *name)
{
    PyArrayObject *array = (PyArrayObject *)value;
    *dst = NULL;
    if (optional && value == Py_None)
        return 0;
    if (!PyArray_Check(value) || PyArray_TYPE(array) != type || !PyArray_ISCARRAY_RO(array) ||
        PyArray_SIZE(array) != n) {
        PyErr_Format(PyExc_ValueError, "%s must be a contiguous array of %lld items of its type", name, (long long)n);
        return -1;
    }
    *dst = PyArray_DATA(array);
    return 0;
}

/* How many of the n steps are masked; whether it is as many in each row the kernel checks. */
static int64_t count_steps(const uint8_t *steps, int64_t n)
{
    int64_t count = 0;
    for (int64_t i = 0; steps && i < n; i++)
        count += steps[i] != 0;
    return count;
}

/* How many items an array has for each of R rows. */
static int64_t items_per_row(PyObject *value, int64_t R)
{
    return R && PyArray_Check(value) ? PyArray_SIZE((PyArrayObject *)value) / R : 0;
}

static int parse_settings(ecg_pretrain_settings *dst, PyObject *dict)
{
    return trainer_number(&dst->logit_temp, dict, "logit_temp", 0.1) || trainer_number(&dst->temp, dict, "temp", 2) ||
           trainer_number(&dst->diversity, dict, "diversity", 0.1) ||
           trainer_number(&dst->penalty, dict, "penalty", 10) || trainer_number(&dst->cmsc, dict, "cmsc", 1) ||
           trainer_number(&dst->cmsc_temp, dict, "cmsc_temp", 0.1) ||
           trainer_number(&dst->dropout_features, dict, "dropout_features", 0) ||
           trainer_flag(&dst->binary, dict, "binary") || trainer_flag(&dst->predicted_only, dict, "predicted_only");
}

/* The arguments that are arrays, as Python gives them. */
typedef struct {
    PyObject *steps, *negatives, *codebook, *channels, *gumbel, *ids, *second;
} arrays;

/* Takes the arrays of a batch of B segments; R becomes the number of masked steps, 0 for pairs alone. */
static int take_arrays(ecg_pretrain_batch *b, int64_t *R, const ecg_config *config, const arrays *a, int64_t B,
                       int64_t N)
{
    int64_t T = ecg_config_tokens(config, N), codes = config->latent_groups * config->latent_vars;
    if (take_data((const void **)&b->steps, a->steps, NPY_BOOL, B * T, true, "steps"))
        return -1;
    *R = count_steps(b->steps, B * T);
    b->negative_count = items_per_row(a->negatives, *R);
    b->codebook_count = items_per_row(a->codebook, *R);
    if (take_data((const void **)&b->negatives, a->negatives, NPY_INT32, *R * b->negative_count, !b->steps,
                  "negatives") ||
        take_data((const void **)&b->codebook, a->codebook, NPY_INT32, *R * b->codebook_count, true, "codebook") ||
        take_data((const void **)&b->channels, a->channels, NPY_BOOL, B * config->C, true, "channels") ||
        take_data((const void **)&b->gumbel, a->gumbel, NPY_FLOAT32, *R * codes, true, "gumbel") ||
        take_data((const void **)&b->ids, a->ids, NPY_INT64, B, b->steps != NULL, "ids") ||
        take_data((const void **)&b->second, a->second, NPY_BOOL, B, !b->ids, "second"))
        return -1;
    if (b->steps && (*R == 0 || b->negative_count == 0)) {
        PyErr_SetString(PyExc_ValueError, "there is no masked step or no negative");
        return -1;
    }
    return 0;
}

/* One call, which may wait for its second half. */
struct pretrain_call {
    trainer_call base;
    ecg_pretrain_batch batch;
    ecg_pretrain_sums sums;
    int64_t R;
    PyObject *args, *kwargs;  /* owned while it waits: what the arrays are in */
    PyObject *codes, *logits; /* owned */
};

void pretrain_call_free(pretrain_call *call)
{
    if (!call)
        return;
    trainer_end(&call->base);
    Py_XDECREF(call->args);
    Py_XDECREF(call->kwargs);
    Py_XDECREF(call->codes);
    Py_XDECREF(call->logits);
    PyMem_Free(call);
}

static PyObject *sums_dict(const pretrain_call *call)
{
    const ecg_pretrain_sums *sums = &call->sums;
    return Py_BuildValue("{sdsdsdsdsdsdsLsLsOsO}", "contrastive", sums->contrastive, "diversity", sums->diversity,
                         "penalty", sums->penalty, "cmsc", sums->cmsc, "prob_perplexity", sums->prob_perplexity,
                         "code_perplexity", sums->code_perplexity, "rows", (long long)sums->rows, "correct",
                         (long long)sums->correct, "codes", call->codes, "logits", call->logits);
}

/* What fits to the trainer's settings, and to each other; -1 with an exception. */
static int check_call(const pretrain_call *call, bool backward)
{
    unsigned frozen = call->base.self->trainer.training.frozen;
    if (call->R ? backward && (!call->batch.gumbel || frozen & ECG_P_HEAD) : !(frozen & ECG_P_HEAD)) {
        PyErr_SetString(PyExc_ValueError, "masked steps come with noise of the quantizer and with trained heads");
        return -1;
    }
    if (call->R && backward && frozen & ECG_P_MASK && !call->batch.settings.predicted_only) {
        PyErr_SetString(PyExc_ValueError, "a trainer made with no_masks takes steps with predicted_only alone");
        return -1;
    }
    return 0;
}

/* Makes the arrays that tests may look at. */
static int make_traces(pretrain_call *call, const ecg_config *config)
{
    ecg_pretrain_batch *b = &call->batch;
    npy_intp codes[2] = {call->R, config->latent_groups};
    npy_intp logits[2] = {call->R, 1 + b->negative_count + b->codebook_count};
    call->codes = PyArray_SimpleNew(2, codes, NPY_INT32);
    call->logits = PyArray_SimpleNew(2, logits, NPY_FLOAT32);
    if (!call->codes || !call->logits)
        return -1;
    b->codes = PyArray_DATA((PyArrayObject *)call->codes);
    b->logits = PyArray_DATA((PyArrayObject *)call->logits);
    return 0;
}

/* Runs the first half and leaves the call to wait: the features (B, C) that are compared. */
static PyObject *run_first_half(pretrain_call *call, const ecg_step *step, PyObject *args, PyObject *kwargs)
{
    TrainerObject *self = call->base.self;
    npy_intp shape[2] = {step->B, self->trainer.config.C};
    PyObject *features = PyArray_SimpleNew(2, shape, NPY_FLOAT32);
    const float *rows = NULL;
    call->args = Py_NewRef(args);
    call->kwargs = kwargs ? PyDict_Copy(kwargs) : NULL;
    if (!features || (kwargs && !call->kwargs)) {
        Py_XDECREF(features);
        return NULL;
    }
    poll_begin(&call->base.poll);
    ecg_status status = ecg_trainer_run_forward(&self->trainer, step, &rows);
    poll_end(&call->base.poll);
    if (status != ECG_OK) {
        Py_DECREF(features);
        return raise_status(status);
    }
    memcpy(PyArray_DATA((PyArrayObject *)features), rows, (size_t)PyArray_NBYTES((PyArrayObject *)features));
    self->waiting = call;
    return features;
}

const char trainer_pretrain_doc[] =
    "pretrain($self, x, steps, negatives, settings, *, codebook=None, valid=None, channels=None, gumbel=None, "
    "ids=None,\n"
    "         second=None, seed=0, rank=0, update=0, first_row=0, backward=True, noise=None, wait=False)\n--\n\n"
    "Forward and, unless backward is false, backward of a batch of pretraining: masked steps (B, T) bool, R of them,\n"
    "negatives (R, n) int32, codebook (m, R) int32; steps and negatives None for pairs alone. Returns the parts of\n"
    "the loss, codes (R, G) and logits (R, 1 + n + m). With wait it returns the features (B, C) of the pairs before\n"
    "they are compared, and finish does the rest.";

PyObject *trainer_pretrain(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"x",        "steps",     "negatives", "settings", "codebook", "valid",
                            "channels", "gumbel",    "ids",       "second",   "seed",     "rank",
                            "update",   "first_row", "backward",  "noise",    "wait",     NULL};
    arrays a = {.codebook = Py_None, .channels = Py_None, .gumbel = Py_None, .ids = Py_None, .second = Py_None};
    PyObject *settings, *valid = Py_None, *masks = Py_None, *result = NULL;
    ecg_stream_key key = {0};
    long long first_row = 0;
    int backward = 1, wait = 0, threads;
    pretrain_call *call = PyMem_Calloc(1, sizeof *call);
    if (!call)
        return PyErr_NoMemory();
    trainer_call *c = &call->base;
    c->self = (TrainerObject *)object;
    const ecg_config *config = &c->self->trainer.config;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!OOO!|$OOOOOOIIILpOp", names, &PyArray_Type, &c->x, &a.steps,
                                     &a.negatives, &PyDict_Type, &settings, &a.codebook, &valid, &a.channels, &a.gumbel,
                                     &a.ids, &a.second, &key.seed, &key.rank, &key.update, &first_row, &backward,
                                     &masks, &wait))
        goto done;
    if (config->kind != ECG_PRETRAINING) {
        PyErr_SetString(PyExc_ValueError, "this trainer is that of a classifier");
        goto done;
    }
    if (trainer_signals(c, valid) || parse_settings(&call->batch.settings, settings) ||
        take_arrays(&call->batch, &call->R, config, &a, PyArray_DIM(c->x, 0), PyArray_DIM(c->x, 2)) ||
        trainer_masks(c, masks) ||
        trainer_mask(&c->whole[ECG_DRAW_FEATURES], c, "features", call->R * ecg_config_features(config)) ||
        check_call(call, backward) || make_traces(call, config))
        goto done;
    if (wait && !call->batch.ids) {
        PyErr_SetString(PyExc_ValueError, "only a batch of pairs waits for those of other ranks");
        goto done;
    }
    if (begin_threads(&threads) || trainer_begin(c->self))
        goto done;
    ecg_step step = trainer_step(c, &call->batch, &call->sums, key, first_row);
    step.threads = threads, step.backward = backward;
    if (wait) {
        result = run_first_half(call, &step, args, kwargs);
    } else {
        poll_begin(&c->poll);
        ecg_status status = ecg_trainer_run(&c->self->trainer, &step);
        poll_end(&c->poll);
        result = status == ECG_OK ? sums_dict(call) : raise_status(status);
    }
    c->self->busy = false;
    if (c->self->waiting == call)
        return result;
done:
    pretrain_call_free(call);
    return result;
}

/* The rows of all ranks, checked against those of this one; -1 with an exception. */
static int take_company(ecg_company *all, PyObject *features, PyObject *ids, PyObject *second, const ecg_pass *own)
{
    all->rows = PyArray_SIZE((PyArrayObject *)ids);
    if (all->offset < 0 || all->size < 0 || all->offset > all->rows - own->task.B) {
        PyErr_SetString(PyExc_ValueError, "this rank's rows must be among those of all");
        return -1;
    }
    return take_data((const void **)&all->ids, ids, NPY_INT64, all->rows, false, "ids of all") ||
           take_data((const void **)&all->second, second, NPY_BOOL, all->rows, false, "second of all") ||
           take_data((const void **)&all->features, features, NPY_FLOAT32, all->rows * own->encoded.C, false,
                     "features of all");
}

const char trainer_finish_doc[] =
    "finish($self, features, ids, second, offset, size)\n--\n\n"
    "The second half of a batch that waits: features (rows, C), ids and second (rows,) of all ranks, among which this\n"
    "rank's rows begin at offset, and the sample size of all. Returns what pretrain returns.";

PyObject *trainer_finish(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"features", "ids", "second", "offset", "size", NULL};
    TrainerObject *self = (TrainerObject *)object;
    PyObject *features, *ids, *second;
    long long offset, size;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO!OLL", names, &features, &PyArray_Type, &ids, &second, &offset,
                                     &size))
        return NULL;
    pretrain_call *call = self->waiting;
    if (!call || self->busy)
        return PyErr_Format(PyExc_RuntimeError, "no batch waits for its second half");
    ecg_company all = {.offset = offset, .size = size};
    if (begin_threads(NULL) || take_company(&all, features, ids, second, &self->trainer.pass))
        return NULL;
    self->waiting = NULL, self->busy = true;
    ecg_poll poll = {poll_signals, &call->base.poll};
    poll_begin(&call->base.poll);
    ecg_status status = ecg_trainer_run_backward(&self->trainer, &all, &poll);
    poll_end(&call->base.poll);
    self->busy = false;
    PyObject *result = status == ECG_OK ? sums_dict(call) : raise_status(status);
    pretrain_call_free(call);
    return result;
}

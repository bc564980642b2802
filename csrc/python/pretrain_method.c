/* Trainer.pretrain: one batch of pretraining. */
#include "trainer_object.h"

#include "../model/pretrain.h"

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

/* Takes the arrays of a batch; R becomes the number of masked steps, 0 for CMSC alone. */
static int take_arrays(ecg_pretrain_batch *b, int64_t *R, const ecg_config *config, const arrays *a)
{
    int64_t T = ecg_config_tokens(config, b->N), codes = config->latent_groups * config->latent_vars;
    if (take_data((const void **)&b->steps, a->steps, NPY_BOOL, b->B * T, true, "steps"))
        return -1;
    *R = count_steps(b->steps, b->B * T);
    b->negative_count = items_per_row(a->negatives, *R);
    b->codebook_count = items_per_row(a->codebook, *R);
    if (take_data((const void **)&b->negatives, a->negatives, NPY_INT32, *R * b->negative_count, !b->steps,
                  "negatives") ||
        take_data((const void **)&b->codebook, a->codebook, NPY_INT32, *R * b->codebook_count, true, "codebook") ||
        take_data((const void **)&b->channels, a->channels, NPY_BOOL, b->B * config->C, true, "channels") ||
        take_data((const void **)&b->gumbel, a->gumbel, NPY_FLOAT32, *R * codes, true, "gumbel") ||
        take_data((const void **)&b->ids, a->ids, NPY_INT64, b->B, b->steps != NULL, "ids") ||
        take_data((const void **)&b->second, a->second, NPY_BOOL, b->B, !b->ids, "second"))
        return -1;
    if (b->steps && (*R == 0 || b->negative_count == 0)) {
        PyErr_SetString(PyExc_ValueError, "there is no masked step or no negative");
        return -1;
    }
    return 0;
}

/* CMSC over all ranks: a dict of ids, second, offset, size and the function `gather`. */
typedef struct {
    ecg_company company;
    PyObject *dict; /* owned: a copy of the given one, which keeps what is in it */
    PyObject *gather;
    poll_state *poll;
    int64_t B, C;
} company_call;

/* Calls gather(own (B, C)) -> (rows, C); an exception in it becomes that of the whole call. */
static ecg_status gather_features(void *context, float *dst, const float *own)
{
    company_call *c = context;
    ecg_status status = ECG_INTERRUPTED;
    PyEval_RestoreThread(c->poll->thread);
    PyObject *view = PyArray_SimpleNew(2, ((npy_intp[]){c->B, c->C}), NPY_FLOAT32), *found = NULL;
    if (view) {
        memcpy(PyArray_DATA((PyArrayObject *)view), own, (size_t)(c->B * c->C) * sizeof *own);
        found = PyObject_CallOneArg(c->gather, view);
    }
    if (found) {
        PyArrayObject *array = (PyArrayObject *)found;
        if (PyArray_Check(found) && PyArray_TYPE(array) == NPY_FLOAT32 && PyArray_ISCARRAY_RO(array) &&
            PyArray_SIZE(array) == c->company.rows * c->C) {
            memcpy(dst, PyArray_DATA(array), (size_t)(c->company.rows * c->C) * sizeof *dst);
            status = ECG_OK;
        } else {
            PyErr_SetString(PyExc_ValueError, "gather must give float32 rows for all ids");
        }
    }
    Py_XDECREF(view);
    Py_XDECREF(found);
    c->poll->thread = PyEval_SaveThread();
    return status == ECG_OK ? status : ecg_fail(status, "features were not gathered");
}

static int take_company(company_call *dst, PyObject *given, ecg_pretrain_batch *b, const ecg_config *config)
{
    ecg_company *all = &dst->company;
    if (given == Py_None)
        return 0;
    if (!PyDict_Check(given)) {
        PyErr_SetString(PyExc_TypeError, "company must be a dict or None");
        return -1;
    }
    PyObject *dict = dst->dict = PyDict_Copy(given);
    if (!dict)
        return -1;
    PyObject *ids = PyDict_GetItemString(dict, "ids"), *second = PyDict_GetItemString(dict, "second");
    double offset, size;
    dst->gather = PyDict_GetItemString(dict, "gather");
    if (trainer_number(&offset, dict, "offset", 0) || trainer_number(&size, dict, "size", 0))
        return -1;
    if (!ids || !PyArray_Check(ids) || !second || !dst->gather || !PyCallable_Check(dst->gather) || !b->ids) {
        PyErr_SetString(PyExc_ValueError, "company has ids, second, offset, size and gather, and goes with ids");
        return -1;
    }
    all->rows = PyArray_SIZE((PyArrayObject *)ids);
    all->offset = (int64_t)offset, all->size = (int64_t)size;
    if (!(offset >= 0 && offset <= (double)(all->rows - b->B) && size >= 0)) {
        PyErr_SetString(PyExc_ValueError, "this rank's rows must be among those of all");
        return -1;
    }
    if (take_data((const void **)&all->ids, ids, NPY_INT64, all->rows, false, "company ids") ||
        take_data((const void **)&all->second, second, NPY_BOOL, all->rows, false, "company second"))
        return -1;
    all->gather = gather_features, all->context = dst;
    dst->B = b->B, dst->C = config->C;
    b->company = all;
    return 0;
}

static PyObject *sums_dict(const ecg_pretrain_sums *sums, PyObject *codes, PyObject *logits)
{
    return Py_BuildValue("{sdsdsdsdsdsdsLsLsOsO}", "contrastive", sums->contrastive, "diversity", sums->diversity,
                         "penalty", sums->penalty, "cmsc", sums->cmsc, "prob_perplexity", sums->prob_perplexity,
                         "code_perplexity", sums->code_perplexity, "rows", (long long)sums->rows, "correct",
                         (long long)sums->correct, "codes", codes, "logits", logits);
}

const char trainer_pretrain_doc[] =
    "pretrain($self, x, steps, negatives, settings, *, codebook=None, valid=None, channels=None, gumbel=None, "
    "ids=None,\n"
    "         second=None, seed=0, rank=0, update=0, first_row=0, backward=True, noise=None, company=None)\n--\n\n"
    "Forward and, unless told otherwise, backward of a batch of pretraining: masked steps (B, T) bool, R of them,\n"
    "negatives (R, n) int32, codebook (m, R) int32; steps and negatives None for CMSC alone. Returns the parts of the\n"
    "loss, codes (R, G) and logits (R, 1 + n + m).";

PyObject *trainer_pretrain(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"x",        "steps",     "negatives", "settings", "codebook", "valid",
                            "channels", "gumbel",    "ids",       "second",   "seed",     "rank",
                            "update",   "first_row", "backward",  "noise",    "company",  NULL};
    arrays a = {.codebook = Py_None, .channels = Py_None, .gumbel = Py_None, .ids = Py_None, .second = Py_None};
    PyObject *settings_dict, *valid = Py_None, *masks = Py_None, *company = Py_None, *result = NULL;
    unsigned int seed = 0, rank = 0, update = 0;
    long long first_row = 0;
    int backward = 1;
    trainer_call c = {.self = (TrainerObject *)object};
    ecg_pretrain_settings settings;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!OOO!|$OOOOOOIIILpOO", names, &PyArray_Type, &c.x, &a.steps,
                                     &a.negatives, &PyDict_Type, &settings_dict, &a.codebook, &valid, &a.channels,
                                     &a.gumbel, &a.ids, &a.second, &seed, &rank, &update, &first_row, &backward, &masks,
                                     &company))
        return NULL;
    const ecg_config *config = &c.self->trainer.config;
    const ecg_training *training = &c.self->trainer.training;
    const bool no_heads = training->frozen & ECG_P_HEAD;
    if (config->kind != ECG_PRETRAINING)
        return PyErr_Format(PyExc_ValueError, "this trainer is that of a classifier");
    if (trainer_signals(&c, valid) || parse_settings(&settings, settings_dict))
        return NULL;
    ecg_pretrain_batch b = {.B = PyArray_DIM(c.x, 0),
                            .N = PyArray_DIM(c.x, 2),
                            .src = PyArray_DATA(c.x),
                            .valid = trainer_valid(&c)};
    company_call everybody = {.poll = &c.poll};
    PyObject *codes = NULL, *logits = NULL;
    int64_t R;
    int threads;
    if (take_arrays(&b, &R, config, &a) || trainer_masks(&c, masks) ||
        trainer_mask(&c.whole[ECG_DRAW_FEATURES], &c, "features", R * ecg_config_features(config)) ||
        take_company(&everybody, company, &b, config))
        goto done;
    if (R ? backward && (!b.gumbel || no_heads) : !no_heads) {
        PyErr_SetString(PyExc_ValueError, "masked steps come with noise of the quantizer and with trained heads");
        goto done;
    }
    if (R && backward && training->frozen & ECG_P_MASK && !settings.predicted_only) {
        PyErr_SetString(PyExc_ValueError, "a trainer made with no_masks takes steps with predicted_only alone");
        goto done;
    }
    codes = PyArray_SimpleNew(2, ((npy_intp[]){R, config->latent_groups}), NPY_INT32);
    logits = PyArray_SimpleNew(2, ((npy_intp[]){R, 1 + b.negative_count + b.codebook_count}), NPY_FLOAT32);
    if (codes && logits && !begin_threads(&threads) && !trainer_begin(c.self)) {
        ecg_pretrain_sums sums = {0};
        ecg_pretrain_trace trace = {PyArray_DATA((PyArrayObject *)codes), PyArray_DATA((PyArrayObject *)logits)};
        ecg_noise noise = {.key = {seed, rank, update},
                           .first_row = first_row,
                           .given = trainer_given_mask,
                           .context = &c};
        poll_begin(&c.poll);
        ecg_status status = ecg_pretrain_accumulate(&c.self->trainer, &sums, &b, &settings, backward, &trace, &noise,
                                                    threads, poll_signals, &c.poll);
        poll_end(&c.poll);
        c.self->busy = false;
        result = status == ECG_OK ? sums_dict(&sums, codes, logits) : raise_status(status);
    }
done:
    Py_XDECREF(everybody.dict);
    trainer_end(&c);
    Py_XDECREF(codes);
    Py_XDECREF(logits);
    return result;
}

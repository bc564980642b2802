/* The type ecgfm._core.Trainer. A call holds `busy` while the GIL is released, so that a second one on another
 * thread is refused instead of mixing with it. */
#include "trainer_object.h"

#include <string.h>

#include "../base/threads.h"

static PyObject *trainer_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"config", "settings", "kind", NULL};
    PyObject *dict, *settings;
    const char *kind = "classifier";
    ecg_config config;
    ecg_training training = {0};
    ecg_choice choice;
    double feature_grad_mult;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO!|s", names, &dict, &PyDict_Type, &settings, &kind) ||
        parse_config(&config, dict, kind) || trainer_choice(&choice, settings))
        return NULL;
    if (config.kind == ECG_ENCODER) {
        PyErr_SetString(PyExc_ValueError, "a classifier or a pretraining model is trained, not an encoder");
        return NULL;
    }
    const ecg_head_type *head = trainer_settings(&training, &feature_grad_mult, settings, config.kind);
    if (!head || begin_threads(NULL))
        return NULL;
    TrainerObject *self = (TrainerObject *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    ecg_status status = ecg_trainer_create(&self->trainer, &config, head, &training, feature_grad_mult, &choice);
    self->created = status == ECG_OK;
    if (status == ECG_OK && !PyErr_Occurred() && !trainer_rates(&self->trainer, settings)) /* an error of the choice */
        return (PyObject *)self;
    Py_DECREF(self);
    return status == ECG_OK ? NULL : raise_status(status);
}

static void trainer_dealloc(PyObject *object)
{
    TrainerObject *self = (TrainerObject *)object;
    pretrain_call_free(self->waiting);
    if (self->created)
        ecg_trainer_free(&self->trainer);
    Py_TYPE(object)->tp_free(object);
}

int trainer_begin(TrainerObject *self)
{
    if (self->busy) {
        PyErr_SetString(PyExc_RuntimeError, "the trainer is in use by another thread");
        return -1;
    }
    self->busy = true;
    if (self->waiting) {
        ecg_trainer_drop(&self->trainer);
        pretrain_call_free(self->waiting);
        self->waiting = NULL;
    }
    return 0;
}

PyDoc_STRVAR(arrays_doc, "arrays($self, block, /)\n--\n\n"
                         "Views of the tensors in a block: 'parameters', 'gradients', 'exp_avg' or 'exp_avg_sq'.");

static PyObject *trainer_arrays(PyObject *object, PyObject *args)
{
    static const char *const names[ECG_BLOCKS] = {"parameters", "gradients", "exp_avg", "exp_avg_sq"};
    const ecg_trainer *t = &((TrainerObject *)object)->trainer;
    const char *name;
    int block = 0;
    if (!PyArg_ParseTuple(args, "s", &name))
        return NULL;
    while (block < ECG_BLOCKS && strcmp(names[block], name) != 0)
        block++;
    if (block == ECG_BLOCKS)
        return PyErr_Format(PyExc_KeyError, "there is no block %s", name);
    PyObject *dict = PyDict_New();
    for (int64_t i = 0; dict && i < t->table.count; i++) {
        const ecg_parameter *p = &t->table.parameters[i];
        float *data = ecg_trainer_tensor(t, (ecg_block)block, i);
        npy_intp shape[3];
        if (!data)
            continue;
        for (int d = 0; d < p->ndim; d++)
            shape[d] = p->shape[d];
        PyObject *view = PyArray_SimpleNewFromData(p->ndim, shape, NPY_FLOAT32, data);
        if (view) {
            Py_INCREF(object);
            if (PyArray_SetBaseObject((PyArrayObject *)view, object) < 0)
                Py_CLEAR(view);
        }
        if (!view || PyDict_SetItemString(dict, p->name, view) < 0)
            Py_CLEAR(dict);
        Py_XDECREF(view);
    }
    return dict;
}

PyDoc_STRVAR(flat_gradients_doc, "flat_gradients($self)\n--\n\n"
                                 "A view of all gradients, for sums over ranks; 0 if no batch was seen.");

static PyObject *trainer_flat_gradients(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    TrainerObject *self = (TrainerObject *)object;
    if (begin_threads(NULL) || trainer_begin(self))
        return NULL;
    Py_BEGIN_ALLOW_THREADS;
    ecg_trainer_begin(&self->trainer);
    Py_END_ALLOW_THREADS;
    self->busy = false;
    npy_intp size = self->trainer.sizes[ECG_EXP_AVG]; /* behind it lies what only the adapters' come from */
    PyObject *view = PyArray_SimpleNewFromData(1, &size, NPY_FLOAT32, self->trainer.blocks[ECG_GRADIENTS]);
    if (view) {
        Py_INCREF(object);
        if (PyArray_SetBaseObject((PyArrayObject *)view, object) < 0)
            Py_CLEAR(view);
    }
    return view;
}

PyDoc_STRVAR(steps_doc, "steps($self)\n--\n\nHow many updates each trained tensor has seen, by name.");

static PyObject *trainer_steps(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    const ecg_trainer *t = &((TrainerObject *)object)->trainer;
    PyObject *dict = PyDict_New();
    for (int64_t i = 0; dict && i < t->table.count; i++) {
        PyObject *value = t->chosen.trained[i] ? PyLong_FromLongLong(t->steps[i]) : NULL;
        if (t->chosen.trained[i] && (!value || PyDict_SetItemString(dict, t->table.parameters[i].name, value) < 0))
            Py_CLEAR(dict);
        Py_XDECREF(value);
    }
    return dict;
}

PyDoc_STRVAR(set_steps_doc, "set_steps($self, steps, /)\n--\n\nSet what steps() gives, from a dict.");

static PyObject *trainer_set_steps(PyObject *object, PyObject *dict)
{
    ecg_trainer *t = &((TrainerObject *)object)->trainer;
    if (!PyDict_Check(dict))
        return PyErr_Format(PyExc_TypeError, "steps must be a dict");
    for (int64_t i = 0; i < t->table.count; i++) {
        PyObject *value = PyDict_GetItemString(dict, t->table.parameters[i].name);
        long long step = value ? PyLong_AsLongLong(value) : t->steps[i];
        if (step < 0)
            return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_ValueError, "a number of steps is negative");
        t->steps[i] = step;
    }
    Py_RETURN_NONE;
}

/* ---- a call that computes ---- */

void trainer_end(trainer_call *c)
{
    Py_CLEAR(c->noise);
}

bool trainer_floats(PyArrayObject *array, int ndim)
{
    return PyArray_Check(array) && PyArray_TYPE(array) == NPY_FLOAT32 && PyArray_NDIM(array) == ndim &&
           PyArray_ISCARRAY_RO(array);
}

/* Checks x (B, L, N) and valid (B,) or None. */
int trainer_signals(trainer_call *c, PyObject *valid)
{
    const ecg_config *config = &c->self->trainer.config;
    if (!trainer_floats(c->x, 3) || PyArray_DIM(c->x, 0) < 1 || PyArray_DIM(c->x, 1) != config->leads ||
        PyArray_DIM(c->x, 2) < ecg_config_min_samples(config)) {
        PyErr_SetString(PyExc_ValueError, "x must be a contiguous float32 array (B, leads, N)");
        return -1;
    }
    return trainer_valid_samples(c, valid) ? -1 : check_finite(c->x);
}

int trainer_valid_samples(trainer_call *c, PyObject *valid)
{
    c->valid = valid == Py_None ? NULL : (PyArrayObject *)valid;
    if (c->valid && (!PyArray_Check(valid) || PyArray_TYPE(c->valid) != NPY_INT64 || PyArray_NDIM(c->valid) != 1 ||
                     !PyArray_ISCARRAY_RO(c->valid) || PyArray_DIM(c->valid, 0) != PyArray_DIM(c->x, 0))) {
        PyErr_SetString(PyExc_ValueError, "valid must be a contiguous int64 array (B,)");
        return -1;
    }
    return 0;
}

const int64_t *trainer_valid(const trainer_call *c)
{
    return c->valid ? PyArray_DATA(c->valid) : NULL;
}

ecg_step trainer_step(trainer_call *c, const void *batch, void *sums, ecg_stream_key key, int64_t first_row)
{
    return (ecg_step){.B = PyArray_DIM(c->x, 0),
                      .N = trainer_samples(c),
                      .src = c->samples ? NULL : PyArray_DATA(c->x),
                      .rows = PyArray_DATA(c->x),
                      .rows_type = PyArray_TYPE(c->x) == NPY_UINT16 ? ECG_BF16 : ECG_F32,
                      .valid = trainer_valid(c),
                      .batch = batch,
                      .sums = sums,
                      .noise = {.key = key, .first_row = first_row, .given = trainer_given_mask, .context = c},
                      .poll = {poll_signals, &c->poll}};
}

PyDoc_STRVAR(
    update_doc,
    "update($self, lr, beta1, beta2, eps, weight_decay, denominator, *, clip_norm=0.0, head_only=False)\n--\n\n"
    "One step of Adam with gradients / denominator. Returns (gradient norm, whether it was applied).");

static PyObject *trainer_update(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"lr",          "beta1",     "beta2",     "eps", "weight_decay",
                            "denominator", "clip_norm", "head_only", NULL};
    TrainerObject *self = (TrainerObject *)object;
    ecg_adam adam;
    double denominator, clip_norm = 0, gnorm = 0;
    bool applied = false;
    int head_only = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "dddddd|$dp", names, &adam.lr, &adam.beta1, &adam.beta2, &adam.eps,
                                     &adam.weight_decay, &denominator, &clip_norm, &head_only) ||
        begin_threads(NULL) || trainer_begin(self))
        return NULL;
    ecg_status status;
    Py_BEGIN_ALLOW_THREADS;
    status = ecg_trainer_update(&self->trainer, &adam, denominator, clip_norm, head_only, &gnorm, &applied);
    Py_END_ALLOW_THREADS;
    self->busy = false;
    if (status != ECG_OK)
        return raise_status(status);
    return Py_BuildValue("(dN)", gnorm, PyBool_FromLong(applied));
}

PyDoc_STRVAR(forget_doc, "forget($self)\n--\n\nDrop the gradients that were accumulated.");

static PyObject *trainer_forget(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    TrainerObject *self = (TrainerObject *)object;
    if (trainer_begin(self))
        return NULL;
    self->trainer.accumulating = false;
    self->busy = false;
    Py_RETURN_NONE;
}

static PyMethodDef trainer_methods[] = {
    {"arrays", trainer_arrays, METH_VARARGS, arrays_doc},
    {"flat_gradients", trainer_flat_gradients, METH_NOARGS, flat_gradients_doc},
    {"steps", trainer_steps, METH_NOARGS, steps_doc},
    {"set_steps", trainer_set_steps, METH_O, set_steps_doc},
    {"accumulate", (PyCFunction)(void (*)(void))trainer_accumulate, METH_VARARGS | METH_KEYWORDS,
     trainer_accumulate_doc},
    {"pretrain", (PyCFunction)(void (*)(void))trainer_pretrain, METH_VARARGS | METH_KEYWORDS, trainer_pretrain_doc},
    {"finish", (PyCFunction)(void (*)(void))trainer_finish, METH_VARARGS | METH_KEYWORDS, trainer_finish_doc},
    {"update", (PyCFunction)(void (*)(void))trainer_update, METH_VARARGS | METH_KEYWORDS, update_doc},
    {"forget", trainer_forget, METH_NOARGS, forget_doc},
    {"take_bases", trainer_take_bases, METH_NOARGS, trainer_take_bases_doc},
    {"merge", trainer_merge, METH_NOARGS, trainer_merge_doc},
    {"below", (PyCFunction)(void (*)(void))trainer_below, METH_VARARGS | METH_KEYWORDS, trainer_below_doc},
    {"forward", (PyCFunction)(void (*)(void))trainer_forward, METH_VARARGS | METH_KEYWORDS, trainer_forward_doc},
    {NULL, NULL, 0, NULL},
};

PyTypeObject TrainerType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "ecgfm._core.Trainer",
    .tp_basicsize = sizeof(TrainerObject),
    .tp_dealloc = trainer_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "A network that is being trained: parameters, gradients and both moments of Adam.",
    .tp_methods = trainer_methods,
    .tp_new = trainer_new,
};

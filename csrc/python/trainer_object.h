/* What the methods of ecgfm._core.Trainer share: its object, and how a call's arguments are taken. */
#ifndef ECG_PYTHON_TRAINER_OBJECT_H
#define ECG_PYTHON_TRAINER_OBJECT_H

#include "common.h" /* Python.h comes before the headers of the system */

#include "../engine/trainer.h"

#define MAX_MASK_LAYERS 256

typedef struct pretrain_call pretrain_call;

typedef struct {
    PyObject_HEAD
    ecg_trainer trainer;
    bool created, busy;
    pretrain_call *waiting; /* for its second half; NULL for none */
} TrainerObject;

/* A call that computes. */
typedef struct {
    TrainerObject *self;
    poll_state poll;
    PyArrayObject *x, *valid, *y;
    int64_t samples; /* of each segment, where x holds rows that were kept; else 0 */
    PyObject *noise; /* owned: a copy of the given dict, which keeps its arrays whatever becomes of the dict */
    /* given masks, by draw and layer */
    const uint8_t *whole[ECG_DRAW_FEATURES + 1];
    const uint8_t *by_layer[4][MAX_MASK_LAYERS];
} trainer_call;

/* ---- trainer_settings.c ---- */

/* *dst = dict[key] as a number or a truth value, or the default if it is absent; -1 with an exception. */
int trainer_number(double *dst, PyObject *dict, const char *key, double fallback);
int trainer_flag(bool *dst, PyObject *dict, const char *key);

/* Takes what is trained and how; returns the head that the settings name, or the first one of the kind. NULL with an
 * exception. */
const ecg_head_type *trainer_settings(ecg_training *dst, double *feature_grad_mult, PyObject *settings, ecg_kind kind);

/* ---- trainer_object.c ---- */

/* Marks the trainer as busy; -1 with an exception if it is. A first half that waits is dropped. */
int trainer_begin(TrainerObject *self);

/* Whether it is a contiguous array of floats. */
bool trainer_floats(PyArrayObject *array, int ndim);

/* Checks x (B, L, N), which is in the call, and valid (B,) or None; trainer_valid is what valid holds or NULL. */
int trainer_signals(trainer_call *call, PyObject *valid);
int trainer_valid_samples(trainer_call *call, PyObject *valid);
const int64_t *trainer_valid(const trainer_call *call);

/* The samples of each segment. */
static inline int64_t trainer_samples(const trainer_call *call)
{
    return call->samples ? call->samples : PyArray_DIM(call->x, 2);
}

/* Takes the given dropout masks, a dict or None: those of all places, or (after that) one of n bools. */
int trainer_masks(trainer_call *call, PyObject *noise);
int trainer_mask(const uint8_t **dst, const trainer_call *call, const char *name, int64_t n);

/* The step of a call, without its threads and directions. */
ecg_step trainer_step(trainer_call *call, const void *batch, void *sums, ecg_stream_key key, int64_t first_row);

/* Gives back what the call holds. */
void trainer_end(trainer_call *call);

/* What an ecg_noise asks for a mask that is given; its context is the call. */
const uint8_t *trainer_given_mask(void *context, ecg_draw draw, int64_t layer);

/* ---- classify_method.c ---- */

extern const char trainer_accumulate_doc[], trainer_forward_doc[];
PyObject *trainer_accumulate(PyObject *object, PyObject *args, PyObject *kwargs);
PyObject *trainer_forward(PyObject *object, PyObject *args, PyObject *kwargs);

/* ---- pretrain_method.c ---- */

extern const char trainer_pretrain_doc[], trainer_finish_doc[];
PyObject *trainer_pretrain(PyObject *object, PyObject *args, PyObject *kwargs);
PyObject *trainer_finish(PyObject *object, PyObject *args, PyObject *kwargs);

/* Gives back a first half that waits; nothing for NULL. */
void pretrain_call_free(pretrain_call *call);

/* ---- trainer_frozen.c ---- */

/* Trained are the names under `trained` of the settings; without them everything. -1 with an exception; asking for a
 * name may leave one, too. */
int trainer_choice(ecg_choice *dst, PyObject *settings);

/* Under `rates` the settings may have a dict: what the learning rate of a tensor is multiplied by. */
int trainer_rates(ecg_trainer *trainer, PyObject *settings);

/* Checks x and valid as trainer_signals does, or, of so many samples, rows (B, T, C) in the place of x. */
int trainer_input(trainer_call *call, PyObject *valid, long long samples);

extern const char trainer_take_bases_doc[], trainer_merge_doc[];
PyObject *trainer_take_bases(PyObject *object, PyObject *ignored);
PyObject *trainer_merge(PyObject *object, PyObject *ignored);

extern const char trainer_below_doc[];
PyObject *trainer_below(PyObject *object, PyObject *args, PyObject *kwargs);

#endif

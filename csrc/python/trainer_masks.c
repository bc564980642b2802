/* Dropout masks that a caller gives. */
#include "trainer_object.h"

const uint8_t *trainer_given_mask(void *context, ecg_draw draw, int64_t layer)
{
    const trainer_call *c = context;
    if (draw >= ECG_DRAW_ATTENTION && draw <= ECG_DRAW_RESIDUAL)
        return layer < MAX_MASK_LAYERS ? c->by_layer[draw - ECG_DRAW_ATTENTION][layer] : NULL;
    return c->whole[draw];
}

/* *dst = the data of noise[name], which must hold n bools; NULL where there is none. */
int trainer_mask(const uint8_t **dst, const trainer_call *c, const char *name, int64_t n)
{
    PyObject *value = c->noise ? PyDict_GetItemString(c->noise, name) : NULL;
    *dst = NULL;
    if (!value)
        return 0;
    PyArrayObject *array = (PyArrayObject *)value;
    if (!PyArray_Check(value) || PyArray_TYPE(array) != NPY_BOOL || !PyArray_ISCARRAY_RO(array) ||
        PyArray_SIZE(array) != n) {
        PyErr_Format(PyExc_ValueError, "the mask %s must be a contiguous array of %lld bools", name, (long long)n);
        return -1;
    }
    *dst = PyArray_DATA(array);
    return 0;
}

int trainer_masks(trainer_call *c, PyObject *noise)
{
    const ecg_config *config = &c->self->trainer.config;
    int64_t B = PyArray_DIM(c->x, 0), T = ecg_config_tokens(config, trainer_samples(c)), stream = B * T * config->C;
    char name[48];
    if (noise == Py_None)
        return 0;
    if (!PyDict_Check(noise)) {
        PyErr_SetString(PyExc_TypeError, "noise must be a dict or None");
        return -1;
    }
    c->noise = PyDict_Copy(noise);
    if (!c->noise)
        return -1;
    if (trainer_mask(&c->whole[ECG_DRAW_INPUT], c, "input", stream) ||
        trainer_mask(&c->whole[ECG_DRAW_ENCODER], c, "encoder", stream) ||
        trainer_mask(&c->whole[ECG_DRAW_FINAL], c, "final", stream) ||
        trainer_mask(&c->whole[ECG_DRAW_LAYER], c, "layers", config->layers))
        return -1;
    static const char *const places[4] = {"attention", "residual1", "activation", "residual2"};
    const int64_t sizes[4] = {B * config->H * T * T, stream, B * T * config->F, stream};
    for (int64_t layer = 0; layer < config->layers && layer < MAX_MASK_LAYERS; layer++) {
        for (int place = 0; place < 4; place++) {
            PyOS_snprintf(name, sizeof name, "layer%d.%s", (int)layer, places[place]);
            if (trainer_mask(&c->by_layer[place][layer], c, name, sizes[place]))
                return -1;
        }
    }
    return 0;
}

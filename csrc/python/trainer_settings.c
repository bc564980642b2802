/* The settings of ecgfm._core.Trainer, from a dict. */
#include "trainer_object.h"

int trainer_number(double *dst, PyObject *dict, const char *key, double fallback)
{
    PyObject *value = PyDict_GetItemString(dict, key);
    *dst = value ? PyFloat_AsDouble(value) : fallback;
    return *dst == -1 && PyErr_Occurred() ? -1 : 0;
}

int trainer_flag(bool *dst, PyObject *dict, const char *key)
{
    PyObject *value = PyDict_GetItemString(dict, key);
    int truth = value ? PyObject_IsTrue(value) : 0;
    *dst = truth > 0;
    return truth < 0 ? -1 : 0;
}

/* The settings of training; probabilities lie in [0, 1). */
static int parse_training(ecg_training *dst, double *feature_grad_mult, PyObject *dict)
{
    struct {
        const char *key;
        double *dst;
    } rates[] = {
        {"dropout", &dst->rates.dropout},
        {"attention_dropout", &dst->rates.attention_dropout},
        {"activation_dropout", &dst->rates.activation_dropout},
        {"dropout_input", &dst->rates.dropout_input},
        {"final_dropout", &dst->rates.final_dropout},
        {"encoder_layerdrop", &dst->rates.encoder_layerdrop},
    };
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        if (trainer_number(rates[i].dst, dict, rates[i].key, 0))
            return -1;
        if (!(*rates[i].dst >= 0 && *rates[i].dst < 1)) {
            raise_status(ecg_fail(ECG_BAD_CONFIG, "%s must be at least 0 and below 1", rates[i].key));
            return -1;
        }
    }
    if (trainer_number(feature_grad_mult, dict, "feature_grad_mult", 1))
        return -1;
    if (!(*feature_grad_mult >= 0 && *feature_grad_mult <= 1e6)) {
        raise_status(ecg_fail(ECG_BAD_CONFIG, "feature_grad_mult must be a number that is not negative"));
        return -1;
    }
    bool no_heads, no_masks;
    if (trainer_flag(&dst->recompute, dict, "recompute") || trainer_flag(&no_heads, dict, "no_heads") ||
        trainer_flag(&no_masks, dict, "no_masks"))
        return -1;
    dst->frozen = (no_heads ? ECG_P_HEAD : 0) | (no_masks ? ECG_P_MASK : 0);
    return 0;
}

/* The precision that the settings name, float32 where they name none. */
static int parse_precision(ecg_precision_name *dst, PyObject *settings)
{
    PyObject *value = PyDict_GetItemString(settings, "precision");
    *dst = ECG_FLOAT32;
    if (!value)
        return 0;
    const char *name = PyUnicode_Check(value) ? PyUnicode_AsUTF8(value) : "";
    if (!name)
        return -1;
    *dst = ecg_precision_find(name);
    if ((*dst == ECG_FLOAT32 || *dst == ECG_BFLOAT16) && ecg_precision_supported(*dst))
        return 0;
    raise_status(
        ecg_fail(ECG_BAD_CONFIG, "a network is trained in float32, or in bfloat16 where the processor has it"));
    return -1;
}

/* The head that the settings name, or the first one of the kind; NULL with an exception. */
static const ecg_head_type *parse_head(PyObject *settings, ecg_kind kind)
{
    PyObject *value = PyDict_GetItemString(settings, "head");
    if (!value)
        return ecg_head_of(kind);
    const char *name = PyUnicode_Check(value) ? PyUnicode_AsUTF8(value) : "";
    const ecg_head_type *head = name ? ecg_head_named(name) : NULL;
    if (head && head->kind == kind)
        return head;
    if (name)
        raise_status(ecg_fail(ECG_BAD_CONFIG, "a network of the kind %s has no head %s", ecg_kind_names[kind], name));
    return NULL;
}

const ecg_head_type *trainer_settings(ecg_training *dst, double *feature_grad_mult, PyObject *settings, ecg_kind kind)
{
    if (parse_training(dst, feature_grad_mult, settings) || parse_precision(&dst->precision, settings))
        return NULL;
    return parse_head(settings, kind);
}

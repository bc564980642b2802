/* What of a network is trained, as Python says it. */
#include "trainer_object.h"

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
    *dst = names && names != Py_None ? (ecg_choice){is_among, names} : (ecg_choice){0};
    return 0;
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

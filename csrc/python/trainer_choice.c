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

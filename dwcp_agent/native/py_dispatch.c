/* Which paths there are, and which run. */
#include "python.h"

#include <string.h>

const dwcp_path *dwcp_py_path(dwcp_kernel kernel, const char *name)
{
    const dwcp_path *path;
    for (size_t i = 0; (path = dwcp_dispatch_path(kernel, i)) != NULL; i++)
        if (strcmp(path->name, name) == 0)
            return path;
    PyErr_Format(PyExc_ValueError, "this build on this machine has no path %s for %s", name, dwcp_kernel_name(kernel));
    return NULL;
}

static PyObject *select_paths(PyObject *self, PyObject *names)
{
    (void)self;
    PyObject *items = PySequence_Fast(names, "expected a sequence of names");
    if (!items)
        return NULL;
    unsigned disabled = 0;
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(items); i++) {
        const char *name = PyUnicode_AsUTF8(PySequence_Fast_GET_ITEM(items, i));
        if (!name) {
            Py_DECREF(items);
            return NULL;
        }
        for (const dwcp_instruction_set *set = DWCP_INSTRUCTION_SETS; set->name; set++)
            if (strcmp(set->name, name) == 0)
                disabled |= set->bit;
    }
    Py_DECREF(items);
    dwcp_dispatch_select(disabled);
    Py_RETURN_NONE;
}

static PyObject *active(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    PyObject *answer = PyDict_New();
    for (int kernel = 0; answer && kernel < DWCP_KERNELS; kernel++) {
        PyObject *name = PyUnicode_FromString(dwcp_dispatch_current(kernel)->name);
        if (!name || PyDict_SetItemString(answer, dwcp_kernel_name(kernel), name) < 0)
            Py_CLEAR(answer);
        Py_XDECREF(name);
    }
    return answer;
}

static PyObject *paths_of(dwcp_kernel kernel)
{
    PyObject *names = PyList_New(0);
    const dwcp_path *path;
    for (size_t i = 0; names && (path = dwcp_dispatch_path(kernel, i)) != NULL; i++) {
        PyObject *name = PyUnicode_FromString(path->name);
        if (!name || PyList_Append(names, name) < 0)
            Py_CLEAR(names);
        Py_XDECREF(name);
    }
    PyObject *answer = names ? PyList_AsTuple(names) : NULL;
    Py_XDECREF(names);
    return answer;
}

static PyObject *available(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    PyObject *answer = PyDict_New();
    for (int kernel = 0; answer && kernel < DWCP_KERNELS; kernel++) {
        PyObject *names = paths_of(kernel);
        if (!names || PyDict_SetItemString(answer, dwcp_kernel_name(kernel), names) < 0)
            Py_CLEAR(answer);
        Py_XDECREF(names);
    }
    return answer;
}

static PyMethodDef METHODS[] = {
    {"select", select_paths, METH_O, "Choose the best paths without the named instruction sets."},
    {"active", active, METH_NOARGS, "The path each kernel runs on."},
    {"available", available, METH_NOARGS, "Every path of each kernel that this machine can run, weakest first."},
    {NULL, NULL, 0, NULL},
};

static PyObject *names_of_sets(void)
{
    Py_ssize_t count = 0;
    while (DWCP_INSTRUCTION_SETS[count].name)
        count++;
    PyObject *names = PyTuple_New(count);
    for (Py_ssize_t i = 0; names && i < count; i++) {
        PyObject *name = PyUnicode_FromString(DWCP_INSTRUCTION_SETS[i].name);
        if (!name)
            Py_CLEAR(names);
        else
            PyTuple_SET_ITEM(names, i, name);
    }
    return names;
}

int dwcp_py_add_dispatch(PyObject *module)
{
    PyObject *sets = names_of_sets();
    int result = sets ? PyModule_AddObjectRef(module, "INSTRUCTION_SETS", sets) : -1;
    Py_XDECREF(sets);
    return result < 0 ? -1 : PyModule_AddFunctions(module, METHODS);
}

/* Where a thread runs. See _native.pyi. */
#include "python.h"

#include <errno.h>

#include "numa.h"

static PyObject *pin_thread(PyObject *self, PyObject *cpus)
{
    (void)self;
    PyObject *items = PySequence_Fast(cpus, "expected a sequence of CPU numbers");
    if (!items)
        return NULL;
    Py_ssize_t count = PySequence_Fast_GET_SIZE(items);
    int *numbers = PyMem_Calloc(count ? (size_t)count : 1, sizeof *numbers);
    if (!numbers) {
        Py_DECREF(items);
        return PyErr_NoMemory();
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        long number = PyLong_AsLong(PySequence_Fast_GET_ITEM(items, i));
        if (number < 0 || number >= 8192) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_ValueError, "a CPU number must be between 0 and 8191");
            PyMem_Free(numbers);
            Py_DECREF(items);
            return NULL;
        }
        numbers[i] = (int)number;
    }
    int code = dwcp_pin_thread(numbers, (size_t)count);
    PyMem_Free(numbers);
    Py_DECREF(items);
    if (code) {
        errno = code;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

static PyObject *none_or_error(int code)
{
    if (code) {
        errno = code;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

/* A node's number, or -1 where `none` is allowed; -2 with an exception set. */
static int node_from(PyObject *argument, bool none)
{
    if (none && argument == Py_None)
        return -1;
    const long node = PyLong_AsLong(argument);
    if (node >= 0 && node < DWCP_MAX_NODES)
        return (int)node;
    if (!PyErr_Occurred())
        PyErr_Format(PyExc_ValueError, "a node's number must be between 0 and %d", DWCP_MAX_NODES - 1);
    return -2;
}

static PyObject *prefer_node(PyObject *self, PyObject *argument)
{
    (void)self;
    const int node = node_from(argument, true);
    return node == -2 ? NULL : none_or_error(dwcp_numa_prefer(node));
}

static PyObject *place_on_node(PyObject *self, PyObject *args)
{
    (void)self;
    Py_buffer view;
    PyObject *number, *answer = NULL;
    if (!PyArg_ParseTuple(args, "w*O", &view, &number))
        return NULL;
    const int node = node_from(number, false);
    if (node != -2)
        answer = none_or_error(dwcp_numa_place(view.buf, (size_t)view.len, node));
    PyBuffer_Release(&view);
    return answer;
}

static PyObject *node_of(PyObject *self, PyObject *data)
{
    (void)self;
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    int node = -1, code = EINVAL;
    if (view.len) {
        /* A page that nobody has touched is nowhere. */
        (void)*(const volatile char *)view.buf;
        code = dwcp_numa_node_of(view.buf, &node);
    }
    PyBuffer_Release(&view);
    return code ? none_or_error(code) : PyLong_FromLong(node);
}

static PyMethodDef METHODS[] = {
    {"pin_thread", pin_thread, METH_O, "Pin the calling thread to the given CPUs."},
    {"prefer_node", prefer_node, METH_O, "From which NUMA node the calling thread's new pages come; None: from its own."},
    {"place_on_node", place_on_node, METH_VARARGS, "From which NUMA node a buffer's untouched pages come."},
    {"node_of", node_of, METH_O, "The NUMA node of a buffer's first page."},
    {NULL, NULL, 0, NULL},
};

int dwcp_py_add_affinity(PyObject *module)
{
    return PyModule_AddFunctions(module, METHODS);
}

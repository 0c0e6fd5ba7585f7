/* Rounding numbers in place. See _native.pyi. */
#include "python.h"

#include "rounding.h"

static bool is_array_of(const Py_buffer *view, int width)
{
    if (width != 4 && width != 8) {
        PyErr_SetString(PyExc_ValueError, "width must be 4 or 8");
        return false;
    }
    if (view->len % width) {
        PyErr_Format(PyExc_ValueError, "%zd bytes are no whole number of items of %d", view->len, width);
        return false;
    }
    return true;
}

static PyObject *round_to_step(PyObject *self, PyObject *args)
{
    (void)self;
    Py_buffer view;
    int width, step;
    double error;
    if (!PyArg_ParseTuple(args, "w*iid", &view, &width, &step, &error))
        return NULL;
    const bool fits = is_array_of(&view, width);
    if (fits) {
        Py_BEGIN_ALLOW_THREADS;
        dwcp_round_to_step(view.buf, (size_t)(view.len / width), width, step, error);
        Py_END_ALLOW_THREADS;
    }
    PyBuffer_Release(&view);
    if (!fits)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *round_to_fraction(PyObject *self, PyObject *args)
{
    (void)self;
    Py_buffer view;
    int width, kept;
    if (!PyArg_ParseTuple(args, "w*ii", &view, &width, &kept))
        return NULL;
    const bool fits = is_array_of(&view, width);
    if (fits) {
        Py_BEGIN_ALLOW_THREADS;
        dwcp_round_to_fraction(view.buf, (size_t)(view.len / width), width, kept);
        Py_END_ALLOW_THREADS;
    }
    PyBuffer_Release(&view);
    if (!fits)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef METHODS[] = {
    {"round_to_step", round_to_step, METH_VARARGS, "Numbers to multiples of 2^step, in place."},
    {"round_to_fraction", round_to_fraction, METH_VARARGS, "Numbers to so many bits of their fraction, in place."},
    {NULL, NULL, 0, NULL},
};

int dwcp_py_add_rounding(PyObject *module)
{
    return PyModule_AddFunctions(module, METHODS);
}

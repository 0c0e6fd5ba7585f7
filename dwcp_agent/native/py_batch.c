/* Many small messages in few system calls, from Python. See _native.pyi. */
#include "python.h"

#include <errno.h>

#include "batch.h"

static PyObject *send_many(PyObject *self, PyObject *args)
{
    (void)self;
    PyObject *into, *sequence, *answer = NULL;
    if (!PyArg_ParseTuple(args, "OO", &into, &sequence))
        return NULL;
    const int socket = PyObject_AsFileDescriptor(into);
    if (socket < 0)
        return NULL;
    PyObject *items = PySequence_Tuple(sequence);
    if (!items)
        return NULL;
    const Py_ssize_t count = PyTuple_GET_SIZE(items);
    Py_buffer *views = PyMem_Calloc(count ? (size_t)count : 1, sizeof *views);
    struct iovec *parts = PyMem_Calloc(count ? (size_t)count : 1, sizeof *parts);
    Py_ssize_t held = 0;
    if (!views || !parts) {
        PyErr_NoMemory();
        goto done;
    }
    for (; held < count; held++) {
        if (PyObject_GetBuffer(PyTuple_GET_ITEM(items, held), &views[held], PyBUF_SIMPLE) < 0)
            goto done;
        parts[held] = (struct iovec){views[held].buf, (size_t)views[held].len};
    }
    struct iovec *next = parts;
    size_t left = (size_t)count;
    Py_ssize_t total = 0;
    do {
        ssize_t sent;
        int code;
        Py_BEGIN_ALLOW_THREADS;
        sent = dwcp_send_some(socket, &next, &left);
        code = errno;
        Py_END_ALLOW_THREADS;
        total += sent > 0 ? sent : 0;
        if (sent < 0 && code != EINTR) {
            /* A socket that takes nothing more now has taken something. */
            if (total == 0 || (code != EAGAIN && code != EWOULDBLOCK)) {
                errno = code;
                PyErr_SetFromErrno(PyExc_OSError);
                goto done;
            }
            break;
        }
    } while (left && PyErr_CheckSignals() == 0);
    if (!PyErr_Occurred())
        answer = PyLong_FromSsize_t(total);
done:
    while (held)
        PyBuffer_Release(&views[--held]);
    PyMem_Free(views);
    PyMem_Free(parts);
    Py_DECREF(items);
    return answer;
}

static PyMethodDef METHODS[] = {
    {"send_many", send_many, METH_VARARGS, "Sends buffers one after the other in few system calls; how many bytes went in."},
    {NULL, NULL, 0, NULL},
};

int dwcp_py_add_batch(PyObject *module)
{
    return PyModule_AddFunctions(module, METHODS);
}

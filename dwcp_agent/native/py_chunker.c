/* Content-defined chunks. See _native.pyi. */
#include "python.h"

enum { AT_ONCE = 4096, LEAST_AVERAGE = 256, MOST_AVERAGE = 16 << 20, LEAST_LEAST = 64 };

static bool chunking_of(Py_ssize_t average, Py_ssize_t least, Py_ssize_t most, dwcp_chunking *out)
{
    if (average < LEAST_AVERAGE || average > MOST_AVERAGE) {
        PyErr_Format(PyExc_ValueError, "average must be from %d to %d bytes", LEAST_AVERAGE, MOST_AVERAGE);
        return false;
    }
    if (least == 0)
        least = average / 4;
    if (most == 0)
        most = average * 4;
    if (least < LEAST_LEAST || least > average || most < average) {
        PyErr_Format(PyExc_ValueError, "least must be from %d to average, and most not below it", LEAST_LEAST);
        return false;
    }
    /* Normalisation by two bits, as FastCDC does: four times as hard to find before the average, four times as easy behind it. */
    const uint64_t even = ((uint64_t)1 << 32) / (uint64_t)average;
    *out = (dwcp_chunking){(size_t)least, (size_t)average, (size_t)most, (uint32_t)(even / 4), (uint32_t)(even * 4)};
    return true;
}

static bool append_ends(PyObject *list, const size_t *ends, size_t count, size_t base)
{
    for (size_t i = 0; i < count; i++) {
        PyObject *end = PyLong_FromSize_t(base + ends[i]);
        if (!end || PyList_Append(list, end) < 0) {
            Py_XDECREF(end);
            return false;
        }
        Py_DECREF(end);
    }
    return true;
}

static PyObject *ends_by(const dwcp_path *path, const dwcp_chunking *how, const Py_buffer *view, bool final)
{
    PyObject *list = PyList_New(0);
    size_t *ends = PyMem_Malloc(AT_ONCE * sizeof *ends);
    if (!ends) {
        Py_XDECREF(list);
        return PyErr_NoMemory();
    }
    const uint8_t *data = view->buf;
    const size_t length = (size_t)view->len;
    size_t base = 0, count = AT_ONCE;
    while (list && count == AT_ONCE && base < length) {
        if (length > DWCP_RELEASE_ABOVE) {
            Py_BEGIN_ALLOW_THREADS;
            count = path->fn.chunk(how, data + base, length - base, final, ends, AT_ONCE);
            Py_END_ALLOW_THREADS;
        } else {
            count = path->fn.chunk(how, data + base, length - base, final, ends, AT_ONCE);
        }
        if (!append_ends(list, ends, count, base))
            Py_CLEAR(list);
        else if (count)
            base += ends[count - 1];
    }
    PyMem_Free(ends);
    return list;
}

static PyObject *chunk_ends_by(const char *name, PyObject *args, PyObject *keywords, const char *format)
{
    static char *names[] = {"", "average", "least", "most", "final", NULL};
    static char *names_on[] = {"", "", "average", "least", "most", "final", NULL};
    Py_buffer view;
    Py_ssize_t average, least = 0, most = 0;
    int final = 1;
    int parsed = name ? PyArg_ParseTupleAndKeywords(args, keywords, format, names_on, &name, &view, &average, &least, &most, &final)
                      : PyArg_ParseTupleAndKeywords(args, keywords, format, names, &view, &average, &least, &most, &final);
    if (!parsed)
        return NULL;
    PyObject *answer = NULL;
    dwcp_chunking how;
    const dwcp_path *path = name ? dwcp_py_path(DWCP_CHUNK, name) : dwcp_dispatch_current(DWCP_CHUNK);
    if (path && chunking_of(average, least, most, &how))
        answer = ends_by(path, &how, &view, final != 0);
    PyBuffer_Release(&view);
    return answer;
}

static PyObject *chunk_ends(PyObject *self, PyObject *args, PyObject *keywords)
{
    (void)self;
    return chunk_ends_by(NULL, args, keywords, "y*n|$nnp");
}

static PyObject *chunk_ends_on(PyObject *self, PyObject *args, PyObject *keywords)
{
    (void)self;
    return chunk_ends_by("", args, keywords, "sy*n|$nnp");
}

static PyMethodDef METHODS[] = {
    {"chunk_ends", (PyCFunction)(void (*)(void))chunk_ends, METH_VARARGS | METH_KEYWORDS, "Where data's chunks end."},
    {"chunk_ends_on", (PyCFunction)(void (*)(void))chunk_ends_on, METH_VARARGS | METH_KEYWORDS, "chunk_ends on a named path."},
    {NULL, NULL, 0, NULL},
};

int dwcp_py_add_chunker(PyObject *module)
{
    return PyModule_AddFunctions(module, METHODS);
}

/* Checksum, exclusive or, and the scans for zero and for equal pages. See _native.pyi. */
#include "python.h"

static uint32_t crc_of(const dwcp_path *path, uint32_t value, const Py_buffer *view)
{
    uint32_t state;
    if (view->len > DWCP_RELEASE_ABOVE) {
        Py_BEGIN_ALLOW_THREADS;
        state = path->fn.crc(~value, view->buf, (size_t)view->len);
        Py_END_ALLOW_THREADS;
    } else {
        state = path->fn.crc(~value, view->buf, (size_t)view->len);
    }
    return ~state;
}

static bool to_uint32(PyObject *object, uint32_t *out)
{
    unsigned long value = PyLong_AsUnsignedLong(object);
    if (value == (unsigned long)-1 && PyErr_Occurred())
        return false;
    if (value > 0xFFFFFFFFul) {
        PyErr_SetString(PyExc_OverflowError, "value must be an unsigned 32-bit number");
        return false;
    }
    *out = (uint32_t)value;
    return true;
}

static PyObject *crc32c(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    if (count < 1 || count > 2) {
        PyErr_SetString(PyExc_TypeError, "crc32c(data, value=0) takes one or two arguments");
        return NULL;
    }
    uint32_t value = 0;
    if (count == 2 && !to_uint32(args[1], &value))
        return NULL;
    Py_buffer view;
    if (PyObject_GetBuffer(args[0], &view, PyBUF_SIMPLE) < 0)
        return NULL;
    uint32_t result = crc_of(dwcp_dispatch_current(DWCP_CRC), value, &view);
    PyBuffer_Release(&view);
    return PyLong_FromUnsignedLong(result);
}

static PyObject *crc32c_on(PyObject *self, PyObject *args)
{
    (void)self;
    const char *name;
    Py_buffer view;
    PyObject *start = NULL, *answer = NULL;
    if (!PyArg_ParseTuple(args, "sy*|O", &name, &view, &start))
        return NULL;
    uint32_t value = 0;
    const dwcp_path *path = dwcp_py_path(DWCP_CRC, name);
    if (path && (!start || to_uint32(start, &value)))
        answer = PyLong_FromUnsignedLong(crc_of(path, value, &view));
    PyBuffer_Release(&view);
    return answer;
}

static void sum_pages(const dwcp_path *path, const uint8_t *data, size_t length, size_t page, uint32_t *sums)
{
    for (size_t at = 0, index = 0; at < length; at += page, index++)
        sums[index] = ~path->fn.crc(~0u, data + at, length - at < page ? length - at : page);
}

static PyObject *page_sums(PyObject *self, PyObject *args)
{
    (void)self;
    Py_buffer view;
    Py_ssize_t page = 4096;
    if (!PyArg_ParseTuple(args, "y*|n", &view, &page))
        return NULL;
    PyObject *sums = NULL;
    if (page <= 0) {
        PyErr_SetString(PyExc_ValueError, "page_size must be above 0");
    } else {
        const Py_ssize_t pages = view.len / page + (view.len % page != 0);
        sums = PyBytes_FromStringAndSize(NULL, pages * (Py_ssize_t)sizeof(uint32_t));
    }
    if (sums) {
        const dwcp_path *path = dwcp_dispatch_current(DWCP_CRC);
        uint32_t *to = (uint32_t *)(void *)PyBytes_AS_STRING(sums);
        Py_BEGIN_ALLOW_THREADS;
        sum_pages(path, view.buf, (size_t)view.len, (size_t)page, to);
        Py_END_ALLOW_THREADS;
    }
    PyBuffer_Release(&view);
    return sums;
}

/* What a page is asked: is it zero, or equal to the other's. */
typedef struct {
    const dwcp_path *path;
    const uint8_t *data;
    const uint8_t *other; /* NULL to ask for zero */
} question;

static bool yes(const question *ask, size_t at, size_t length)
{
    return ask->other ? ask->path->fn.equal(ask->data + at, ask->other + at, length) : ask->path->fn.zero(ask->data + at, length);
}

static bool answer_of(const question *ask, size_t length)
{
    bool answer;
    if (length > DWCP_RELEASE_ABOVE) {
        Py_BEGIN_ALLOW_THREADS;
        answer = yes(ask, 0, length);
        Py_END_ALLOW_THREADS;
    } else {
        answer = yes(ask, 0, length);
    }
    return answer;
}

static PyObject *is_zero(PyObject *self, PyObject *data)
{
    (void)self;
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    const question ask = {dwcp_dispatch_current(DWCP_ZERO), view.buf, NULL};
    bool result = answer_of(&ask, (size_t)view.len);
    PyBuffer_Release(&view);
    return PyBool_FromLong(result);
}

static PyObject *is_zero_on(PyObject *self, PyObject *args)
{
    (void)self;
    const char *name;
    Py_buffer view;
    if (!PyArg_ParseTuple(args, "sy*", &name, &view))
        return NULL;
    const question ask = {dwcp_py_path(DWCP_ZERO, name), view.buf, NULL};
    PyObject *answer = ask.path ? PyBool_FromLong(answer_of(&ask, (size_t)view.len)) : NULL;
    PyBuffer_Release(&view);
    return answer;
}

static bool same_length(const Py_buffer *left, const Py_buffer *right)
{
    if (left->len == right->len)
        return true;
    PyErr_Format(PyExc_ValueError, "buffers of %zd and %zd bytes have not the same length", left->len, right->len);
    return false;
}

static PyObject *equal_by(const dwcp_path *path, Py_buffer *left, Py_buffer *right)
{
    if (!path || !same_length(left, right))
        return NULL;
    const question ask = {path, left->buf, right->buf};
    return PyBool_FromLong(answer_of(&ask, (size_t)left->len));
}

static PyObject *is_equal(PyObject *self, PyObject *args)
{
    (void)self;
    Py_buffer left, right;
    if (!PyArg_ParseTuple(args, "y*y*", &left, &right))
        return NULL;
    PyObject *answer = equal_by(dwcp_dispatch_current(DWCP_EQUAL), &left, &right);
    PyBuffer_Release(&left);
    PyBuffer_Release(&right);
    return answer;
}

static PyObject *is_equal_on(PyObject *self, PyObject *args)
{
    (void)self;
    const char *name;
    Py_buffer left, right;
    if (!PyArg_ParseTuple(args, "sy*y*", &name, &left, &right))
        return NULL;
    PyObject *answer = equal_by(dwcp_py_path(DWCP_EQUAL, name), &left, &right);
    PyBuffer_Release(&left);
    PyBuffer_Release(&right);
    return answer;
}

/* One byte a page, found without the interpreter lock; the list is made afterwards. */
static void mark_pages(const question *ask, size_t length, size_t page, uint8_t *marks)
{
    for (size_t at = 0, index = 0; at < length; at += page, index++)
        marks[index] = yes(ask, at, length - at < page ? length - at : page);
}

static bool append_run(PyObject *runs, size_t first, size_t count)
{
    PyObject *run = Py_BuildValue("(nn)", (Py_ssize_t)first, (Py_ssize_t)count);
    bool appended = run && PyList_Append(runs, run) == 0;
    Py_XDECREF(run);
    return appended;
}

static PyObject *runs_of(const question *ask, size_t length, Py_ssize_t page)
{
    if (page <= 0) {
        PyErr_SetString(PyExc_ValueError, "page_size must be above 0");
        return NULL;
    }
    const size_t size = (size_t)page, pages = length / size + (length % size != 0);
    uint8_t *marks = PyMem_Malloc(pages ? pages : 1);
    if (!marks)
        return PyErr_NoMemory();
    if (length > DWCP_RELEASE_ABOVE) {
        Py_BEGIN_ALLOW_THREADS;
        mark_pages(ask, length, size, marks);
        Py_END_ALLOW_THREADS;
    } else {
        mark_pages(ask, length, size, marks);
    }
    PyObject *runs = PyList_New(0);
    for (size_t first = 0, after; runs && first < pages; first = after + 1) {
        for (after = first; after < pages && marks[after];)
            after++;
        if (after > first && !append_run(runs, first, after - first))
            Py_CLEAR(runs);
    }
    PyMem_Free(marks);
    return runs;
}

static PyObject *zero_runs(PyObject *self, PyObject *args)
{
    (void)self;
    Py_buffer view;
    Py_ssize_t page = 4096;
    if (!PyArg_ParseTuple(args, "y*|n", &view, &page))
        return NULL;
    const question ask = {dwcp_dispatch_current(DWCP_ZERO), view.buf, NULL};
    PyObject *runs = runs_of(&ask, (size_t)view.len, page);
    PyBuffer_Release(&view);
    return runs;
}

static PyObject *equal_runs(PyObject *self, PyObject *args)
{
    (void)self;
    Py_buffer left, right;
    Py_ssize_t page = 4096;
    if (!PyArg_ParseTuple(args, "y*y*|n", &left, &right, &page))
        return NULL;
    const question ask = {dwcp_dispatch_current(DWCP_EQUAL), left.buf, right.buf};
    PyObject *runs = same_length(&left, &right) ? runs_of(&ask, (size_t)left.len, page) : NULL;
    PyBuffer_Release(&left);
    PyBuffer_Release(&right);
    return runs;
}

/* True when the two begin at the same byte or share none. */
static bool apart_or_same(const Py_buffer *out, const Py_buffer *in)
{
    const uintptr_t left = (uintptr_t)out->buf, right = (uintptr_t)in->buf, length = (uintptr_t)out->len;
    return left == right || left + length <= right || right + length <= left;
}

static PyObject *xor_by(const dwcp_path *path, Py_buffer *out, Py_buffer *left, Py_buffer *right)
{
    if (!path || !same_length(out, left) || !same_length(out, right))
        return NULL;
    if (!apart_or_same(out, left) || !apart_or_same(out, right)) {
        PyErr_SetString(PyExc_ValueError, "out overlaps an operand without being it");
        return NULL;
    }
    if (out->len > DWCP_RELEASE_ABOVE) {
        Py_BEGIN_ALLOW_THREADS;
        path->fn.xor(out->buf, left->buf, right->buf, (size_t)out->len);
        Py_END_ALLOW_THREADS;
    } else {
        path->fn.xor(out->buf, left->buf, right->buf, (size_t)out->len);
    }
    Py_RETURN_NONE;
}

static PyObject *xor_into(PyObject *self, PyObject *args)
{
    (void)self;
    Py_buffer out, left, right;
    if (!PyArg_ParseTuple(args, "w*y*y*", &out, &left, &right))
        return NULL;
    PyObject *answer = xor_by(dwcp_dispatch_current(DWCP_XOR), &out, &left, &right);
    PyBuffer_Release(&out);
    PyBuffer_Release(&left);
    PyBuffer_Release(&right);
    return answer;
}

static PyObject *xor_into_on(PyObject *self, PyObject *args)
{
    (void)self;
    const char *name;
    Py_buffer out, left, right;
    if (!PyArg_ParseTuple(args, "sw*y*y*", &name, &out, &left, &right))
        return NULL;
    PyObject *answer = xor_by(dwcp_py_path(DWCP_XOR, name), &out, &left, &right);
    PyBuffer_Release(&out);
    PyBuffer_Release(&left);
    PyBuffer_Release(&right);
    return answer;
}

static PyMethodDef METHODS[] = {
    {"crc32c", (PyCFunction)(void (*)(void))crc32c, METH_FASTCALL, "CRC-32C of data, continuing from value."},
    {"crc32c_on", crc32c_on, METH_VARARGS, "crc32c on a named path."},
    {"is_zero", is_zero, METH_O, "True when every byte of data is zero."},
    {"is_zero_on", is_zero_on, METH_VARARGS, "is_zero on a named path."},
    {"is_equal", is_equal, METH_VARARGS, "True when both hold the same bytes."},
    {"is_equal_on", is_equal_on, METH_VARARGS, "is_equal on a named path."},
    {"page_sums", page_sums, METH_VARARGS, "The CRC-32C of every page, as 32-bit numbers of this machine."},
    {"zero_runs", zero_runs, METH_VARARGS, "Runs (first page, pages) of pages that are all zero."},
    {"equal_runs", equal_runs, METH_VARARGS, "Runs (first page, pages) of pages that are the same in both."},
    {"xor_into", xor_into, METH_VARARGS, "out = left ^ right; out may be one of the operands."},
    {"xor_into_on", xor_into_on, METH_VARARGS, "xor_into on a named path."},
    {NULL, NULL, 0, NULL},
};

int dwcp_py_add_kernels(PyObject *module)
{
    return PyModule_AddFunctions(module, METHODS);
}

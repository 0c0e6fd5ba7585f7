/* dwcp_agent._native: the Python face of the compiled core. See _native.pyi. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <string.h>

#include "core.h"

/* Work on fewer bytes than this takes well under 50 us on the slowest path: not worth giving the interpreter lock away. */
enum { RELEASE_ABOVE = 32 * 1024 };

static const struct {
    const char *name;
    unsigned bit;
} SWITCHES[] = {{"sse42", DWCP_NO_SSE42}, {"pclmul", DWCP_NO_PCLMUL}, {"avx2", DWCP_NO_AVX2}};

static uint32_t crc_of(dwcp_crc_fn fn, uint32_t value, const Py_buffer *view)
{
    uint32_t state;
    if (view->len > RELEASE_ABOVE) {
        Py_BEGIN_ALLOW_THREADS;
        state = fn(~value, view->buf, (size_t)view->len);
        Py_END_ALLOW_THREADS;
    } else {
        state = fn(~value, view->buf, (size_t)view->len);
    }
    return ~state;
}

static bool zero_of(dwcp_zero_fn fn, const Py_buffer *view)
{
    bool result;
    if (view->len > RELEASE_ABOVE) {
        Py_BEGIN_ALLOW_THREADS;
        result = fn(view->buf, (size_t)view->len);
        Py_END_ALLOW_THREADS;
    } else {
        result = fn(view->buf, (size_t)view->len);
    }
    return result;
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
    uint32_t result = crc_of(dwcp_dispatch_current()->crc.fn, value, &view);
    PyBuffer_Release(&view);
    return PyLong_FromUnsignedLong(result);
}

static PyObject *crc32c_on(PyObject *self, PyObject *args)
{
    (void)self;
    const char *path;
    Py_buffer view;
    PyObject *start = NULL;
    if (!PyArg_ParseTuple(args, "sy*|O", &path, &view, &start))
        return NULL;
    PyObject *answer = NULL;
    uint32_t value = 0;
    if (start && !to_uint32(start, &value))
        goto done;
    dwcp_crc_path paths[DWCP_MAX_PATHS];
    size_t known = dwcp_dispatch_crc_paths(paths);
    for (size_t i = 0; i < known; i++)
        if (strcmp(paths[i].name, path) == 0) {
            answer = PyLong_FromUnsignedLong(crc_of(paths[i].fn, value, &view));
            goto done;
        }
    PyErr_Format(PyExc_ValueError, "this build on this machine has no path %s for crc32c", path);
done:
    PyBuffer_Release(&view);
    return answer;
}

static PyObject *is_zero(PyObject *self, PyObject *data)
{
    (void)self;
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    bool result = zero_of(dwcp_dispatch_current()->zero.fn, &view);
    PyBuffer_Release(&view);
    return PyBool_FromLong(result);
}

static PyObject *is_zero_on(PyObject *self, PyObject *args)
{
    (void)self;
    const char *path;
    Py_buffer view;
    if (!PyArg_ParseTuple(args, "sy*", &path, &view))
        return NULL;
    PyObject *answer = NULL;
    dwcp_zero_path paths[DWCP_MAX_PATHS];
    size_t known = dwcp_dispatch_zero_paths(paths);
    for (size_t i = 0; i < known && !answer; i++)
        if (strcmp(paths[i].name, path) == 0)
            answer = PyBool_FromLong(zero_of(paths[i].fn, &view));
    if (!answer && !PyErr_Occurred())
        PyErr_Format(PyExc_ValueError, "this build on this machine has no path %s for is_zero", path);
    PyBuffer_Release(&view);
    return answer;
}

/* One bit a page, found without the interpreter lock; the list is made afterwards. */
static void mark_zero_pages(const uint8_t *data, size_t length, size_t page, uint8_t *marks)
{
    dwcp_zero_fn fn = dwcp_dispatch_current()->zero.fn;
    for (size_t at = 0, index = 0; at < length; at += page, index++)
        marks[index] = fn(data + at, length - at < page ? length - at : page);
}

static PyObject *zero_runs(PyObject *self, PyObject *args)
{
    (void)self;
    Py_buffer view;
    Py_ssize_t page = 4096;
    if (!PyArg_ParseTuple(args, "y*|n", &view, &page))
        return NULL;
    PyObject *runs = NULL;
    uint8_t *marks = NULL;
    if (page <= 0) {
        PyErr_SetString(PyExc_ValueError, "page_size must be above 0");
        goto done;
    }
    size_t length = (size_t)view.len, size = (size_t)page;
    size_t pages = length / size + (length % size != 0);
    marks = PyMem_Malloc(pages ? pages : 1);
    if (!marks) {
        PyErr_NoMemory();
        goto done;
    }
    if (view.len > RELEASE_ABOVE) {
        Py_BEGIN_ALLOW_THREADS;
        mark_zero_pages(view.buf, length, size, marks);
        Py_END_ALLOW_THREADS;
    } else {
        mark_zero_pages(view.buf, length, size, marks);
    }
    runs = PyList_New(0);
    for (size_t first = 0; runs && first < pages;) {
        size_t after = first;
        while (after < pages && marks[after])
            after++;
        if (after > first) {
            PyObject *run = Py_BuildValue("(nn)", (Py_ssize_t)first, (Py_ssize_t)(after - first));
            if (!run || PyList_Append(runs, run) < 0)
                Py_CLEAR(runs);
            Py_XDECREF(run);
        }
        first = after + 1;
    }
done:
    PyMem_Free(marks);
    PyBuffer_Release(&view);
    return runs;
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
        for (size_t s = 0; s < sizeof SWITCHES / sizeof *SWITCHES; s++)
            if (strcmp(SWITCHES[s].name, name) == 0)
                disabled |= SWITCHES[s].bit;
    }
    Py_DECREF(items);
    dwcp_dispatch_select(disabled);
    Py_RETURN_NONE;
}

static PyObject *active(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    const dwcp_choice *choice = dwcp_dispatch_current();
    return Py_BuildValue("{ssss}", "crc32c", choice->crc.name, "pagescan", choice->zero.name);
}

static PyObject *available(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    dwcp_crc_path crc[DWCP_MAX_PATHS];
    dwcp_zero_path zero[DWCP_MAX_PATHS];
    size_t crcs = dwcp_dispatch_crc_paths(crc), zeros = dwcp_dispatch_zero_paths(zero);
    PyObject *crc_names = PyTuple_New((Py_ssize_t)crcs), *zero_names = PyTuple_New((Py_ssize_t)zeros);
    if (crc_names && zero_names) {
        for (size_t i = 0; i < crcs; i++)
            PyTuple_SET_ITEM(crc_names, (Py_ssize_t)i, PyUnicode_FromString(crc[i].name));
        for (size_t i = 0; i < zeros; i++)
            PyTuple_SET_ITEM(zero_names, (Py_ssize_t)i, PyUnicode_FromString(zero[i].name));
        if (!PyErr_Occurred())
            return Py_BuildValue("{sNsN}", "crc32c", crc_names, "pagescan", zero_names);
    }
    Py_XDECREF(crc_names);
    Py_XDECREF(zero_names);
    return NULL;
}

#if DWCP_PHASE4
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
#endif

static PyMethodDef METHODS[] = {
    {"crc32c", (PyCFunction)(void (*)(void))crc32c, METH_FASTCALL, "CRC-32C of data, continuing from value."},
    {"crc32c_on", crc32c_on, METH_VARARGS, "crc32c on a named path."},
    {"is_zero", is_zero, METH_O, "True when every byte of data is zero."},
    {"is_zero_on", is_zero_on, METH_VARARGS, "is_zero on a named path."},
    {"zero_runs", zero_runs, METH_VARARGS, "Runs (first page, pages) of pages that are all zero."},
    {"select", select_paths, METH_O, "Choose the best paths without the named instruction sets."},
    {"active", active, METH_NOARGS, "The path each kernel runs on."},
    {"available", available, METH_NOARGS, "Every path of each kernel that this machine can run."},
#if DWCP_PHASE4
    {"pin_thread", pin_thread, METH_O, "Pin the calling thread to the given CPUs."},
#endif
    {NULL, NULL, 0, NULL},
};

static int module_exec(PyObject *module)
{
    dwcp_dispatch_init();
    return PyModule_AddObjectRef(module, "PHASE4", DWCP_PHASE4 ? Py_True : Py_False);
}

static PyModuleDef_Slot SLOTS[] = {{Py_mod_exec, module_exec}, {0, NULL}};

static PyModuleDef MODULE = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_native",
    .m_doc = "Compiled kernels of the agent.",
    .m_methods = METHODS,
    .m_slots = SLOTS,
};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&MODULE);
}

/* Pooled buffers as Python objects. See _native.pyi. */
#include "python.h"

#include <errno.h>

#include "pool.h"

typedef struct {
    PyObject_HEAD
    dwcp_buffer buffer; /* data is NULL once it was given back */
    Py_ssize_t views;
} buffer_object;

static PyTypeObject *buffer_type;

static PyObject *failed(int code)
{
    if (code == ENOMEM)
        return PyErr_NoMemory();
    errno = code;
    return PyErr_SetFromErrno(PyExc_OSError);
}

/* Memory never used before costs page faults, and large ones a system call. */
static int take_without_lock(size_t size, dwcp_buffer *out)
{
    int code;
    if (size <= DWCP_RELEASE_ABOVE)
        return dwcp_pool_take(size, out);
    Py_BEGIN_ALLOW_THREADS;
    code = dwcp_pool_take(size, out);
    Py_END_ALLOW_THREADS;
    return code;
}

static PyObject *take(PyObject *self, PyObject *argument)
{
    (void)self;
    const Py_ssize_t size = PyLong_AsSsize_t(argument);
    if (size == -1 && PyErr_Occurred())
        return NULL;
    if (size < 1 || size > (Py_ssize_t)1 << 40) {
        PyErr_SetString(PyExc_ValueError, "size must be from 1 byte to 1 TiB");
        return NULL;
    }
    buffer_object *made = PyObject_New(buffer_object, buffer_type);
    if (!made)
        return NULL;
    made->views = 0;
    made->buffer.data = NULL;
    const int code = take_without_lock((size_t)size, &made->buffer);
    if (code) {
        made->buffer.data = NULL;
        Py_DECREF(made);
        return failed(code);
    }
    return (PyObject *)made;
}

static void give_back(buffer_object *object)
{
    if (object->buffer.data)
        dwcp_pool_give(&object->buffer);
    object->buffer.data = NULL;
}

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    give_back((buffer_object *)self);
    PyObject_Free(self);
    Py_DECREF(type);
}

static int get_buffer(PyObject *self, Py_buffer *view, int flags)
{
    buffer_object *object = (buffer_object *)self;
    if (!object->buffer.data) {
        view->obj = NULL;
        PyErr_SetString(PyExc_ValueError, "the buffer was released");
        return -1;
    }
    if (PyBuffer_FillInfo(view, self, object->buffer.data, (Py_ssize_t)object->buffer.asked, 0, flags) < 0)
        return -1;
    object->views++;
    return 0;
}

static void release_buffer(PyObject *self, Py_buffer *view)
{
    (void)view;
    ((buffer_object *)self)->views--;
}

static Py_ssize_t length(PyObject *self)
{
    return (Py_ssize_t)((buffer_object *)self)->buffer.asked;
}

static PyObject *release(PyObject *self, PyObject *unused)
{
    (void)unused;
    buffer_object *object = (buffer_object *)self;
    if (object->views) {
        PyErr_Format(PyExc_BufferError, "%zd views of the buffer are in use", object->views);
        return NULL;
    }
    give_back(object);
    Py_RETURN_NONE;
}

static PyObject *warm(PyObject *self, PyObject *args)
{
    (void)self;
    Py_ssize_t size, count;
    if (!PyArg_ParseTuple(args, "nn", &size, &count))
        return NULL;
    if (size < 1 || size > DWCP_POOL_MOST || count < 0 || count > (Py_ssize_t)1 << 20) {
        PyErr_Format(PyExc_ValueError, "size must be from 1 to %d bytes and count from 0 to 2**20", DWCP_POOL_MOST);
        return NULL;
    }
    int code;
    Py_BEGIN_ALLOW_THREADS;
    code = dwcp_pool_warm((size_t)size, (size_t)count);
    Py_END_ALLOW_THREADS;
    if (code)
        return failed(code);
    Py_RETURN_NONE;
}

static PyObject *flush(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    dwcp_pool_flush();
    Py_RETURN_NONE;
}

static PyObject *trim(PyObject *self, PyObject *args)
{
    (void)self;
    Py_ssize_t keep = 0;
    if (!PyArg_ParseTuple(args, "|n", &keep))
        return NULL;
    if (keep < 0) {
        PyErr_SetString(PyExc_ValueError, "keep must not be negative");
        return NULL;
    }
    size_t freed;
    Py_BEGIN_ALLOW_THREADS;
    freed = dwcp_pool_trim((size_t)keep);
    Py_END_ALLOW_THREADS;
    return PyLong_FromSize_t(freed);
}

static PyObject *poison(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    const int code = dwcp_pool_poison();
    if (code)
        return failed(code);
    Py_RETURN_NONE;
}

static PyObject *statistics(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    dwcp_pool_statistics now;
    Py_BEGIN_ALLOW_THREADS;
    dwcp_pool_measure(&now);
    Py_END_ALLOW_THREADS;
    return Py_BuildValue("{sKsKsKsKsKsnsnsnsnsO}", "from_thread", (unsigned long long)now.from_thread, "from_shared",
                         (unsigned long long)now.from_shared, "from_fresh", (unsigned long long)now.from_fresh, "oversize",
                         (unsigned long long)now.oversize, "given", (unsigned long long)now.given, "live_asked", (Py_ssize_t)now.live_asked,
                         "live", (Py_ssize_t)now.live, "mapped", (Py_ssize_t)now.mapped, "resident", (Py_ssize_t)now.resident, "huge",
                         now.huge ? Py_True : Py_False);
}

static PyMethodDef BUFFER_METHODS[] = {
    {"release", release, METH_NOARGS, "Gives the memory back; BufferError while a view of it is in use."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot SLOTS[] = {
    {Py_tp_doc, "Memory of the pool. Its content is undefined at first; it goes back when the object does."},
    {Py_tp_dealloc, (void *)dealloc},
    {Py_tp_methods, BUFFER_METHODS},
    {Py_bf_getbuffer, (void *)get_buffer},
    {Py_bf_releasebuffer, (void *)release_buffer},
    {Py_sq_length, (void *)length},
    {0, NULL},
};

static PyType_Spec SPEC = {
    .name = "dwcp_agent._native.PooledBuffer",
    .basicsize = sizeof(buffer_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = SLOTS,
};

static PyMethodDef METHODS[] = {
    {"pool_take", take, METH_O, "A buffer of so many bytes."},
    {"pool_warm", warm, METH_VARARGS, "Makes buffers of a size ready, pages touched."},
    {"pool_flush", flush, METH_NOARGS, "Puts this thread's idle buffers where any thread finds them."},
    {"pool_trim", trim, METH_VARARGS, "Returns pages of idle buffers to the kernel; how many bytes."},
    {"pool_poison", poison, METH_NOARGS, "Looks for writes to idle buffers from now on."},
    {"pool_statistics", statistics, METH_NOARGS, "What was counted and measured."},
    {NULL, NULL, 0, NULL},
};

int dwcp_py_add_pool(PyObject *module)
{
    if (!buffer_type)
        buffer_type = (PyTypeObject *)PyType_FromSpec(&SPEC);
    if (!buffer_type || PyModule_AddType(module, buffer_type) < 0)
        return -1;
    return PyModule_AddFunctions(module, METHODS);
}

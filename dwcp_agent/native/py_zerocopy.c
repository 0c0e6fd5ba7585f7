/* Sending without copies, from Python. See _native.pyi. */
#include "python.h"

#include <errno.h>

#include "zerocopy.h"

/* ---- FileSender ---- */
typedef struct {
    PyObject_HEAD
    dwcp_file_sender sender;
    bool busy; /* a thread is in it without the interpreter lock */
} file_object;

static PyObject *file_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"first", NULL};
    const char *first = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|z", names, &first))
        return NULL;
    for (int via = 0; via <= DWCP_VIA_BY_SIZE; via++)
        if (first ? via < DWCP_VIAS && strcmp(DWCP_VIA_NAMES[via], first) == 0 : via == DWCP_VIA_BY_SIZE) {
            file_object *made = (file_object *)type->tp_alloc(type, 0);
            if (made)
                dwcp_file_sender_init(&made->sender, via);
            return (PyObject *)made;
        }
    PyErr_Format(PyExc_ValueError, "first must be sendfile, splice or copy, not %s", first);
    return NULL;
}

static void file_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    dwcp_file_sender_free(&((file_object *)self)->sender);
    type->tp_free(self);
    Py_DECREF(type);
}

/* send(socket, file, offset, count) -> int */
static PyObject *file_send(PyObject *self, PyObject *args)
{
    file_object *object = (file_object *)self;
    PyObject *into, *from;
    long long offset;
    Py_ssize_t count;
    if (!PyArg_ParseTuple(args, "OOLn", &into, &from, &offset, &count))
        return NULL;
    const int socket = PyObject_AsFileDescriptor(into), file = PyObject_AsFileDescriptor(from);
    if (socket < 0 || file < 0)
        return NULL;
    if (offset < 0 || count < 1) {
        PyErr_SetString(PyExc_ValueError, "offset must not be below 0, count not below 1");
        return NULL;
    }
    if (object->busy) {
        PyErr_SetString(PyExc_RuntimeError, "another thread is sending with it");
        return NULL;
    }
    off_t at = offset;
    ssize_t sent;
    int code;
    object->busy = true;
    do {
        Py_BEGIN_ALLOW_THREADS;
        sent = dwcp_file_sender_send(&object->sender, socket, file, &at, (size_t)count);
        code = errno;
        Py_END_ALLOW_THREADS;
    } while (sent < 0 && code == EINTR && PyErr_CheckSignals() == 0);
    object->busy = false;
    if (PyErr_Occurred())
        return NULL;
    if (sent < 0) {
        errno = code;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return PyLong_FromSsize_t(sent);
}

static PyObject *file_via(PyObject *self, void *unused)
{
    (void)unused;
    return PyUnicode_FromString(DWCP_VIA_NAMES[((file_object *)self)->sender.via]);
}

static PyObject *file_moved(PyObject *self, void *unused)
{
    (void)unused;
    const uint64_t *moved = ((file_object *)self)->sender.moved;
    return Py_BuildValue("{sKsKsK}", DWCP_VIA_NAMES[0], (unsigned long long)moved[0], DWCP_VIA_NAMES[1], (unsigned long long)moved[1],
                         DWCP_VIA_NAMES[2], (unsigned long long)moved[2]);
}

static PyMethodDef FILE_METHODS[] = {
    {"send", file_send, METH_VARARGS, "Sends bytes of a file; how many, 0 at its end."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef FILE_FIELDS[] = {
    {"via", file_via, NULL, "The way that is gone now, or was by the last request: sendfile, splice or copy.", NULL},
    {"moved", file_moved, NULL, "Bytes by way.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot FILE_SLOTS[] = {
    {Py_tp_doc, "Sends files into sockets without copies where socket and file allow it."},
    {Py_tp_new, (void *)file_new},
    {Py_tp_dealloc, (void *)file_dealloc},
    {Py_tp_methods, FILE_METHODS},
    {Py_tp_getset, FILE_FIELDS},
    {0, NULL},
};

static PyType_Spec FILE_SPEC = {
    .name = "dwcp_agent._native.FileSender", .basicsize = sizeof(file_object), .flags = Py_TPFLAGS_DEFAULT, .slots = FILE_SLOTS};

/* ---- ZeroCopySender ---- */
enum { MOST_KEPT = 64 };

typedef struct {
    PyObject_HEAD
    dwcp_zerocopy sender;
    PyObject *socket;
    Py_buffer kept[MOST_KEPT]; /* what the kernel may still read */
    int count;
    bool busy;
} zero_object;

static PyObject *zero_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"socket", "wanted", NULL};
    PyObject *socket;
    int wanted = 1;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|p", names, &socket, &wanted))
        return NULL;
    const int descriptor = PyObject_AsFileDescriptor(socket);
    if (descriptor < 0)
        return NULL;
    zero_object *made = (zero_object *)type->tp_alloc(type, 0);
    if (made) {
        made->socket = Py_NewRef(socket);
        dwcp_zerocopy_init(&made->sender, descriptor, wanted != 0);
    }
    return (PyObject *)made;
}

static void let_go(zero_object *object)
{
    while (object->count)
        PyBuffer_Release(&object->kept[--object->count]);
}

static void zero_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    zero_object *object = (zero_object *)self;
    /* Memory that the kernel may still read is kept for ever rather than used again, which would put wrong bytes on the wire. */
    (void)dwcp_zerocopy_reap(&object->sender, 0);
    if (object->sender.outstanding == 0)
        let_go(object);
    Py_XDECREF(object->socket);
    type->tp_free(self);
    Py_DECREF(type);
}

static bool entered(zero_object *object)
{
    if (object->busy) {
        PyErr_SetString(PyExc_RuntimeError, "another thread is sending with it");
        return false;
    }
    return object->busy = true;
}

/* Takes notices; 0, or an errno. The interpreter lock is given away. */
static int reap(zero_object *object, int timeout_ms)
{
    int result, code;
    Py_BEGIN_ALLOW_THREADS;
    result = dwcp_zerocopy_reap(&object->sender, timeout_ms);
    code = errno;
    Py_END_ALLOW_THREADS;
    if (object->sender.outstanding == 0)
        let_go(object);
    return result < 0 ? code : 0;
}

/* send(data) -> int: how many of its bytes went in */
static PyObject *zero_send(PyObject *self, PyObject *data)
{
    zero_object *object = (zero_object *)self;
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    if (!entered(object)) {
        PyBuffer_Release(&view);
        return NULL;
    }
    int code = 0;
    while (code == 0 && object->count == MOST_KEPT && PyErr_CheckSignals() == 0)
        code = reap(object, 100);
    ssize_t sent = -1;
    if (code == 0 && !PyErr_Occurred()) {
        const uint32_t before = object->sender.outstanding;
        do {
            Py_BEGIN_ALLOW_THREADS;
            sent = dwcp_zerocopy_send(&object->sender, view.buf, (size_t)view.len);
            code = errno;
            Py_END_ALLOW_THREADS;
        } while (sent < 0 && code == EINTR && PyErr_CheckSignals() == 0);
        if (sent >= 0 && object->sender.outstanding != before) {
            object->kept[object->count++] = view;
            view.obj = NULL;
        }
        if (sent >= 0)
            code = reap(object, 0);
    }
    object->busy = false;
    if (view.obj)
        PyBuffer_Release(&view);
    if (PyErr_Occurred())
        return NULL;
    if (sent < 0 || code) {
        errno = code;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return PyLong_FromSsize_t(sent);
}

/* flush(timeout=None) -> bool */
static PyObject *zero_flush(PyObject *self, PyObject *args)
{
    zero_object *object = (zero_object *)self;
    double timeout = -1;
    if (!PyArg_ParseTuple(args, "|d", &timeout))
        return NULL;
    if (!entered(object))
        return NULL;
    int code = 0;
    double left = timeout;
    while (code == 0 && object->sender.outstanding && (timeout < 0 || left > 0) && PyErr_CheckSignals() == 0) {
        code = reap(object, 20);
        left -= 0.02;
    }
    object->busy = false;
    if (PyErr_Occurred())
        return NULL;
    if (code) {
        errno = code;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return PyBool_FromLong(object->sender.outstanding == 0);
}

static PyObject *zero_on(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(((zero_object *)self)->sender.on);
}

static PyObject *zero_statistics(PyObject *self, PyObject *unused)
{
    (void)unused;
    const dwcp_zerocopy *sender = &((zero_object *)self)->sender;
    return Py_BuildValue("{sIsKsKsK}", "outstanding", sender->outstanding, "completed", (unsigned long long)sender->completed, "copied",
                         (unsigned long long)sender->copied, "plain", (unsigned long long)sender->plain);
}

static PyMethodDef ZERO_METHODS[] = {
    {"send", zero_send, METH_O, "Sends data; how many bytes went in. It is kept until the kernel is done with it."},
    {"flush", zero_flush, METH_VARARGS, "True when the kernel is done with everything sent."},
    {"statistics", zero_statistics, METH_NOARGS, "Sends outstanding, completed, of those copied, and plain ones."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef ZERO_FIELDS[] = {
    {"on", zero_on, NULL, "True while MSG_ZEROCOPY is used.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot ZERO_SLOTS[] = {
    {Py_tp_doc, "Sends memory by MSG_ZEROCOPY; switches itself off where the kernel copies anyway."},
    {Py_tp_new, (void *)zero_new},
    {Py_tp_dealloc, (void *)zero_dealloc},
    {Py_tp_methods, ZERO_METHODS},
    {Py_tp_getset, ZERO_FIELDS},
    {0, NULL},
};

static PyType_Spec ZERO_SPEC = {
    .name = "dwcp_agent._native.ZeroCopySender", .basicsize = sizeof(zero_object), .flags = Py_TPFLAGS_DEFAULT, .slots = ZERO_SLOTS};

static int add(PyObject *module, PyType_Spec *spec)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    int result = type ? PyModule_AddType(module, (PyTypeObject *)type) : -1;
    Py_XDECREF(type);
    return result;
}

int dwcp_py_add_zerocopy(PyObject *module)
{
    return add(module, &FILE_SPEC) < 0 || add(module, &ZERO_SPEC) < 0 ? -1 : 0;
}

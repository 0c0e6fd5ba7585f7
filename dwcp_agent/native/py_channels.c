/*
 * Queue, Ring and Stack of Python objects: one implementation, three shapes. See _native.pyi.
 *
 * What moves items runs under the interpreter lock and takes nanoseconds; only waiting gives the lock away. So a Ring is safe with any
 * number of Python threads.
 */
#define _GNU_SOURCE
#include "python.h"

#include <math.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "sync.h"

typedef struct {
    PyObject_HEAD
    dwcp_channel *channel; /* NULL until __init__ is done */
} channel_object;

/* The main thread looks so often whether a signal came, since Python's handlers run there; any wait ends when something changed. */
static const int64_t LOOK_EVERY_NS = 100000000;
enum { AT_ONCE = 256 };

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Until when to wait, from a timeout in seconds: None is for ever (-1), 0 not at all. */
static bool deadline_of(PyObject *timeout, int64_t *deadline)
{
    *deadline = -1;
    if (!timeout || timeout == Py_None)
        return true;
    double seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1.0 && PyErr_Occurred())
        return false;
    if (isnan(seconds) || seconds < 0) {
        PyErr_SetString(PyExc_ValueError, "timeout must be None or not below 0 seconds");
        return false;
    }
    *deadline = seconds > 1e9 ? -1 : now_ns() + (int64_t)(seconds * 1e9);
    return true;
}

/* Waits for room or an item. False when the deadline is over, or with an exception set. */
static bool waited(dwcp_channel *channel, bool (*wait)(dwcp_channel *, int64_t), int64_t deadline)
{
    int64_t left = syscall(SYS_gettid) == getpid() ? LOOK_EVERY_NS : -1;
    if (deadline >= 0) {
        int64_t until = deadline - now_ns();
        if (until <= 0)
            return false;
        left = left < 0 || until < left ? until : left;
    }
    Py_BEGIN_ALLOW_THREADS;
    wait(channel, left);
    Py_END_ALLOW_THREADS;
    return PyErr_CheckSignals() == 0;
}

static dwcp_channel *channel_of(PyObject *self)
{
    dwcp_channel *channel = ((channel_object *)self)->channel;
    if (!channel)
        PyErr_SetString(PyExc_RuntimeError, "it was not initialised");
    return channel;
}

static int init(PyObject *self, PyObject *args, PyObject *keywords, dwcp_shape shape)
{
    static char *names[] = {"capacity", NULL};
    Py_ssize_t capacity;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "n", names, &capacity))
        return -1;
    channel_object *object = (channel_object *)self;
    if (object->channel) {
        PyErr_SetString(PyExc_RuntimeError, "it is initialised already");
        return -1;
    }
    if (capacity < 1 || capacity > (Py_ssize_t)1 << 30) {
        PyErr_SetString(PyExc_ValueError, "capacity must be from 1 to 2**30");
        return -1;
    }
    /* PyMem_Malloc promises 16 bytes, the counters want lines of their own. */
    dwcp_channel *channel = aligned_alloc(DWCP_APART, sizeof *channel);
    if (!channel || dwcp_channel_init(channel, shape, (size_t)capacity) != 0) {
        free(channel);
        PyErr_NoMemory();
        return -1;
    }
    object->channel = channel;
    return 0;
}

static int init_queue(PyObject *self, PyObject *args, PyObject *keywords)
{
    return init(self, args, keywords, DWCP_QUEUE);
}

static int init_ring(PyObject *self, PyObject *args, PyObject *keywords)
{
    return init(self, args, keywords, DWCP_RING);
}

static int init_stack(PyObject *self, PyObject *args, PyObject *keywords)
{
    return init(self, args, keywords, DWCP_STACK);
}

static void drop_items(PyObject *self)
{
    dwcp_channel *channel = ((channel_object *)self)->channel;
    void *item;
    while (channel && dwcp_channel_pop(channel, &item, 1) == 1)
        Py_DECREF((PyObject *)item);
}

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    dwcp_channel *channel = ((channel_object *)self)->channel;
    drop_items(self);
    if (channel)
        dwcp_channel_free(channel);
    free(channel);
    type->tp_free(self);
    Py_DECREF(type);
}

/* push(item, timeout=None) -> bool */
static PyObject *push(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"", "timeout", NULL};
    PyObject *item, *timeout = NULL;
    int64_t deadline;
    dwcp_channel *channel = channel_of(self);
    if (!channel || !PyArg_ParseTupleAndKeywords(args, keywords, "O|O", names, &item, &timeout) || !deadline_of(timeout, &deadline))
        return NULL;
    void *one = item;
    Py_INCREF(item);
    while (dwcp_channel_push(channel, &one, 1) == 0) {
        if (dwcp_channel_closed(channel) || !waited(channel, dwcp_channel_wait_room, deadline)) {
            Py_DECREF(item);
            if (PyErr_Occurred())
                return NULL;
            Py_RETURN_FALSE;
        }
    }
    Py_RETURN_TRUE;
}

/* push_many(items, timeout=None) -> int */
static PyObject *push_many(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"", "timeout", NULL};
    PyObject *sequence, *timeout = NULL;
    int64_t deadline;
    dwcp_channel *channel = channel_of(self);
    if (!channel || !PyArg_ParseTupleAndKeywords(args, keywords, "O|O", names, &sequence, &timeout) || !deadline_of(timeout, &deadline))
        return NULL;
    /* A tuple, since a list could change while this thread waits without the lock. */
    PyObject *items = PySequence_Tuple(sequence);
    if (!items)
        return NULL;
    const Py_ssize_t count = PyTuple_GET_SIZE(items);
    Py_ssize_t done = 0;
    while (done < count) {
        void *some[AT_ONCE];
        size_t n = 0;
        for (; n < AT_ONCE && done + (Py_ssize_t)n < count; n++)
            some[n] = Py_NewRef(PyTuple_GET_ITEM(items, done + (Py_ssize_t)n));
        size_t pushed = dwcp_channel_push(channel, some, n);
        for (size_t i = pushed; i < n; i++)
            Py_DECREF((PyObject *)some[i]);
        done += (Py_ssize_t)pushed;
        if (pushed == 0 && (dwcp_channel_closed(channel) || !waited(channel, dwcp_channel_wait_room, deadline)))
            break;
    }
    Py_DECREF(items);
    return PyErr_Occurred() ? NULL : PyLong_FromSsize_t(done);
}

/* Up to `most` items, waiting for the first; NULL with an exception set on failure. */
static PyObject *popped(dwcp_channel *channel, Py_ssize_t most, int64_t deadline)
{
    PyObject *list = PyList_New(0);
    while (list && PyList_GET_SIZE(list) < most) {
        void *some[AT_ONCE];
        const Py_ssize_t left = most - PyList_GET_SIZE(list);
        const bool closed = dwcp_channel_closed(channel); /* before the look: what went in before closing is found */
        size_t n = dwcp_channel_pop(channel, some, left < AT_ONCE ? (size_t)left : AT_ONCE);
        for (size_t i = 0; i < n; i++) {
            if (list && PyList_Append(list, (PyObject *)some[i]) < 0)
                Py_CLEAR(list);
            Py_DECREF((PyObject *)some[i]);
        }
        if (n == 0) {
            if (!list || PyList_GET_SIZE(list) || closed || !waited(channel, dwcp_channel_wait_item, deadline))
                break;
        }
    }
    if (PyErr_Occurred())
        Py_CLEAR(list);
    return list;
}

/* pop(timeout=None) -> object; raises IndexError when nothing came */
static PyObject *pop(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"timeout", NULL};
    PyObject *timeout = NULL;
    int64_t deadline;
    dwcp_channel *channel = channel_of(self);
    if (!channel || !PyArg_ParseTupleAndKeywords(args, keywords, "|O", names, &timeout) || !deadline_of(timeout, &deadline))
        return NULL;
    for (;;) {
        void *item;
        const bool closed = dwcp_channel_closed(channel);
        if (dwcp_channel_pop(channel, &item, 1) == 1)
            return item;
        if (closed || !waited(channel, dwcp_channel_wait_item, deadline)) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_IndexError, closed ? "it is empty and closed" : "nothing came in time");
            return NULL;
        }
    }
}

/* pop_many(most, timeout=None) -> list */
static PyObject *pop_many(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"", "timeout", NULL};
    Py_ssize_t most;
    PyObject *timeout = NULL;
    int64_t deadline;
    dwcp_channel *channel = channel_of(self);
    if (!channel || !PyArg_ParseTupleAndKeywords(args, keywords, "n|O", names, &most, &timeout) || !deadline_of(timeout, &deadline))
        return NULL;
    if (most < 1) {
        PyErr_SetString(PyExc_ValueError, "most must be at least 1");
        return NULL;
    }
    return popped(channel, most, deadline);
}

static PyObject *close_it(PyObject *self, PyObject *unused)
{
    (void)unused;
    dwcp_channel *channel = channel_of(self);
    if (!channel)
        return NULL;
    dwcp_channel_close(channel);
    Py_RETURN_NONE;
}

static Py_ssize_t length(PyObject *self)
{
    dwcp_channel *channel = channel_of(self);
    return channel ? (Py_ssize_t)dwcp_channel_length(channel) : -1;
}

static PyObject *capacity(PyObject *self, void *unused)
{
    (void)unused;
    dwcp_channel *channel = channel_of(self);
    return channel ? PyLong_FromSize_t(dwcp_channel_capacity(channel)) : NULL;
}

static PyObject *closed(PyObject *self, void *unused)
{
    (void)unused;
    dwcp_channel *channel = channel_of(self);
    return channel ? PyBool_FromLong(dwcp_channel_closed(channel)) : NULL;
}

static PyObject *waiting(PyObject *self, void *unused)
{
    (void)unused;
    dwcp_channel *channel = channel_of(self);
    return channel ? PyLong_FromSize_t(dwcp_channel_waiting(channel)) : NULL;
}

#define KEYWORDS(function) (PyCFunction)(void (*)(void))(function), METH_VARARGS | METH_KEYWORDS

static PyMethodDef METHODS[] = {
    {"push", KEYWORDS(push), "True when the item went in, False when the time was up or it is closed."},
    {"push_many", KEYWORDS(push_many), "How many of the items, from the first on, went in."},
    {"pop", KEYWORDS(pop), "The next item; IndexError when the time was up or it is empty and closed."},
    {"pop_many", KEYWORDS(pop_many), "Up to so many items, waiting for the first only."},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "Queue[int] and so on, for annotations."},
    {"close", close_it, METH_NOARGS, "Nothing goes in any more; everyone who waits is woken."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef FIELDS[] = {
    {"capacity", capacity, NULL, "Items it can hold.", NULL},
    {"closed", closed, NULL, "True after close().", NULL},
    {"waiting", waiting, NULL, "Threads that sleep in it now.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static int add_type(PyObject *module, const char *name, initproc initialise, const char *doc)
{
    PyType_Slot slots[] = {
        {Py_tp_doc, (void *)(uintptr_t)doc}, {Py_tp_init, (void *)initialise}, {Py_tp_dealloc, (void *)dealloc},
        {Py_tp_methods, METHODS},            {Py_tp_getset, FIELDS},           {Py_sq_length, (void *)length},
        {0, NULL},
    };
    PyType_Spec spec = {.name = name, .basicsize = sizeof(channel_object), .flags = Py_TPFLAGS_DEFAULT, .slots = slots};
    PyObject *type = PyType_FromModuleAndSpec(module, &spec, NULL);
    int result = type ? PyModule_AddType(module, (PyTypeObject *)type) : -1;
    Py_XDECREF(type);
    return result;
}

int dwcp_py_add_channels(PyObject *module)
{
    if (add_type(module, "dwcp_agent._native.Queue", init_queue, "Bounded queue of objects, first in, first out.") < 0 ||
        add_type(module, "dwcp_agent._native.Ring", init_ring, "Queue for one thread that pushes and one that pops.") < 0 ||
        add_type(module, "dwcp_agent._native.Stack", init_stack, "Bounded stack of objects, last in, first out.") < 0)
        return -1;
    return 0;
}

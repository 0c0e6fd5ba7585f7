/* What the Python faces of the core share. Every face is one file, py_*.c, that adds its names to the module. */
#ifndef DWCP_PYTHON_H
#define DWCP_PYTHON_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "core.h"

/* Work on fewer bytes than this takes well under 50 us on the slowest path: not worth giving the interpreter lock away. */
enum { DWCP_RELEASE_ABOVE = 32 * 1024 };

/* Each returns 0, or -1 with an exception set. */
int dwcp_py_add_kernels(PyObject *module);
int dwcp_py_add_chunker(PyObject *module);
int dwcp_py_add_dispatch(PyObject *module);
int dwcp_py_add_rounding(PyObject *module);
/* In builds with Phase 4 only. */
int dwcp_py_add_affinity(PyObject *module);
int dwcp_py_add_batch(PyObject *module);
int dwcp_py_add_channels(PyObject *module);
int dwcp_py_add_pool(PyObject *module);
int dwcp_py_add_zerocopy(PyObject *module);

/* The kernel's path of that name, NULL with ValueError when this build or this machine has none. */
const dwcp_path *dwcp_py_path(dwcp_kernel kernel, const char *name);

#endif

/* dwcp_agent._native: the Python face of the compiled core. See _native.pyi. */
#include "python.h"

static int (*const FACES[])(PyObject *) = {
    dwcp_py_add_dispatch, dwcp_py_add_kernels,  dwcp_py_add_chunker,  dwcp_py_add_rounding,
#if DWCP_PHASE4
    dwcp_py_add_affinity, dwcp_py_add_batch,    dwcp_py_add_channels, dwcp_py_add_pool, dwcp_py_add_zerocopy,
#endif
};

static int module_exec(PyObject *module)
{
    dwcp_dispatch_init();
    for (size_t i = 0; i < sizeof FACES / sizeof *FACES; i++)
        if (FACES[i](module) < 0)
            return -1;
    return PyModule_AddObjectRef(module, "PHASE4", DWCP_PHASE4 ? Py_True : Py_False);
}

static PyModuleDef_Slot SLOTS[] = {{Py_mod_exec, module_exec}, {0, NULL}};

static PyModuleDef MODULE = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_native",
    .m_doc = "Compiled core of the agent.",
    .m_slots = SLOTS,
};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&MODULE);
}

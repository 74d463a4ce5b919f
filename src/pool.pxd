# The worker pool as other glue modules see it. There is one pool a process, inside cnn_ext._threads, which hands out
# the address of its `run` in a capsule: a C file linked into several modules would be a pool in each.

from cpython.pycapsule cimport PyCapsule_GetPointer

ctypedef void (*chunk_function)(void *context, Py_ssize_t chunk) noexcept nogil
ctypedef void (*run_function)(chunk_function function, void *context, Py_ssize_t n_chunks) noexcept nogil


cdef inline run_function pool_run_of(capsule) except NULL:
    return <run_function> PyCapsule_GetPointer(capsule, "cnn_ext.pool_run")

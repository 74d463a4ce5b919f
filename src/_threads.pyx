"""Glue of the worker pool: its size, and the capsule by which the other modules reach it."""

from cpython.pycapsule cimport PyCapsule_New

from pool cimport chunk_function


cdef extern from "threads.h" nogil:
    void pool_run(chunk_function function, void *context, Py_ssize_t n_chunks) noexcept
    void pool_set_threads(int n_threads)
    int pool_get_threads()
    int POOL_MAX_THREADS


MAX_THREADS = POOL_MAX_THREADS
POOL_RUN = PyCapsule_New(<void *> pool_run, "cnn_ext.pool_run", NULL)


def set_threads(int n_threads):
    if not 1 <= n_threads <= POOL_MAX_THREADS:
        raise ValueError(f"n_threads must be in [1, {POOL_MAX_THREADS}], got {n_threads}")
    with nogil:
        pool_set_threads(n_threads)


def get_threads():
    return pool_get_threads()

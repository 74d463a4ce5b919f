# The worker pool as glue modules see it. There is one pool a process, inside cnn_ext._threads, which hands out the
# addresses of its functions in a capsule: a C file linked into several modules would be a pool in each.

from cpython.pycapsule cimport PyCapsule_GetPointer


cdef extern from "threads.h" nogil:
    ctypedef void (*chunk_function)(void *context, Py_ssize_t chunk) noexcept nogil

    ctypedef struct pool_functions:
        # Raises what the handler of a signal raises, KeyboardInterrupt for instance.
        int (*run)(chunk_function function, void *context, Py_ssize_t n_chunks, int most_threads) except -1 nogil
        void (*run_to_the_end)(
            chunk_function function, void *context, Py_ssize_t n_chunks, int most_threads
        ) noexcept nogil
        int (*thread)() noexcept nogil
        int (*get_threads)() noexcept nogil

    int POOL_MAX_THREADS



cdef inline const pool_functions *pool_of(capsule) except NULL:
    return <const pool_functions *> PyCapsule_GetPointer(capsule, "cnn_ext.pool")

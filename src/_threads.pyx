"""What the other modules share: the worker pool, handed out in a capsule, and the choice of the instruction set.

Signals: Python's handlers run in the main thread, between two of its instructions, so a kernel holds them up. A call
of the main thread therefore asks for them now and then. Other threads must not: at the interpreter's end one that
asks for the GIL never comes back, and the workers would go on with what lay on its stack.
"""

import os
import threading

cimport cython
from cpython.pycapsule cimport PyCapsule_New

from pool cimport POOL_MAX_THREADS, pool_functions


cdef extern from "threads.h" nogil:
    void pool_set_threads(int n_threads)
    void pool_ask_before_going_on(int (*function)() noexcept nogil)
    const pool_functions pool


cdef extern from "Python.h":
    int PyErr_CheckSignals() noexcept
    unsigned long PyThread_get_thread_ident() noexcept nogil


cdef extern from "instruction_sets.h":
    int SET_BASELINE, SET_AVX2, SET_AVX512
    int processor_has(int instruction_set)


SETS = {"avx512": SET_AVX512, "avx2": SET_AVX2, "baseline": SET_BASELINE}  # the best first


def _choose_set():
    """Return the name of the best instruction set, or the one that CNN_EXT_SIMD asks for."""
    wanted = os.environ.get("CNN_EXT_SIMD", "").strip()
    if wanted == "":
        return next(name for name in SETS if processor_has(SETS[name]))
    if wanted not in SETS:
        raise ImportError(f"CNN_EXT_SIMD must be one of {', '.join(SETS)}, got {wanted!r}")
    if not processor_has(SETS[wanted]):
        raise ImportError(f"CNN_EXT_SIMD asks for {wanted}, which this processor or build does not have")
    return wanted


INSTRUCTION_SET = _choose_set()
SET_NUMBER = SETS[INSTRUCTION_SET]
MAX_THREADS = POOL_MAX_THREADS
POOL = PyCapsule_New(<void *> &pool, "cnn_ext.pool", NULL)


def set_threads(int n_threads):
    if not 1 <= n_threads <= POOL_MAX_THREADS:
        raise ValueError(f"n_threads must be in [1, {POOL_MAX_THREADS}], got {n_threads}")
    with nogil:
        pool_set_threads(n_threads)


def get_threads():
    return pool.get_threads()


cdef unsigned long main_thread


def _note_main_thread():
    global main_thread
    main_thread = threading.main_thread().ident


cdef int run_handlers() noexcept with gil:
    return PyErr_CheckSignals()


cdef int interrupted() noexcept nogil:
    """Run the handlers of the signals that came; return -1, with its exception set, if one raised."""
    return run_handlers() if PyThread_get_thread_ident() == main_thread else 0


_note_main_thread()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_main_thread)
pool_ask_before_going_on(interrupted)


@cython.final
cdef class Turn:
    """Lets one thread in at a time; others get an error at once. A copy is a new one.

    Compiled, since in Python the exception of a signal could come between the taking and what gives it free.

    Parameters
    ----------
    what : str
        What it guards, for the message.
    """
    cdef object what
    cdef bint taken
    cdef unsigned long owner

    def __init__(self, what):
        self.what = what

    def call(self, function, *args, **kwargs):
        """Return what `function` does with these arguments, or raise RuntimeError if it is in the midst of another call.

        Of the same thread too: a handler of a signal would overwrite what the call keeps in buffers.
        """
        cdef unsigned long me = PyThread_get_thread_ident()
        if self.taken and self.owner != me:
            raise RuntimeError(f"this {self.what} is in use by another thread: give each thread a copy of its own")
        if self.taken:
            raise RuntimeError(f"this {self.what} is in the midst of a call: a handler of a signal needs a copy of its own")
        self.owner = me
        self.taken = True
        try:
            return function(*args, **kwargs)
        finally:
            self.taken = False

    def __reduce__(self):
        return Turn, (self.what,)

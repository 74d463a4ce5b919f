"""What the other modules share: the worker pool, handed out in a capsule, and the choice of the instruction set."""

import os

from cpython.pycapsule cimport PyCapsule_New

from pool cimport POOL_MAX_THREADS, pool_functions


cdef extern from "threads.h" nogil:
    void pool_set_threads(int n_threads)
    const pool_functions pool


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

"""Glue of the matrix product: checks flat buffers, releases the GIL, shares blocks of the result over the threads."""

from cnn_ext._threads import POOL, SET_NUMBER

from pool cimport POOL_MAX_THREADS, pool_functions, pool_of


cdef extern from "matmul.h" nogil:
    int MATMUL_ROWS

    ctypedef struct matmul_problem:
        const void *a
        const void *b
        const void *bias
        void *c
        Py_ssize_t n_rows, n_columns, n_terms
        Py_ssize_t a_row, a_term, b_row
        Py_ssize_t c_row, c_column

    ctypedef struct matmul_kernels:
        Py_ssize_t lanes
        void (*multiply)(const matmul_problem *, Py_ssize_t row_begin, Py_ssize_t row_end, Py_ssize_t column) noexcept nogil

    const matmul_kernels *matmul_table(int instruction_set, int real_bytes)


cdef const pool_functions *workers = pool_of(POOL)
cdef int instruction_set = SET_NUMBER

ctypedef fused real:
    float
    double

cdef enum:
    SMALLEST_SHARED = 200_000  # products; below, waking a thread costs more than it saves


cdef struct Job:
    const matmul_kernels *kernels
    matmul_problem problem
    Py_ssize_t n_column_blocks


cdef void multiply_block(void *context, Py_ssize_t block) noexcept nogil:
    cdef Job *job = <Job *> context
    cdef Py_ssize_t row = block // job.n_column_blocks * MATMUL_ROWS
    cdef Py_ssize_t column = block % job.n_column_blocks * 2 * job.kernels.lanes
    job.kernels.multiply(&job.problem, row, min(row + MATMUL_ROWS, job.problem.n_rows), column)


def multiply(
    Py_ssize_t n_rows, Py_ssize_t n_columns, Py_ssize_t n_terms,
    const real[::1] a, bint a_transposed, const real[::1] b, const real[::1] bias, real[::1] c, bint c_transposed,
):
    """Fill c, (n_rows, n_columns), with a @ b + bias. All flat.

    a is (n_rows, n_terms), or (n_terms, n_rows) if `a_transposed`; b is (n_terms, n_columns); bias is of n_columns
    or empty; c may be stored as (n_columns, n_rows).
    """
    cdef const matmul_kernels *k = matmul_table(instruction_set, sizeof(real))
    cdef Py_ssize_t n_blocks, block
    cdef const void *bias_or_null = NULL
    cdef Job job
    if (
        a.shape[0] != n_rows * n_terms or b.shape[0] != n_terms * n_columns or c.shape[0] != n_rows * n_columns
        or (bias.shape[0] != 0 and bias.shape[0] != n_columns)
    ):
        raise ValueError("the sizes of the buffers do not fit")
    if c.shape[0] == 0:
        return
    if n_terms == 0:
        raise ValueError("a sum of no terms")
    if bias.shape[0] != 0:
        bias_or_null = &bias[0]
    job.kernels = k
    job.problem = matmul_problem(
        &a[0], &b[0], bias_or_null, &c[0], n_rows, n_columns, n_terms,
        1 if a_transposed else n_terms, n_rows if a_transposed else 1, n_columns,
        1 if c_transposed else n_columns, n_rows if c_transposed else 1,
    )
    job.n_column_blocks = (n_columns + 2 * k.lanes - 1) // (2 * k.lanes)
    n_blocks = (n_rows + MATMUL_ROWS - 1) // MATMUL_ROWS * job.n_column_blocks
    with nogil:
        if n_rows * n_columns * n_terms < SMALLEST_SHARED:
            for block in range(n_blocks):
                multiply_block(&job, block)
        else:
            workers.run(multiply_block, &job, n_blocks, POOL_MAX_THREADS)

"""Glue of the step's passes over the parameters: checks sizes, releases the GIL, shares stretches over the threads."""

from cnn_ext._threads import POOL

from pool cimport POOL_MAX_THREADS, chunk_function, pool_functions, pool_of


cdef extern from "update.h" nogil:
    int all_finite_f32(const float *, Py_ssize_t)
    int all_finite_f64(const double *, Py_ssize_t)
    void add_scaled_f32(float *, const float *, float, Py_ssize_t)
    void add_scaled_f64(double *, const double *, double, Py_ssize_t)
    void momentum_step_f32(float *, const float *, float *, float, float, int, Py_ssize_t)
    void momentum_step_f64(double *, const double *, double *, double, double, int, Py_ssize_t)


cdef const pool_functions *workers = pool_of(POOL)

ctypedef fused real:
    float
    double

cdef enum:
    NUMBERS_PER_CHUNK = 32768  # below, waking a thread costs more than it saves

cdef struct Job:
    char *target
    const char *source
    char *velocity
    double lr, factor
    bint nesterov, wide
    Py_ssize_t n


def all_finite(const real[::1] x):
    """Return whether x holds neither NaN nor infinity."""
    cdef bint result = True
    if x.shape[0] != 0:
        with nogil:
            result = all_finite_f32(&x[0], x.shape[0]) if real is float else all_finite_f64(&x[0], x.shape[0])
    return result


cdef void add_chunk(void *context, Py_ssize_t chunk) noexcept nogil:
    cdef Job *job = <Job *> context
    cdef Py_ssize_t begin = chunk * NUMBERS_PER_CHUNK, n = min(NUMBERS_PER_CHUNK, job.n - begin)
    if job.wide:
        add_scaled_f64(<double *> job.target + begin, <const double *> job.source + begin, job.factor, n)
    else:
        add_scaled_f32(<float *> job.target + begin, <const float *> job.source + begin, <float> job.factor, n)


cdef void momentum_chunk(void *context, Py_ssize_t chunk) noexcept nogil:
    cdef Job *job = <Job *> context
    cdef Py_ssize_t begin = chunk * NUMBERS_PER_CHUNK, n = min(NUMBERS_PER_CHUNK, job.n - begin)
    if job.wide:
        momentum_step_f64(
            <double *> job.target + begin, <const double *> job.source + begin, <double *> job.velocity + begin,
            job.lr, job.factor, job.nesterov, n,
        )
    else:
        momentum_step_f32(
            <float *> job.target + begin, <const float *> job.source + begin, <float *> job.velocity + begin,
            <float> job.lr, <float> job.factor, job.nesterov, n,
        )


cdef void share(chunk_function function, Job *job) noexcept nogil:
    workers.run(function, job, (job.n + NUMBERS_PER_CHUNK - 1) // NUMBERS_PER_CHUNK, POOL_MAX_THREADS)


def add_scaled(real[::1] target, const real[::1] source, double factor):
    """target += factor * source, in the precision of the arrays."""
    cdef Job job
    if target.shape[0] != source.shape[0]:
        raise ValueError("the sizes of the buffers do not fit")
    if target.shape[0] == 0:
        return
    job = Job(<char *> &target[0], <const char *> &source[0], NULL, 0, factor, False, sizeof(real) == 8, target.shape[0])
    with nogil:
        share(add_chunk, &job)


def momentum_step(real[::1] param, const real[::1] grad, real[::1] velocity, double lr, double momentum, bint nesterov):
    """velocity = momentum * velocity + grad; param -= lr * (grad + momentum * velocity), or lr * velocity."""
    cdef Job job
    if param.shape[0] != grad.shape[0] or param.shape[0] != velocity.shape[0]:
        raise ValueError("the sizes of the buffers do not fit")
    if param.shape[0] == 0:
        return
    job = Job(
        <char *> &param[0], <const char *> &grad[0], <char *> &velocity[0], lr, momentum, nesterov, sizeof(real) == 8,
        param.shape[0],
    )
    with nogil:
        share(momentum_chunk, &job)

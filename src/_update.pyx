"""Glue of the step's passes over the parameters: checks sizes, releases the GIL, shares stretches over the threads."""

from cnn_ext._threads import POOL

from pool cimport POOL_MAX_THREADS, chunk_function, pool_functions, pool_of


cdef extern from "update.h" nogil:
    int all_finite_f32(const float *, Py_ssize_t)
    int all_finite_f64(const double *, Py_ssize_t)
    double sum_of_squares_f32(const float *, Py_ssize_t)
    double sum_of_squares_f64(const double *, Py_ssize_t)
    void add_scaled_f32(float *, const float *, float, Py_ssize_t)
    void add_scaled_f64(double *, const double *, double, Py_ssize_t)
    void momentum_step_f32(float *, const float *, float *, float, float, int, Py_ssize_t)
    void momentum_step_f64(double *, const double *, double *, double, double, int, Py_ssize_t)
    void lerp_f32(float *, const float *, float, Py_ssize_t)
    void lerp_f64(double *, const double *, double, Py_ssize_t)
    ctypedef struct adam_numbers:
        double beta1, beta2, rate, root, eps, decay
    void adam_step_f32(float *, const float *, float *, float *, const adam_numbers *, Py_ssize_t)
    void adam_step_f64(double *, const double *, double *, double *, const adam_numbers *, Py_ssize_t)


cdef const pool_functions *workers = pool_of(POOL)

ctypedef fused real:
    float
    double

cdef enum:
    NUMBERS_PER_CHUNK = 32768  # at least: below, waking a thread costs more than it saves
    MOST_CHUNKS = 64

cdef struct Job:
    char *target
    const char *source
    char *moment  # velocity, or Adam's first moment
    char *second
    double lr, factor
    adam_numbers adam
    bint nesterov, wide
    Py_ssize_t n, n_per_chunk
    double sums[MOST_CHUNKS]  # what each chunk gives, where it gives a number


cdef Py_ssize_t cut(Job *job) noexcept nogil:
    """Cut `job.n` numbers into stretches, the same for any number of threads; return how many there are."""
    job.n_per_chunk = max(NUMBERS_PER_CHUNK, (job.n + MOST_CHUNKS - 1) // MOST_CHUNKS)
    return (job.n + job.n_per_chunk - 1) // job.n_per_chunk


cdef void change(chunk_function function, Job *job) noexcept nogil:
    """Run a function that changes numbers in place over all of them, whatever signals come meanwhile."""
    workers.run_to_the_end(function, job, cut(job), POOL_MAX_THREADS)


cdef void finite_chunk(void *context, Py_ssize_t chunk) noexcept nogil:
    cdef Job *job = <Job *> context
    cdef Py_ssize_t begin = chunk * job.n_per_chunk, n = min(job.n_per_chunk, job.n - begin)
    if job.wide:
        job.sums[chunk] = not all_finite_f64(<const double *> job.source + begin, n)
    else:
        job.sums[chunk] = not all_finite_f32(<const float *> job.source + begin, n)


cdef void squares_chunk(void *context, Py_ssize_t chunk) noexcept nogil:
    cdef Job *job = <Job *> context
    cdef Py_ssize_t begin = chunk * job.n_per_chunk, n = min(job.n_per_chunk, job.n - begin)
    if job.wide:
        job.sums[chunk] = sum_of_squares_f64(<const double *> job.source + begin, n)
    else:
        job.sums[chunk] = sum_of_squares_f32(<const float *> job.source + begin, n)


cdef double sum_over_chunks(chunk_function function, const void *source, Py_ssize_t n, bint wide) except -1 nogil:
    """Add up what `function` finds of each chunk, in an order that does not depend on the threads."""
    cdef Job job
    cdef Py_ssize_t chunk, n_chunks
    cdef double total = 0
    job.source, job.n, job.wide = <const char *> source, n, wide
    n_chunks = cut(&job)
    workers.run(function, &job, n_chunks, POOL_MAX_THREADS)
    for chunk in range(n_chunks):
        total += job.sums[chunk]
    return total


def all_finite(const real[::1] x):
    """Return whether x holds neither NaN nor infinity."""
    cdef double n_bad = 0  # chunks
    if x.shape[0] != 0:
        with nogil:
            n_bad = sum_over_chunks(finite_chunk, &x[0], x.shape[0], sizeof(real) == 8)
    return n_bad == 0


def sum_of_squares(const real[::1] x):
    """Return the sum of x * x, added up in float64 but for short stretches."""
    cdef double total = 0
    if x.shape[0] != 0:
        with nogil:
            total = sum_over_chunks(squares_chunk, &x[0], x.shape[0], sizeof(real) == 8)
    return total


cdef void add_chunk(void *context, Py_ssize_t chunk) noexcept nogil:
    cdef Job *job = <Job *> context
    cdef Py_ssize_t begin = chunk * job.n_per_chunk, n = min(job.n_per_chunk, job.n - begin)
    if job.wide:
        add_scaled_f64(<double *> job.target + begin, <const double *> job.source + begin, job.factor, n)
    else:
        add_scaled_f32(<float *> job.target + begin, <const float *> job.source + begin, <float> job.factor, n)


def add_scaled(real[::1] target, const real[::1] source, double factor):
    """target += factor * source, in the precision of the arrays."""
    cdef Job job
    if target.shape[0] != source.shape[0]:
        raise ValueError("the sizes of the buffers do not fit")
    if target.shape[0] == 0:
        return
    job.target, job.source = <char *> &target[0], <const char *> &source[0]
    job.factor, job.wide, job.n = factor, sizeof(real) == 8, target.shape[0]
    with nogil:
        change(add_chunk, &job)


cdef void lerp_chunk(void *context, Py_ssize_t chunk) noexcept nogil:
    cdef Job *job = <Job *> context
    cdef Py_ssize_t begin = chunk * job.n_per_chunk, n = min(job.n_per_chunk, job.n - begin)
    if job.wide:
        lerp_f64(<double *> job.target + begin, <const double *> job.source + begin, job.factor, n)
    else:
        lerp_f32(<float *> job.target + begin, <const float *> job.source + begin, <float> job.factor, n)


def lerp(real[::1] target, const real[::1] source, double weight):
    """target += weight * (source - target), in the precision of the arrays."""
    cdef Job job
    if target.shape[0] != source.shape[0]:
        raise ValueError("the sizes of the buffers do not fit")
    if target.shape[0] == 0:
        return
    job.target, job.source = <char *> &target[0], <const char *> &source[0]
    job.factor, job.wide, job.n = weight, sizeof(real) == 8, target.shape[0]
    with nogil:
        change(lerp_chunk, &job)


cdef void momentum_chunk(void *context, Py_ssize_t chunk) noexcept nogil:
    cdef Job *job = <Job *> context
    cdef Py_ssize_t begin = chunk * job.n_per_chunk, n = min(job.n_per_chunk, job.n - begin)
    if job.wide:
        momentum_step_f64(
            <double *> job.target + begin, <const double *> job.source + begin, <double *> job.moment + begin,
            job.lr, job.factor, job.nesterov, n,
        )
    else:
        momentum_step_f32(
            <float *> job.target + begin, <const float *> job.source + begin, <float *> job.moment + begin,
            <float> job.lr, <float> job.factor, job.nesterov, n,
        )


def momentum_step(real[::1] param, const real[::1] grad, real[::1] velocity, double lr, double momentum, bint nesterov):
    """velocity = momentum * velocity + grad; param -= lr * (grad + momentum * velocity), or lr * velocity."""
    cdef Job job
    if param.shape[0] != grad.shape[0] or param.shape[0] != velocity.shape[0]:
        raise ValueError("the sizes of the buffers do not fit")
    if param.shape[0] == 0:
        return
    job.target, job.source, job.moment = <char *> &param[0], <const char *> &grad[0], <char *> &velocity[0]
    job.lr, job.factor, job.nesterov, job.wide, job.n = lr, momentum, nesterov, sizeof(real) == 8, param.shape[0]
    with nogil:
        change(momentum_chunk, &job)


cdef void adam_chunk(void *context, Py_ssize_t chunk) noexcept nogil:
    cdef Job *job = <Job *> context
    cdef Py_ssize_t begin = chunk * job.n_per_chunk, n = min(job.n_per_chunk, job.n - begin)
    if job.wide:
        adam_step_f64(
            <double *> job.target + begin, <const double *> job.source + begin, <double *> job.moment + begin,
            <double *> job.second + begin, &job.adam, n,
        )
    else:
        adam_step_f32(
            <float *> job.target + begin, <const float *> job.source + begin, <float *> job.moment + begin,
            <float *> job.second + begin, &job.adam, n,
        )


def adam_step(
    real[::1] param, const real[::1] grad, real[::1] first, real[::1] second,
    double beta1, double beta2, double rate, double root, double eps, double decay,
):
    """first, second = the moments with grad; param -= decay * param + rate * first / (root * sqrt(second) + eps)."""
    cdef Job job
    if not (param.shape[0] == grad.shape[0] == first.shape[0] == second.shape[0]):
        raise ValueError("the sizes of the buffers do not fit")
    if param.shape[0] == 0:
        return
    job.target, job.source = <char *> &param[0], <const char *> &grad[0]
    job.moment, job.second = <char *> &first[0], <char *> &second[0]
    job.adam.beta1, job.adam.beta2, job.adam.rate = beta1, beta2, rate
    job.adam.root, job.adam.eps, job.adam.decay = root, eps, decay
    job.wide, job.n = sizeof(real) == 8, param.shape[0]
    with nogil:
        change(adam_chunk, &job)

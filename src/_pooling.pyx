"""Glue of max- and average pooling: checks flat buffers, releases the GIL, shares planes over the threads."""

from libc.string cimport memset

from cnn_ext._threads import POOL

from geometry cimport geometry, geometry_of
from pool cimport POOL_MAX_THREADS, pool_functions, pool_of


cdef extern from "maxpool.h" nogil:
    void maxpool_plane_f32(const float *, float *, Py_ssize_t *, const geometry *, Py_ssize_t)
    void maxpool_plane_f64(const double *, double *, Py_ssize_t *, const geometry *, Py_ssize_t)
    void maxpool_back_plane_f32(const float *, const Py_ssize_t *, float *, const geometry *, Py_ssize_t)
    void maxpool_back_plane_f64(const double *, const Py_ssize_t *, double *, const geometry *, Py_ssize_t)

cdef extern from "avgpool.h" nogil:
    void avgpool_plane_f32(const float *, float *, const geometry *, Py_ssize_t)
    void avgpool_plane_f64(const double *, double *, const geometry *, Py_ssize_t)
    void avgpool_back_plane_f32(const float *, float *, const geometry *, Py_ssize_t)
    void avgpool_back_plane_f64(const double *, double *, const geometry *, Py_ssize_t)


cdef const pool_functions *workers = pool_of(POOL)

ctypedef fused real:
    float
    double

ctypedef void (*plane_function)(Job *, Py_ssize_t plane) noexcept nogil

cdef struct Job:
    plane_function function
    geometry g
    const void *source
    void *target
    const Py_ssize_t *places
    Py_ssize_t *places_out
    bint wide
    Py_ssize_t planes_per_chunk

cdef enum:
    NUMBERS_PER_CHUNK = 16384  # of the input: enough work to be worth a thread's while


cdef void max_forward(Job *job, Py_ssize_t plane) noexcept nogil:
    if job.wide:
        maxpool_plane_f64(<const double *> job.source, <double *> job.target, job.places_out, &job.g, plane)
    else:
        maxpool_plane_f32(<const float *> job.source, <float *> job.target, job.places_out, &job.g, plane)


cdef void max_backward(Job *job, Py_ssize_t plane) noexcept nogil:
    if job.wide:
        maxpool_back_plane_f64(<const double *> job.source, job.places, <double *> job.target, &job.g, plane)
    else:
        maxpool_back_plane_f32(<const float *> job.source, job.places, <float *> job.target, &job.g, plane)


cdef void average_forward(Job *job, Py_ssize_t plane) noexcept nogil:
    if job.wide:
        avgpool_plane_f64(<const double *> job.source, <double *> job.target, &job.g, plane)
    else:
        avgpool_plane_f32(<const float *> job.source, <float *> job.target, &job.g, plane)


cdef void average_backward(Job *job, Py_ssize_t plane) noexcept nogil:
    if job.wide:
        avgpool_back_plane_f64(<const double *> job.source, <double *> job.target, &job.g, plane)
    else:
        avgpool_back_plane_f32(<const float *> job.source, <float *> job.target, &job.g, plane)


cdef void chunk_of_planes(void *context, Py_ssize_t chunk) noexcept nogil:
    cdef Job *job = <Job *> context
    cdef Py_ssize_t plane, begin = chunk * job.planes_per_chunk
    for plane in range(begin, min(begin + job.planes_per_chunk, job.g.n_images * job.g.n_channels)):
        job.function(job, plane)


cdef int share(Job *job) except -1 nogil:
    cdef Py_ssize_t n_planes = job.g.n_images * job.g.n_channels
    job.planes_per_chunk = max(NUMBERS_PER_CHUNK // (job.g.height * job.g.width), 1)
    cdef Py_ssize_t n_chunks = (n_planes + job.planes_per_chunk - 1) // job.planes_per_chunk
    return workers.run(chunk_of_planes, job, n_chunks, POOL_MAX_THREADS)


cdef Job job_of(
    plane_function function, windows, Py_ssize_t n_images, Py_ssize_t n_windows, Py_ssize_t n_places, bint wide
) except *:
    """A job without its buffers, whose sizes must be what `windows` says."""
    cdef Job job
    cdef geometry *g = &job.g
    memset(&job, 0, sizeof(Job))
    job.g = geometry_of(windows)
    cdef Py_ssize_t wanted = g.n_images * g.n_channels * g.h_out * g.w_out
    if n_images != g.n_images * g.n_channels * g.height * g.width or n_windows != wanted or n_places != wanted:
        raise ValueError("the sizes of the buffers do not fit the geometry")
    job.function, job.wide = function, wide
    return job


def maxpool_forward(const real[::1] x, real[::1] out, Py_ssize_t[::1] argmax, windows):
    """Fill `out` and `argmax` from the images `x`. All flat, sizes as `windows` says."""
    cdef Job job = job_of(max_forward, windows, x.shape[0], out.shape[0], argmax.shape[0], sizeof(real) == 8)
    if out.shape[0] == 0:
        return
    job.source, job.target, job.places_out = &x[0], &out[0], &argmax[0]
    with nogil:
        share(&job)


def maxpool_backward(const real[::1] dout, const Py_ssize_t[::1] argmax, real[::1] dx, windows):
    """Fill `dx` from the gradients `dout` and places `argmax`. All flat, sizes as `windows` says.

    Places outside their window are passed over; the caller has refused them, but another thread may write meanwhile.
    """
    cdef Job job = job_of(max_backward, windows, dx.shape[0], dout.shape[0], argmax.shape[0], sizeof(real) == 8)
    if dout.shape[0] == 0:
        return
    job.source, job.target, job.places = &dout[0], &dx[0], &argmax[0]
    with nogil:
        share(&job)


def avgpool_forward(const real[::1] x, real[::1] out, windows):
    """Fill `out` from the images `x`. Both flat, sizes as `windows` says."""
    cdef Job job = job_of(average_forward, windows, x.shape[0], out.shape[0], out.shape[0], sizeof(real) == 8)
    if out.shape[0] == 0:
        return
    job.source, job.target = &x[0], &out[0]
    with nogil:
        share(&job)


def avgpool_backward(const real[::1] dout, real[::1] dx, windows):
    """Fill `dx` from the gradients `dout`. Both flat, sizes as `windows` says."""
    cdef Job job = job_of(average_backward, windows, dx.shape[0], dout.shape[0], dout.shape[0], sizeof(real) == 8)
    if dout.shape[0] == 0:
        return
    job.source, job.target = &dout[0], &dx[0]
    with nogil:
        share(&job)

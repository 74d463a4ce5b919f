"""Glue of max-pooling: checks the sizes of flat buffers, releases the GIL, shares planes over the threads."""

from cnn_ext._threads import POOL_RUN

from geometry cimport geometry, geometry_of
from pool cimport chunk_function, pool_run_of, run_function


cdef extern from "maxpool.h" nogil:
    void maxpool_plane_f32(const float *, float *, Py_ssize_t *, const geometry *, Py_ssize_t)
    void maxpool_plane_f64(const double *, double *, Py_ssize_t *, const geometry *, Py_ssize_t)
    void maxpool_back_plane_f32(const float *, const Py_ssize_t *, float *, const geometry *, Py_ssize_t)
    void maxpool_back_plane_f64(const double *, const Py_ssize_t *, double *, const geometry *, Py_ssize_t)


cdef run_function run = pool_run_of(POOL_RUN)

ctypedef fused real:
    float
    double

cdef struct Job:
    const void *source
    void *target
    const Py_ssize_t *places
    Py_ssize_t *places_out
    const geometry *g
    bint wide
    Py_ssize_t planes_per_chunk

cdef enum:
    NUMBERS_PER_CHUNK = 16384  # of the input: enough work to be worth a thread's while


cdef void forward_chunk(void *context, Py_ssize_t chunk) noexcept nogil:
    cdef Job *job = <Job *> context
    cdef Py_ssize_t plane, begin = chunk * job.planes_per_chunk
    cdef Py_ssize_t end = min(begin + job.planes_per_chunk, job.g.n_images * job.g.n_channels)
    for plane in range(begin, end):
        if job.wide:
            maxpool_plane_f64(<const double *> job.source, <double *> job.target, job.places_out, job.g, plane)
        else:
            maxpool_plane_f32(<const float *> job.source, <float *> job.target, job.places_out, job.g, plane)


cdef void backward_chunk(void *context, Py_ssize_t chunk) noexcept nogil:
    cdef Job *job = <Job *> context
    cdef Py_ssize_t plane, begin = chunk * job.planes_per_chunk
    cdef Py_ssize_t end = min(begin + job.planes_per_chunk, job.g.n_images * job.g.n_channels)
    for plane in range(begin, end):
        if job.wide:
            maxpool_back_plane_f64(<const double *> job.source, job.places, <double *> job.target, job.g, plane)
        else:
            maxpool_back_plane_f32(<const float *> job.source, job.places, <float *> job.target, job.g, plane)


cdef void share(chunk_function function, Job *job) noexcept nogil:
    cdef Py_ssize_t n_planes = job.g.n_images * job.g.n_channels
    job.planes_per_chunk = max(NUMBERS_PER_CHUNK // (job.g.height * job.g.width), 1)
    run(function, job, (n_planes + job.planes_per_chunk - 1) // job.planes_per_chunk)


def maxpool_forward(const real[::1] x, real[::1] out, Py_ssize_t[::1] argmax, windows):
    """Fill `out` and `argmax` from the images `x`. All flat, sizes as `windows` says."""
    cdef geometry g = geometry_of(windows)
    cdef Job job
    check_sizes(x.shape[0], out.shape[0], argmax.shape[0], &g)
    if out.shape[0] == 0:
        return
    with nogil:
        job = Job(&x[0], &out[0], NULL, &argmax[0], &g, sizeof(real) == 8, 0)
        share(forward_chunk, &job)


def maxpool_backward(const real[::1] dout, const Py_ssize_t[::1] argmax, real[::1] dx, windows):
    """Fill `dx` from the gradients `dout` and places `argmax`. All flat, sizes as `windows` says.

    Places outside their window are passed over; the caller has refused them, but another thread may write meanwhile.
    """
    cdef geometry g = geometry_of(windows)
    cdef Job job
    check_sizes(dx.shape[0], dout.shape[0], argmax.shape[0], &g)
    if dout.shape[0] == 0:
        return
    with nogil:
        job = Job(&dout[0], &dx[0], &argmax[0], NULL, &g, sizeof(real) == 8, 0)
        share(backward_chunk, &job)


cdef int check_sizes(Py_ssize_t images, Py_ssize_t maxima, Py_ssize_t places, const geometry *g) except -1:
    cdef Py_ssize_t wanted = g.n_images * g.n_channels * g.h_out * g.w_out
    if images != g.n_images * g.n_channels * g.height * g.width or maxima != wanted or places != wanted:
        raise ValueError("the sizes of the buffers do not fit the geometry")
    return 0

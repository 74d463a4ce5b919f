"""Glue of average pooling: checks the sizes of flat buffers, releases the GIL, shares planes over the threads."""

from cnn_ext._threads import POOL_RUN

from geometry cimport geometry, geometry_of
from pool cimport chunk_function, pool_run_of, run_function


cdef extern from "avgpool.h" nogil:
    void avgpool_plane_f32(const float *, float *, const geometry *, Py_ssize_t)
    void avgpool_plane_f64(const double *, double *, const geometry *, Py_ssize_t)
    void avgpool_back_plane_f32(const float *, float *, const geometry *, Py_ssize_t)
    void avgpool_back_plane_f64(const double *, double *, const geometry *, Py_ssize_t)


cdef run_function run = pool_run_of(POOL_RUN)

ctypedef fused real:
    float
    double

cdef struct Job:
    const void *source
    void *target
    const geometry *g
    bint wide
    Py_ssize_t planes_per_chunk

cdef enum:
    NUMBERS_PER_CHUNK = 16384  # of the input: enough work to be worth a thread's while


cdef void forward_chunk(void *context, Py_ssize_t chunk) noexcept nogil:
    cdef Job *job = <Job *> context
    cdef Py_ssize_t plane, begin = chunk * job.planes_per_chunk
    for plane in range(begin, min(begin + job.planes_per_chunk, job.g.n_images * job.g.n_channels)):
        if job.wide:
            avgpool_plane_f64(<const double *> job.source, <double *> job.target, job.g, plane)
        else:
            avgpool_plane_f32(<const float *> job.source, <float *> job.target, job.g, plane)


cdef void backward_chunk(void *context, Py_ssize_t chunk) noexcept nogil:
    cdef Job *job = <Job *> context
    cdef Py_ssize_t plane, begin = chunk * job.planes_per_chunk
    for plane in range(begin, min(begin + job.planes_per_chunk, job.g.n_images * job.g.n_channels)):
        if job.wide:
            avgpool_back_plane_f64(<const double *> job.source, <double *> job.target, job.g, plane)
        else:
            avgpool_back_plane_f32(<const float *> job.source, <float *> job.target, job.g, plane)


cdef void share(chunk_function function, Job *job) noexcept nogil:
    cdef Py_ssize_t n_planes = job.g.n_images * job.g.n_channels
    job.planes_per_chunk = max(NUMBERS_PER_CHUNK // (job.g.height * job.g.width), 1)
    run(function, job, (n_planes + job.planes_per_chunk - 1) // job.planes_per_chunk)


def avgpool_forward(const real[::1] x, real[::1] out, windows):
    """Fill `out` from the images `x`. Both flat, sizes as `windows` says."""
    cdef geometry g = geometry_of(windows)
    cdef Job job
    check_sizes(x.shape[0], out.shape[0], &g)
    if out.shape[0] == 0:
        return
    with nogil:
        job = Job(&x[0], &out[0], &g, sizeof(real) == 8, 0)
        share(forward_chunk, &job)


def avgpool_backward(const real[::1] dout, real[::1] dx, windows):
    """Fill `dx` from the gradients `dout`. Both flat, sizes as `windows` says."""
    cdef geometry g = geometry_of(windows)
    cdef Job job
    check_sizes(dx.shape[0], dout.shape[0], &g)
    if dout.shape[0] == 0:
        return
    with nogil:
        job = Job(&dout[0], &dx[0], &g, sizeof(real) == 8, 0)
        share(backward_chunk, &job)


cdef int check_sizes(Py_ssize_t images, Py_ssize_t averages, const geometry *g) except -1:
    if (
        images != g.n_images * g.n_channels * g.height * g.width
        or averages != g.n_images * g.n_channels * g.h_out * g.w_out
    ):
        raise ValueError("the sizes of the buffers do not fit the geometry")
    return 0

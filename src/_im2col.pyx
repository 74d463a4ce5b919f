"""Glue of im2col and col2im: checks the sizes of flat buffers, releases the GIL, shares rows over the threads."""

from cnn_ext._threads import POOL

from geometry cimport geometry, geometry_of
from pool cimport POOL_MAX_THREADS, chunk_function, pool_functions, pool_of


cdef extern from "im2col.h" nogil:
    void images_last_f32(const float *, float *, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t)
    void images_last_f64(const double *, double *, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t)
    void images_first_f32(const float *, float *, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t)
    void images_first_f64(const double *, double *, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t)
    void im2col_row_f32(const float *, float *, const geometry *, Py_ssize_t)
    void im2col_row_f64(const double *, double *, const geometry *, Py_ssize_t)
    void col2im_channel_f32(const float *, float *, const geometry *, Py_ssize_t)
    void col2im_channel_f64(const double *, double *, const geometry *, Py_ssize_t)


cdef const pool_functions *workers = pool_of(POOL)

ctypedef fused real:
    float
    double

cdef struct Job:
    const void *source
    void *target
    const geometry *g
    bint wide
    Py_ssize_t n_pixels


cdef enum:
    PIXELS_PER_CHUNK = 256
    SMALLEST_SHARED = 32768  # numbers; below, waking a thread costs more than it saves


cdef void transpose_chunk(void *context, Py_ssize_t chunk) noexcept nogil:
    cdef Job *job = <Job *> context
    cdef Py_ssize_t begin = chunk * PIXELS_PER_CHUNK
    cdef Py_ssize_t end = min(begin + PIXELS_PER_CHUNK, job.n_pixels)
    if job.wide:
        images_last_f64(<const double *> job.source, <double *> job.target, job.g.n_images, job.n_pixels, begin, end)
    else:
        images_last_f32(<const float *> job.source, <float *> job.target, job.g.n_images, job.n_pixels, begin, end)


cdef void transpose_back_chunk(void *context, Py_ssize_t chunk) noexcept nogil:
    cdef Job *job = <Job *> context
    cdef Py_ssize_t begin = chunk * PIXELS_PER_CHUNK
    cdef Py_ssize_t end = min(begin + PIXELS_PER_CHUNK, job.n_pixels)
    if job.wide:
        images_first_f64(<const double *> job.source, <double *> job.target, job.g.n_images, job.n_pixels, begin, end)
    else:
        images_first_f32(<const float *> job.source, <float *> job.target, job.g.n_images, job.n_pixels, begin, end)


cdef void im2col_chunk(void *context, Py_ssize_t row) noexcept nogil:
    cdef Job *job = <Job *> context
    if job.wide:
        im2col_row_f64(<const double *> job.source, <double *> job.target, job.g, row)
    else:
        im2col_row_f32(<const float *> job.source, <float *> job.target, job.g, row)


cdef void col2im_chunk(void *context, Py_ssize_t channel) noexcept nogil:
    cdef Job *job = <Job *> context
    if job.wide:
        col2im_channel_f64(<const double *> job.source, <double *> job.target, job.g, channel)
    else:
        col2im_channel_f32(<const float *> job.source, <float *> job.target, job.g, channel)


cdef int share(chunk_function function, Job *job, Py_ssize_t n_chunks, Py_ssize_t work) except -1 nogil:
    cdef Py_ssize_t chunk
    if work < SMALLEST_SHARED:
        for chunk in range(n_chunks):
            function(job, chunk)
    else:
        workers.run(function, job, n_chunks, POOL_MAX_THREADS)
    return 0


def im2col(const real[::1] x, real[::1] scratch, real[::1] columns, windows):
    """Fill `columns` from the images `x`; `scratch` is of the size of `x`. All flat, sizes as `windows` says."""
    cdef geometry g = geometry_of(windows)
    cdef Py_ssize_t n_pixels = g.n_channels * g.height * g.width
    cdef Py_ssize_t n_rows = g.n_channels * g.h_window * g.w_window
    cdef Job job
    check_sizes(x.shape[0], scratch.shape[0], columns.shape[0], &g)
    if columns.shape[0] == 0:
        return
    with nogil:
        job = Job(&x[0], &scratch[0], &g, sizeof(real) == 8, n_pixels)
        share(transpose_chunk, &job, (n_pixels + PIXELS_PER_CHUNK - 1) // PIXELS_PER_CHUNK, x.shape[0])
        job.source, job.target = &scratch[0], &columns[0]
        share(im2col_chunk, &job, n_rows, columns.shape[0])


def col2im(const real[::1] columns, real[::1] scratch, real[::1] dx, windows):
    """Sum `columns` into the images `dx`; `scratch` is of the size of `dx`. All flat, sizes as `windows` says."""
    cdef geometry g = geometry_of(windows)
    cdef Py_ssize_t n_pixels = g.n_channels * g.height * g.width
    cdef Job job
    check_sizes(dx.shape[0], scratch.shape[0], columns.shape[0], &g)
    if columns.shape[0] == 0:
        return
    with nogil:
        job = Job(&columns[0], &scratch[0], &g, sizeof(real) == 8, n_pixels)
        share(col2im_chunk, &job, g.n_channels, columns.shape[0])
        job.source, job.target = &scratch[0], &dx[0]
        share(transpose_back_chunk, &job, (n_pixels + PIXELS_PER_CHUNK - 1) // PIXELS_PER_CHUNK, dx.shape[0])


cdef int check_sizes(Py_ssize_t images, Py_ssize_t scratch, Py_ssize_t columns, const geometry *g) except -1:
    cdef Py_ssize_t wanted = g.n_images * g.n_channels * g.height * g.width
    cdef Py_ssize_t wanted_columns = g.n_channels * g.h_window * g.w_window * g.h_out * g.w_out * g.n_images
    if images != wanted or scratch != wanted or columns != wanted_columns:
        raise ValueError("the sizes of the buffers do not fit the geometry")
    return 0

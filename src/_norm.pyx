"""Glue of batch normalization: checks flat buffers, shares images over the threads."""

from libc.stdint cimport uint8_t
from libc.string cimport memset

from cnn_ext._threads import POOL, SET_NUMBER

from conv cimport LARGEST_POOL
from layout cimport image_layout, layout_of
from pool cimport POOL_MAX_THREADS, pool_functions, pool_of


cdef extern from "norm.h" nogil:
    ctypedef struct norm_shape:
        Py_ssize_t n_channels, height, width
        Py_ssize_t relu, pool
        Py_ssize_t h_out, w_out

    ctypedef struct norm_kernels:
        void (*moments)(const norm_shape *, const void *z, void *mean, void *squares) noexcept nogil
        void (*forward)(const norm_shape *, const void *z, const void *mean, const void *scale, const void *shift,
                        void *out, image_layout, uint8_t *places) noexcept nogil
        void (*gradient)(const norm_shape *, const void *z, const void *mean, const void *dout, const void *out,
                         image_layout, const uint8_t *places, void *g, void *sums) noexcept nogil
        void (*through)(const norm_shape *, const void *z, const void *mean, const void *scale, const void *offset,
                        const void *slope, void *g) noexcept nogil

    const norm_kernels *norm_table(int instruction_set, int real_bytes)


cdef const pool_functions *workers = pool_of(POOL)
cdef int chosen_set = SET_NUMBER

ctypedef fused real:
    float
    double


cdef struct Job:
    const norm_kernels *kernels
    norm_shape shape
    Py_ssize_t real_bytes, image_size, out_size
    const char *z
    char *mean      # of each image in `moments`, of all of them elsewhere
    char *squares
    const char *scale
    const char *shift
    const char *slope
    char *out
    const char *dout
    image_layout layout
    uint8_t *places
    char *g
    char *sums


cdef Job job_of(shape, bint relu, Py_ssize_t pool, int real_bytes) except *:
    """For images of shape (N, H, W, C) and what comes behind."""
    cdef Job job
    cdef norm_shape *s = &job.shape
    memset(&job, 0, sizeof(Job))
    job.kernels, job.real_bytes = norm_table(chosen_set, real_bytes), real_bytes
    _, s.height, s.width, s.n_channels = shape
    if not 1 <= pool <= LARGEST_POOL:
        raise ValueError(f"pool must be in [1, {LARGEST_POOL}], got {pool}")
    s.relu, s.pool = relu, pool
    s.h_out, s.w_out = s.height // pool, s.width // pool
    job.image_size = s.height * s.width * s.n_channels
    job.out_size = s.h_out * s.w_out * s.n_channels
    return job


cdef void moments_of_image(void *context, Py_ssize_t image) noexcept nogil:
    cdef Job *job = <Job *> context
    cdef Py_ssize_t row = image * job.shape.n_channels * job.real_bytes
    job.kernels.moments(
        &job.shape, job.z + image * job.image_size * job.real_bytes, job.mean + row, job.squares + row
    )


def moments(const real[:, :, :, ::1] z, real[:, ::1] mean, real[:, ::1] squares):
    """Fill the mean and the sum of squares about it for each image and channel."""
    cdef Job job = job_of((<object> z).shape, False, 1, sizeof(real))
    cdef Py_ssize_t n_images = z.shape[0]
    if (
        mean.shape[0] != n_images or mean.shape[1] != z.shape[3]
        or squares.shape[0] != n_images or squares.shape[1] != z.shape[3]
    ):
        raise ValueError("the sizes of the buffers do not fit")
    if z.shape[0] * z.shape[1] * z.shape[2] * z.shape[3] == 0:
        return
    job.z, job.mean, job.squares = <const char *> &z[0, 0, 0, 0], <char *> &mean[0, 0], <char *> &squares[0, 0]
    with nogil:
        workers.run(moments_of_image, &job, n_images, POOL_MAX_THREADS)


cdef void forward_image(void *context, Py_ssize_t image) noexcept nogil:
    cdef Job *job = <Job *> context
    cdef Py_ssize_t step = job.out_size * job.real_bytes
    job.kernels.forward(
        &job.shape, job.z + image * job.image_size * job.real_bytes, job.mean, job.scale, job.shift,
        job.out + image * step, job.layout, job.places + image * job.out_size if job.shape.pool > 1 else NULL,
    )


def forward(
    const real[:, :, :, ::1] z, const real[::1] mean, const real[::1] scale, const real[::1] shift, bint relu,
    Py_ssize_t pool, real[::1] out, bint out_channels_last, uint8_t[::1] places,
):
    """Normalize the images `z`; then ReLU if `relu`, and max-pooling if `pool` > 1, with `places` as in `_conv`."""
    cdef Job job = job_of((<object> z).shape, relu, pool, sizeof(real))
    cdef Py_ssize_t n_images = z.shape[0], n_channels = z.shape[3]
    if (
        mean.shape[0] != n_channels or scale.shape[0] != n_channels or shift.shape[0] != n_channels
        or out.shape[0] != n_images * job.out_size or (pool > 1 and places.shape[0] != out.shape[0])
    ):
        raise ValueError("the sizes of the buffers do not fit")
    if out.shape[0] == 0:
        return
    job.z, job.out = <const char *> &z[0, 0, 0, 0], <char *> &out[0]
    job.mean, job.scale, job.shift = <char *> &mean[0], <const char *> &scale[0], <const char *> &shift[0]
    job.layout = layout_of(n_channels, job.shape.h_out * job.shape.w_out, out_channels_last)
    if pool > 1:
        job.places = &places[0]
    with nogil:
        workers.run(forward_image, &job, n_images, POOL_MAX_THREADS)


cdef void gradient_image(void *context, Py_ssize_t image) noexcept nogil:
    cdef Job *job = <Job *> context
    cdef Py_ssize_t step = job.image_size * job.real_bytes, out_step = job.out_size * job.real_bytes
    job.kernels.gradient(
        &job.shape, job.z + image * step, job.mean, job.dout + image * out_step, job.out + image * out_step, job.layout,
        job.places + image * job.out_size if job.shape.pool > 1 else NULL, job.g + image * step,
        job.sums + image * 2 * job.shape.n_channels * job.real_bytes,
    )


def gradient(
    const real[:, :, :, ::1] z, const real[::1] mean, bint relu, Py_ssize_t pool, const real[::1] dout,
    const real[::1] out, bint out_channels_last, const uint8_t[::1] places, real[:, :, :, ::1] g, real[:, :, ::1] sums,
):
    """Fill `g`, the gradient of the normalized images, and for each image and channel the sums of g and g * (z - mean).

    `out` and `places` are what `forward` gave; without `relu` out is not read, with `pool` 1 the places are not.
    """
    cdef Job job = job_of((<object> z).shape, relu, pool, sizeof(real))
    cdef Py_ssize_t n_images = z.shape[0], n_channels = z.shape[3]
    if (
        (<object> g).shape != (<object> z).shape or mean.shape[0] != n_channels
        or dout.shape[0] != n_images * job.out_size or out.shape[0] != dout.shape[0]
        or (pool > 1 and places.shape[0] != dout.shape[0])
        or sums.shape[0] != n_images or sums.shape[1] != 2 or sums.shape[2] != n_channels
    ):
        raise ValueError("the sizes of the buffers do not fit")
    if dout.shape[0] == 0:
        sums[...] = 0
        return
    job.z, job.mean, job.dout = <const char *> &z[0, 0, 0, 0], <char *> &mean[0], <const char *> &dout[0]
    job.g, job.sums = <char *> &g[0, 0, 0, 0], <char *> &sums[0, 0, 0]
    job.layout = layout_of(n_channels, job.shape.h_out * job.shape.w_out, out_channels_last)
    job.out = <char *> &out[0]
    if pool > 1:
        job.places = <uint8_t *> &places[0]
    with nogil:
        workers.run(gradient_image, &job, n_images, POOL_MAX_THREADS)


cdef void through_image(void *context, Py_ssize_t image) noexcept nogil:
    cdef Job *job = <Job *> context
    cdef Py_ssize_t step = job.image_size * job.real_bytes
    job.kernels.through(
        &job.shape, job.z + image * step, job.mean, job.scale, job.shift, job.slope, job.g + image * step
    )


def through(
    const real[:, :, :, ::1] z, const real[::1] mean, const real[::1] scale, const real[::1] offset,
    const real[::1] slope, real[:, :, :, ::1] g,
):
    """Do g = scale * (g - offset - (z - mean) * slope) in place."""
    cdef Job job = job_of((<object> z).shape, False, 1, sizeof(real))
    cdef Py_ssize_t n_channels = z.shape[3]
    if (
        (<object> g).shape != (<object> z).shape or mean.shape[0] != n_channels or scale.shape[0] != n_channels
        or offset.shape[0] != n_channels or slope.shape[0] != n_channels
    ):
        raise ValueError("the sizes of the buffers do not fit")
    if z.shape[0] * z.shape[1] * z.shape[2] * z.shape[3] == 0:
        return
    job.z, job.g, job.mean = <const char *> &z[0, 0, 0, 0], <char *> &g[0, 0, 0, 0], <char *> &mean[0]
    job.scale, job.shift, job.slope = <const char *> &scale[0], <const char *> &offset[0], <const char *> &slope[0]
    with nogil:
        workers.run(through_image, &job, z.shape[0], POOL_MAX_THREADS)

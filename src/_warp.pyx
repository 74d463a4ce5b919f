"""Glue of resampling and blur: checks flat buffers, releases the GIL. All in the calling thread: whoever augments does
so beside the training step, from which this must not take the worker pool away."""

from libc.string cimport memset

from cnn_ext._threads import POOL

from pool cimport pool_functions, pool_of


cdef extern from "warp.h" nogil:
    enum:
        PAD_BEFORE
        PAD_AFTER
        LONGEST_SIDE
    ctypedef struct image_shape:
        Py_ssize_t n_channels, height, width
    void warp_affine_f32(const image_shape *, const float *, const float *, float, float *, float *)
    void warp_affine_f64(const image_shape *, const double *, const double *, double, double *, double *)
    void warp_flow_f32(const image_shape *, const float *, const float *, float, float *, float *)
    void warp_flow_f64(const image_shape *, const double *, const double *, double, double *, double *)
    void blur_plane_f32(Py_ssize_t, Py_ssize_t, const float *, const float *, Py_ssize_t, float *, float *)
    void blur_plane_f64(Py_ssize_t, Py_ssize_t, const double *, const double *, Py_ssize_t, double *, double *)

BORDER = PAD_BEFORE + PAD_AFTER  # rows, and columns, that `padded` has more than an image
MAX_SIDE = LONGEST_SIDE

cdef const pool_functions *workers = pool_of(POOL)

ctypedef fused real:
    float
    double

cdef enum:
    ONE_THREAD = 1  # of the pool's: the calling one

cdef struct Job:
    const void *x
    const void *places  # the Gaussian's weights in `blur`
    void *scratch
    void *out
    image_shape shape
    Py_ssize_t size, step, radius  # of an image or plane, of its places
    double fill
    bint wide, is_flow


cdef void warp_image(void *context, Py_ssize_t n) noexcept nogil:
    cdef Job *j = <Job *> context
    cdef Py_ssize_t begin = n * j.size, place = n * j.step
    if j.wide:
        (warp_flow_f64 if j.is_flow else warp_affine_f64)(
            &j.shape, <const double *> j.x + begin, <const double *> j.places + place, j.fill,
            <double *> j.scratch, <double *> j.out + begin,
        )
    else:
        (warp_flow_f32 if j.is_flow else warp_affine_f32)(
            &j.shape, <const float *> j.x + begin, <const float *> j.places + place, <float> j.fill,
            <float *> j.scratch, <float *> j.out + begin,
        )


def warp(const real[::1] x, const real[::1] places, double fill, real[::1] padded, real[::1] out, shape, bint is_flow):
    """Sample the images x of `shape` (N, C, H, W) where the matrices, or else the flow, of `places` say."""
    cdef Job job
    cdef image_shape *s = &job.shape
    cdef Py_ssize_t n_images
    memset(&job, 0, sizeof(Job))
    n_images, s.n_channels, s.height, s.width = shape
    if n_images == 0:
        return
    job.size = s.n_channels * s.height * s.width
    job.step = 2 * s.height * s.width if is_flow else 6
    if (
        min(s.n_channels, s.height, s.width) < 1 or max(s.height, s.width) > LONGEST_SIDE
        or x.shape[0] != n_images * job.size or out.shape[0] != x.shape[0] or places.shape[0] != n_images * job.step
        or padded.shape[0] != s.n_channels * (s.height + BORDER) * (s.width + BORDER)
    ):
        raise ValueError("the sizes of the buffers do not fit")
    job.x, job.places, job.scratch, job.out = &x[0], &places[0], &padded[0], &out[0]
    job.fill, job.wide, job.is_flow = fill, sizeof(real) == 8, is_flow
    with nogil:
        workers.run(warp_image, &job, n_images, ONE_THREAD)


cdef void blur_plane(void *context, Py_ssize_t plane) noexcept nogil:
    cdef Job *j = <Job *> context
    cdef Py_ssize_t begin = plane * j.size
    if j.wide:
        blur_plane_f64(
            j.shape.height, j.shape.width, <const double *> j.x + begin, <const double *> j.places, j.radius,
            <double *> j.scratch, <double *> j.out + begin,
        )
    else:
        blur_plane_f32(
            j.shape.height, j.shape.width, <const float *> j.x + begin, <const float *> j.places, j.radius,
            <float *> j.scratch, <float *> j.out + begin,
        )


def blur(
    const real[::1] x, const real[::1] weights, real[::1] scratch, real[::1] out, Py_ssize_t height, Py_ssize_t width
):
    """Blur each plane (height, width) of x with the weights, the middle one first."""
    cdef Job job
    memset(&job, 0, sizeof(Job))
    if x.shape[0] == 0:
        return
    job.radius, job.size = weights.shape[0] - 1, height * width
    if (
        height < 1 or width < 1 or job.radius < 0 or x.shape[0] % job.size != 0 or out.shape[0] != x.shape[0]
        or scratch.shape[0] != (height + 2 * job.radius + 1) * width + 2 * job.radius
    ):
        raise ValueError("the sizes of the buffers do not fit")
    if x.shape[0] == 0:
        return
    job.shape.height, job.shape.width, job.wide = height, width, sizeof(real) == 8
    job.x, job.places, job.scratch, job.out = &x[0], &weights[0], &scratch[0], &out[0]
    with nogil:
        workers.run(blur_plane, &job, x.shape[0] // job.size, ONE_THREAD)

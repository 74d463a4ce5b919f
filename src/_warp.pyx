"""Glue of resampling and blur: checks flat buffers, releases the GIL. All in the calling thread: whoever augments does
so beside the training step, whose worker pool this must not wait for."""


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

ctypedef fused real:
    float
    double


def warp(const real[::1] x, const real[::1] places, double fill, real[::1] padded, real[::1] out, shape, bint is_flow):
    """Sample the images x of `shape` (N, C, H, W) where the matrices, or else the flow, of `places` say."""
    cdef image_shape s
    cdef Py_ssize_t n_images, n, size, step
    n_images, s.n_channels, s.height, s.width = shape
    if n_images == 0:
        return
    size = s.n_channels * s.height * s.width
    step = 2 * s.height * s.width if is_flow else 6
    if (
        min(s.n_channels, s.height, s.width) < 1 or max(s.height, s.width) > LONGEST_SIDE
        or x.shape[0] != n_images * size or out.shape[0] != x.shape[0] or places.shape[0] != n_images * step
        or padded.shape[0] != s.n_channels * (s.height + BORDER) * (s.width + BORDER)
    ):
        raise ValueError("the sizes of the buffers do not fit")
    with nogil:
        for n in range(n_images):
            if real is float:
                if is_flow:
                    warp_flow_f32(&s, &x[n * size], &places[n * step], <float> fill, &padded[0], &out[n * size])
                else:
                    warp_affine_f32(&s, &x[n * size], &places[n * step], <float> fill, &padded[0], &out[n * size])
            else:
                if is_flow:
                    warp_flow_f64(&s, &x[n * size], &places[n * step], fill, &padded[0], &out[n * size])
                else:
                    warp_affine_f64(&s, &x[n * size], &places[n * step], fill, &padded[0], &out[n * size])


def blur(
    const real[::1] x, const real[::1] weights, real[::1] scratch, real[::1] out, Py_ssize_t height, Py_ssize_t width
):
    """Blur each plane (height, width) of x with the weights, the middle one first."""
    cdef Py_ssize_t radius = weights.shape[0] - 1, size = height * width, plane, begin
    if (
        height < 1 or width < 1 or radius < 0 or x.shape[0] % size != 0 or out.shape[0] != x.shape[0]
        or scratch.shape[0] != (height + 2 * radius + 1) * width + 2 * radius
    ):
        raise ValueError("the sizes of the buffers do not fit")
    with nogil:
        for plane in range(x.shape[0] // size):
            begin = plane * size
            if real is float:
                blur_plane_f32(height, width, &x[begin], &weights[0], radius, &scratch[0], &out[begin])
            else:
                blur_plane_f64(height, width, &x[begin], &weights[0], radius, &scratch[0], &out[begin])

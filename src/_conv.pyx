"""Glue of the convolution: checks flat buffers, shares images over the threads.

The way back sums over images in chunks of a fixed size, each into its own partial sum; the partial sums are then added in
a binary tree over the chunks. So the result does not depend on who worked on what.
"""

from libc.stdint cimport uint8_t
from libc.string cimport memset

from cnn_ext._threads import INSTRUCTION_SET, POOL_RUN

from pool cimport pool_run_of, run_function


cdef extern from "conv.h" nogil:
    ctypedef struct conv_shape:
        Py_ssize_t n_channels, height, width
        Py_ssize_t n_filter, h_filter, w_filter
        Py_ssize_t padding, stride
        Py_ssize_t h_conv, w_conv
        Py_ssize_t pool
        Py_ssize_t h_out, w_out
        Py_ssize_t filters_padded, run, run_padded
        Py_ssize_t padded_row, padded_size

    ctypedef struct conv_layout:
        Py_ssize_t channel_stride, pixel_stride

    ctypedef struct conv_kernels:
        Py_ssize_t real_bytes, lanes, entry_bytes
        void (*pack_forward)(const conv_shape *, const void *w, void *forward) noexcept nogil
        void (*pack_back)(const conv_shape *, const void *w, void *back) noexcept nogil
        void (*unpack_back)(const conv_shape *, const void *back, void *w) noexcept nogil
        void (*pad)(const conv_shape *, const void *x, conv_layout, void *padded) noexcept nogil
        void (*unpad)(const conv_shape *, const void *padded, void *x, conv_layout) noexcept nogil
        void (*forward)(const conv_shape *, const void *padded, const void *weights, const void *bias, void *out,
                     conv_layout, uint8_t *places) noexcept nogil
        void (*list_by_filter)(const conv_shape *, const void *dout, const void *out, conv_layout, const uint8_t *places,
                            void *entries, Py_ssize_t *starts) noexcept nogil
        void (*weight_gradient)(const conv_shape *, const void *padded, const void *entries, const Py_ssize_t *starts,
                             void *dw, void *db) noexcept nogil
        void (*sort_by_patch)(const conv_shape *, const void *entries, Py_ssize_t n, void *sorted, Py_ssize_t *counts) noexcept nogil
        void (*input_gradient)(const conv_shape *, const void *sorted, Py_ssize_t n, const void *back, void *dpadded) noexcept nogil
        void (*add)(void *target, const void *source, Py_ssize_t begin, Py_ssize_t end) noexcept nogil

    const conv_kernels *conv_table(int avx2, int real_bytes)


cdef run_function run = pool_run_of(POOL_RUN)

ctypedef fused real:
    float
    double

cdef enum:
    IMAGES_PER_SUM = 5  # images whose gradients are summed one after the other; never to depend on the threads
    NUMBERS_PER_SUM = 4096  # of a gradient, added up by one call over all partial sums


cdef bint use_avx2 = INSTRUCTION_SET == "avx2"


cdef struct Job:
    const conv_kernels *kernels
    const conv_shape *shape
    Py_ssize_t n_images
    # forward, by bytes from one image to the next
    const char *x
    conv_layout x_layout
    Py_ssize_t x_step
    char *padded
    Py_ssize_t padded_step
    const char *weights
    const char *bias
    char *out
    conv_layout out_layout
    Py_ssize_t out_step
    uint8_t *places
    Py_ssize_t places_step
    # backward
    const char *dout
    char *dx
    const char *back
    char *scratch
    Py_ssize_t scratch_step
    char *partial
    Py_ssize_t partial_step


cdef conv_shape shape_of(windows, Py_ssize_t n_filter, Py_ssize_t pool, Py_ssize_t lanes) except *:
    """The C form of a checked `Windows` tuple over the convolution's input."""
    cdef conv_shape s
    _, s.n_channels, s.height, s.width, s.h_filter, s.w_filter, s.padding, s.stride, s.h_conv, s.w_conv = windows
    s.n_filter, s.pool = n_filter, pool
    s.h_out, s.w_out = s.h_conv // pool, s.w_conv // pool
    s.filters_padded = round_up(n_filter, lanes)
    s.run = s.w_filter * s.n_channels
    s.run_padded = round_up(s.run, lanes)
    s.padded_row = (s.width + 2 * s.padding) * s.n_channels
    # A vector that starts inside a patch may end past it, and past the image.
    s.padded_size = round_up((s.height + 2 * s.padding) * s.padded_row + s.run_padded, 16)
    return s


cdef inline Py_ssize_t round_up(Py_ssize_t n, Py_ssize_t unit) noexcept nogil:
    return (n + unit - 1) // unit * unit


cdef inline conv_layout layout_of(Py_ssize_t n_channels, Py_ssize_t n_pixels, bint channels_last) noexcept nogil:
    cdef conv_layout layout
    layout.channel_stride = 1 if channels_last else n_pixels
    layout.pixel_stride = n_channels if channels_last else 1
    return layout


cdef inline Py_ssize_t scratch_bytes(const conv_shape *s, const conv_kernels *k) noexcept nogil:
    """For one chunk: two lists, their starts and counts, and a padded gradient."""
    cdef Py_ssize_t n_entries = s.h_out * s.w_out * s.n_filter
    cdef Py_ssize_t numbers = s.n_filter + 1 + s.padded_size // s.n_channels + 1
    return round_up(2 * n_entries * k.entry_bytes + numbers * sizeof(Py_ssize_t) + s.padded_size * k.real_bytes, 64)


cdef inline Py_ssize_t partial_size(const conv_shape *s) noexcept nogil:
    """Numbers of one partial sum: dW and db."""
    return round_up(s.h_filter * s.n_filter * s.run_padded + s.n_filter, 16)


def buffer_sizes(int real_bytes, windows, Py_ssize_t n_filter, Py_ssize_t pool):
    """Return the sizes of the buffers `forward` and `backward` want for a batch.

    padded (numbers), packed weights forward and back (numbers), scratch (bytes), partial sums (numbers).
    """
    cdef const conv_kernels *k = conv_table(use_avx2, real_bytes)
    cdef conv_shape s = shape_of(windows, n_filter, pool, k.lanes)
    cdef Py_ssize_t n_images = windows[0]
    cdef Py_ssize_t n_chunks = (n_images + IMAGES_PER_SUM - 1) // IMAGES_PER_SUM
    return (
        n_images * s.padded_size,
        s.h_filter * s.run * s.filters_padded + s.filters_padded,
        s.h_filter * s.n_filter * s.run_padded,
        n_chunks * scratch_bytes(&s, k),
        n_chunks * partial_size(&s),
    )


cdef void forward_image(void *context, Py_ssize_t image) noexcept nogil:
    cdef Job *job = <Job *> context
    cdef char *padded = job.padded + image * job.padded_step
    job.kernels.pad(job.shape, job.x + image * job.x_step, job.x_layout, padded)
    job.kernels.forward(
        job.shape, padded, job.weights, job.bias, job.out + image * job.out_step, job.out_layout,
        job.places + image * job.places_step,
    )


def forward(
    windows, Py_ssize_t pool, const real[::1] x, bint x_channels_last, const real[::1] w, const real[::1] b,
    real[::1] padded, real[::1] packed, real[::1] out, bint out_channels_last, uint8_t[::1] places,
):
    """Convolve the images `x` with `w` and add `b`; with `pool` > 1 also ReLU and max-pooling.

    All buffers are flat. `padded` keeps the padded images for `backward`; its borders must be zero, and stay so.
    `places` gets each winner's place, channels last; with `pool` 1 it may be of any size.
    """
    cdef const conv_kernels *k = conv_table(use_avx2, sizeof(real))
    cdef Py_ssize_t n_filter = b.shape[0], n_images = windows[0]
    cdef conv_shape s = shape_of(windows, n_filter, pool, k.lanes)
    cdef Py_ssize_t image_size = s.n_channels * s.height * s.width, out_size = n_filter * s.h_out * s.w_out
    cdef Py_ssize_t packed_size = s.h_filter * s.run * s.filters_padded
    cdef Py_ssize_t i
    cdef Job job
    if (
        x.shape[0] != n_images * image_size or w.shape[0] != n_filter * s.run * s.h_filter
        or padded.shape[0] != n_images * s.padded_size or packed.shape[0] != packed_size + s.filters_padded
        or out.shape[0] != n_images * out_size or (pool > 1 and places.shape[0] != out.shape[0])
    ):
        raise ValueError("the sizes of the buffers do not fit the geometry")
    if n_images == 0:
        return
    memset(&job, 0, sizeof(Job))
    job.kernels, job.shape = k, &s
    job.x, job.x_layout = <const char *> &x[0], layout_of(s.n_channels, s.height * s.width, x_channels_last)
    job.x_step = image_size * sizeof(real)
    job.padded, job.padded_step = <char *> &padded[0], s.padded_size * sizeof(real)
    job.weights, job.bias = <const char *> &packed[0], <const char *> &packed[packed_size]
    job.out, job.out_layout = <char *> &out[0], layout_of(n_filter, s.h_out * s.w_out, out_channels_last)
    job.out_step = out_size * sizeof(real)
    if pool > 1:
        job.places, job.places_step = &places[0], out_size
    with nogil:
        k.pack_forward(&s, &w[0], &packed[0])
        for i in range(s.filters_padded):
            packed[packed_size + i] = b[i] if i < n_filter else 0
        run(forward_image, &job, n_images)


cdef void pad_image(void *context, Py_ssize_t image) noexcept nogil:
    cdef Job *job = <Job *> context
    job.kernels.pad(job.shape, job.x + image * job.x_step, job.x_layout, job.padded + image * job.padded_step)


def pad_images(windows, Py_ssize_t n_filter, const real[::1] x, real[::1] padded):
    """Fill `padded` as `forward` does, from images with channels first."""
    cdef const conv_kernels *k = conv_table(use_avx2, sizeof(real))
    cdef conv_shape s = shape_of(windows, n_filter, 1, k.lanes)
    cdef Py_ssize_t n_images = windows[0], image_size = s.n_channels * s.height * s.width
    cdef Job job
    if x.shape[0] != n_images * image_size or padded.shape[0] != n_images * s.padded_size:
        raise ValueError("the sizes of the buffers do not fit the geometry")
    if n_images == 0:
        return
    memset(&job, 0, sizeof(Job))
    job.kernels, job.shape = k, &s
    job.x, job.x_layout = <const char *> &x[0], layout_of(s.n_channels, s.height * s.width, False)
    job.x_step = image_size * sizeof(real)
    job.padded, job.padded_step = <char *> &padded[0], s.padded_size * sizeof(real)
    with nogil:
        run(pad_image, &job, n_images)


cdef void backward_chunk(void *context, Py_ssize_t chunk) noexcept nogil:
    cdef Job *job = <Job *> context
    cdef const conv_kernels *k = job.kernels
    cdef const conv_shape *s = job.shape
    cdef char *entries = job.scratch + chunk * job.scratch_step
    cdef Py_ssize_t list_bytes = s.h_out * s.w_out * s.n_filter * k.entry_bytes
    cdef char *sorted_entries = entries + list_bytes
    cdef Py_ssize_t *starts = <Py_ssize_t *> (sorted_entries + list_bytes)
    cdef Py_ssize_t *counts = starts + s.n_filter + 1
    cdef char *dpadded = <char *> (counts + s.padded_size // s.n_channels + 1)
    cdef char *dw = job.partial + chunk * job.partial_step
    cdef char *db = dw + s.h_filter * s.n_filter * s.run_padded * k.real_bytes
    cdef Py_ssize_t image, first = chunk * IMAGES_PER_SUM

    memset(dw, 0, job.partial_step)
    for image in range(first, min(first + IMAGES_PER_SUM, job.n_images)):
        k.list_by_filter(
            s, job.dout + image * job.out_step, job.out + image * job.out_step, job.out_layout,
            job.places + image * job.places_step, entries, starts,
        )
        k.weight_gradient(s, job.padded + image * job.padded_step, entries, starts, dw, db)
        if job.dx != NULL:
            k.sort_by_patch(s, entries, starts[s.n_filter], sorted_entries, counts)
            k.input_gradient(s, sorted_entries, starts[s.n_filter], job.back, dpadded)
            k.unpad(s, dpadded, job.dx + image * job.x_step, job.x_layout)


cdef void add_partial_sums(void *context, Py_ssize_t part) noexcept nogil:
    """Add the partial sums into the first, in a binary tree, for one stretch of their numbers."""
    cdef Job *job = <Job *> context
    cdef Py_ssize_t n_chunks = (job.n_images + IMAGES_PER_SUM - 1) // IMAGES_PER_SUM
    cdef Py_ssize_t begin = part * NUMBERS_PER_SUM
    cdef Py_ssize_t end = min(begin + NUMBERS_PER_SUM, job.partial_step // job.kernels.real_bytes)
    cdef Py_ssize_t gap = 1, chunk
    while gap < n_chunks:
        chunk = 0
        while chunk + gap < n_chunks:
            job.kernels.add(
                job.partial + chunk * job.partial_step, job.partial + (chunk + gap) * job.partial_step, begin, end
            )
            chunk += 2 * gap
        gap *= 2


def backward(
    windows, Py_ssize_t pool, const real[::1] dout, const real[::1] out, bint out_channels_last, const uint8_t[::1] places,
    const real[::1] padded, const real[::1] w, real[::1] packed, uint8_t[::1] scratch, real[::1] partial,
    real[::1] dw, real[::1] db, real[::1] dx, bint x_channels_last,
):
    """Fill `dw`, `db` and, unless it is empty, `dx` from the gradient `dout`; the rest is what `forward` left.

    `scratch` and `partial` are of the sizes `buffer_sizes` tells. With `pool` 1, `out` and `places` may be empty.
    """
    cdef const conv_kernels *k = conv_table(use_avx2, sizeof(real))
    cdef Py_ssize_t n_filter = db.shape[0], n_images = windows[0]
    cdef conv_shape s = shape_of(windows, n_filter, pool, k.lanes)
    cdef Py_ssize_t image_size = s.n_channels * s.height * s.width, out_size = n_filter * s.h_out * s.w_out
    cdef Py_ssize_t n_chunks = (n_images + IMAGES_PER_SUM - 1) // IMAGES_PER_SUM
    cdef Py_ssize_t dw_size = s.h_filter * n_filter * s.run_padded, i
    cdef Job job
    if (
        dout.shape[0] != n_images * out_size or padded.shape[0] != n_images * s.padded_size
        or w.shape[0] != n_filter * s.run * s.h_filter or dw.shape[0] != w.shape[0] or packed.shape[0] != dw_size
        or (dx.shape[0] != 0 and dx.shape[0] != n_images * image_size)
        or scratch.shape[0] != n_chunks * scratch_bytes(&s, k) or partial.shape[0] != n_chunks * partial_size(&s)
        or (pool > 1 and (out.shape[0] != dout.shape[0] or places.shape[0] != dout.shape[0]))
    ):
        raise ValueError("the sizes of the buffers do not fit the geometry")
    if n_images == 0:
        dw[:] = 0
        db[:] = 0
        return
    memset(&job, 0, sizeof(Job))
    job.kernels, job.shape, job.n_images = k, &s, n_images
    job.dout, job.out_layout = <const char *> &dout[0], layout_of(n_filter, s.h_out * s.w_out, out_channels_last)
    job.out_step = out_size * sizeof(real)
    if pool > 1:
        job.out, job.places, job.places_step = <char *> &out[0], <uint8_t *> &places[0], out_size
    job.padded, job.padded_step = <char *> &padded[0], s.padded_size * sizeof(real)
    job.back = <const char *> &packed[0]
    job.scratch, job.scratch_step = <char *> &scratch[0], scratch_bytes(&s, k)
    job.partial, job.partial_step = <char *> &partial[0], partial_size(&s) * sizeof(real)
    if dx.shape[0] != 0:
        job.dx, job.x_layout = <char *> &dx[0], layout_of(s.n_channels, s.height * s.width, x_channels_last)
        job.x_step = image_size * sizeof(real)
    with nogil:
        if job.dx != NULL:
            k.pack_back(&s, &w[0], &packed[0])
        run(backward_chunk, &job, n_chunks)
        run(add_partial_sums, &job, (partial_size(&s) + NUMBERS_PER_SUM - 1) // NUMBERS_PER_SUM)
        k.unpack_back(&s, &partial[0], &dw[0])
        for i in range(n_filter):
            db[i] = partial[dw_size + i]

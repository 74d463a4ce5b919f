"""Glue of the convolution: checks flat buffers, shares images over the threads.

The way back sums over images in chunks, each into its own partial sum; the partial sums are then added in a binary tree
over the chunks. So the result does not depend on who worked on what.
"""

from libc.stdint cimport INT32_MAX, int32_t, uint8_t
from libc.string cimport memset

from cnn_ext._threads import POOL_RUN, SET_NUMBER

from layout cimport image_layout, layout_of
from pool cimport pool_run_of, run_function


cdef extern from "conv.h" nogil:
    ctypedef struct conv_shape:
        Py_ssize_t n_channels, height, width
        Py_ssize_t n_filter, h_filter, w_filter
        Py_ssize_t padding, stride
        Py_ssize_t h_conv, w_conv
        Py_ssize_t relu, pool
        Py_ssize_t h_out, w_out
        Py_ssize_t filters_padded, run, run_padded
        Py_ssize_t padded_row, padded_size

    ctypedef struct conv_pixel:
        pass

    ctypedef struct conv_lists:
        void *by_filter
        int32_t *n_of_filter
        void *by_pixel
        conv_pixel *pixels
        conv_pixel *sorted
        int32_t *alive

    ctypedef struct conv_kernels:
        Py_ssize_t real_bytes, lanes, entry_bytes
        void (*pack_forward)(const conv_shape *, const void *w, void *forward) noexcept nogil
        void (*pack_back)(const conv_shape *, const void *w, void *back) noexcept nogil
        void (*unpack_back)(const conv_shape *, const void *back, void *w) noexcept nogil
        void (*pad)(const conv_shape *, const void *x, image_layout, void *padded) noexcept nogil
        void (*unpad)(const conv_shape *, const void *padded, void *x, image_layout) noexcept nogil
        void (*forward)(const conv_shape *, const void *padded, const void *weights, const void *bias, void *out,
                        image_layout, uint8_t *places) noexcept nogil
        void (*list_gradients)(const conv_shape *, const void *dout, const void *out, image_layout,
                               const uint8_t *places, conv_lists) noexcept nogil
        void (*sparse_weight_gradient)(const conv_shape *, const void *padded, conv_lists, void *dw, void *db) noexcept nogil
        void (*sparse_input_gradient)(const conv_shape *, conv_lists, const void *back, void *dpadded) noexcept nogil
        void (*gradient_image)(const conv_shape *, const void *dout, const void *out, image_layout,
                               void *gradient) noexcept nogil
        void (*dense_weight_gradient)(const conv_shape *, const void *padded, const void *gradient, void *dw,
                                      void *db) noexcept nogil
        void (*dense_input_gradient)(const conv_shape *, const void *gradient, const void *back,
                                     void *dpadded) noexcept nogil
        void (*add)(void *target, const void *source, Py_ssize_t begin, Py_ssize_t end) noexcept nogil

    const conv_kernels *conv_table(int instruction_set, int real_bytes)


cdef extern from "instruction_sets.h" nogil:
    int SET_AVX2, SET_AVX512


cdef run_function run = pool_run_of(POOL_RUN)

ctypedef fused real:
    float
    double

cdef enum:
    # Images are shared into chunks, each summed by itself, by a rule on their number alone: 10 chunks of up to 5
    # images, which two threads share evenly; of more images, up to 16 chunks.
    FEW_IMAGES = 5
    CHUNKS_OF_FEW = 10
    MOST_CHUNKS = 16
    NUMBERS_PER_SUM = 4096  # of a gradient, added up by one call over all partial sums

cdef int chosen_set = SET_NUMBER


cdef struct Plan:
    const conv_kernels *forth  # each way with the vectors that suit it
    const conv_kernels *back
    conv_shape shape
    Py_ssize_t n_images
    Py_ssize_t image_size, out_size, w_size  # numbers of an image, of its result, of the weights
    Py_ssize_t forward_size, back_size  # numbers of the packed weights
    Py_ssize_t n_chunks, images_per_chunk
    Py_ssize_t scratch_step, partial_step  # of one chunk: bytes, numbers


cdef struct Job:
    Plan plan
    # by bytes from one image to the next
    const char *x
    image_layout x_layout
    Py_ssize_t x_step
    char *padded
    Py_ssize_t padded_step
    const char *weights
    const char *bias
    char *out
    image_layout out_layout
    Py_ssize_t out_step
    uint8_t *places
    Py_ssize_t places_step
    # the way back
    const char *dout
    char *dx
    const char *filters
    char *scratch
    char *partial
    Py_ssize_t partial_bytes


cdef inline Py_ssize_t round_up(Py_ssize_t n, Py_ssize_t unit) noexcept nogil:
    return (n + unit - 1) // unit * unit


cdef const conv_kernels *kernels_for(Py_ssize_t n_wide, int real_bytes) noexcept:
    """The chosen set; where numbers lie side by side only `n_wide` at a time, not the widest vectors."""
    if chosen_set == SET_AVX512 and 2 * n_wide <= conv_table(SET_AVX512, real_bytes).lanes:
        return conv_table(SET_AVX2, real_bytes)
    return conv_table(chosen_set, real_bytes)


cdef Plan plan_of(windows, Py_ssize_t n_filter, bint relu, Py_ssize_t pool, int real_bytes) except *:
    """Everything that follows from a checked `Windows` tuple over the convolution's input, and what comes behind."""
    cdef Plan plan
    cdef conv_shape *s = &plan.shape
    plan.n_images, s.n_channels, s.height, s.width, s.h_filter, s.w_filter, s.padding, s.stride, s.h_conv, s.w_conv = windows
    s.n_filter, s.relu, s.pool = n_filter, relu, pool
    s.h_out, s.w_out = s.h_conv // pool, s.w_conv // pool
    s.run = s.w_filter * s.n_channels
    plan.forth, plan.back = kernels_for(n_filter, real_bytes), kernels_for(s.run, real_bytes)
    s.filters_padded = round_up(n_filter, plan.forth.lanes)
    s.run_padded = round_up(s.run, plan.back.lanes)
    s.padded_row = (s.width + 2 * s.padding) * s.n_channels
    # A vector that starts inside a patch may end past it, and past the image.
    s.padded_size = round_up((s.height + 2 * s.padding) * s.padded_row + s.run_padded, 16)
    plan.image_size = s.n_channels * s.height * s.width
    plan.out_size = n_filter * s.h_out * s.w_out
    plan.w_size = n_filter * s.h_filter * s.run
    plan.forward_size = s.h_filter * s.run * s.filters_padded
    plan.back_size = n_filter * s.h_filter * s.run_padded
    plan.images_per_chunk = max(
        1,
        min(FEW_IMAGES, (plan.n_images + CHUNKS_OF_FEW - 1) // CHUNKS_OF_FEW),
        (plan.n_images + MOST_CHUNKS - 1) // MOST_CHUNKS,
    )
    plan.n_chunks = (plan.n_images + plan.images_per_chunk - 1) // plan.images_per_chunk
    plan.partial_step = round_up(plan.back_size + n_filter, 16)
    if s.padded_size > INT32_MAX or s.h_conv * s.w_conv * n_filter + n_filter > INT32_MAX:
        raise ValueError("images of more than 2**31 - 1 numbers are too large for the convolution")
    plan.scratch_step = round_up(
        s.padded_size * real_bytes
        + (s.h_conv * s.w_conv * n_filter * real_bytes if pool == 1 else lists_bytes(&plan)), 64
    )
    return plan


cdef inline Py_ssize_t lists_bytes(const Plan *plan) noexcept nogil:
    cdef const conv_shape *s = &plan.shape
    cdef Py_ssize_t n_pixels = s.h_out * s.w_out * s.pool * s.pool
    return (
        2 * plan.out_size * plan.back.entry_bytes + 2 * n_pixels * sizeof(conv_pixel)
        + (2 * s.n_filter + 1) * sizeof(int32_t)
    )


def buffer_sizes(int real_bytes, windows, Py_ssize_t n_filter, bint relu, Py_ssize_t pool):
    """Return the sizes of the buffers `forward` and `backward` want for a batch.

    padded (numbers), packed weights forward and back (numbers), scratch (bytes), partial sums (numbers).
    """
    cdef Plan plan = plan_of(windows, n_filter, relu, pool, real_bytes)
    return (
        plan.n_images * plan.shape.padded_size,
        plan.forward_size + plan.shape.filters_padded,
        plan.back_size,
        plan.n_chunks * plan.scratch_step,
        plan.n_chunks * plan.partial_step,
    )


cdef void forward_image(void *context, Py_ssize_t image) noexcept nogil:
    cdef Job *job = <Job *> context
    cdef const conv_shape *s = &job.plan.shape
    cdef char *padded = job.padded + image * job.padded_step
    job.plan.forth.pad(s, job.x + image * job.x_step, job.x_layout, padded)
    job.plan.forth.forward(
        s, padded, job.weights, job.bias, job.out + image * job.out_step, job.out_layout,
        job.places + image * job.places_step,
    )


def forward(
    windows, bint relu, Py_ssize_t pool, const real[::1] x, bint x_channels_last, const real[::1] w, const real[::1] b,
    real[::1] padded, real[::1] packed, real[::1] out, bint out_channels_last, uint8_t[::1] places,
):
    """Convolve the images `x` with `w` and add `b`; then ReLU if `relu`, and max-pooling if `pool` > 1.

    All buffers are flat. `padded` keeps the padded images for `backward`; its borders must be zero, and stay so.
    `places` gets each winner's place, channels last; with `pool` 1 it may be of any size. Pooling wants `relu`.
    """
    cdef Py_ssize_t n_filter = b.shape[0], i
    cdef Job job
    memset(&job, 0, sizeof(Job))
    job.plan = plan_of(windows, n_filter, relu, pool, sizeof(real))
    cdef Plan *plan = &job.plan
    cdef conv_shape *s = &plan.shape
    if (
        x.shape[0] != plan.n_images * plan.image_size or w.shape[0] != plan.w_size
        or padded.shape[0] != plan.n_images * s.padded_size or packed.shape[0] != plan.forward_size + s.filters_padded
        or out.shape[0] != plan.n_images * plan.out_size or (pool > 1 and places.shape[0] != out.shape[0])
        or (pool > 1 and not relu)
    ):
        raise ValueError("the sizes of the buffers do not fit the geometry")
    if plan.n_images == 0:
        return
    job.x, job.x_layout = <const char *> &x[0], layout_of(s.n_channels, s.height * s.width, x_channels_last)
    job.x_step = plan.image_size * sizeof(real)
    job.padded, job.padded_step = <char *> &padded[0], s.padded_size * sizeof(real)
    job.weights, job.bias = <const char *> &packed[0], <const char *> &packed[plan.forward_size]
    job.out, job.out_layout = <char *> &out[0], layout_of(n_filter, s.h_out * s.w_out, out_channels_last)
    job.out_step = plan.out_size * sizeof(real)
    if pool > 1:
        job.places, job.places_step = &places[0], plan.out_size
    with nogil:
        plan.forth.pack_forward(s, &w[0], &packed[0])
        for i in range(s.filters_padded):
            packed[plan.forward_size + i] = b[i] if i < n_filter else 0
        run(forward_image, &job, plan.n_images)


cdef void pad_image(void *context, Py_ssize_t image) noexcept nogil:
    cdef Job *job = <Job *> context
    job.plan.forth.pad(&job.plan.shape, job.x + image * job.x_step, job.x_layout, job.padded + image * job.padded_step)


def pad_images(windows, Py_ssize_t n_filter, const real[::1] x, real[::1] padded):
    """Fill `padded` as `forward` does, from images with channels first."""
    cdef Job job
    memset(&job, 0, sizeof(Job))
    job.plan = plan_of(windows, n_filter, False, 1, sizeof(real))
    cdef Plan *plan = &job.plan
    cdef conv_shape *s = &plan.shape
    if x.shape[0] != plan.n_images * plan.image_size or padded.shape[0] != plan.n_images * s.padded_size:
        raise ValueError("the sizes of the buffers do not fit the geometry")
    if plan.n_images == 0:
        return
    job.x, job.x_layout = <const char *> &x[0], layout_of(s.n_channels, s.height * s.width, False)
    job.x_step = plan.image_size * sizeof(real)
    job.padded, job.padded_step = <char *> &padded[0], s.padded_size * sizeof(real)
    with nogil:
        run(pad_image, &job, plan.n_images)


cdef void backward_chunk(void *context, Py_ssize_t chunk) noexcept nogil:
    cdef Job *job = <Job *> context
    cdef const Plan *plan = &job.plan
    cdef Py_ssize_t image, first = chunk * plan.images_per_chunk
    memset(job.partial + chunk * job.partial_bytes, 0, job.partial_bytes)
    for image in range(first, min(first + plan.images_per_chunk, plan.n_images)):
        if plan.shape.pool > 1:
            backward_sparse(job, image, chunk)
        else:
            backward_dense(job, image, chunk)


cdef void backward_sparse(Job *job, Py_ssize_t image, Py_ssize_t chunk) noexcept nogil:
    cdef const conv_kernels *k = job.plan.back
    cdef const conv_shape *s = &job.plan.shape
    cdef char *dw = job.partial + chunk * job.partial_bytes
    cdef char *db = dw + job.plan.back_size * k.real_bytes
    cdef char *dpadded = job.scratch + chunk * job.plan.scratch_step
    cdef char *by_filter = dpadded + s.padded_size * k.real_bytes
    cdef char *by_pixel = by_filter + job.plan.out_size * k.entry_bytes
    cdef conv_lists lists
    lists.by_filter = by_filter
    lists.by_pixel = by_pixel if job.dx != NULL else NULL
    lists.pixels = <conv_pixel *> (by_pixel + job.plan.out_size * k.entry_bytes)
    lists.sorted = lists.pixels + s.h_out * s.w_out * s.pool * s.pool
    lists.n_of_filter = <int32_t *> (lists.sorted + s.h_out * s.w_out * s.pool * s.pool)
    lists.alive = lists.n_of_filter + s.n_filter
    k.list_gradients(
        s, job.dout + image * job.out_step, job.out + image * job.out_step, job.out_layout,
        job.places + image * job.places_step, lists,
    )
    k.sparse_weight_gradient(s, job.padded + image * job.padded_step, lists, dw, db)
    if job.dx != NULL:
        k.sparse_input_gradient(s, lists, job.filters, dpadded)
        k.unpad(s, dpadded, job.dx + image * job.x_step, job.x_layout)


cdef void backward_dense(Job *job, Py_ssize_t image, Py_ssize_t chunk) noexcept nogil:
    cdef const conv_kernels *k = job.plan.back
    cdef const conv_shape *s = &job.plan.shape
    cdef char *dw = job.partial + chunk * job.partial_bytes
    cdef char *db = dw + job.plan.back_size * k.real_bytes
    cdef char *dpadded = job.scratch + chunk * job.plan.scratch_step
    cdef const char *gradient = job.dout + image * job.out_step
    if s.relu or job.out_layout.channel_stride != 1:
        k.gradient_image(
            s, gradient, job.out + image * job.out_step, job.out_layout, dpadded + s.padded_size * k.real_bytes
        )
        gradient = dpadded + s.padded_size * k.real_bytes
    k.dense_weight_gradient(s, job.padded + image * job.padded_step, gradient, dw, db)
    if job.dx != NULL:
        k.dense_input_gradient(s, gradient, job.filters, dpadded)
        k.unpad(s, dpadded, job.dx + image * job.x_step, job.x_layout)


cdef void add_partial_sums(void *context, Py_ssize_t part) noexcept nogil:
    """Add the partial sums into the first, in a binary tree, for one stretch of their numbers."""
    cdef Job *job = <Job *> context
    cdef Py_ssize_t begin = part * NUMBERS_PER_SUM
    cdef Py_ssize_t end = min(begin + NUMBERS_PER_SUM, job.plan.partial_step)
    cdef Py_ssize_t gap = 1, chunk
    while gap < job.plan.n_chunks:
        chunk = 0
        while chunk + gap < job.plan.n_chunks:
            job.plan.back.add(
                job.partial + chunk * job.partial_bytes, job.partial + (chunk + gap) * job.partial_bytes, begin, end
            )
            chunk += 2 * gap
        gap *= 2


def backward(
    windows, bint relu, Py_ssize_t pool, const real[::1] dout, const real[::1] out, bint out_channels_last,
    const uint8_t[::1] places, const real[::1] padded, const real[::1] w, real[::1] packed, uint8_t[::1] scratch,
    real[::1] partial, real[::1] dw, real[::1] db, real[::1] dx, bint x_channels_last,
):
    """Fill `dw`, `db` and, unless it is empty, `dx` from the gradient `dout`; the rest is what `forward` left.

    `scratch` and `partial` are of the sizes `buffer_sizes` tells. Without `relu`, `out` and `places` may be empty.
    """
    cdef Py_ssize_t n_filter = db.shape[0], i
    cdef Job job
    memset(&job, 0, sizeof(Job))
    job.plan = plan_of(windows, n_filter, relu, pool, sizeof(real))
    cdef Plan *plan = &job.plan
    cdef conv_shape *s = &plan.shape
    if (
        dout.shape[0] != plan.n_images * plan.out_size or padded.shape[0] != plan.n_images * s.padded_size
        or w.shape[0] != plan.w_size or dw.shape[0] != w.shape[0] or packed.shape[0] != plan.back_size
        or (dx.shape[0] != 0 and dx.shape[0] != plan.n_images * plan.image_size)
        or scratch.shape[0] != plan.n_chunks * plan.scratch_step
        or partial.shape[0] != plan.n_chunks * plan.partial_step
        or (relu and out.shape[0] != dout.shape[0])
        or (pool > 1 and (not relu or places.shape[0] != dout.shape[0]))
    ):
        raise ValueError("the sizes of the buffers do not fit the geometry")
    if plan.n_images == 0:
        dw[:] = 0
        db[:] = 0
        return
    job.dout, job.out_layout = <const char *> &dout[0], layout_of(n_filter, s.h_out * s.w_out, out_channels_last)
    job.out_step = plan.out_size * sizeof(real)
    if relu:
        job.out = <char *> &out[0]
    if pool > 1:
        job.places, job.places_step = <uint8_t *> &places[0], plan.out_size
    job.padded, job.padded_step = <char *> &padded[0], s.padded_size * sizeof(real)
    job.filters, job.scratch = <const char *> &packed[0], <char *> &scratch[0]
    job.partial, job.partial_bytes = <char *> &partial[0], plan.partial_step * sizeof(real)
    if dx.shape[0] != 0:
        job.dx, job.x_layout = <char *> &dx[0], layout_of(s.n_channels, s.height * s.width, x_channels_last)
        job.x_step = plan.image_size * sizeof(real)
    with nogil:
        if job.dx != NULL:
            plan.back.pack_back(s, &w[0], &packed[0])
        run(backward_chunk, &job, plan.n_chunks)
        run(add_partial_sums, &job, (plan.partial_step + NUMBERS_PER_SUM - 1) // NUMBERS_PER_SUM)
        plan.back.unpack_back(s, &partial[0], &dw[0])
        for i in range(n_filter):
            db[i] = partial[plan.back_size + i]

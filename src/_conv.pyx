"""Glue of the convolution: checks flat buffers, shares images over the threads.

The way back sums over images in chunks, each into its own partial sum; the partial sums are then added in a binary tree
over the chunks. So the result does not depend on who worked on what.

A convolution is computed directly (`tile` is 0) or by Winograd's method from tiles of tile x tile pixels. Images
with numbers that would spoil the latter's sums are then still computed directly, each by itself.
"""

from libc.stdint cimport int32_t, uint8_t
from libc.string cimport memset

from cnn_ext._threads import POOL, SET_NUMBER

from conv cimport LARGEST_POOL, conv_kernels, conv_lists, conv_pixel, conv_shape
from conv_plan cimport Plan, n_groups_of, plan_of, tiles_bytes
from layout cimport image_layout, layout_of
from pool cimport POOL_MAX_THREADS, chunk_function, pool_functions, pool_of
from winograd cimport weight_order


cdef const pool_functions *workers = pool_of(POOL)

ctypedef fused real:
    float
    double

cdef enum:
    NUMBERS_PER_SUM = 4096  # of a gradient, added up by one call over all partial sums
    SMALLEST_SHARED = 16384  # weights; to pack fewer takes no longer than to call the workers
    WILD_IMAGE = 1  # why an image must be computed directly
    WILD_GRADIENT = 2

cdef int chosen_set = SET_NUMBER

MAX_POOL = LARGEST_POOL


cdef struct Job:
    Plan plan
    # by bytes from one image to the next
    const char *x
    image_layout x_layout
    Py_ssize_t x_step
    char *padded
    Py_ssize_t padded_step
    uint8_t *wild  # of each image, whether it must be computed directly though there are tiles
    bint fast  # by tiles, but for wild images
    const char *w
    char *weights
    char *fast_weights
    const char *bias
    char *out
    image_layout out_layout
    Py_ssize_t out_step
    uint8_t *places
    Py_ssize_t places_step
    char *scratch
    # the way back
    const char *dout
    char *dx
    char *partial
    Py_ssize_t partial_bytes
    char *dw


def buffer_sizes(int real_bytes, windows, Py_ssize_t n_filter, bint relu, Py_ssize_t pool, Py_ssize_t tile):
    """Return the sizes of the buffers `forward` and `backward` want for a batch, on as many threads as there are now.

    In numbers: padded images, packed weights forward and back; in bytes: scratch forward and back; in numbers: partial
    sums.
    """
    cdef Plan plan = plan_of(windows, n_filter, relu, pool, tile, real_bytes, chosen_set)
    cdef Py_ssize_t n_threads = workers.get_threads()
    return (
        plan.n_images * plan.shape.padded_size,
        plan.fast_forward_size + plan.forward_size + plan.shape.filters_padded,
        plan.fast_back_size + plan.back_size,
        min(n_threads, n_groups_of(&plan)) * plan.forward_scratch,
        min(n_threads, plan.n_chunks) * plan.back_scratch,
        plan.n_chunks * plan.partial_step,
    )


cdef inline char *scratch_of_this_thread(Job *job, Py_ssize_t step) noexcept nogil:
    return job.scratch + workers.thread() * step


cdef int share_weights(Job *job, chunk_function function, Py_ssize_t n_parts) except -1 nogil:
    """Pack or unpack all weights, some filters a call."""
    cdef Py_ssize_t part
    if job.plan.w_size >= SMALLEST_SHARED:
        return workers.run(function, job, n_parts, POOL_MAX_THREADS)
    for part in range(n_parts):
        function(job, part)
    return 0


cdef inline Py_ssize_t n_pairs(Py_ssize_t n_filters, Py_ssize_t lanes) noexcept nogil:
    return (n_filters + 2 * lanes - 1) // (2 * lanes)


cdef void pack_forward_pair(void *context, Py_ssize_t pair) noexcept nogil:
    cdef Job *job = <Job *> context
    cdef const conv_kernels *k = job.plan.forth
    k.pack_forward(&job.plan.shape, job.w, pair * 2 * k.lanes, job.weights)


cdef void pack_back_filter(void *context, Py_ssize_t filter) noexcept nogil:
    cdef Job *job = <Job *> context
    job.plan.back.pack_back(&job.plan.shape, job.w, filter, job.weights)


cdef void unpack_back_filter(void *context, Py_ssize_t filter) noexcept nogil:
    cdef Job *job = <Job *> context
    job.plan.back.unpack_back(&job.plan.shape, job.partial, filter, job.dw)


cdef void pack_tiles_forth(void *context, Py_ssize_t pair) noexcept nogil:
    cdef Job *job = <Job *> context
    cdef const conv_shape *s = &job.plan.shape
    cdef weight_order order = weight_order(s.h_filter * s.run, s.h_filter * s.w_filter, 0)
    job.plan.fast_forth.pack(s, job.w, order, pair * 2 * job.plan.fast_forth.lanes, job.fast_weights)


cdef void pack_tiles_back(void *context, Py_ssize_t pair) noexcept nogil:
    cdef Job *job = <Job *> context
    cdef const conv_shape *s = &job.plan.shape
    cdef weight_order order = weight_order(s.h_filter * s.w_filter, s.h_filter * s.run, 1)
    job.plan.fast_back.pack(&job.plan.turned, job.w, order, pair * 2 * job.plan.fast_back.lanes, job.fast_weights)


cdef void pad_image(void *context, Py_ssize_t image) noexcept nogil:
    """Pad an image, and note whether tiles are wrong for it."""
    cdef Job *job = <Job *> context
    cdef const conv_shape *s = &job.plan.shape
    cdef char *padded = job.padded + image * job.padded_step
    job.plan.forth.pad(s, job.x + image * job.x_step, job.x_layout, padded)
    if s.tile:
        job.wild[image] = 0 if job.plan.fast_forth.tame(padded, s.padded_size) else WILD_IMAGE


cdef bint any_wild(const Job *job) noexcept nogil:
    cdef Py_ssize_t image
    for image in range(job.plan.n_images):
        if job.wild[image]:
            return True
    return False


cdef void forward_image(void *context, Py_ssize_t image) noexcept nogil:
    """Compute an image directly: any of them, or a wild one that is padded already."""
    cdef Job *job = <Job *> context
    if not job.fast:
        pad_image(job, image)
    elif not job.wild[image]:
        return
    job.plan.forth.forward(
        &job.plan.shape, job.padded + image * job.padded_step, job.weights, job.bias, job.out + image * job.out_step,
        job.out_layout, job.places + image * job.places_step,
    )


cdef void forward_group(void *context, Py_ssize_t group) noexcept nogil:
    """Compute some images by tiles, wild ones too: they are computed once more."""
    cdef Job *job = <Job *> context
    cdef const Plan *plan = &job.plan
    cdef Py_ssize_t first = group * plan.images_per_group, image
    cdef Py_ssize_t end = min(first + plan.images_per_group, plan.n_images)
    for image in range(first, end):
        pad_image(job, image)
    plan.fast_forth.forward(
        &plan.shape, end - first, job.padded + first * job.padded_step, job.fast_weights, job.bias,
        job.out + first * job.out_step, job.out_layout, job.places + first * job.places_step, plan.tiles_forth,
        scratch_of_this_thread(job, plan.forward_scratch),
    )


def forward(
    windows, bint relu, Py_ssize_t pool, Py_ssize_t tile, const real[::1] x, bint x_channels_last, const real[::1] w,
    const real[::1] b, real[::1] padded, uint8_t[::1] wild, real[::1] packed, uint8_t[::1] scratch, real[::1] out,
    bint out_channels_last, uint8_t[::1] places,
):
    """Convolve the images `x` with `w` and add `b`; then ReLU if `relu`, and max-pooling if `pool` > 1.

    All buffers are flat, and nobody else's during the call. `padded` keeps the padded images for `backward`; its
    borders must be zero, and stay so. `wild` keeps a byte of each image if there are tiles, else it is empty.
    `places` gets each winner's place, channels last; with `pool` 1 it may be of any size.
    `tile` is 0, or 6 for filters of 3 x 3 and 8 for 5 x 5: Winograd's method. `pool` must then divide 4.
    """
    cdef Py_ssize_t n_filter = b.shape[0], i
    cdef int n_threads
    cdef Job job
    cdef real *bias
    memset(&job, 0, sizeof(Job))
    job.plan = plan_of(windows, n_filter, relu, pool, tile, sizeof(real), chosen_set)
    cdef Plan *plan = &job.plan
    cdef conv_shape *s = &plan.shape
    if (
        x.shape[0] != plan.n_images * plan.image_size or w.shape[0] != plan.w_size
        or padded.shape[0] != plan.n_images * s.padded_size or wild.shape[0] != (plan.n_images if s.tile else 0)
        or packed.shape[0] != plan.fast_forward_size + plan.forward_size + s.filters_padded
        or out.shape[0] != plan.n_images * plan.out_size or (pool > 1 and places.shape[0] != out.shape[0])
        or (s.tile and plan.n_images and scratch.shape[0] < plan.forward_scratch)
    ):
        raise ValueError("the sizes of the buffers do not fit the geometry")
    if plan.n_images == 0:
        return
    job.x, job.x_layout = <const char *> &x[0], layout_of(s.n_channels, s.height * s.width, x_channels_last)
    job.x_step = plan.image_size * sizeof(real)
    job.padded, job.padded_step = <char *> &padded[0], s.padded_size * sizeof(real)
    if s.tile:
        job.wild = &wild[0]
    job.w, job.fast_weights = <const char *> &w[0], <char *> &packed[0]
    job.weights = <char *> &packed[plan.fast_forward_size]
    bias = &packed[plan.fast_forward_size + plan.forward_size]
    job.bias = <const char *> bias
    job.out, job.out_layout = <char *> &out[0], layout_of(n_filter, s.h_out * s.w_out, out_channels_last)
    job.out_step = plan.out_size * sizeof(real)
    if pool > 1:
        job.places, job.places_step = &places[0], plan.out_size
    with nogil:
        for i in range(s.filters_padded):
            bias[i] = b[i] if i < n_filter else 0
        job.fast = s.tile and plan.fast_forth.tame(&w[0], plan.w_size)
        if job.fast:
            n_threads = min(scratch.shape[0] // plan.forward_scratch, POOL_MAX_THREADS)
            job.scratch = <char *> &scratch[0]
            share_weights(&job, pack_tiles_forth, n_pairs(n_filter, plan.fast_forth.lanes))
            workers.run(forward_group, &job, n_groups_of(plan), n_threads)
        if not job.fast or any_wild(&job):
            share_weights(&job, pack_forward_pair, n_pairs(n_filter, plan.forth.lanes))
            workers.run(forward_image, &job, plan.n_images, POOL_MAX_THREADS)


def pad_images(
    windows, Py_ssize_t n_filter, Py_ssize_t tile, const real[::1] x, real[::1] padded, uint8_t[::1] wild
):
    """Fill `padded` and `wild` as `forward` does, from images with channels first."""
    cdef Job job
    memset(&job, 0, sizeof(Job))
    job.plan = plan_of(windows, n_filter, False, 1, tile, sizeof(real), chosen_set)
    cdef Plan *plan = &job.plan
    cdef conv_shape *s = &plan.shape
    if (
        x.shape[0] != plan.n_images * plan.image_size or padded.shape[0] != plan.n_images * s.padded_size
        or wild.shape[0] != (plan.n_images if s.tile else 0)
    ):
        raise ValueError("the sizes of the buffers do not fit the geometry")
    if plan.n_images == 0:
        return
    job.x, job.x_layout = <const char *> &x[0], layout_of(s.n_channels, s.height * s.width, False)
    job.x_step = plan.image_size * sizeof(real)
    job.padded, job.padded_step = <char *> &padded[0], s.padded_size * sizeof(real)
    if s.tile:
        job.wild = &wild[0]
    with nogil:
        workers.run(pad_image, &job, plan.n_images, POOL_MAX_THREADS)


cdef void backward_chunk(void *context, Py_ssize_t chunk) noexcept nogil:
    cdef Job *job = <Job *> context
    cdef const Plan *plan = &job.plan
    cdef Py_ssize_t image, first = chunk * plan.images_per_chunk
    cdef Py_ssize_t end = min(first + plan.images_per_chunk, plan.n_images)
    cdef char *dw = job.partial + chunk * job.partial_bytes
    memset(dw, 0, job.partial_bytes)
    if job.fast:
        backward_tiles(job, first, end, dw)
    elif plan.shape.pool > 1:
        for image in range(first, end):
            backward_sparse(job, image, dw)
    else:
        for image in range(first, end):
            backward_dense(job, image, dw)


cdef void backward_sparse(Job *job, Py_ssize_t image, char *dw) noexcept nogil:
    cdef const conv_kernels *k = job.plan.back
    cdef const conv_shape *s = &job.plan.shape
    cdef char *db = dw + job.plan.back_size * k.real_bytes
    cdef char *dpadded = scratch_of_this_thread(job, job.plan.back_scratch)
    cdef char *by_filter = dpadded + s.padded_size * k.real_bytes
    cdef char *by_pixel = by_filter + job.plan.out_size * k.entry_bytes
    cdef conv_lists lists
    if job.dx == NULL and k.narrow_weight_gradient(
        s, job.padded + image * job.padded_step, job.dout + image * job.out_step, job.out + image * job.out_step,
        job.out_layout, job.places + image * job.places_step, dw, db,
    ):
        return
    lists.by_filter = by_filter
    lists.by_pixel = by_pixel
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
        k.sparse_input_gradient(s, lists, job.weights, dpadded)
        k.unpad(s, dpadded, job.dx + image * job.x_step, job.x_layout)


cdef const char *gradient_of(Job *job, Py_ssize_t image, char *room) noexcept nogil:
    """The gradients of all pixels of an image, channels last and through the ReLU: as they are, or else in `room`."""
    cdef const conv_shape *s = &job.plan.shape
    cdef const char *gradient = job.dout + image * job.out_step
    if not s.relu and job.out_layout.channel_stride == 1:
        return gradient
    job.plan.back.gradient_image(s, gradient, job.out + image * job.out_step, job.out_layout, room)
    return room


cdef void backward_dense(Job *job, Py_ssize_t image, char *dw) noexcept nogil:
    cdef char *dpadded = scratch_of_this_thread(job, job.plan.back_scratch)
    cdef const char *gradient = gradient_of(job, image, dpadded + job.plan.shape.padded_size * job.plan.back.real_bytes)
    add_dense_gradient(job, image, gradient, dw)
    if job.dx != NULL:
        dense_input_gradient(job, image, gradient, dpadded)


cdef void add_dense_gradient(Job *job, Py_ssize_t image, const char *gradient, char *dw) noexcept nogil:
    cdef const conv_kernels *k = job.plan.back
    cdef const conv_shape *s = &job.plan.shape
    k.dense_weight_gradient(s, job.padded + image * job.padded_step, gradient, dw)
    k.bias_gradient(s, gradient, dw + job.plan.back_size * k.real_bytes)


cdef void dense_input_gradient(Job *job, Py_ssize_t image, const char *gradient, char *dpadded) noexcept nogil:
    cdef const conv_kernels *k = job.plan.back
    cdef const conv_shape *s = &job.plan.shape
    k.dense_input_gradient(s, gradient, job.weights, dpadded)
    k.unpad(s, dpadded, job.dx + image * job.x_step, job.x_layout)


cdef void wild_input_gradient(void *context, Py_ssize_t image) noexcept nogil:
    """What `backward_tiles` leaves out of a wild image: it takes weights that are packed only if there is one."""
    cdef Job *job = <Job *> context
    cdef char *dpadded = scratch_of_this_thread(job, job.plan.back_scratch)
    cdef char *room = dpadded + job.plan.shape.padded_size * job.plan.back.real_bytes
    if job.wild[image]:
        dense_input_gradient(job, image, gradient_of(job, image, room), dpadded)


cdef void backward_tiles(Job *job, Py_ssize_t first, Py_ssize_t end, char *dw) noexcept nogil:
    """The images [first, end) by tiles; wild ones directly, but for their own gradients."""
    cdef const Plan *plan = &job.plan
    cdef const conv_kernels *k = plan.back
    cdef const conv_shape *turned = &plan.turned
    cdef Py_ssize_t step = turned.padded_size * k.real_bytes, n, image
    cdef char *room = scratch_of_this_thread(job, plan.back_scratch)
    cdef char *sums = room + plan.back_scratch - plan.fast_back_size * k.real_bytes
    cdef char *tiles = sums - tiles_bytes(&plan.shape, plan.fast_back, plan.tiles_back)
    cdef char *gradients = tiles - plan.images_per_group * step
    cdef const char *gradient
    memset(gradients, 0, plan.images_per_group * step)
    memset(sums, 0, plan.fast_back_size * k.real_bytes)
    n = 0
    for image in range(first, end):
        gradient = gradient_of(job, image, room)
        k.pad(turned, gradient, layout_of(turned.n_channels, 0, True), gradients + n * step)
        job.wild[image] &= WILD_IMAGE  # the gradient may have been another before
        if not plan.fast_back.tame(gradients + n * step, turned.padded_size):
            job.wild[image] |= WILD_GRADIENT
        if not job.wild[image]:
            k.bias_gradient(&plan.shape, gradient, dw + plan.back_size * k.real_bytes)
            n += 1
            if n == plan.images_per_group or image + 1 == end:
                backward_group(job, image + 1 - n, n, gradients, tiles, sums)
                n = 0
            continue
        backward_group(job, image - n, n, gradients, tiles, sums)
        n = 0
        add_dense_gradient(job, image, gradient, dw)
    plan.fast_back.add_weight_gradient(&plan.shape, sums, dw)


cdef void backward_group(
    Job *job, Py_ssize_t first, Py_ssize_t n, const char *gradients, char *tiles, char *sums
) noexcept nogil:
    """n images from `first` on, whose padded gradients are `gradients`."""
    cdef const Plan *plan = &job.plan
    if n == 0:
        return
    plan.fast_back.weight_gradient(
        &plan.shape, n, job.padded + first * job.padded_step, &plan.turned, gradients, plan.tiles_back, tiles, sums
    )
    if job.dx != NULL:
        plan.fast_back.forward(
            &plan.turned, n, gradients, job.fast_weights, NULL, job.dx + first * job.x_step, job.x_layout, NULL,
            plan.tiles_back, tiles,
        )


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
    windows, bint relu, Py_ssize_t pool, Py_ssize_t tile, const real[::1] dout, const real[::1] out,
    bint out_channels_last, const uint8_t[::1] places, const real[::1] padded, uint8_t[::1] wild, const real[::1] w,
    real[::1] packed, uint8_t[::1] scratch, real[::1] partial, real[::1] dw, real[::1] db, real[::1] dx,
    bint x_channels_last,
):
    """Fill `dw`, `db` and, unless it is empty, `dx` from the gradient `dout`; the rest is what `forward` left.

    The buffers are of the sizes `buffer_sizes` tells. Without `relu`, `out` may be empty; without pooling,
    `places`. With pooling `tile` makes no difference but to the size of padded images. Without, `wild` also notes the
    gradients that must be computed directly.
    """
    cdef Py_ssize_t n_filter = db.shape[0], i
    cdef int n_threads
    cdef Job job
    memset(&job, 0, sizeof(Job))
    job.plan = plan_of(windows, n_filter, relu, pool, tile, sizeof(real), chosen_set)
    cdef Plan *plan = &job.plan
    cdef conv_shape *s = &plan.shape
    if (
        dout.shape[0] != plan.n_images * plan.out_size or padded.shape[0] != plan.n_images * s.padded_size
        or wild.shape[0] != (plan.n_images if s.tile else 0) or w.shape[0] != plan.w_size or dw.shape[0] != w.shape[0]
        or packed.shape[0] != plan.fast_back_size + plan.back_size
        or (dx.shape[0] != 0 and dx.shape[0] != plan.n_images * plan.image_size)
        or (plan.n_images and scratch.shape[0] < plan.back_scratch)
        or partial.shape[0] != plan.n_chunks * plan.partial_step
        or (relu and out.shape[0] != dout.shape[0])
        or (pool > 1 and places.shape[0] != dout.shape[0])
    ):
        raise ValueError("the sizes of the buffers do not fit the geometry")
    if plan.n_images == 0:
        dw[:] = 0
        db[:] = 0
        return
    job.dout, job.out_layout = <const char *> &dout[0], layout_of(n_filter, s.h_out * s.w_out, out_channels_last)
    job.out_step = plan.out_size * sizeof(real)
    job.out = <char *> &out[0] if relu else <char *> job.dout  # without a ReLU nobody reads it
    if pool > 1:
        job.places, job.places_step = <uint8_t *> &places[0], plan.out_size
    job.padded, job.padded_step = <char *> &padded[0], s.padded_size * sizeof(real)
    if s.tile:
        job.wild = &wild[0]
    job.w, job.fast_weights = <const char *> &w[0], <char *> &packed[0]
    job.weights = <char *> &packed[plan.fast_back_size]
    job.scratch, n_threads = <char *> &scratch[0], min(scratch.shape[0] // plan.back_scratch, POOL_MAX_THREADS)
    job.partial, job.partial_bytes = <char *> &partial[0], plan.partial_step * sizeof(real)
    job.dw = <char *> &dw[0]
    if dx.shape[0] != 0:
        job.dx, job.x_layout = <char *> &dx[0], layout_of(s.n_channels, s.height * s.width, x_channels_last)
        job.x_step = plan.image_size * sizeof(real)
    with nogil:
        job.fast = s.tile and pool == 1 and plan.fast_back.tame(&w[0], plan.w_size)
        if job.dx != NULL and job.fast:
            share_weights(&job, pack_tiles_back, n_pairs(s.n_channels, plan.fast_back.lanes))
        elif job.dx != NULL:
            share_weights(&job, pack_back_filter, n_filter)
        workers.run(backward_chunk, &job, plan.n_chunks, n_threads)
        if job.dx != NULL and job.fast and any_wild(&job):
            share_weights(&job, pack_back_filter, n_filter)
            workers.run(wild_input_gradient, &job, plan.n_images, n_threads)
        workers.run(
            add_partial_sums, &job, (plan.partial_step + NUMBERS_PER_SUM - 1) // NUMBERS_PER_SUM, POOL_MAX_THREADS
        )
        share_weights(&job, unpack_back_filter, n_filter)
        for i in range(n_filter):
            db[i] = partial[plan.back_size + i]

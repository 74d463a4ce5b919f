# How a convolution is computed: everything that follows from its geometry, and from what comes behind it.

from libc.stdint cimport INT32_MAX, int32_t
from libc.string cimport memset

from conv cimport LARGEST_POOL, LINE, conv_kernels, conv_pixel, conv_shape, conv_table
from winograd cimport TILE_RESULTS, winograd_kernels, winograd_table


cdef extern from "instruction_sets.h" nogil:
    int SET_AVX2, SET_AVX512


cdef enum:
    # Images are shared into chunks, each summed by itself, by a rule on their number alone: 10 chunks of up to 5
    # images, which two threads share evenly; of more images, up to 16 chunks.
    FEW_IMAGES = 5
    CHUNKS_OF_FEW = 10
    MOST_CHUNKS = 16
    # Tiles are multiplied by many at once: some images together, but as much as the second cache holds at a time.
    TILES_OF_GROUP = 240
    BYTES_OF_TILES = 393216


cdef struct Plan:
    const conv_kernels *forth  # each way with the vectors that suit it
    const conv_kernels *back
    const winograd_kernels *fast_forth
    const winograd_kernels *fast_back
    conv_shape shape
    conv_shape turned  # of the convolution of the gradients that gives dx, where there are tiles
    Py_ssize_t n_images
    Py_ssize_t image_size, out_size, w_size  # numbers of an image, of its result, of the weights
    Py_ssize_t forward_size, back_size  # numbers of the packed weights
    Py_ssize_t fast_forward_size, fast_back_size  # the same for tiles; on the way back also of their products' sums
    Py_ssize_t n_chunks, images_per_chunk, images_per_group
    Py_ssize_t tiles_forth, tiles_back  # at once
    Py_ssize_t forward_scratch, back_scratch  # bytes a thread
    Py_ssize_t partial_step  # numbers of one chunk


cdef inline Py_ssize_t round_up(Py_ssize_t n, Py_ssize_t unit) noexcept nogil:
    return (n + unit - 1) // unit * unit


cdef inline int set_for(int chosen_set, Py_ssize_t n_wide, int real_bytes) noexcept:
    """The chosen set; where numbers lie side by side only `n_wide` at a time, not the widest vectors."""
    if chosen_set == SET_AVX512 and 2 * n_wide <= conv_table(SET_AVX512, real_bytes).lanes:
        return SET_AVX2
    return chosen_set


cdef inline void place_tiles(conv_shape *s, Py_ssize_t tile) noexcept:
    """Say how many tiles cover the result."""
    s.tile = tile
    s.tiles_down = (s.h_conv + TILE_RESULTS - 1) // TILE_RESULTS
    s.tiles_across = (s.w_conv + TILE_RESULTS - 1) // TILE_RESULTS


cdef inline void lay_out_padded(conv_shape *s, Py_ssize_t height, Py_ssize_t width, Py_ssize_t slack) noexcept:
    """Set the size of a padded image of at least so many rows and columns."""
    s.padded_row = max(s.width + 2 * s.padding, width) * s.n_channels
    # A vector that starts inside a patch may end past it, and past the image.
    s.padded_size = round_up(max(s.height + 2 * s.padding, height) * s.padded_row + slack, 16)


cdef inline Plan plan_of(
    windows, Py_ssize_t n_filter, bint relu, Py_ssize_t pool, Py_ssize_t tile, int real_bytes, int chosen_set
) except *:
    """Everything that follows from a checked `Windows` tuple over the convolution's input, and what comes behind."""
    cdef Plan plan
    cdef conv_shape *s = &plan.shape
    cdef int forth_set, back_set
    memset(&plan, 0, sizeof(Plan))
    (
        plan.n_images, s.n_channels, s.height, s.width,
        s.h_filter, s.w_filter, s.padding, s.stride,
        s.h_conv, s.w_conv,
    ) = windows
    if not 1 <= pool <= LARGEST_POOL:
        raise ValueError(f"pool must be in [1, {LARGEST_POOL}], got {pool}")
    s.n_filter, s.relu, s.pool = n_filter, relu, pool
    s.stride = min(s.stride, max(s.height, s.width) + 2 * s.padding)  # beyond there is one window: no product overflows
    s.h_out, s.w_out = s.h_conv // pool, s.w_conv // pool
    s.run = s.w_filter * s.n_channels
    forth_set = set_for(chosen_set, n_filter, real_bytes)
    back_set = set_for(chosen_set, s.n_channels if tile and pool == 1 else s.run, real_bytes)
    plan.forth, plan.back = conv_table(forth_set, real_bytes), conv_table(back_set, real_bytes)
    s.filters_padded = round_up(n_filter, plan.forth.lanes)
    s.run_padded = round_up(s.run, plan.back.lanes)
    if tile:
        if (
            s.h_filter != s.w_filter or s.h_filter not in (3, 5) or s.stride != 1 or s.padding >= s.h_filter
            or tile != s.h_filter + TILE_RESULTS - 1 or TILE_RESULTS % pool
        ):
            raise ValueError("there are no such tiles for this geometry")
        place_tiles(s, tile)
    lay_out_padded(
        s, s.tiles_down * TILE_RESULTS + s.h_filter - 1, s.tiles_across * TILE_RESULTS + s.w_filter - 1,
        max(s.run_padded, plan.forth.lanes),
    )
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
    plan.back_scratch = s.padded_size * real_bytes + (
        s.h_conv * s.w_conv * n_filter * real_bytes if pool == 1 else lists_bytes(&plan)
    )
    if tile:
        plan.fast_forth, plan.fast_back = winograd_table(forth_set, real_bytes), winograd_table(back_set, real_bytes)
        plan_tiles(&plan, real_bytes)
    plan.forward_scratch, plan.back_scratch = round_up(plan.forward_scratch, LINE), round_up(plan.back_scratch, LINE)
    return plan


cdef inline void plan_tiles(Plan *plan, int real_bytes) noexcept:
    """What follows where the convolution is computed by tiles; the way back is not where it is sparse."""
    cdef conv_shape *s = &plan.shape
    cdef conv_shape *t = &plan.turned
    cdef Py_ssize_t lanes = plan.fast_back.lanes, per_image = s.tiles_down * s.tiles_across
    plan.images_per_group = max(
        1, min((TILES_OF_GROUP + per_image - 1) // per_image, (plan.n_images + CHUNKS_OF_FEW - 1) // CHUNKS_OF_FEW)
    )
    plan.fast_forward_size = plan.fast_forth.packed_size(s)
    plan.tiles_forth = tiles_at_once(s, plan.fast_forth)
    plan.forward_scratch = tiles_bytes(s, plan.fast_forth, plan.tiles_forth)
    if s.pool > 1:
        return
    t.n_channels, t.height, t.width, t.n_filter = s.n_filter, s.h_conv, s.w_conv, s.n_channels
    t.h_filter = t.w_filter = s.h_filter
    t.padding, t.stride, t.pool = s.h_filter - 1 - s.padding, 1, 1
    t.h_conv, t.w_conv = s.height, s.width
    t.h_out, t.w_out = s.height, s.width
    t.filters_padded, t.run = round_up(t.n_filter, lanes), t.w_filter * t.n_channels
    t.run_padded = round_up(t.run, lanes)
    place_tiles(t, s.tile)
    lay_out_padded(
        t, max(t.tiles_down * TILE_RESULTS + t.h_filter - 1, t.padding + s.tiles_down * TILE_RESULTS),
        max(t.tiles_across * TILE_RESULTS + t.w_filter - 1, t.padding + s.tiles_across * TILE_RESULTS), t.run_padded,
    )
    plan.fast_back_size = plan.fast_back.packed_size(t)
    plan.tiles_back = tiles_at_once(s, plan.fast_back)
    plan.back_scratch = (
        round_up(plan.back_scratch, LINE) + plan.images_per_group * t.padded_size * real_bytes
        + tiles_bytes(s, plan.fast_back, plan.tiles_back) + plan.fast_back_size * real_bytes
    )


cdef inline Py_ssize_t tiles_at_once(const conv_shape *s, const winograd_kernels *k) noexcept:
    cdef Py_ssize_t in_cache = BYTES_OF_TILES // k.tile_bytes(s) // k.rows
    return k.rows * max(1, in_cache)


cdef inline Py_ssize_t tiles_bytes(const conv_shape *s, const winograd_kernels *k, Py_ssize_t n_tiles) noexcept nogil:
    """The size of so many tiles, with room behind them for a row of the register tile."""
    return (n_tiles + k.rows) * k.tile_bytes(s)


cdef inline Py_ssize_t lists_bytes(const Plan *plan) noexcept nogil:
    cdef const conv_shape *s = &plan.shape
    cdef Py_ssize_t n_pixels = s.h_out * s.w_out * s.pool * s.pool
    return (
        2 * plan.out_size * plan.back.entry_bytes + 2 * n_pixels * sizeof(conv_pixel)
        + (2 * s.n_filter + 1) * sizeof(int32_t)
    )


cdef inline Py_ssize_t n_groups_of(const Plan *plan) noexcept nogil:
    if plan.shape.tile == 0:
        return 0
    return (plan.n_images + plan.images_per_group - 1) // plan.images_per_group

from libc.stdint cimport uint8_t

from conv cimport conv_shape
from layout cimport image_layout


cdef extern from "winograd.h" nogil:
    int TILE_RESULTS

    ctypedef struct weight_order:
        Py_ssize_t filter_stride, channel_stride
        int turned

    ctypedef struct winograd_kernels:
        Py_ssize_t lanes, rows
        int (*tame)(const void *x, Py_ssize_t n) noexcept nogil
        Py_ssize_t (*packed_size)(const conv_shape *) noexcept nogil
        void (*pack)(const conv_shape *, const void *w, weight_order, Py_ssize_t filter, void *packed) noexcept nogil
        Py_ssize_t (*tile_bytes)(const conv_shape *) noexcept nogil
        void (*forward)(const conv_shape *, Py_ssize_t n_images, const void *padded, const void *packed,
                        const void *bias, void *out, image_layout, uint8_t *places, Py_ssize_t tiles_at_once,
                        void *scratch) noexcept nogil
        void (*weight_gradient)(const conv_shape *, Py_ssize_t n_images, const void *padded, const conv_shape *,
                                const void *gradients, Py_ssize_t tiles_at_once, void *scratch,
                                void *sums) noexcept nogil
        void (*add_weight_gradient)(const conv_shape *, const void *sums, void *dw) noexcept nogil

    const winograd_kernels *winograd_table(int instruction_set, int real_bytes)

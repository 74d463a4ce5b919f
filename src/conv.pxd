from libc.stdint cimport int32_t, uint8_t

from layout cimport image_layout


cdef extern from "conv.h" nogil:
    int LINE, LARGEST_POOL

    ctypedef struct conv_shape:
        Py_ssize_t n_channels, height, width
        Py_ssize_t n_filter, h_filter, w_filter
        Py_ssize_t padding, stride
        Py_ssize_t h_conv, w_conv
        Py_ssize_t relu, pool
        Py_ssize_t h_out, w_out
        Py_ssize_t filters_padded, run, run_padded
        Py_ssize_t padded_row, padded_size
        Py_ssize_t tile, tiles_down, tiles_across

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
        void (*pack_forward)(const conv_shape *, const void *w, Py_ssize_t filter, void *forward) noexcept nogil
        void (*pack_back)(const conv_shape *, const void *w, Py_ssize_t filter, void *back) noexcept nogil
        void (*unpack_back)(const conv_shape *, const void *back, Py_ssize_t filter, void *w) noexcept nogil
        void (*pad)(const conv_shape *, const void *x, image_layout, void *padded) noexcept nogil
        void (*unpad)(const conv_shape *, const void *padded, void *x, image_layout) noexcept nogil
        void (*forward)(const conv_shape *, const void *padded, const void *weights, const void *bias, void *out,
                        image_layout, uint8_t *places) noexcept nogil
        void (*list_gradients)(const conv_shape *, const void *dout, const void *out, image_layout,
                               const uint8_t *places, conv_lists) noexcept nogil
        int (*narrow_weight_gradient)(const conv_shape *, const void *padded, const void *dout, const void *out,
                                      image_layout, const uint8_t *places, void *dw, void *db) noexcept nogil
        void (*sparse_weight_gradient)(const conv_shape *, const void *padded, conv_lists, void *dw, void *db) noexcept nogil
        void (*sparse_input_gradient)(const conv_shape *, conv_lists, const void *back, void *dpadded) noexcept nogil
        void (*gradient_image)(const conv_shape *, const void *dout, const void *out, image_layout,
                               void *gradient) noexcept nogil
        void (*dense_weight_gradient)(const conv_shape *, const void *padded, const void *gradient, void *dw) noexcept nogil
        void (*bias_gradient)(const conv_shape *, const void *gradient, void *db) noexcept nogil
        void (*dense_input_gradient)(const conv_shape *, const void *gradient, const void *back,
                                     void *dpadded) noexcept nogil
        void (*add)(void *target, const void *source, Py_ssize_t begin, Py_ssize_t end) noexcept nogil

    const conv_kernels *conv_table(int instruction_set, int real_bytes)

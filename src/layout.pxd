cdef extern from "layout.h" nogil:
    ctypedef struct image_layout:
        Py_ssize_t channel_stride, pixel_stride


cdef inline image_layout layout_of(Py_ssize_t n_channels, Py_ssize_t n_pixels, bint channels_last) noexcept nogil:
    cdef image_layout layout
    channels_last = channels_last or n_channels == 1  # then both orders are one, and this the quicker
    layout.channel_stride = 1 if channels_last else n_pixels
    layout.pixel_stride = n_channels if channels_last else 1
    return layout

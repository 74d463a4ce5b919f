cdef extern from "geometry.h":
    ctypedef struct geometry:
        Py_ssize_t n_images, n_channels, height, width
        Py_ssize_t h_window, w_window, padding, stride
        Py_ssize_t h_out, w_out


cdef inline geometry geometry_of(windows) except *:
    """The C form of a checked `Windows` tuple, whose fields stand in the same order."""
    cdef geometry g
    (
        g.n_images, g.n_channels, g.height, g.width,
        g.h_window, g.w_window, g.padding, g.stride,
        g.h_out, g.w_out,
    ) = windows
    return g

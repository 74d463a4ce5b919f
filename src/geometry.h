/* How windows lie over a batch of images. Shared by the kernels; filled in by the glue from a checked `Windows`.
 *
 * The image is (n_images, n_channels, height, width); windows are (h_window, w_window), `stride` apart, over the
 * image with `padding` rows and columns of zeros on every side; (h_out, w_out) of them fit.
 */
#ifndef CNN_EXT_GEOMETRY_H
#define CNN_EXT_GEOMETRY_H

#include <stddef.h>

typedef struct {
    ptrdiff_t n_images, n_channels, height, width;
    ptrdiff_t h_window, w_window, padding, stride;
    ptrdiff_t h_out, w_out;
} geometry;

#endif

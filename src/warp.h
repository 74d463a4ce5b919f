/* Resampling of images, and the blur that makes a random field smooth.
 *
 * An image is (n_channels, height, width), a plane one channel of it. `padded` is scratch for an image with PAD_BEFORE
 * rows and columns before it and PAD_AFTER behind: places are held inside those, so that no pixel needs a test. Sides
 * are at most LONGEST_SIDE, which float32 still counts in halves.
 */
#ifndef CNN_EXT_WARP_H
#define CNN_EXT_WARP_H

#include <stddef.h>

enum { PAD_BEFORE = 1, PAD_AFTER = 2, LONGEST_SIDE = 1 << 22 };

typedef struct {
    ptrdiff_t n_channels, height, width;
} image_shape;

#define DECLARE_WARP(REAL, SUFFIX)                                                                                     \
    /* out[pixel] = the image at matrix * (row, column, 1), all measured from the centre; matrix is (2, 3). */         \
    void warp_affine_##SUFFIX(const image_shape *s, const REAL *image, const REAL *matrix, REAL fill, REAL *padded,    \
                              REAL *out);                                                                              \
    /* out[pixel] = the image at the pixel's place + flow; flow is (2, height, width). */                              \
    void warp_flow_##SUFFIX(const image_shape *s, const REAL *image, const REAL *flow, REAL fill, REAL *padded,        \
                            REAL *out);                                                                                \
    /* Down, then across: out[i] = weights[0] * x[i] + sum over k from 1 to radius of weights[k] * (x[i - k] +         \
     * x[i + k]), where x is 0 outside the plane. `scratch` is for (height + 2 * radius + 1) * width + 2 * radius      \
     * numbers. */                                                                                                     \
    void blur_plane_##SUFFIX(ptrdiff_t height, ptrdiff_t width, const REAL *x, const REAL *weights, ptrdiff_t radius,  \
                             REAL *scratch, REAL *out);

DECLARE_WARP(float, f32)
DECLARE_WARP(double, f64)

#endif

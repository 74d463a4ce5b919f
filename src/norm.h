/* Batch normalization behind a convolution, alone or in one pass with ReLU and max-pooling, and the way back.
 *
 * An image is (H, W, C) here, pixel by pixel; all kernels work on one image. With the mean and the scale of each
 * channel,
 *     y = (z - mean) * scale + shift,   scale = gamma / sqrt(var + eps),   shift = beta
 * and, over the n pixels of all images (Ioffe and Szegedy 2015, with the sums gathered),
 *     dz = scale * (g - sum(g) / n - (z - mean) * sum(g * (z - mean)) / (n * (var + eps))).
 * Products and sums are rounded one by one here: the same bits in NumPy.
 */
#ifndef CNN_EXT_NORM_H
#define CNN_EXT_NORM_H

#include "layout.h"

#include <stdint.h>

typedef struct {
    ptrdiff_t n_channels, height, width;
    ptrdiff_t relu, pool;   /* whether there is a ReLU; side of the pooling windows, 1: none */
    ptrdiff_t h_out, w_out; /* height / pool, width / pool */
} norm_shape;

typedef struct {
    /* mean[c] and squares[c] = sum of (z - mean)^2 of this image. */
    void (*moments)(const norm_shape *s, const void *z, void *mean, void *squares);
    /* out = y, then ReLU and pooling with the place of each winner. */
    void (*forward)(const norm_shape *s, const void *z, const void *mean, const void *scale, const void *shift,
                    void *out, image_layout layout, uint8_t *places);
    /* g = the gradient of y; sums[0, c], sums[1, c] = sum of g, of g * (z - mean). */
    void (*gradient)(const norm_shape *s, const void *z, const void *mean, const void *dout, const void *out,
                     image_layout layout, const uint8_t *places, void *g, void *sums);
    /* g = scale * (g - offset - (z - mean) * slope), in place. */
    void (*through)(const norm_shape *s, const void *z, const void *mean, const void *scale, const void *offset,
                    const void *slope, void *g);
} norm_kernels;

/* The kernels of an instruction set (SET_...) in the precision of so many bytes. */
const norm_kernels *norm_table(int set, int real_bytes);

#endif

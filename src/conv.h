/* Direct convolution, alone or in one pass with bias, ReLU and max-pooling, and the way back.
 *
 * Shapes. Images are (H, W, C) inside: the channels of a pixel lie together, and so do the pixels of a filter row, so
 * that a row of a patch is one run of w_filter * C numbers and nothing needs unfolding. Each image is copied once into
 * a padded buffer, (H + 2 padding, W + 2 padding, C), or larger on the far sides where whole tiles need it.
 *
 *     padded    one padded image, `padded_size` numbers (with slack: vectors may read past its end)
 *     forward   weights as (h_filter, w_filter * C, n_filter rounded up to whole vectors)
 *     back      weights as (n_filter, h_filter, w_filter * C rounded up to whole vectors), also the shape of dW inside
 *     gradient  gradients of the convolution's result, (h_conv, w_conv, n_filter)
 *
 * Results are written at out[channel * channel_stride + pixel * pixel_stride], so that either order of axes will do.
 *
 * Each number of the result is one sum over (row, column, channel) of the filter in that order, then the bias: the
 * same bits alone, in a batch, with or without pooling.
 */
#ifndef CNN_EXT_CONV_H
#define CNN_EXT_CONV_H

#include "layout.h"

#include <stdint.h>

enum { LINE = 64 }; /* bytes of a cache line */

/* The side of a pooling window, and the places in it, at most: a place fits a byte. */
enum { LARGEST_POOL = 16, PLACES = LARGEST_POOL * LARGEST_POOL };

typedef struct {
    ptrdiff_t n_channels, height, width; /* of an image */
    ptrdiff_t n_filter, h_filter, w_filter;
    ptrdiff_t padding, stride;
    ptrdiff_t h_conv, w_conv;                  /* of the convolution */
    ptrdiff_t relu, pool;                      /* whether there is a ReLU; side of the pooling windows, 1: none */
    ptrdiff_t h_out, w_out;                    /* of the result: h_conv / pool, w_conv / pool */
    ptrdiff_t filters_padded, run, run_padded; /* n_filter, w_filter * C; both rounded up to whole vectors */
    ptrdiff_t padded_row, padded_size;         /* numbers in a row, in all of a padded image */
    ptrdiff_t tile, tiles_down, tiles_across;  /* for winograd.h: side of a tile of pixels, 0: direct; how many */
} conv_shape;

/* A pixel of the convolution: where its patch starts, and its gradients in the list by pixel. */
typedef struct {
    int32_t patch, first, n;
} conv_pixel;

/* The gradients of one image that a ReLU lets live, all without one, each in two lists. */
typedef struct {
    void *by_filter; /* n_filter lists, each with room for a gradient from every window */
    int32_t *n_of_filter;
    void *by_pixel;              /* one list after the other */
    conv_pixel *pixels, *sorted; /* window by window, in it place by place; the same by how many gradients they have */
    int32_t *alive;              /* scratch of n_filter + 1 */
} conv_lists;

/* One instruction set in one precision: REAL stands for float or double. */
typedef struct {
    ptrdiff_t real_bytes, lanes, entry_bytes; /* an entry: a gradient and where it belongs */

    /* Weights to and from their packed forms: the pair of vectors of filters that begins with `filter`; one filter. */
    void (*pack_forward)(const conv_shape *s, const void *w, ptrdiff_t filter, void *forward);
    void (*pack_back)(const conv_shape *s, const void *w, ptrdiff_t filter, void *back);
    void (*unpack_back)(const conv_shape *s, const void *back, ptrdiff_t filter, void *w);

    /* Copy an image into its padded buffer, whose border the caller has cleared once; and out of it. */
    void (*pad)(const conv_shape *s, const void *x, image_layout layout, void *padded);
    void (*unpad)(const conv_shape *s, const void *padded, void *x, image_layout layout);

    /* One image: convolution and bias, ReLU and max-pooling (with its ReLU) if asked for, the place of each winner. */
    void (*forward)(const conv_shape *s, const void *padded, const void *weights, const void *bias, void *out,
                    image_layout layout, uint8_t *places);

    /* Behind ReLU and pooling: list the gradients of one image; add their share to dW (in the form `back`) and db; set
     * the padded gradient of the image. Or, without a list, add to dW and db at once, if this shape is made for it. */
    void (*list_gradients)(const conv_shape *s, const void *dout, const void *out, image_layout layout,
                           const uint8_t *places, conv_lists lists);
    int (*narrow_weight_gradient)(const conv_shape *s, const void *padded, const void *dout, const void *out,
                                  image_layout layout, const uint8_t *places, void *dw, void *db);
    void (*sparse_weight_gradient)(const conv_shape *s, const void *padded, conv_lists lists, void *dw, void *db);
    void (*sparse_input_gradient)(const conv_shape *s, conv_lists lists, const void *back, void *dpadded);

    /* Without pooling, from the gradients of all pixels: bring them into the form `gradient`, through the ReLU if there
     * is one; the rest as above. */
    void (*gradient_image)(const conv_shape *s, const void *dout, const void *out, image_layout layout, void *gradient);
    void (*dense_weight_gradient)(const conv_shape *s, const void *padded, const void *gradient, void *dw);
    void (*bias_gradient)(const conv_shape *s, const void *gradient, void *db);
    void (*dense_input_gradient)(const conv_shape *s, const void *gradient, const void *back, void *dpadded);

    /* target[i] += source[i] for i in [begin, end). */
    void (*add)(void *target, const void *source, ptrdiff_t begin, ptrdiff_t end);
} conv_kernels;

/* The kernels of an instruction set (SET_...) in the precision of so many bytes. */
const conv_kernels *conv_table(int set, int real_bytes);

#endif

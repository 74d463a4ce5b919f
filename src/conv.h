/* Direct convolution, alone or in one pass with bias, ReLU and max-pooling, and the way back.
 *
 * Shapes. Images are (H, W, C) inside: the channels of a pixel lie together, and so do the pixels of a filter row, so
 * that a row of a patch is one run of w_filter * C numbers and nothing needs unfolding. Each image is copied once into a
 * padded buffer, (H + 2 padding, W + 2 padding, C).
 *
 *     padded    one padded image, `padded_size` numbers (with slack: vectors may read past its end)
 *     forward   weights as (h_filter, w_filter * C, n_filter rounded up to whole vectors)
 *     back      weights as (h_filter, n_filter, w_filter * C rounded up to whole vectors), also the shape of dW inside
 *
 * Results are written at out[channel * channel_stride + pixel * pixel_stride], so that either order of axes will do.
 *
 * Each number of the result is one sum over (row, column, channel) of the filter in that order, then the bias: the
 * same bits alone, in a batch, with or without pooling.
 */
#ifndef CNN_EXT_CONV_H
#define CNN_EXT_CONV_H

#include "instruction_sets.h"

#include <stddef.h>
#include <stdint.h>

typedef struct {
    ptrdiff_t n_channels, height, width;               /* of an image */
    ptrdiff_t n_filter, h_filter, w_filter;
    ptrdiff_t padding, stride;
    ptrdiff_t h_conv, w_conv;                          /* of the convolution */
    ptrdiff_t pool;                                    /* side of the pooling windows; 1: neither pooling nor ReLU */
    ptrdiff_t h_out, w_out;                            /* of the result: h_conv / pool, w_conv / pool */
    ptrdiff_t filters_padded, run, run_padded;         /* n_filter, w_filter * C; both rounded up to whole vectors */
    ptrdiff_t padded_row, padded_size;                 /* numbers in a row, in all of a padded image */
} conv_shape;

/* Where the result of one image lies. */
typedef struct {
    ptrdiff_t channel_stride, pixel_stride;
} conv_layout;

/* One instruction set in one precision: REAL stands for float or double. */
typedef struct {
    ptrdiff_t real_bytes, lanes, entry_bytes; /* an entry: a gradient that is not zero, its filter and its patch */

    void (*pack_forward)(const conv_shape *s, const void *w, void *forward);
    void (*pack_back)(const conv_shape *s, const void *w, void *back);
    void (*unpack_back)(const conv_shape *s, const void *back, void *w);

    /* Copy an image into its padded buffer, whose border the caller has cleared once; and out of it. */
    void (*pad)(const conv_shape *s, const void *x, conv_layout layout, void *padded);
    void (*unpad)(const conv_shape *s, const void *padded, void *x, conv_layout layout);

    /* One image: convolution and bias; with s->pool > 1 also ReLU, max-pooling, and the place of each winner. */
    void (*forward)(const conv_shape *s, const void *padded, const void *weights, const void *bias, void *out,
                    conv_layout layout, uint8_t *places);

    /* List the gradients of one image by filter; starts[k] to starts[k + 1] are those of filter k. */
    void (*list_by_filter)(const conv_shape *s, const void *dout, const void *out, conv_layout layout,
                           const uint8_t *places, void *entries, ptrdiff_t *starts);
    /* Add one image's share to dW (in the form `back`) and db. */
    void (*weight_gradient)(const conv_shape *s, const void *padded, const void *entries, const ptrdiff_t *starts,
                            void *dw, void *db);
    /* Bring a list into the order of the patches; `counts` is scratch, one number for each pixel of the padded image
     * and one more. */
    void (*sort_by_patch)(const conv_shape *s, const void *entries, ptrdiff_t n_entries, void *sorted, ptrdiff_t *counts);
    /* Set the padded gradient of one image. */
    void (*input_gradient)(const conv_shape *s, const void *sorted, ptrdiff_t n_entries, const void *back, void *dpadded);

    /* target[i] += source[i] for i in [begin, end). */
    void (*add)(void *target, const void *source, ptrdiff_t begin, ptrdiff_t end);
} conv_kernels;

extern const conv_kernels conv_plain_f32, conv_plain_f64;

#ifdef CNN_EXT_HAS_AVX2
extern const conv_kernels conv_avx2_f32, conv_avx2_f64;
#endif

/* The table of a precision: the AVX2 set if it is asked for and there, else the plain one. */
static inline const conv_kernels *conv_table(int avx2, int real_bytes)
{
#ifdef CNN_EXT_HAS_AVX2
    if (avx2)
        return real_bytes == 4 ? &conv_avx2_f32 : &conv_avx2_f64;
#endif
    (void)avx2;
    return real_bytes == 4 ? &conv_plain_f32 : &conv_plain_f64;
}

#endif

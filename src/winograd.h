/* Convolution of stride 1 with square filters of 3 x 3 or 5 x 5 by Winograd's minimal filtering: fewer products.
 *
 * A tile of 6 x 6 pixels gives tile x tile results, tile = 6 + 1 - side of the filter: 4 x 4 for 3 x 3 filters, 2 x 2 for
 * 5 x 5. Seen as polynomials, the results of one dimension are the coefficients of a product, which its values at six
 * points determine. So tiles and filters are turned into their values there (two dimensions: 36 values), these are
 * multiplied, and the sums over the channels are turned back:
 *
 *     V = B' d B (of each tile and channel),   U = G g G' (of each filter),   M = sum over channels of U * V,
 *     results = A' M A.
 *
 * A result takes 36 / tile^2 products a channel: 2.25 in place of 9, 9 in place of 25; and the sums over the channels are
 * 36 products of matrices, (tiles, channels) x (channels, filters). The gradient to the input is such a convolution of the
 * gradients with the filters turned round; the gradient to the weights is one of the tiles with their gradients, whose
 * results are as large as the filter: V is the same, and the values of the gradients take the filter's place.
 *
 * The points are 0, +-5/8, +-3/2 and infinity: their powers are exact in float32, and their spread halves the error that
 * 0, +-1, +-2 would give; it is two to five times that of the direct sums. Errors are relative to the largest numbers of a
 * tile. An image or gradient that is not tame, with a NaN, an infinity or a number beyond 2^50, would spoil its tiles or
 * overflow: the caller computes it directly.
 *
 * Winograd: Arithmetic complexity of computations. SIAM 1980. Lavin, Gray: Fast algorithms for convolutional neural
 * networks. CVPR 2016. Barabasz, Anderson, Soodhalter, Gregg: Error analysis and improving the accuracy of Winograd
 * convolution for deep neural networks. ACM TOMS 46(4), 2020.
 */
#ifndef CNN_EXT_WINOGRAD_H
#define CNN_EXT_WINOGRAD_H

#include "conv.h"

enum { TILE_SIDE = 6, TILE_POINTS = TILE_SIDE * TILE_SIDE };

/* Which way round the weights w[filter, channel, row, column] are read. */
typedef struct {
    ptrdiff_t filter_stride, channel_stride;
    int turned; /* each filter by half a turn */
} weight_order;

typedef struct {
    ptrdiff_t lanes, rows; /* rows: tiles are best taken in multiples of so many */

    /* Whether no number is beyond 2^50, infinite or NaN. */
    int (*tame)(const void *x, ptrdiff_t n);

    /* packed = U: 36 x (filters rounded up to vectors, in pairs of vectors) x channels. */
    void (*pack)(const conv_shape *s, const void *w, weight_order order, void *packed);

    /* Convolve n_images padded images that lie one after the other. `scratch` holds V and M of `tiles_at_once` + `rows`
     * tiles: 36 x (channels + filters), both rounded up to vectors, for each. */
    void (*forward)(const conv_shape *s, ptrdiff_t n_images, const void *padded, const void *packed, const void *bias,
                    void *out, image_layout layout, uint8_t *places, ptrdiff_t tiles_at_once, void *scratch);

    /* sums[36][filter][channel] += values of tiles x values of their gradients, over the images. `gradients` are padded
     * images too, of `gradient_shape`, whose first gradient stands behind `border` rows and columns of zeros. */
    void (*weight_gradient)(const conv_shape *s, ptrdiff_t n_images, const void *padded, const conv_shape *gradient_shape,
                            const void *gradients, ptrdiff_t tiles_at_once, void *scratch, void *sums);

    /* dw += what the sums turn back into; dw as `pack_back` has weights. */
    void (*add_weight_gradient)(const conv_shape *s, const void *sums, void *dw);
} winograd_kernels;

/* The kernels of an instruction set (SET_...) in the precision of so many bytes. */
const winograd_kernels *winograd_table(int set, int real_bytes);

#endif

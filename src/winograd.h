/* Convolution of stride 1 with filters of 3 x 3 or 5 x 5 by Winograd's minimal filtering: fewer products.
 *
 * A tile of 6 x 6 pixels (for 3 x 3 filters) or 8 x 8 (for 5 x 5) gives 4 x 4 results. Seen as polynomials, the results
 * of one dimension are coefficients of a product, which is known by its values at 6 or 8 points. So tiles and filters
 * are turned into their values there (in two dimensions 36 or 64), these are multiplied, and the sums over the channels
 * turned back:
 *
 *     V = B' d B (of each tile and channel),   U = G g G' (of each filter),   M = sum over channels of U * V,
 *     results = A' M A.
 *
 * A result takes 36 / 16 products a channel in place of 9, or 64 / 16 in place of 25; and the sums over the channels
 * are 36 or 64 products of matrices, (tiles, channels) x (channels, filters). The gradient to the input is such a
 * convolution of the gradients with the filters turned round; the gradient to the weights is one of the tiles with
 * their 4 x 4 gradients, whose results are as large as the filter: V is the same, and the values of the gradients take
 * the filter's place.
 *
 * The points are 0, +-5/8, +-3/2 and infinity, or 0, +-1/2, +-1, +-2 and infinity: their powers are exact in float32,
 * and errors stay small (see docs/kernels.md). They are relative to the largest numbers of a tile. An image or gradient
 * that is not tame, with a NaN, an infinity or a number beyond 2^50, would spoil its tiles or overflow: the caller
 * computes it directly.
 *
 * Winograd: Arithmetic complexity of computations. SIAM 1980. Lavin, Gray: Fast algorithms for convolutional neural
 * networks. CVPR 2016. Barabasz, Anderson, Soodhalter, Gregg: Error analysis and improving the accuracy of Winograd
 * convolution for deep neural networks. ACM TOMS 46(4), 2020.
 */
#ifndef CNN_EXT_WINOGRAD_H
#define CNN_EXT_WINOGRAD_H

#include "conv.h"

enum { TILE_RESULTS = 4, LARGEST_TILE = 8 }; /* results of a tile in a row; pixels of one, at most */

/* Which way round the weights w[filter, channel, row, column] are read. */
typedef struct {
    ptrdiff_t filter_stride, channel_stride;
    int turned; /* each filter by half a turn */
} weight_order;

typedef struct {
    ptrdiff_t lanes, rows; /* rows: tiles are best taken in multiples of so many */

    /* Whether no number is beyond 2^50, infinite or NaN. */
    int (*tame)(const void *x, ptrdiff_t n);

    /* packed = U: points x (filters rounded up to vectors, in pairs of vectors) x channels, `packed_size` numbers; of
     * the pair that begins with `filter`. */
    ptrdiff_t (*packed_size)(const conv_shape *s);
    void (*pack)(const conv_shape *s, const void *w, weight_order order, ptrdiff_t filter, void *packed);

    /* Bytes of the values and products of a tile. */
    ptrdiff_t (*tile_bytes)(const conv_shape *s);

    /* Convolve n_images padded images that lie one after the other. `scratch` holds V and M of `tiles_at_once` + `rows`
     * tiles. */
    void (*forward)(const conv_shape *s, ptrdiff_t n_images, const void *padded, const void *packed, const void *bias,
                    void *out, image_layout layout, uint8_t *places, ptrdiff_t tiles_at_once, void *scratch);

    /* sums[point][filter][channel] += values of tiles x values of their gradients, over the images. `gradients` are
     * padded images too, of `gradient_shape`; there are as many sums as numbers of filters packed for it. */
    void (*weight_gradient)(const conv_shape *s, ptrdiff_t n_images, const void *padded,
                            const conv_shape *gradient_shape, const void *gradients, ptrdiff_t tiles_at_once,
                            void *scratch, void *sums);

    /* dw += what the sums turn back into; dw as `pack_back` has weights. */
    void (*add_weight_gradient)(const conv_shape *s, const void *sums, void *dw);
} winograd_kernels;

/* The kernels of an instruction set (SET_...) in the precision of so many bytes. */
const winograd_kernels *winograd_table(int set, int real_bytes);

#endif

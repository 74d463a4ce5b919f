/* The body of Winograd's convolution, for one precision and one instruction set; see winograd.h for the method. Here
 * are the products and what stands around them; winograd_tile_body.h turns tiles. */

#include "simd.h"

#include "add_products_body.h"
#include "pool_winner_body.h"

#include <string.h>

#include "winograd_tile_body.h"

static int NAMED(tame)(const void *x_, ptrdiff_t n)
{
    const REAL *x = x_, limit = (REAL)1125899906842624.0; /* 2^50 */
    NAMED(mask) wild = {0};
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        NAMED(vec) v = NAMED(load_some)(x + i, n - i);
        wild |= ~((v <= limit) & (v >= -limit));
    }
    INTEGER any = 0;
    for (int lane = 0; lane < LANES; lane++)
        any |= wild[lane];
    return any == 0;
}

static ptrdiff_t NAMED(whole_vectors)(ptrdiff_t n)
{
    return (n + LANES - 1) / LANES * LANES;
}

/* A cache line lies between two tiles' values, and between two points' filters or sums: steps of whole pages would have
 * those that are used together push each other out of the fastest cache. */
enum { NAMED(gap) = LINE / sizeof(REAL) };

/* From one tile's values or products, of n channels or filters, to the next one's. */
static ptrdiff_t NAMED(tile_step)(const conv_shape *s, ptrdiff_t n)
{
    return s->tile * s->tile * NAMED(whole_vectors)(n) + NAMED(gap);
}

/* From one point's filters or sums, rows of n channels or filters, to the next one's. */
static ptrdiff_t NAMED(point_step)(ptrdiff_t n_rows, ptrdiff_t n)
{
    return n_rows * NAMED(whole_vectors)(n) + NAMED(gap);
}

static ptrdiff_t NAMED(packed_size)(const conv_shape *s)
{
    return s->tile * s->tile * NAMED(point_step)(s->n_channels, s->n_filter);
}

static ptrdiff_t NAMED(tile_bytes)(const conv_shape *s)
{
    return (NAMED(tile_step)(s, s->n_channels) + NAMED(tile_step)(s, s->n_filter)) * (ptrdiff_t)sizeof(REAL);
}

/* packed[point][pair of vectors of filters][channel][filter of the pair]. */
static void NAMED(pack)(const conv_shape *s, const void *w_, weight_order order, ptrdiff_t filter, void *packed)
{
    const int side = (int)s->h_filter, n_taps = side * side;
    const ptrdiff_t n_filters = NAMED(whole_vectors)(s->n_filter);
    const ptrdiff_t step = NAMED(point_step)(s->n_channels, s->n_filter);
    const ptrdiff_t width = n_filters - filter < 2 * LANES ? n_filters - filter : 2 * LANES;
    for (ptrdiff_t k = 0; k < width; k += LANES)
        for (ptrdiff_t c = 0; c < s->n_channels; c++) {
            const REAL *w = (const REAL *)w_ + (filter + k) * order.filter_stride + c * order.channel_stride;
            REAL *to = (REAL *)packed + filter * s->n_channels + c * width + k;
            REAL taps[25][VECTOR_BYTES / sizeof(REAL)];
            for (int tap = 0; tap < n_taps; tap++)
                NAMED(store)(taps[order.turned ? n_taps - 1 - tap : tap],
                             NAMED(gather)(w + tap, order.filter_stride, s->n_filter - filter - k));
            if (side == 3)
                NAMED(tap_values)(taps[0], 3 * LANES, LANES, 3, 6, to, step);
            else
                NAMED(tap_values)(taps[0], 5 * LANES, LANES, 5, 8, to, step);
        }
}

/* TILE_ROWS tiles, n_vectors vectors of filters at one point:
 *     products[tile][k] = sum over channels c of values[tile][c] * filters[c][k]. */
static ALWAYS_INLINE void NAMED(multiply_values)(const REAL *values, ptrdiff_t tile_step, ptrdiff_t n_channels,
                                                 const REAL *filters, REAL *products, ptrdiff_t product_step,
                                                 int n_vectors)
{
    NAMED(vec) sum[TILE_ROWS][2] = {{{0}}};
    for (ptrdiff_t c = 0; c < n_channels; c++) {
        NAMED(vec) f0 = NAMED(load)(filters), f1 = n_vectors > 1 ? NAMED(load)(filters + LANES) : f0;
        for (int t = 0; t < TILE_ROWS; t++) {
            NAMED(vec) number = NAMED(broadcast)(values[t * tile_step + c]);
            sum[t][0] = NAMED(fma_add)(number, f0, sum[t][0]);
            if (n_vectors > 1)
                sum[t][1] = NAMED(fma_add)(number, f1, sum[t][1]);
        }
        filters += n_vectors * LANES;
    }
    for (int t = 0; t < TILE_ROWS; t++)
        for (int v = 0; v < n_vectors; v++)
            NAMED(store)(products + t * product_step + v * LANES, sum[t][v]);
}

/* Write the results of a tile, or the maxima of its windows, of one vector of filters from k on. */
static ALWAYS_INLINE void NAMED(write_tile)(const conv_shape *s, NAMED(vec) (*result)[LARGEST_TILE], ptrdiff_t y,
                                            ptrdiff_t x, ptrdiff_t k, REAL *out, image_layout layout, uint8_t *places,
                                            int pool)
{
    const ptrdiff_t n_filters = s->n_filter - k;
    for (int wy = 0; wy < TILE_RESULTS / pool; wy++)
        for (int wx = 0; wx < TILE_RESULTS / pool; wx++) {
            NAMED(vec) best = {0};
            NAMED(mask) winner = {0};
            for (int i = 0; i < pool * pool; i++)
                NAMED(compete)(result[wy * pool + i / pool][wx * pool + i % pool], i, &best, &winner);
            if (s->relu)
                NAMED(rectify_winner)(&best, &winner);
            const ptrdiff_t window_y = y / pool + wy, window_x = x / pool + wx;
            if (window_y >= s->h_out || window_x >= s->w_out)
                continue;
            const ptrdiff_t window = window_y * s->w_out + window_x;
            NAMED(scatter)(out + k * layout.channel_stride + window * layout.pixel_stride, layout.channel_stride,
                           n_filters, best);
            if (pool > 1)
                NAMED(store_bytes)(places + window * s->n_filter + k, n_filters, winner);
        }
}

/* The results of one tile whose corner among them is at (y, x), from its products. */
static ALWAYS_INLINE void NAMED(finish_tile)(const conv_shape *s, const REAL *products, const REAL *bias, ptrdiff_t y,
                                             ptrdiff_t x, REAL *out, image_layout layout, uint8_t *places, int side,
                                             int pool)
{
    const ptrdiff_t step = NAMED(whole_vectors)(s->n_filter);
    for (ptrdiff_t k = 0; k < step; k += LANES) {
        NAMED(vec) result[TILE_RESULTS][LARGEST_TILE];
        NAMED(results)(products + k, step, TILE_RESULTS, side, result);
        const NAMED(vec) b = bias ? NAMED(load)(bias + k) : (NAMED(vec)){0};
        for (int i = 0; i < TILE_RESULTS; i++)
            for (int j = 0; j < TILE_RESULTS; j++)
                result[i][j] += b;
        NAMED(write_tile)(s, result, y, x, k, out, layout, places, pool);
    }
}

/* The same with a side of the pooling windows that is known here. */
static ALWAYS_INLINE void NAMED(finish_pooled)(const conv_shape *s, const REAL *products, const REAL *bias, ptrdiff_t y,
                                               ptrdiff_t x, REAL *out, image_layout layout, uint8_t *places, int side)
{
    if (s->pool == 1)
        NAMED(finish_tile)(s, products, bias, y, x, out, layout, places, side, 1);
    else if (s->pool == 2)
        NAMED(finish_tile)(s, products, bias, y, x, out, layout, places, side, 2);
    else
        NAMED(finish_tile)(s, products, bias, y, x, out, layout, places, side, 4);
}

/* Where a tile lies: tiles are numbered image by image, row by row. */
typedef struct {
    ptrdiff_t image, y, x; /* of its first result */
} NAMED(tile_place);

static ALWAYS_INLINE NAMED(tile_place) NAMED(place_of)(const conv_shape *s, ptrdiff_t tile)
{
    const ptrdiff_t in_image = s->tiles_down * s->tiles_across, rest = tile % in_image;
    const NAMED(tile_place) place = {
        tile / in_image,
        rest / s->tiles_across * TILE_RESULTS,
        rest % s->tiles_across * TILE_RESULTS,
    };
    return place;
}

/* values[tile][point][channel] for some tiles. */
static void NAMED(values_of_tiles)(const conv_shape *s, const REAL *padded, ptrdiff_t first, ptrdiff_t end,
                                   REAL *values)
{
    const ptrdiff_t step = NAMED(whole_vectors)(s->n_channels);
    for (ptrdiff_t tile = first; tile < end; tile++, values += NAMED(tile_step)(s, s->n_channels)) {
        const NAMED(tile_place) at = NAMED(place_of)(s, tile);
        const REAL *from = padded + at.image * s->padded_size + at.y * s->padded_row + at.x * s->n_channels;
        for (ptrdiff_t c = 0; c < s->n_channels; c += LANES)
            if (s->tile == 6)
                NAMED(tile_values)(from + c, s->padded_row, s->n_channels, 6, values + c, step);
            else
                NAMED(tile_values)(from + c, s->padded_row, s->n_channels, 8, values + c, step);
    }
}

/* products[tile][point][filter] of some tiles from their values, a product of matrices at each point. */
static void NAMED(products_of_tiles)(const conv_shape *s, const REAL *values, const REAL *packed, ptrdiff_t n_tiles,
                                     REAL *products)
{
    const ptrdiff_t n_points = s->tile * s->tile, C = s->n_channels, n_filters = NAMED(whole_vectors)(s->n_filter);
    const ptrdiff_t V = NAMED(tile_step)(s, C), P = NAMED(tile_step)(s, s->n_filter);
    const ptrdiff_t U = NAMED(point_step)(C, s->n_filter);
    for (ptrdiff_t point = 0; point < n_points; point++)
        for (ptrdiff_t k = 0; k < n_filters; k += 2 * LANES) {
            const REAL *filters = packed + point * U + k * C, *v = values + point * NAMED(whole_vectors)(C);
            REAL *p = products + point * n_filters + k;
            for (ptrdiff_t tile = 0; tile < n_tiles; tile += TILE_ROWS, v += TILE_ROWS * V, p += TILE_ROWS * P)
                if (n_filters - k > LANES)
                    NAMED(multiply_values)(v, V, C, filters, p, P, 2);
                else
                    NAMED(multiply_values)(v, V, C, filters, p, P, 1);
        }
}

static void NAMED(results_of_tiles)(const conv_shape *s, const REAL *products, const REAL *bias, ptrdiff_t first,
                                    ptrdiff_t end, REAL *out_, image_layout layout, uint8_t *places_)
{
    for (ptrdiff_t tile = first; tile < end; tile++) {
        const NAMED(tile_place) at = NAMED(place_of)(s, tile);
        const ptrdiff_t image = at.image * s->n_filter * s->h_out * s->w_out;
        REAL *out = out_ + image;
        uint8_t *places = s->pool > 1 ? places_ + image : NULL;
        if (s->tile == 6)
            NAMED(finish_pooled)(s, products, bias, at.y, at.x, out, layout, places, 6);
        else
            NAMED(finish_pooled)(s, products, bias, at.y, at.x, out, layout, places, 8);
        products += NAMED(tile_step)(s, s->n_filter);
    }
}

static void NAMED(forward)(const conv_shape *s, ptrdiff_t n_images, const void *padded, const void *packed,
                           const void *bias, void *out, image_layout layout, uint8_t *places, ptrdiff_t tiles_at_once,
                           void *scratch)
{
    const ptrdiff_t n_tiles = n_images * s->tiles_down * s->tiles_across;
    REAL *values = scratch, *products = values + (tiles_at_once + TILE_ROWS) * NAMED(tile_step)(s, s->n_channels);
    for (ptrdiff_t first = 0; first < n_tiles; first += tiles_at_once) {
        const ptrdiff_t end = first + tiles_at_once < n_tiles ? first + tiles_at_once : n_tiles;
        NAMED(values_of_tiles)(s, padded, first, end, values);
        NAMED(products_of_tiles)(s, values, packed, end - first, products);
        NAMED(results_of_tiles)(s, products, bias, first, end, out, layout, places);
    }
}

/* At each point, sums[k][c] += sum over tiles of gradients[tile][k] * values[tile][c]. */
static void NAMED(weight_gradient)(const conv_shape *s, ptrdiff_t n_images, const void *padded, const conv_shape *g,
                                   const void *gradients_, ptrdiff_t tiles_at_once, void *scratch, void *sums)
{
    const ptrdiff_t n_tiles = n_images * s->tiles_down * s->tiles_across;
    const ptrdiff_t C_step = NAMED(whole_vectors)(s->n_channels), K_step = NAMED(whole_vectors)(s->n_filter);
    const ptrdiff_t n_points = s->tile * s->tile;
    const ptrdiff_t V = NAMED(tile_step)(s, s->n_channels), G = NAMED(tile_step)(s, s->n_filter);
    const ptrdiff_t S = NAMED(point_step)(s->n_filter, s->n_channels);
    const REAL *first_gradient = (const REAL *)gradients_ + g->padding * g->padded_row + g->padding * g->n_channels;
    REAL *values = scratch, *gradients = values + (tiles_at_once + TILE_ROWS) * V;
    for (ptrdiff_t first = 0; first < n_tiles; first += tiles_at_once) {
        const ptrdiff_t n = first + tiles_at_once < n_tiles ? tiles_at_once : n_tiles - first;
        NAMED(values_of_tiles)(s, padded, first, first + n, values);
        for (ptrdiff_t t = 0; t < n; t++) {
            const NAMED(tile_place) at = NAMED(place_of)(s, first + t);
            const REAL *from = first_gradient + at.image * g->padded_size + at.y * g->padded_row + at.x * g->n_channels;
            REAL *to = gradients + t * G;
            for (ptrdiff_t k = 0; k < s->n_filter; k += LANES)
                if (s->tile == 6)
                    NAMED(tap_values)(from + k, g->padded_row, g->n_channels, TILE_RESULTS, 6, to + k, K_step);
                else
                    NAMED(tap_values)(from + k, g->padded_row, g->n_channels, TILE_RESULTS, 8, to + k, K_step);
        }
        for (ptrdiff_t point = 0; point < n_points; point++) {
            const NAMED(factors) factors = {
                .left = gradients + point * K_step,
                .left_step = G,
                .right = values + point * C_step,
                .right_step = V,
                .n_lines = 1,
                .n_in_line = n,
            };
            NAMED(add_products)(&factors, s->n_filter, C_step, (REAL *)sums + point * S, C_step);
        }
    }
}

static ALWAYS_INLINE void NAMED(add_filters)(const conv_shape *s, const REAL *sums, REAL *dw, int side)
{
    const ptrdiff_t step = NAMED(whole_vectors)(s->n_channels), S = NAMED(point_step)(s->n_filter, s->n_channels);
    for (ptrdiff_t k = 0; k < s->n_filter; k++)
        for (ptrdiff_t c = 0; c < s->n_channels; c += LANES) {
            NAMED(vec) result[LARGEST_TILE][LARGEST_TILE];
            NAMED(results)(sums + k * step + c, S, side, side + TILE_RESULTS - 1, result);
            for (int ky = 0; ky < side; ky++)
                for (int kx = 0; kx < side; kx++) {
                    REAL *to = dw + (k * side + ky) * s->run_padded + kx * s->n_channels + c;
                    const ptrdiff_t n = s->n_channels - c;
                    NAMED(store_some)(to, n, NAMED(load_some)(to, n) + result[ky][kx]);
                }
        }
}

static void NAMED(add_weight_gradient)(const conv_shape *s, const void *sums, void *dw)
{
    if (s->h_filter == 3)
        NAMED(add_filters)(s, sums, dw, 3);
    else
        NAMED(add_filters)(s, sums, dw, 5);
}

const winograd_kernels NAMED(winograd) = {
    LANES,
    TILE_ROWS,
    NAMED(tame),
    NAMED(packed_size),
    NAMED(pack),
    NAMED(tile_bytes),
    NAMED(forward),
    NAMED(weight_gradient),
    NAMED(add_weight_gradient),
};

/* The body of batch normalization, for one precision and one instruction set; see norm.h for what it computes. */

#include "simd.h"

#include "pool_winner_body.h"
#include "relu_back_body.h"

#include <string.h>

/* Naively, for each channel: mean = average of z, squares = sum of (z - mean)^2.
 * Summed is the distance to the first pixel: a channel that is constant has exactly its value as mean. */
static void NAMED(moments)(const norm_shape *s, const void *z_, void *mean_, void *squares_)
{
    const ptrdiff_t n_pixels = s->height * s->width;
    REAL *mean = mean_, *squares = squares_;
    for (ptrdiff_t c = 0; c < s->n_channels; c += LANES) {
        const ptrdiff_t n = s->n_channels - c;
        const REAL *z = (const REAL *)z_ + c;
        const NAMED(vec) first = NAMED(load_some)(z, n);
        NAMED(vec) sum[4] = {{0}}; /* so that they do not wait for each other */
        for (ptrdiff_t i = 0; i < n_pixels; i++)
            sum[i % 4] += NAMED(load_some)(z + i * s->n_channels, n) - first;
        const NAMED(vec) m = first + ((sum[0] + sum[1]) + (sum[2] + sum[3])) / (REAL)n_pixels;
        NAMED(vec) square[4] = {{0}};
        for (ptrdiff_t i = 0; i < n_pixels; i++) {
            NAMED(vec) d = NAMED(load_some)(z + i * s->n_channels, n) - m;
            square[i % 4] += d * d;
        }
        NAMED(store_some)(mean + c, n, m);
        NAMED(store_some)(squares + c, n, (square[0] + square[1]) + (square[2] + square[3]));
    }
}

/* Naively, for each window and channel: y of each place, ReLU, and the first of the largest wins, a NaN over all. */
static void NAMED(norm_forward)(const norm_shape *s, const void *z_, const void *mean_, const void *scale_,
                                const void *shift_, void *out_, image_layout layout, uint8_t *places)
{
    const REAL *z = z_, *mean = mean_, *scale = scale_, *shift = shift_;
    REAL *out = out_;
    for (ptrdiff_t wy = 0, window = 0; wy < s->h_out; wy++)
        for (ptrdiff_t wx = 0; wx < s->w_out; wx++, window++) {
            const REAL *corner = z + (wy * s->width + wx) * s->pool * s->n_channels;
            for (ptrdiff_t c = 0; c < s->n_channels; c += LANES) {
                const ptrdiff_t n = s->n_channels - c;
                const NAMED(vec) m = NAMED(load_some)(mean + c, n), a = NAMED(load_some)(scale + c, n);
                const NAMED(vec) b = NAMED(load_some)(shift + c, n);
                NAMED(vec) best = {0};
                NAMED(mask) winner = {0};
                for (ptrdiff_t y = 0, place = 0; y < s->pool; y++)
                    for (ptrdiff_t x = 0; x < s->pool; x++, place++) {
                        const REAL *pixel = corner + (y * s->width + x) * s->n_channels;
                        NAMED(compete)((NAMED(load_some)(pixel + c, n) - m) * a + b, (int)place, &best, &winner);
                    }
                if (s->relu)
                    NAMED(rectify_winner)(&best, &winner);
                NAMED(scatter)(out + c * layout.channel_stride + window * layout.pixel_stride, layout.channel_stride, n,
                               best);
                if (s->pool > 1)
                    NAMED(store_bytes)(places + window * s->n_channels + c, n, winner);
            }
        }
}

/* g[pixel, c] = dout at the winners of the pooling, where the ReLU let y through, elsewhere 0. */
static void NAMED(unpool)(const norm_shape *s, const REAL *dout, const REAL *out, image_layout layout,
                          const uint8_t *places, REAL *g)
{
    ptrdiff_t from_corner[256]; /* a place fits a byte */
    for (ptrdiff_t place = 0; place < s->pool * s->pool; place++)
        from_corner[place] = (place / s->pool * s->width + place % s->pool) * s->n_channels;
    memset(g, 0, (size_t)(s->height * s->width * s->n_channels) * sizeof(REAL));
    for (ptrdiff_t wy = 0, window = 0; wy < s->h_out; wy++)
        for (ptrdiff_t wx = 0; wx < s->w_out; wx++, window++) {
            REAL *to = g + (wy * s->width + wx) * s->pool * s->n_channels;
            const REAL *from = dout + window * layout.pixel_stride, *o = out + window * layout.pixel_stride;
            const uint8_t *place = places + window * s->n_channels;
            for (ptrdiff_t c = 0; c < s->n_channels; c++) {
                const int off = s->relu && o[c * layout.channel_stride] <= 0;
                to[from_corner[place[c]] + c] = off ? 0 : from[c * layout.channel_stride];
            }
        }
}

static void NAMED(norm_gradient)(const norm_shape *s, const void *z_, const void *mean_, const void *dout,
                                 const void *out, image_layout layout, const uint8_t *places, void *g_, void *sums_)
{
    const ptrdiff_t n_pixels = s->height * s->width;
    REAL *sums = sums_;
    if (s->pool > 1)
        NAMED(unpool)(s, dout, out, layout, places, g_);
    else
        NAMED(relu_gradient)(n_pixels, s->n_channels, s->relu, dout, out, layout, g_);
    for (ptrdiff_t c = 0; c < s->n_channels; c += LANES) {
        const ptrdiff_t n = s->n_channels - c;
        const REAL *z = (const REAL *)z_ + c, *g = (const REAL *)g_ + c;
        const NAMED(vec) m = NAMED(load_some)((const REAL *)mean_ + c, n);
        NAMED(vec) sum[4] = {{0}}, product[4] = {{0}};
        for (ptrdiff_t i = 0; i < n_pixels; i++) {
            const NAMED(vec) gradient = NAMED(load_some)(g + i * s->n_channels, n);
            sum[i % 4] += gradient;
            product[i % 4] += gradient * (NAMED(load_some)(z + i * s->n_channels, n) - m);
        }
        NAMED(store_some)(sums + c, n, (sum[0] + sum[1]) + (sum[2] + sum[3]));
        NAMED(store_some)(sums + s->n_channels + c, n, (product[0] + product[1]) + (product[2] + product[3]));
    }
}

static void NAMED(norm_through)(const norm_shape *s, const void *z_, const void *mean_, const void *scale_,
                                const void *offset_, const void *slope_, void *g_)
{
    const ptrdiff_t n_pixels = s->height * s->width;
    const REAL *mean = mean_, *scale = scale_, *offset = offset_, *slope = slope_;
    for (ptrdiff_t i = 0; i < n_pixels; i++) {
        const REAL *z = (const REAL *)z_ + i * s->n_channels;
        REAL *g = (REAL *)g_ + i * s->n_channels;
        for (ptrdiff_t c = 0; c < s->n_channels; c++)
            g[c] = scale[c] * (g[c] - offset[c] - (z[c] - mean[c]) * slope[c]);
    }
}

const norm_kernels NAMED(norm) = {NAMED(moments), NAMED(norm_forward), NAMED(norm_gradient), NAMED(norm_through)};

#undef LANES
#undef TILE_ROWS
#undef SUMS_AT_ONCE

/* The body of batch normalization, for one precision and one instruction set; see norm.h for what it computes. */

#include "simd.h"

#include "pool_winner_body.h"
#include "relu_back_body.h"

#include <string.h>

/* Here and below, sums over pixels: pixel i adds to number i % 4, so that they do not wait for each other. */
static ALWAYS_INLINE void NAMED(moments_of)(const norm_shape *s, ptrdiff_t n, const REAL *z, REAL *mean, REAL *squares)
{
    const ptrdiff_t n_pixels = s->height * s->width, n_channels = s->n_channels;
    const NAMED(vec) first = NAMED(load_some)(z, n);
    NAMED(vec) sum[4] = {{0}}, square[4] = {{0}};
    for (ptrdiff_t i = 0; i < n_pixels; i += 4)
        for (int k = 0; k < 4; k++)
            if (i + k < n_pixels)
                sum[k] += NAMED(load_some)(z + (i + k) * n_channels, n) - first;
    const NAMED(vec) m = first + ((sum[0] + sum[1]) + (sum[2] + sum[3])) / (REAL)n_pixels;
    for (ptrdiff_t i = 0; i < n_pixels; i += 4)
        for (int k = 0; k < 4; k++)
            if (i + k < n_pixels) {
                const NAMED(vec) d = NAMED(load_some)(z + (i + k) * n_channels, n) - m;
                square[k] += d * d;
            }
    NAMED(store_some)(mean, n, m);
    NAMED(store_some)(squares, n, (square[0] + square[1]) + (square[2] + square[3]));
}

/* Naively, for each channel: mean = average of z, squares = sum of (z - mean)^2.
 * Summed is the distance to the first pixel: a channel that is constant has exactly its value as mean. */
static void NAMED(moments)(const norm_shape *s, const void *z_, void *mean_, void *squares_)
{
    const REAL *z = z_;
    REAL *mean = mean_, *squares = squares_;
    ptrdiff_t c = 0;
    for (; c + LANES <= s->n_channels; c += LANES)
        NAMED(moments_of)(s, LANES, z + c, mean + c, squares + c);
    if (c < s->n_channels)
        NAMED(moments_of)(s, s->n_channels - c, z + c, mean + c, squares + c);
}

/* Naively, for each window and channel: y of each place, ReLU, and the first of the largest wins, a NaN over all. */
static ALWAYS_INLINE void NAMED(forward_windows)(const norm_shape *s, ptrdiff_t pool, const void *z_, const void *mean_,
                                                 const void *scale_, const void *shift_, void *out_,
                                                 image_layout layout, uint8_t *places)
{
    const REAL *z = z_, *mean = mean_, *scale = scale_, *shift = shift_;
    REAL *out = out_;
    for (ptrdiff_t wy = 0, window = 0; wy < s->h_out; wy++)
        for (ptrdiff_t wx = 0; wx < s->w_out; wx++, window++) {
            const REAL *corner = z + (wy * s->width + wx) * pool * s->n_channels;
            for (ptrdiff_t c = 0; c < s->n_channels; c += LANES) {
                const ptrdiff_t n = s->n_channels - c;
                const NAMED(vec) m = NAMED(load_some)(mean + c, n), a = NAMED(load_some)(scale + c, n);
                const NAMED(vec) b = NAMED(load_some)(shift + c, n);
                NAMED(vec) best = {0};
                NAMED(mask) winner = {0};
                for (ptrdiff_t y = 0, place = 0; y < pool; y++)
                    for (ptrdiff_t x = 0; x < pool; x++, place++) {
                        const REAL *pixel = corner + (y * s->width + x) * s->n_channels;
                        NAMED(compete)((NAMED(load_some)(pixel + c, n) - m) * a + b, (int)place, &best, &winner);
                    }
                if (s->relu)
                    NAMED(rectify_winner)(&best, &winner);
                NAMED(scatter)(out + c * layout.channel_stride + window * layout.pixel_stride, layout.channel_stride, n,
                               best);
                if (pool > 1)
                    NAMED(store_bytes)(places + window * s->n_channels + c, n, winner);
            }
        }
}

static void NAMED(norm_forward)(const norm_shape *s, const void *z, const void *mean, const void *scale,
                                const void *shift, void *out, image_layout layout, uint8_t *places)
{
    if (s->pool == 1)
        NAMED(forward_windows)(s, 1, z, mean, scale, shift, out, layout, places);
    else if (s->pool == 2)
        NAMED(forward_windows)(s, 2, z, mean, scale, shift, out, layout, places);
    else
        NAMED(forward_windows)(s, s->pool, z, mean, scale, shift, out, layout, places);
}

/* g[pixel, c] = dout at the winners of the pooling, where the ReLU let y through, elsewhere 0. Every pixel of a window
 * is written, so that only those in none need to be cleared. `whole`: the channels fill whole vectors. */
static ALWAYS_INLINE void NAMED(unpool)(const norm_shape *s, ptrdiff_t pool, int whole, const REAL *dout,
                                        const REAL *out, image_layout layout, const uint8_t *places, REAL *g)
{
    const ptrdiff_t n_channels = s->n_channels, row = s->width * n_channels, w_out = s->w_out, relu = s->relu;
    for (ptrdiff_t window = 0; window < s->h_out * w_out; window++, places += n_channels) {
        REAL *corner = g + (window / w_out * row + window % w_out * n_channels) * pool;
        for (ptrdiff_t c = 0; c < n_channels; c += LANES) {
            const ptrdiff_t at = window * layout.pixel_stride + c * layout.channel_stride;
            const ptrdiff_t n = whole ? LANES : n_channels - c;
            const NAMED(mask) winner = NAMED(load_bytes)(places + c, n);
            NAMED(vec) gradient = NAMED(gather)(dout + at, layout.channel_stride, n);
            if (relu)
                gradient = NAMED(relu_back)(gradient, NAMED(gather)(out + at, layout.channel_stride, n));
            for (ptrdiff_t y = 0, place = 0; y < pool; y++)
                for (ptrdiff_t x = 0; x < pool; x++, place++) {
                    const NAMED(mask) won = winner == (NAMED(mask)){0} + (INTEGER)place;
                    const NAMED(vec) value = (NAMED(vec))((NAMED(mask))gradient & won);
                    NAMED(store_some)(corner + y * row + x * n_channels + c, n, value);
                }
        }
    }
    for (ptrdiff_t y = 0; y < s->height; y++) {
        const ptrdiff_t from = y < s->h_out * pool ? w_out * pool * n_channels : 0;
        memset(g + y * row + from, 0, (size_t)(row - from) * sizeof(REAL));
    }
}

static ALWAYS_INLINE void NAMED(gradient_sums)(const norm_shape *s, ptrdiff_t n, const REAL *z, const REAL *mean,
                                               const REAL *g, REAL *sums)
{
    const ptrdiff_t n_pixels = s->height * s->width, n_channels = s->n_channels;
    const NAMED(vec) m = NAMED(load_some)(mean, n);
    NAMED(vec) sum[4] = {{0}}, product[4] = {{0}};
    for (ptrdiff_t i = 0; i < n_pixels; i += 4)
        for (int k = 0; k < 4; k++)
            if (i + k < n_pixels) {
                const NAMED(vec) gradient = NAMED(load_some)(g + (i + k) * n_channels, n);
                sum[k] += gradient;
                product[k] += gradient * (NAMED(load_some)(z + (i + k) * n_channels, n) - m);
            }
    NAMED(store_some)(sums, n, (sum[0] + sum[1]) + (sum[2] + sum[3]));
    NAMED(store_some)(sums + n_channels, n, (product[0] + product[1]) + (product[2] + product[3]));
}

/* The sums come in a pass of their own: with both in one the processor fetches less of either ahead. */
static void NAMED(norm_gradient)(const norm_shape *s, const void *z_, const void *mean_, const void *dout,
                                 const void *out, image_layout layout, const uint8_t *places, void *g_, void *sums_)
{
    const REAL *z = z_, *mean = mean_;
    REAL *g = g_, *sums = sums_;
    ptrdiff_t c = 0;
    if (s->pool == 1)
        NAMED(relu_gradient)(s->height * s->width, s->n_channels, s->relu, dout, out, layout, g);
    else if (s->pool == 2 && s->n_channels % LANES == 0)
        NAMED(unpool)(s, 2, 1, dout, out, layout, places, g);
    else
        NAMED(unpool)(s, s->pool, 0, dout, out, layout, places, g);
    for (; c + LANES <= s->n_channels; c += LANES)
        NAMED(gradient_sums)(s, LANES, z + c, mean + c, g + c, sums + c);
    if (c < s->n_channels)
        NAMED(gradient_sums)(s, s->n_channels - c, z + c, mean + c, g + c, sums + c);
}

/* Stretch by stretch of pixels: the numbers of a channel stay in registers, and memory is still read in order. */
static void NAMED(norm_through)(const norm_shape *s, const void *z_, const void *mean_, const void *scale_,
                                const void *offset_, const void *slope_, void *g_)
{
    const ptrdiff_t n_pixels = s->height * s->width, n_channels = s->n_channels;
    const REAL *z = z_, *mean = mean_, *scale = scale_, *offset = offset_, *slope = slope_;
    REAL *g = g_;
    for (ptrdiff_t first = 0; first < n_pixels; first += 16) {
        const ptrdiff_t end = (first + 16 < n_pixels ? first + 16 : n_pixels) * n_channels;
        for (ptrdiff_t c = 0; c < n_channels; c += LANES) {
            const ptrdiff_t n = n_channels - c;
            const NAMED(vec) m = NAMED(load_some)(mean + c, n), a = NAMED(load_some)(scale + c, n);
            const NAMED(vec) b = NAMED(load_some)(offset + c, n), d = NAMED(load_some)(slope + c, n);
            for (ptrdiff_t i = first * n_channels + c; i < end; i += n_channels) {
                const NAMED(vec) distance = NAMED(load_some)(z + i, n) - m;
                NAMED(store_some)(g + i, n, a * (NAMED(load_some)(g + i, n) - b - distance * d));
            }
        }
    }
}

const norm_kernels NAMED(norm) = {NAMED(moments), NAMED(norm_forward), NAMED(norm_gradient), NAMED(norm_through)};

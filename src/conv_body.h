/* The body of the convolution, for one precision and one instruction set; see conv.h for what it computes. Here are
 * packing, padding and the way forward; conv_sparse_body.h and conv_dense_body.h have the two ways back. */

#include "simd.h"

#include "add_products_body.h"
#include "pool_winner_body.h"
#include "relu_back_body.h"

#include <assert.h>
#include <string.h>

/* forward[ky, kx, c, k] = w[k, c, ky, kx], zero for the filters that fill the last vector up. */
static void NAMED(pack_forward)(const conv_shape *s, const void *w_, ptrdiff_t filter, void *forward_)
{
    const REAL *w = w_;
    REAL *forward = forward_;
    const ptrdiff_t n_taps = s->h_filter * s->w_filter, filter_size = s->n_channels * n_taps;
    const ptrdiff_t end = filter + 2 * LANES < s->filters_padded ? filter + 2 * LANES : s->filters_padded;
    for (ptrdiff_t k = filter; k < end; k += LANES)
        for (ptrdiff_t c = 0; c < s->n_channels; c++)
            for (ptrdiff_t tap = 0; tap < n_taps; tap++)
                NAMED(store)(forward + (tap * s->n_channels + c) * s->filters_padded + k,
                             NAMED(gather)(w + k * filter_size + c * n_taps + tap, filter_size, s->n_filter - k));
}

/* back[k, ky, kx, c] = w[k, c, ky, kx], zero where a row is filled up to whole vectors. */
static void NAMED(pack_back)(const conv_shape *s, const void *w, ptrdiff_t filter, void *back)
{
    const ptrdiff_t n_taps = s->h_filter * s->w_filter;
    const REAL *from = (const REAL *)w + filter * s->n_channels * n_taps;
    REAL *row = (REAL *)back + filter * s->h_filter * s->run_padded;
    ptrdiff_t c = 0;
    memset(row, 0, (size_t)(s->h_filter * s->run_padded) * sizeof(REAL));
    for (; c + LANES <= s->n_channels; c += LANES, from += LANES * n_taps)
        for (ptrdiff_t ky = 0; ky < s->h_filter; ky++)
            for (ptrdiff_t kx = 0; kx < s->w_filter; kx++)
                NAMED(store)(row + ky * s->run_padded + kx * s->n_channels + c,
                             NAMED(gather)(from + ky * s->w_filter + kx, n_taps, LANES));
    for (; c < s->n_channels; c++)
        for (ptrdiff_t ky = 0; ky < s->h_filter; ky++)
            for (ptrdiff_t kx = 0; kx < s->w_filter; kx++)
                row[ky * s->run_padded + kx * s->n_channels + c] = *from++;
}

static void NAMED(unpack_back)(const conv_shape *s, const void *back, ptrdiff_t filter, void *w)
{
    const REAL *from = (const REAL *)back + filter * s->h_filter * s->run_padded;
    REAL *to = (REAL *)w + filter * s->h_filter * s->run;
    for (ptrdiff_t c = 0; c < s->n_channels; c++)
        for (ptrdiff_t ky = 0; ky < s->h_filter; ky++)
            for (ptrdiff_t kx = 0; kx < s->w_filter; kx++)
                *to++ = from[ky * s->run_padded + kx * s->n_channels + c];
}

/* Where channels lie apart; if they lie pages apart, more would push each other out of the fastest cache. */
enum { NAMED(channels_at_once) = 4 };

static void NAMED(pad)(const conv_shape *s, const void *x_, image_layout layout, void *padded_)
{
    const REAL *x = x_;
    REAL *padded = padded_;
    for (ptrdiff_t y = 0; y < s->height; y++) {
        REAL *to = padded + (y + s->padding) * s->padded_row + s->padding * s->n_channels;
        const REAL *from = x + y * s->width * layout.pixel_stride;
        if (layout.channel_stride == 1 && layout.pixel_stride == s->n_channels) {
            memcpy(to, from, (size_t)(s->width * s->n_channels) * sizeof(REAL));
            continue;
        }
        ptrdiff_t c = 0;
        for (; c + NAMED(channels_at_once) <= s->n_channels; c += NAMED(channels_at_once))
            for (ptrdiff_t i = 0; i < s->width; i++)
                for (ptrdiff_t j = 0; j < NAMED(channels_at_once); j++)
                    to[i * s->n_channels + c + j] = from[i * layout.pixel_stride + (c + j) * layout.channel_stride];
        for (; c < s->n_channels; c++)
            for (ptrdiff_t i = 0; i < s->width; i++)
                to[i * s->n_channels + c] = from[i * layout.pixel_stride + c * layout.channel_stride];
    }
}

static void NAMED(unpad)(const conv_shape *s, const void *padded_, void *x_, image_layout layout)
{
    const REAL *padded = padded_;
    REAL *x = x_;
    for (ptrdiff_t y = 0; y < s->height; y++) {
        const REAL *from = padded + (y + s->padding) * s->padded_row + s->padding * s->n_channels;
        REAL *to = x + y * s->width * layout.pixel_stride;
        if (layout.channel_stride == 1 && layout.pixel_stride == s->n_channels) {
            memcpy(to, from, (size_t)(s->width * s->n_channels) * sizeof(REAL));
            continue;
        }
        ptrdiff_t c = 0;
        for (; c + NAMED(channels_at_once) <= s->n_channels; c += NAMED(channels_at_once))
            for (ptrdiff_t i = 0; i < s->width; i++)
                for (ptrdiff_t j = 0; j < NAMED(channels_at_once); j++)
                    to[i * layout.pixel_stride + (c + j) * layout.channel_stride] = from[i * s->n_channels + c + j];
        for (; c < s->n_channels; c++)
            for (ptrdiff_t i = 0; i < s->width; i++)
                to[i * layout.pixel_stride + c * layout.channel_stride] = from[i * s->n_channels + c];
    }
}

/* How far the patch of each place of a pooling window lies from that of its corner. */
static void NAMED(places_from_corner)(const conv_shape *s, ptrdiff_t *from_corner)
{
    for (ptrdiff_t place = 0; place < s->pool * s->pool; place++)
        from_corner[place] = (place / s->pool * s->padded_row + place % s->pool * s->n_channels) * s->stride;
}

/* Convolve at n_pixels pixels with n_vectors vectors of filters. Naively, for each pixel p and filter k:
 *     sum[p][k] = sum over (ky, j) of pixel[p][ky * padded_row + j] * weights[(ky, j), k].
 * The sums stay in registers; a step loads n_vectors of weights and spreads a number of each pixel. */
static ALWAYS_INLINE void NAMED(convolve_tile)(const conv_shape *s, const REAL *const *pixel, const REAL *weights,
                                               int n_pixels, int n_vectors, NAMED(vec) (*sum)[2])
{
    NAMED(vec) local[TILE_ROWS][2] = {{{0}}};
    const REAL *at[TILE_ROWS];
    for (int p = 0; p < n_pixels; p++)
        at[p] = pixel[p];
    for (ptrdiff_t ky = 0; ky < s->h_filter; ky++) {
        for (ptrdiff_t j = 0; j < s->run; j++) {
            NAMED(vec) w0 = NAMED(load)(weights), w1 = n_vectors > 1 ? NAMED(load)(weights + LANES) : w0;
            for (int p = 0; p < n_pixels; p++) {
                NAMED(vec) number = NAMED(broadcast)(at[p][j]);
                local[p][0] = NAMED(fma_add)(number, w0, local[p][0]);
                if (n_vectors > 1)
                    local[p][1] = NAMED(fma_add)(number, w1, local[p][1]);
            }
            weights += s->filters_padded;
        }
        for (int p = 0; p < n_pixels; p++)
            at[p] += s->padded_row;
    }
    for (int p = 0; p < n_pixels; p++)
        for (int v = 0; v < n_vectors; v++)
            sum[p][v] = local[p][v];
}

/* All pixels of an image, TILE_ROWS at a time, without pooling. */
static ALWAYS_INLINE void NAMED(forward_pixels)(const conv_shape *s, const REAL *padded, const REAL *weights,
                                                const REAL *bias, REAL *out, image_layout layout, ptrdiff_t filter,
                                                int n_vectors)
{
    const ptrdiff_t n_pixels = s->h_conv * s->w_conv;
    ptrdiff_t y = 0, x = 0;
    for (ptrdiff_t first = 0; first < n_pixels; first += TILE_ROWS) {
        const REAL *pixel[TILE_ROWS];
        NAMED(vec) sum[TILE_ROWS][2];
        for (int p = 0; p < TILE_ROWS; p++) { /* past the end, the last pixel once more */
            pixel[p] = padded + (y * s->padded_row + x * s->n_channels) * s->stride;
            if (first + p + 1 < n_pixels && ++x == s->w_conv) {
                x = 0;
                y++;
            }
        }
        NAMED(convolve_tile)(s, pixel, weights + filter, TILE_ROWS, n_vectors, sum);
        for (int p = 0; p < TILE_ROWS && first + p < n_pixels; p++)
            for (int v = 0; v < n_vectors; v++) {
                const ptrdiff_t k = filter + v * LANES;
                NAMED(vec) value = sum[p][v] + NAMED(load)(bias + k);
                if (s->relu)
                    value = NAMED(relu)(value);
                NAMED(scatter)(out + k * layout.channel_stride + (first + p) * layout.pixel_stride,
                               layout.channel_stride, s->n_filter - k, value);
            }
    }
}

/* Convolve, rectify and pool n_windows windows side by side, at_once of their pixels at a time. Naively, for each
 * window and filter:
 *     for each place: value = conv + bias; if it beats best: best, winner = value, place;    then the ReLU, if any.
 * The first of equal values wins, a NaN wins over all, as in the layers one by one. */
static ALWAYS_INLINE void NAMED(pool_windows)(const conv_shape *s, const REAL *corner, const ptrdiff_t *from_corner,
                                              const REAL *weights, const REAL *bias, REAL *out, image_layout layout,
                                              uint8_t *places, ptrdiff_t filter, int n_windows, int at_once,
                                              int n_vectors)
{
    const ptrdiff_t n_places = s->pool * s->pool;
    NAMED(vec) best[2][2] = {{{0}}};
    NAMED(mask) winner[2][2] = {{{0}}};

    for (ptrdiff_t first = 0; first < n_places; first += at_once) {
        const REAL *pixel[TILE_ROWS];
        NAMED(vec) sum[TILE_ROWS][2];
        for (int w = 0; w < n_windows; w++)
            for (int i = 0; i < at_once; i++) { /* past the end, the last place once more: it cannot win again */
                ptrdiff_t place = first + i < n_places ? first + i : n_places - 1;
                pixel[w * at_once + i] = corner + w * s->pool * s->stride * s->n_channels + from_corner[place];
            }
        NAMED(convolve_tile)(s, pixel, weights + filter, n_windows * at_once, n_vectors, sum);
        for (int w = 0; w < n_windows; w++)
            for (int v = 0; v < n_vectors; v++) {
                const NAMED(vec) b = NAMED(load)(bias + filter + v * LANES);
                for (int i = 0; i < at_once; i++)
                    NAMED(compete)(sum[w * at_once + i][v] + b, (int)(first + i), &best[w][v], &winner[w][v]);
            }
    }
    for (int w = 0; w < n_windows; w++)
        for (int v = 0; v < n_vectors; v++) {
            if (s->relu)
                NAMED(rectify_winner)(&best[w][v], &winner[w][v]);
            const ptrdiff_t k = v * LANES, n = s->n_filter - filter - k;
            NAMED(scatter)(out + k * layout.channel_stride + w * layout.pixel_stride, layout.channel_stride, n,
                           best[w][v]);
            NAMED(store_bytes)(places + w * s->n_filter + k, n, winner[w][v]);
        }
}

/* All pooling windows of an image; those of 2 x 2 two at a time where the registers allow. */
static ALWAYS_INLINE void NAMED(forward_windows)(const conv_shape *s, const REAL *padded, const REAL *weights,
                                                 const REAL *bias, REAL *out, image_layout layout, uint8_t *places,
                                                 ptrdiff_t filter, int n_vectors)
{
    const ptrdiff_t step = s->pool * s->stride * s->n_channels;
    ptrdiff_t from_corner[PLACES];
    NAMED(places_from_corner)(s, from_corner);

    for (ptrdiff_t y = 0; y < s->h_out; y++)
        for (ptrdiff_t x = 0; x < s->w_out;) {
            const REAL *corner = padded + y * s->pool * s->stride * s->padded_row + x * step;
            const ptrdiff_t window = y * s->w_out + x;
            REAL *to = out + filter * layout.channel_stride + window * layout.pixel_stride;
            uint8_t *places_to = places + window * s->n_filter + filter;
            if (s->pool != 2) {
                NAMED(pool_windows)(s, corner, from_corner, weights, bias, to, layout, places_to, filter, 1, TILE_ROWS,
                                    n_vectors);
                x += 1;
            } else if (TILE_ROWS >= 8 && x + 2 <= s->w_out) {
                NAMED(pool_windows)(s, corner, from_corner, weights, bias, to, layout, places_to, filter, 2, 4,
                                    n_vectors);
                x += 2;
            } else {
                NAMED(pool_windows)(s, corner, from_corner, weights, bias, to, layout, places_to, filter, 1, 4,
                                    n_vectors);
                x += 1;
            }
        }
}

static void NAMED(forward)(const conv_shape *s, const void *padded, const void *weights, const void *bias, void *out,
                           image_layout layout, uint8_t *places)
{
    for (ptrdiff_t filter = 0; filter < s->filters_padded; filter += 2 * LANES) {
        int two = s->filters_padded - filter > LANES;
        if (s->pool > 1 && two)
            NAMED(forward_windows)(s, padded, weights, bias, out, layout, places, filter, 2);
        else if (s->pool > 1)
            NAMED(forward_windows)(s, padded, weights, bias, out, layout, places, filter, 1);
        else if (two)
            NAMED(forward_pixels)(s, padded, weights, bias, out, layout, filter, 2);
        else
            NAMED(forward_pixels)(s, padded, weights, bias, out, layout, filter, 1);
    }
}

/* Add to memory, but only the lanes that `lanes` lets through: what else lies there is someone else's. */
static ALWAYS_INLINE void NAMED(add_lanes)(REAL *to, NAMED(vec) value, NAMED(mask) lanes)
{
    NAMED(vec) old = NAMED(load)(to), sum = old + value;
    NAMED(store)(to, (NAMED(vec))(((NAMED(mask))sum & lanes) | ((NAMED(mask))old & ~lanes)));
}

/* The lanes of the vector at `column` that belong to a row of a patch. */
static ALWAYS_INLINE NAMED(mask) NAMED(lanes_of_run)(const conv_shape *s, ptrdiff_t column)
{
    NAMED(mask) lanes = {0}; /* all are set below, which not every compiler sees */
    for (int lane = 0; lane < LANES; lane++)
        lanes[lane] = column + lane < s->run ? -1 : 0;
    return lanes;
}

#include "conv_sparse_body.h"

#include "conv_dense_body.h"

static void NAMED(add)(void *target_, const void *source_, ptrdiff_t begin, ptrdiff_t end)
{
    REAL *target = target_;
    const REAL *source = source_;
    for (ptrdiff_t i = begin; i < end; i++)
        target[i] += source[i];
}

const conv_kernels NAMED(conv) = {
    sizeof(REAL),
    LANES,
    sizeof(NAMED(conv_entry)),
    NAMED(pack_forward),
    NAMED(pack_back),
    NAMED(unpack_back),
    NAMED(pad),
    NAMED(unpad),
    NAMED(forward),
    NAMED(list_gradients),
    NAMED(narrow_weight_gradient),
    NAMED(sparse_weight_gradient),
    NAMED(sparse_input_gradient),
    NAMED(gradient_image),
    NAMED(dense_weight_gradient),
    NAMED(bias_gradient),
    NAMED(dense_input_gradient),
    NAMED(add),
};

/* The body of the convolution, for one precision and one instruction set; see conv.h for what it computes. Here are
 * packing, padding and the way forward; conv_back_body.h has the way back. */

#include "simd.h"

#include <string.h>

#define ALWAYS_INLINE inline __attribute__((always_inline))

/* A gradient: where its patch starts in the padded image, which filter it belongs to, its value. */
typedef struct {
    ptrdiff_t patch, filter;
    REAL value;
} NAMED(conv_entry);

/* forward[ky, kx, c, k] = w[k, c, ky, kx], zero for the filters that fill the last vector up. */
static void NAMED(pack_forward)(const conv_shape *s, const void *w_, void *forward_)
{
    const REAL *w = w_;
    REAL *forward = forward_;
    memset(forward, 0, (size_t)(s->h_filter * s->run * s->filters_padded) * sizeof(REAL));
    for (ptrdiff_t k = 0; k < s->n_filter; k++)
        for (ptrdiff_t c = 0; c < s->n_channels; c++)
            for (ptrdiff_t ky = 0; ky < s->h_filter; ky++)
                for (ptrdiff_t kx = 0; kx < s->w_filter; kx++)
                    forward[((ky * s->w_filter + kx) * s->n_channels + c) * s->filters_padded + k] = *w++;
}

/* back[ky, k, kx, c] = w[k, c, ky, kx], zero where a row is filled up to whole vectors. */
static void NAMED(pack_back)(const conv_shape *s, const void *w_, void *back_)
{
    const REAL *w = w_;
    REAL *back = back_;
    memset(back, 0, (size_t)(s->h_filter * s->n_filter * s->run_padded) * sizeof(REAL));
    for (ptrdiff_t k = 0; k < s->n_filter; k++)
        for (ptrdiff_t c = 0; c < s->n_channels; c++)
            for (ptrdiff_t ky = 0; ky < s->h_filter; ky++)
                for (ptrdiff_t kx = 0; kx < s->w_filter; kx++)
                    back[(ky * s->n_filter + k) * s->run_padded + kx * s->n_channels + c] = *w++;
}

static void NAMED(unpack_back)(const conv_shape *s, const void *back_, void *w_)
{
    const REAL *back = back_;
    REAL *w = w_;
    for (ptrdiff_t k = 0; k < s->n_filter; k++)
        for (ptrdiff_t c = 0; c < s->n_channels; c++)
            for (ptrdiff_t ky = 0; ky < s->h_filter; ky++)
                for (ptrdiff_t kx = 0; kx < s->w_filter; kx++)
                    *w++ = back[(ky * s->n_filter + k) * s->run_padded + kx * s->n_channels + c];
}

static void NAMED(pad)(const conv_shape *s, const void *x_, conv_layout layout, void *padded_)
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
        for (ptrdiff_t c = 0; c < s->n_channels; c++)
            for (ptrdiff_t i = 0; i < s->width; i++)
                to[i * s->n_channels + c] = from[i * layout.pixel_stride + c * layout.channel_stride];
    }
}

static void NAMED(unpad)(const conv_shape *s, const void *padded_, void *x_, conv_layout layout)
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
        for (ptrdiff_t c = 0; c < s->n_channels; c++)
            for (ptrdiff_t i = 0; i < s->width; i++)
                to[i * layout.pixel_stride + c * layout.channel_stride] = from[i * s->n_channels + c];
    }
}

/* Convolve at six pixels with n_vectors vectors of filters. Naively, for each pixel p and filter k:
 *     sum[p][k] = sum over (ky, j) of pixel[p][ky * padded_row + j] * weights[(ky, j), k].
 * The 6 * n_vectors sums stay in registers; a step loads n_vectors of weights and spreads six pixels' numbers. */
static ALWAYS_INLINE void NAMED(convolve_tile)(const conv_shape *s, const REAL *const *pixel, const REAL *weights,
                                               int n_vectors, NAMED(vec) sum[6][2])
{
    NAMED(vec) local[6][2] = {{{0}}};
    for (ptrdiff_t ky = 0; ky < s->h_filter; ky++) {
        const REAL *row[6];
        for (int p = 0; p < 6; p++)
            row[p] = pixel[p] + ky * s->padded_row;
        for (ptrdiff_t j = 0; j < s->run; j++) {
            NAMED(vec) w0 = NAMED(load)(weights), w1 = n_vectors > 1 ? NAMED(load)(weights + LANES) : w0;
            for (int p = 0; p < 6; p++) {
                NAMED(vec) number = NAMED(broadcast)(row[p][j]);
                local[p][0] = NAMED(fma_add)(number, w0, local[p][0]);
                if (n_vectors > 1)
                    local[p][1] = NAMED(fma_add)(number, w1, local[p][1]);
            }
            weights += s->filters_padded;
        }
    }
    for (int p = 0; p < 6; p++)
        for (int v = 0; v < n_vectors; v++)
            sum[p][v] = local[p][v];
}

/* Write up to LANES channels of one result. */
static ALWAYS_INLINE void NAMED(put)(REAL *out, conv_layout layout, ptrdiff_t n, NAMED(vec) value)
{
    if (layout.channel_stride == 1 && n >= LANES) {
        NAMED(store)(out, value);
        return;
    }
    for (ptrdiff_t lane = 0; lane < n && lane < LANES; lane++)
        out[lane * layout.channel_stride] = value[lane];
}

/* A place in the stream of pixels: window by window, within a window row by row. */
typedef struct {
    ptrdiff_t window_y, window_x, place_y, place_x;
} NAMED(cursor);

static ALWAYS_INLINE void NAMED(advance)(NAMED(cursor) *c, const conv_shape *s)
{
    if (++c->place_x < s->pool)
        return;
    c->place_x = 0;
    if (++c->place_y < s->pool)
        return;
    c->place_y = 0;
    if (++c->window_x < s->w_out)
        return;
    c->window_x = 0;
    c->window_y++;
}

/* All pixels of an image for n_vectors vectors of filters, six at a time. Naively, for each window and filter:
 *     for each place: value = conv + bias; with pooling, value = max(value, 0), and if it beats best: best, winner = it.
 * The first of equal values wins, a NaN wins over all, as in the layers one by one. */
static ALWAYS_INLINE void NAMED(forward_filters)(const conv_shape *s, const REAL *padded, const REAL *weights,
                                                 const REAL *bias, REAL *out, conv_layout layout, uint8_t *places,
                                                 ptrdiff_t filter, int n_vectors, int pooled)
{
    const ptrdiff_t n_pixels = s->h_out * s->w_out * s->pool * s->pool;
    NAMED(cursor) reading = {0, 0, 0, 0}, writing = {0, 0, 0, 0};
    NAMED(vec) best[2] = {{0}};
    NAMED(mask) winner[2] = {{0}};

    for (ptrdiff_t first = 0; first < n_pixels; first += 6) {
        const REAL *pixel[6], *at = padded;
        NAMED(vec) sum[6][2];
        const int n = n_pixels - first < 6 ? (int)(n_pixels - first) : 6;
        for (int p = 0; p < 6; p++) { /* past the end, the last pixel once more */
            if (p < n) {
                ptrdiff_t y = reading.window_y * s->pool + reading.place_y;
                ptrdiff_t x = reading.window_x * s->pool + reading.place_x;
                at = padded + (y * s->padded_row + x * s->n_channels) * s->stride;
                NAMED(advance)(&reading, s);
            }
            pixel[p] = at;
        }
        NAMED(convolve_tile)(s, pixel, weights + filter, n_vectors, sum);
        for (int p = 0; p < n; p++, NAMED(advance)(&writing, s)) {
            const ptrdiff_t place = writing.place_y * s->pool + writing.place_x;
            const ptrdiff_t window = writing.window_y * s->w_out + writing.window_x;
            for (int v = 0; v < n_vectors; v++) {
                const ptrdiff_t k = filter + v * LANES;
                NAMED(vec) value = sum[p][v] + NAMED(load)(bias + k);
                if (pooled) {
                    value = (NAMED(vec))((NAMED(mask))value & ~(value <= 0)); /* ReLU; NaN stays */
                    NAMED(mask) wins = ~(value <= best[v]) & (best[v] == best[v]);
                    if (place == 0)
                        wins = ~(NAMED(mask)){0};
                    best[v] = (NAMED(vec))(((NAMED(mask))value & wins) | ((NAMED(mask))best[v] & ~wins));
                    winner[v] = (((NAMED(mask)){0} + (INTEGER)place) & wins) | (winner[v] & ~wins);
                    if (place < s->pool * s->pool - 1)
                        continue;
                    value = best[v];
                    uint8_t *to = places + window * s->n_filter + k;
                    for (ptrdiff_t lane = 0; lane < LANES && k + lane < s->n_filter; lane++)
                        to[lane] = (uint8_t)winner[v][lane];
                }
                NAMED(put)(out + k * layout.channel_stride + window * layout.pixel_stride, layout, s->n_filter - k, value);
            }
        }
    }
}

static void NAMED(forward)(const conv_shape *s, const void *padded, const void *weights, const void *bias, void *out,
                           conv_layout layout, uint8_t *places)
{
    for (ptrdiff_t filter = 0; filter < s->filters_padded; filter += 2 * LANES) {
        int two = s->filters_padded - filter > LANES;
        if (s->pool > 1 && two)
            NAMED(forward_filters)(s, padded, weights, bias, out, layout, places, filter, 2, 1);
        else if (s->pool > 1)
            NAMED(forward_filters)(s, padded, weights, bias, out, layout, places, filter, 1, 1);
        else if (two)
            NAMED(forward_filters)(s, padded, weights, bias, out, layout, places, filter, 2, 0);
        else
            NAMED(forward_filters)(s, padded, weights, bias, out, layout, places, filter, 1, 0);
    }
}

#include "conv_back_body.h"

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
    NAMED(list_by_filter),
    NAMED(weight_gradient),
    NAMED(sort_by_patch),
    NAMED(input_gradient),
    NAMED(add),
};

#undef ALWAYS_INLINE
#undef LANES

/* The body of the convolution, for one precision and one instruction set; see conv.h for what it computes. */

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

/* With pooling, only the winner of a window has a gradient, and only if the ReLU let it through. */
static void NAMED(list_by_filter)(const conv_shape *s, const void *dout_, const void *out_, conv_layout layout,
                                  const uint8_t *places, void *entries_, ptrdiff_t *starts)
{
    const REAL *dout = dout_, *out = out_;
    NAMED(conv_entry) *entries = entries_;
    NAMED(conv_entry) *entry = entries;
    for (ptrdiff_t k = 0; k < s->n_filter; k++) {
        starts[k] = entry - entries;
        const REAL *g = dout + k * layout.channel_stride;
        const REAL *o = s->pool > 1 ? out + k * layout.channel_stride : NULL;
        ptrdiff_t i = 0;
        for (ptrdiff_t y = 0; y < s->h_out; y++)
            for (ptrdiff_t x = 0; x < s->w_out; x++, i++) {
                ptrdiff_t cy = y, cx = x, kept = 1;
                if (s->pool > 1) {
                    ptrdiff_t place = places[i * s->n_filter + k];
                    ptrdiff_t down = place / s->pool;
                    cy = y * s->pool + down;
                    cx = x * s->pool + place - down * s->pool;
                    kept = !(o[i * layout.pixel_stride] <= 0);
                }
                entry->patch = (cy * s->padded_row + cx * s->n_channels) * s->stride;
                entry->filter = k;
                entry->value = g[i * layout.pixel_stride];
                entry += kept; /* without a branch: whether a ReLU is on is a coin's throw */
            }
    }
    starts[s->n_filter] = entry - entries;
}

/* dw[i] += value * patch[offset[i]] for n vectors i, over all entries; the n sums stay in registers. */
static ALWAYS_INLINE void NAMED(sum_patches)(const REAL *padded, const NAMED(conv_entry) *entry,
                                             const NAMED(conv_entry) *end, const ptrdiff_t *offset, REAL *const *dw, int n)
{
    NAMED(vec) sum[10];
    for (int i = 0; i < n; i++)
        sum[i] = NAMED(load)(dw[i]);
    for (; entry < end; entry++) {
        const REAL *patch = padded + entry->patch;
        NAMED(vec) value = NAMED(broadcast)(entry->value);
        for (int i = 0; i < n; i++)
            sum[i] = NAMED(fma_add)(value, NAMED(load)(patch + offset[i]), sum[i]);
    }
    for (int i = 0; i < n; i++)
        NAMED(store)(dw[i], sum[i]);
}

/* Naively, for each filter k and each of its gradients: dw[k] += value * patch, db[k] += value. A patch is cut into
 * vectors, row by row (the last of a row may reach past it: those lanes are never read), and ten vectors of dw are
 * kept in registers over all the gradients of a filter. */
static void NAMED(weight_gradient)(const conv_shape *s, const void *padded, const void *entries_,
                                   const ptrdiff_t *starts, void *dw_, void *db_)
{
    const NAMED(conv_entry) *entries = entries_;
    REAL *dw = dw_, *db = db_;
    const ptrdiff_t in_row = s->run_padded / LANES, in_patch = s->h_filter * in_row;
    for (ptrdiff_t k = 0; k < s->n_filter; k++) {
        const NAMED(conv_entry) *begin = entries + starts[k], *end = entries + starts[k + 1];
        for (const NAMED(conv_entry) *entry = begin; entry < end; entry++)
            db[k] += entry->value;
        for (ptrdiff_t first = 0; first < in_patch; first += 10) {
            ptrdiff_t offset[10];
            REAL *to[10];
            int n = in_patch - first < 10 ? (int)(in_patch - first) : 10;
            for (int i = 0; i < n; i++) {
                ptrdiff_t ky = (first + i) / in_row, column = (first + i) % in_row * LANES;
                offset[i] = ky * s->padded_row + column;
                to[i] = dw + (ky * s->n_filter + k) * s->run_padded + column;
            }
            switch (n) {
            case 10: NAMED(sum_patches)(padded, begin, end, offset, to, 10); break;
            case 9: NAMED(sum_patches)(padded, begin, end, offset, to, 9); break;
            case 8: NAMED(sum_patches)(padded, begin, end, offset, to, 8); break;
            case 7: NAMED(sum_patches)(padded, begin, end, offset, to, 7); break;
            case 6: NAMED(sum_patches)(padded, begin, end, offset, to, 6); break;
            case 5: NAMED(sum_patches)(padded, begin, end, offset, to, 5); break;
            case 4: NAMED(sum_patches)(padded, begin, end, offset, to, 4); break;
            case 3: NAMED(sum_patches)(padded, begin, end, offset, to, 3); break;
            case 2: NAMED(sum_patches)(padded, begin, end, offset, to, 2); break;
            default: NAMED(sum_patches)(padded, begin, end, offset, to, 1); break;
            }
        }
    }
}

/* A counting sort by pixel of the convolution; within a pixel the filters stay in order. */
static void NAMED(sort_by_patch)(const conv_shape *s, const void *entries_, ptrdiff_t n_entries, void *sorted_,
                                 ptrdiff_t *counts)
{
    const NAMED(conv_entry) *entries = entries_;
    NAMED(conv_entry) *sorted = sorted_;
    const ptrdiff_t n = s->padded_size / s->n_channels + 1;
    memset(counts, 0, (size_t)n * sizeof(ptrdiff_t));
    for (ptrdiff_t i = 0; i < n_entries; i++)
        counts[entries[i].patch / s->n_channels]++;
    for (ptrdiff_t i = 0, start = 0; i < n; i++) {
        ptrdiff_t count = counts[i];
        counts[i] = start;
        start += count;
    }
    for (ptrdiff_t i = 0; i < n_entries; i++)
        sorted[counts[entries[i].patch / s->n_channels]++] = entries[i];
}

/* to[i] += sum over entries of value * filter row [i], for n vectors, kept in registers. */
static ALWAYS_INLINE void NAMED(sum_filters)(const NAMED(conv_entry) *entry, const NAMED(conv_entry) *end,
                                             const REAL *rows, ptrdiff_t row_size, REAL *to, int n)
{
    NAMED(vec) sum[10];
    for (int i = 0; i < n; i++)
        sum[i] = NAMED(load)(to + i * LANES);
    for (; entry < end; entry++) {
        const REAL *row = rows + entry->filter * row_size;
        NAMED(vec) value = NAMED(broadcast)(entry->value);
        for (int i = 0; i < n; i++)
            sum[i] = NAMED(fma_add)(value, NAMED(load)(row + i * LANES), sum[i]);
    }
    for (int i = 0; i < n; i++)
        NAMED(store)(to + i * LANES, sum[i]);
}

/* Naively, for each gradient: dpadded[patch] += value * filter. Row by row of the filters, so that one row of all of them
 * stays in the fastest cache; the gradients of one pixel share the loads and stores of its patch. The lanes that fill a
 * row up add zeros. */
static void NAMED(input_gradient)(const conv_shape *s, const void *sorted_, ptrdiff_t n_entries, const void *back_,
                                  void *dpadded_)
{
    const NAMED(conv_entry) *sorted = sorted_;
    const REAL *back = back_;
    REAL *dpadded = dpadded_;
    const NAMED(conv_entry) *end = sorted + n_entries;
    memset(dpadded, 0, (size_t)s->padded_size * sizeof(REAL));
    for (ptrdiff_t ky = 0; ky < s->h_filter; ky++) {
        const REAL *rows = back + ky * s->n_filter * s->run_padded;
        for (const NAMED(conv_entry) *entry = sorted, *next; entry < end; entry = next) {
            for (next = entry + 1; next < end && next->patch == entry->patch;)
                next++;
            REAL *to = dpadded + entry->patch + ky * s->padded_row;
            for (ptrdiff_t column = 0; column < s->run_padded;) {
                ptrdiff_t n = (s->run_padded - column) / LANES;
                if (n >= 10) {
                    NAMED(sum_filters)(entry, next, rows + column, s->run_padded, to + column, 10);
                    column += 10 * LANES;
                } else if (n >= 4) {
                    NAMED(sum_filters)(entry, next, rows + column, s->run_padded, to + column, 4);
                    column += 4 * LANES;
                } else {
                    NAMED(sum_filters)(entry, next, rows + column, s->run_padded, to + column, 1);
                    column += LANES;
                }
            }
        }
    }
}

static void NAMED(add)(void *target_, const void *source_, ptrdiff_t begin, ptrdiff_t end)
{
    REAL *target = target_;
    const REAL *source = source_;
    for (ptrdiff_t i = begin; i < end; i++)
        target[i] += source[i];
}

const conv_kernels NAMED(conv) = {
    SET_NAME,
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
